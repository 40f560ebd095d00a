"""Rate limits in Redis or Valkey: one script for all buckets of a request, by the server's clock."""

import math
from collections.abc import Sequence
from typing import Any

from redis.exceptions import RedisError

from basalt.kv.gcra import RateStoreError, Standing, Use
from basalt.kv.redis_client import RedisClient

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
    """A `RateStore`. Raises ValueError for a `url` that is none of Redis. Keys start with `basalt:rate:PROJECT:`, so
    that projects may share a server."""

    def __init__(self, url: str, project_id: str, *, timeout_s: float) -> None:
        self._prefix = f"basalt:rate:{project_id}:"
        self._client = RedisClient(
            url, name="basalt-rates", connect_limit_s=timeout_s, answer_limit_s=timeout_s
        )
        self._use = self._client.commands.register_script(USE)

    async def use(self, uses: Sequence[Use], *, peek: bool = False) -> Sequence[Standing]:
        arguments: list[int] = [int(peek)]
        for one in uses:
            arguments += [
                round(one.quota.interval_s * 1e6),
                math.ceil(one.quota.most_s * 1e6),
                int(one.binding),
            ]
        try:
            keys = [self._prefix + one.key for one in uses]
            told: list[Any] = await self._client.ask(self._use, keys, arguments)
        except (RedisError, OSError) as exc:
            raise RateStoreError(str(exc)) from exc
        pairs = zip(told[::2], told[1::2], strict=True)
        return [Standing(bool(is_over), int(ahead) / 1e6) for is_over, ahead in pairs]

    async def close(self) -> None:
        await self._client.close()
