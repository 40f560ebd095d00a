"""A client of Realtime for the tests of faults: it joins again as supabase-js does, and can be cut off."""

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

JOIN_LIMIT_S = 10.0
FIRST_PAUSE_S = 0.2  # supabase-js begins with 1 s; less makes more faults in the same time
LONGEST_PAUSE_S = 1.0

NOT_SERVED = "Unable to subscribe to changes with given parameters"

Message = list[Any]
OnMessage = Callable[[str, dict[str, Any]], Awaitable[None] | None]


def socket_url(url: str, key: str, version: str = "2.0.0") -> str:
    return f"ws{url.removeprefix('http')}/realtime/v1/websocket?apikey={key}&vsn={version}"


async def open_socket(url: str, key: str, **options: Any) -> ClientConnection:
    options = {"compression": None, "ping_interval": None, "max_size": None, "max_queue": None, **options}
    return await connect(socket_url(url, key), **options)


async def send(socket: ClientConnection, topic: str, event: str, payload: Any, ref: str, join: str) -> None:
    await socket.send(json.dumps([join, ref, f"realtime:{topic}", event, payload]))


async def receive(socket: ClientConnection) -> Message:
    """The next message in a text frame; a broadcast in a binary one comes as `[None, None, topic, "broadcast", …]`."""
    data = await socket.recv()
    if isinstance(data, str):
        message: Message = json.loads(data)
        return message
    kind, topic_size, event_size, meta_size, encoding = data[:5]
    assert kind == 4
    topic = data[5 : 5 + topic_size].decode()
    event = data[5 + topic_size : 5 + topic_size + event_size].decode()
    payload = data[5 + topic_size + event_size + meta_size :]
    return [
        None,
        None,
        topic,
        "broadcast",
        {"event": event, "payload": json.loads(payload) if encoding else payload},
    ]


async def receive_until(
    socket: ClientConnection, is_it: Callable[[Message], bool], limit_s: float = JOIN_LIMIT_S
) -> tuple[Message, list[Message]]:
    """The first message that is it, and all before it."""
    before: list[Message] = []
    async with asyncio.timeout(limit_s):
        while True:
            message = await receive(socket)
            if is_it(message):
                return message, before
            before.append(message)


async def join(
    socket: ClientConnection,
    topic: str,
    config: dict[str, Any] | None = None,
    token: str | None = None,
    ref: str = "1",
) -> Message:
    """Join and return the reply."""
    payload: dict[str, Any] = {"config": config or {}}
    if token is not None:
        payload["access_token"] = token
    await send(socket, topic, "phx_join", payload, ref, ref)
    reply, _ = await receive_until(socket, lambda message: message[3] == "phx_reply" and message[1] == ref)
    return reply


def is_system(text: str) -> Callable[[Message], bool]:
    return lambda message: message[3] == "system" and text in message[4]["message"]


async def subscribe(
    socket: ClientConnection,
    topic: str,
    bindings: Sequence[dict[str, Any]],
    token: str | None = None,
    ref: str = "1",
) -> list[Message]:
    """Join for changes of tables and wait until they flow."""
    reply = await join(socket, topic, {"postgres_changes": list(bindings)}, token, ref)
    assert reply[4]["status"] == "ok", reply
    _, before = await receive_until(socket, is_system("Subscribed to PostgreSQL"), 20)
    return before


class Rejoining:
    """Keeps one channel joined, whatever happens to the connection: a new socket after a pause that grows, and the same
    join again. `make_config` is asked before each join; what comes is given to `on_message`, in order."""

    def __init__(
        self,
        url: str,
        key: str,
        topic: str,
        make_config: Callable[[], dict[str, Any]],
        on_message: OnMessage,
        *,
        token: str | None = None,
    ) -> None:
        self._url, self._key, self._topic, self._token = url, key, topic, token
        self._make_config = make_config
        self._on_message = on_message
        self._refs = itertools.count(1)
        self._socket: ClientConnection | None = None
        self.joins = 0
        self.is_served = asyncio.Event()

    def cut(self) -> None:
        """The network is gone: nothing is said to the server."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                async with asyncio.timeout(JOIN_LIMIT_S):
                    socket = await open_socket(self._url, self._key)
                try:
                    self._socket = socket
                    await self._serve(socket)
                finally:
                    self._socket = None
                    self.is_served.clear()
                    socket.transport.abort()
                    await socket.wait_closed()
            if self.joins:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _serve(self, socket: ClientConnection) -> None:
        ref = str(next(self._refs))
        payload: dict[str, Any] = {"config": self._make_config()}
        if self._token is not None:
            payload["access_token"] = self._token
        await send(socket, self._topic, "phx_join", payload, ref, ref)
        while True:
            _, _, _, event, content = await receive(socket)
            if event in ("phx_error", "phx_close"):
                return
            if event == "phx_reply" and content["status"] == "error":
                return
            if event == "phx_reply":
                self.joins += 1
            if event == "system" and content["message"].startswith(NOT_SERVED):
                return  # what was asked for cannot be had: ask again
            if event == "system" and content["message"] == "Subscribed to PostgreSQL":
                self.is_served.set()
            done = self._on_message(event, content)
            if done is not None:
                await done
