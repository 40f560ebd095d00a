"""Rate limits that hold in any case: counted in the shared store, and in this process while that one is away."""

from basalt.kv.gcra import Quota, RateStore, RateStoreError, Standing, Use
from basalt.kv.rate_memory import MemoryRates


class RateCounts:
    """Limits by key, without a burst of their own. `shared` belongs to somebody else; None counts here alone."""

    def __init__(self, shared: RateStore | None = None) -> None:
        self._shared = shared
        self._own = MemoryRates()

    async def take(self, key: str, limit: int, per_s: float) -> float | None:
        """Use one of `limit` per `per_s` seconds. None when it was free, else the seconds until one is."""
        return await self._use(key, Quota(limit, per_s, limit), peek=False)

    async def wait_s(self, key: str, limit: int, per_s: float) -> float | None:
        """What `take` would answer, with nothing used."""
        return await self._use(key, Quota(limit, per_s, limit), peek=True)

    async def _use(self, key: str, quota: Quota, *, peek: bool) -> float | None:
        standing = await self._ask(Use(key, quota), peek=peek)
        return standing.wait_s(quota) if standing.is_over else None

    async def _ask(self, use: Use, *, peek: bool) -> Standing:
        if self._shared is not None:
            try:
                return (await self._shared.use([use], peek=peek))[0]
            except RateStoreError:
                pass  # which has been reported, once
        return self._own.use_now([use], peek=peek)[0]
