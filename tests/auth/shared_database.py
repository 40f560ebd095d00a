"""One database for the tests of Auth, emptied after each: a fresh copy of the template takes ten times as long, and
they are many. A test that made tables, routines, triggers or the like leaves no shared database behind."""

from contextlib import AbstractContextManager

import psycopg
from psycopg import sql

from basalt.postgres import DatabaseAccess
from tests.conftest import CloneDatabase

FINGERPRINT = """
select (select (count(*), max(oid), sum(relnatts)) from pg_class where relkind <> 't'),
    (select (count(*), max(oid), md5(string_agg(prosrc, ',' order by oid))) from pg_proc where oid >= 16384),
    (select (count(*), max(oid), string_agg(tgenabled::text, '' order by oid)) from pg_trigger),
    (select (count(*), max(oid)) from pg_constraint), (select (count(*), max(oid)) from pg_policy),
    (select (count(*), max(oid)) from pg_namespace), (select (count(*), max(oid)) from pg_type),
    (select string_agg(setconfig::text, ',' order by setdatabase, setrole) from pg_db_role_setting)
"""
TABLES = """
select c.oid::regclass::text as name from pg_class as c
where c.relkind = 'r' and c.relnamespace in ('auth'::regnamespace, 'basalt'::regnamespace)
    and c.oid <> all ('{auth.schema_migrations,basalt.bootstrap_versions}'::regclass[])
"""


class SharedDatabase:
    """`access` is a copy of the template as long as it is as the template was."""

    def __init__(self, template: DatabaseAccess, clone: CloneDatabase) -> None:
        self._template = template
        self._clone = clone
        self._open: AbstractContextManager[DatabaseAccess] | None = None
        self.access = template

    def take(self) -> DatabaseAccess:
        if self._open is None:
            self._open = self._clone(self._template.dbname)
            self.access = self._open.__enter__()
            with self._connect() as connection:
                self._fingerprint = connection.execute(FINGERPRINT).fetchone()
        return self.access

    def give_back(self) -> None:
        """Empty it, or throw it away when more than rows has changed."""
        with self._connect() as connection:
            is_as_before = connection.execute(FINGERPRINT).fetchone() == self._fingerprint
            if is_as_before:
                connection.execute("set session_replication_role = replica")  # any order, no triggers
                for (name,) in connection.execute(TABLES).fetchall():
                    connection.execute(sql.SQL("delete from {}").format(sql.SQL(name)))
        if not is_as_before:
            self.close()

    def close(self) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
            self._open = None

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self.access.conninfo("supabase_admin"), autocommit=True)
