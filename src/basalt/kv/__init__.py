"""Short-lived shared state: cached values, answers to repeated requests, rate limits.

`open_cache` gives the `Cache` of the settings, over the database or Redis; `SharedCache` is what both engines have in
common: one caller computes a missing value, the others wait. `IdempotencyKeys` keeps first answers by
`Idempotency-Key` for the gateway. `build_rates` gives the store in which rate limits are counted: the memory of the
process, the database or Redis. The worker's `ExpiryPurger` removes what has expired of all three.
"""

from basalt.kv.build_rates import RateLimitError, build_rates
from basalt.kv.cache import Cache
from basalt.kv.gcra import Quota, RateStore, RateStoreError, Standing, Use
from basalt.kv.idempotency_keys import IdempotencyKeys, KeptAnswer, KeyState
from basalt.kv.open_cache import open_cache
from basalt.kv.purge import ExpiryPurger
from basalt.kv.rate_counts import RateCounts
from basalt.kv.rate_limiter import RateLimiter
from basalt.kv.rate_memory import MemoryRates

__all__ = [
    "Cache",
    "ExpiryPurger",
    "IdempotencyKeys",
    "KeptAnswer",
    "KeyState",
    "MemoryRates",
    "Quota",
    "RateCounts",
    "RateLimitError",
    "RateLimiter",
    "RateStore",
    "RateStoreError",
    "Standing",
    "Use",
    "build_rates",
    "open_cache",
]
