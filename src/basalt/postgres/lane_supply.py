"""Opens connections for a pool of lanes, one at a time, and keeps trying with back-off and jitter while
PostgreSQL is away.
"""

import asyncio
import random
from collections.abc import Callable

from psycopg import Error as LibpqError
from psycopg.pq.abc import PGconn

from basalt.postgres import libpq_wait

CONNECT_TIMEOUT_S = 10.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 3.0
REFUSED_PAUSE_S = 1.0  # there are lanes, and the server allows no more connections


class LaneSupply:
    """`on_open` takes each new connection. `on_failure` is told the cause and the pause, and answers whether
    to try again after it."""

    def __init__(
        self,
        conninfo: str,
        *,
        on_open: Callable[[PGconn], None],
        on_failure: Callable[[Exception, float], bool],
    ) -> None:
        self._conninfo = conninfo
        self._on_open = on_open
        self._on_failure = on_failure
        self._task: asyncio.Task[None] | None = None
        self._not_before = 0.0

    def request(self, *, at_once: bool = False) -> bool:
        """One more connection; whether one is on its way. After a refusal there is a pause, save
        `at_once`."""
        loop = asyncio.get_running_loop()
        if self._task is None and (at_once or loop.time() >= self._not_before):
            self._task = loop.create_task(self._open_one())
        return self._task is not None

    async def open_first(self) -> None:
        """Raises psycopg.Error, OSError or TimeoutError."""
        self._on_open(await libpq_wait.connect(self._conninfo, timeout_s=CONNECT_TIMEOUT_S))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _open_one(self) -> None:
        try:
            conn = await self._connect()
        finally:
            self._task = None
        if conn is not None:
            self._on_open(conn)

    async def _connect(self) -> PGconn | None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await libpq_wait.connect(self._conninfo, timeout_s=CONNECT_TIMEOUT_S)
            except (LibpqError, OSError) as exc:  # TimeoutError is an OSError
                wait_s = pause_s * random.uniform(0.5, 1.0)  # noqa: S311  # many gateways must not return at once
                if not self._on_failure(exc, wait_s):
                    self._not_before = asyncio.get_running_loop().time() + REFUSED_PAUSE_S
                    return None
            await asyncio.sleep(wait_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
