"""Figures that are read from the database when somebody looks at the metrics.

A `Reading` is one statement: its first columns are labels, each of the others is a metric. They run one by one on a
connection of their own, within a limit; one that this server or role does not allow is left out. Rooms have readings of
their own beside their tables; those of PostgreSQL itself are here.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, LiteralString

import psycopg

from basalt.observe import Family, Sample, event

CONNECT_LIMIT_S = 3
READ_LIMIT_S = 5.0  # Prometheus waits ten for all of it
LIMITS = "set statement_timeout = '3s'; set lock_timeout = '1s'; set default_transaction_read_only = on"


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    documentation: str
    kind: Literal["gauge", "counter"] = "gauge"


@dataclass(frozen=True, slots=True)
class Reading:
    """`needs` is a table or view without which there is nothing to read. A null is no figure."""

    statement: LiteralString
    figures: tuple[Figure, ...]
    labels: tuple[str, ...] = ()
    needs: LiteralString | None = None


UP = Figure("basalt_postgres_up", "1 when PostgreSQL answered this scrape.")

POSTGRES_READINGS: tuple[Reading, ...] = (
    Reading(
        """
        select coalesce(a.state, 'other'), count(*)::float8 from pg_catalog.pg_stat_activity as a
        where a.backend_type = 'client backend' group by 1
        """,
        (Figure("basalt_postgres_connections", "Client connections by state."),),
        labels=("state",),
    ),
    Reading(
        """
        select current_setting('max_connections')::float8,
            count(*) filter (where a.wait_event_type = 'Lock')::float8,
            coalesce(extract(epoch from max(clock_timestamp() - a.xact_start)
                filter (where a.backend_type = 'client backend' and a.pid <> pg_backend_pid())), 0)::float8,
            pg_catalog.pg_database_size(current_database())::float8,
            (select max(age(d.datfrozenxid)) from pg_catalog.pg_database as d)::float8
        from pg_catalog.pg_stat_activity as a
        """,
        (
            Figure("basalt_postgres_max_connections", "How many the server allows."),
            Figure("basalt_postgres_waiting_for_locks", "Sessions that wait for a lock."),
            Figure("basalt_postgres_longest_transaction_seconds", "Age of the oldest open transaction."),
            Figure("basalt_postgres_database_bytes", "Size of the database."),
            Figure(
                "basalt_postgres_transaction_id_age",
                "Age of the oldest transaction id; at two thousand million PostgreSQL stops writing.",
            ),
        ),
    ),
    Reading(
        "select sum(size)::float8 from pg_catalog.pg_ls_waldir()",
        (Figure("basalt_postgres_wal_bytes", "Size of the write-ahead log on disk."),),
    ),
    Reading(
        """
        select active.is_active::text, count(s.slot_name)::float8
        from (values (true), (false)) as active(is_active)
        left join pg_catalog.pg_replication_slots as s on s.active = active.is_active group by 1
        """,
        (Figure("basalt_postgres_slots", "Replication slots, `true` where somebody reads."),),
        labels=("active",),
    ),
    Reading(
        """
        select coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn)), 0)::float8,
            coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)), 0)::float8
        from pg_catalog.pg_replication_slots as s
        """,
        (
            Figure("basalt_postgres_slot_lag_bytes", "The most that a slot's reader is behind."),
            Figure("basalt_postgres_slot_kept_bytes", "The most log that the server keeps for a slot."),
        ),
    ),
    Reading(
        """
        select kind.outcome, case kind.outcome when 'committed' then d.xact_commit else d.xact_rollback end::float8
        from pg_catalog.pg_stat_database as d, (values ('committed'), ('rolled_back')) as kind(outcome)
        where d.datname = current_database()
        """,
        (Figure("basalt_postgres_transactions_total", "Transactions.", "counter"),),
        labels=("outcome",),
    ),
    Reading(
        """
        select place.name, case place.name when 'memory' then d.blks_hit else d.blks_read end::float8
        from pg_catalog.pg_stat_database as d, (values ('memory'), ('disk')) as place(name)
        where d.datname = current_database()
        """,
        (Figure("basalt_postgres_blocks_total", "Blocks read from memory and from disk.", "counter"),),
        labels=("from",),
    ),
    Reading(
        """
        select d.deadlocks::float8, d.temp_bytes::float8, a.failed_count::float8
        from pg_catalog.pg_stat_database as d, pg_catalog.pg_stat_archiver as a where d.datname = current_database()
        """,
        (
            Figure("basalt_postgres_deadlocks_total", "Deadlocks.", "counter"),
            Figure("basalt_postgres_temp_bytes_total", "Bytes of temporary files.", "counter"),
            Figure(
                "basalt_postgres_archive_failures_total", "Failed attempts to archive the log.", "counter"
            ),
        ),
    ),
)


async def read_figures(conninfo: str, readings: Sequence[Reading]) -> list[Family]:
    """What they say now. A database that does not answer is a figure too."""
    try:
        connection = await psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, connect_timeout=CONNECT_LIMIT_S, application_name="basalt/metrics"
        )
    except (psycopg.Error, OSError):
        return [_family(UP, (), [Sample((), 0.0)])]
    families = [_family(UP, (), [Sample((), 1.0)])]
    try:
        async with asyncio.timeout(READ_LIMIT_S):
            await connection.execute(LIMITS)
            for reading in readings:
                families.extend(await _read(connection, reading))
    except (psycopg.Error, OSError) as error:  # TimeoutError is an OSError
        event("metrics_database_slow", level="warning", reason=str(error).strip() or type(error).__name__)
    finally:
        await connection.close()
    return families


async def _read(connection: psycopg.AsyncConnection, reading: Reading) -> list[Family]:
    """Raises psycopg.Error once the connection is of no more use."""
    try:
        if reading.needs is not None:
            found = await connection.execute("select to_regclass(%s) is not null", [reading.needs])
            if (await found.fetchone()) != (True,):
                return []
        rows = await (await connection.execute(reading.statement)).fetchall()
    except psycopg.Error as error:
        if connection.broken:
            raise
        event("metrics_reading_left_out", level="debug", figure=reading.figures[0].name, reason=str(error))
        return []
    count = len(reading.labels)
    return [
        _family(
            figure,
            reading.labels,
            [
                Sample(tuple(str(value) for value in row[:count]), float(row[count + number]))
                for row in rows
                if row[count + number] is not None
            ],
        )
        for number, figure in enumerate(reading.figures)
    ]


def _family(figure: Figure, labels: tuple[str, ...], samples: list[Sample]) -> Family:
    return Family(figure.name, figure.kind, figure.documentation, labels, samples)


class FigureReader:
    """Reads at most every `pause_s`, and once for all who ask meanwhile."""

    def __init__(self, conninfo: str, readings: Sequence[Reading], *, pause_s: float) -> None:
        self._conninfo = conninfo
        self._readings = readings
        self._pause_s = pause_s
        self._known: list[Family] = []
        self._read_at = float("-inf")
        self._turn = asyncio.Lock()

    async def read(self) -> list[Family]:
        async with self._turn:
            if time.monotonic() - self._read_at >= self._pause_s:
                self._known = await read_figures(self._conninfo, self._readings)
                self._read_at = time.monotonic()
            return self._known
