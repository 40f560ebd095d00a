"""Rate limits of one process for those who cannot wait: `MemoryRates` without its coroutine."""

from basalt.kv.gcra import Quota, Use
from basalt.kv.rate_memory import MemoryRates


class RateLimiter:
    """Limits by key, without a burst of their own."""

    def __init__(self) -> None:
        self._rates = MemoryRates()

    def take(self, key: str, limit: int, per_s: float, *, now: float | None = None) -> float | None:
        """Use one of `limit` per `per_s` seconds. None when it was free, else the seconds until one is.

        >>> limiter = RateLimiter()
        >>> [limiter.take("a", 2, 60, now=100.0) for _ in range(3)]
        [None, None, 30.0]
        """
        return self._use(key, Quota(limit, per_s, limit), peek=False, now=now)

    def wait_s(self, key: str, limit: int, per_s: float, *, now: float | None = None) -> float | None:
        """What `take` would answer, with nothing used."""
        return self._use(key, Quota(limit, per_s, limit), peek=True, now=now)

    def _use(self, key: str, quota: Quota, *, peek: bool, now: float | None) -> float | None:
        [standing] = self._rates.use_now([Use(key, quota)], peek=peek, now=now)
        return standing.wait_s(quota) if standing.is_over else None
