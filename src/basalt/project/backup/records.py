"""`basalt.backups`: what was tried, when, and how it ended; and the lock that lets one backup run at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg

from basalt.postgres import DatabaseAccess
from basalt.project.backup.errors import BackupError

LOCK_KEY: Final = 0x6261_636B_7570  # "backup"

BEGIN: Final = "insert into basalt.backups (id, kind, target) values (%s, %s, %s)"
COMPLETE: Final = (
    "update basalt.backups set state = 'complete', ended_at = now(), size_bytes = %s where id = %s"
)
TOUCH: Final = "update basalt.backups set size_bytes = %s where id = %s"
FAIL: Final = "update basalt.backups set state = 'failed', ended_at = now(), error = %s where id = %s"
# Whoever held the lock is gone.
GIVE_UP: Final = """
update basalt.backups set state = 'failed', ended_at = now(), error = 'it was interrupted' where state = 'running'
"""
NOTE_GAP: Final = """
insert into basalt.backups (id, kind, state, target, ended_at, error) values (%s, 'wal_gap', 'failed', %s, now(), %s)
on conflict (id) do nothing
"""
FORGET: Final = """
delete from basalt.backups where id in (select id from basalt.backups order by started_at desc offset 1000)
"""
OVERVIEW: Final = """
select max(started_at) filter (where state = 'complete') as complete_at,
    max(started_at) filter (where kind <> 'wal_gap') as tried_at,
    max(ended_at) filter (where state = 'failed' and kind <> 'wal_gap') as failed_at,
    max(started_at) filter (where kind = 'wal_gap') as gap_at, now() as now
from basalt.backups
"""


@dataclass(frozen=True)
class Overview:
    """The newest of each kind; `now` by the database's clock."""

    complete_at: datetime | None
    tried_at: datetime | None
    failed_at: datetime | None
    gap_at: datetime | None
    now: datetime


def connect(access: DatabaseAccess) -> psycopg.Connection[Any]:
    return psycopg.connect(
        access.conninfo("supabase_admin"),
        autocommit=True,
        application_name="basalt/backup",
        connect_timeout=10,
    )


@contextmanager
def only_one(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Raises BackupError backup_running where another backup of this database is under way, on any node."""
    if connection.execute("select pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone() != (True,):
        raise BackupError("backup_running")
    try:
        connection.execute(GIVE_UP)
        yield
    finally:
        if not connection.broken:
            connection.execute("select pg_advisory_unlock(%s)", [LOCK_KEY])


def read_overview(connection: psycopg.Connection[Any]) -> Overview:
    row = connection.execute(OVERVIEW).fetchone()
    assert row is not None
    return Overview(*row)
