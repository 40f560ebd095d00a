"""A lean HTTP/1.1 client that keeps connections busy and measures: `python -m bench.load < plan.json`.

It runs in a process of its own, so that it shares no interpreter with what it measures, and does as little as
an honest client can: it writes prepared bytes, reads to the end of each answer, notes status and time.
Bounded by connections and seconds.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from typing import Any, cast

import uvloop

ANSWER_LIMIT_S = 30.0


@dataclass
class Load:
    """What to send: every request is whole, head and body, as latin-1 text; they are sent in turn."""

    host: str
    port: int
    requests: list[str]
    connections: int = 32
    warm_up_s: float = 1.0
    seconds: float = 5.0


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
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=json.dumps(asdict(load)),
        capture_output=True,
        text=True,
        timeout=load.warm_up_s + load.seconds + ANSWER_LIMIT_S + 30,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return Measured(**json.loads(done.stdout))


class Connection(asyncio.Protocol):
    """One keep-alive connection: the next request leaves when the last answer is complete."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._buffer = bytearray()
        self._wanted = -1  # bytes of the whole answer, -1 while its head is incomplete, -2 when it is chunked
        self._sent_at = 0.0
        self._status = ""

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
        if not self._run.is_over:
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
        if self._run.is_over:
            self._transport.close()
        else:
            self._sent_at = time.perf_counter()
            self._transport.write(self._run.next_request())


class Run:
    """What all connections share: the requests in turn and the figures."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.next_request = cycle([request.encode("latin-1") for request in load.requests]).__next__
        self.is_over = False
        self.failures: list[str] = []
        self._forget()

    async def measure(self) -> Measured:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.fail(repr(context.get("exception"))))
        for _ in range(self._load.connections):
            await loop.create_connection(lambda: Connection(self), self._load.host, self._load.port)
        await asyncio.sleep(self._load.warm_up_s)
        self._forget()
        started = time.perf_counter()
        await asyncio.sleep(self._load.seconds)
        took_s = time.perf_counter() - started
        self.is_over = True
        return self._summarise(took_s)

    def note(self, status: str, took_s: float, size: int, answer: bytearray) -> None:
        self._statuses[status] += 1
        self._took_s.append(took_s)
        self._answer_bytes = size
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
