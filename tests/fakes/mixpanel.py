"""Mixpanel's `/import`: checks the shape of events, and like the original counts two with one `$insert_id` once."""

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.small_server import Received, Reply

TOKEN = "project-token"


@dataclass
class FakeMixpanel:
    """`outages` is how many requests are answered with 503 first; `next_replies` come before that, and with
    `is_taken_first` an import is served all the same."""

    url: str = ""
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: int = 0
    outages: int = 0
    next_replies: list[Reply] = field(default_factory=list)
    is_taken_first: bool = False

    def answer(self, request: Received) -> Reply:
        self.requests += 1
        if self.next_replies:
            if self.is_taken_first:
                self._import(request)
            return self.next_replies.pop(0)
        if self.outages:
            self.outages -= 1
            return Reply(503, b"unavailable")
        if request.method != "POST" or request.path != "/import?strict=1":
            return Reply(404)
        return self._import(request)

    def _import(self, request: Received) -> Reply:
        expected = "Basic " + base64.b64encode(f"{TOKEN}:".encode()).decode()
        if request.headers.get("authorization") != expected:
            return _told(401, {"code": 401, "error": "Invalid credentials", "status": "Unauthorized"})
        events = json.loads(request.body)
        if len(events) > 2000 or len(request.body) > 2_000_000:
            return _told(413, {"code": 413, "error": "request entity too large"})
        failed = []
        for index, event in enumerate(events):
            field_, message = _find_fault(event)
            if field_:
                insert_id = event["properties"].get("$insert_id")
                failed.append({"index": index, "insert_id": insert_id, "field": field_, "message": message})
            else:
                self.events[event["properties"]["$insert_id"]] = event
        taken = len(events) - len(failed)
        if not failed:
            return _told(200, {"code": 200, "status": "OK", "num_records_imported": taken})
        error = "some data points in the request failed validation"
        answer = {"code": 400, "error": error, "num_records_imported": taken, "failed_records": failed}
        return _told(400, answer)


def _find_fault(event: dict[str, Any]) -> tuple[str, str]:
    properties = event["properties"]
    if not event.get("event"):
        return "event", "'event' is missing or empty"
    if not re.fullmatch(r"[A-Za-z0-9-]{1,36}", properties.get("$insert_id", "")):
        return "properties.$insert_id", "'$insert_id' is missing or malformed"
    if not isinstance(properties.get("time"), int) or properties["time"] <= 0:
        return "properties.time", "'properties.time' is invalid: must be specified as seconds since epoch"
    if properties.get("distinct_id") in ("anonymous", "null", None):
        return "properties.distinct_id", "'distinct_id' is invalid"
    return "", ""


def _told(status: int, answer: dict[str, Any]) -> Reply:
    return Reply(status, json.dumps(answer).encode(), {"content-type": "application/json"})
