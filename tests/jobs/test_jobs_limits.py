"""Limits of queues over all workers together, and many workers over one database."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from basalt.jobs import Job
from basalt.postgres import DatabaseAccess
from tests.jobs.engines import Recorder, connected, eventually, running_engine


@pytest.mark.req("P10")
async def test_a_worker_runs_no_more_at_once_than_it_may(database: DatabaseAccess) -> None:
    handler = Recorder(lambda job: asyncio.sleep(0.01))
    async with connected(database) as sql:
        await sql.rows("select basalt.enqueue('a.do') from generate_series(1, 60)")
        async with running_engine(database, {"a.do": handler}, "[basalt.worker]\nconcurrency = 4\n"):
            await sql.becomes(0, "select count(*) from basalt.jobs")
    assert handler.most_running == 4
    assert len(handler.jobs) == 60


@pytest.mark.req("P10")
async def test_a_queue_runs_no_more_at_once_than_it_may_over_all_workers(database: DatabaseAccess) -> None:
    handler = Recorder(lambda job: asyncio.sleep(0.02))
    config = "[basalt.queues.narrow]\nconcurrency = 2\n"
    async with connected(database) as sql, AsyncExitStack() as stack:
        await sql.rows("select basalt.enqueue('a.do', queue => 'narrow') from generate_series(1, 30)")
        for _ in range(3):
            await stack.enter_async_context(running_engine(database, {"a.do": handler}, config))
        await sql.becomes(0, "select count(*) from basalt.jobs")
    assert handler.most_running == 2
    assert len(handler.jobs) == len({job.id for job in handler.jobs}) == 30


@pytest.mark.req("P10")
async def test_a_queue_starts_no_more_in_a_second_than_it_may_over_all_workers(
    database: DatabaseAccess,
) -> None:
    starts: list[float] = []

    async def note(job: Job) -> None:
        starts.append(time.monotonic())

    config = "[basalt.queues.slow]\nrate_per_s = 20\n"
    async with connected(database) as sql, AsyncExitStack() as stack:
        await sql.rows("select basalt.enqueue('a.do', queue => 'slow') from generate_series(1, 30)")
        for _ in range(2):
            await stack.enter_async_context(running_engine(database, {"a.do": note}, config))
        await eventually(lambda: len(starts) == 30)
    took_s = starts[-1] - starts[0]
    assert took_s > 27 / 20  # 29 pauses, of which a late look may save the slack
    assert took_s < 6


@pytest.mark.req("P10")
async def test_a_full_queue_does_not_keep_the_others_waiting(database: DatabaseAccess) -> None:
    handler = Recorder(lambda job: asyncio.sleep(0.001))
    config = "[basalt.worker]\nconcurrency = 2\n[basalt.queues.narrow]\nconcurrency = 1\n"
    async with connected(database) as sql:
        await sql.rows("select basalt.enqueue('a.do', queue => 'busy') from generate_series(1, 400)")
        await sql.rows("select basalt.enqueue('a.do', queue => q) from unnest(array['narrow', 'other']) as q")
        async with running_engine(database, {"a.do": handler}, config):
            await eventually(lambda: {job.queue for job in handler.jobs} == {"busy", "narrow", "other"})
            assert sum(job.queue == "busy" for job in handler.jobs) < 300


@pytest.mark.req("P10")
async def test_many_workers_perform_each_job_once(database: DatabaseAccess) -> None:
    handler = Recorder()
    async with connected(database) as sql, AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(running_engine(database, {"a.do": handler}))
        for _ in range(10):
            await sql.rows("select basalt.enqueue('a.do') from generate_series(1, 100)")
        await sql.becomes(0, "select count(*) from basalt.jobs")
    assert len(handler.jobs) == len({job.id for job in handler.jobs}) == 1000


@pytest.mark.req("P10")
async def test_the_settings_of_queues_reach_the_database(database: DatabaseAccess) -> None:
    load = "select concurrency, rate_per_s, max_depth, keep_finished_s from basalt.queues where name = 'mail'"
    config = "[basalt.queues.mail]\nconcurrency = 3\nrate_per_s = 0.5\nmax_depth = 9\nkeep_finished = 7\n"
    async with connected(database) as sql:
        async with running_engine(database, {}, config):
            await sql.becomes(1, f"select count(*) from ({load}) as q")
            assert await sql.rows(load) == [(3, 0.5, 9, 7)]
        async with running_engine(database, {}):
            await sql.becomes(0, "select concurrency from basalt.queues where name = 'mail'")
            assert await sql.rows(load) == [(0, 0, 1000000, 0)]
