"""What waits to be sent: bounded, numbered, taken in batches."""

import asyncio
from collections import deque

from basalt import observe
from basalt.bus.bus import MAX_PAYLOAD_BYTES
from basalt.bus.pieces import Batch
from basalt.waiting import wait_within

MAX_WAITING = 100_000
MAX_WAITING_BYTES = 64 * 1024 * 1024
BATCH_BYTES = 256 * 1024


class Outbox:
    """Each message has the next number, so that whoever listens notices those that never came. When the outbox is full
    the oldest message goes: after an interruption the newer ones matter more."""

    def __init__(self, *, max_waiting: int = MAX_WAITING, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self.dropped = 0
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._next = 1
        self._filled = asyncio.Event()
        self._unreported = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, payload: bytes) -> None:
        if len(payload) > MAX_PAYLOAD_BYTES:
            self.dropped += 1
            observe.event("bus_message_too_large", level="error", size=len(payload), limit=MAX_PAYLOAD_BYTES)
            return
        self._next += 1
        self._waiting.append(payload)
        self._bytes += len(payload)
        while len(self._waiting) > self._max_waiting or self._bytes > self._max_bytes:
            self._bytes -= len(self._waiting.popleft())
            self._unreported += 1
            self.dropped += 1
        self._filled.set()

    async def wait(self, limit_s: float) -> None:
        """Until something waits, or the time is over."""
        await wait_within(self._filled, limit_s)

    def take(self) -> Batch:
        """The oldest messages, about BATCH_BYTES of them; none where none wait."""
        if self._unreported:  # here and not when it happened: one line for a whole interruption
            observe.event("bus_overflow", level="warning", dropped=self._unreported)
            self._unreported = 0
        first = self._next - len(self._waiting)
        payloads: list[bytes] = []
        size = 0
        while self._waiting and (not payloads or size + len(self._waiting[0]) <= BATCH_BYTES):
            payloads.append(self._waiting.popleft())
            size += len(payloads[-1])
        self._bytes -= size
        if not self._waiting:
            self._filled.clear()
        return Batch(first, payloads)
