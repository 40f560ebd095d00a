"""Workers killed at every step, PostgreSQL killed and restarted, connections cut and used up: no job is lost, and one
runs twice only where a lease ran out."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import psycopg
import pytest

from basalt.jobs import Job
from basalt.postgres import DatabaseAccess, PrivateCluster, apply_bootstrap
from tests.conftest import free_port
from tests.jobs.engines import Recorder, Sql, connected, eventually, running_engine

EFFECTS = "create table public.effects (job_id bigint, attempt int, pid int, at timestamptz default clock_timestamp())"
CONFIG = """
[basalt.worker]
lease = 1
concurrency = 16
drain_timeout = 5
[basalt.queues.default]
first_delay = 0.05
longest_delay = 0.2
"""


class Workers:
    """Processes of `jobs_worker`; `watch` starts one again that has died, as the supervisor does."""

    def __init__(self, access: DatabaseAccess, log: Path) -> None:
        self._access = json.dumps(asdict(access))
        self._log = log
        self.processes: list[subprocess.Popen[bytes]] = []
        self.deaths = 0

    def start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.jobs_worker", self._access, CONFIG],
                stderr=errors,
                stdin=subprocess.DEVNULL,
            )
        self.processes.append(process)
        return process

    async def watch(self) -> None:
        while True:
            for process in list(self.processes):
                if process.poll() is not None:
                    self.processes.remove(process)
                    self.deaths += 1
                    self.start()
            await asyncio.sleep(0.05)

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@asynccontextmanager
async def working(
    access: DatabaseAccess, tmp_path: Path, count: int = 1
) -> AsyncIterator[tuple[Sql, Workers]]:
    """Watched workers over a database with `public.effects`."""
    workers = Workers(access, tmp_path / "workers.log")
    async with connected(access) as sql:
        await sql.rows(EFFECTS)
        for _ in range(count):
            workers.start()
        watching = asyncio.create_task(workers.watch())
        try:
            yield sql, workers
        finally:
            watching.cancel()
            workers.stop()


ATTEMPTS = "select array_agg(attempt order by attempt) from public.effects where job_id = %s"


@pytest.mark.req("P10")
async def test_a_job_that_kills_its_worker_each_time_becomes_a_dead_letter(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    async with working(database, tmp_path) as (sql, workers):
        poison = await sql.value("select basalt.enqueue('t.die_before', max_attempts => 2)")
        await sql.becomes("dead", "select basalt.job_status(%s) ->> 'state'", poison)
        status = await sql.value("select basalt.job_status(%s)", poison)
        assert (status["attempt"], status["reason"]) == (2, "the worker died while it ran")
        assert workers.deaths == 2
        await sql.rows("select basalt.enqueue('t.work')")
        await sql.becomes(1, "select count(*) from public.effects")


@pytest.mark.req("P10")
async def test_a_worker_killed_between_the_work_and_its_acknowledgement(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    async with working(database, tmp_path) as (sql, workers):
        job_id = await sql.value("select basalt.enqueue('t.die_after')")
        await sql.becomes([1, 2], ATTEMPTS, job_id)
        await sql.becomes(0, "select count(*) from basalt.jobs")
        assert workers.deaths == 1


@pytest.mark.req("P10")
async def test_a_worker_killed_while_it_works(database: DatabaseAccess, tmp_path: Path) -> None:
    async with working(database, tmp_path) as (sql, workers):
        job_id = await sql.value("select basalt.enqueue('t.hang')")
        await sql.becomes([1], ATTEMPTS, job_id)
        workers.processes[0].kill()
        await sql.becomes([1, 2], ATTEMPTS, job_id)
        await sql.becomes(0, "select count(*) from basalt.jobs")


@pytest.mark.req("P10")
async def test_workers_killed_under_load_lose_nothing(database: DatabaseAccess, tmp_path: Path) -> None:
    async with working(database, tmp_path, count=2) as (sql, workers):
        enqueued = 0
        for number in range(4):
            await sql.rows("select basalt.enqueue('t.work') from generate_series(1, 150)")
            enqueued += 150
            await sql.becomes(True, "select count(*) >= %s from public.effects", enqueued - 75)
            workers.processes[number % 2].kill()
        await sql.becomes(0, "select count(*) from basalt.jobs")
        assert await sql.value("select count(distinct job_id) from public.effects") == enqueued
        assert await sql.value("select count(*) from basalt.dead_jobs") == 0
        # Each run of a job is an attempt of its own: nobody ran what another one had.
        assert await sql.value("select count(*) - count(distinct (job_id, attempt)) from public.effects") == 0
        twice = await sql.value("select count(*) - count(distinct job_id) from public.effects")
        assert twice <= workers.deaths * 16


@pytest.mark.req("P10")
async def test_cut_connections_cost_no_job_and_no_second_run(database: DatabaseAccess) -> None:
    handler = Recorder(lambda job: asyncio.sleep(0.002))
    async with (
        connected(database) as sql,
        connected(database, "supabase_admin") as owner,
        running_engine(database, {"t.work": handler}),
    ):
        for _ in range(12):
            await sql.rows("select basalt.enqueue('t.work') from generate_series(1, 100)")
            await owner.rows(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'basalt/jobs%'"
            )
            await asyncio.sleep(0.02)
        await sql.becomes(0, "select count(*) from basalt.jobs")
    runs = Counter(job.id for job in handler.jobs)
    assert len(runs) == 1200
    assert set(runs.values()) == {1}


@pytest.fixture
def own_cluster(tmp_path_factory: pytest.TempPathFactory, cluster_dir: Path) -> Iterator[PrivateCluster]:
    cluster = PrivateCluster(
        cluster_dir / "jobs" / ".basalt", port=free_port(), max_connections=16, fsync=False
    )
    yield cluster
    cluster.stop()


@pytest.mark.req("P10")
async def test_postgres_killed_and_connections_used_up_under_load(own_cluster: PrivateCluster) -> None:
    access = await asyncio.to_thread(own_cluster.ensure)
    await asyncio.to_thread(apply_bootstrap, access)
    ended: list[tuple[float, int]] = []

    async def work(job: Job) -> None:
        ended.append((time.monotonic(), job.id))

    enqueued: list[int] = []
    is_over = asyncio.Event()

    async def enqueue() -> None:
        while not is_over.is_set():
            try:
                async with connected(access) as sql:
                    while not is_over.is_set():
                        enqueued.extend(
                            await sql.value(
                                "select array_agg(basalt.enqueue('t.work')) from generate_series(1, 20)"
                            )
                        )
                        await asyncio.sleep(0.02)
            except psycopg.Error:
                await asyncio.sleep(0.05)

    async with running_engine(access, {"t.work": work}):
        enqueueing = asyncio.create_task(enqueue())
        await eventually(lambda: len(ended) > 100)

        postmaster = int((own_cluster.data_dir / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
        await asyncio.to_thread(own_cluster.ensure)
        back_at = time.monotonic()
        await eventually(lambda: ended[-1][0] > back_at + 0.1 and len(enqueued) > 0)
        recovered_s = next(at for at, _ in ended if at > back_at) - back_at

        hoard: list[psycopg.Connection] = []
        try:
            async with connected(access, "supabase_admin") as owner:
                await owner.rows(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where pid <> pg_backend_pid() and backend_type = 'client backend'"
                )
                with contextlib.suppress(psycopg.OperationalError):
                    while len(hoard) < 16:
                        hoard.append(
                            await asyncio.to_thread(psycopg.connect, access.conninfo("supabase_admin"))
                        )
                assert len(hoard) < 16
            await asyncio.sleep(0.3)
        finally:
            for connection in hoard:
                connection.close()
        count = len(ended)
        await eventually(lambda: len(ended) > count + 100)

        is_over.set()
        await enqueueing
        async with connected(access) as sql:
            await sql.becomes(0, "select count(*) from basalt.jobs")
            assert await sql.value("select count(*) from basalt.dead_jobs") == 0
    runs = Counter(job_id for _, job_id in ended)
    assert set(enqueued) <= set(runs)
    assert set(runs.values()) == {1}
    assert recovered_s < 10
