"""Enqueueing: keys, refusals, privileges, from SQL and from Python."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from basalt import observe
from basalt.jobs import JobError, JobQueue, NewJob, QueueFullError
from basalt.postgres import DatabaseAccess, open_pool
from tests.jobs.engines import Recorder, connected, eventually, running_engine

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "jobs.md"
SMALL = "[basalt.queues.default]\nmax_depth = 3\n"


@asynccontextmanager
async def job_queue(access: DatabaseAccess, role: str = "postgres", size: int = 4) -> AsyncIterator[JobQueue]:
    async with open_pool(access.conninfo(role), max_size=size, name="test") as pool:
        yield JobQueue(pool)


@pytest.mark.req("P10")
async def test_of_two_jobs_with_one_key_the_second_is_not_made(database: DatabaseAccess) -> None:
    async with connected(database) as sql:
        first = await sql.value("select basalt.enqueue('a.do', '1', key => 'k')")
        assert await sql.value("select basalt.enqueue('a.do', '2', key => 'k')") == first
        assert await sql.value("select basalt.enqueue('a.other', key => 'k')") != first
        assert await sql.value("select count(*) from basalt.jobs where payload = '2'") == 0
        ids = await sql.value(
            """select basalt.enqueue_many('[{"name": "a.do"}, {"name": "a.do", "key": "n"},
            {"name": "a.do", "key": "k"}, {"name": "a.do", "key": "n"}]')"""
        )
        assert ids[2] == first
        assert ids[1] == ids[3]
        assert len(set(ids)) == 3


@pytest.mark.req("P10")
async def test_a_key_holds_as_long_as_its_job_is_kept_but_not_once_it_is_dead(
    database: DatabaseAccess,
) -> None:
    async def fail(job: object) -> None:
        raise ValueError

    handler = Recorder()
    config = "[basalt.queues.kept]\nkeep_finished = 600\n[basalt.queues.default]\nmax_attempts = 1\n"
    async with (
        connected(database) as sql,
        running_engine(database, {"a.do": handler, "a.fail": fail}, config),
    ):
        kept = await sql.value("select basalt.enqueue('a.do', queue => 'kept', key => 'k')")
        gone = await sql.value("select basalt.enqueue('a.do', key => 'g')")
        dead = await sql.value("select basalt.enqueue('a.fail', key => 'd')")
        await sql.becomes(0, "select count(*) from basalt.jobs")
        assert await sql.value("select basalt.enqueue('a.do', queue => 'kept', key => 'k')") == kept
        assert await sql.value("""select basalt.enqueue_many('[{"name": "a.do", "key": "k"}]')""") == [kept]
        assert await sql.value("select basalt.enqueue('a.do', key => 'g')") != gone
        again = await sql.value("select basalt.enqueue('a.fail', key => 'd', delay => '1 hour')")
        assert again != dead
        assert await sql.value("select basalt.replay_dead()") == 0  # its key is taken
        await sql.rows("select basalt.cancel_job(%s)", again)
        assert await sql.value("select basalt.replay_dead()") == 1
        await sql.becomes(0, "select count(*) from basalt.jobs")


@pytest.mark.req("P10")
async def test_many_enqueue_one_key_at_once_and_it_runs_once(database: DatabaseAccess) -> None:
    handler = Recorder(lambda job: asyncio.sleep(0.5))

    async def enqueue() -> int:
        async with connected(database) as sql:
            return int(await sql.value("select basalt.enqueue('a.do', key => 'only')"))

    async with running_engine(database, {"a.do": handler}):
        ids = await asyncio.gather(*[enqueue() for _ in range(8)])
        await eventually(lambda: handler.running == 1)
    assert len(set(ids)) == 1
    assert len(handler.jobs) == 1


@pytest.mark.req("P10")
async def test_a_full_queue_refuses_and_says_when_to_come_again(database: DatabaseAccess) -> None:
    handler = Recorder(lambda job: asyncio.sleep(60))
    config = SMALL + "[basalt.worker]\nconcurrency = 1\ndrain_timeout = 0.1\n"
    async with connected(database) as sql, running_engine(database, {"a.do": handler}, config):
        await sql.rows("select basalt.enqueue('a.do')")
        await eventually(lambda: handler.running == 1)
        for _ in range(3):
            await sql.rows("select basalt.enqueue('a.do', key => 'k' || random())")
        one_more = "select basalt.enqueue('a.do')"
        with contextlib.suppress(
            psycopg.Error
        ):  # may fit in, where the worker counted while one was committing
            await sql.rows(one_more)
        with pytest.raises(psycopg.Error) as refused:
            await sql.rows(one_more)
        assert refused.value.sqlstate == "PT429"
        assert refused.value.diag.message_primary == "QUEUE_FULL: The queue default is full"
        assert refused.value.diag.message_detail == '{"queue": "default", "retry_after": 5}'
        assert await sql.count() in (4, 5)
        assert await sql.value("select basalt.enqueue('a.do', queue => 'other')")
        assert await sql.value(
            "select basalt.enqueue('a.do', key => key) from basalt.jobs where key is not null limit 1"
        )  # is there already, and takes no room
        async with job_queue(database) as queue:
            with pytest.raises(QueueFullError) as full:
                await queue.enqueue([NewJob(name="a.do", queue="fresh"), NewJob(name="a.do")])
        assert (full.value.status, full.value.headers) == (429, (("Retry-After", "5"),))
        assert await sql.value("select count(*) from basalt.jobs where queue = 'fresh'") == 0
        await sql.rows("select basalt.purge_queue('default')")
        await sql.becomes(
            True, "select depth < 3 from basalt.queues where name = 'default'"
        )  # looked at every second
        assert await sql.value("select basalt.enqueue('a.do')")


@pytest.mark.req("P10")
async def test_a_queue_is_full_without_a_worker_too(database: DatabaseAccess) -> None:
    async with connected(database) as sql, connected(database, "supabase_admin") as owner:
        await owner.rows("update basalt.queues set max_depth = 100")
        await sql.rows(
            "select basalt.enqueue('a.do', delay => i * interval '1 min') from generate_series(0, 98) i"
        )
        await sql.rows("select basalt.enqueue('a.do')")
        with pytest.raises(psycopg.Error, match="QUEUE_FULL"):
            await sql.rows("select basalt.enqueue('a.do')")
        await sql.rows("select basalt.cancel_job(max(id)) from basalt.jobs")
        await sql.rows("select basalt.enqueue('a.do')")
        await owner.rows("update basalt.queues set max_depth = 0")
        await sql.rows("select basalt.enqueue('a.do') from generate_series(1, 50)")


@pytest.mark.req("P10")
@pytest.mark.parametrize("role", ["anon", "authenticated"])
async def test_users_may_neither_enqueue_nor_look(database: DatabaseAccess, role: str) -> None:
    statements = [
        "select basalt.enqueue('a.do')",
        "select basalt.enqueue_many('[]')",
        "select basalt.cancel_job(1)",
        "select basalt.job_status(1)",
        "select basalt.replay_dead()",
        "select basalt.purge_queue('default')",
        "select basalt.pause_queue('default')",
        "select basalt.resume_queue('default')",
        "select basalt.queue_stats()",
        "select basalt.wake_workers('ready')",
        "select basalt.admit_jobs('default', 1, 1)",
        "select basalt.refuse_jobs('default')",
        "select basalt.count_waiting_jobs('default', 1, 1)",
        "select basalt.enqueue_once(1, 'q', 'n', '1', 1, now(), 'k', 1, null)",
        *[f"select * from basalt.{name}" for name in TABLES],
    ]
    async with connected(database, "authenticator") as sql:
        await sql.rows(f"set role {role}")
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await sql.rows(statement)


TABLES = ("queues", "queue_rates", "jobs", "finished_jobs", "dead_jobs", "job_counts")


@pytest.mark.req("P10")
@pytest.mark.parametrize("role", ["postgres", "service_role"])
async def test_the_service_may_enqueue_and_look_but_not_write_the_tables(
    database: DatabaseAccess, role: str
) -> None:
    async with connected(database, "authenticator" if role == "service_role" else role) as sql:
        await sql.rows(f"set role {role}")
        job_id = await sql.value("select basalt.enqueue('a.do')")
        assert await sql.value("select basalt.job_status(%s) ->> 'state'", job_id) == "ready"
        assert await sql.value("select ready from basalt.queue_stats()") == 1
        assert await sql.value("select count(*) from basalt.jobs") == 1
        assert await sql.value("select basalt.cancel_job(%s)", job_id)
        for name in TABLES:
            for statement in (f"delete from basalt.{name}", f"insert into basalt.{name} default values"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await sql.rows(statement)


@pytest.mark.req("P10")
@pytest.mark.parametrize(
    "call",
    [
        "basalt.enqueue('a.do', priority => 10)",
        "basalt.enqueue('')",
        "basalt.enqueue('a.do', max_attempts => 0)",
        "basalt.enqueue('a.do', key => '')",
        "basalt.enqueue('a.do', queue => '')",
        "basalt.enqueue(null)",
        """basalt.enqueue_many('[{"payload": 1}]')""",
    ],
)
async def test_nonsense_is_refused(database: DatabaseAccess, call: str) -> None:
    async with connected(database) as sql:
        with pytest.raises(psycopg.errors.IntegrityError):
            await sql.rows(f"select {call}")
        assert await sql.count() == 0


@pytest.mark.req("P10")
async def test_python_enqueues_with_everything(database: DatabaseAccess) -> None:
    token = observe.request_id.set("r-9")
    async with connected(database) as sql, job_queue(database) as queue:
        ids = await queue.enqueue(
            [
                NewJob(name="a.do", payload={"é": [1]}, queue="mail", priority=2, max_attempts=4),
                NewJob(name="a.do", key="k", delay_s=60, request_id="mine"),
                NewJob(name="a.do", key="k"),
            ]
        )
        assert ids[1] == ids[2] != ids[0]
        rows = await sql.rows(
            """select id, queue, payload, priority, max_attempts, key, state, request_id,
            round(extract(epoch from run_at - created_at)) from basalt.jobs order by id"""
        )
    observe.request_id.reset(token)
    assert rows == [
        (ids[0], "mail", {"é": [1]}, 2, 4, None, "ready", "r-9", 0),
        (ids[1], "default", {}, 5, None, "k", "scheduled", "mine", 60),
    ]


@pytest.mark.req("P10")
async def test_calls_that_come_together_go_together_and_fail_apart(database: DatabaseAccess) -> None:
    async with connected(database) as sql, job_queue(database, size=1) as queue:
        calls = [queue.enqueue([NewJob(name="a.do", payload=number)]) for number in range(50)]
        bad = queue.enqueue([NewJob(name="a.do"), NewJob(name="")])
        odd = queue.enqueue([NewJob(name="a.do", payload={"nul": "\0"})])
        answers = await asyncio.gather(*calls, bad, odd, return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        assert [getattr(failure, "status", failure) for failure in failures] == [400, 400]
        assert await sql.count() == 50
        assert await sql.value("select count(distinct xmin::text) from basalt.jobs") < 60
        ids = [answer[0] for answer in answers if isinstance(answer, list)]
        assert (
            await sql.value(
                "select count(*) from unnest(%s::bigint[]) with ordinality as o(id, n) "
                "join basalt.jobs as j on j.id = o.id and j.payload = to_jsonb(o.n - 1)",
                ids,
            )
            == 50
        )
        with pytest.raises(JobError, match="no JSON"):
            await queue.enqueue([NewJob(name="a.do", payload=object())])


@pytest.mark.req("P10")
async def test_a_service_with_another_login_enqueues_as_service_role(database: DatabaseAccess) -> None:
    async with connected(database) as sql, job_queue(database, "authenticator") as queue:
        await queue.enqueue([NewJob(name="a.do")])
        assert await sql.count() == 1


@pytest.mark.req("P10")
async def test_a_service_that_may_not_enqueue_is_told_so(database: DatabaseAccess) -> None:
    async with job_queue(database, "supabase_replication_admin") as queue:
        with pytest.raises(JobError) as refused:
            await queue.enqueue([NewJob(name="a.do")])
    assert (refused.value.code, refused.value.status) == ("JOB_FORBIDDEN", 403)


@pytest.mark.req("P10")
async def test_enqueueing_without_a_database_is_refused_as_unavailable(database: DatabaseAccess) -> None:
    async with job_queue(database, size=1) as queue:
        await queue.enqueue([NewJob(name="a.do")])
        async with connected(database, "supabase_admin") as owner:
            await owner.rows(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'basalt/test'"
            )
        await queue.enqueue([NewJob(name="a.do")])  # the pool looks before it lends
        await queue._pool.close()
        with pytest.raises(JobError) as refused:
            await queue.enqueue([NewJob(name="a.do")])
    assert refused.value.status == 503


@pytest.mark.req("P10")
async def test_an_enqueue_notifies_only_while_a_worker_is_idle(database: DatabaseAccess) -> None:
    heard: list[str] = []
    async with connected(database) as sql, connected(database) as listener:
        listener.connection.add_notify_handler(lambda notice: heard.append(notice.payload))
        await listener.rows("listen basalt_jobs")
        await sql.rows("select basalt.enqueue('a.do')")
        await listener.rows("select 1")
        assert heard == []
        handler = Recorder()
        wanting = "select count(*) from pg_locks where locktype = 'advisory' and mode = 'ShareLock'"
        async with running_engine(database, {"a.do": handler}):
            await sql.becomes(1, wanting)
            await sql.rows("select basalt.enqueue('a.do')")
            await eventually(lambda: len(handler.jobs) == 2)
            await listener.rows("select 1")
            assert heard == ["ready"]
        await sql.becomes(0, wanting)


@pytest.mark.req("P10")
async def test_the_statements_of_the_guide_run(database: DatabaseAccess) -> None:
    statements = re.findall(r"```sql\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    assert len(statements) == 3
    async with connected(database) as sql:
        await sql.rows("create table public.orders (id int)")
        for statement in statements:
            await sql.rows(statement)
        await sql.rows("insert into public.orders values (8)")
        assert await sql.rows(
            "select name, payload, key from basalt.jobs where key is not null order by id"
        ) == [
            ("charge", {"order": 7}, "order-7"),
            ("ship", {"order": 8}, "ship-8"),
        ]
