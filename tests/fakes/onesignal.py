"""OneSignal's notifications endpoint: subscriptions by their ids, users by aliases, and keys it has seen before."""

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from tests.fakes.small_server import Received, Reply

APP_ID, API_KEY = "0f4ad0ee-5ef2-4e1b-a1c4-2a7a9ea0c1d5", "os_v2_app_key"


@dataclass
class FakeOneSignal:
    """Addresses that begin with `dead` are known to nobody. A request whose key has come before is answered as the
    first one and sent to nobody. `next_replies` say how a request is answered that is served all the same."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    next_replies: list[Reply] = field(default_factory=list)
    pause_s: float = 0.0

    def answer(self, request: Received) -> Reply:
        if request.headers.get("authorization") != f"Key {API_KEY}":
            return _refuse(403, "Access denied.")
        if request.path != "/notifications?c=push":
            return _refuse(404, "Not found")
        body = json.loads(request.body)
        if body["app_id"] != APP_ID or body["target_channel"] != "push" or "en" not in body["contents"]:
            return _refuse(400, "The request is not valid")
        if UUID(body["idempotency_key"]).version not in (3, 4):
            return _refuse(400, "idempotency_key must be a valid UUID")
        answered = self._send(body)
        if self.next_replies:
            return self.next_replies.pop(0)
        return Reply(200, json.dumps(answered).encode(), pause_s=self.pause_s)

    def _send(self, body: dict[str, Any]) -> dict[str, Any]:
        key = body["idempotency_key"]
        if key not in self.answers:
            is_alias = "include_aliases" in body
            asked = body["include_aliases"]["external_id"] if is_alias else body["include_subscription_ids"]
            assert 0 < len(asked) <= 20_000
            dead = [address for address in asked if address.startswith("dead")]
            if len(dead) == len(asked):
                errors: Any = ["All included players are not subscribed"]
            elif dead:
                errors = (
                    {"invalid_aliases": {"external_id": dead}} if is_alias else {"invalid_player_ids": dead}
                )
            else:
                errors = None
            self.answers[key] = {
                "id": "" if len(dead) == len(asked) else str(uuid4()),
                "external_id": None,
                **({"errors": errors} if errors else {}),
            }
            self.sent += [body | {"address": address} for address in asked if address not in dead]
        return self.answers[key]


def _refuse(status: int, message: str) -> Reply:
    return Reply(status, json.dumps({"errors": [message]}).encode())
