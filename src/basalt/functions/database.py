"""The database as an author uses it: every statement in a transaction with a role and claims of its own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

Parameters = Mapping[str, Any]
Pool = AsyncConnectionPool[AsyncConnection[dict[str, Any]]]

SERVICE_ROLE = "service_role"

# All local to the transaction: nothing of one caller is left for the next.
BEGIN_AS = """
select set_config('role', %(role)s, true), set_config('request.jwt.claims', %(claims)s, true),
    set_config('request.headers', %(headers)s, true)
"""


BECOME = "select set_config('role', %(role)s, true)"


class Transaction:
    """Placeholders are psycopg's, `%(name)s`."""

    def __init__(self, connection: AsyncConnection[dict[str, Any]], role: str) -> None:
        self._connection = connection
        self._role = role

    async def fetch_all(
        self, sql: LiteralString, parameters: Parameters | None = None
    ) -> list[dict[str, Any]]:
        """All rows, as dictionaries."""
        cursor = await self._connection.execute(sql, parameters)
        return await cursor.fetchall()

    async def fetch_one(
        self, sql: LiteralString, parameters: Parameters | None = None
    ) -> dict[str, Any] | None:
        """The first row, None when there is none."""
        cursor = await self._connection.execute(sql, parameters)
        return await cursor.fetchone()

    async def fetch_value(self, sql: LiteralString, parameters: Parameters | None = None) -> Any:
        """The first column of the first row, None when there is no row."""
        row = await self.fetch_one(sql, parameters)
        return next(iter(row.values())) if row else None

    async def execute(self, sql: LiteralString, parameters: Parameters | None = None) -> int:
        """Run a statement; the number of rows it concerned."""
        cursor = await self._connection.execute(sql, parameters)
        return cursor.rowcount

    async def fetch_value_as_service(self, sql: LiteralString, parameters: Parameters) -> Any:
        """One statement of the library's own that is not the caller's to run, in the same transaction. When it fails
        the transaction has failed too, and the role is undone with it."""
        await self._connection.execute(BECOME, {"role": SERVICE_ROLE})
        value = await self.fetch_value(sql, parameters)
        await self._connection.execute(BECOME, {"role": self._role})
        return value


class Database:
    """Acts as one role with one set of claims. The four verbs alone are a transaction each."""

    def __init__(self, pool: Pool, *, role: str, claims_json: str, headers_json: str) -> None:
        self._pool = pool
        self._settings = {"role": role, "claims": claims_json, "headers": headers_json}

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Committed at the end of the block, undone by any exception."""
        async with self._pool.connection() as connection:
            await connection.execute(BEGIN_AS, self._settings)
            yield Transaction(connection, self._settings["role"])

    async def fetch_all(
        self, sql: LiteralString, parameters: Parameters | None = None
    ) -> list[dict[str, Any]]:
        async with self.transaction() as tx:
            return await tx.fetch_all(sql, parameters)

    async def fetch_one(
        self, sql: LiteralString, parameters: Parameters | None = None
    ) -> dict[str, Any] | None:
        async with self.transaction() as tx:
            return await tx.fetch_one(sql, parameters)

    async def fetch_value(self, sql: LiteralString, parameters: Parameters | None = None) -> Any:
        async with self.transaction() as tx:
            return await tx.fetch_value(sql, parameters)

    async def execute(self, sql: LiteralString, parameters: Parameters | None = None) -> int:
        async with self.transaction() as tx:
            return await tx.execute(sql, parameters)


def make_pool(conninfo: str, *, max_size: int) -> Pool:
    """Opened by the worker; connections are made when they are needed."""
    return AsyncConnectionPool(
        conninfo,
        min_size=0,
        max_size=max_size,
        open=False,
        timeout=10,
        max_idle=60,
        connection_class=AsyncConnection[dict[str, Any]],
        kwargs={"row_factory": dict_row, "application_name": "basalt/function"},
    )
