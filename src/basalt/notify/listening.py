"""News of the queue, by LISTEN; where none arrives (behind a transaction pooler), dispatchers look by themselves."""

import asyncio
from collections.abc import Callable
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from basalt import observe
from basalt.jobs import Pauses

LISTEN: Final = "listen basalt_notify"
CONNECT_LIMIT_S = 10
STEADY_S = 30.0


async def listen(conninfo: str, tell: Callable[[], None]) -> None:
    """For ever: `tell` is called for each notification, and when one may have been missed."""
    conninfo = make_conninfo(
        conninfo, application_name="basalt/notify-listener", connect_timeout=CONNECT_LIMIT_S
    )
    loop = asyncio.get_running_loop()
    pauses = Pauses()
    while True:
        started = loop.time()
        try:
            async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
                await connection.execute(LISTEN)
                tell()
                async for _ in connection.notifies():
                    tell()
        except (psycopg.Error, OSError) as error:
            observe.event("notify_listener_lost", level="warning", reason=str(error).strip())
        if loop.time() - started > STEADY_S:
            pauses = Pauses()
        await pauses.wait()
