"""Sends log events to Axiom, or to what speaks like it: `POST /v1/datasets/DATASET/ingest`, lines of JSON, compressed
(Axiom's REST API, "Ingest data"; edge deployments: `POST /v1/ingest/DATASET`).

A thread of its own takes events off a queue that has a bound, in batches by number, size and time. Whoever logs never
waits: when the queue is full the oldest event goes, and once events arrive again one of them tells how many did not.
"""

import gzip
import http.client
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import orjson

from basalt.config import AxiomSettings
from basalt.observe.log import event
from basalt.observe.metrics import Counter

MAX_BATCH_BYTES = 1024 * 1024  # before compression
MAX_QUEUE_BYTES = 16 * 1024 * 1024
MAX_ANSWER_BYTES = 64 * 1024
TIMEOUT_S = 10.0
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 30.0
LONGEST_ASKED_PAUSE_S = 120.0  # by `Retry-After`
MAY_SUCCEED_LATER = frozenset({408, 425, 429})
NAME = "axiom"

SENT = Counter("basalt_log_events_sent_total", "Log events that a sink took.", ["sink"])
DROPPED = Counter(
    "basalt_log_events_dropped_total", "Log events that a sink did not get.", ["sink", "reason"]
)


@dataclass(frozen=True, slots=True)
class Answer:
    """`refused` events of the batch were not taken; `pause_s` is what `Retry-After` asks for."""

    status: int
    refused: int = 0
    pause_s: float | None = None

    @property
    def may_succeed_later(self) -> bool:
        return self.status >= 500 or self.status in MAY_SUCCEED_LATER


class AxiomSink:
    """`start` it, add it to the log, and `stop` it with the time that there is for what still waits."""

    def __init__(self, settings: AxiomSettings) -> None:
        self._settings = settings
        self._exchange = _Exchange(settings)
        self._lines: deque[bytes] = deque()
        self._size_bytes = 0
        self._has_news = threading.Event()
        self._is_full = threading.Event()
        self._stop_by: float | None = None
        self._stopping = threading.Event()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="axiom", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, within_s: float) -> None:
        """Send what waits, as far as the time goes."""
        self._stop_by = time.monotonic() + within_s
        self._stopping.set()
        self._is_full.set()
        self._has_news.set()
        self._thread.join(within_s)
        if left := len(self._lines):
            self._drop(left, "unsent")
            event("log_events_dropped", level="warning", sink=NAME, count=self._dropped)

    def put(self, line: bytes) -> None:
        if self._stopping.is_set():
            return
        self._lines.append(line)
        self._size_bytes += len(line)
        while len(self._lines) > self._settings.queue or self._size_bytes > MAX_QUEUE_BYTES:
            if self._take_oldest() is None:
                break
            self._drop(1, "queue_full")
        if not self._has_news.is_set():
            self._has_news.set()
        if len(self._lines) >= self._settings.batch:
            self._is_full.set()

    # The thread

    def _run(self) -> None:
        while not (self._stopping.is_set() and not self._lines):
            self._has_news.wait()
            self._is_full.wait(self._settings.interval_s)
            self._is_full.clear()
            self._has_news.clear()
            while batch := self._take_batch():
                if not self._deliver(batch):
                    return
                if not self._stopping.is_set() and len(self._lines) < self._settings.batch:
                    break
            if self._lines:
                self._has_news.set()
        self._exchange.close()

    def _take_batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size_bytes = 0
        while len(batch) < self._settings.batch and size_bytes < MAX_BATCH_BYTES:
            line = self._take_oldest()
            if line is None:
                break
            batch.append(line)
            size_bytes += len(line)
        return batch

    def _take_oldest(self) -> bytes | None:
        try:
            line = self._lines.popleft()
        except IndexError:  # the other thread was quicker
            return None
        self._size_bytes -= len(line)
        return line

    def _deliver(self, batch: Sequence[bytes]) -> bool:
        """Over and over until it is taken or refused; False when the time for that is up."""
        pause_s, is_first = FIRST_PAUSE_S, True
        while True:
            answer, reason = self._try(batch)
            if answer is not None and not answer.may_succeed_later:
                self._note_end(batch, answer, was_away=not is_first)
                return True
            if is_first:
                is_first = False
                event("log_sink_away", level="warning", sink=NAME, reason=reason)
            asked_s = answer.pause_s if answer is not None else None
            wait_s = (
                min(asked_s, LONGEST_ASKED_PAUSE_S)
                if asked_s is not None
                else pause_s * random.uniform(0.5, 1.0)  # noqa: S311
            )
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            if not self._pause(wait_s):
                self._drop(len(batch), "unsent")
                return False

    def _try(self, batch: Sequence[bytes]) -> tuple[Answer | None, str]:
        try:
            answer = self._exchange.send(batch)
        except (OSError, http.client.HTTPException) as error:
            return None, f"{type(error).__name__}: {error}"
        return answer, f"it answered {answer.status}"

    def _pause(self, wait_s: float) -> bool:
        """False where the sink is to stop before."""
        if not self._stopping.is_set():
            self._stopping.wait(wait_s)
            if not self._stopping.is_set():
                return True
            wait_s = 0.05
        left_s = (self._stop_by or 0.0) - time.monotonic()
        if left_s <= wait_s:
            return False
        time.sleep(wait_s)
        return True

    def _note_end(self, batch: Sequence[bytes], answer: Answer, *, was_away: bool) -> None:
        refused = answer.refused if answer.status < 300 else len(batch)
        SENT.add(len(batch) - refused, NAME)
        if refused:
            self._drop(refused, "refused")
            event("log_events_refused", level="error", sink=NAME, status=answer.status, count=refused)
        if was_away and answer.status < 300:
            event("log_sink_back", sink=NAME)
        if self._dropped and answer.status < 300:
            count, self._dropped = self._dropped, 0
            event("log_events_dropped", level="warning", sink=NAME, count=count)

    def _drop(self, count: int, reason: str) -> None:
        DROPPED.add(count, NAME, reason)
        if reason != "refused":
            self._dropped += count


class _Exchange:
    """A connection that is kept. The token stands in a header and nowhere else; redirects, which would hand it on, are
    answers like others."""

    def __init__(self, settings: AxiomSettings) -> None:
        parts = urlsplit(settings.url)
        self._host = parts.hostname or ""
        self._port = parts.port
        self._is_tls = parts.scheme == "https"
        dataset = quote(settings.dataset, safe="")
        base = parts.path.rstrip("/").removesuffix("/v1")
        is_edge = self._host.endswith(".edge.axiom.co")
        path = f"/v1/ingest/{dataset}" if is_edge else f"/v1/datasets/{dataset}/ingest"
        self._path = f"{base}{path}?timestamp-field=time"
        self._headers = {
            "authorization": f"Bearer {settings.token}",
            "content-type": "application/x-ndjson",
            "content-encoding": "gzip",
            "user-agent": "basalt",
        }
        self._connection: http.client.HTTPConnection | None = None

    def send(self, batch: Sequence[bytes]) -> Answer:
        """Raises OSError or http.client.HTTPException."""
        body = gzip.compress(b"\n".join(batch), compresslevel=1)
        is_kept = self._connection is not None
        try:
            return self._send(body)
        except (ConnectionError, http.client.RemoteDisconnected):
            if not is_kept:
                raise
            return self._send(body)  # the other side had let go of a connection that was idle

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, body: bytes) -> Answer:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._is_tls else http.client.HTTPConnection
            self._connection = kind(self._host, self._port, timeout=TIMEOUT_S)
        try:
            self._connection.request("POST", self._path, body, self._headers)
            response = self._connection.getresponse()
            content = response.read(MAX_ANSWER_BYTES)
        except BaseException:
            self.close()
            raise
        if not response.isclosed() or response.will_close:
            self.close()
        asked = response.headers.get("retry-after") or ""
        return Answer(response.status, _count_refused(content), float(asked) if asked.isdecimal() else None)


def _count_refused(content: bytes) -> int:
    """
    >>> _count_refused(b'{"ingested":2,"failed":1,"failures":[]}'), _count_refused(b"busy")
    (1, 0)
    """
    try:
        return int(orjson.loads(content).get("failed", 0))
    except (ValueError, AttributeError, TypeError):
        return 0
