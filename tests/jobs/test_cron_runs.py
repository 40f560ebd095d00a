"""What a scheduler does with a schedule: outcomes in pg_cron's words, users, policies, time."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from psycopg import sql

from basalt.jobs import CronScheduler
from basalt.jobs.cron.board import LOCK_CLASS, end_lost_runs
from basalt.jobs.cron.session import connect_owner
from basalt.postgres import DatabaseAccess
from tests.jobs.cron_workers import (
    Connection,
    cron_database,
    make_due,
    one,
    postgres_session,
    read_settings,
    result_of,
    running_scheduler,
    until,
)

pytestmark = pytest.mark.req("P11")

__all__ = ["cron_database"]  # a fixture

YEARLY = "0 0 1 1 *"


@pytest.fixture(scope="module")
def database(cron_database: DatabaseAccess) -> DatabaseAccess:
    return cron_database


@pytest.fixture
def admin(database: DatabaseAccess) -> Iterator[Connection]:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def owner(database: DatabaseAccess) -> Iterator[Connection]:
    with postgres_session(database) as connection:
        connection.execute("drop table if exists public.marks")
        connection.execute("create table public.marks (who text default current_user, note text)")
        connection.execute("grant all on public.marks to public")
        yield connection


@pytest.fixture
async def scheduler(database: DatabaseAccess, owner: Connection) -> AsyncIterator[None]:
    async with running_scheduler(database):
        yield


async def outcome(
    owner: Connection, admin: Connection, command: str, username: str = "postgres"
) -> tuple[str, str]:
    """Schedule a command, let it be due, wait for its end."""
    owner.execute(
        "select cron.schedule_in_database('case', %s, %s, current_database(), %s)",
        [YEARLY, command, username],
    )
    make_due(admin, "case")
    return await result_of(owner, "case")


@pytest.mark.usefixtures("scheduler")
@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ("select 1", "succeeded", "1 row"),
        ("select generate_series(1, 2500)", "succeeded", "2500 rows"),
        ("insert into marks (note) values ('a'), ('b')", "succeeded", "INSERT 0 2"),
        ("insert into marks (note) values ('a'); delete from marks", "succeeded", "DELETE 1"),
        ("delete from marks returning 1", "succeeded", "0 rows"),
        ("VACUUM", "succeeded", "VACUUM"),
        ("do $$ begin raise notice 'heard by nobody'; end $$", "succeeded", "DO"),
        ("", "succeeded", "0 rows"),
        ("-- nothing", "succeeded", "0 rows"),
        ("select '50%' as \"a%s\"", "succeeded", "1 row"),
        ("select 1/0", "failed", "ERROR:  division by zero"),
        ("select 1; select nonsense", "failed", 'ERROR:  column "nonsense" does not exist\nLINE 1:'),
        ("copy marks to stdout", "failed", "COPY not supported"),
        (
            "set statement_timeout = '50ms'; select pg_sleep(5)",
            "failed",
            "ERROR:  canceling statement due to statement",
        ),
        ("select pg_terminate_backend(pg_backend_pid())", "failed", "connection lost: "),
    ],
)
async def test_a_run_ends_in_pg_crons_words(
    owner: Connection, admin: Connection, command: str, status: str, message: str
) -> None:
    found = await outcome(owner, admin, command)
    assert found[0] == status
    assert found[1] == message if status == "succeeded" else found[1].startswith(message)


@pytest.mark.usefixtures("scheduler")
async def test_a_failed_command_leaves_nothing_and_the_next_run_comes(
    owner: Connection, admin: Connection
) -> None:
    await outcome(owner, admin, "insert into marks (note) values ('lost'); select 1/0")
    assert one(owner, "select count(*) from marks") == 0
    make_due(admin, "case")
    await until(
        lambda: one(owner, "select count(*) from cron.job_run_details where end_time is not null") == 2
    )


@pytest.mark.usefixtures("scheduler")
async def test_history_tells_what_ran_where_and_for_whom(owner: Connection, admin: Connection) -> None:
    await outcome(owner, admin, "insert into marks (note) values (pg_backend_pid())")
    row = owner.execute(
        "select d.database = current_database(), d.username, d.command, d.job_pid = m.note::int, "
        "d.start_time <= d.end_time, d.tick <= d.start_time, d.jobid = j.jobid "
        "from cron.job_run_details as d, marks as m, cron.job as j"
    ).fetchone()
    assert row == (
        True,
        "postgres",
        "insert into marks (note) values (pg_backend_pid())",
        True,
        True,
        True,
        True,
    )


ESCAPES = [
    "set role supabase_admin",
    "set role postgres",
    "reset role; set role postgres",
    "reset role; set role supabase_admin",
    "set session authorization postgres",
    "set session authorization supabase_admin",
    "reset session authorization; set role postgres",
    "set local role none; set role postgres",
    "do $$ begin execute 'reset role'; execute 'set role postgres'; end $$",
    "alter role authenticated superuser",
    "reset role; create role cron_escaped",
    "reset role; grant postgres to authenticated",
    "select * from cron.ticks",
    "reset role; insert into cron.runs (jobid, is_alone) values (1, true)",
    "create function public.escape() returns void language sql security definer as 'select 1'; "
    "alter function public.escape() owner to postgres",
    "reset role; select pg_read_file('/etc/passwd')",
]


@pytest.mark.usefixtures("scheduler")
@pytest.mark.parametrize("command", ESCAPES)
async def test_a_command_finds_no_way_to_greater_rights(
    owner: Connection, admin: Connection, command: str
) -> None:
    status, message = await outcome(owner, admin, command, "authenticated")
    assert status == "failed"
    assert "permission denied" in message or "must " in message, message


@pytest.mark.usefixtures("scheduler")
async def test_whatever_a_command_resets_it_stays_without_rights(
    owner: Connection, admin: Connection
) -> None:
    facts = """
    reset role; reset session authorization;
    insert into public.marks (note)
    select string_agg(r.rolname, ' ' order by r.rolname) from pg_roles as r
    where pg_has_role(session_user, r.oid, 'member') and r.rolname not like 'basalt_cron%'
    """
    status, _ = await outcome(owner, admin, facts, "authenticated")
    assert status == "succeeded"
    assert owner.execute("select note from marks").fetchall() == [("authenticated",)]


@pytest.mark.usefixtures("scheduler")
@pytest.mark.parametrize("username", ["postgres", "authenticated", "service_role", "authenticator"])
async def test_a_command_runs_as_its_schedules_user(
    owner: Connection, admin: Connection, username: str
) -> None:
    assert await outcome(owner, admin, "insert into public.marks default values", username) == (
        "succeeded",
        "INSERT 0 1",
    )
    assert owner.execute("select who from marks").fetchall() == [(username,)]


@pytest.mark.usefixtures("scheduler")
async def test_a_role_without_a_login_vacuums_and_commits_in_procedures(
    owner: Connection, admin: Connection
) -> None:
    owner.execute("drop procedure if exists public.by_steps()")
    owner.execute(
        "create procedure public.by_steps() language plpgsql as "
        "$$ begin insert into public.marks default values; commit; raise 'then it failed'; end $$"
    )
    status, message = await outcome(owner, admin, "call public.by_steps()", "authenticated")
    assert (status, "then it failed" in message) == ("failed", True)
    assert owner.execute("select who from marks").fetchall() == [("authenticated",)]


@pytest.mark.usefixtures("scheduler")
async def test_a_lent_login_is_closed_after_use_and_goes_with_the_last_schedule(
    database: DatabaseAccess, owner: Connection, admin: Connection
) -> None:
    await outcome(owner, admin, "select 1", "authenticated")
    lent = (
        "select rolname from pg_roles where rolname = 'basalt_cron_' || "
        "(select oid from pg_database where datname = current_database()) || '_' || 'authenticated'::regrole::oid"
    )
    assert one(admin, f"select rolcanlogin from pg_roles where rolname = ({lent})") is False
    assert await outcome(owner, admin, "select 2", "authenticated") == ("succeeded", "1 row")
    owner.execute("delete from cron.job")
    async with running_scheduler(database):  # one that starts cleans up
        await until(lambda: admin.execute(lent.encode()).fetchone() is None)


@pytest.mark.usefixtures("scheduler")
async def test_a_role_that_is_gone_fails_its_runs(owner: Connection, admin: Connection) -> None:
    owner.execute("create role cron_passing")
    owner.execute("grant cron_passing to postgres")
    owner.execute(
        "select cron.schedule_in_database('case', %s, 'select 1', current_database(), 'cron_passing')",
        [YEARLY],
    )
    owner.execute("drop role cron_passing")
    make_due(admin, "case")
    assert await result_of(owner, "case") == (
        "failed",
        'connection failed: role "cron_passing" does not exist',
    )


@pytest.mark.usefixtures("scheduler")
@pytest.mark.parametrize("username", ["postgres", "authenticated"])
async def test_a_command_runs_in_another_database(
    database: DatabaseAccess, owner: Connection, admin: Connection, username: str
) -> None:
    other = f"{database.dbname}_other"
    admin.execute(sql.SQL("create database {}").format(sql.Identifier(other)))
    try:
        command = f"do $$ begin if current_database() <> '{other}' then raise 'elsewhere'; end if; end $$"
        owner.execute(
            "select cron.schedule_in_database('case', %s, %s, %s, %s)", [YEARLY, command, other, username]
        )
        make_due(admin, "case")
        assert await result_of(owner, "case") == ("succeeded", "DO")
    finally:
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(other)))


SLOW = "insert into marks (note) values ('begun'); select pg_sleep(30)"
BLOCKED = "insert into marks default values; select pg_advisory_lock(4711), pg_advisory_unlock(4711)"


@pytest.mark.usefixtures("scheduler")
@pytest.mark.parametrize(("overlap", "at_once", "in_all"), [("skip", 1, 1), ("queue", 1, 2), ("allow", 3, 3)])
async def test_ticks_during_a_run_follow_the_policy(
    owner: Connection, admin: Connection, overlap: str, at_once: int, in_all: int
) -> None:
    admin.execute("select pg_advisory_lock(4711)")
    owner.execute("select cron.schedule('case', %s, %s, 'UTC', overlap => %s)", [YEARLY, BLOCKED, overlap])
    running = "select count(*) from cron.job_run_details where status = 'running'"
    for _ in range(3):
        make_due(admin, "case")
        await until(lambda: one(admin, "select next_tick > clock_timestamp() from cron.ticks"))
        await until(lambda: one(admin, running) >= 1)
    await until(lambda: one(admin, running) == at_once)
    admin.execute("select pg_advisory_unlock(4711)")
    done = "select count(*) from cron.job_run_details where status = 'succeeded'"
    await until(lambda: one(admin, done) == in_all and one(admin, "select count(*) from cron.runs") == 0)


@pytest.mark.usefixtures("scheduler")
async def test_a_long_command_holds_up_no_other(owner: Connection, admin: Connection) -> None:
    owner.execute("select cron.schedule('slow', %s, %s)", [YEARLY, SLOW])
    make_due(admin, "slow")
    await until(lambda: one(admin, "select count(*) from cron.job_run_details where status = 'running'") == 1)
    assert await outcome(owner, admin, "select 1") == ("succeeded", "1 row")
    owner.execute("select cron.unschedule('slow')")


@pytest.mark.usefixtures("scheduler")
@pytest.mark.parametrize(
    "removal",
    [
        "select cron.unschedule('slow')",
        "select cron.alter_job((select jobid from cron.job where jobname = 'slow'), active := false)",
    ],
)
async def test_who_removes_or_pauses_a_schedule_cancels_its_run(
    owner: Connection, admin: Connection, removal: str
) -> None:
    owner.execute("select cron.schedule('slow', %s, 'select pg_sleep(30)')", [YEARLY])
    make_due(admin, "slow")
    await until(lambda: one(admin, "select count(*) from cron.job_run_details where status = 'running'") == 1)
    pid = one(admin, "select job_pid from cron.job_run_details")
    owner.execute(removal.encode())
    await until(
        lambda: (
            one(admin, "select status || ' ' || return_message from cron.job_run_details")
            == "failed job canceled"
        ),
        5,
    )
    await until(lambda: one(admin, "select count(*) from pg_stat_activity where pid = %s", pid) == 0, 5)


async def test_no_more_runs_go_on_at_once_than_the_setting_says(
    database: DatabaseAccess, owner: Connection, admin: Connection
) -> None:
    admin.execute("select pg_advisory_lock(4711)")
    async with running_scheduler(database, "[basalt.cron]\nmax_running = 2"):
        for number in range(4):
            owner.execute("select cron.schedule(%s, %s, %s)", [f"n{number}", YEARLY, BLOCKED])
            make_due(admin, f"n{number}")
        await until(lambda: one(admin, "select count(*) from cron.runs") == 4)
        await until(lambda: one(admin, "select count(*) from cron.runs where state = 'running'") == 2)
        admin.execute("select pg_advisory_unlock(4711)")
        await until(
            lambda: one(admin, "select count(*) from cron.job_run_details where status = 'succeeded'") == 4
        )


@pytest.mark.parametrize(("missed", "runs"), [("skip", 0), ("once", 1)])
async def test_ticks_that_passed_without_a_worker_follow_the_policy(
    database: DatabaseAccess, owner: Connection, admin: Connection, missed: str, runs: int
) -> None:
    owner.execute("select cron.schedule('case', '0 * * * *', 'select 1', 'UTC', missed => %s)", [missed])
    make_due(admin, "case", ago_s=5 * 3600)
    async with running_scheduler(database):
        await until(lambda: one(admin, "select next_tick > clock_timestamp() from cron.ticks"))
        await until(lambda: one(admin, "select count(*) from cron.runs") == 0)
        assert one(admin, "select count(*) from cron.job_run_details") == runs


@pytest.mark.usefixtures("scheduler")
async def test_a_paused_schedule_has_no_runs_until_it_goes_on(owner: Connection, admin: Connection) -> None:
    number = one(
        owner,
        "select cron.schedule_in_database('case', '1 second', 'select 1', current_database(), active := false)",
    )
    owner.execute("select cron.schedule('beside', '1 second', 'select 1')")
    await result_of(owner, "beside")
    count = "select count(*) from cron.job_run_details where jobid = %s"
    assert one(owner, count, number) == 0
    owner.execute("select cron.alter_job(%s, active := true)", [number])
    await until(lambda: one(owner, count, number) >= 1)


@pytest.mark.usefixtures("scheduler")
async def test_seconds_are_kept_without_drift(owner: Connection, admin: Connection) -> None:
    made = one(owner, "select cron.schedule('case', '1 seconds', 'select 1')")
    await until(
        lambda: one(owner, "select count(*) from cron.job_run_details where end_time is not null") >= 4
    )
    rows = owner.execute(
        "select extract(epoch from tick - first_value(tick) over (order by tick))::float, "
        "extract(epoch from start_time - tick)::float from cron.job_run_details where jobid = %s order by tick limit 4",
        [made],
    ).fetchall()
    assert [row[0] for row in rows] == [0, 1, 2, 3]
    assert sorted(row[1] for row in rows)[1] < 0.5  # of the start; the median, as others share the machine


@pytest.mark.usefixtures("scheduler")
async def test_a_changed_schedule_counts_within_a_second(owner: Connection, admin: Connection) -> None:
    await outcome(owner, admin, "select 1")
    owner.execute("select cron.schedule('case', '0 0 2 2 *', 'select 1')")
    planned = "select to_char(next_tick at time zone 'UTC', 'DD MM') from cron.ticks"
    await until(lambda: one(admin, planned) == "02 02", 3)
    owner.execute("select cron.schedule('case', '0 0 2 2 *', 'select 1', timezone => 'Asia/Singapore')")
    await until(lambda: one(admin, planned) == "01 02", 3)


async def test_a_start_of_postgresql_is_a_tick_once(
    database: DatabaseAccess, owner: Connection, admin: Connection
) -> None:
    owner.execute("select cron.schedule('case', '@reboot', 'select 1')")
    async with running_scheduler(database):
        await until(lambda: one(admin, "select is_planned from cron.ticks"))
    assert one(admin, "select count(*) from cron.job_run_details") == 0  # made after the start
    admin.execute("update cron.ticks set since = pg_postmaster_start_time() - interval '1 day'")
    for _ in range(2):
        async with running_scheduler(database), running_scheduler(database):
            await until(
                lambda: (
                    one(admin, "select count(*) from cron.job_run_details where status = 'succeeded'") == 1
                )
            )
            await until(lambda: one(admin, "select next_tick is null from cron.ticks"))
    assert one(admin, "select tick = pg_postmaster_start_time() from cron.job_run_details") is True


async def test_old_history_is_removed(database: DatabaseAccess, owner: Connection, admin: Connection) -> None:
    admin.execute(
        "insert into cron.job_run_details (status, end_time) select 'succeeded', now() - n * interval '1h' "
        "from generate_series(1, 4) as n"
    )
    async with running_scheduler(database, "[basalt.cron]\nkeep_runs = 9000"):
        await until(lambda: one(admin, "select count(*) from cron.job_run_details") == 2)


async def test_a_stop_waits_for_what_runs(
    database: DatabaseAccess, owner: Connection, admin: Connection
) -> None:
    async with running_scheduler(database):
        owner.execute("select cron.schedule('case', %s, 'select pg_sleep(0.7)')", [YEARLY])
        make_due(admin, "case")
        await until(
            lambda: one(admin, "select count(*) from cron.job_run_details where status = 'running'") == 1
        )
    assert one(admin, "select status from cron.job_run_details") == "succeeded"


async def test_a_worker_that_may_wait_no_longer_cancels_what_runs(
    database: DatabaseAccess, owner: Connection, admin: Connection
) -> None:
    scheduler = asyncio.create_task(CronScheduler(read_settings(), database).run(asyncio.Event()))
    owner.execute("select cron.schedule('case', %s, 'select pg_sleep(30)')", [YEARLY])
    make_due(admin, "case")
    await until(lambda: one(admin, "select count(*) from cron.job_run_details where status = 'running'") == 1)
    pid = one(admin, "select job_pid from cron.job_run_details")
    scheduler.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scheduler
    row = admin.execute("select status, return_message from cron.job_run_details").fetchone()
    assert row == ("failed", "the worker was stopped")
    await until(lambda: one(admin, "select count(*) from pg_stat_activity where pid = %s", pid) == 0)
    assert one(admin, "select count(*) from cron.runs") == 0


async def test_a_run_whose_worker_is_gone_is_ended(
    database: DatabaseAccess, owner: Connection, admin: Connection
) -> None:
    admin.execute(
        "insert into cron.runs (runid, jobid, state, worker, is_alone) values (77, 1, 'running', 12345, true)"
    )
    admin.execute("insert into cron.job_run_details (runid, jobid, status) values (77, 1, 'running')")
    async with await connect_owner(database, "test") as connection:
        with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as worker:
            worker.execute("select pg_advisory_lock(%s, 12345)", [LOCK_CLASS])
            assert await end_lost_runs(connection) == []
        await until(lambda: one(admin, "select count(*) from pg_locks where objid = 12345") == 0)
        assert await end_lost_runs(connection) == [77]
    row = admin.execute("select status, return_message from cron.job_run_details").fetchone()
    assert row == ("failed", "the worker ended before the run did")


async def test_schedules_come_and_go_with_the_extension(
    database: DatabaseAccess, owner: Connection, admin: Connection
) -> None:
    async with running_scheduler(database):
        owner.execute("drop extension pg_cron")
        owner.execute("create extension pg_cron")
        owner.execute("select cron.schedule('case', '1 second', 'select 1')")
        assert await result_of(owner, "case") == ("succeeded", "1 row")
