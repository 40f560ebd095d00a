"""What a cache does, whichever engine keeps the values: text keys, JSON values, an instant at which each is gone."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol


class Cache(Protocol):
    """The engines are `cache.kv_store` in the database and Redis or Valkey (`[basalt.cache]`). All processes share the
    values. Each method raises BasaltError: cache_key_invalid (400) for a key that is empty, longer than 1,024 bytes or
    holds NUL, cache_unavailable or SERVICE_UNAVAILABLE (503) while the engine is away."""

    async def fetch(self, key: str, default: Any = None) -> Any:
        """The value; `default` where there is none or its time is over. A cached null is None, so give a default to
        tell it from absence."""

    async def store(self, key: str, value: Any, *, ttl_s: float) -> None:
        """Keep a JSON value. Raises BasaltError cache_value_too_large (413), cache_value_invalid (400) for what is no
        JSON or cannot be kept in PostgreSQL, cache_ttl_invalid (400)."""

    async def delete(self, *keys: str) -> int:
        """Forget values; how many there were. A value that is being computed meanwhile is not kept."""

    async def fetch_or_compute(
        self, key: str, compute: Callable[[], Awaitable[Any]], *, ttl_s: float, limit_s: float = 60
    ) -> Any:
        """The value, computed where there is none: by one caller at a time over all processes, while the others wait
        for its result. A null counts as a value. When the computer dies another one takes over; after `limit_s` it is
        cancelled, with cache_computation_timeout (504) for its caller. What `compute` raises is raised to its own
        caller and nothing is kept; of those who wait the next one tries. Who has waited for `limit_s` gives up with
        cache_wait_timeout (504)."""

    async def purge(self) -> int:
        """Remove what has expired; how many values that were. Redis does so by itself."""

    async def close(self) -> None: ...
