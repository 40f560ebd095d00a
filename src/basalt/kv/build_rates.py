"""Which store of rate limits an installation has."""

import importlib

from basalt.config import RateLimitSettings
from basalt.errors import BasaltError
from basalt.kv.gcra import RateStore
from basalt.kv.rate_memory import MemoryRates
from basalt.kv.rate_postgres import PostgresRates
from basalt.kv.shared_rates import SharedRates


class RateLimitError(BasaltError):
    """The settings name a store that cannot be."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__("rate_limit_store_unusable", 500, message, hint=hint)


def build_rates(settings: RateLimitSettings, *, conninfo: str, project_id: str, url: str | None) -> RateStore:
    """The store of the settings, which connects with its first use. All gateways of an installation have the same
    `project_id`; several projects may share a Redis. `conninfo` is for PostgreSQL, as `authenticator`, `url` for
    Redis. Raises RateLimitError."""
    match settings.store:
        case "memory":
            return MemoryRates()
        case "postgres":
            return SharedRates(PostgresRates(conninfo), timeout_s=settings.timeout_s)
        case "redis":
            return SharedRates(_open_redis(url, project_id, settings.timeout_s), timeout_s=settings.timeout_s)


def _open_redis(url: str | None, project_id: str, timeout_s: float) -> RateStore:
    if url is None:
        raise RateLimitError(
            "Rate limits over redis need the address of the server.", "Set basalt.rate_limit.url."
        )
    try:
        # Here and not above: it needs a package that not every installation has.
        store: RateStore = importlib.import_module("basalt.kv.rate_redis").RedisRates(
            url, project_id, timeout_s=timeout_s
        )
    except ModuleNotFoundError as exc:
        raise RateLimitError(
            f"Rate limits over redis need a package that is not installed: {exc.name}.",
            "Run: pip install 'basalt[redis]'",
        ) from exc
    except ValueError as exc:
        raise RateLimitError(f"basalt.rate_limit.url cannot be used: {exc}") from exc
    return store
