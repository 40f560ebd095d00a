"""A receiver of outgoing requests that answers well or badly, by the first word of the path."""

import asyncio
import contextlib
import gzip
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

CHUNK = 64 * 1024


@dataclass(frozen=True)
class Arrived:
    """A request; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    at: float

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """`arrived` has every whole request. `replies` are the statuses of `/next`, the last one for good."""

    port: int = 0
    scheme: str = "http"
    arrived: list[Arrived] = field(default_factory=list)
    replies: list[int] = field(default_factory=lambda: [200])
    reply_headers: dict[str, str] = field(default_factory=dict)
    connections: int = 0
    most_at_once: int = 0
    at_once: int = 0

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (request := await _read_request(reader)) is not None:
                self.arrived.append(request)
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    word = request.target.partition("?")[0].strip("/").split("/")[0]
                    await getattr(self, f"on_{word.replace('-', '_')}", self.on_ok)(request, writer)
                    await writer.drain()
                finally:
                    self.at_once -= 1
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()

    async def on_ok(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        _answer(writer, 200, b"ok", {"Content-Type": "text/plain"})

    async def on_echo(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        told = {
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
            "body": request.body.decode(),
        }
        _answer(writer, 200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    async def on_next(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        status = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        _answer(writer, status, b"", self.reply_headers)

    async def on_status(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        _answer(writer, int(request.target.split("/")[2]), b"said so")

    async def on_slow(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(float(request.target.split("/")[2]))
        _answer(writer, 200, b"at last")

    async def on_redirect(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        _, _, status, target = request.target.split("/", 3)
        _answer(writer, int(status), b"", {"Location": target})

    async def on_hang(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async def on_hang_in_the_body(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await asyncio.sleep(3600)

    async def on_drip(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)

    async def on_close(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def on_reset(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def on_garbage(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01 this is not HTTP at all\r\n\r\n")
        writer.close()

    async def on_cut_off(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
        writer.close()

    async def on_wrong_length(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nabc")
        writer.close()

    async def on_endless_headers(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-More: " + b"x" * 1000 + b"\r\n")
            await writer.drain()

    async def on_upgrade(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
        await asyncio.sleep(3600)

    async def on_large(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 104857600\r\n\r\n")
        for _ in range(104857600 // CHUNK):
            writer.write(b"x" * CHUNK)
            await writer.drain()

    async def on_bytes(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        _answer(writer, 200, b"a\x00b\xff\xfe\xf0\x9f\x98\x80", {"X-Odd": "caf\xe9"})

    async def on_bomb(self, request: Arrived, writer: asyncio.StreamWriter) -> None:
        packed = gzip.compress(b"\0" * 50_000_000)
        _answer(writer, 200, packed, {"Content-Encoding": "gzip"})


def _answer(
    writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


async def _read_request(reader: asyncio.StreamReader) -> Arrived | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line.strip())
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, target, _ = first.split(" ")
    return Arrived(method, target, headers, body, time.monotonic())


Open = Callable[..., Awaitable[Receiver]]


@asynccontextmanager
async def running_receiver(
    *, tls: ssl.SSLContext | None = None, port: int = 0, host: str = "127.0.0.1"
) -> AsyncIterator[Receiver]:
    receiver = Receiver(scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(receiver.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, host, port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
