"""`pgrst.…` settings that the database holds for the login role, as PostgREST reads them (`Config/Database.hs`).

From the least: what the function of `db_pre_config` sets, `alter role … set`, `alter role … in database … set`. What is
set for a database without a role counts for nothing.
"""

from typing import LiteralString

import psycopg
from psycopg import sql

from basalt.config import DATABASE_SETTINGS, RestSettings

ROLE_SETTINGS = """
select distinct on (pair.name) pair.name, pair.value
from pg_catalog.pg_db_role_setting as stored
cross join lateral unnest(stored.setconfig) as assignment
cross join lateral (
    select substr(assignment, 7, strpos(assignment, '=') - 7), substr(assignment, strpos(assignment, '=') + 1)
) as pair (name, value)
where stored.setrole = (select oid from pg_catalog.pg_roles where rolname = current_user)
    and stored.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = current_database()))
    and starts_with(assignment, 'pgrst.')
order by pair.name, stored.setdatabase desc
"""
FUNCTION_SETTINGS = """
select name, current_setting('pgrst.' || name, true) from unnest(%s::text[]) as name
"""


def load_database_settings(
    connection: "psycopg.Connection[tuple[object, ...]]", settings: RestSettings
) -> dict[str, str]:
    """Names without `pgrst.`, and their texts, for `override_rest_settings`. `settings` name the function. The
    connection is best a fresh one: a session remembers what its functions have set. Raises psycopg.Error, which leaves
    the connection usable."""
    found: dict[str, str] = {}
    with connection.transaction(force_rollback=True):
        connection.execute("set transaction read only")
        if settings.db_pre_config is not None:
            connection.execute(sql.SQL("select from {}()").format(_qualified(settings.db_pre_config)))
            found.update(_read(connection, FUNCTION_SETTINGS, [list(DATABASE_SETTINGS)]))
        found.update(_read(connection, ROLE_SETTINGS, []))
    return {name: text for name, text in found.items() if name in DATABASE_SETTINGS}


def _read(
    connection: "psycopg.Connection[tuple[object, ...]]", statement: LiteralString, values: list[object]
) -> dict[str, str]:
    rows = connection.execute(statement, values or None).fetchall()
    return {str(name): str(text) for name, text in rows if text is not None}


def _qualified(name: str) -> sql.Identifier:
    """`schema.function`, or a function that the search path finds."""
    schema, dot, function = name.partition(".")
    return sql.Identifier(schema, function) if dot else sql.Identifier(name)
