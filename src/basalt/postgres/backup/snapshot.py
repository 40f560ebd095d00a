"""What the tables hold at an exact position of the log, so that a restored copy can be compared with it.

A logical slot in the making exports a snapshot of exactly the transactions that were committed before its position
(PostgreSQL 15, "CREATE_REPLICATION_SLOT … SNAPSHOT 'export'"). A dump's snapshot has no position and needs none.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, ExecStatus

from basalt.postgres.backup.lsn import parse_lsn

SLOT_LIMIT_S: Final = 60.0  # a slot begins only when all transactions have ended that wrote before it

# What the text of a row depends on.
FORMS: Final = """
set local timezone = 'UTC'; set local datestyle = 'ISO, MDY'; set local intervalstyle = 'postgres';
set local bytea_output = 'hex'; set local extra_float_digits = 1; set local search_path = pg_catalog;
set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0
"""
LIST_TABLES: Final = """
select n.nspname, c.relname
from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relpersistence = 'p'
    and n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%'
order by n.nspname collate "C", c.relname collate "C"
"""
LIST_OBJECTS: Final = """
select o.version, coalesce((o.metadata ->> 'size')::bigint, -1)
from storage.objects as o where o.version is not null order by o.version
"""


class NoSnapshotError(Exception):
    """No exact snapshot came about in time."""


@dataclass(frozen=True)
class TableDigest:
    """`checksum` is None where only rows were counted."""

    name: str
    rows: int
    checksum: str | None


@dataclass(frozen=True)
class Snapshot:
    """Connected as long as it is open. `position` is None for a dump's."""

    connection: psycopg.Connection[Any]
    position: int | None
    name: str


@contextmanager
def exact_snapshot(conninfo: str, slot: str) -> Iterator[Snapshot]:
    """Of a server with `wal_level = logical`. Raises NoSnapshotError where a transaction that writes stays open too
    long."""
    conn = pq.PGconn.connect(make_conninfo(conninfo, replication="database", connect_timeout=10).encode())
    try:
        if conn.status != ConnStatus.OK:
            raise NoSnapshotError(conn.get_error_message().strip())
        stopping = threading.Timer(SLOT_LIMIT_S, conn.get_cancel().cancel)
        stopping.start()
        try:
            made = conn.exec_(
                f"CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')".encode()
            )
        finally:
            stopping.cancel()
        if made.status != ExecStatus.TUPLES_OK:
            raise NoSnapshotError(made.get_error_message().strip())
        position, name = ((made.get_value(0, column) or b"").decode() for column in (1, 2))
        with _reading(conninfo, name) as connection:
            conn.finish()  # with the slot, which would keep the log for as long as the tables are read
            yield Snapshot(connection, parse_lsn(position), name)
    finally:
        conn.finish()


@contextmanager
def dump_snapshot(conninfo: str) -> Iterator[Snapshot]:
    """One that pg_dump can share."""
    with _reading(conninfo, None) as connection:
        row = connection.execute("select pg_catalog.pg_export_snapshot()").fetchone()
        assert row is not None
        yield Snapshot(connection, None, row[0])


@contextmanager
def _reading(conninfo: str, snapshot: str | None) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(conninfo, application_name="basalt/backup", autocommit=True) as connection:
        connection.execute("begin isolation level repeatable read read only")
        if snapshot is not None:
            connection.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(snapshot)))
        connection.execute(FORMS)
        yield connection
        connection.execute("rollback")


def digest_tables(connection: psycopg.Connection[Any], *, checksums: bool) -> list[TableDigest]:
    """Of every table whose rows a backup holds. The connection is in a transaction with `FORMS`."""
    return [
        _digest(connection, schema, name, checksums=checksums)
        for schema, name in connection.execute(LIST_TABLES).fetchall()
    ]


def digest_database(conninfo: str, *, checksums: bool) -> list[TableDigest]:
    with _reading(conninfo, None) as connection:
        return digest_tables(connection, checksums=checksums)


def list_objects(connection: psycopg.Connection[Any]) -> list[tuple[str, int]]:
    """Version and size of every object; none where there is no Storage."""
    if connection.execute("select to_regclass('storage.objects')").fetchone() == (None,):
        return []
    return [(version, size) for version, size in connection.execute(LIST_OBJECTS)]


def _digest(connection: psycopg.Connection[Any], schema: str, name: str, *, checksums: bool) -> TableDigest:
    what = sql.SQL('sum(hashtextextended(t::text collate "C", 0)::numeric)' if checksums else "null")
    statement = sql.SQL("select count(*), {}::text from only {} as t").format(
        what, sql.Identifier(schema, name)
    )
    row = connection.execute(statement).fetchone()
    assert row is not None
    return TableDigest(f"{schema}.{name}", row[0], (row[1] or "0") if checksums else None)
