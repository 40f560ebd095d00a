"""Jobs from enqueueing to their end, performed by an engine over a real database."""

import asyncio
import contextlib
import time

import pytest

from basalt import observe
from basalt.jobs import DiscardJob, Job, RetryJob
from basalt.postgres import DatabaseAccess
from tests.jobs.engines import Recorder, connected, eventually, running_engine

QUICK = """
[basalt.queues.default]
first_delay = 0.01
longest_delay = 0.02
"""
KEEPING = QUICK + "keep_finished = 600\n"


@pytest.mark.req("P10")
async def test_a_job_is_performed_with_what_it_was_enqueued_with(database: DatabaseAccess) -> None:
    handler = Recorder()
    async with connected(database) as sql, running_engine(database, {"shop.ship": handler}):
        await sql.rows("select set_config('request.headers', '{\"x-request-id\": \"r-1\"}', false)")
        job_id = await sql.value(
            """select basalt.enqueue('shop.ship', '{"order": [1, "é"]}', key => 'o-1')"""
        )
        await eventually(lambda: len(handler.jobs) == 1)
        await sql.becomes(0, "select count(*) from basalt.jobs")
    job = handler.jobs[0]
    assert (job.id, job.name, job.queue, job.key) == (job_id, "shop.ship", "default", "o-1")
    assert job.payload == {"order": [1, "é"]}
    assert (job.attempt, job.max_attempts, job.request_id) == (1, 10, "r-1")
    assert abs(job.created_at.timestamp() - time.time()) < 60


@pytest.mark.req("P10", "P16")
async def test_the_request_id_is_in_the_log_of_the_handler(database: DatabaseAccess) -> None:
    seen: list[str] = []

    async def note(job: Job) -> None:
        seen.append(observe.request_id.get())

    async with connected(database) as sql, running_engine(database, {"a.note": note}):
        await sql.rows("select set_config('request.headers', '{\"x-request-id\": \"r-7\"}', false)")
        await sql.rows("select basalt.enqueue('a.note')")
        await sql.rows("select set_config('request.headers', '', false)")
        await sql.rows("select basalt.enqueue('a.note')")
        await eventually(lambda: len(seen) == 2)
    assert sorted(seen) == ["", "r-7"]


@pytest.mark.req("P10")
async def test_names_without_a_dot_are_functions(database: DatabaseAccess) -> None:
    functions = Recorder()
    async with connected(database) as sql, running_engine(database, {}, functions=functions):
        await sql.rows("select basalt.enqueue('resize'), basalt.enqueue('basalt.fax')")
        await sql.becomes("Nothing performs jobs named basalt.fax", "select reason from basalt.dead_jobs")
        await eventually(lambda: [job.name for job in functions.jobs] == ["resize"])


@pytest.mark.req("P10")
async def test_lower_priorities_come_first_then_who_came_first(database: DatabaseAccess) -> None:
    handler = Recorder()
    async with connected(database) as sql:
        for number, priority in enumerate((5, 9, 0, 5, 0)):
            await sql.rows(
                "select basalt.enqueue('a.do', to_jsonb(%s::int), priority => %s)", number, priority
            )
        async with running_engine(database, {"a.do": handler}, "[basalt.worker]\nconcurrency = 1\n"):
            await eventually(lambda: len(handler.jobs) == 5)
    assert handler.payloads == [2, 4, 0, 3, 1]


@pytest.mark.req("P10")
async def test_a_failing_job_is_tried_again_until_it_succeeds(database: DatabaseAccess) -> None:
    async def fail_twice(job: Job) -> str:
        if job.attempt < 3:
            raise KeyError("email")
        return "done"

    handler = Recorder(fail_twice)
    async with connected(database) as sql, running_engine(database, {"a.do": handler}, KEEPING):
        job_id = await sql.value("select basalt.enqueue('a.do')")
        await sql.becomes("finished", "select basalt.job_status(%s) ->> 'state'", job_id)
        status = await sql.value("select basalt.job_status(%s)", job_id)
    assert [job.attempt for job in handler.jobs] == [1, 2, 3]
    assert (status["attempt"], status["result"]) == (3, "done")


@pytest.mark.req("P10")
async def test_a_job_that_always_fails_becomes_a_dead_letter_and_can_be_replayed(
    database: DatabaseAccess,
) -> None:
    is_mended = False

    async def fail(job: Job) -> None:
        if not is_mended:
            raise ValueError("no such\0user")

    handler = Recorder(fail)
    async with connected(database) as sql, running_engine(database, {"a.do": handler}, QUICK):
        job_id = await sql.value("select basalt.enqueue('a.do', '[1]', max_attempts => 3, key => 'k')")
        await sql.becomes("dead", "select basalt.job_status(%s) ->> 'state'", job_id)
        status = await sql.value("select basalt.job_status(%s)", job_id)
        assert (status["reason"], status["attempt"]) == ("ValueError: no suchuser", 3)
        assert len(handler.jobs) == 3
        is_mended = True
        assert await sql.value("select basalt.replay_dead('default', 'other')") == 0
        assert await sql.value("select basalt.replay_dead('default')") == 1
        await sql.becomes(None, "select basalt.job_status(%s)", job_id)
    assert [job.attempt for job in handler.jobs] == [1, 2, 3, 1]
    assert {job.id for job in handler.jobs} == {job_id}
    assert handler.payloads == [[1]] * 4


@pytest.mark.req("P10")
async def test_a_handler_says_when_to_retry_and_when_never(database: DatabaseAccess) -> None:
    async def answer(job: Job) -> None:
        if job.payload == "never":
            raise DiscardJob("the address does not exist")
        if job.attempt == 1:
            raise RetryJob("too many requests", delay_s=0.3)

    handler = Recorder(answer)
    slow = "[basalt.queues.default]\nfirst_delay = 500\n"
    async with connected(database) as sql, running_engine(database, {"a.do": handler}, slow):
        started = time.monotonic()
        await sql.rows("""select basalt.enqueue('a.do', '"never"'), basalt.enqueue('a.do', '"later"')""")
        await sql.becomes("too many requests", "select last_error from basalt.jobs where state = 'scheduled'")
        await sql.becomes(0, "select count(*) from basalt.jobs")
        assert time.monotonic() - started > 0.29
        assert await sql.rows("select reason, attempt from basalt.dead_jobs") == [
            ("the address does not exist", 1)
        ]
    assert len(handler.jobs) == 3


@pytest.mark.req("P10")
async def test_an_attempt_that_takes_too_long_is_ended_and_counts(database: DatabaseAccess) -> None:
    handler = Recorder(lambda job: asyncio.sleep(60))
    config = QUICK + "timeout = 0.1\nmax_attempts = 2\n"
    async with connected(database) as sql, running_engine(database, {"a.do": handler}, config):
        await sql.rows("select basalt.enqueue('a.do')")
        await sql.becomes("TimeoutError: it took longer than 0.1 s", "select reason from basalt.dead_jobs")
    assert len(handler.jobs) == 2


class OddError(BaseException):
    pass


@pytest.mark.req("P10")
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (OddError("odd"), "OddError: odd"),
        (asyncio.CancelledError(), "CancelledError"),
        (GeneratorExit(), "GeneratorExit"),
        (StopIteration(), "RuntimeError: coroutine raised StopIteration"),
    ],
)
async def test_whatever_a_handler_raises_costs_only_its_job(
    database: DatabaseAccess, error: BaseException, reason: str
) -> None:
    async def fail(job: Job) -> None:
        raise error

    other = Recorder(lambda job: asyncio.sleep(0.05))
    config = "[basalt.queues.default]\nmax_attempts = 1\n"
    async with (
        connected(database) as sql,
        running_engine(database, {"a.fail": fail, "a.do": other}, config),
    ):
        await sql.rows("select basalt.enqueue('a.do'), basalt.enqueue('a.fail'), basalt.enqueue('a.do')")
        await sql.becomes(reason, "select reason from basalt.dead_jobs")
        await sql.becomes(0, "select count(*) from basalt.jobs")
    assert len(other.jobs) == 2


@pytest.mark.req("P10")
async def test_a_result_that_is_no_json_and_an_odd_payload_hurt_nobody(database: DatabaseAccess) -> None:
    results: list[object] = ["\0", object(), "x" * 100_000, {1: "one"}, 2**80, "\ud800"]
    handler = Recorder()

    async def answer(job: Job) -> object:
        handler.jobs.append(job)
        return results[job.payload] if isinstance(job.payload, int) else None

    async with connected(database) as sql, running_engine(database, {"a.do": answer}, KEEPING):
        for number in range(len(results)):
            await sql.rows("select basalt.enqueue('a.do', to_jsonb(%s::int))", number)
        await sql.rows("select basalt.enqueue('a.do', '1e400', max_attempts => 1)")
        await sql.becomes(
            len(results) + 1,
            "select (select count(*) from basalt.finished_jobs) + (select count(*) from basalt.dead_jobs)",
        )
        assert await sql.value("select result from basalt.finished_jobs where result ? '1'") == {"1": "one"}


@pytest.mark.req("P10", "P11")
async def test_jobs_wait_for_their_time(database: DatabaseAccess) -> None:
    handler = Recorder()
    async with connected(database) as sql, running_engine(database, {"a.do": handler}):
        await sql.rows("select basalt.enqueue('a.do', '1', delay => '1 hour')")
        await sql.rows("select basalt.enqueue('a.do', '2', run_at => now() + interval '1 hour')")
        started = time.monotonic()
        await sql.rows("select basalt.enqueue('a.do', '3', delay => '300 ms')")
        await eventually(lambda: handler.payloads == [3])
        assert time.monotonic() - started > 0.25
        assert await sql.value("select count(*) from basalt.jobs where state = 'scheduled'") == 2


@pytest.mark.req("P10")
async def test_a_job_committed_late_is_found_although_later_ones_were_claimed(
    database: DatabaseAccess,
) -> None:
    handler = Recorder()
    async with (
        connected(database) as sql,
        connected(database) as slow,
        running_engine(database, {"a.do": handler}),
    ):
        async with slow.connection.transaction():
            await slow.rows("select basalt.enqueue('a.do', '\"late\"')")
            for number in range(20):
                await sql.rows("select basalt.enqueue('a.do', to_jsonb(%s::int))", number)
                await asyncio.sleep(0.02)
            await eventually(lambda: len(handler.jobs) == 20)
        committed = time.monotonic()
        await eventually(lambda: handler.payloads[-1] == "late")
        assert time.monotonic() - committed < 5


@pytest.mark.req("P10")
async def test_many_jobs_committed_late_are_performed_at_full_speed(database: DatabaseAccess) -> None:
    handler = Recorder()
    async with (
        connected(database) as sql,
        connected(database) as slow,
        running_engine(database, {"a.do": handler}),
    ):
        async with slow.connection.transaction():
            await slow.rows("select basalt.enqueue('a.do') from generate_series(1, 3000)")
            for _ in range(20):
                await sql.rows("select basalt.enqueue('a.do')")
                await asyncio.sleep(0.02)
        committed = time.monotonic()
        await eventually(lambda: len(handler.jobs) == 3020)
        assert time.monotonic() - committed < 8  # by sweeps alone it would take longer


@pytest.mark.req("P10")
async def test_what_an_aborted_transaction_enqueued_never_was(database: DatabaseAccess) -> None:
    handler = Recorder()
    async with connected(database) as sql, running_engine(database, {"a.do": handler}):
        await sql.rows("""
            create table public.orders (id int primary key);
            create function public.ship() returns trigger language plpgsql security definer
            as $$ begin perform basalt.enqueue('a.do', to_jsonb(new.id)); return new; end $$;
            create trigger ship after insert on public.orders for each row execute function public.ship();
        """)
        async with sql.connection.transaction(force_rollback=True):
            await sql.rows("insert into public.orders values (1), (2)")
            await sql.rows("select basalt.enqueue('a.do', '99')")
        await sql.rows("insert into public.orders values (3)")
        await eventually(lambda: len(handler.jobs) == 1)
        await sql.becomes(0, "select count(*) from basalt.jobs")
    assert handler.payloads == [3]


@pytest.mark.req("P10")
async def test_progress_is_visible(database: DatabaseAccess) -> None:
    go_on = asyncio.Event()

    async def work(job: Job) -> None:
        await job.report(0.5, "half\0way")
        await go_on.wait()

    async with connected(database) as sql, running_engine(database, {"a.do": work}):
        job_id = await sql.value("select basalt.enqueue('a.do')")
        await sql.becomes("halfway", "select basalt.job_status(%s) ->> 'note'", job_id)
        assert await sql.value("select basalt.job_status(%s) -> 'progress'", job_id) == 0.5
        go_on.set()
        await sql.becomes(None, "select basalt.job_status(%s)", job_id)


@pytest.mark.req("P10")
async def test_jobs_are_cancelled_waiting_or_running(database: DatabaseAccess) -> None:
    ended: list[str] = []

    async def work(job: Job) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with connected(database) as sql, running_engine(database, {"a.do": work}, KEEPING):
        waiting = await sql.value("select basalt.enqueue('a.do', delay => '1 hour')")
        running = await sql.value("select basalt.enqueue('a.do')")
        await sql.becomes("running", "select basalt.job_status(%s) ->> 'state'", running)
        started = time.monotonic()
        assert await sql.value("select basalt.cancel_job(%s)", waiting)
        assert await sql.value("select basalt.cancel_job(%s)", running)
        await sql.becomes("cancelled", "select basalt.job_status(%s) ->> 'state'", running)
        assert time.monotonic() - started < 2
        assert await sql.value("select basalt.job_status(%s) ->> 'state'", waiting) == "cancelled"
        assert not await sql.value("select basalt.cancel_job(%s)", running)
        assert not await sql.value("select basalt.cancel_job(123456789)")
    assert ended == ["cancelled"]


@pytest.mark.req("P10")
async def test_a_handler_that_catches_its_cancellation_is_cancelled_again(database: DatabaseAccess) -> None:
    async def work(job: Job) -> None:
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        await asyncio.sleep(60)

    async with connected(database) as sql, running_engine(database, {"a.do": work}):
        job_id = await sql.value("select basalt.enqueue('a.do')")
        await sql.becomes("running", "select basalt.job_status(%s) ->> 'state'", job_id)
        await sql.rows("select basalt.cancel_job(%s)", job_id)
        await sql.becomes(None, "select basalt.job_status(%s)", job_id)


@pytest.mark.req("P10")
async def test_a_stop_waits_for_short_jobs_and_gives_long_ones_back(database: DatabaseAccess) -> None:
    async def work(job: Job) -> None:
        await asyncio.sleep(0.3 if job.payload == "short" else 60)

    config = "[basalt.worker]\ndrain_timeout = 2\n"
    async with connected(database) as sql:
        async with running_engine(database, {"a.do": work}, config) as stop:
            await sql.rows("""select basalt.enqueue('a.do', '"short"'), basalt.enqueue('a.do', '"long"')""")
            await sql.becomes(2, "select count(*) from basalt.jobs where state = 'running'")
            await stop()
        assert await sql.rows("select payload, state, attempt, worker_id from basalt.jobs") == [
            ("long", "ready", 0, None)
        ]


@pytest.mark.req("P10")
async def test_jobs_of_a_worker_that_is_no_more_are_taken_over(database: DatabaseAccess) -> None:
    handler = Recorder()
    lost = """
        update basalt.jobs set state = 'running', attempt = attempt + 1, worker_id = gen_random_uuid(),
            lease_until = clock_timestamp() + interval '400 ms'
    """
    config = QUICK + "[basalt.worker]\nlease = 1\n"
    async with connected(database) as sql, connected(database, "supabase_admin") as owner:
        await sql.rows("select basalt.enqueue('a.do', '1'), basalt.enqueue('a.do', '2', max_attempts => 1)")
        cancelled = await sql.value("select basalt.enqueue('a.do', '3')")
        await owner.rows(lost)
        await sql.rows("select basalt.cancel_job(%s)", cancelled)
        async with running_engine(database, {"a.do": handler}, config):
            await eventually(lambda: len(handler.jobs) == 1)
            await sql.becomes(0, "select count(*) from basalt.jobs")
            assert await sql.rows("select payload, reason from basalt.dead_jobs") == [
                (2, "the worker died while it ran")
            ]
    assert [(job.payload, job.attempt) for job in handler.jobs] == [(1, 2)]


@pytest.mark.req("P10")
async def test_a_long_job_keeps_its_lease_and_one_that_lost_it_is_stopped(database: DatabaseAccess) -> None:
    ended = asyncio.Event()

    async def work(job: Job) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.set()
            raise

    config = "[basalt.worker]\nlease = 1\n"
    async with (
        connected(database) as sql,
        connected(database, "supabase_admin") as owner,
        running_engine(database, {"a.do": work}, config),
    ):
        await sql.rows("select basalt.enqueue('a.do')")
        await sql.becomes(1, "select count(*) from basalt.jobs where state = 'running'")
        first = await sql.value("select lease_until from basalt.jobs")
        await sql.becomes(
            True, "select lease_until > %s::timestamptz + interval '1 s' from basalt.jobs", first
        )
        assert await sql.value("select attempt from basalt.jobs") == 1
        await owner.rows(
            "update basalt.jobs set worker_id = gen_random_uuid(), lease_until = now() + interval '1 hour'"
        )
        await asyncio.wait_for(ended.wait(), 10)
        assert await sql.value("select state from basalt.jobs") == "running"  # the other one's now
        await owner.rows("delete from basalt.jobs")


@pytest.mark.req("P10")
async def test_a_paused_queue_starts_nothing_until_it_is_resumed(database: DatabaseAccess) -> None:
    handler = Recorder()
    async with connected(database) as sql, running_engine(database, {"a.do": handler}):
        await sql.rows("select basalt.pause_queue('reports')")
        await sql.rows("select basalt.enqueue('a.do', '1', queue => 'reports')")
        await sql.rows("select basalt.enqueue('a.do', '2')")
        await eventually(lambda: handler.payloads == [2])
        await sql.rows("select basalt.resume_queue('reports')")
        await eventually(lambda: handler.payloads == [2, 1])
        assert handler.jobs[1].queue == "reports"


@pytest.mark.req("P10")
async def test_stats_tell_what_waits_runs_and_died(database: DatabaseAccess) -> None:
    async def work(job: Job) -> None:
        if job.payload == "bad":
            raise DiscardJob("bad")
        await asyncio.sleep(60)

    config = "[basalt.worker]\nconcurrency = 1\ndrain_timeout = 0.1\n"
    async with connected(database) as sql, running_engine(database, {"a.do": work}, config):
        await sql.rows("""select basalt.enqueue('a.do', '"bad"')""")
        await sql.becomes(1, "select count(*) from basalt.dead_jobs")
        await sql.rows("select basalt.enqueue('a.do') from generate_series(1, 3)")
        await sql.rows("select basalt.enqueue('a.do', delay => '1 hour')")
        await sql.becomes(1, "select count(*) from basalt.jobs where state = 'running'")
        assert await sql.rows("""
            select queue, is_paused, ready, scheduled, running, dead, oldest_ready_age_s between 0 and 60
            from basalt.queue_stats() where queue = 'default'
        """) == [("default", False, 2, 1, 1, 1, True)]
