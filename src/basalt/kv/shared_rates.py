"""Rate limits kept elsewhere, within a time limit: a store that is away is asked again once a second and costs the
requests in between nothing."""

import asyncio
import hashlib
from collections.abc import Sequence

from basalt import observe
from basalt.kv.gcra import RateStore, RateStoreError, Standing, Use

PAUSE_S = 1.0


class SharedRates:
    """A `RateStore` over another one. Keys leave this process as hashes: they tell of addresses and users."""

    def __init__(self, store: RateStore, *, timeout_s: float) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._is_away = False
        self._ask_again_at = 0.0

    async def use(self, uses: Sequence[Use], *, peek: bool = False) -> Sequence[Standing]:
        loop = asyncio.get_running_loop()
        if self._is_away and loop.time() < self._ask_again_at:
            raise RateStoreError("away")
        self._ask_again_at = loop.time() + PAUSE_S  # who comes meanwhile does not wait too
        try:
            async with asyncio.timeout(self._timeout_s):
                standings = await self._store.use([_hashed(use) for use in uses], peek=peek)
        except (RateStoreError, TimeoutError) as exc:
            self._ask_again_at = loop.time() + PAUSE_S
            if not self._is_away:
                self._is_away = True
                observe.event("rate_limit_store_lost", level="error", reason=str(exc) or "no answer in time")
            raise RateStoreError(str(exc)) from exc
        if self._is_away:
            self._is_away = False
            observe.event("rate_limit_store_back")
        return standings

    async def close(self) -> None:
        await self._store.close()


def _hashed(use: Use) -> Use:
    key = use.key.encode("utf-8", "backslashreplace")
    return use._replace(key=hashlib.blake2b(key, digest_size=16).hexdigest())
