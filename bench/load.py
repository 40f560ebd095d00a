"""A lean HTTP/1.1 client that keeps connections busy and measures: `python -m bench.load < plan.json`.

It runs in a process of its own, so that it shares no interpreter with what it measures, and does as little as
an honest client can: it writes prepared bytes, reads to the end of each answer, notes status and time.
Bounded by connections and by seconds or a count.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from typing import Any, cast

import uvloop

ANSWER_LIMIT_S = 30.0


@dataclass
class Load:
    """What to send: every request is whole, head and body, as latin-1 text; they are sent in turn. With `count` so many
    of them, none before the measurement, and `seconds` is the longest that may take."""

    host: str
    port: int
    requests: list[str]
    connections: int = 32
    warm_up_s: float = 1.0
    seconds: float = 5.0
    count: int | None = None


@dataclass
class Measured:
    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]
    answer_bytes: int
    failures: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return (
            self.requests > 0
            and not self.failures
            and all(status.startswith("2") for status in self.statuses)
        )


def run_load(load: Load) -> Measured:
    """Measure from a process of its own."""
    with running_load(load) as finish:
        return finish()


@contextmanager
def running_load(load: Load) -> Iterator[Callable[[], Measured]]:
    """The load has begun in a process of its own; what is yielded waits for its end."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(load)))
        process.stdin.close()
        process.stdin = None  # for communicate(), which would flush it

        def finish() -> Measured:
            output, errors = process.communicate(timeout=load.warm_up_s + load.seconds + ANSWER_LIMIT_S + 30)
            if process.returncode:
                raise RuntimeError(errors.strip())
            return Measured(**json.loads(output))

        try:
            yield finish
        finally:
            process.kill()  # nothing, when it has ended


class Connection(asyncio.Protocol):
    """One keep-alive connection: the next request leaves when the last answer is complete."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._buffer = bytearray()
        self._wanted = -1  # bytes of the whole answer, -1 while its head is incomplete, -2 when it is chunked
        self._sent_at = 0.0
        self._status = ""
        self.has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._send()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if self._wanted == -1:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._read_head(bytes(buffer[:end]).lower(), end + 4)
        if self._wanted == -2:
            if not buffer.endswith(b"0\r\n\r\n"):
                return
        elif len(buffer) < self._wanted:
            return
        self._run.note(self._status, time.perf_counter() - self._sent_at, len(buffer), buffer)
        buffer.clear()
        self._wanted = -1
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.has_ended and not self._run.is_over:
            self._run.fail(f"the server closed a connection: {exc}")

    def _read_head(self, head: bytes, body_starts: int) -> None:
        self._status = head[9:12].decode()
        at = head.find(b"\r\ncontent-length:")
        if at >= 0:
            self._wanted = body_starts + int(head[at + 17 :].split(b"\r\n", 1)[0])
        elif b"\r\ntransfer-encoding: chunked" in head:
            self._wanted = -2
        else:
            self._wanted = body_starts  # 204

    def _send(self) -> None:
        request = None if self._run.is_over else next(self._run.requests, None)
        if request is None:
            self.has_ended = True
            self._transport.close()
        else:
            self._sent_at = time.perf_counter()
            self._transport.write(request)


class Run:
    """What all connections share: the requests in turn and the figures."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.requests = islice(cycle([request.encode("latin-1") for request in load.requests]), load.count)
        self.is_over = False
        self._has_all = asyncio.Event()
        self.failures: list[str] = []
        self._forget()

    async def measure(self) -> Measured:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.fail(repr(context.get("exception"))))
        started = time.perf_counter()
        for _ in range(self._load.connections):
            await loop.create_connection(lambda: Connection(self), self._load.host, self._load.port)
        if self._load.count is None:
            await asyncio.sleep(self._load.warm_up_s)
            self._forget()
            started = time.perf_counter()
            await asyncio.sleep(self._load.seconds)
        else:
            await self._take_all(self._load.count)
        took_s = time.perf_counter() - started
        self.is_over = True
        return self._summarise(took_s)

    async def _take_all(self, count: int) -> None:
        try:
            await asyncio.wait_for(self._has_all.wait(), self._load.seconds)
        except TimeoutError:
            self.fail(f"{len(self._took_s)} of {count} answers in {self._load.seconds:g} s")

    def note(self, status: str, took_s: float, size: int, answer: bytearray) -> None:
        self._statuses[status] += 1
        self._took_s.append(took_s)
        self._answer_bytes = size
        if len(self._took_s) == self._load.count:
            self._has_all.set()
        if status[0] != "2" and len(self.failures) < 3:
            self.failures.append(answer[-300:].decode("utf-8", "replace"))

    def fail(self, reason: str) -> None:
        if len(self.failures) < 3:
            self.failures.append(reason)

    def _forget(self) -> None:
        self._statuses: Counter[str] = Counter()
        self._took_s: list[float] = []
        self._answer_bytes = 0

    def _summarise(self, took_s: float) -> Measured:
        ordered = sorted(self._took_s)
        return Measured(
            requests=len(ordered),
            rate=len(ordered) / took_s,
            p50_ms=percentile(ordered, 0.5) * 1000,
            p99_ms=percentile(ordered, 0.99) * 1000,
            statuses=dict(self._statuses),
            answer_bytes=self._answer_bytes,
            failures=self.failures,
        )


def percentile(ordered: Sequence[float], share: float) -> float:
    """
    >>> percentile([1.0, 2.0, 3.0], 0.5), percentile([], 0.5)
    (2.0, 0.0)
    """
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def main() -> None:
    given: dict[str, Any] = json.load(sys.stdin)
    measured = uvloop.run(Run(Load(**given)).measure())
    json.dump(asdict(measured), sys.stdout)


if __name__ == "__main__":
    main()
