"""The limits of a project on sockets, channels, joins and messages (protocol §16); 0 is no limit.

Rates are averages over a minute, so that a burst passes: twenty broadcasts at once are usual, a hundred a second for a
minute are not."""

import math
from collections.abc import Callable

from basalt.config import RealtimeSettings

WINDOW_S = 60


class Rate:
    """Counts what happens in the last minute, by seconds. `per_second` is the average that may not be exceeded."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self.per_second = per_second
        self._clock = clock
        self._seconds = [0] * WINDOW_S
        self._second = 0
        self._sum = 0

    def count(self, number: int = 1) -> bool:
        """Note that so many happened; whether that is still within the limit.

        >>> rate = Rate(1, lambda: 100.0)
        >>> rate.count(60), rate.count()
        (True, False)
        """
        self._advance()
        self._seconds[self._second % WINDOW_S] += number
        self._sum += number
        return not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether more has happened than the limit allows."""
        self._advance()
        return bool(self.per_second) and self._sum > self.per_second * WINDOW_S

    def average(self) -> float:
        """How many a second."""
        self._advance()
        return self._sum / WINDOW_S

    def current(self) -> int:
        """How many in the last full second: what a console shows."""
        self._advance()
        return self._seconds[(self._second - 1) % WINDOW_S]

    def remaining(self) -> int:
        """How many a second are left below the limit."""
        return max(0, math.floor(self.per_second - self.average())) if self.per_second else 0

    def _advance(self) -> None:
        now = int(self._clock())
        for second in range(self._second + 1, min(now, self._second + WINDOW_S) + 1):
            self._sum -= self._seconds[second % WINDOW_S]
            self._seconds[second % WINDOW_S] = 0
        if now > self._second + WINDOW_S:
            self._seconds = [0] * WINDOW_S
            self._sum = 0
        self._second = max(self._second, now)


class ProjectLimits:
    """Shared by all sockets of a process; `clock` is monotonic, in seconds."""

    def __init__(self, settings: RealtimeSettings, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.joins = Rate(settings.joins_per_second, clock)
        self.messages = Rate(settings.messages_per_second, clock)
        self.presence = Rate(settings.presence_messages_per_second, clock)
        self.delivered = Rate(0, clock)
        self.changes = Rate(0, clock)
        self.sockets = 0

    def takes_socket(self) -> bool:
        return not self.settings.max_sockets or self.sockets < self.settings.max_sockets
