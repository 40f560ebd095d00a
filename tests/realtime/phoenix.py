"""A small client of the wire: Phoenix messages in both versions over a WebSocket, nothing hidden and nothing
repeated."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, cast
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

LIMIT_S = 15.0
OBJECT_KEYS = {"topic", "event", "payload", "ref"}
AUTO = "auto"
MAYBE_MISSED = "Changes before this subscription may have been missed: load the data anew"

Vsn = Literal["1.0.0", "2.0.0"]


@dataclass(frozen=True)
class Message:
    """`kind` tells the binary kinds apart from text (None); of those `payload` is bytes, or the value where the frame
    says that it is JSON, and `metadata` what the frame holds."""

    join_ref: str | None
    ref: str | None
    topic: str
    event: str
    payload: Any
    kind: int | None = None
    encoding: int | None = None
    metadata: Any = None
    raw: str | bytes = ""

    @property
    def short(self) -> tuple[str, Any]:
        return self.event, self.payload


def read_message(vsn: Vsn, data: str | bytes) -> Message:
    """Strict: a message of version 1.0.0 has exactly its four keys, one of 2.0.0 its five elements."""
    if isinstance(data, bytes):
        assert vsn == "2.0.0", "version 1.0.0 has no binary frames"
        return _read_binary(data)
    found = json.loads(data)
    if vsn == "1.0.0":
        assert set(found) == OBJECT_KEYS, found
        return Message(None, found["ref"], found["topic"], found["event"], found["payload"], raw=data)
    join_ref, ref, topic, event, payload = found
    return Message(join_ref, ref, topic, event, payload, raw=data)


def _read_binary(data: bytes) -> Message:
    assert data[0] == 4, "of the binary kinds clients understand only this one"
    topic_size, event_size, metadata_size, encoding = data[1:5]
    topic_end = 5 + topic_size
    event_end = topic_end + event_size
    metadata_end = event_end + metadata_size
    metadata, payload = data[event_end:metadata_end], data[metadata_end:]
    return Message(
        join_ref=None,
        ref=None,
        topic=data[5:topic_end].decode(),
        event=data[topic_end:event_end].decode(),
        payload=json.loads(payload) if encoding == 1 else payload,
        kind=4,
        encoding=encoding,
        metadata=json.loads(metadata) if metadata else None,
        raw=data,
    )


def build_broadcast_push(
    topic: str,
    event: str,
    payload: object,
    *,
    join_ref: str = "",
    ref: str = "",
    metadata: object = None,
) -> bytes:
    """Kind 3; bytes go as bytes, everything else as JSON."""
    is_json = not isinstance(payload, bytes)
    content = json.dumps(payload).encode() if is_json else cast("bytes", payload)
    meta = b"" if metadata is None else json.dumps(metadata).encode()
    parts = [join_ref.encode(), ref.encode(), topic.encode(), event.encode(), meta]
    return b"".join((bytes((3, *map(len, parts), int(is_json))), *parts, content))


class Phoenix:
    """One socket. Refs are counted; a message on a topic carries the ref of its last join."""

    def __init__(self, websocket: ClientConnection, vsn: Vsn) -> None:
        self.websocket = websocket
        self.vsn = vsn
        self.warnings = 0
        self._refs = count(1)
        self._joins: dict[str, str] = {}

    # Sending

    async def send_raw(self, data: str | bytes) -> None:
        await self.websocket.send(data)

    async def send(
        self,
        topic: str,
        event: str,
        payload: object = None,
        *,
        ref: str | None = AUTO,
        join_ref: str | None = AUTO,
    ) -> str:
        """Its ref."""
        ref = str(next(self._refs)) if ref == AUTO else ref
        if event == "phx_join":
            self._joins[topic] = ref or ""
        join_ref = self._joins.get(topic) if join_ref == AUTO else join_ref
        payload = {} if payload is None else payload
        if self.vsn == "2.0.0":
            text = json.dumps([join_ref, ref, topic, event, payload])
        else:
            named = {"topic": topic, "event": event, "payload": payload, "ref": ref, "join_ref": join_ref}
            text = json.dumps(named)
        await self.send_raw(text)
        return ref or ""

    async def broadcast(self, topic: str, event: str, payload: object, **more: object) -> str:
        """As text."""
        return await self.send(
            topic, "broadcast", {"type": "broadcast", "event": event, "payload": payload, **more}
        )

    async def push(self, topic: str, event: str, payload: object, *, metadata: object = None) -> str:
        """A broadcast as kind 3."""
        ref = str(next(self._refs))
        join_ref = self._joins.get(topic, "")
        await self.send_raw(
            build_broadcast_push(topic, event, payload, join_ref=join_ref, ref=ref, metadata=metadata)
        )
        return ref

    async def track(self, topic: str, payload: object) -> str:
        return await self.send(topic, "presence", {"type": "presence", "event": "track", "payload": payload})

    async def untrack(self, topic: str) -> str:
        return await self.send(topic, "presence", {"type": "presence", "event": "untrack"})

    async def renew(self, topic: str, token: object) -> str:
        return await self.send(topic, "access_token", {"access_token": token})

    # Receiving

    async def next(self, limit_s: float = LIMIT_S) -> Message:
        """The next message, whatever it is. What a server says to every subscriber in its first minutes is counted."""
        async with asyncio.timeout(limit_s):
            while True:
                message = read_message(self.vsn, await self.websocket.recv())
                if message.event != "system" or message.payload["message"] != MAYBE_MISSED:
                    return message
                self.warnings += 1

    async def take(self, number: int) -> list[Message]:
        return [await self.next() for _ in range(number)]

    async def until(self, event: str, limit_s: float = LIMIT_S) -> Message:
        """The next message of this event; those before it are dropped."""
        async with asyncio.timeout(limit_s):
            while (message := await self.next(limit_s)).event != event:
                pass
            return message

    async def drain(self) -> list[Message]:
        """What has arrived by the time when a heartbeat is answered: [] where nothing has."""
        ref = "drain" + str(next(self._refs))
        await self.send("phoenix", "heartbeat", ref=ref)
        found = []
        while (message := await self.next()).ref != ref:
            found.append(message)
        return found

    async def closed(self) -> tuple[int, str]:
        """Wait for the server to close the socket: code and reason."""
        async with asyncio.timeout(LIMIT_S):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.websocket.recv()
        received = self.websocket.protocol.close_rcvd
        assert received is not None, "lost without a close frame"
        return received.code, received.reason

    # Channels

    async def ask_join(
        self, name: str, config: Mapping[str, Any] | None = None, *, token: str | None = None, **more: object
    ) -> str:
        """Sends the join; its ref."""
        payload: dict[str, object] = {"config": dict(config or {}), **more}
        if token is not None:
            payload["access_token"] = token
        return await self.send(f"realtime:{name}", "phx_join", payload)

    async def join(
        self, name: str, config: Mapping[str, Any] | None = None, *, token: str | None = None, **more: object
    ) -> Message:
        """The ok reply, which is the next thing to arrive."""
        ref = await self.ask_join(name, config, token=token, **more)
        reply = await self.next()
        assert (reply.event, reply.ref) == ("phx_reply", ref), reply
        assert reply.payload["status"] == "ok", reply
        return reply

    async def refused_join(
        self, name: str, config: Mapping[str, Any] | None = None, *, token: str | None = None, **more: object
    ) -> str:
        """The reason."""
        ref = await self.ask_join(name, config, token=token, **more)
        reply = await self.next()
        assert (reply.event, reply.ref) == ("phx_reply", ref), reply
        assert reply.payload["status"] == "error", reply
        assert list(reply.payload["response"]) == ["reason"]
        return str(reply.payload["response"]["reason"])

    async def subscribe(
        self, name: str, *bindings: Mapping[str, Any], token: str | None = None, **config: object
    ) -> list[int]:
        """Join and wait for `Subscribed to PostgreSQL`; the ids of the bindings."""
        reply = await self.join(name, {"postgres_changes": list(bindings), **config}, token=token)
        live = await self.next()
        assert live.event == "system", live
        assert live.payload["message"] == "Subscribed to PostgreSQL", live
        return [each["id"] for each in reply.payload["response"]["postgres_changes"]]

    async def changes(self, number: int) -> list[Any]:
        """The data of so many changes, which are the next messages."""
        found = await self.take(number)
        assert [each.event for each in found] == ["postgres_changes"] * number, found
        return [each.payload["data"] for each in found]

    def abort(self) -> None:
        """Cut the connection, without a close frame."""
        self.websocket.transport.abort()

    def go_silent(self) -> None:
        """Read nothing any more, answers to pings included: to the server the client is still there."""
        self.websocket.transport.pause_reading()

    async def close(self) -> None:
        await self.websocket.close()


def socket_url(url: str, query: Mapping[str, str] | Sequence[tuple[str, str]]) -> str:
    return f"{url.replace('http', 'ws', 1)}/realtime/v1/websocket?{urlencode(query)}"


@asynccontextmanager
async def open_phoenix(url: str, key: str, vsn: Vsn = "2.0.0") -> AsyncIterator[Phoenix]:
    """A socket to the server at `url`. What arrives is read at once, whether or not a test looks at it."""
    async with connect(
        socket_url(url, {"apikey": key, "vsn": vsn}),
        compression=None,
        max_size=None,
        max_queue=None,
        ping_interval=None,
    ) as websocket:
        yield Phoenix(websocket, vsn)


def system(message: str, *, status: str = "ok", extension: str = "system", channel: str) -> dict[str, str]:
    """The payload of a `system` message."""
    return {"extension": extension, "status": status, "message": message, "channel": channel}
