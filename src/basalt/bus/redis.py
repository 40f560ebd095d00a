"""The bus over the publish/subscribe of Redis or Valkey."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import redis.asyncio
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from basalt.bus.remote import CONNECT_LIMIT_S, Receive

PIECE_BYTES = 16 * 1024 * 1024  # more than a batch ever has; Redis itself takes 512 MB


class RedisEngine:
    """`url` as redis-py reads it: `redis://`, `rediss://` (TLS), `unix://`. Raises ValueError for any other."""

    name = "redis"
    pause_s = 0.0

    def __init__(self, url: str, channel: str) -> None:
        self._url = url
        self._channel = channel
        redis.asyncio.ConnectionPool.from_url(url)  # says what is wrong with it

    @asynccontextmanager
    async def connect(self, receive: Receive) -> AsyncIterator["RedisSession"]:
        client = redis.asyncio.Redis.from_url(
            self._url,
            # The library would connect again in silence; the bus has to know.
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=CONNECT_LIMIT_S,
            client_name="basalt-bus",
        )
        async with client, client.pubsub() as listener:
            await listener.subscribe(self._channel)
            await listener.get_message(timeout=CONNECT_LIMIT_S)  # the confirmation: from now on it listens
            yield RedisSession(client, listener, self._channel, receive)


class RedisSession:
    piece_bytes = PIECE_BYTES

    def __init__(self, client: redis.asyncio.Redis, listener: PubSub, channel: str, receive: Receive) -> None:
        self._client = client
        self._listener = listener
        self._channel = channel
        self._receive = receive

    async def send(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            await self._client.publish(self._channel, piece)

    async def listen(self) -> None:
        while True:
            message = await self._listener.get_message(timeout=None)
            if message is not None and message["type"] == "message":
                self._receive(message["data"])
