"""Hostile requests over real sockets: the messages of `hostile` as HTTP/1.1, and some that are no HTTP at all.

What an answer must be: in time, below 500 unless PostgreSQL's own limits were met, which the contract answers with 500
(class 54, a statement timeout, a search that is nested too deep), and an error in the contract's shape.
"""
# ruff: noqa: E501 (a table reads best with one row a line)

import re
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from random import Random
from urllib.parse import urlsplit

import orjson

from tests.rest.hostile import SEEDS, mutate

TIMEOUT_S = 10.0
SLOW_S = 5.0
POOL = 3000
ALLOWED_CODE = re.compile(r"PGRST[12][0-9]{2}|PGRST30[0-3]|[0-9A-Z]{5}")
LIMITS_OF_POSTGRES = re.compile(r"54[0-9A-Z]{3}|57014|XX000")
GATEWAYS_OWN = frozenset({"invalid_path", "not_found", "payload_too_large"})
FRAMING = re.compile(rb"[\r\n ]")
NO_HTTP: tuple[bytes, ...] = (
    b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST /films HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /films HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
    b"POST /films HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"POST /films HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"GET /films HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70_000 + b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /films HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n", b"GET /films HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    b"GET /films HTTP/1.1\r\nHost : a\r\n\r\n", b"GET /films?\xff\xfe=\x80 HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00" * 1000,
)  # fmt: skip


@dataclass
class Report:
    """What was answered: how often each code, the longest wait, and what was wrong."""

    tally: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    wrong: list[tuple[str, bytes]] = field(default_factory=list)


class Attacker:
    """One client; `url` is that of the REST service. Connections are kept as long as the server keeps them."""

    def __init__(self, url: str, key: str, random: Random) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._prefix = parts.path.encode()
        self._key = key.encode()
        self._random = random
        self._pool = list(SEEDS)
        self._socket: socket.socket | None = None

    def attack(self, count: int) -> Report:
        report = Report()
        for _ in range(count):
            message = mutate(self._random.choice(self._pool), self._random, self._pool)
            if self._random.random() < 0.02:
                self._drop()
                sent = self._random.choice(NO_HTTP)
            else:
                sent = self._as_http(message)
            started = time.monotonic()
            verdict, problem = self._send(sent)
            took_s = time.monotonic() - started
            report.slowest_s = max(report.slowest_s, took_s)
            report.tally[verdict] += 1
            if took_s > SLOW_S:
                problem = f"answered after {took_s:.1f} s"
            if problem:
                report.wrong.append((f"{verdict}: {problem}", sent))
            elif verdict == "2xx" and len(message) < 2000 and len(self._pool) < POOL:
                self._pool.append(message)
        self._drop()
        return report

    def _as_http(self, message: bytes) -> bytes:
        head, _, body = message.partition(b"\n\n")
        first, *lines = head.split(b"\n")
        method, _, target = first.partition(b" ")
        method = re.sub(rb"[^A-Za-z]", b"", method)[:20] or b"GET"
        target = self._prefix + b"/" + FRAMING.sub(lambda found: b"%%%02X" % found[0][0], target.lstrip(b"/"))
        headers = [b"Host: a", b"Apikey: " + self._key, b"Content-Length: %d" % len(body)]
        for line in lines:
            name, colon, value = line.partition(b":")
            if (
                colon
                and re.fullmatch(rb"[A-Za-z-]+", name)
                and name.lower() not in (b"connection", b"upgrade")
            ):
                headers.append(name + b": " + re.sub(rb"[\r\n\0]", b"", value).strip())
        return b"%s %s HTTP/1.1\r\n%s\r\n\r\n" % (method, target, b"\r\n".join(headers)) + body

    def _send(self, sent: bytes) -> tuple[str, str | None]:
        """A name for the answer, and what is wrong with it."""
        method = sent.split(b" ")[0].decode("latin-1")
        kept = self._socket is not None
        try:
            connection = self._connect()
            connection.sendall(sent)
            response = HTTPResponse(connection, method=method)
            response.begin()
            body = response.read()
        except (ConnectionError, HTTPException, TimeoutError) as error:
            self._drop()
            if isinstance(error, TimeoutError):
                return "timeout", "no answer"
            if kept:  # it was closed after the answer before
                return self._send(sent)
            return "closed", None if sent in NO_HTTP else f"no answer: {error!r}"
        if response.will_close:
            self._drop()
        return judge(response.status, response.getheader("content-type") or "", body)

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=TIMEOUT_S)
        return self._socket

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def judge(status: int, content_type: str, body: bytes) -> tuple[str, str | None]:
    if status < 400:
        return f"{status // 100}xx", None
    if content_type.startswith("text/plain"):  # the HTTP server's own, to what is no HTTP
        return f"{status} plain", None if status == 400 else body[:100].decode("latin-1")
    if not body:
        return f"{status} empty", None
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return str(status), f"not JSON: {body[:100]!r}"
    if "error" in found:
        code = found["error"]["code"]
        return str(code), None if code in GATEWAYS_OWN and status < 500 else f"{status}: {body[:200]!r}"
    code = str(found.get("code"))
    if ALLOWED_CODE.fullmatch(code) is None or set(found) - {"index"} != {
        "code",
        "message",
        "details",
        "hint",
    }:
        return code, f"{status}: {body[:200]!r}"
    is_limit = LIMITS_OF_POSTGRES.fullmatch(code) and (code != "XX000" or "tsquery" in found["message"])
    if status >= 500 and not is_limit:
        return code, f"{status}: {body[:200]!r}"
    return code, None


def attack(url: str, key: str, runs: int, seed: int) -> int:
    """For the command line: 1 when anything was wrong."""
    report = Attacker(url, key, Random(seed)).attack(runs)
    print(
        f"seed {seed}: {runs} requests, slowest {report.slowest_s:.2f} s, {dict(report.tally.most_common())}"
    )
    for problem, sent in report.wrong[:20]:
        print(f"{problem}\n    {sent[:300]!r}")
    return 1 if report.wrong else 0
