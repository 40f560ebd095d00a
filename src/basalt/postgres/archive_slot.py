"""The slot that makes PostgreSQL keep its log for the archive, and what is noted for it."""

from typing import Final

import psycopg

from basalt.postgres.access import DatabaseAccess

ARCHIVE_SLOT: Final = "basalt_backup"

TRACK: Final = "insert into basalt.backup_tracking default values on conflict do nothing"
DROP_SLOT: Final = """
select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s and not active
"""
IS_ARCHIVED: Final = """
select exists (select from pg_replication_slots where slot_name = %s) or exists (select from basalt.backup_tracking)
"""
FORGET: Final = "delete from basalt.backup_tracking"
FORGET_OBJECTS: Final = "truncate basalt.backup_objects"


def forget_archive(access: DatabaseAccess) -> None:
    """Nothing is archived any more: without this, PostgreSQL would keep the log for nobody."""
    with psycopg.connect(
        access.conninfo("supabase_admin"), autocommit=True, application_name="basalt/backup"
    ) as connection:
        if connection.execute(IS_ARCHIVED, [ARCHIVE_SLOT]).fetchone() == (True,):
            connection.execute(DROP_SLOT, [ARCHIVE_SLOT])
            connection.execute(FORGET)
            connection.execute(FORGET_OBJECTS)
