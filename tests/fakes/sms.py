"""Twilio, Twilio Verify, MessageBird, Vonage and Textlocal behind one address: each speaks its own documented format,
checks credentials and fields, and refuses in its own words."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson

ACCOUNT, SECRET, SERVICE = "AC0123", "secret-of-the-provider", "MG4567"
NUMBER = re.compile(r"\+[1-9][0-9]{7,14}")
VERIFY_CODE = "918273"

Reply = tuple[int, dict[str, Any]]


@dataclass
class FakeSms:
    """`next_replies` come before anything else: a status with a JSON body, or text that is none."""

    url: str = ""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: list[dict[str, str]] = field(default_factory=list)
    pending: dict[str, str] = field(default_factory=dict)
    next_replies: list[tuple[int, Any]] = field(default_factory=list)
    pause_s: float = 0.0

    def answer(self, path: str, headers: dict[str, str], form: dict[str, str]) -> tuple[int, Any]:
        self.requests.append((path, form))
        if self.next_replies:
            return self.next_replies.pop(0)
        if path == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json":
            return self._twilio(headers, form)
        if path == f"/v2/Services/{SERVICE}/Verifications":
            return self._verifications(headers, form)
        if path == f"/v2/Services/{SERVICE}/VerificationCheck":
            return self._verification_check(headers, form)
        if path == "/messages":
            return self._messagebird(headers, form)
        if path == "/sms/json":
            return self._vonage(form)
        if path == "/send":
            return self._textlocal(form)
        return 404, {"code": 20404, "message": f"The requested resource {path} was not found", "status": 404}

    def _twilio(self, headers: dict[str, str], form: dict[str, str]) -> Reply:
        if (refusal := _twilio_refusal(headers)) is not None:
            return refusal
        to = form.get("To", "")
        if not NUMBER.fullmatch(to.removeprefix("whatsapp:")):
            return 400, _twilio_error(21211, f"The 'To' number {to} is not a valid phone number.", 400)
        if "From" not in form:
            return 400, _twilio_error(21603, "A 'From' phone number is required.", 400)
        if not form.get("Body") and "ContentSid" not in form:
            return 400, _twilio_error(21619, "A text message body or media urls must be specified.", 400)
        if form["Channel"] == "whatsapp" and not to.startswith("whatsapp:"):
            return 400, _twilio_error(63024, "Invalid message recipient", 400)
        self.sent.append(form)
        status = {"sid": "SM1", "status": "queued", "error_code": None, "error_message": None}
        return 201, status | {"to": to, "from": form["From"], "body": form.get("Body", "")}

    def _verifications(self, headers: dict[str, str], form: dict[str, str]) -> Reply:
        if (refusal := _twilio_refusal(headers)) is not None:
            return refusal
        if not NUMBER.fullmatch(form.get("To", "")) or form.get("Channel") not in ("sms", "whatsapp"):
            return 400, _twilio_error(60200, "Invalid parameter", 400)
        self.sent.append(form)
        self.pending[form["To"]] = VERIFY_CODE
        body = {
            "sid": "VE1",
            "to": form["To"],
            "channel": form["Channel"],
            "status": "pending",
            "valid": False,
        }
        return 201, body

    def _verification_check(self, headers: dict[str, str], form: dict[str, str]) -> Reply:
        if (refusal := _twilio_refusal(headers)) is not None:
            return refusal
        to = form.get("To", "")
        if to not in self.pending:
            return 404, _twilio_error(20404, "The requested resource VerificationCheck was not found", 404)
        if self.pending[to] != form.get("Code"):
            return 200, {"sid": "VE1", "to": to, "status": "pending", "valid": False}
        del self.pending[to]
        return 200, {"sid": "VE1", "to": to, "status": "approved", "valid": True}

    def _messagebird(self, headers: dict[str, str], form: dict[str, str]) -> Reply:
        if headers.get("authorization") != f"AccessKey {SECRET}":
            description = "Request not allowed (incorrect access_key)"
            return 401, {"errors": [{"code": 2, "description": description, "parameter": "access_key"}]}
        wanted = {"originator", "body", "recipients", "type", "datacoding"}
        if set(form) != wanted or form["recipients"].startswith("+"):
            description = "no (correct) recipients found"
            return 422, {"errors": [{"code": 9, "description": description, "parameter": "recipients"}]}
        self.sent.append(form)
        return 201, {"id": "mb1", "recipients": {"totalCount": 1, "totalSentCount": 1}}

    def _vonage(self, form: dict[str, str]) -> Reply:
        """Whatever happens, the status is 200."""
        if (form.get("api_key"), form.get("api_secret")) != (ACCOUNT, SECRET):
            return 200, {"message-count": "1", "messages": [{"status": "4", "error-text": "Bad Credentials"}]}
        is_unicode = not form["text"].isascii()
        if is_unicode != (form.get("type") == "unicode") or form["to"].startswith("+"):
            return 200, {"message-count": "1", "messages": [{"status": "3", "error-text": "Invalid params"}]}
        self.sent.append(form)
        return 200, {
            "message-count": "1",
            "messages": [{"to": form["to"], "message-id": "v1", "status": "0"}],
        }

    def _textlocal(self, form: dict[str, str]) -> Reply:
        """Whatever happens, the status is 200."""
        if form.get("apikey") != SECRET:
            return 200, {"errors": [{"code": 3, "message": "Invalid login details"}], "status": "failure"}
        if set(form) != {"sender", "apikey", "message", "numbers"}:
            return 200, {"errors": [{"code": 6, "message": "No message content"}], "status": "failure"}
        self.sent.append(form)
        return 200, {"status": "success", "messages": [{"id": "t1", "recipient": form["numbers"]}]}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request per connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {
                name.lower(): value.strip()
                for name, colon, value in (line.partition(":") for line in head[1:])
                if colon
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            assert method == "POST"
            assert headers["content-type"] == "application/x-www-form-urlencoded"
            await asyncio.sleep(self.pause_s)
            status, answer = self.answer(path, headers, dict(parse_qsl(body.decode(), strict_parsing=True)))
            content = answer.encode() if isinstance(answer, str) else orjson.dumps(answer)
            writer.write(
                f"HTTP/1.1 {status} Status\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n".encode()
            )
            writer.write(content)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def fake_sms() -> AsyncIterator[FakeSms]:
    fake = FakeSms()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        server.close()


def _twilio_refusal(headers: dict[str, str]) -> Reply | None:
    expected = "Basic " + base64.b64encode(f"{ACCOUNT}:{SECRET}".encode()).decode()
    if headers.get("authorization") == expected:
        return None
    return 401, _twilio_error(20003, "Authenticate", 401)


def _twilio_error(code: int, message: str, status: int) -> dict[str, Any]:
    more_info = f"https://www.twilio.com/docs/errors/{code}"
    return {"code": code, "message": message, "more_info": more_info, "status": status}
