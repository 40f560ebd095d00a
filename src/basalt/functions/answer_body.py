"""An answer that is still being made, as the one who sends it on sees it."""

import asyncio
from collections import deque
from collections.abc import Callable

from basalt.functions.frames import CHUNK_BYTES


class AnswerBody:
    """An iterator with one reader. `give_credit` asks for as much again as was taken, `leave` says that nobody wants
    the rest."""

    def __init__(self, give_credit: Callable[[int], None], leave: Callable[[], None]) -> None:
        self._give_credit = give_credit
        self._leave = leave
        self._chunks: deque[bytes] = deque()
        self._taken = 0
        self._has_ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> "AnswerBody":
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._has_ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        chunk = self._chunks.popleft()
        self._taken += len(chunk)
        if self._taken >= CHUNK_BYTES and not self._has_ended:
            self._give_credit(self._taken)
            self._taken = 0
        return chunk

    async def aclose(self) -> None:
        self._chunks.clear()
        if not self._has_ended:
            self._has_ended = True
            self._leave()

    # The process's side

    def feed(self, chunk: bytes) -> None:
        if not self._has_ended:
            self._chunks.append(chunk)
            self._wake()

    def finish(self) -> None:
        self._has_ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """What has arrived is still read; then it ends with the error."""
        if not self._has_ended:
            self._has_ended = True
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
