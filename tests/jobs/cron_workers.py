"""Schedulers for tests: inside the test's process, or real worker processes over the same database."""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from basalt.config import Settings, load_settings
from basalt.jobs import CronScheduler
from basalt.postgres import DatabaseAccess

Connection = psycopg.Connection[tuple[Any, ...]]
LIMIT_S = 20


@pytest.fixture(scope="module")
def cron_database(template: DatabaseAccess, clone_database: Any) -> Iterator[DatabaseAccess]:
    """One database with pg_cron for a file; each test leaves no schedule behind."""
    with clone_database(template.dbname) as access:
        with psycopg.connect(access.conninfo("postgres")) as connection:
            connection.execute("create extension pg_cron")
        yield access


@contextmanager
def postgres_session(access: DatabaseAccess) -> Iterator[Connection]:
    """Role `postgres`; at the end schedules and history are gone."""
    with psycopg.connect(access.conninfo("postgres"), autocommit=True) as connection:
        yield connection
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("delete from cron.job")
        connection.execute("truncate cron.runs, cron.job_run_details")


def read_settings(toml: str = "") -> Settings:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "supabase").mkdir()
        (Path(folder) / "supabase" / "config.toml").write_text(toml)
        return load_settings(Path(folder), {})


@asynccontextmanager
async def running_scheduler(access: DatabaseAccess, toml: str = "") -> AsyncIterator[None]:
    stopping = asyncio.Event()
    task = asyncio.create_task(CronScheduler(read_settings(toml), access).run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await asyncio.wait_for(task, LIMIT_S)


@contextmanager
def worker_process(access: DatabaseAccess, folder: Path, name: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`python -m basalt.worker` over a project whose database is `access`."""
    project = write_project(access, folder / name)
    with (project / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "basalt.worker", str(project)], stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def write_project(access: DatabaseAccess, project: Path) -> Path:
    """A project that finds `access` as its private database."""
    (project / "supabase").mkdir(parents=True)
    (project / ".basalt").mkdir()
    state = {
        "host": access.host,
        "port": access.port,
        "dbname": access.dbname,
        "passwords": dict(access.passwords),
        "socket_dir": access.socket_dir,
    }
    (project / ".basalt" / "database.json").write_bytes(orjson.dumps(state))
    return project


async def until(holds: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, "the condition did not come about"
        await asyncio.sleep(0.02)


def one(connection: Connection, statement: str, *parameters: object) -> Any:
    row = connection.execute(statement.encode(), parameters or None).fetchone()
    assert row is not None
    return row[0]


def make_due(connection: Connection, name: str, *, ago_s: float = 0) -> None:
    """Let a schedule be due now, as if its tick had come. `connection` is the superuser's."""
    connection.execute(
        "update cron.ticks set next_tick = clock_timestamp() - %s::interval, is_planned = true "
        "where jobid = (select jobid from cron.job where jobname = %s)",
        [f"{ago_s} s", name],
    )
    connection.execute("notify basalt_cron")


async def result_of(connection: Connection, name: str, limit_s: float = LIMIT_S) -> tuple[str, str]:
    """Status and message of the schedule's last run, when it has ended."""
    ended = (
        "select d.status, d.return_message from cron.job_run_details as d join cron.job as j using (jobid) "
        "where j.jobname = %s and d.end_time is not null order by d.runid desc limit 1"
    )
    await until(lambda: connection.execute(ended, [name]).fetchone(), limit_s)
    row = connection.execute(ended, [name]).fetchone()
    assert row is not None
    return row[0], row[1]
