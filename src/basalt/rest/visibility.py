"""What a role may use of the exposed schemas: asked as that role, because only PostgreSQL knows what membership and
inheritance add up to."""

import time
from collections.abc import Mapping, Sequence

import orjson

from basalt.access import Caller
from basalt.bounded_dict import BoundedDict
from basalt.config import RestSettings
from basalt.errors import BasaltError
from basalt.http import Request
from basalt.postgres import LanePool, PostgresError, Query
from basalt.rest.request import render_settings
from basalt.rest.run import build_prelude, render_search_path, translate
from basalt.rest.sql.text import array_literal

LIFE_S = 2.0
MAX_ROLES = 256

VISIBLE = """
select json_agg(found.oid::bigint) from (
    select c.oid from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = any($1) and c.relkind in ('r', 'v', 'm', 'f', 'p') and has_schema_privilege(n.oid, 'usage')
        and (pg_has_role(c.relowner, 'usage')
             or has_table_privilege(c.oid, 'select, insert, update, delete, truncate, references, trigger')
             or has_any_column_privilege(c.oid, 'select, insert, update, references'))
    union all
    select p.oid from pg_catalog.pg_proc as p
    join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
    where n.nspname = any($1) and has_schema_privilege(n.oid, 'usage') and has_function_privilege(p.oid, 'execute')
) as found
"""
DESCRIPTION = "select obj_description(oid, 'pg_namespace') from pg_catalog.pg_namespace where nspname = $1"

NO_REQUEST: Mapping[str, bytes] = {
    "request.method": b"",
    "request.path": b"",
    "request.headers": b"{}",
    "request.cookies": b"{}",
}


class Visibility:
    """Answers are sets of the oids of tables and routines."""

    def __init__(self, lanes: LanePool) -> None:
        self._lanes = lanes
        self._known: BoundedDict[str, tuple[float, frozenset[int]]] = BoundedDict(MAX_ROLES)

    def forget(self) -> None:
        self._known.clear()

    async def find(self, caller: Caller, settings: RestSettings) -> frozenset[int]:
        """Of all exposed schemas. Kept for a moment: wrong names come in bursts, and nothing tells of a revoked
        privilege."""
        now = time.monotonic()
        asked_at, visible = self._known.get(caller.role, (-LIFE_S, frozenset()))
        if now - asked_at < LIFE_S:
            return visible
        try:
            rows = await self._ask(caller, settings, [_visible_query(settings.db_schemas)])
        except BasaltError:
            return frozenset()  # a role that cannot even ask sees nothing
        visible = parse_visible(rows[0])
        self._known[caller.role] = (now, visible)
        return visible

    async def describe(
        self, caller: Caller, settings: RestSettings, request: Request, schema: str
    ) -> tuple[frozenset[int], str | None]:
        """Of one schema, with the schema's comment. Raises BasaltError when the role may not ask."""
        queries = [_visible_query((schema,)), Query(DESCRIPTION, (schema.encode(),))]
        rows = await self._ask(caller, settings, queries, request=request, schema=schema)
        return parse_visible(rows[0]), rows[1].decode() if rows[1] else None

    async def _ask(
        self,
        caller: Caller,
        settings: RestSettings,
        queries: list[Query],
        *,
        request: Request | None = None,
        schema: str = "",
    ) -> list[bytes | None]:
        """The first value of each query's answer."""
        about = render_settings(request) if request is not None else NO_REQUEST
        prelude = build_prelude(
            render_search_path((schema,) if schema else ()), caller, about, read_only=True
        )
        scoped = [Query(one.sql, one.params, one.prepare, caller.role) for one in queries]
        try:
            results = await self._lanes.execute([prelude, *scoped], read_only=True)
        except PostgresError as error:
            raise translate(error, caller, settings) from error
        return [result.rows[0][0] if result.rows else None for result in results[1:]]


def _visible_query(schemas: Sequence[str]) -> Query:
    return Query(VISIBLE, (array_literal(schemas).encode(),))


def parse_visible(raw: bytes | None) -> frozenset[int]:
    """The oids in a row of VISIBLE.

    >>> parse_visible(b"[3, 1]"), parse_visible(None)
    (frozenset({1, 3}), frozenset())
    """
    return frozenset(orjson.loads(raw)) if raw else frozenset()
