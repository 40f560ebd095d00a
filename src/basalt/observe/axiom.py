"""Sends log events to Axiom, or to what speaks like it: `POST /v1/datasets/DATASET/ingest`, lines of JSON, compressed
(Axiom's REST API, "Ingest data", "API limits"; edge deployments: `POST /v1/ingest/DATASET`).

A thread of its own takes events off a queue that has a bound, in batches by number, size and time, and sends each until
it is taken or refused. Whoever logs never waits for that: when the queue is full the oldest event goes, and once events
arrive again one of them tells how many did not.
"""

import gzip
import http.client
import random
import re
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from basalt.config import AxiomSettings
from basalt.observe.log import DROPPED, event
from basalt.observe.metrics import Counter

MAX_BATCH_BYTES = 1024 * 1024  # before compression
MAX_QUEUE_BYTES = 16 * 1024 * 1024
MAX_ANSWER_BYTES = 64 * 1024
TIMEOUT_S = 10.0
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 30.0
LONGEST_ASKED_PAUSE_S = 120.0
MAY_SUCCEED_LATER = frozenset({408, 425, 429})
NAME = "axiom"

FAILED = re.compile(rb'"failed"\s*:\s*(\d{1,9})')

SENT = Counter("basalt_log_events_sent_total", "Log events that a sink took.", ["sink"])


@dataclass(frozen=True, slots=True)
class Answer:
    """`refused` events of the batch were not taken; `pause_s` is what it asks for."""

    status: int
    refused: int = 0
    pause_s: float = 0.0

    @property
    def may_succeed_later(self) -> bool:
        return self.status >= 500 or self.status in MAY_SUCCEED_LATER


class AxiomSink:
    """`start` it, add it to the log; to end, take it out of the log and `stop` it with the time that there is for what
    still waits."""

    def __init__(self, settings: AxiomSettings) -> None:
        self._settings = settings
        self._exchange = _Exchange(settings)
        self._turn = threading.Condition()  # for everything down to `_in_hand`; held for moments only
        self._lines: deque[bytes] = deque()
        self._size_bytes = 0
        self._in_hand = 0
        self._stop_by: float | None = None
        self._untold = 0  # events that were dropped since that was told
        self._is_refused = False
        self._thread = threading.Thread(target=self._run, name="axiom", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, within_s: float) -> None:
        """Send what waits, as far as the time goes."""
        with self._turn:
            self._stop_by = time.monotonic() + within_s
            self._turn.notify_all()
        self._thread.join(within_s)
        with self._turn:
            left = len(self._lines) + self._in_hand
        if left:
            DROPPED.add(left, NAME, "unsent")
            event("log_events_dropped", level="warning", sink=NAME, count=self._untold + left)

    def put(self, line: bytes) -> None:
        with self._turn:
            self._lines.append(line)
            self._size_bytes += len(line)
            while len(self._lines) > self._settings.queue or self._size_bytes > MAX_QUEUE_BYTES:
                self._take_oldest()
                self._untold += 1
                DROPPED.add(1, NAME, "queue_full")
            if len(self._lines) == 1 or len(self._lines) >= self._settings.batch:
                self._turn.notify_all()

    # The thread

    def _run(self) -> None:
        while batch := self._next_batch():
            if not self._deliver(batch):
                break
        self._exchange.close()

    def _next_batch(self) -> list[bytes]:
        """When there is a whole one, or the time to wait for that is up. Empty at the end."""
        with self._turn:
            self._in_hand = 0
            self._turn.wait_for(lambda: self._lines or self._stop_by is not None)
            self._turn.wait_for(
                lambda: len(self._lines) >= self._settings.batch or self._stop_by is not None,
                self._settings.interval_s,
            )
            batch: list[bytes] = []
            size_bytes = 0
            while self._lines and len(batch) < self._settings.batch and size_bytes < MAX_BATCH_BYTES:
                batch.append(self._take_oldest())
                size_bytes += len(batch[-1])
            self._in_hand = len(batch)
            return batch

    def _take_oldest(self) -> bytes:
        line = self._lines.popleft()
        self._size_bytes -= len(line)
        return line

    def _deliver(self, batch: Sequence[bytes]) -> bool:
        """Over and over until it is taken or refused; False when the time for that is up."""
        pause_s = FIRST_PAUSE_S
        is_away = False
        while True:
            answer, reason = self._try(batch)
            if answer is not None and not answer.may_succeed_later:
                if is_away:
                    event("log_sink_back", sink=NAME)
                self._note_end(batch, answer)
                return True
            if not is_away:
                is_away = True
                event("log_sink_away", level="warning", sink=NAME, reason=reason)
            asked_s = answer.pause_s if answer is not None else 0.0
            spread_s = pause_s * random.uniform(0.5, 1.0)  # noqa: S311
            if not self._pause(max(spread_s, min(asked_s, LONGEST_ASKED_PAUSE_S))):
                return False
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _try(self, batch: Sequence[bytes]) -> tuple[Answer | None, str]:
        try:
            answer = self._exchange.send(batch)
        except OSError as error:
            return None, f"{type(error).__name__}: {error}"
        except (
            http.client.HTTPException,
            ValueError,
        ) as error:  # ValueError: a header that cannot be sent, quoted
            return None, type(error).__name__
        return answer, f"it answered {answer.status}"

    def _pause(self, wait_s: float) -> bool:
        """False where the sink is to stop before. A stop ends the pause for a last try."""
        with self._turn:
            if self._stop_by is None:
                self._turn.wait_for(lambda: self._stop_by is not None, wait_s)
                return True
            left_s = self._stop_by - time.monotonic()
        time.sleep(max(0.0, min(wait_s, left_s)))
        return wait_s < left_s

    def _note_end(self, batch: Sequence[bytes], answer: Answer) -> None:
        refused = min(answer.refused, len(batch)) if answer.status < 300 else len(batch)
        SENT.add(len(batch) - refused, NAME)
        if refused:
            DROPPED.add(refused, NAME, "refused")
        if refused and not self._is_refused:  # once: what tells of it may be refused as well
            event("log_events_refused", level="error", sink=NAME, status=answer.status, count=refused)
        self._is_refused = refused > 0
        if not refused:
            with self._turn:
                count, self._untold = self._untold, 0
            if count:
                event("log_events_dropped", level="warning", sink=NAME, count=count)


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
        found = FAILED.search(content)
        pause_s = _read_pause(response.status, response.headers)
        return Answer(response.status, int(found[1]) if found else 0, pause_s)


def _read_pause(status: int, headers: "Mapping[str, str] | http.client.HTTPMessage") -> float:
    """Seconds. Axiom tells in Unix seconds when the limit begins anew that a 429 is about.

    >>> _read_pause(503, {"retry-after": "7"}), _read_pause(429, {"x-ratelimit-reset": "1"})
    (7.0, 0.0)
    """
    asked, reset_at = headers.get("retry-after") or "", headers.get("x-ratelimit-reset") or ""
    if asked.isdecimal():
        return float(asked)
    return max(0.0, float(reset_at) - time.time()) if status == 429 and reset_at.isdecimal() else 0.0
