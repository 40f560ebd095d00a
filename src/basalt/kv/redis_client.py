"""The client of Redis or Valkey that the cache and the rate limits have in common.

Callers have their turns in the order in which they came. The library's own blocking pool gives a connection to whoever
asks next, which is the one that has just given it back: with more callers than connections some wait for seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

CONNECTIONS: Final = 16


class RedisClient:
    """`url` as redis-py reads it: `redis://`, `rediss://` (TLS), `unix://`; raises ValueError for any other. Nothing is
    tried twice."""

    def __init__(self, url: str, *, name: str, connect_limit_s: float, answer_limit_s: float) -> None:
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._answer_limit_s = answer_limit_s
        pool = redis.asyncio.ConnectionPool.from_url(
            url,
            socket_connect_timeout=connect_limit_s,
            socket_timeout=answer_limit_s,
            retry=Retry(NoBackoff(), 0),
            client_name=name,
        )
        self.commands = redis.asyncio.Redis.from_pool(pool)

    async def ask(self, command: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """What `command`, one of `commands` or a script of it, answers in time. Raises RedisError, or OSError of which
        TimeoutError is one."""
        async with asyncio.timeout(self._answer_limit_s), self._turns:
            return await command(*args, **options)

    async def close(self) -> None:
        await self.commands.aclose()
