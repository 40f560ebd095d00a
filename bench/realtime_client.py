"""A lean WebSocket client with thousands of sockets: `python -m bench.realtime_client`, told what to do by lines of
JSON on its standard input and answering each with one on its standard output.

It runs in a process of its own and does as little as an honest client can: it finds where frames end, counts those
that are news, answers pings, and looks into the frames of a few sockets for the time of commit. It masks with zeros,
which costs nothing. Each answer says what share of a core it took, so that one can see whether the client was what was
measured.
"""

import asyncio
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

import uvloop

from bench.load import percentile

FIN_TEXT, FIN_BINARY, FIN_CLOSE, FIN_PING, FIN_PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
NO_MASK = bytes(4)
ALIVE = bytes((FIN_PONG, 0x80)) + NO_MASK  # an unasked pong: "I am here", which needs no answer
ALIVE_S = 20.0
CONNECTING = 64  # at once
SAMPLED = 20  # sockets into whose frames the client looks
ANSWER_LIMIT_S = 300.0
COMMITTED = re.compile(rb'"commit_timestamp":"([^"]+)"')
PRESENT = re.compile(rb'"(k[0-9]+)":\{"metas"')

READ_BUFFER = memoryview(bytearray(256 * 1024))  # of whichever socket is being read


class Client:
    """The process, seen from the benchmark."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def start(self, command: str, **details: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"command": command, **details}) + "\n")
        self._process.stdin.flush()

    def finish(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the client has ended")
        answer: dict[str, Any] = json.loads(line)
        if failures := answer.pop("failures"):
            raise RuntimeError(f"the client: {failures}")
        return answer

    def call(self, command: str, **details: object) -> dict[str, Any]:
        self.start(command, **details)
        return self.finish()


@contextmanager
def running_client() -> Iterator[Client]:
    with subprocess.Popen(
        [sys.executable, "-m", "bench.realtime_client"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Client(process)
        finally:
            process.kill()


class Socket(asyncio.BufferedProtocol):
    """One WebSocket. `on_news`, where there is one, gets the payload of each frame that is counted."""

    def __init__(self, run: "Run", greeting: bytes, first: Sequence[bytes]) -> None:
        self._run = run
        self._greeting = greeting
        self._first = first
        self._rest = b""  # of a frame that has not come whole
        self._lacking = 0  # bytes of it, where that is known
        self._is_open = False
        self.on_news: Callable[[bytes], None] | None = None
        self.ready: asyncio.Future[None] = run.loop.create_future()
        self._steps = list(run.steps)
        self.present: set[bytes] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self.transport.write(self._greeting)

    def get_buffer(self, sizehint: int) -> memoryview:
        return READ_BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        if nbytes < self._lacking:
            self._rest += READ_BUFFER[:nbytes]
            self._lacking -= nbytes
            return
        data = self._rest + READ_BUFFER[:nbytes] if self._rest else bytes(READ_BUFFER[:nbytes])
        self._lacking = 0
        if not self._is_open:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._rest = data
                return
            self._open(data[:end])
            data = data[end + 4 :]
        self._read_frames(data)

    def _open(self, head: bytes) -> None:
        self._is_open = True
        if b" 101 " not in head[:20]:
            self._run.fail(head.decode("latin-1"))
        for frame in self._first:
            self.transport.write(frame)
        self._step(b"")

    def _read_frames(self, data: bytes) -> None:
        at, size, news = 0, len(data), 0
        look = self.on_news is not None or bool(self._steps)
        while size - at >= 2:
            length, starts = data[at + 1], at + 2
            if length == 126:
                starts += 2
                length = int.from_bytes(data[at + 2 : starts]) if starts <= size else size
            elif length == 127:
                starts += 8
                length = int.from_bytes(data[at + 2 : starts]) if starts <= size else size
            ends = starts + length
            if ends > size:
                self._lacking = ends - size if starts <= size else 0
                break
            kind = data[at]
            # `[null,` begins what is for everybody; replies and messages to this channel alone name its join
            if kind == FIN_BINARY or (kind == FIN_TEXT and data[starts + 1] == 0x6E):
                news += 1
                if look and self.on_news is not None:
                    self.on_news(data[starts:ends])
            elif kind == FIN_TEXT:
                if self._steps:
                    self._step(data[starts:ends])
            else:
                self._control(kind, data[starts:ends])
            at = ends
        self._rest = data[at:]
        if news:
            self._run.count(news)

    def _step(self, message: bytes) -> None:
        """Ready when all that was waited for has come."""
        if self._steps and self._steps[0] in message and message:
            del self._steps[0]
        elif b'"status":"error"' in message:
            self._run.fail(message.decode())
        if not self._steps and not self.ready.done():
            self.ready.set_result(None)

    def _control(self, kind: int, payload: bytes) -> None:
        if kind == FIN_PING:
            self.transport.write(bytes((FIN_PONG, 0x80 | len(payload))) + NO_MASK + payload)
        elif kind == FIN_CLOSE:
            self._run.fail(f"the server closed a socket: {payload!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._run.is_closing:
            self._run.fail(f"a connection was lost: {exc}")

    def note_commit(self, payload: bytes) -> None:
        found = COMMITTED.search(payload)
        if found is not None:
            self._run.took_s.append(time.time() - commit_time(found[1]))

    def note_present(self, payload: bytes) -> None:
        self.present.update(PRESENT.findall(payload))
        if len(self.present) == self._run.wanted_present:
            self._run.note_full()


class Run:
    """All sockets of this process, and the commands."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.sockets: list[Socket] = []
        self.steps: list[bytes] = []
        self.failures: list[str] = []
        self.took_s: list[float] = []
        self.is_closing = False
        self.news = 0
        self._wanted = 0
        self._has_all = asyncio.Event()
        self.wanted_present = 0
        self._full = 0
        self._first_at = self._last_at = 0.0

    def count(self, news: int) -> None:
        if not self.news:
            self._first_at = time.perf_counter()
        self.news += news
        if self._wanted and self.news >= self._wanted:
            self._last_at = time.perf_counter()
            self._has_all.set()

    def note_full(self) -> None:
        self._full += 1
        if self._full == len(self.sockets):
            self._has_all.set()

    def fail(self, reason: str) -> None:
        if len(self.failures) < 3:
            self.failures.append(reason)
        self._has_all.set()

    # Commands

    async def open(
        self, *, host: str, port: int, targets: list[str], joins: list[str], steps: list[str]
    ) -> dict[str, Any]:
        """A socket for each join; it is open when a message with each of `steps` has come, in their order."""
        self.steps = [step.encode() for step in steps]
        limit = asyncio.Semaphore(CONNECTING)
        started = time.perf_counter()

        async def open_one(number: int, join: str) -> None:
            greeting = render_handshake(host, port, targets[number % len(targets)])
            first = [render_frame(FIN_TEXT, join.encode())] if join else []
            async with limit:
                _, socket = await self.loop.create_connection(
                    lambda: Socket(self, greeting, first), host, port
                )
                self.sockets.append(socket)
                await asyncio.wait_for(socket.ready, 60)

        await asyncio.gather(*(open_one(number, join) for number, join in enumerate(joins)))
        for socket in self.sockets[:: max(1, len(self.sockets) // SAMPLED)]:
            socket.on_news = socket.note_commit
        return {"took_s": time.perf_counter() - started}

    async def reset(self, *, wanted: int = 0) -> dict[str, Any]:
        """Count anew; `await_news` waits until so many have come."""
        self.news, self._wanted, self.took_s = 0, wanted, []
        self._has_all.clear()
        return {}

    async def await_news(self, *, limit_s: float) -> dict[str, Any]:
        """Until all that is wanted has come; the time is that from the first to the last."""
        await self._wait(limit_s, lambda: f"{self.news} of {self._wanted} messages")
        return self._summarise(self._last_at - self._first_at)

    async def summarise(self) -> dict[str, Any]:
        return self._summarise(time.perf_counter() - self._first_at)

    async def flood(self, *, message: str, window: int, seconds: float) -> dict[str, Any]:
        """The first socket sends the message again and again, `window` of them on their way to the last one."""
        sender, last = self.sockets[0], self.sockets[-1]
        frame = render_frame(FIN_BINARY, message.encode("latin-1"))
        ends_at = time.perf_counter() + seconds
        sent = 0

        def send_next(_payload: bytes) -> None:
            nonlocal sent
            if time.perf_counter() < ends_at:
                sender.transport.write(frame)
                sent += 1

        last.on_news = send_next
        for _ in range(window):
            send_next(b"")
        await asyncio.sleep(seconds)
        took_s, news = time.perf_counter() - self._first_at, self.news
        self._wanted = sent * (len(self.sockets) - 1)
        if self.news < self._wanted:
            await self._wait(30, lambda: f"{self.news} of {self._wanted} broadcasts")
        last.on_news = None
        return {**self._summarise(took_s), "news": news}

    async def track(self, *, joins: list[str], tracks: list[str]) -> dict[str, Any]:
        """Every socket joins and tracks; until each has seen the keys of all."""
        self._full, self.wanted_present = 0, len(self.sockets)
        started = time.perf_counter()
        for socket, join, track in zip(self.sockets, joins, tracks, strict=True):
            socket.on_news = socket.note_present
            socket.transport.write(
                render_frame(FIN_TEXT, join.encode()) + render_frame(FIN_TEXT, track.encode())
            )
            if self.sockets.index(socket) % 20 == 19:
                await asyncio.sleep(0)
        await self._wait(60, lambda: f"{self._full} of {len(self.sockets)} know everybody")
        return self._summarise(time.perf_counter() - started)

    async def close(self) -> dict[str, Any]:
        self.is_closing = True
        for socket in self.sockets:
            socket.transport.write(render_frame(FIN_CLOSE, (1000).to_bytes(2)))
            socket.transport.close()
        self.sockets = []
        await asyncio.sleep(0.2)
        self.is_closing = False
        return {}

    async def _wait(self, limit_s: float, describe: Callable[[], str]) -> None:
        try:
            await asyncio.wait_for(self._has_all.wait(), limit_s)
        except TimeoutError:
            self.fail(f"{describe()} after {limit_s:g} s")

    def _summarise(self, took_s: float) -> dict[str, Any]:
        ordered = sorted(self.took_s)
        return {
            "news": self.news,
            "took_s": took_s,
            "samples": len(ordered),
            **{f"p{share}_ms": percentile(ordered, share / 100) * 1000 for share in (50, 95, 99)},
        }

    # Life

    async def serve(self) -> None:
        self.loop.set_exception_handler(lambda _, context: self.fail(repr(context.get("exception"))))
        lines = asyncio.StreamReader(limit=2**26)
        await self.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        alive = asyncio.create_task(self._keep_alive())
        while line := await lines.readline():
            given: dict[str, Any] = json.loads(line)
            command = given.pop("command")
            cpu_s, started = time.process_time(), time.perf_counter()
            try:
                answer = await getattr(self, command)(**given)
            except Exception as error:
                self.fail(f"{command}: {error!r}")
                answer = {}
            answer["client_share"] = (time.process_time() - cpu_s) / (time.perf_counter() - started)
            answer["failures"], self.failures = self.failures, []
            print(json.dumps(answer), flush=True)
        alive.cancel()

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(ALIVE_S)
            for socket in self.sockets:
                socket.transport.write(ALIVE)


def render_handshake(host: str, port: int, target: str) -> bytes:
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}:{port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def render_frame(kind: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 2**16:
        length = bytes((0x80 | 126,)) + size.to_bytes(2)
    else:
        length = bytes((0x80 | 127,)) + size.to_bytes(8)
    return bytes((kind,)) + length + NO_MASK + payload


def commit_time(text: bytes) -> float:
    """
    >>> commit_time(b"1970-01-01T00:00:01.500Z")
    1.5
    """
    return datetime.fromisoformat(text.decode().removesuffix("Z")).replace(tzinfo=UTC).timestamp()


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(_serve())


async def _serve() -> None:
    await Run().serve()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        os._exit(1)
