"""Axiom's ingest endpoint (REST API, "Ingest data"): checks what it is sent, keeps the events, and misbehaves on
command."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.small_server import Received, Reply, small_server

TOKEN = "xaat-secret-of-the-test"


@dataclass
class Axiom:
    """`replies` come one after the other, then events are taken. `batches` has the sizes of what was taken. While
    `held` is set nothing is answered. `fails` is how many events of each batch are said to have failed."""

    url: str = ""
    dataset: str = "logs"
    events: list[dict[str, Any]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    requests: int = 0
    fails: int = 0
    may_answer: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: Received) -> Reply:
        self.requests += 1
        self.may_answer.wait(30)
        if (problem := self.find_problem(request)) is not None:
            self.problems.append(problem)
            return Reply(400, problem.encode())
        if self.replies:
            return self.replies.pop(0)
        lines = gzip.decompress(request.body).split(b"\n")
        self.events += [json.loads(line) for line in lines]
        self.batches.append(len(lines))
        body = {
            "ingested": len(lines) - self.fails,
            "failed": self.fails,
            "failures": [],
            "processedBytes": 1,
        }
        return Reply(200, json.dumps(body).encode(), {"content-type": "application/json"})

    def find_problem(self, request: Received) -> str | None:
        target = urlsplit(request.path)
        if (request.method, target.path) != ("POST", f"/v1/datasets/{self.dataset}/ingest"):
            return f"{request.method} {target.path}"
        if parse_qs(target.query).get("timestamp-field") != ["time"]:
            return "the field with the time is not named"
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return "the token is wrong"
        if request.headers.get("content-type") != "application/x-ndjson":
            return "the content type is wrong"
        return None if request.headers.get("content-encoding") == "gzip" else "it is not compressed"

    @property
    def names(self) -> list[str]:
        return [event["event"] for event in self.events]


@contextmanager
def axiom() -> Iterator[Axiom]:
    fake = Axiom()
    fake.may_answer.set()
    with small_server(fake.answer) as fake.url:
        yield fake
        fake.may_answer.set()
