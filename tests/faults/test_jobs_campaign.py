"""Long: many kills of everything at random under load, how soon the work is as quick as before, and a snapshot held
over hundreds of thousands of jobs."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from basalt.jobs import Job
from basalt.postgres import DatabaseAccess, PrivateCluster, apply_bootstrap
from tests.faults.test_jobs_faults import own_cluster, working  # noqa: F401  a fixture
from tests.jobs.engines import connected, eventually, running_engine

KILLS = 40
HELD_JOBS = 200_000
BATCH = 2_000
BACKLOG = 100_000
BACK_WITHIN_S = 5.0
TERMINATE = (
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'basalt/jobs%'"
)


@pytest.mark.req("P10")
@pytest.mark.timeout(600)
async def test_nothing_is_lost_while_workers_and_connections_are_killed_at_random(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    draw = random.Random(10)
    enqueued = 0
    async with (
        working(database, tmp_path, count=3) as (sql, workers),
        connected(database, "supabase_admin") as owner,
    ):
        for _ in range(KILLS):
            await sql.rows("select basalt.enqueue('t.work') from generate_series(1, 200)")
            enqueued += 200
            await asyncio.sleep(draw.uniform(0, 0.4))
            if draw.random() < 0.3:
                await owner.rows(TERMINATE)
            else:
                draw.choice(workers.processes).kill()
        async with asyncio.timeout(120):
            while await sql.value("select count(*) from basalt.jobs"):
                await asyncio.sleep(0.1)
        assert await sql.value("select count(distinct job_id) from public.effects") == enqueued
        # A job that shared its worker with ten kills in a row may die: it is counted, not lost.
        assert await sql.value("select count(*) from basalt.dead_jobs") == 0
        assert await sql.value("select count(*) - count(distinct (job_id, attempt)) from public.effects") == 0
        twice = await sql.value("select count(*) - count(distinct job_id) from public.effects")
        assert twice <= workers.deaths * 16 * 2


@pytest.mark.req("P10")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", ["backends terminated", "server killed"])
async def test_the_work_is_as_quick_as_before_within_five_seconds(
    own_cluster: PrivateCluster,  # noqa: F811
    fault: str,
) -> None:
    access = await asyncio.to_thread(own_cluster.ensure)
    await asyncio.to_thread(apply_bootstrap, access)
    ended: list[float] = []

    async def work(job: Job) -> None:
        ended.append(time.monotonic())

    def count(since: float, seconds: float) -> int:
        return sum(since <= at < since + seconds for at in ended)

    async with connected(access) as sql:
        await sql.rows("select basalt.enqueue('t.work') from generate_series(1, %s)", BACKLOG)
    async with running_engine(access, {"t.work": work}):
        await eventually(lambda: len(ended) > 2_000)
        began_at = time.monotonic()
        await asyncio.sleep(1)
        before = count(began_at, 1)
        if fault == "server killed":
            postmaster = int((own_cluster.data_dir / "postmaster.pid").read_text().split()[0])
            os.kill(postmaster, signal.SIGKILL)
            await asyncio.to_thread(own_cluster.ensure)
        else:
            async with connected(access, "supabase_admin") as owner:
                await owner.rows(TERMINATE)
        back_at = time.monotonic()
        await asyncio.sleep(BACK_WITHIN_S + 1)
    quickest = max(count(back_at + tenth / 10, 1) for tenth in range(int(BACK_WITHIN_S * 10)))
    assert quickest >= before / 2, f"{before} a second before, {quickest} after"


@pytest.fixture
def held_snapshot(database: DatabaseAccess) -> Iterator[None]:
    with psycopg.connect(database.conninfo("postgres")) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select 1")
        yield


@pytest.mark.req("P10")
@pytest.mark.timeout(600)
async def test_an_old_snapshot_does_not_slow_the_queue_down(
    database: DatabaseAccess, held_snapshot: None
) -> None:
    ended = 0
    waits_s: list[float] = []

    async def note(job: Job) -> None:
        nonlocal ended
        ended += 1
        if job.payload:
            waits_s.append(time.monotonic() - job.payload["at"])

    took_s: list[float] = []
    async with connected(database) as sql, running_engine(database, {"a.note": note}):
        for number in range(HELD_JOBS // BATCH):
            started = time.monotonic()
            await sql.rows("select basalt.enqueue('a.note') from generate_series(1, %s)", BATCH)
            await eventually(lambda expected=(number + 1) * BATCH: ended == expected)  # type: ignore[misc]
            took_s.append(time.monotonic() - started)
        for _ in range(50):
            await sql.rows(
                "select basalt.enqueue('a.note', jsonb_build_object('at', %s::float8))", time.monotonic()
            )
            await asyncio.sleep(0.02)
        await eventually(lambda: len(waits_s) == 50)
        assert await sql.value("select n_dead_tup > 200000 from pg_stat_user_tables where relname = 'jobs'")
    third = len(took_s) // 3
    assert sum(took_s[-third:]) < 2 * sum(took_s[:third])
    assert sorted(waits_s)[25] < 0.1
