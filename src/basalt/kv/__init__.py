"""Short-lived shared state: cached values, answers to repeated requests, rate limits.

`open_cache` gives the `Cache` of the settings, over the database or Redis; `SharedCache` is what both engines have in
common: one caller computes a missing value, the others wait. `IdempotencyKeys` keeps first answers by
`Idempotency-Key` for the gateway. The worker's `ExpiryPurger` removes what has expired of both. `RateLimiter` counts in
memory.
"""

from basalt.kv.cache import Cache
from basalt.kv.idempotency_keys import IdempotencyKeys, KeptAnswer, KeyState
from basalt.kv.open_cache import open_cache
from basalt.kv.purge import ExpiryPurger
from basalt.kv.rate_limiter import RateLimiter

__all__ = [
    "Cache",
    "ExpiryPurger",
    "IdempotencyKeys",
    "KeptAnswer",
    "KeyState",
    "RateLimiter",
    "open_cache",
]
