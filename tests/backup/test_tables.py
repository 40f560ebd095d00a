"""`basalt.backups` and what is noted for the archive: who may read, what is noted, and when nobody archives."""

import psycopg
import pytest
from psycopg import errors

from basalt.postgres import DatabaseAccess, forget_archive
from basalt.postgres.backup import ARCHIVE_SLOT

pytestmark = pytest.mark.req("P26")

ADD = "insert into storage.objects (bucket_id, name, version) values ('box', %s, %s)"


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize("table", ["backups", "backup_tracking", "backup_objects"])
def test_clients_see_nothing_of_backups(database: DatabaseAccess, role: str, table: str) -> None:
    with psycopg.connect(database.conninfo("supabase_admin")) as connection:
        connection.execute(f"set role {role}".encode())
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(f"select from basalt.{table}".encode())


@pytest.mark.parametrize("role", ["postgres", "service_role"])
def test_operators_read_backups_and_write_none(database: DatabaseAccess, role: str) -> None:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("insert into basalt.backups (id, kind, target) values ('a', 'physical', '/t')")
        connection.execute("grant usage on schema basalt to service_role")
        connection.execute(f"set role {role}".encode())
        assert connection.execute("select id, state from basalt.backups").fetchall() == [("a", "running")]
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("delete from basalt.backups")


def test_new_versions_are_noted_while_the_log_is_archived(database: DatabaseAccess) -> None:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("insert into storage.buckets (id, name) values ('box', 'box')")
        connection.execute(ADD, ["before", "v1"])
        connection.execute("insert into basalt.backup_tracking default values")
        connection.execute(ADD, ["after", "v2"])
        connection.execute("update storage.objects set version = 'v3' where name = 'before'")
        connection.execute("update storage.objects set last_accessed_at = now()")
        noted = connection.execute("select version from basalt.backup_objects order by version").fetchall()
        assert noted == [("v2",), ("v3",)]


def test_without_an_archive_nothing_is_kept_for_it(database: DatabaseAccess) -> None:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("select pg_create_physical_replication_slot(%s, true)", [ARCHIVE_SLOT])
        connection.execute("insert into basalt.backup_tracking default values")
        connection.execute("insert into basalt.backup_objects values ('v1')")
        forget_archive(database)
        slots = "select count(*) from pg_replication_slots where slot_name = %s"
        assert connection.execute(slots, [ARCHIVE_SLOT]).fetchone() == (0,)
        left = "select (select count(*) from basalt.backup_tracking), (select count(*) from basalt.backup_objects)"
        assert connection.execute(left).fetchone() == (0, 0)
        forget_archive(database)
