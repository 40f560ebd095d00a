"""The body of a request, cut into segments: until it ends, the client leaves or goes quiet, or somebody says stop."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final, Literal

from basalt.http import ClientDisconnectedError, Request
from basalt.storage.stores import TooLargeError

NO_LIMIT: Final = 2**63 - 1
QUIET_S: Final = 60.0
AT_HAND_S: Final = 0.02  # what has arrived is here by then
DRAIN_S: Final = 0.5

End = Literal["complete", "gone", "quiet", "stopped"]


class Inflow:
    """`end` tells, once nothing more comes, why. More than `limit` bytes raise TooLargeError where they are read."""

    def __init__(self, request: Request, *, limit: int) -> None:
        self._chunks = request.stream(NO_LIMIT)
        self._left = limit
        self._waiting = b""
        self._stopped: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.end: End | None = None

    def stop(self) -> None:
        """What has arrived by now is still read, as far as `DRAIN_S` goes."""
        if not self._stopped.done():
            self._stopped.set_result(time.monotonic())

    async def has_more(self) -> bool:
        """Whether another byte has come. Raises TooLargeError."""
        while not self._waiting and self.end is None:
            self._waiting = await self._next()
            self._left -= len(self._waiting)
            if self._left < 0:
                raise TooLargeError
        return bool(self._waiting)

    async def segment(self, size: int) -> AsyncIterator[bytes]:
        """The next `size` bytes, or fewer at the end."""
        while size and await self.has_more():
            piece, self._waiting = self._waiting[:size], self._waiting[size:]
            size -= len(piece)
            yield piece

    async def _next(self) -> bytes:
        """A chunk, or nothing and then an `end`."""
        if self._stopped.done() and time.monotonic() - self._stopped.result() > DRAIN_S:
            self.end = "stopped"
            return b""
        reading = asyncio.create_task(self._read())
        either: tuple[asyncio.Future[Any], ...] = (reading, self._stopped)
        try:
            await asyncio.wait(either, timeout=QUIET_S, return_when=asyncio.FIRST_COMPLETED)
            if self._stopped.done() and not reading.done():
                await asyncio.wait([reading], timeout=AT_HAND_S)
        finally:
            is_read = reading.done()
            if not is_read:
                reading.cancel()
                with suppress(asyncio.CancelledError):
                    await reading
        if is_read:
            return reading.result()
        self.end = "stopped" if self._stopped.done() else "quiet"
        return b""

    async def _read(self) -> bytes:
        try:
            async for chunk in self._chunks:
                return chunk
        except ClientDisconnectedError:
            self.end = "gone"
        else:
            self.end = "complete"
        return b""
