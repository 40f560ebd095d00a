"""Tables as Realtime knows them, claims as tokens carry them, and somebody to ask who may see what."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from basalt.postgres import DatabaseAccess, LanePool
from basalt.realtime.changes.policies.claims import Claims
from basalt.realtime.changes.policies.visibility import Verdict, Visibility, Way
from basalt.realtime.changes.tables.table import Column, Kind, Table, ValueType

Connection = psycopg.Connection[tuple[Any, ...]]
KINDS: dict[str, Kind] = {"bool": "boolean", "int4": "number", "int8": "number", "jsonb": "json"}


@dataclass
class Asking:
    """`admin` is `postgres`, who owns what users make."""

    admin: Connection
    visibility: Visibility

    async def who_sees(
        self, name: str, claims: Sequence[Claims], *, where: str = "true", schema: str = "public"
    ) -> list[Claims]:
        """Of these, who sees the one row; nobody's policies may fail."""
        verdict = await self.verdict(name, claims, where=where, schema=schema)
        assert not verdict.failures
        return [one for one in claims if verdict.audiences[0].includes(one)]

    async def verdict(
        self, name: str, claims: Sequence[Claims], *, where: str = "true", schema: str = "public"
    ) -> Verdict:
        table = load_table(self.admin, schema, name)
        image = load_image(self.admin, table, where)
        return await self.visibility.decide(table, claims[0].role, [image], claims)

    async def way(self, name: str, role: str = "authenticated") -> Way:
        return await self.visibility.way(load_table(self.admin, "public", name), role)


@asynccontextmanager
async def open_asking(database: DatabaseAccess) -> AsyncIterator[Asking]:
    pool = LanePool(database.conninfo("postgres"), name="realtime")
    await pool.open()
    try:
        with psycopg.connect(database.conninfo("postgres"), autocommit=True) as admin:
            yield Asking(admin, Visibility(pool, timeout_s=0.5))
    finally:
        await pool.close()


LOAD_COLUMNS = """
select attname, attnum, atttypid, typname, attgenerated <> '',
    exists (select from pg_index where indrelid = attrelid and indisprimary and attnum = any (indkey))
from pg_attribute
join pg_type on pg_type.oid = atttypid
where attrelid = %s::regclass and attnum > 0 and not attisdropped
order by attnum
"""


def load_table(connection: Connection, schema: str, name: str, *, missing: tuple[str, ...] = ()) -> Table:
    """`missing`: as if the publication left them out."""
    oid, has_row_security = connection.execute(
        "select pg_class.oid, relrowsecurity from pg_class join pg_namespace on pg_namespace.oid = relnamespace"
        " where nspname = %s and relname = %s",
        (schema, name),
    ).fetchone() or (0, False)
    rows = connection.execute(LOAD_COLUMNS, (oid,)).fetchall()
    columns = tuple(
        Column(column, number, ValueType(type_oid, type_name, KINDS.get(type_name, "text")), is_key, is_key)
        for column, number, type_oid, type_name, is_generated, is_key in rows
        if not is_generated and column not in missing
    )
    left_out = tuple(row[0] for row in rows if row[4] or row[0] in missing)
    return Table(oid, schema, name, columns, left_out, has_row_security)


def load_image(connection: Connection, table: Table, where: str = "true") -> list[str | None]:
    """The row as the log would tell it: in text."""
    names = [*(column.name for column in table.columns), *table.missing]
    texts = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}"::text' for name in names)
    schema, name = (part.replace('"', '""') for part in (table.schema, table.name))
    row = connection.execute(f'select {texts} from "{schema}"."{name}" where {where}').fetchone()
    assert row is not None
    return [_log_text(value, position, table) for position, value in enumerate(row)]


def _log_text(value: str | None, position: int, table: Table) -> str | None:
    """A cast of a boolean to text spells it out; its output function does not."""
    if value is not None and position < len(table.columns) and table.columns[position].type.name == "bool":
        return value[0]
    return value


def some_claims(sub: object = None, role: str = "authenticated", **more: object) -> Claims:
    values = {"role": role, **({} if sub is None else {"sub": sub}), **more}
    return Claims(role, json.dumps(values), values)
