"""Rate limits in Redis or Valkey: one script for all buckets of a request, by the server's clock."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from basalt.kv.gcra import RateStoreError, Standing, Use

CONNECTIONS = 16

# KEYS: the buckets. ARGV: whether to look only, then interval and largest distance in microseconds and whether it is
# binding, for each. Numbers of Lua are exact up to 2^53, which is the year 2255 in microseconds.
USE = """
local time = redis.call('time')
local now = time[1] * 1000000 + time[2]
local ahead, over, refused = {}, {}, ARGV[1] == '1'
for i, key in ipairs(KEYS) do
    local interval, most = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
    ahead[i] = math.min(math.max((tonumber(redis.call('get', key)) or 0) - now, 0), most)
    over[i] = ahead[i] + interval - most > 1
    if over[i] and ARGV[3 * i + 1] == '1' then refused = true end
end
local told = {}
for i, key in ipairs(KEYS) do
    if not refused and not over[i] then
        ahead[i] = ahead[i] + tonumber(ARGV[3 * i - 1])
        redis.call('set', key, string.format('%.0f', now + ahead[i]), 'px', math.ceil(ahead[i] / 1000) + 1)
    end
    told[2 * i - 1] = over[i] and 1 or 0
    told[2 * i] = string.format('%.0f', ahead[i])
end
return told
"""


class RedisRates:
    """A `RateStore`. `url` as redis-py reads it; raises ValueError for any other. Keys start with
    `basalt:rate:PROJECT:`, so that projects may share a server."""

    def __init__(self, url: str, project_id: str, *, timeout_s: float) -> None:
        self._prefix = f"basalt:rate:{project_id}:"
        # Not the library's blocking pool: who gives a connection back there takes it again before those who wait,
        # and with more callers than connections some waited for seconds.
        self._turns = asyncio.Semaphore(CONNECTIONS)
        pool = redis.asyncio.ConnectionPool.from_url(
            url,
            socket_connect_timeout=timeout_s,
            socket_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            client_name="basalt-rates",
        )
        self._client = redis.asyncio.Redis.from_pool(pool)
        self._use = self._client.register_script(USE)

    async def use(self, uses: Sequence[Use], *, peek: bool = False) -> Sequence[Standing]:
        arguments: list[int] = [int(peek)]
        for one in uses:
            arguments += [
                round(one.quota.interval_s * 1e6),
                math.ceil(one.quota.most_s * 1e6),
                int(one.binding),
            ]
        try:
            async with self._turns:
                told: list[Any] = await self._use([self._prefix + one.key for one in uses], arguments)
        except (RedisError, OSError) as exc:
            raise RateStoreError(str(exc)) from exc
        pairs = zip(told[::2], told[1::2], strict=True)
        return [Standing(bool(is_over), int(ahead) / 1e6) for is_over, ahead in pairs]

    async def close(self) -> None:
        await self._client.aclose()
