"""Mixpanel's `/track`: checks the shape of events, and like the original counts two with one `$insert_id` once."""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.small_server import Received, Reply

TOKEN = "project-token"


@dataclass
class FakeMixpanel:
    """`outages` is how many requests are answered with 503 first."""

    url: str = ""
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: int = 0
    outages: int = 0

    def answer(self, request: Received) -> Reply:
        self.requests += 1
        if self.outages:
            self.outages -= 1
            return Reply(503, b"unavailable")
        if request.method != "POST" or not request.path.startswith("/track?"):
            return Reply(404)
        problem = self._take(json.loads(request.body))
        answer = {"status": 0 if problem else 1, "error": problem}
        return Reply(200, json.dumps(answer).encode(), {"content-type": "application/json"})

    def _take(self, events: list[dict[str, Any]]) -> str | None:
        for event in events:
            properties = event.get("properties", {})
            if properties.get("token") != TOKEN:
                return "token, missing or empty"
            if not event.get("event") or not properties.get("distinct_id") or "$insert_id" not in properties:
                return "some data points in the request failed validation"
            if not isinstance(properties.get("time"), int):
                return "properties.time is invalid: must be specified as seconds or milliseconds"
            self.events[properties["$insert_id"]] = event
        return None
