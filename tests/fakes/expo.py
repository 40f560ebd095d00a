"""Expo's push service: tickets for up to a hundred messages of one project, and receipts for up to a thousand."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.small_server import Received, Reply

TOKEN = re.compile(r"ExponentPushToken\[(\w+):(\w+)\]")  # project and device
ACCESS_TOKEN = "expo-access-token"
FIELDS = {"to", "title", "body", "sound", "priority", "data", "ttl", "badge"}


@dataclass
class FakeExpo:
    """A device whose name begins with `dead` is not registered, with `poison` makes Expo refuse its whole request.
    `tickets` and `receipts` say by device what goes wrong; `next_replies` come before anything else."""

    requests: list[list[dict[str, Any]]] = field(default_factory=list)
    taken: dict[str, dict[str, Any]] = field(default_factory=dict)
    tickets: dict[str, str] = field(default_factory=dict)
    receipts: dict[str, str | None] = field(default_factory=dict)
    asked_receipts: list[list[str]] = field(default_factory=list)
    next_replies: list[Reply] = field(default_factory=list)

    def answer(self, request: Received) -> Reply:
        if self.next_replies:
            return self.next_replies.pop(0)
        if request.headers.get("authorization") != f"Bearer {ACCESS_TOKEN}":
            return _errors(401, "UNAUTHORIZED", "An access token is required")
        body = json.loads(request.body)
        if request.path == "/--/api/v2/push/send":
            return self._send(body)
        if request.path == "/--/api/v2/push/getReceipts":
            return self._get_receipts(body["ids"])
        return _errors(404, "NOT_FOUND", "No such path")

    def _send(self, messages: list[dict[str, Any]]) -> Reply:
        self.requests.append(messages)
        if len(messages) > 100:
            return _errors(400, "PUSH_TOO_MANY_NOTIFICATIONS", "More than 100")
        projects: dict[str, list[str]] = {}
        for message in messages:
            assert set(message) <= FIELDS
            found = TOKEN.fullmatch(message["to"])
            assert found is not None
            projects.setdefault(f"@{found[1]}/app", []).append(message["to"])
            if found[2].startswith("poison"):
                return _errors(400, "VALIDATION_ERROR", "A message is not valid")
        if len(projects) > 1:
            return _errors(400, "PUSH_TOO_MANY_EXPERIENCE_IDS", "All of one project", projects)
        return Reply(200, json.dumps({"data": [self._ticket(message) for message in messages]}).encode())

    def _ticket(self, message: dict[str, Any]) -> dict[str, Any]:
        device = message["to"].partition(":")[2].rstrip("]")
        error = "DeviceNotRegistered" if device.startswith("dead") else self.tickets.get(device)
        if error is not None:
            return {"status": "error", "message": f'"{message["to"]}": {error}', "details": {"error": error}}
        ticket = f"ticket-{device}-{len(self.taken)}"
        self.taken[ticket] = message
        return {"status": "ok", "id": ticket}

    def _get_receipts(self, ids: list[str]) -> Reply:
        self.asked_receipts.append(ids)
        if len(ids) > 1000:
            return _errors(400, "PUSH_TOO_MANY_RECEIPTS", "More than 1000")
        receipts: dict[str, Any] = {}
        for ticket in ids:
            if ticket not in self.taken:
                continue
            device = ticket.split("-")[1]
            error = self.receipts.get(device, "")
            if error == "":
                receipts[ticket] = {"status": "ok"}
            elif error is not None:
                receipts[ticket] = {"status": "error", "message": error, "details": {"error": error}}
        return Reply(200, json.dumps({"data": receipts}).encode())


def _errors(status: int, code: str, message: str, details: object = None) -> Reply:
    error = {"code": code, "message": message, **({"details": details} if details else {})}
    return Reply(status, json.dumps({"errors": [error]}).encode())
