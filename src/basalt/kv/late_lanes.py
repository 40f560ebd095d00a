"""Lanes that connect with the first statement: most projects ask neither for idempotency nor for limits in the
database."""

import asyncio
from collections.abc import Sequence

from basalt.postgres import LanePool, Query, Result

LANES = 2


class LateLanes:
    """`name` is the lanes' in PostgreSQL's list of connections."""

    def __init__(self, conninfo: str, *, name: str) -> None:
        self._lanes = LanePool(conninfo, size=LANES, name=name)
        self._opening = asyncio.Lock()
        self._is_open = False

    async def execute(self, queries: Sequence[Query]) -> list[Result]:
        """Raises BasaltError with status 503, and PostgresError."""
        if not self._is_open:
            async with self._opening:
                if not self._is_open:
                    await self._lanes.open()
                    self._is_open = True
        return await self._lanes.execute(queries)

    async def close(self) -> None:
        if self._is_open:
            await self._lanes.close()
