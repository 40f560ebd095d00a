"""Twilio's Messages API and its status callbacks: checks credentials and fields, answers with Twilio's own codes."""

import base64
import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

from tests.fakes.small_server import Received, Reply

ACCOUNT, TOKEN = "AC0123456789", "twilio-auth-token"
NUMBER = re.compile(r"\+[1-9][0-9]{7,14}")


@dataclass
class FakeTwilio:
    """`next_replies` come before anything else; with `is_taken_first` the message is sent all the same. `codes` of
    numbers are answered with 400, or as the message's own error where they begin with 3."""

    url: str = ""
    sent: list[dict[str, str]] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)
    next_replies: list[Reply] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)
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
        if request.path != f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json":
            return _error(404, 20404, "The requested resource was not found")
        expected = "Basic " + base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        if request.headers.get("authorization") != expected:
            return _error(401, 20003, "Authenticate")
        form = dict(parse_qsl(request.body.decode(), strict_parsing=True, keep_blank_values=True))
        problem = _problem(form)
        code = self.codes.get(form.get("To", ""))
        if problem is not None:
            return _error(400, *problem)
        if code is not None and not str(code).startswith("3"):
            return _error(400, code, "Refused by the fake")
        self.sent.append(form)
        message = {
            "sid": f"SM{len(self.sent):032x}",
            "status": "failed" if code else "queued",
            "error_code": code,
            "error_message": "Refused by the fake" if code else None,
        }
        return Reply(201, json.dumps(message).encode(), {"content-type": "application/json"})


def _problem(form: dict[str, str]) -> tuple[int, str] | None:
    if not NUMBER.fullmatch(form.get("To", "")):
        return 21211, f"The 'To' number {form.get('To')} is not a valid phone number."
    if ("From" in form) == ("MessagingServiceSid" in form):
        return 21603, "A 'From' phone number or a messaging service is required."
    if not form.get("Body"):
        return 21602, "Message body is required."
    if len(form["Body"]) > 1600:
        return 21617, "The concatenated message body exceeds the 1600 character limit."
    if "127.0.0.1" in form.get("StatusCallback", "") or "localhost" in form.get("StatusCallback", ""):
        return 21609, "The StatusCallback URL is not a valid URL."
    if not 1 <= int(form.get("ValidityPeriod", 1)) <= 36_000:
        return 21638, "The ValidityPeriod is out of range."
    return None


def sign_callback(url: str, form: dict[str, str], *, token: str = TOKEN) -> tuple[dict[str, str], bytes]:
    """Headers and body (twilio.com/docs/usage/webhooks/webhooks-security)."""
    text = url + "".join(name + form[name] for name in sorted(form))
    signature = base64.b64encode(hmac.digest(token.encode(), text.encode(), hashlib.sha1)).decode()
    headers = {"x-twilio-signature": signature, "content-type": "application/x-www-form-urlencoded"}
    return headers, urlencode(form).encode()


def _error(status: int, code: int, message: str) -> Reply:
    body = {"code": code, "message": message, "status": status}
    return Reply(status, json.dumps(body).encode(), {"content-type": "application/json"})
