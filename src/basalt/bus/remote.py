"""A bus over a server: one connection at a time, made again when it ends, with an outbox before it.

A node hears its own pieces too. That is its proof that the connection works both ways: where nothing of it came back
for a while the connection is made anew, whatever the socket says. (It also unmasks a transaction pooler before
PostgreSQL, which takes a LISTEN and never delivers.)
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from basalt import observe
from basalt.bus.bus import OnGap, OnMessage, new_node_id, tell
from basalt.bus.outbox import Outbox
from basalt.bus.pieces import Assembler, Batch, cut, sender_of
from basalt.waiting import wait_within

CONNECT_LIMIT_S = 10.0
SEND_LIMIT_S = 20.0
PROBE_S = 10.0  # an empty batch goes out where nothing else did
SILENT_S = 30.0
LEAST_BACK_OFF_S = 0.1
MOST_BACK_OFF_S = 10.0
CLOSE_LIMIT_S = 2.0

Receive = Callable[[bytes], None]


class Session(Protocol):
    """One connection that listens already. `piece_bytes` is the largest piece it carries."""

    piece_bytes: int

    async def send(self, pieces: Sequence[bytes]) -> None:
        """Hand them to the server, in order."""

    async def listen(self) -> None:
        """Pass on what comes until the connection ends, then raise."""


class Engine(Protocol):
    """`pause_s` is the least time between two batches."""

    name: str
    pause_s: float

    def connect(self, receive: Receive) -> AbstractAsyncContextManager[Session]:
        """Connect and listen."""


class RemoteBus:
    """The engine brings connections; this keeps one open."""

    def __init__(self, engine: Engine, outbox: Outbox | None = None) -> None:
        self.node_id = new_node_id()
        self._engine = engine
        self._outbox = outbox or Outbox()
        self._assembler = Assembler()
        self._unsent: Batch | None = None  # in flight; sent again where the connection ended meanwhile
        self._idle = asyncio.Event()
        self._idle.set()
        self._tried = asyncio.Event()
        self._is_closing = False
        self._heard_at = 0.0
        self._back_off_s = LEAST_BACK_OFF_S
        self._task: asyncio.Task[None] | None = None

    @property
    def dropped(self) -> int:
        return self._outbox.dropped

    @property
    def reaches_others(self) -> bool:
        return True

    async def open(self, on_message: OnMessage, on_gap: OnGap) -> None:
        self._on_message = on_message
        self._on_gap = on_gap
        self._task = asyncio.create_task(self._stay_connected())
        await self._tried.wait()

    def publish(self, payload: bytes) -> None:
        self._outbox.put(payload)
        self._idle.clear()

    async def close(self) -> None:
        if self._task is None:
            return
        await wait_within(self._idle, CLOSE_LIMIT_S)
        self._is_closing = True
        await _cancel([self._task], every_s=1.0)
        self._task = None

    async def _stay_connected(self) -> None:
        while not self._is_closing:
            try:
                await self._run_session()
            except Exception as error:
                reason = str(error).strip() or type(error).__name__
                observe.event("bus_lost", level="warning", engine=self._engine.name, reason=reason)
            self._tried.set()
            # Many nodes must not return at once.
            await asyncio.sleep(self._back_off_s * random.uniform(0.5, 1.0))  # noqa: S311
            self._back_off_s = min(2 * self._back_off_s, MOST_BACK_OFF_S)

    async def _run_session(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                session = await stack.enter_async_context(self._engine.connect(self._receive))
            observe.event("bus_connected", engine=self._engine.name, node_id=self.node_id)
            if self._is_closing:  # the library swallowed the cancellation, see `_cancel`
                return
            self._heard_at = asyncio.get_running_loop().time()
            self._tried.set()
            tell(self._on_gap)
            await _run_until_one_ends(session.listen(), self._send(session), self._watch_silence())

    async def _send(self, session: Session) -> None:
        if self._unsent is None:
            self._unsent = self._outbox.take()  # perhaps empty: the first probe
        while True:
            if self._unsent is not None:
                pieces = list(cut(self.node_id, self._unsent, session.piece_bytes))
                async with asyncio.timeout(SEND_LIMIT_S):
                    await session.send(pieces)
                self._unsent = None
                if not self._outbox:
                    self._idle.set()
                await asyncio.sleep(self._engine.pause_s)
            await self._outbox.wait(PROBE_S)
            self._unsent = self._outbox.take()

    async def _watch_silence(self) -> None:
        loop = asyncio.get_running_loop()
        while (left_s := self._heard_at + SILENT_S - loop.time()) > 0:  # noqa: ASYNC110  # each echo moves the end
            await asyncio.sleep(left_s)
        raise TimeoutError("nothing that was sent came back")

    def _receive(self, piece: bytes) -> None:
        try:
            if sender_of(piece) == self.node_id:
                self._heard_at = asyncio.get_running_loop().time()
                self._back_off_s = LEAST_BACK_OFF_S
                return
            heard = self._assembler.add(piece)
        except ValueError as error:
            observe.event("bus_piece_malformed", level="warning", engine=self._engine.name, reason=str(error))
            return
        if heard is None:
            return
        if heard.is_gap:
            tell(self._on_gap)
        for payload in heard.payloads:
            tell(self._on_message, sender_of(piece), payload)


async def _run_until_one_ends(*loops: Coroutine[None, None, None]) -> None:
    """What a TaskGroup does, but for `_cancel`."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancel(tasks, every_s=0.1)
    for task in ended:
        task.result()


async def _cancel(tasks: Sequence["asyncio.Task[None]"], *, every_s: float) -> None:
    """Until all have ended. Once is not enough: on Python 3.11 the libraries' `asyncio.wait_for` swallows a
    cancellation that arrives together with what it waits for."""
    while not all(task.done() for task in tasks):
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=every_s)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen: nothing is to be said about it at exit
