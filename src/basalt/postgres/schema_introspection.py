"""Loads the schema cache from `pg_catalog`, as PostgREST 14 does (`SchemaCache.hs`, `Config/Database.hs`).

`information_schema` would show the login role only what it has privileges for, and it needs none. Each statement
reads one kind of thing for all schemas (`schema_tables`, `schema_keys`, `schema_routines`); what belongs together is
put together here and in `schema_relationships`. It runs in a thread beside the event loop: rows are taken one at a
time, since fetching them all is one call that keeps the interpreter to itself, and names are interned, since each of
them comes back many times.
"""

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from psycopg.rows import tuple_row

from basalt.postgres.schema_cache import RoleSettings, SchemaCache
from basalt.postgres.schema_keys import load_computed_relationships, load_foreign_keys, load_unique_keys
from basalt.postgres.schema_relationships import build_relationships, find_view_keys
from basalt.postgres.schema_routines import load_media_handlers, load_representations, load_routines
from basalt.postgres.schema_rows import ISOLATION, Cursor, isolation_level, read_settings
from basalt.postgres.schema_tables import load_columns, load_shown_tables, load_tables

HOISTED_SETTINGS = ("statement_timeout", "plan_filter.statement_cost_limit", "default_transaction_isolation")
"""What a routine's `set` clause may say about the transaction around it, unless the project says otherwise."""


# With nothing on the search path PostgreSQL writes every name outside pg_catalog with its schema, and finds functions
# and types in pg_catalog only.
START = "set transaction isolation level repeatable read, read only; set local search_path = ''"


def load_schema_cache(
    connection: psycopg.Connection[Any],
    schemas: Sequence[str],
    extra_search_path: Sequence[str] = (),
    hoisted_settings: Sequence[str] = HOISTED_SETTINGS,
) -> SchemaCache:
    """Everything as of one moment. `schemas` are the exposed ones; views in `extra_search_path` are looked through
    when exposed views select from them. `hoisted_settings` are regular expressions of PostgreSQL's, for
    `name=value`. The connection must be outside a transaction; any role will do."""
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(START)
        columns = load_columns(cursor, schemas)
        unique_keys, primary_keys = load_unique_keys(cursor)
        shown = load_shown_tables(cursor, schemas, extra_search_path, columns)
        tables = load_tables(
            cursor, schemas, columns, primary_keys, find_view_keys(primary_keys.items(), shown)
        )
        return SchemaCache(
            tables=tables,
            relationships=build_relationships(
                load_foreign_keys(cursor, unique_keys),
                shown,
                tables,
                load_computed_relationships(cursor, schemas),
                schemas,
            ),
            routines=load_routines(cursor, schemas, hoisted_settings),
            role_settings=_load_role_settings(cursor),
            representations=load_representations(cursor),
            media_handlers=load_media_handlers(cursor, schemas),
            version=connection.info.server_version,
        )


# Of the roles that this one may become. `user` settings are anyone's to set, others need the privilege to be granted.
ROLE_SETTINGS: LiteralString = """
select r.rolname, array_agg(s.setting order by s.place)
from pg_catalog.pg_roles as r
cross join lateral unnest(r.rolconfig) with ordinality as s(setting, place)
join pg_catalog.pg_settings as g on g.name = split_part(s.setting, '=', 1)
where exists (
        select
        from pg_catalog.pg_auth_members as m
        join pg_catalog.pg_roles as me on me.oid = m.member
        where m.roleid = r.oid and me.rolname = current_user
    )
    and (g.context = 'user' or has_parameter_privilege(current_user, g.name, 'set'))
group by r.rolname
"""


def _load_role_settings(cursor: Cursor) -> dict[str, RoleSettings]:
    return {role: _read_role_settings(settings) for role, settings in cursor.execute(ROLE_SETTINGS)}


def _read_role_settings(settings: Sequence[str]) -> RoleSettings:
    levels = [value for name, _, value in (s.partition("=") for s in settings) if name == ISOLATION]
    return RoleSettings(read_settings(settings), isolation_level(levels[0]) if levels else None)
