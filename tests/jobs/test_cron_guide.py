"""Supabase's guide "Cron", example by example, as role `postgres`."""

from collections.abc import AsyncIterator, Iterator

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
)

pytestmark = pytest.mark.req("P11")

__all__ = ["cron_database"]  # a fixture

JOBID = "(select jobid from cron.job where jobname = 'permanent-cron-job-name')"
PROJECT = """
drop table if exists events, said;
drop extension if exists pg_net;
create extension pg_net;
create table events (event_time timestamptz);
create table said (what text);
create or replace function hello_world() returns text language sql as $$ select 'hello world' $$;
create or replace procedure my_procedure() language sql as $$ insert into said values ('my_procedure') $$;
create or replace procedure do_something() language sql as $$ insert into said values ('something') $$;
insert into events values (now()), (now() - interval '8 days'), (now() - interval '2 weeks');
"""


@pytest.fixture
def owner(cron_database: DatabaseAccess) -> Iterator[Connection]:
    with postgres_session(cron_database) as connection:
        connection.execute(PROJECT)
        yield connection


@pytest.fixture
def admin(cron_database: DatabaseAccess) -> Iterator[Connection]:
    with psycopg.connect(cron_database.conninfo("supabase_admin"), autocommit=True) as connection:
        yield connection


@pytest.fixture(autouse=True)
async def scheduler(cron_database: DatabaseAccess, owner: Connection) -> AsyncIterator[None]:
    async with running_scheduler(cron_database):
        yield


EXAMPLES = {
    "saturday-cleanup": (
        """select cron.schedule (
          'saturday-cleanup', -- name of the cron job
          '30 3 * * 6', -- Saturday at 3:30am (GMT)
          $$ delete from events where event_time < now() - interval '1 week' $$
        );""",
        "DELETE 2",
    ),
    "nightly-vacuum": ("select cron.schedule('nightly-vacuum', '0 3 * * *', 'VACUUM');", "VACUUM"),
    "call-db-function": (
        "select cron.schedule('call-db-function', '*/5 * * * *', 'SELECT hello_world()');",
        "1 row",
    ),
    "call-db-procedure": (
        "select cron.schedule('call-db-procedure', '*/5 * * * *', 'CALL my_procedure()');",
        "CALL",
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_of_the_guide_runs(owner: Connection, admin: Connection, name: str) -> None:
    statement, message = EXAMPLES[name]
    assert one(owner, statement) == one(owner, "select jobid from cron.job where jobname = %s", name)
    await until(lambda: one(admin, "select next_tick > now() from cron.ticks"))
    make_due(admin, name)
    assert await result_of(owner, name) == ("succeeded", message)


async def test_an_edge_function_is_invoked_every_half_minute(owner: Connection, admin: Connection) -> None:
    """That a request is queued is shown here, that it arrives by the tests of `net`."""
    owner.execute(
        """
        select
          cron.schedule(
            'invoke-function-every-half-minute',
            '30 seconds',
            $$
            select
              net.http_post(
                  url:='https://project-ref.supabase.co/functions/v1/function-name',
                  headers:=jsonb_build_object('Content-Type','application/json', 'Authorization', 'Bearer ' || 'KEY'),
                  body:=jsonb_build_object('time', now() ),
                  timeout_milliseconds:=5000
              ) as request_id;
            $$
          );
        """
    )
    assert (
        one(admin, "select count(*) from cron.ticks as t where next_tick is null or next_tick > now()") == 1
    )
    await until(lambda: one(admin, "select next_tick - since = interval '30 seconds' from cron.ticks"))
    make_due(admin, "invoke-function-every-half-minute")
    status, message = await result_of(owner, "invoke-function-every-half-minute")
    assert (status, message) == ("succeeded", "1 row") or "does not have yet" in message


async def test_a_job_is_edited_paused_and_unscheduled(owner: Connection) -> None:
    owner.execute("select cron.schedule('permanent-cron-job-name', '30 seconds', 'CALL do_something()')")
    owner.execute(f"select cron.alter_job(job_id := {JOBID}, schedule := '*/5 * * * *')".encode())
    assert one(owner, "select schedule from cron.job") == "*/5 * * * *"
    for active in ("false", "true"):
        owner.execute(f"select cron.alter_job(job_id := {JOBID}, active := {active})".encode())
        assert one(owner, "select active::text from cron.job") == active
    assert one(owner, "select cron.unschedule('permanent-cron-job-name')") is True
    assert one(owner, "select count(*) from cron.job") == 0


async def test_runs_are_inspected_and_stay_when_the_job_goes(owner: Connection, admin: Connection) -> None:
    owner.execute("select cron.schedule('permanent-cron-job-name', '30 seconds', 'CALL do_something()')")
    await until(lambda: one(admin, "select next_tick is not null from cron.ticks"))
    make_due(admin, "permanent-cron-job-name")
    await result_of(owner, "permanent-cron-job-name")
    inspect = f"select * from cron.job_run_details where jobid = {JOBID} order by start_time desc limit 10"
    with owner.cursor() as cursor:
        rows = cursor.execute(inspect.encode()).fetchall()
        assert cursor.description is not None
        titles = [column.name for column in cursor.description]
    assert len(rows) == 1
    run = dict(zip(titles, rows[0], strict=True))
    assert (run["status"], run["return_message"], run["username"]) == ("succeeded", "CALL", "postgres")
    owner.execute("select cron.unschedule('permanent-cron-job-name')")
    assert one(owner, "select count(*) from cron.job_run_details") == 1


async def test_everyone_removes_their_own_history(owner: Connection, admin: Connection) -> None:
    owner.execute("select cron.schedule('n', '0 3 * * *', 'select 1')")
    await until(lambda: one(admin, "select next_tick is not null from cron.ticks"))
    make_due(admin, "n")
    await result_of(owner, "n")
    removed = owner.execute("delete from cron.job_run_details where end_time < now() + interval '7 days'")
    assert removed.rowcount == 1
