"""SendGrid's `/v3/mail/send`: checks key, personalizations and content, and blames the field that is wrong; and its
event webhook, signed with a key of its own."""

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.small_server import Received, Reply

API_KEY = "SG.secret.key"
ADDRESS = re.compile(r"[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+")
RESERVED = {"to", "from", "subject", "reply-to", "cc", "bcc", "content-type", "received", "dkim-signature"}


@dataclass
class FakeSendGrid:
    """`next_replies` come before anything else; with `is_taken_first` the request is served all the same. `sent` has
    one entry for each recipient."""

    url: str = ""
    sent: list[dict[str, Any]] = field(default_factory=list)
    checked: int = 0
    requests: list[Received] = field(default_factory=list)
    next_replies: list[Reply] = field(default_factory=list)
    is_taken_first: bool = False

    def answer(self, request: Received) -> Reply:
        self.requests.append(request)
        if self.next_replies:
            reply = self.next_replies.pop(0)
            if self.is_taken_first:
                self._serve(request)
            return reply
        return self._serve(request)

    def _serve(self, request: Received) -> Reply:
        if request.path != "/v3/mail/send":
            return _refuse(404, [("", "not found")])
        if request.headers.get("authorization") != f"Bearer {API_KEY}":
            return _refuse(401, [("", "The provided authorization grant is invalid, expired, or revoked")])
        mail = json.loads(request.body)
        problems = list(_problems(mail))
        if problems:
            return _refuse(400, problems)
        if mail.get("mail_settings", {}).get("sandbox_mode", {}).get("enable"):
            self.checked += len(mail["personalizations"])
            return Reply(200)
        for one in mail["personalizations"]:
            self.sent.append({**mail, **one})
        return Reply(202, headers={"X-Message-Id": f"xmid{len(self.requests)}"})


def _problems(mail: dict[str, Any]) -> Any:
    people = mail.get("personalizations", [])
    if not 1 <= len(people) <= 1000:
        yield "personalizations", "The personalization block is limited to 1000 personalizations"
    seen: set[str] = set()
    for place, one in enumerate(people):
        for number, to in enumerate(one.get("to", [])):
            if not ADDRESS.fullmatch(to.get("email", "")):
                yield f"personalizations.{place}.to.{number}.email", "Does not contain a valid address."
            if to.get("email") in seen:
                message = (
                    "Each unique email address in the personalizations array should only be included once."
                )
                yield "personalizations", message
            seen.add(to.get("email"))
        if not all(isinstance(value, str) for value in one.get("custom_args", {}).values()):
            yield f"personalizations.{place}.custom_args", "Custom args are strings"
        if RESERVED & {name.lower() for name in one.get("headers", {})}:
            yield f"personalizations.{place}.headers", "This header is reserved"
    if not ADDRESS.fullmatch(mail.get("from", {}).get("email", "")):
        yield "from.email", "The from email does not contain a valid address."
    if not mail.get("subject"):
        yield "subject", "The subject is required."
    kinds = [part["type"] for part in mail.get("content", [])]
    if (
        not kinds
        or kinds != sorted(kinds, reverse=True)
        or not all(part["value"] for part in mail["content"])
    ):
        yield "content", "text/plain, then text/html, none of them empty"


def _refuse(status: int, problems: list[tuple[str, str]]) -> Reply:
    errors = [{"field": name or None, "message": message, "help": None} for name, message in problems]
    return Reply(status, json.dumps({"errors": errors}).encode(), {"content-type": "application/json"})


class EventSigner:
    """The key pair of a webhook."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> str:
        """As the console of SendGrid shows it."""
        der = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(der).decode()

    def sign(self, events: object, *, sent_at: int) -> tuple[dict[str, str], bytes]:
        """Headers and body."""
        body = events if isinstance(events, bytes) else json.dumps(events).encode()
        signature = self._key.sign(str(sent_at).encode() + body, ec.ECDSA(hashes.SHA256()))
        return {
            "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
            "x-twilio-email-event-webhook-timestamp": str(sent_at),
        }, body
