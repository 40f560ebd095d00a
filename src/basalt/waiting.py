"""Waiting for something, but not for ever."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress


async def wait_within(event: asyncio.Event, limit_s: float) -> bool:
    """Until the event is set or the time is over; whether it is set. Not by `asyncio.wait_for`, which before Python
    3.12 can swallow a cancellation."""
    if not event.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await event.wait()
    return event.is_set()


async def end_within(awaitable: Awaitable[object], limit_s: float) -> bool:
    """Whether it came to its end in time; else it is cancelled."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await awaitable
            return True
    return False


def raise_failure(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """What the first of the tasks that failed raised."""
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error
