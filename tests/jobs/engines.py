"""A job engine inside the test's process, and what tests ask the database meanwhile."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg

from basalt.config import Settings
from basalt.jobs import Handler, Handlers, Job, JobEngine
from basalt.postgres import DatabaseAccess
from tests.projects import settings_of, write_project

LIMIT_S = 20.0


def settings_with(config: str = "") -> Settings:
    """Settings of a project whose `config.toml` has these lines."""
    with tempfile.TemporaryDirectory() as folder:
        return settings_of(write_project(Path(folder), {"config.toml": f'project_id = "jobs"\n{config}'}))


@asynccontextmanager
async def running_engine(
    access: DatabaseAccess,
    own: Mapping[str, Handler],
    config: str = "",
    *,
    functions: Handler | None = None,
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Stopped at the end, or earlier by what it yields."""
    stopping = asyncio.Event()
    engine = JobEngine(settings_with(config), access, Handlers(own, functions))
    running = asyncio.create_task(engine.run(stopping))

    async def stop() -> None:
        stopping.set()
        await running

    try:
        yield stop
    finally:
        await stop()


class Sql:
    """One connection in autocommit mode as `role`."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        self.connection = connection

    async def rows(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        cursor = await self.connection.execute(statement, params or None)
        return await cursor.fetchall() if cursor.description else []

    async def value(self, statement: str, *params: object) -> Any:
        rows = await self.rows(statement, *params)
        return rows[0][0] if rows else None

    async def count(self, table: str = "basalt.jobs") -> int:
        return int(await self.value(f"select count(*) from {table}"))

    async def becomes(self, expected: object, statement: str, *params: object) -> None:
        """Wait until the statement's value is the expected one."""
        async with asyncio.timeout(LIMIT_S):
            while (value := await self.value(statement, *params)) != expected:
                await asyncio.sleep(0.01)
        assert value == expected


@asynccontextmanager
async def connected(access: DatabaseAccess, role: str = "postgres") -> AsyncIterator[Sql]:
    connection = await psycopg.AsyncConnection.connect(access.conninfo(role), autocommit=True)
    async with connection:
        yield Sql(connection)


async def eventually(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.005)


class Recorder:
    """A handler that remembers what it was given, and does what `act` says."""

    def __init__(self, act: Callable[[Job], Awaitable[object]] | None = None) -> None:
        self.jobs: list[Job] = []
        self.running = 0
        self.most_running = 0
        self._act = act

    async def __call__(self, job: Job) -> object:
        self.jobs.append(job)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self._act(job) if self._act else None
        finally:
            self.running -= 1

    @property
    def payloads(self) -> list[Any]:
        return [job.payload for job in self.jobs]
