"""The bus over NATS, its core protocol: no JetStream."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg

from basalt import observe
from basalt.bus.remote import CONNECT_LIMIT_S, Receive

SCHEMES = ("nats://", "tls://", "ws://", "wss://")


class NatsEngine:
    """`url` names one server, or several of a cluster with commas between. Raises ValueError for what is no URL of
    NATS."""

    name = "nats"
    pause_s = 0.0

    def __init__(self, url: str, subject: str) -> None:
        self._servers = [server.strip() for server in url.split(",")]
        self._subject = subject
        if not all(server.startswith(SCHEMES) for server in self._servers):
            raise ValueError(f"a URL of NATS starts with one of {', '.join(SCHEMES)}")

    @asynccontextmanager
    async def connect(self, receive: Receive) -> AsyncIterator["NatsSession"]:
        closed = asyncio.Event()

        async def on_closed() -> None:
            closed.set()

        async def on_message(message: Msg) -> None:
            receive(message.data)

        client = Client()
        try:
            await client.connect(
                self._servers,
                name="basalt-bus",
                # The library would connect again in silence; the bus has to know.
                allow_reconnect=False,
                reconnect_time_wait=0,
                max_reconnect_attempts=1,
                connect_timeout=int(CONNECT_LIMIT_S),
                closed_cb=on_closed,
                error_cb=_report,
            )
            await client.subscribe(self._subject, cb=on_message)
            await client.flush()
            yield NatsSession(client, self._subject, closed)
        finally:
            await client.close()


class NatsSession:
    def __init__(self, client: Client, subject: str, closed: asyncio.Event) -> None:
        self.piece_bytes = client.max_payload
        self._client = client
        self._subject = subject
        self._closed = closed

    async def send(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            await self._client.publish(self._subject, piece)
        await self._client.flush()  # the server has taken them

    async def listen(self) -> None:
        await self._closed.wait()
        raise ConnectionError(str(self._client.last_error or "the connection was closed"))


async def _report(error: Exception) -> None:
    # A slow consumer, for one: the numbers tell what was lost.
    observe.event("bus_error", level="warning", engine="nats", reason=str(error) or type(error).__name__)
