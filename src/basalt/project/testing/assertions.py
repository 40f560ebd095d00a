"""What SQL tests call: pgTAP where the server has it, the same assertions from here where it has not, and people to
act as. They go into a copy of the throw-away database, so that no other test meets them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from basalt.postgres import DatabaseAccess

SQL_DIR: Final = Path(__file__).with_name("sql")
PEOPLE: Final = "090_people.sql"
DATABASE: Final = "basalt_sql_tests"

HAS_PGTAP: Final = "select exists (select from pg_catalog.pg_available_extensions where name = 'pgtap')"
CREATE_PGTAP: Final = "create extension if not exists pgtap with schema extensions"
# `create database … template` leaves them behind.
COPY_SETTINGS: Final = """
select coalesce(r.rolname, ''), s.setconfig
from pg_catalog.pg_db_role_setting as s
join pg_catalog.pg_database as d on d.oid = s.setdatabase
left join pg_catalog.pg_roles as r on r.oid = s.setrole
where d.datname = %s
"""


@contextmanager
def copy_for_tests(access: DatabaseAccess) -> Iterator[DatabaseAccess]:
    """A copy of the database with the assertions in it. Nobody may be connected to the database."""
    copied = access.with_dbname(DATABASE)
    with psycopg.connect(access.conninfo("supabase_admin", "template1"), autocommit=True) as connection:
        names = {"copy": sql.Identifier(DATABASE), "source": sql.Identifier(access.dbname)}
        connection.execute(sql.SQL("create database {copy} template {source}").format(**names))
        connection.execute(sql.SQL("alter database {copy} owner to postgres").format(**names))
        for role, settings in connection.execute(COPY_SETTINGS, [access.dbname]).fetchall():
            for setting in settings:
                connection.execute(_render_setting(role, setting))
    install_assertions(copied)
    yield copied


def _render_setting(role: str, setting: str) -> sql.Composed:
    name, _, value = setting.partition("=")
    who = sql.SQL("role {} in ").format(sql.Identifier(role)) if role else sql.SQL("")
    return sql.SQL("alter {}database {} set {} to {}").format(
        who, sql.Identifier(DATABASE), sql.SQL(".").join(map(sql.Identifier, name.split("."))), value
    )


def install_assertions(access: DatabaseAccess) -> bool:
    """Whether they are pgTAP's own. Raises psycopg.Error."""
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        row = connection.execute(HAS_PGTAP).fetchone()
        has_pgtap = row is not None and bool(row[0])
        if has_pgtap:
            connection.execute(CREATE_PGTAP)
        connection.execute("set role postgres")
        with connection.transaction():
            for path in sorted(SQL_DIR.glob("*.sql")):
                if path.name == PEOPLE or not has_pgtap:
                    connection.execute(path.read_bytes())
    return has_pgtap
