"""Notices clients that leave before their answer: their statements are cancelled.

Most answers come at once, and a task or a timer for each would cost more than the rest of the wait. So requests only
note when they began, and one timer looks through the notes: whoever still waits then is watched.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import TypeVar

from basalt.http import ClientDisconnectedError, Request

WATCH_AFTER_S = 0.05

T = TypeVar("T")


class _Wait:
    """One request that waits for the database."""

    __slots__ = ("began_at", "has_left", "is_over", "request", "task", "watch")

    def __init__(self, request: Request, task: asyncio.Task[object], began_at: float) -> None:
        self.request = request
        self.task = task
        self.began_at = began_at
        self.is_over = False
        self.has_left = False
        self.watch: asyncio.Task[None] | None = None

    async def cancel_when_client_leaves(self) -> None:
        await self.request.wait_disconnect()
        self.has_left = True
        self.task.cancel()


class Disconnects:
    """Those that wait, oldest first. One for each event loop."""

    def __init__(self) -> None:
        self._waits: deque[_Wait] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, answer: Awaitable[T], request: Request) -> T:
        """The answer. Raises ClientDisconnectedError when the client leaves first; then `answer` was cancelled."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        wait = _Wait(request, task, loop.time())
        self._waits.append(wait)
        if self._timer is None:
            self._timer = loop.call_later(WATCH_AFTER_S, self._look, loop)
        try:
            return await answer
        except asyncio.CancelledError:
            if wait.has_left and task.uncancel() == 0:
                raise ClientDisconnectedError from None
            raise
        finally:
            wait.is_over = True
            if wait.watch is not None:
                wait.watch.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        waits = self._waits
        latest = loop.time() - WATCH_AFTER_S
        while waits and (waits[0].is_over or waits[0].began_at <= latest):
            wait = waits.popleft()
            if not wait.is_over:
                wait.watch = loop.create_task(wait.cancel_when_client_leaves())
        self._timer = loop.call_later(WATCH_AFTER_S, self._look, loop) if waits else None
