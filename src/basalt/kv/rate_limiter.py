"""Rate limits, in the memory of one process.

A bucket per key fills evenly up to its limit (GCRA: one instant per key, no timers), so a burst up to the limit passes
and the rest is told when to come back.
"""

import time

MAX_KEYS = 100_000
ROUNDING_S = 1e-6  # of sums of instants; without it the only one of a limit of one may be refused


class RateLimiter:
    """Limits by key. Memory is bounded: keys that have filled up again are forgotten first."""

    def __init__(self) -> None:
        self._full_at: dict[str, float] = {}

    def take(self, key: str, limit: int, per_s: float, *, now: float | None = None) -> float | None:
        """Use one of `limit` per `per_s` seconds. None when it was free, else the seconds until one is.

        >>> limiter = RateLimiter()
        >>> [limiter.take("a", 2, 60, now=100.0) for _ in range(3)]
        [None, None, 30.0]
        """
        moment = time.monotonic() if now is None else now
        wait_s = self.wait_s(key, limit, per_s, now=moment)
        if wait_s is not None:
            return wait_s
        full_at = max(self._full_at.get(key, 0.0), moment) + per_s / limit
        if key not in self._full_at and len(self._full_at) >= MAX_KEYS:
            self._forget(moment)
        self._full_at[key] = full_at
        return None

    def wait_s(self, key: str, limit: int, per_s: float, *, now: float | None = None) -> float | None:
        """What `take` would answer, with nothing used."""
        moment = time.monotonic() if now is None else now
        full_at = max(self._full_at.get(key, 0.0), moment) + per_s / limit
        over_s = full_at - moment - per_s
        return over_s if over_s > ROUNDING_S else None

    def _forget(self, moment: float) -> None:
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > moment}
        while len(self._full_at) >= MAX_KEYS:
            self._full_at.pop(next(iter(self._full_at)))
