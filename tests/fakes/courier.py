"""A provider that takes anything for anybody, and misbehaves on command: a local HTTP server, and its sender.

`POST /send` carries a batch. What an address begins with says what becomes of it: `dead`, `refused`, or `late` (taken
the second time). `mood` decides for whole requests.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import httpx2
from msgspec.structs import asdict

from basalt.senders import Delivery, Outcome
from tests.fakes.small_server import Received, Reply, small_server

Mood = Literal["well", "busy", "broken", "silent", "half", "slow"]
SENDER_TIMEOUT_S = 0.4


class Courier:
    """`taken` are the deliveries that it has, by key, in order; `requests` counts all of them. One that knows keys
    takes a key once."""

    def __init__(self, *, knows_keys: bool = False) -> None:
        self.knows_keys = knows_keys
        self.mood: Mood = "well"
        self.moods: list[Mood] = []
        self.requests = 0
        self.taken: list[dict[str, Any]] = []
        self.tries: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def keys(self) -> Counter[str]:
        return Counter(delivery["key"] for delivery in list(self.taken))

    @property
    def addresses(self) -> list[str]:
        return sorted(delivery["address"] for delivery in list(self.taken))

    def answer(self, request: Received) -> Reply:
        if not request.body:  # who sent it was killed
            return Reply(400)
        deliveries = json.loads(request.body)
        with self._lock:
            self.requests += 1
            mood = self.moods.pop(0) if self.moods else self.mood
            if mood == "busy":
                return Reply(429, b"", {"retry-after": "1"})
            if mood == "broken":
                return Reply(503)
            if mood == "half":
                outcomes = [
                    self._take(one) if number % 2 else {"verdict": "retry", "error_code": "HALF"}
                    for number, one in enumerate(deliveries)
                ]
            else:
                outcomes = [self._take(one) for one in deliveries]
        if mood in ("silent", "slow"):
            time.sleep(SENDER_TIMEOUT_S * (3 if mood == "silent" else 0.5))  # what it is asked to be
        return Reply(200, json.dumps(outcomes).encode())

    def _take(self, delivery: dict[str, Any]) -> dict[str, Any]:
        self.tries[delivery["address"]] += 1
        kind = delivery["address"].split("-")[0]
        if kind == "dead":
            return {"verdict": "dead_address", "error_code": "UNREGISTERED"}
        if kind == "refused":
            return {"verdict": "refused", "error_code": "INVALID", "response": {"reason": "no"}}
        if kind == "late" and self.tries[delivery["address"]] == 1:
            return {"verdict": "retry", "error_code": "UNAVAILABLE"}
        if not (self.knows_keys and self.keys[delivery["key"]]):
            self.taken.append(delivery)
        return {"verdict": "accepted", "message_id": f"m-{len(self.taken)}"}


@contextmanager
def running_courier(*, knows_keys: bool = False) -> Iterator[tuple[Courier, str]]:
    courier = Courier(knows_keys=knows_keys)
    with small_server(courier.answer) as url:
        yield courier, url


class CourierSender:
    """As its own sender would be written: what was not answered is unknown, what was not taken may be later."""

    def __init__(self, name: str, url: str, *, batch_size: int = 100) -> None:
        self.name = name
        self.batch_size = batch_size
        self._client = httpx2.AsyncClient(base_url=url, timeout=SENDER_TIMEOUT_S)

    async def deliver(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        try:
            answer = await self._client.post("/send", json=[asdict(one) for one in deliveries])
        except httpx2.ConnectError:
            return [Outcome("retry", error_code="unreachable")] * len(deliveries)
        except httpx2.HTTPError:
            return [Outcome("unknown", error_code="no_answer")] * len(deliveries)
        if answer.status_code != 200:
            wait = answer.headers.get("retry-after")
            outcome = Outcome(
                "retry", error_code=str(answer.status_code), retry_after_s=float(wait) if wait else None
            )
            return [outcome] * len(deliveries)
        return [Outcome(**one) for one in answer.json()]

    async def close(self) -> None:
        await self._client.aclose()
