"""News of queued requests, by LISTEN. A transaction that notifies holds a lock that all notifying transactions of the
cluster wait for until it has committed: under load the sender does without being told, for it looks anyway."""

import asyncio
import contextlib
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from basalt import observe
from basalt.postgres import Pool

LISTEN: Final = "listen basalt_outgoing"
WANT_WAKEUP: Final = "update basalt.outgoing_state set wants_wakeup = %s where wants_wakeup <> %s"
RELAX_COMMIT: Final = "set local synchronous_commit = off"
BACK_OFF_S = 1.0
CONNECT_LIMIT_S = 10

# So many claims in a row that found something: then there is no need to be told.
BUSY_CLAIMS = 50


class Wakeup:
    """`conninfo` must lead to PostgreSQL itself, not through a transaction pooler; without notifications a request
    waits for the poll interval at most."""

    def __init__(self, pool: Pool, conninfo: str, *, poll_interval_s: float) -> None:
        self._pool = pool
        self._conninfo = make_conninfo(
            conninfo, application_name="basalt/outgoing-listener", connect_timeout=CONNECT_LIMIT_S
        )
        self._poll_interval_s = poll_interval_s
        self._streak = 0
        self.is_told = asyncio.Event()

    async def listen(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True
                ) as connection:
                    await connection.execute(LISTEN)
                    self.is_told.set()
                    async for _ in connection.notifies():
                        self.is_told.set()
            except (psycopg.Error, OSError) as error:
                observe.event("outgoing_listener_lost", level="warning", reason=str(error).strip())
            await asyncio.sleep(BACK_OFF_S)

    async def wait(self, stopping: asyncio.Event) -> None:
        """Until told, until told to stop, or for the poll interval."""
        waiting = [asyncio.create_task(event.wait()) for event in (self.is_told, stopping)]
        try:
            await asyncio.wait(waiting, timeout=self._poll_interval_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*waiting, return_exceptions=True)

    async def note_claim(self, count: int) -> None:
        """Raises psycopg.Error."""
        self._streak = self._streak + 1 if count else 0
        if self._streak == BUSY_CLAIMS:
            await self._want(wanted=False)

    async def want(self) -> bool:
        """From now on writers tell. True when they did not until now: then look once more before waiting. Raises
        psycopg.Error."""
        return await self._want(wanted=True)

    async def _want(self, *, wanted: bool) -> bool:
        async with self._pool.connection() as connection:
            await connection.execute(RELAX_COMMIT)
            return (await connection.execute(WANT_WAKEUP, [wanted, wanted])).rowcount > 0
