"""Policies take away, move or mark rows that are old enough, in small batches, and leave the rest."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from basalt.config import ConfigError, Settings
from basalt.errors import BasaltError
from basalt.jobs import DiscardJob, Job, ensure_configured_schedules
from basalt.postgres import DatabaseAccess
from basalt.project import RetentionJobs, describe_policies, run_policy
from basalt.project.retention.statements import build_batch
from tests.projects import settings_of, write_project

pytestmark = [pytest.mark.req("P25", "M5")]

LOGS = '[basalt.retention.logs]\ntable = "public.logs"\nolder_than = "30d"\n'
TABLES = """
create table public.logs (id bigint generated always as identity primary key, kind text, created_at timestamptz,
    archived_at timestamptz, state text not null default 'new');
create table public.old_logs (like public.logs);
insert into public.logs (kind, created_at)
select case when n % 10 = 0 then 'audit' else 'call' end, now() - interval '31 days' from generate_series(1, 250) as n;
insert into public.logs (kind, created_at) select 'call', now() - interval '29 days' from generate_series(1, 50);
"""

WAITING = """
select from pg_locks where not granted and database = (select oid from pg_database where datname = current_database())
"""


@pytest.fixture
def logs(database: DatabaseAccess) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(TABLES.encode())
        yield connection


def settings(tmp_path: Path, config: str) -> Settings:
    return settings_of(write_project(tmp_path, {"config.toml": config}))


def count(connection: psycopg.Connection, table: str, where: str = "true") -> int:
    row = connection.execute(f"select count(*) from {table} where {where}").fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(row[0])


def test_old_rows_go_in_batches_unless_they_are_excepted(
    tmp_path: Path, database: DatabaseAccess, logs: psycopg.Connection
) -> None:
    config = settings(tmp_path, LOGS + "batch_size = 100\nunless = \"t.kind = 'audit'\"")
    assert run_policy(config, database, "logs", is_dry=True) == 225
    assert count(logs, "public.logs") == 300
    assert run_policy(config, database, "logs") == 225
    assert count(logs, "public.logs") == 75
    run = logs.execute(
        "select row_count, batch_count, finished_at is not null, error from basalt.retention_runs"
    ).fetchall()
    assert run == [(225, 4, True, None)]  # the last batch finds nothing
    assert run_policy(config, database, "logs") == 0


def test_rows_move_to_an_archive_or_are_marked(
    tmp_path: Path, database: DatabaseAccess, logs: psycopg.Connection
) -> None:
    mark = settings(tmp_path, LOGS + 'action = "set"\nset_column = "archived_at"')
    assert run_policy(mark, database, "logs") == 250
    assert count(logs, "public.logs", "archived_at is not null") == 250
    assert run_policy(mark, database, "logs") == 0  # what is marked is not due again
    name = settings(tmp_path, LOGS + 'action = "set"\nset_column = "state"\nset_value = "old"')
    assert run_policy(name, database, "logs") == 250
    move = settings(tmp_path, LOGS + 'action = "archive"\narchive_table = "public.old_logs"')
    assert run_policy(move, database, "logs") == 250
    assert (count(logs, "public.logs"), count(logs, "public.old_logs", "state = 'old'")) == (50, 250)


def test_partitions_and_children_lose_no_row_that_is_not_due(
    tmp_path: Path, database: DatabaseAccess
) -> None:
    """Rows of two partitions have the same `ctid`."""
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(
            """
            create table public.calls (id int, created_at timestamptz not null, seen boolean default false)
                partition by range (created_at);
            create table public.calls_old partition of public.calls for values from ('2020-01-01') to ('2020-06-01');
            create table public.calls_new partition of public.calls for values from ('2020-06-01') to ('2999-01-01');
            create table public.old_calls (like public.calls);
            insert into public.calls select n, '2020-02-01' from generate_series(1, 100) as n;
            insert into public.calls select n, now() from generate_series(101, 200) as n;
            create table public.visits (id int, created_at timestamptz);
            create table public.visits_more () inherits (public.visits);
            insert into public.visits select n, '2020-02-01' from generate_series(1, 100) as n;
            insert into public.visits_more select n, now() from generate_series(1, 100) as n;
            """
        )
        base = '[basalt.retention.calls]\ntable = "public.calls"\nolder_than = "30d"\nbatch_size = 30\n'
        mark = 'action = "set"\nset_column = "seen"\nset_value = "true"'
        move = 'action = "archive"\narchive_table = "public.old_calls"'
        for config in (mark, move):
            assert run_policy(settings(tmp_path, base + config), database, "calls") == 100
        assert count(connection, "public.calls", "not seen") == count(connection, "public.calls") == 100
        assert count(connection, "public.old_calls", "seen") == 100
        visits = base.replace("calls", "visits")
        assert run_policy(settings(tmp_path, visits), database, "visits") == 100
        assert count(connection, "public.visits") == 100


def test_an_archive_may_be_made_like_the_table_with_all_it_has(
    tmp_path: Path, database: DatabaseAccess, logs: psycopg.Connection
) -> None:
    logs.execute("create table public.kept_logs (like public.logs including all)")
    config = settings(tmp_path, LOGS + 'action = "archive"\narchive_table = "public.kept_logs"')
    assert run_policy(config, database, "logs") == 250
    assert count(logs, "public.kept_logs") == 250


def test_an_age_without_a_time_zone_is_in_utc(tmp_path: Path, database: DatabaseAccess) -> None:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(
            """
            alter role postgres in database current set timezone = 'Pacific/Kiritimati';
            create table public.notes (created_at timestamp default (now() at time zone 'UTC'), gone_at timestamp);
            insert into public.notes values (default), (now() at time zone 'UTC' - interval '2 hours');
            """.replace("database current", f'database "{database.dbname}"').encode()
        )
        config = '[basalt.retention.notes]\ntable = "public.notes"\nolder_than = "1h"\n'
        mark = settings(tmp_path, config + 'action = "set"\nset_column = "gone_at"')
        assert run_policy(mark, database, "notes", is_dry=True) == 1
        assert run_policy(mark, database, "notes") == 1
        late = "abs(extract(epoch from gone_at - (now() at time zone 'UTC'))) > 60"
        assert count(connection, "public.notes", late) == 0


def test_a_batch_finds_its_rows_by_the_index(
    tmp_path: Path, database: DatabaseAccess, logs: psycopg.Connection
) -> None:
    logs.execute(
        "insert into public.logs (kind, created_at) select 'call', now() from generate_series(1, 20000)"
    )
    logs.execute("create index on public.logs (created_at); analyze public.logs")
    policy = settings(tmp_path, LOGS).basalt.retention["logs"]
    batch = build_batch(logs, "logs", policy)
    plan = "\n".join(line for (line,) in logs.execute(sql.SQL("explain ") + batch).fetchall())
    assert "logs_created_at_idx" in plan
    assert "Tid Scan" in plan
    assert "Seq Scan on logs" not in plan


def test_a_row_that_somebody_holds_waits_for_the_next_run(
    tmp_path: Path, database: DatabaseAccess, logs: psycopg.Connection
) -> None:
    with psycopg.connect(database.conninfo("postgres")) as other:
        other.execute("select from public.logs order by id limit 7 for update")
        assert run_policy(settings(tmp_path, LOGS), database, "logs") == 243
    assert run_policy(settings(tmp_path, LOGS), database, "logs") == 7


def test_what_fails_is_written_down_and_stops_at_its_batch(
    tmp_path: Path, database: DatabaseAccess, logs: psycopg.Connection
) -> None:
    logs.execute("create table public.notes (log_id bigint references public.logs)")
    logs.execute(
        "insert into public.notes select max(id) from public.logs where created_at < now() - interval '30 days'"
    )
    with pytest.raises(BasaltError, match="violates foreign key"):
        run_policy(settings(tmp_path, LOGS + "batch_size = 100"), database, "logs")
    assert count(logs, "public.logs") == 100
    [row] = describe_policies(settings(tmp_path, LOGS), database)
    assert (row.due, row.last_rows) == (50, 200)
    assert "violates foreign key" in (row.last_error or "")


def test_a_condition_has_the_rights_of_postgres_and_no_more(
    tmp_path: Path, database: DatabaseAccess, logs: psycopg.Connection
) -> None:
    config = settings(tmp_path, LOGS + "unless = \"pg_read_file('/etc/passwd') is null\"")
    with pytest.raises(BasaltError, match="permission denied"):
        run_policy(config, database, "logs")
    assert count(logs, "public.logs") == 300


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            '[basalt.retention.a]\ntable = "logs"\nolder_than = "1d"',
            "a table's name has its schema before it",
        ),
        ('[basalt.retention.a]\ntable = "public.logs"', "say from which age on rows are due"),
        (LOGS + 'action = "archive"', "say where `archive` puts the rows"),
        (LOGS + 'action = "set"', "say which column `set` writes"),
        (LOGS + 'schedule = "at noon"', "is no schedule"),
        (LOGS + 'timezone = "Moon"', "is no time zone"),
    ],
    ids=["no-schema", "no-age", "no-archive", "no-column", "no-schedule", "no-zone"],
)
def test_a_policy_that_cannot_be_meant_stops_the_start(tmp_path: Path, config: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(tmp_path, config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            '[basalt.retention.a]\ntable = "public.nothing"\nolder_than = "1d"',
            "there is no table public.nothing",
        ),
        (
            '[basalt.retention.a]\ntable = "public.logs"\ncolumn = "kind"\nolder_than = "1d"',
            "no column kind that holds a time",
        ),
    ],
    ids=["no-table", "no-time"],
)
def test_a_policy_that_does_not_fit_its_table_is_told(
    tmp_path: Path, database: DatabaseAccess, logs: psycopg.Connection, config: str, message: str
) -> None:
    with pytest.raises(BasaltError, match=message):
        run_policy(settings(tmp_path, config), database, "a")
    [row] = describe_policies(settings(tmp_path, config), database)
    assert message in row.problem
    with pytest.raises(BasaltError, match="There is no retention policy b"):
        run_policy(settings(tmp_path, config), database, "b")


async def test_a_schedule_asks_for_the_job_and_the_job_runs_the_policy(
    tmp_path: Path, database: DatabaseAccess, logs: psycopg.Connection
) -> None:
    config = settings(tmp_path, LOGS + 'schedule = "30 2 * * *"\ntimezone = "Asia/Singapore"')
    await ensure_configured_schedules(config, database)
    row = logs.execute("select jobname, schedule, timezone, command from cron.job").fetchone()
    assert row is not None
    assert row[:3] == ("retention/logs", "30 2 * * *", "Asia/Singapore")
    logs.execute(row[3])
    logs.execute(row[3])  # a run that has not begun is not asked for again
    assert logs.execute("select name, payload from basalt.jobs").fetchall() == [
        ("basalt.retention", {"policy": "logs"})
    ]
    [handler] = RetentionJobs(config, database).handlers.values()
    assert await handler(job({"policy": "logs"})) == {"rows": 250}
    with pytest.raises(DiscardJob, match="There is no retention policy gone"):
        await handler(job({"policy": "gone"}))
    await ensure_configured_schedules(settings(tmp_path, ""), database)
    assert count(logs, "cron.job") == 0


async def test_a_worker_that_stops_waits_for_a_batch_and_not_for_the_run(
    tmp_path: Path, database: DatabaseAccess, logs: psycopg.Connection
) -> None:
    """Each batch waits for us, whom we are in the way of."""
    config = settings(tmp_path, LOGS + "batch_size = 1")
    logs.execute("create table public.gate (id int)")
    logs.execute(
        "create function public.pass() returns trigger language plpgsql as "
        "'begin perform count(*) from public.gate; return old; end'; "
        "create trigger pass before delete on public.logs for each row execute function public.pass()"
    )
    [handler] = RetentionJobs(config, database).handlers.values()
    with psycopg.connect(database.conninfo("postgres")) as other:
        other.execute("lock table public.gate")
        running = asyncio.create_task(handler(job({"policy": "logs"})))
        async with asyncio.timeout(10):
            while not logs.execute(WAITING).fetchall():
                await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    async with asyncio.timeout(10):
        while logs.execute("select from basalt.retention_runs where finished_at is null").fetchall():
            await asyncio.sleep(0.01)
    assert count(logs, "public.logs") == 299
    assert count(logs, "basalt.jobs") == 0  # the job itself comes again


def job(payload: object) -> Job:
    async def report(fraction: float, note: str | None) -> None:
        pass

    return Job(1, "basalt.retention", "default", payload, 1, 10, None, None, None, report)  # type: ignore[arg-type]
