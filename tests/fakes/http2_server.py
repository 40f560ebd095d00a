"""A small HTTP/2 server over the `h2` library, which is strict about what it is sent, and misbehaves on command."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from tests.fakes.small_server import Received, Reply

FRAME_BYTES = 16_384


@dataclass(frozen=True)
class Silence:
    """Takes the request and never answers."""


@dataclass(frozen=True)
class Cut:
    """Takes the request and cuts the connection."""


@dataclass(frozen=True)
class Reset:
    code: int = h2.errors.ErrorCodes.INTERNAL_ERROR


@dataclass(frozen=True)
class GoAway:
    """Says goodbye, having begun with no request from this one on; those before it are answered."""


@dataclass(frozen=True)
class Broken:
    """The answer, and in the same write something that is no HTTP/2."""

    reply: Reply


@dataclass(frozen=True)
class Drip:
    """The answer byte by byte."""

    reply: Reply
    pause_s: float = 0.001


@dataclass(frozen=True)
class Late:
    """The answer after a while."""

    reply: Reply
    pause_s: float


Answer = Reply | Silence | Cut | Reset | GoAway | Broken | Drip | Late


@dataclass
class Http2Server:
    """`settings` are those that the server announces, `later_settings` those of each connection from its first answer
    on; `errors` is what clients did wrong; `most_streams` how many were open at once on one connection."""

    answer: Callable[[Received], Answer]
    url: str = ""
    settings: dict[int, int] = field(default_factory=dict)
    later_settings: dict[int, int] = field(default_factory=dict)
    is_deaf: bool = False
    connections: int = 0
    most_streams: int = 0
    errors: list[str] = field(default_factory=list)
    open: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.append(writer)
        conversation = _Conversation(self, writer)
        with suppress(ConnectionError, asyncio.CancelledError):
            conversation.begin()
            while data := await reader.read(65_536):
                if not self.is_deaf:
                    conversation.take(data)
                    await writer.drain()
        await conversation.end()
        writer.close()


class _Conversation:
    def __init__(self, server: Http2Server, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._writer = writer
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self._requests: dict[int, tuple[dict[str, str], bytearray]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_answered = False

    def begin(self) -> None:
        self._h2.initiate_connection()
        self._announce(self._server.settings)
        self._flush()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def take(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as exc:
            self._server.errors.append(f"{type(exc).__name__}: {exc}")
            self._flush()
            self._writer.close()
            return
        self._server.most_streams = max(self._server.most_streams, self._h2.open_inbound_streams)
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                self._requests[event.stream_id] = dict(event.headers), bytearray()
            elif isinstance(event, h2.events.DataReceived):
                self._requests[event.stream_id][1].extend(event.data)
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self._respond(event.stream_id)
        self._flush()

    def _respond(self, stream: int) -> None:
        headers, body = self._requests.pop(stream)
        received = Received(headers[":method"], headers[":path"], headers, bytes(body))
        answer = self._server.answer(received)
        match answer:
            case Reply():
                self._reply(stream, answer)
            case Late(reply, pause_s):
                self._start(self._reply_late(stream, reply, pause_s))
            case Broken(reply):
                self._reply(stream, reply)
                self._writer.write(self._h2.data_to_send() + b"\xff" * 9)
            case Drip(reply, pause_s):
                self._send_head(stream, reply)
                self._start(self._drip(stream, reply.body, pause_s))
            case Reset(code):
                self._h2.reset_stream(stream, code)
            case GoAway():
                self._goodbye(max(0, stream - 2))
            case Cut():
                self._flush()
                self._writer.transport.abort()
            case Silence():
                pass

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _announce(self, settings: dict[int, int]) -> None:
        if settings:
            self._h2.update_settings(
                {h2.settings.SettingCodes(name): value for name, value in settings.items()}
            )

    def _reply(self, stream: int, reply: Reply) -> None:
        self._send_head(stream, reply)
        for start in range(0, len(reply.body), FRAME_BYTES):
            self._h2.send_data(stream, reply.body[start : start + FRAME_BYTES])
        self._h2.end_stream(stream)
        if not self._has_answered:
            self._has_answered = True
            self._announce(self._server.later_settings)

    async def _reply_late(self, stream: int, reply: Reply, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        self._reply(stream, reply)
        self._flush()

    def _goodbye(self, last: int) -> None:
        """The `h2` library would answer nothing more; the connection goes on for what was begun."""
        payload = last.to_bytes(4) + (0).to_bytes(4) + b'{"reason":"Shutdown"}'
        self._flush()
        self._writer.write(len(payload).to_bytes(3) + b"\x07\x00" + bytes(4) + payload)

    def _send_head(self, stream: int, reply: Reply) -> None:
        self._h2.send_headers(stream, [(":status", str(reply.status)), *reply.headers.items()])

    async def _drip(self, stream: int, body: bytes, pause_s: float) -> None:
        for position in range(len(body)):
            await asyncio.sleep(pause_s)
            self._h2.send_data(stream, body[position : position + 1], end_stream=position == len(body) - 1)
            self._flush()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())


@asynccontextmanager
async def http2_server(
    answer: Callable[[Received], Answer],
    *,
    tls: ssl.SSLContext | None = None,
    settings: dict[int, int] | None = None,
    later_settings: dict[int, int] | None = None,
) -> AsyncIterator[Http2Server]:
    """Serve until the end of the block; a client that broke the protocol fails the test."""
    fake = Http2Server(answer, settings=settings or {}, later_settings=later_settings or {})
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    fake.url = f"https://localhost:{port}" if tls is not None else f"http://127.0.0.1:{port}"
    try:
        yield fake
    finally:
        server.close()
        for writer in fake.open:
            writer.close()
        await asyncio.sleep(0)
    assert fake.errors == []
