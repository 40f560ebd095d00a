"""Resend's `/emails` and `/emails/batch`: checks key, fields and limits, keeps answers by idempotency key, refuses in
its own words, and signs webhooks as Svix does."""

import base64
import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.small_server import Received, Reply

API_KEY = "re_secret_123"
SECRET = "whsec_" + base64.b64encode(b"a secret of the webhooks").decode()
ADDRESS = re.compile(r"(?:[^<>@]+ <)?[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+>?")


@dataclass
class FakeResend:
    """`next_replies` come before anything else; with `is_taken_first` the request is served all the same. `is_strict`:
    the header that asks for permissive validation is not known."""

    url: str = ""
    sent: list[dict[str, Any]] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)
    next_replies: list[Reply] = field(default_factory=list)
    is_taken_first: bool = False
    is_strict: bool = False
    answered: dict[str, tuple[bytes, Reply]] = field(default_factory=dict)

    def answer(self, request: Received) -> Reply:
        self.requests.append(request)
        if self.next_replies:
            reply = self.next_replies.pop(0)
            if self.is_taken_first:
                self._serve(request)
            return reply
        return self._serve(request)

    def _serve(self, request: Received) -> Reply:
        headers = request.headers
        if headers.get("authorization") != f"Bearer {API_KEY}":
            return _error(401, "validation_error", "API key is invalid")
        if not headers.get("user-agent"):
            return _error(403, "invalid_access", "The request has no User-Agent")
        if headers.get("content-type") != "application/json":
            return _error(415, "validation_error", "The body is not JSON")
        key = headers.get("idempotency-key", "")
        if not 1 <= len(key) <= 256:
            return _error(400, "invalid_idempotency_key", "The key must be between 1-256 chars.")
        if key in self.answered:
            body, reply = self.answered[key]
            if body != request.body:
                return _error(409, "invalid_idempotent_request", "Same idempotency key, other payload.")
            return reply
        reply = self._send(request)
        if reply.status == 200:
            self.answered[key] = (request.body, reply)
        return reply

    def _send(self, request: Received) -> Reply:
        given = json.loads(request.body)
        if request.path == "/emails":
            problem = _problem(given)
            if problem is not None:
                return _error(422, "validation_error", problem)
            return _reply({"id": self._keep(given)})
        if request.path != "/emails/batch":
            return _error(404, "not_found", "The requested endpoint does not exist")
        if not isinstance(given, list) or not 1 <= len(given) <= 100:
            return _error(422, "validation_error", "A batch holds 1 to 100 emails")
        problems = {place: problem for place, mail in enumerate(given) if (problem := _problem(mail))}
        if problems and (self.is_strict or request.headers.get("x-batch-validation") != "permissive"):
            return _error(422, "validation_error", next(iter(problems.values())))
        ids = [{"id": self._keep(mail)} for place, mail in enumerate(given) if place not in problems]
        errors = [{"index": place, "message": problem} for place, problem in problems.items()]
        return _reply({"data": ids, "errors": errors})

    def _keep(self, mail: dict[str, Any]) -> str:
        self.sent.append(mail)
        return f"mail-{len(self.sent)}"


def sign_event(
    event: object, *, sent_at: int, secret: str = SECRET, webhook_id: str = "msg_1"
) -> tuple[dict[str, str], bytes]:
    """Headers and body of a webhook (docs.svix.com/receiving/verifying-payloads/how-manual)."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = hmac.digest(key, f"{webhook_id}.{sent_at}.".encode() + body, hashlib.sha256)
    return {
        "svix-id": webhook_id,
        "svix-timestamp": str(sent_at),
        "svix-signature": f"v1,{base64.b64encode(b'of an older secret').decode()} "
        f"v1,{base64.b64encode(signature).decode()}",
    }, body


def _problem(mail: dict[str, Any]) -> str | None:
    if not ADDRESS.fullmatch(mail.get("from", "")):
        return "Invalid `from` field."
    if not all(ADDRESS.fullmatch(address) for address in mail.get("to", [])) or not mail.get("to"):
        return "Invalid `to` field. The email address needs to follow the `email@example.com` format."
    if "subject" not in mail or not (mail.get("text") or mail.get("html")):
        return "Missing `subject`, `html` or `text` field."
    return None


def _reply(value: object) -> Reply:
    return Reply(200, json.dumps(value).encode(), {"content-type": "application/json"})


def _error(status: int, name: str, message: str) -> Reply:
    body = {"statusCode": status, "name": name, "message": message}
    return Reply(status, json.dumps(body).encode(), {"content-type": "application/json"})
