"""A worker's session with the database: one connection that listens and holds the lock that says that the worker lives,
one for statements. Both end together, and with them what the worker was running."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg.rows import dict_row

from basalt.jobs.cron.board import Connection, announce
from basalt.postgres import DatabaseAccess

CONNECT_LIMIT_S = 10
LISTEN: Final = "listen basalt_cron"
# Of a machine that vanishes PostgreSQL learns by probes only, and holds the lock till then.
PROBE: Final = "set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3"


@dataclass(frozen=True)
class Session:
    """`worker` is the number of the lock that `listener` holds."""

    worker: int
    listener: Connection
    connection: Connection

    async def listen(self, changed: asyncio.Event) -> None:
        """Set `changed` when a schedule was. Raises psycopg.OperationalError when the connection is lost."""
        async for _ in self.listener.notifies():
            changed.set()
        raise psycopg.OperationalError("the listening connection was closed")


@asynccontextmanager
async def open_session(access: DatabaseAccess) -> AsyncIterator[Session]:
    """Not through a transaction pooler. Raises psycopg.OperationalError when the database is away."""
    async with (
        await connect_owner(access, "cron-listener") as listener,
        await connect_owner(access, "cron") as connection,
    ):
        await listener.execute(PROBE)
        await listener.execute(LISTEN)
        worker = _draw_number()
        while not await announce(listener, worker):
            worker = _draw_number()
        yield Session(worker, listener, connection)


async def connect_owner(access: DatabaseAccess, purpose: str) -> Connection:
    """Every statement is a transaction of its own."""
    return await psycopg.AsyncConnection.connect(
        access.conninfo("supabase_admin"),
        autocommit=True,
        application_name=f"basalt/{purpose}",
        connect_timeout=CONNECT_LIMIT_S,
        row_factory=dict_row,
    )


def _draw_number() -> int:
    return secrets.randbelow(2**31 - 1) + 1
