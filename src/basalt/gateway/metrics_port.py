"""Metrics on a port of their own, for a network that only Prometheus is in, and for a machine with workers alone.

Any process of the node can tell the figures of all, so that each tries to listen; the one that does is enough, and when
it ends another one takes its place. One short request per connection is all that is spoken here.
"""

import asyncio
import errno
import socket
from dataclasses import dataclass
from typing import Protocol

from basalt import observe
from basalt.config import Settings
from basalt.gateway.operators import Operators
from basalt.http import Headers
from basalt.waiting import wait_within

TRY_AGAIN_S = 2.0
REQUEST_LIMIT_S = 5.0
MAX_HEAD_BYTES = 16 * 1024
TEXT = "text/plain; charset=utf-8"
HEALTHY = b"ok\n"


@dataclass(frozen=True, slots=True)
class Answer:
    status: str
    content_type: str = TEXT
    body: bytes = b""


class Page(Protocol):
    async def render(self) -> bytes:
        """The figures as Prometheus reads them."""


class MetricsPort:
    """A `Part` of a process: listens while no other process of the node does."""

    name = "metrics"

    def __init__(self, settings: Settings, page: "Page", operators: Operators) -> None:
        self._address = (settings.basalt.telemetry.metrics.host, settings.basalt.telemetry.metrics.port)
        self._page = page
        self._operators = operators

    async def run(self, stopping: asyncio.Event) -> None:
        is_told = False
        while not stopping.is_set():
            try:
                server = await asyncio.start_server(
                    self._serve,
                    *self._address,
                    limit=MAX_HEAD_BYTES,
                    reuse_address=True,
                    family=_family(*self._address),
                )
            except OSError as error:
                is_expected = error.errno == errno.EADDRINUSE and await self._is_held_by_ours()
                if not is_expected and not is_told:
                    is_told = True
                    host, port = self._address
                    observe.event("metrics_not_listening", level="warning", host=host, port=port, error=error)
                await wait_within(stopping, TRY_AGAIN_S)
                continue
            observe.event("metrics_listening", host=self._address[0], port=self._address[1])
            async with server:
                await stopping.wait()

    async def _is_held_by_ours(self) -> bool:
        """Another process of this node, as its `/health` shows."""
        try:
            async with asyncio.timeout(REQUEST_LIMIT_S):
                reader, writer = await asyncio.open_connection(*self._address)
                try:
                    writer.write(b"GET /health HTTP/1.1\r\n\r\n")
                    return (await reader.read(MAX_HEAD_BYTES)).endswith(b"\r\n\r\n" + HEALTHY)
                finally:
                    writer.close()
        except ConnectionRefusedError:  # it has just ended
            return True
        except OSError:
            return False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_LIMIT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                answer = await self._answer(head)
                writer.write(_render(answer, is_head=head.startswith(b"HEAD ")))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except Exception as error:
            observe.event("metrics_failed", level="error", error=error)
        finally:
            writer.close()

    async def _answer(self, head: bytes) -> Answer:
        line, *fields = head.decode("latin-1").split("\r\n")
        method, _, target = line.partition(" ")
        pairs = [field.partition(":") for field in fields if field]
        headers = Headers(
            [
                (name.strip().lower().encode("latin-1"), value.strip().encode("latin-1"))
                for name, _, value in pairs
            ]
        )
        match target.partition(" ")[0].partition("?")[0]:
            case "/health":
                return Answer("200 OK", body=HEALTHY)
            case "/metrics" if method not in ("GET", "HEAD"):
                return Answer("405 Method Not Allowed")
            case "/metrics" if self._operators.ask_for_token and not self._operators.has_token(headers):
                return Answer("401 Unauthorized", body=b"Metrics need their token\n")
            case "/metrics":
                return Answer("200 OK", observe.TEXT_FORMAT, await self._page.render())
            case _:
                return Answer("404 Not Found", body=b"Metrics are at /metrics\n")


def _render(answer: Answer, *, is_head: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status}",
        f"content-type: {answer.content_type}",
        f"content-length: {len(answer.body)}",
        "connection: close",
    ]
    head = "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"
    return head if is_head else head + answer.body


def _family(host: str, port: int) -> socket.AddressFamily:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
