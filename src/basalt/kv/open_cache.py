"""Which cache an installation has."""

import importlib

from basalt.config import CacheSettings
from basalt.errors import BasaltError
from basalt.kv.cache import Cache
from basalt.kv.postgres import PostgresEngine
from basalt.kv.shared_cache import LEASE_S, SharedCache


class CacheError(BasaltError):
    """The settings name a cache that cannot be."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__("cache_unusable", 500, message, hint=hint)


async def open_cache(
    settings: CacheSettings, *, conninfo: str, project_id: str, lease_s: float = LEASE_S
) -> Cache:
    """The cache of the settings, connected; to be closed. All processes of an installation have the same `project_id`;
    several projects may share a Redis. `conninfo` is for PostgreSQL, as a role that may become `service_role`
    (`authenticator`). Raises CacheError, or BasaltError with status 503 while the engine cannot be reached."""
    if settings.engine == "postgres":
        postgres = PostgresEngine(conninfo)
        await postgres.open()
        return SharedCache(postgres, max_value_bytes=settings.max_value_bytes, lease_s=lease_s)
    if settings.url is None:
        raise CacheError("The cache over redis needs the address of its server.", "Set basalt.cache.url.")
    try:
        # Here and not above: it needs a package that not every installation has.
        redis = importlib.import_module("basalt.kv.redis").RedisEngine(settings.url, project_id)
    except ModuleNotFoundError as exc:
        raise CacheError(
            f"The cache over redis needs a package that is not installed: {exc.name}.",
            "Run: pip install 'basalt[redis]'",
        ) from exc
    except ValueError as exc:
        raise CacheError(f"basalt.cache.url cannot be used: {exc}") from exc
    await redis.open()
    return SharedCache(redis, max_value_bytes=settings.max_value_bytes, lease_s=lease_s)
