"""Waiting for something, but not for ever."""

import asyncio
from contextlib import suppress


async def wait_within(event: asyncio.Event, limit_s: float) -> bool:
    """Until the event is set or the time is over; whether it is set. Not by `asyncio.wait_for`, which before Python
    3.12 can swallow a cancellation."""
    if not event.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await event.wait()
    return event.is_set()
