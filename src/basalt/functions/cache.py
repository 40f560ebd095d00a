"""`context.cache`: the project's cache, connected by the first call of the process that uses it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from basalt.kv import Cache


MISSING = object()


class LazyCache:
    """Follows `basalt.kv.Cache`. `settings` are the fields of `[basalt.cache]`. `hits` and `misses` are its reads."""

    def __init__(self, settings: Mapping[str, Any], *, conninfo: str, project_id: str) -> None:
        self._settings = settings
        self._conninfo = conninfo
        self._project_id = project_id
        self._cache: Cache | None = None
        self._opening = asyncio.Lock()
        self.hits = 0
        self.misses = 0

    async def fetch(self, key: str, default: Any = None) -> Any:
        value = await (await self._open()).fetch(key, MISSING)
        self._count(is_hit=value is not MISSING)
        return default if value is MISSING else value

    async def store(self, key: str, value: Any, *, ttl_s: float) -> None:
        await (await self._open()).store(key, value, ttl_s=ttl_s)

    async def delete(self, *keys: str) -> int:
        return await (await self._open()).delete(*keys)

    async def fetch_or_compute(
        self, key: str, compute: Callable[[], Awaitable[Any]], *, ttl_s: float, limit_s: float = 60
    ) -> Any:
        cache = await self._open()
        is_hit = True

        async def compute_missing() -> Any:
            nonlocal is_hit
            is_hit = False
            return await compute()

        try:
            return await cache.fetch_or_compute(key, compute_missing, ttl_s=ttl_s, limit_s=limit_s)
        finally:
            self._count(is_hit=is_hit)

    async def purge(self) -> int:
        return await (await self._open()).purge()

    async def close(self) -> None:
        if self._cache is not None:
            await self._cache.close()

    def _count(self, *, is_hit: bool) -> None:
        self.hits += is_hit
        self.misses += not is_hit

    async def _open(self) -> "Cache":
        """The room is loaded here: most functions have no use for it, and it costs a third of a second."""
        if self._cache is None:
            async with self._opening:
                if self._cache is None:
                    settings = import_module("basalt.config").CacheSettings(**self._settings)
                    self._cache = await import_module("basalt.kv").open_cache(
                        settings, conninfo=self._conninfo, project_id=self._project_id
                    )
        assert self._cache is not None
        return self._cache
