"""How Storage talks to PostgreSQL: as the owner of its tables, or as the caller under row-level security.

Everything that one answer needs goes out in one flush over a lane and is one transaction; the owner's statements come
first, then the settings that make it the caller's. The lane logs in as `supabase_storage_admin`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from uuid import UUID

import orjson

from basalt.access import Caller
from basalt.http import Request
from basalt.postgres import LanePool, LanesUnavailable, PostgresError, Query, Result
from basalt.storage.errors import StorageError, error_of_postgres

OWNER = "none"  # `set role none`: whoever has logged in

SETTINGS = (
    "select num_nulls(set_config('role', $1, true), set_config('request.jwt', $2, true), "
    "set_config('request.jwt.claims', $3, true), set_config('request.jwt.claim.role', $4, true), "
    "set_config('request.jwt.claim.sub', $5, true), set_config('request.headers', $6, true), "
    "set_config('request.method', $7, true), set_config('request.path', $8, true), "
    "set_config('storage.operation', $9, true), set_config('transaction_read_only', $10, true), "
    "set_config('storage.allow_delete_query', 'true', true), set_config('statement_timeout', '30s', true))"
)


@dataclass(frozen=True)
class Scope:
    """Who does what: the caller, the `storage.operation` that policies read, and the request that they may look
    at."""

    caller: Caller
    operation: str
    request: Request
    is_owner: bool = False
    owner_id_override: str | None = None

    def for_operation(self, operation: str) -> "Scope":
        return replace(self, operation=operation)

    def as_owner(self, owner_id: str | None = None) -> "Scope":
        """The same request with the rights of the tables' owner; `owner_id` is whose object it makes."""
        return replace(self, is_owner=True, owner_id_override=owner_id)

    @property
    def owner_id(self) -> str | None:
        """What `owner_id` of a new row is."""
        return self.owner_id_override if self.is_owner else self.caller.user_id

    @property
    def owner(self) -> str | None:
        """The same where it is a UUID."""
        try:
            return None if self.owner_id is None else str(UUID(self.owner_id))
        except ValueError:
            return None

    @property
    def role(self) -> str:
        return OWNER if self.is_owner else self.caller.role

    def settings(self, *, read_only: bool) -> Query:
        """What makes the rest of a transaction this scope's."""
        params = (
            self.role,
            self.caller.token or "",
            self.caller.claims_json,
            self.caller.role,
            self.caller.user_id or "",
            self._headers_json,
            self.request.method,
            self.request.raw_path,
            self.operation,
            "on" if read_only else "off",
        )
        return Query(SETTINGS, tuple(param.encode() for param in params))

    @cached_property
    def _headers_json(self) -> str:
        raw = self.request.headers.raw
        return orjson.dumps(
            {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in raw}
        ).decode()


class StorageDatabase:
    """One per process."""

    def __init__(self, lanes: LanePool) -> None:
        self._lanes = lanes

    async def run(
        self,
        scope: Scope | None,
        *queries: Query,
        before: Sequence[Query] = (),
        rollback: bool = False,
        read_only: bool = False,
    ) -> list[Result]:
        """The results of `before`, which run as the owner, and of `queries`, which run in `scope`; without a scope
        those run as the owner too. All of it is undone when one of them fails, or at the end with `rollback`.
        `read_only` may be run twice to get past a slow statement.

        Raises PostgresError, and StorageError SlowDown or ServiceUnavailable."""
        if scope is None:
            return await self._execute([*before, *queries], rollback=rollback, read_only=read_only)
        own = [Query(query.sql, query.params, query.prepare, scope.role) for query in queries]
        results = await self._execute(
            [*before, scope.settings(read_only=read_only), *own], rollback=rollback, read_only=read_only
        )
        del results[len(before)]
        return results

    async def run_or_refuse(
        self,
        scope: Scope | None,
        *queries: Query,
        before: Sequence[Query] = (),
        rollback: bool = False,
        read_only: bool = False,
    ) -> list[Result]:
        """`run`, with PostgreSQL's refusals as the contract's. Raises StorageError."""
        try:
            return await self.run(scope, *queries, before=before, rollback=rollback, read_only=read_only)
        except PostgresError as error:
            raise error_of_postgres(error) from error

    async def _execute(self, queries: list[Query], *, rollback: bool, read_only: bool) -> list[Result]:
        try:
            return await self._lanes.execute(queries, rollback=rollback, read_only=read_only)
        except LanesUnavailable as error:
            code = "SlowDown" if error.reason == "busy" else "ServiceUnavailable"
            raise StorageError(code, headers=error.headers) from error
