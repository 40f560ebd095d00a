"""Wakes those who wait for a key when its lease ends. One connection listens for all of a process, from the first wait
on; while there is none, looking again after a pause has to do."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from basalt import observe
from basalt.kv.engine import Engine
from basalt.waiting import wait_within

LISTEN_LIMIT_S = 1.0  # of a wait for the connection, before it goes on without
LEAST_BACK_OFF_S = 0.1
MOST_BACK_OFF_S = 10.0


class Notices:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def awaiting(self, key: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set each time when the key's lease may have ended."""
        told = asyncio.Event()
        self._waiting[key].add(told)
        try:
            if self._task is None:
                self._task = asyncio.create_task(self._stay_listening())
            await wait_within(self._listening, LISTEN_LIMIT_S)
            yield told
        finally:
            self._waiting[key].discard(told)
            if not self._waiting[key]:
                del self._waiting[key]

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _stay_listening(self) -> None:
        back_off_s = LEAST_BACK_OFF_S
        while True:
            try:
                async with self._engine.listen() as ended:
                    back_off_s = LEAST_BACK_OFF_S
                    self._listening.set()
                    self._tell_all()
                    async for key in ended:
                        self._tell(key)
            except Exception as error:
                reason = str(error).strip() or type(error).__name__
                observe.event("cache_listener_lost", level="warning", reason=reason)
            self._listening.clear()
            await asyncio.sleep(back_off_s)
            back_off_s = min(2 * back_off_s, MOST_BACK_OFF_S)

    def _tell(self, key: str) -> None:
        for told in self._waiting.get(key, ()):
            told.set()

    def _tell_all(self) -> None:
        for key in list(self._waiting):
            self._tell(key)
