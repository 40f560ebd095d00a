"""The WebSocket side of the gateway: uvicorn's sans-I/O protocol, whose messages go straight to a service's callbacks
and whose transport takes frames that were built once for everybody.

The handshake goes the way of ASGI; `scope["extensions"]["basalt.connection"]` is the connection that a service then
talks to. Extensions such as permessage-deflate are off: a frame that differs by client cannot be shared.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, cast
from weakref import WeakKeyDictionary

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import Frame
from websockets.http11 import Request as HandshakeRequest

from basalt.gateway.answers import Send
from basalt.http import Closed, Response

MAX_MESSAGE_BYTES = 5_000_000
MAX_GATHERED_BYTES = 65_536
CLOSE_LIMIT_S = 5.0
TURN_S = 0.005  # for the messages of one client at a time


class _Outbox:
    """Frames of one turn of the event loop leave together, one system call per connection: a burst of changes or
    broadcasts would otherwise cost one for each frame, which is most of what it costs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[FrameProtocol] = []

    def add(self, connection: "FrameProtocol") -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(connection)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            connection.flush()


_outboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, _Outbox] = WeakKeyDictionary()


class FrameProtocol(WebSocketsSansIOProtocol):
    """One connection; also the `SocketConnection` of the service behind it. uvicorn's own keepalive is off: services
    know better when a peer must show that it is there."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.on_message: Callable[[str | bytes], None] = _ignore
        self.on_pong: Callable[[bytes], None] = _ignore
        self.on_closing: Callable[[], None] = _ignore_closing
        self._send: Send | None = None
        self._is_taken = False
        self._closed: asyncio.Future[Closed] | None = None
        self._received_close: Closed | None = None
        self._outbox = _outboxes.get(self.loop) or _outboxes.setdefault(self.loop, _Outbox(self.loop))
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0

    # What a service calls

    def bind(self, send: Send) -> None:
        """ASGI's way to answer the handshake."""
        self._send = send

    async def accept(self) -> None:
        assert self._send is not None
        self._closed = self.loop.create_future()
        if self.disconnected:
            self._closed.set_result(Closed(1006, "", by_client=False))
            return
        await self._send({"type": "websocket.accept"})
        self._is_taken = True

    async def reject(self, response: Response) -> None:
        assert self._send is not None
        body = response.body
        assert isinstance(body, bytes)
        head = {"status": response.status, "headers": response.headers}
        await self._send({"type": "websocket.http.response.start", **head})
        await self._send({"type": "websocket.http.response.body", "body": body})
        self.handshake_complete = True  # with a refusal, which uvicorn would take for a mistake

    async def wait_closed(self) -> Closed:
        assert self._closed is not None
        return await self._closed

    def write(self, frame: bytes) -> None:
        if self.close_sent or self.disconnected:
            return
        if not self._gathered:
            self._outbox.add(self)
        self._gathered.append(frame)
        self._gathered_bytes += len(frame)
        if self._gathered_bytes > MAX_GATHERED_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand over to the transport what was gathered."""
        frames = self._gathered
        if frames:
            self._gathered, self._gathered_bytes = [], 0
            if not self.disconnected:
                self.transport.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def buffered_bytes(self) -> int:
        return 0 if self.disconnected else self.transport.get_write_buffer_size() + self._gathered_bytes

    def close(self, code: int, reason: str) -> None:
        if self.close_sent or self.disconnected:
            return
        self.flush()
        with contextlib.suppress(WebSocketException):
            self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._received_close = Closed(code, reason, by_client=False)
        self.close_timer = self.loop.call_later(CLOSE_LIMIT_S, self.transport.abort)

    def abort(self) -> None:
        self.transport.abort()

    # What uvicorn calls

    def data_received(self, data: bytes) -> None:
        """One client may send faster than its messages are handled, and libuv reads 32 times in a row where there is
        always more: whoever took long waits as long, so that others have half of the time."""
        began = time.perf_counter()
        super().data_received(data)
        took_s = time.perf_counter() - began
        if self._is_taken and took_s > TURN_S and not self.disconnected:
            self.transport.pause_reading()
            self.loop.call_later(took_s, self._read_on)

    def _read_on(self) -> None:
        if not self.disconnected:
            self.transport.resume_reading()

    def handle_connect(self, event: HandshakeRequest) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions = cast("dict[str, Any]", self.scope["extensions"])
            extensions["basalt.connection"] = self

    def send_receive_event_to_app(self) -> None:
        if not self._is_taken:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if self.close_sent:
            return
        if self.curr_msg_data_type == "text":
            try:
                self.on_message(data.decode())
            except UnicodeDecodeError:
                self.close(1007, "Text that is not UTF-8")
        else:
            self.on_message(bytes(data))

    def handle_pong(self, event: Frame) -> None:
        self.on_pong(bytes(event.data))

    def handle_close(self, event: Frame) -> None:
        received = self.conn.close_rcvd
        if received is not None and self._received_close is None:
            self._received_close = Closed(received.code, received.reason, by_client=True)
        super().handle_close(event)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(self._received_close or Closed(1006, "", by_client=False))

    def shutdown(self) -> None:
        if self._is_taken and not self.close_sent:
            self.on_closing()
            self.close(1012, "")
            self.transport.close()
        else:
            super().shutdown()


def _ignore(_message: str | bytes) -> None:
    """Before a service has said what it wants with it."""


def _ignore_closing() -> None:
    """Nobody has anything to say."""
