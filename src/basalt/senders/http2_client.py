"""Requests to one provider over a few HTTP/2 connections: `http2_protocol.py` with sockets and a clock.

A request of which the server says that it has not begun with it, or of which not all was sent, goes to another
connection; one that may have been served is in doubt, and that is told. All requests of one turn of the event loop
leave in one write. Over `http://` the server is believed to speak HTTP/2 (RFC 9113 §3.3), over `https://` it has to say
so.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

import httpx2

from basalt import observe
from basalt.senders.http2_protocol import (
    Answered,
    Event,
    Http2Error,
    Http2Protocol,
    Http2Request,
)

CONNECT_LIMIT_S: Final = 10.0
WATCH_EVERY_S: Final = 0.5
SILENT_S: Final = 5.0  # nothing heard with requests open: ask whether the other side is there
PING_LIMIT_S: Final = 5.0
IDLE_S: Final = 15.0  # a connection unused for so long is asked whether it lives before it is used
KEPT_S: Final = 60.0
TRIES: Final = 3


class UnsentError(Exception):
    """The server has not served the request and will not."""


class InDoubtError(Exception):
    """The server may have served the request. `reason` is for the delivery's record."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


End = Callable[[Answered | Exception], None]


@dataclass(slots=True)
class _Pending:
    request: Http2Request
    end: End
    deadline: float
    tries: int = 0


class Http2Client:
    """`origin` is scheme, host and port. Up to `connections`, each with up to `streams` requests at once; the next one
    is opened when those that are there are full."""

    def __init__(
        self,
        origin: str,
        *,
        connections: int,
        streams: int,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(origin)
        assert parts.hostname
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = tls if parts.scheme == "https" else None
        if parts.scheme == "https" and tls is None:
            self._tls = httpx2.create_ssl_context()
        if self._tls is not None:
            self._tls.set_alpn_protocols(["h2"])
        self._limit = connections
        self._streams = streams
        self._timeout_s = timeout_s
        self._waiting: deque[_Pending] = deque()
        self._connections: list[_Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None

    def send(self, request: Http2Request) -> asyncio.Future[Answered]:
        """The answer, which comes within the time limit; or UnsentError, InDoubtError, ValueError for headers that are
        too large."""
        answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()

        def end(result: Answered | Exception) -> None:
            if answer.done():
                return  # nobody waits for it any more
            if isinstance(result, Answered):
                answer.set_result(result)
            else:
                answer.set_exception(result)

        self.submit(request, end)
        return answer

    def submit(self, request: Http2Request, end: End) -> None:
        """The same for many requests at once: `end` is called with the answer or the error, once."""
        pending = _Pending(request, end, time.monotonic() + self._timeout_s)
        if self._waiting or (connection := self._find_room()) is None:
            self._waiting.append(pending)
            self._start_waiting()
        else:
            connection.start(pending)
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        tasks = [*self._opening, *([self._watching] if self._watching is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in [*self._connections]:
            connection.close()
        self._fail_waiting("closed")

    def release(self, connection: "_Connection") -> None:
        """A connection has room, or is gone."""
        if connection.is_lost and connection in self._connections:
            self._connections.remove(connection)
        self._start_waiting()

    def try_again(self, pending: _Pending) -> None:
        """Not served: on another connection, unless it has been tried too often."""
        pending.tries += 1
        if pending.tries >= TRIES:
            pending.end(UnsentError("the server refused the request on several connections"))
        else:
            self._waiting.appendleft(pending)

    def _find_room(self) -> "_Connection | None":
        """The first with room: the fewer connections share the work, the more goes with one write."""
        for connection in self._connections:
            if connection.room > 0:
                return connection
        return None

    def _start_waiting(self) -> None:
        while self._waiting and (connection := self._find_room()) is not None:
            connection.start(self._waiting.popleft())
        if self._waiting and len(self._connections) + len(self._opening) < self._limit and not self._opening:
            task = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self, self._streams), self._host, self._port, ssl=self._tls
                )
        except (OSError, TimeoutError) as exc:
            if not self._connections:
                self._fail_waiting(f"no connection: {type(exc).__name__}")
            return
        if not connection.speaks_http2:
            connection.close()
            self._fail_waiting("the server does not speak HTTP/2")
            return
        self._connections.append(connection)
        self._opening.clear()  # this task is about to end: the next connection may be opened
        self._start_waiting()

    def _fail_waiting(self, reason: str) -> None:
        while self._waiting:
            self._waiting.popleft().end(UnsentError(reason))

    async def _watch(self) -> None:
        while self._connections or self._waiting:
            await asyncio.sleep(WATCH_EVERY_S)
            now = time.monotonic()
            for connection in [*self._connections]:
                connection.watch(now)
            for pending in [pending for pending in self._waiting if pending.deadline < now]:
                self._waiting.remove(pending)
                pending.end(UnsentError("no connection was free in time"))
            self._start_waiting()
        self._watching = None


class _Connection(asyncio.Protocol):
    def __init__(self, client: Http2Client, streams: int) -> None:
        self._client = client
        self._protocol = Http2Protocol(max_streams=streams)
        self._open: dict[int, _Pending] = {}
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._is_flushing = False
        self._is_paused = False
        self._heard_at = self._used_at = time.monotonic()
        self._pinged_at: float | None = None
        self._pings_answered = 0
        self.is_lost = False

    @property
    def room(self) -> int:
        if self.is_lost or self._is_paused or self._pinged_at is not None:
            return 0
        return self._protocol.free_streams

    @property
    def speaks_http2(self) -> bool:
        assert self._transport is not None
        tls = self._transport.get_extra_info("ssl_object")
        return tls is None or tls.selected_alpn_protocol() == "h2"

    def start(self, pending: _Pending) -> None:
        try:
            number = self._protocol.begin(pending.request)
        except ValueError as exc:
            pending.end(exc)
            return
        self._open[number] = pending
        self._used_at = time.monotonic()
        self._flush_soon()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._heard_at = time.monotonic()
        try:
            self._take(self._protocol.receive(data))
        except Http2Error as exc:
            observe.event("http2_connection_failed", level="warning", reason=str(exc))
            self._end(self._protocol.close(exc.code))
            return
        if self._protocol.pings_answered != self._pings_answered:
            self._pings_answered, self._pinged_at = self._protocol.pings_answered, None
        if self._protocol.is_draining and not self._open:
            self.close()
        elif self._protocol.output:
            self._flush_soon()
        self._client.release(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_lost:
            self._end(self._protocol.close())

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._client.release(self)

    def watch(self, now: float) -> None:
        """What time does to a connection: requests that are not answered, a server that is not heard, no work."""
        for number in [number for number, pending in self._open.items() if pending.deadline < now]:
            pending = self._open.pop(number)
            if self._protocol.cancel(number):
                pending.end(UnsentError("the request was not taken in time"))
            else:
                pending.end(InDoubtError("timeout"))
        if self._pinged_at is not None:
            if now - self._pinged_at > PING_LIMIT_S:
                self._end(self._protocol.close())
        elif self._open:
            if now - self._heard_at > SILENT_S:
                self._ping(now)
        elif now - self._used_at > KEPT_S:
            self.close()
        elif now - max(self._used_at, self._heard_at) > IDLE_S:
            self._ping(now)
        self._flush_soon()

    def close(self) -> None:
        self._end(self._protocol.close())

    def _ping(self, now: float) -> None:
        self._pinged_at = now
        self._protocol.ping()

    def _take(self, events: list[Event]) -> None:
        for event in events:
            pending = self._open.pop(event.stream)
            if isinstance(event, Answered):
                pending.end(event)
            elif event.is_untouched:
                self._client.try_again(pending)
            else:
                pending.end(InDoubtError(event.reason))

    def _end(self, events: list[Event]) -> None:
        self.is_lost = True
        self._flush()
        if self._transport is not None:
            self._transport.close()
        self._take(events)
        self._client.release(self)

    def _flush_soon(self) -> None:
        if not self._is_flushing and self._protocol.output:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        if self._protocol.output and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._protocol.output))
        self._protocol.output.clear()
