"""Cached values in Redis or Valkey, which also ends them. What must be one step is a script, so that no other caller
comes in between. One server: a cluster would want the keys of a script in one slot."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import redis.asyncio
from redis.exceptions import RedisError

from basalt.errors import BasaltError
from basalt.kv.engine import Claim
from basalt.kv.redis_client import RedisClient

CONNECT_LIMIT_S = 5.0
ANSWER_LIMIT_S = 10.0

# KEYS: lease, value. A repeated call by the same holder finds its own lease.
CLAIM = """
local is_mine = redis.call('set', KEYS[1], ARGV[1], 'nx', 'px', ARGV[2]) or redis.call('get', KEYS[1]) == ARGV[1]
return {is_mine and 1 or 0, redis.call('pttl', KEYS[1]), redis.call('get', KEYS[2])}
"""
EXTEND = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('pexpire', KEYS[1], ARGV[2])
"""
SETTLE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[2], ARGV[2], 'px', ARGV[3])
redis.call('del', KEYS[1])
redis.call('publish', ARGV[4], ARGV[5])
return 1
"""
FREE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('publish', ARGV[2], ARGV[3])
return redis.call('del', KEYS[1])
"""


class RedisEngine:
    """Raises ValueError for a `url` that is none of Redis. Keys start with `basalt:cache:PROJECT:`, so that projects
    may share a server."""

    def __init__(self, url: str, project_id: str) -> None:
        self._url = url
        self._prefix = f"basalt:cache:{project_id}:"
        self._channel = self._prefix + "ended"
        self._client = RedisClient(
            url, name="basalt-cache", connect_limit_s=CONNECT_LIMIT_S, answer_limit_s=ANSWER_LIMIT_S
        )
        self._redis = self._client.commands
        self._claim = self._redis.register_script(CLAIM)
        self._extend = self._redis.register_script(EXTEND)
        self._settle = self._redis.register_script(SETTLE)
        self._free = self._redis.register_script(FREE)

    async def open(self) -> None:
        await self._ask(self._redis.ping)

    async def close(self) -> None:
        await self._client.close()

    async def read(self, key: str) -> bytes | None:
        return cast(bytes | None, await self._ask(self._redis.get, self._value(key)))

    async def write(self, key: str, value: bytes, *, ttl_s: float) -> None:
        await self._ask(self._redis.set, self._value(key), value, px=_milliseconds(ttl_s))

    async def delete(self, keys: Sequence[str]) -> int:
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(*map(self._value, keys))
            pipeline.delete(*map(self._lease, keys))
            for key in keys:
                pipeline.publish(self._channel, key)
            results = await self._ask(pipeline.execute)
        return int(results[0])

    async def claim(self, key: str, holder: str, *, lease_s: float) -> Claim:
        names = [self._lease(key), self._value(key)]
        is_mine, left_ms, value = await self._ask(self._claim, names, [holder, _milliseconds(lease_s)])
        return Claim(value, bool(is_mine), left_ms / 1000)

    async def extend(self, key: str, holder: str, *, lease_s: float) -> bool:
        return bool(await self._ask(self._extend, [self._lease(key)], [holder, _milliseconds(lease_s)]))

    async def settle(self, key: str, holder: str, value: bytes, *, ttl_s: float) -> bool:
        names = [self._lease(key), self._value(key)]
        args: list[str | bytes | int] = [holder, value, _milliseconds(ttl_s), self._channel, key]
        return bool(await self._ask(self._settle, names, args))

    async def free(self, key: str, holder: str) -> None:
        await self._ask(self._free, [self._lease(key)], [holder, self._channel, key])

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[AsyncIterator[str]]:
        # Not from the pool: it waits for as long as nothing is said.
        client = redis.asyncio.Redis.from_url(
            self._url, socket_connect_timeout=CONNECT_LIMIT_S, client_name="basalt-cache-listener"
        )
        async with client, client.pubsub(ignore_subscribe_messages=True) as listener:
            await listener.subscribe(self._channel)
            yield (message["data"].decode() async for message in listener.listen())

    async def purge(self) -> int:
        return 0

    async def _ask(self, command: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """Raises BasaltError cache_unavailable where the server does not answer, or answers with an error."""
        try:
            return await self._client.ask(command, *args, **options)
        except (RedisError, OSError) as exc:
            raise BasaltError("cache_unavailable", 503, "The cache cannot be reached") from exc

    def _value(self, key: str) -> str:
        return f"{self._prefix}value:{key}"

    def _lease(self, key: str) -> str:
        return f"{self._prefix}lease:{key}"


def _milliseconds(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))
