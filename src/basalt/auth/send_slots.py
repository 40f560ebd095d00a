"""How many messages may be on their way out at once.

A flow sends while its transaction holds a connection, so that a message that did not leave undoes the flow. A slow
provider must not take all connections in this way: some may send, a few may wait for them, and whoever comes then is
told at once to come back.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal

from basalt.auth.errors import AuthError

Way = Literal["email", "sms"]

RETRY_AFTER_S: Final = 5


class SendSlots:
    """`at_once` + `waiting` connections at most are held by flows that send."""

    def __init__(self, *, at_once: int, waiting: int, wait_s: float) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._room = at_once + waiting
        self._wait_s = wait_s

    @asynccontextmanager
    async def take(self, way: Way) -> AsyncIterator[None]:
        """Raises AuthError over_email_send_rate_limit or over_sms_send_rate_limit when too many wait already, and
        request_timeout when none got through in time."""
        if self._room == 0:
            retry = [("Retry-After", str(RETRY_AFTER_S))]
            raise AuthError(f"over_{way}_send_rate_limit", "Too many messages are being sent", headers=retry)
        self._room -= 1
        try:
            try:
                await asyncio.wait_for(self._free.acquire(), self._wait_s)
            except TimeoutError as exc:
                raise AuthError("request_timeout") from exc
            try:
                yield
            finally:
                self._free.release()
        finally:
            self._room += 1
