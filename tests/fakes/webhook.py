"""The receiving end of an HTTP hook. Verifies Standard Webhooks on its own: identifier, time and signature by the
specification (standardwebhooks.com), not by the library that signs."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.small_server import Received, Reply, small_server

TOLERANCE_S = 300


@dataclass
class Webhook:
    """`replies` are given one after the other, the last one for good; a function is called with the payload. What
    came in is in `payloads`; a request that is not signed right is answered with 401 and noted in `rejected`."""

    secrets: list[str]
    replies: list[Reply | Callable[[Any], Reply]] = field(default_factory=list)
    payloads: list[Any] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def answer(self, request: Received) -> Reply:
        self.requests.append(request)
        self.times.append(time.monotonic())
        wrong = self._find_wrong(request)
        if wrong:
            self.rejected.append(wrong)
            return Reply(401)
        payload = json.loads(request.body)
        self.payloads.append(payload)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply if isinstance(reply, Reply) else reply(payload)

    def _find_wrong(self, request: Received) -> str:
        headers = request.headers
        if request.method != "POST" or headers.get("content-type") != "application/json":
            return "not a POST of JSON"
        identifier, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not identifier or not moment.isdigit() or abs(time.time() - int(moment)) > TOLERANCE_S:
            return "no identifier or a stale time"
        signed = b".".join([identifier.encode(), moment.encode(), request.body])
        given = headers.get("webhook-signature", "").split(" ")
        for secret in self.secrets:
            key = base64.b64decode(secret.removeprefix("v1,whsec_"))
            expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
            if not any(hmac.compare_digest(expected, signature) for signature in given):
                return "a signature is missing"
        return ""


def json_reply(value: object, status: int = 200, **headers: str) -> Reply:
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(value).encode(), {"content-type": "application/json", **given})


@contextmanager
def webhook(webhook: Webhook) -> Iterator[str]:
    with small_server(webhook.answer) as url:
        yield url
