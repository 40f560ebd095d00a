"""Several workers over one database, one killed, the database away: every tick has one run."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from basalt.postgres import DatabaseAccess
from tests.jobs.cron_workers import (
    Connection,
    cron_database,
    make_due,
    one,
    postgres_session,
    result_of,
    running_scheduler,
    until,
    worker_process,
)

pytestmark = pytest.mark.req("P11", "P24")

__all__ = ["cron_database"]  # a fixture


@pytest.fixture
def owner(cron_database: DatabaseAccess) -> Iterator[Connection]:
    with postgres_session(cron_database) as connection:
        connection.execute("drop table if exists public.marks")
        connection.execute("create table public.marks (at timestamptz default clock_timestamp(), note text)")
        yield connection


@pytest.fixture
def admin(cron_database: DatabaseAccess) -> Iterator[Connection]:
    with psycopg.connect(cron_database.conninfo("supabase_admin"), autocommit=True) as connection:
        yield connection


def count_listeners(admin: Connection) -> int:
    listeners: int = one(
        admin,
        "select count(*) from pg_stat_activity "
        "where application_name = 'basalt/cron-listener' and datname = current_database()",
    )
    return listeners


async def test_of_three_workers_one_runs_each_second_and_a_killed_one_is_not_missed(
    cron_database: DatabaseAccess, owner: Connection, admin: Connection, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(worker_process(cron_database, tmp_path, f"w{n}")) for n in range(3)]
        await until(lambda: count_listeners(admin) == 3)
        number = one(
            owner, "select cron.schedule('beat', '1 seconds', 'insert into marks (note) values (1)')"
        )
        await until(lambda: one(owner, "select count(*) from marks") >= 3)
        workers[0].kill()
        killed_at = one(owner, "select clock_timestamp()")
        await until(lambda: count_listeners(admin) == 2)
        await until(lambda: one(owner, "select count(*) from marks where at > %s", killed_at) >= 4)
        owner.execute("select cron.alter_job(%s, active := false)", [number])
        await until(lambda: one(admin, "select count(*) from cron.runs") == 0)
        workers[1].send_signal(signal.SIGTERM)
    ticks, runs, span, marks = owner.execute(
        "select count(distinct tick), count(*), 1 + extract(epoch from max(tick) - min(tick))::int, "
        "(select count(*) from marks) from cron.job_run_details where jobid = %s",
        [number],
    ).fetchone() or (0, 0, 0, 0)
    assert ticks == runs == span, "each second has one run"
    failed = one(owner, "select count(*) from cron.job_run_details where status = 'failed'")
    assert runs - failed <= marks <= runs
    assert failed <= 2  # what the killed one was in the middle of, and what was going on at the end


async def test_a_run_whose_worker_is_killed_fails_and_its_command_does_not_go_on(
    cron_database: DatabaseAccess, owner: Connection, admin: Connection, tmp_path: Path
) -> None:
    command = "select pg_sleep(8); insert into public.marks (note) values ('went on')"
    owner.execute("select cron.schedule('slow', '0 0 1 1 *', %s)", [command])
    with worker_process(cron_database, tmp_path, "first") as first:
        await until(lambda: count_listeners(admin) == 1)
        make_due(admin, "slow")
        await until(
            lambda: one(admin, "select count(*) from cron.job_run_details where status = 'running'") == 1
        )
        pid = one(admin, "select job_pid from cron.job_run_details")
        first.kill()
        first.wait(10)
    async with running_scheduler(cron_database):
        status, message = await result_of(owner, "slow", 5)
    assert (status, message) == ("failed", "the worker ended before the run did")
    await until(lambda: one(admin, "select count(*) from pg_stat_activity where pid = %s", pid) == 0, 5)
    assert one(owner, "select count(*) from marks") == 0


async def test_a_database_that_was_away_finds_its_schedules_going_on(
    cron_database: DatabaseAccess, owner: Connection, admin: Connection
) -> None:
    async with running_scheduler(cron_database):
        owner.execute("select cron.schedule('beat', '1 second', 'insert into marks (note) values (1)')")
        await until(lambda: one(owner, "select count(*) from marks") >= 1)
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name like 'basalt/cron%' and datname = current_database()"
        )
        cut_at = one(owner, "select clock_timestamp()")
        await until(lambda: one(owner, "select count(*) from marks where at > %s", cut_at) >= 2)
    assert one(owner, "select count(*) = count(distinct (jobid, tick)) from cron.job_run_details") is True


async def test_workers_that_start_together_share_what_is_due(
    cron_database: DatabaseAccess, owner: Connection, admin: Connection
) -> None:
    for n in range(60):
        owner.execute(
            "select cron.schedule(%s, '0 0 1 1 *', 'insert into marks (note) values (1)')", [f"n{n}"]
        )
    admin.execute("update cron.ticks set next_tick = clock_timestamp(), is_planned = true")
    async with (
        running_scheduler(cron_database),
        running_scheduler(cron_database),
        running_scheduler(cron_database),
    ):
        await until(
            lambda: one(admin, "select count(*) from cron.job_run_details where end_time is not null") == 60
        )
    assert one(owner, "select count(*) from marks") == 60
    assert (
        one(owner, "select count(distinct jobid) from cron.job_run_details where status = 'succeeded'") == 60
    )
