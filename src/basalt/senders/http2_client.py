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
from basalt.senders.http2_protocol import Answered, Event, Goodbye, Http2Protocol, Http2Request

CONNECT_LIMIT_S: Final = 10.0
CONNECT_AGAIN_S: Final = 1.0  # after an attempt that failed
WATCH_EVERY_S: Final = 0.5
SILENT_S: Final = 5.0  # nothing heard with requests open: ask whether the other side is there
PING_LIMIT_S: Final = 5.0
IDLE_S: Final = 15.0  # a connection unused for so long is asked whether it lives before it is used
KEPT_S: Final = 60.0
TRIES: Final = (
    8  # APNs refuses what is in flight beside a message that it does not like, one wave after the other
)
WORDS: Final = 200  # of a goodbye, in the log
LOST: Final = "the connection was lost"


class UnsentError(Exception):
    """The server has not served the request and will not."""


class InDoubtError(Exception):
    """The server may have served the request. `reason` is for the delivery's record."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


End = Callable[[Answered | Exception], None]


@dataclass(slots=True, eq=False)
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
        self.host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = (tls or httpx2.create_ssl_context()) if parts.scheme == "https" else None
        if self._tls is not None:
            self._tls.set_alpn_protocols(["h2"])
        self._limit = connections
        self._streams = streams
        self._timeout_s = timeout_s
        self._waiting: deque[_Pending] = deque()
        self._connections: list[_Connection] = []
        self._opening: asyncio.Task[None] | None = None
        self._open_after = float("-inf")
        self._watching: asyncio.Task[None] | None = None
        self._is_closed = False

    def send(self, request: Http2Request) -> asyncio.Future[Answered]:
        """The answer, which comes within the time limit; or UnsentError, InDoubtError."""
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
        if self._watching is None and not self._is_closed:
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        self._is_closed = True
        tasks = [task for task in (self._opening, self._watching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in [*self._connections]:
            connection.close()
        self._start_waiting()

    def release(self, connection: "_Connection") -> None:
        """A connection has room, takes no more, or is gone."""
        if connection.is_lost and connection in self._connections:
            self._connections.remove(connection)
        self._start_waiting()

    def try_again(self, pending: _Pending) -> None:
        """Not served: once more, unless it has been tried too often."""
        pending.tries += 1
        if pending.tries >= TRIES:
            pending.end(UnsentError("the server refused the request again and again"))
        else:
            self._waiting.appendleft(pending)

    def _find_room(self) -> "_Connection | None":
        """The first with room: the fewer connections share the work, the more goes with one write."""
        for connection in self._connections:
            if connection.room > 0:
                return connection
        return None

    def _start_waiting(self) -> None:
        if self._is_closed:
            self._fail_waiting("closed")
        while self._waiting and (connection := self._find_room()) is not None:
            connection.start(self._waiting.popleft())
        if self._waiting and self._opening is None and self._may_open():
            self._opening = asyncio.get_running_loop().create_task(self._open())

    def _may_open(self) -> bool:
        """Those that only end what they have begun with do not count."""
        kept = sum(connection.is_kept for connection in self._connections)
        return kept < self._limit and time.monotonic() >= self._open_after

    async def _open(self) -> None:
        connection = _Connection(self, self._streams)
        failure = "closed"
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection, self.host, self._port, ssl=self._tls
                )
                failure = await connection.greeted
                if connection.is_lost:
                    failure = LOST
        except (OSError, UnicodeError) as exc:  # UnicodeError: a name that no host can have
            failure = f"no connection: {type(exc).__name__}"
        finally:
            if failure:
                connection.close()
            self._opening = None
        if not failure:
            self._connections.append(connection)
        else:
            self._open_after = time.monotonic() + CONNECT_AGAIN_S
            if not any(other.is_kept for other in self._connections):
                self._fail_waiting(failure)
        self._start_waiting()

    def _fail_waiting(self, reason: str) -> None:
        while self._waiting:
            self._waiting.popleft().end(UnsentError(reason))

    async def _watch(self) -> None:
        while self._connections or self._waiting or self._opening is not None:
            await asyncio.sleep(WATCH_EVERY_S)
            now = time.monotonic()
            for connection in [*self._connections]:
                connection.watch(now)
            while self._waiting and self._waiting[0].deadline < now:
                self._waiting.popleft().end(UnsentError("no connection was free in time"))
            self._start_waiting()
        self._watching = None


class _Connection(asyncio.Protocol):
    """`greeted` becomes `""` when the server has sent its settings, else why it will not."""

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
        self.greeted: asyncio.Future[str] = self._loop.create_future()
        self.is_lost = False

    @property
    def room(self) -> int:
        if self.is_lost or self._is_paused or self._pinged_at is not None:
            return 0
        return self._protocol.free_streams

    @property
    def is_kept(self) -> bool:
        return not (self.is_lost or self._protocol.is_draining)

    def start(self, pending: _Pending) -> None:
        self._open[self._protocol.begin(pending.request)] = pending
        self._used_at = time.monotonic()
        self._flush_soon()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        tls = transport.get_extra_info("ssl_object")
        if tls is None or tls.selected_alpn_protocol() == "h2":
            self._flush()
        else:
            self._greet("the server does not speak HTTP/2")

    def data_received(self, data: bytes) -> None:
        if self.is_lost:
            return  # TLS hands over what it had already read
        self._heard_at = time.monotonic()
        self._take(self._protocol.receive(data))
        if (error := self._protocol.error) is not None:
            observe.event(
                "http2_connection_failed", level="warning", host=self._client.host, reason=str(error)
            )
            self._end([])
            return
        if self._protocol.has_settings and not self.greeted.done():
            self._greet("")
        if self._protocol.pings_answered != self._pings_answered:
            self._pings_answered, self._pinged_at = self._protocol.pings_answered, None
        if self._protocol.is_draining and not self._open:
            self.close()
            return
        self._flush_soon()
        self._client.release(self)

    def eof_received(self) -> None:
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.close()

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
                self.close()
        elif self._open:
            if now - self._heard_at > SILENT_S:
                self._ping(now)
        elif self._protocol.is_draining or now - self._used_at > KEPT_S:
            self.close()
        elif now - max(self._used_at, self._heard_at) > IDLE_S:
            self._ping(now)
        self._flush_soon()

    def close(self) -> None:
        if not self.is_lost:
            self._end(self._protocol.close())

    def _ping(self, now: float) -> None:
        self._pinged_at = now
        self._protocol.ping()

    def _greet(self, failure: str) -> None:
        if not self.greeted.done():
            self.greeted.set_result(failure)

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Answered):  # `match` would cost a microsecond a message
                self._open.pop(event.stream).end(event)
            elif isinstance(event, Goodbye):
                observe.event(
                    "http2_goodbye",
                    level="warning" if event.code else "debug",
                    host=self._client.host,
                    code=event.code,
                    reason=event.words[:WORDS].decode("ascii", "replace"),
                )
            elif event.is_untouched:
                self._client.try_again(self._open.pop(event.stream))
            else:
                self._open.pop(event.stream).end(InDoubtError(event.reason))

    def _end(self, events: list[Event]) -> None:
        self.is_lost = True
        self._flush()
        if self._transport is not None:
            if self._is_paused or self._pinged_at is not None:
                self._transport.abort()  # what is still to be written would be waited for, and nobody reads it
            else:
                self._transport.close()
        self._greet(LOST)
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
            if not self._is_paused:
                self._protocol.unread_replies = 0
        self._protocol.output.clear()
