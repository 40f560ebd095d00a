"""Answers that must not tell by their time whether there was somebody to write to.

Where an address has an account, the request waits for a mail to be handed over; where it has none, there is nothing
to wait for. Such an answer is held back as long as one of the last real ones took.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

REMEMBERED: Final = 64
LONGEST_S: Final = 10.0


@dataclass(slots=True)
class Work:
    """What a request turned out to be."""

    is_decoy: bool = False


class Pace:
    """How long real answers took lately, by kind."""

    def __init__(self) -> None:
        self._lately: dict[str, deque[float]] = {}

    @asynccontextmanager
    async def keep(self, kind: str) -> AsyncIterator[Work]:
        """Measure the work, or wait at its end when it is marked as a decoy. No connection may be held outside."""
        started = time.monotonic()
        work = Work()
        yield work
        taken_s = time.monotonic() - started
        lately = self._lately.setdefault(kind, deque(maxlen=REMEMBERED))
        if not work.is_decoy:
            lately.append(min(taken_s, LONGEST_S))
        elif lately:
            await asyncio.sleep(max(0.0, random.choice(lately) - taken_s))  # noqa: S311
