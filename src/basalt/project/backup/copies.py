"""The database of a backup: a private cluster physically, with its log; an external one by pg_dump."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from basalt import observe
from basalt.config import Settings
from basalt.postgres import DatabaseAccess, find_postgres
from basalt.postgres.backup import (
    NoSnapshotError,
    TableDigest,
    copying_cluster,
    digest_tables,
    dump_snapshot,
    dumping,
    exact_snapshot,
    list_objects,
    parse_lsn,
)
from basalt.project.backup.files import FileEntry, Shelf
from basalt.project.backup.manifest import DatabaseGrant, DatabaseSetting, LogRange
from basalt.project.backup.own_log import OwnLog
from basalt.project.backup.progress import Progress, Tell
from basalt.project.backup.properties import read_grants, read_settings
from basalt.project.backup.records import TOUCH, connect
from basalt.project.backup.wal_shelf import WalShelf

DESCRIBE = """
select current_setting('server_version'), current_setting('server_version_num')::integer / 10000,
    (select sum(pg_database_size(oid)) from pg_database
        where datallowconn and has_database_privilege(oid, 'connect'))::bigint
"""


@dataclass(frozen=True)
class DatabaseCopy:
    """`tables` is None where no exact snapshot came about; `objects` are the versions that its rows name, `settings`
    and `grants` what a dump leaves out."""

    files: dict[str, list[FileEntry]]
    created_at: datetime
    postgres_version: str
    postgres_major: int
    log: LogRange | None
    tables: list[TableDigest] | None
    objects: list[tuple[str, int]]
    settings: Sequence[DatabaseSetting] = ()
    grants: Sequence[DatabaseGrant] = ()


@contextmanager
def copy_private(
    settings: Settings, access: DatabaseAccess, shelf: Shelf, backup_id: str, tell: Tell
) -> Iterator[DatabaseCopy]:
    """Copies the cluster while it works. The log is stored up to behind the position of the snapshot, so that recovery
    can stop there."""
    conninfo = access.conninfo("supabase_admin")
    version, major, size = _describe(conninfo)
    slot = f"basalt_{backup_id.lower().replace('-', '_')}"
    own_log = OwnLog(conninfo, WalShelf(shelf, f"backups/{backup_id}/wal/"), slot)
    try:
        progress = Progress(tell, "Database", total=size)
        with copying_cluster(find_postgres(major=major), conninfo, f"basalt {backup_id}") as copy:
            base = shelf.put_stream(f"backups/{backup_id}/base", copy.read(), progress.add)
        progress.end()
        own_log.check()
        tables, objects, check, created_at = _look(settings, conninfo, slot, tell)
        end = _write_something(access, backup_id, sum(entry.size for entry in base))
        own_log.finish(max(end, copy.range.stop))
        yield DatabaseCopy(
            files={"base": base, "wal": own_log.files},
            created_at=created_at,
            postgres_version=version,
            postgres_major=major,
            log=LogRange(
                own_log.system_id,
                copy.range.timeline,
                copy.range.start,
                copy.range.stop,
                check or copy.range.stop,
            ),
            tables=tables,
            objects=objects,
        )
    finally:
        own_log.close()


@contextmanager
def copy_external(
    settings: Settings, access: DatabaseAccess, shelf: Shelf, backup_id: str, tell: Tell
) -> Iterator[DatabaseCopy]:
    """Dumps the database as one snapshot sees it."""
    conninfo = access.conninfo("supabase_admin")
    version, major, size = _describe(conninfo)
    with dump_snapshot(conninfo) as snapshot:
        created_at = datetime.now(UTC)
        progress = Progress(tell, "Database", total=size)
        arguments = ["--format=custom", "--compress=0", f"--snapshot={snapshot.name}"]
        with dumping("pg_dump", access, major, arguments) as blocks:
            base = shelf.put_stream(f"backups/{backup_id}/dump", blocks, progress.add)
        progress.end()
        with dumping("pg_dumpall", access, major, ["--roles-only", "--no-role-passwords"]) as blocks:
            roles = shelf.put_stream(f"backups/{backup_id}/roles", blocks)
        tell("Reading the tables")
        yield DatabaseCopy(
            files={"dump": base, "roles": roles},
            created_at=created_at,
            postgres_version=version,
            postgres_major=major,
            log=None,
            tables=digest_tables(snapshot.connection, checksums=settings.basalt.backup.checksums),
            objects=list_objects(snapshot.connection),
            settings=read_settings(snapshot.connection),
            grants=read_grants(snapshot.connection),
        )


def _look(
    settings: Settings, conninfo: str, slot: str, tell: Tell
) -> tuple[list[TableDigest] | None, list[tuple[str, int]], int | None, datetime]:
    """The tables and objects at an exact position of the log, that position and its time."""
    tell("Reading the tables")
    try:
        with exact_snapshot(conninfo, f"{slot}_look") as snapshot:
            created_at = datetime.now(UTC)
            tables = digest_tables(snapshot.connection, checksums=settings.basalt.backup.checksums)
            return tables, list_objects(snapshot.connection), snapshot.position, created_at
    except NoSnapshotError as exc:
        observe.event("backup_without_table_digests", level="warning", reason=str(exc))
        tell("Warning: a transaction has been open for a long time, so rows are not counted for this backup")
        with dump_snapshot(conninfo) as near:
            return None, list_objects(near.connection), None, datetime.now(UTC)


def _describe(conninfo: str) -> tuple[str, int, int]:
    with psycopg.connect(conninfo, application_name="basalt/backup") as connection:
        row = connection.execute(DESCRIBE).fetchone()
        assert row is not None
        return row[0], row[1], row[2] or 0


def _write_something(access: DatabaseAccess, backup_id: str, size: int) -> int:
    """A commit behind the snapshot: recovery stops before a record, so there must be one. Returns its end."""
    with connect(access) as connection:
        connection.execute(TOUCH, [size, backup_id])
        row = connection.execute("select pg_current_wal_flush_lsn()").fetchone()
        assert row is not None
        return parse_lsn(row[0])
