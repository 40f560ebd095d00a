"""The sender inside the test's process over a database of the test's own."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from basalt.config import Settings, load_settings
from basalt.http import Resolve
from basalt.jobs import RequestSender
from basalt.postgres import DatabaseAccess
from tests.projects import write_project

Row = dict[str, Any]

QUICK = {
    "BASALT_WEBHOOKS_ALLOW_PRIVATE": "true",
    "BASALT_WEBHOOKS_FIRST_DELAY": "0.05",
    "BASALT_WORKER_LEASE": "1",
}


def net_settings(folder: Path, **overrides: str) -> Settings:
    """Loopback is allowed and pauses are short, unless `overrides` say otherwise."""
    return load_settings(write_project(folder, {"config.toml": 'project_id = "net"'}), {**QUICK, **overrides})


# One database serves all tests of a file: a copy for each costs more than the tests.
RESET = """
drop extension if exists pg_net cascade;
drop table if exists public.my_table, public.target_table, public.seen;
drop function if exists public.tell(), public.on_answer();
truncate basalt.webhook_requests, basalt.webhook_attempts, basalt.dead_webhooks, basalt.requests_in_flight,
    supabase_functions.hooks restart identity;
alter sequence basalt.webhook_requests_id_seq restart;
alter sequence basalt.webhooks_left_out_seq restart;
update basalt.outgoing_state set claimed_id = 0, max_waiting = 1000000, wants_wakeup = false;
"""


@asynccontextmanager
async def reset_database(access: DatabaseAccess) -> "AsyncIterator[Database]":
    """A connection to it when nothing is left of earlier tests and the extension is new."""
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute(RESET)
    async with connected(access) as database:
        await database.rows("create extension pg_net")
        yield database


@asynccontextmanager
async def running_sender(
    access: DatabaseAccess, settings: Settings, *, resolve: Resolve | None = None, drain_s: float = 5
) -> AsyncIterator[RequestSender]:
    stopping = asyncio.Event()
    sender = RequestSender(settings, access, resolve=resolve)
    task = asyncio.create_task(sender.run(stopping))
    try:
        yield sender
    finally:
        stopping.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await asyncio.shield(task)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Database:
    """Connected as `postgres`, every statement committed."""

    def __init__(self, connection: psycopg.AsyncConnection[Row]) -> None:
        self._connection = connection

    async def rows(self, statement: str, *values: Any) -> list[Row]:
        cursor = await self._connection.execute(statement.encode(), values or None)
        return await cursor.fetchall() if cursor.description is not None else []

    async def one(self, statement: str, *values: Any) -> Any:
        (row,) = await self.rows(statement, *values)
        (value,) = row.values()
        return value

    async def answer(self, request_id: int, limit_s: float = 10) -> Row:
        """The row of `net._http_response`, once it is there."""
        (row,) = await self.until(
            "select * from net._http_response where id = %s", request_id, limit_s=limit_s
        )
        return row

    async def until(self, statement: str, *values: Any, count: int = 1, limit_s: float = 10) -> list[Row]:
        """The rows of a query, once there are so many."""
        deadline = time.monotonic() + limit_s
        while True:
            rows = await self.rows(statement, *values)
            if len(rows) >= count:
                return rows
            assert time.monotonic() < deadline, f"{len(rows)} of {count} rows: {statement} {values}"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def connected(access: DatabaseAccess, role: str = "postgres") -> AsyncIterator[Database]:
    async with await psycopg.AsyncConnection.connect(
        access.conninfo(role), autocommit=True, row_factory=dict_row
    ) as connection:
        yield Database(connection)


async def wait_for(condition: Any, limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)
