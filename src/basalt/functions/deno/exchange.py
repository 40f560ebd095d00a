"""HTTP/1.1 over a Unix socket: one request and its answer at a time on a connection, which is kept for the next.

Both ends are ours, so it knows no redirects, proxies or encodings; answers are parsed by httptools, which is made for
hostile ones too.
"""

import asyncio
import re
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import cast
from urllib.parse import quote

import httptools

HIGH_WATER_BYTES = 256 * 1024
PATH_SAFE = "/:@!$&'()*+,;=~-._"
HOST = re.compile(r"[A-Za-z0-9.:_\[\]-]{1,255}")
OF_THE_CONNECTION = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class Exchange(asyncio.Protocol):
    """A connection. `head` waits for status and headers, `read` for the body; both raise ConnectionError when the other
    end goes away first."""

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False
        self._is_lost = False
        self._begin(is_head=False)

    def _begin(self, *, is_head: bool) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._is_bodiless = is_head
        self._chunks: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._has_head = self.is_complete = self.can_be_reused = False
        self.status = 0
        self.headers: list[tuple[str, str]] = []

    @property
    def is_usable(self) -> bool:
        return not self._is_lost and not self._transport.is_closing()

    async def head(self, request: bytes, *, is_head: bool) -> None:
        """Send a request and wait until `status` and `headers` are known."""
        self._begin(is_head=is_head)
        self._transport.write(request)
        while not self._has_head:
            await self._wait()

    async def read(self) -> bytes:
        """The next piece of the body; nothing at its end."""
        while not self._chunks:
            if self.is_complete:
                return b""
            await self._wait()
        chunk = self._chunks.popleft()
        self._buffered_bytes -= len(chunk)
        if self._is_paused and self._buffered_bytes < HIGH_WATER_BYTES // 2:
            self._is_paused = False
            self._transport.resume_reading()
        return chunk

    async def read_all(self) -> bytes:
        chunks = []
        while chunk := await self.read():
            chunks.append(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        self._transport.abort()

    async def _wait(self) -> None:
        if self._is_lost:
            raise ConnectionResetError("the process of the function closed the connection")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()
        if self._buffered_bytes > HIGH_WATER_BYTES and not self._is_paused and not self.is_complete:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._wake()

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._has_head = True
        if (
            self._is_bodiless
        ):  # the parser would wait for a body; the connection is of no use for another request
            self.is_complete = True

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._buffered_bytes += len(body)

    def on_message_complete(self) -> None:
        self.is_complete = True
        self.can_be_reused = (
            self._parser.should_keep_alive()
            and not self._is_bodiless
            and not self._is_paused
            and self._transport.get_write_buffer_size() == 0
        )


class Connections:
    """To one socket, kept open between requests."""

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)
        self._idle: list[Exchange] = []

    async def take(self) -> Exchange:
        while self._idle:
            if (connection := self._idle.pop()).is_usable:
                return connection
        _, connection = await asyncio.get_running_loop().create_unix_connection(Exchange, self._socket)
        return connection

    def give_back(self, connection: Exchange) -> None:
        """Used again when its exchange has come to its end, else closed."""
        if connection.can_be_reused and connection.is_usable:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()


def render_request(
    method: str, path: str, query_string: str, headers: Iterable[tuple[str, str]], body: bytes
) -> bytes:
    r"""A request as bytes. `path` may be decoded or percent-encoded; `headers` are a client's.

    >>> render_request("GET", "/hello/å", "x=1", [("Host", "a"), ("te", "x"), ("accept", "*/*")], b"")
    b'GET /hello/%C3%A5?x=1 HTTP/1.1\r\nhost: a\r\naccept: */*\r\n\r\n'
    """
    given = [(name.lower(), value) for name, value in headers]
    host = next((value for name, value in given if name == "host" and HOST.fullmatch(value)), "localhost")
    target = quote(path, safe=PATH_SAFE + "%") + (f"?{query_string}" if query_string else "")
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}"]
    lines += [f"{name}: {value}" for name, value in given if name not in OF_THE_CONNECTION]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body
