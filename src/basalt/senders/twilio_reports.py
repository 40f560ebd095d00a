"""Twilio's status callbacks (twilio.com/docs/messaging/guides/track-outbound-message-status), signed with the account's
auth token (twilio.com/docs/usage/webhooks/webhooks-security)."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from basalt.senders.delivery import ForgedReportError, ReportRequest, ReportStatus, StatusReport
from basalt.senders.twilio_messages import is_dead_number

STATUS_OF: Final[dict[str, ReportStatus]] = {
    "delivered": "delivered",
    "read": "opened",
    "undelivered": "failed",
    "failed": "failed",
    "canceled": "failed",
}
MAX_FIELDS: Final = 200


class TwilioReportReader:
    """A `ReportReader`. A callback has no time of its own, and none that is too old: it is known by its message and
    status."""

    def __init__(self, auth_token: str) -> None:
        self._key = auth_token.encode()

    def read_reports(self, request: ReportRequest, *, now: datetime) -> Sequence[StatusReport]:
        try:
            fields = _read_form(request.body)
        except ValueError as exc:
            raise ForgedReportError("The body is no form, and nothing else is signed") from exc
        self._check(request, fields)
        form = dict(fields)
        message_id, kind = form.get("MessageSid") or form.get("SmsSid"), form.get("MessageStatus")
        if not message_id or not kind:
            raise ValueError("The callback names no message or no status")
        status = STATUS_OF.get(kind)
        if status is None:
            return []
        code = form.get("ErrorCode", "")[:20]
        is_dead = status == "failed" and is_dead_number(code)
        return [
            StatusReport(
                id=f"{message_id}:{kind}",
                message_id=message_id,
                status="bounced" if is_dead else status,
                at=now,
                error_code=(code or kind) if status == "failed" else "",
                is_permanent=is_dead,
                response={"MessageStatus": kind, "ErrorCode": code},
            )
        ]

    def _check(self, request: ReportRequest, fields: Sequence[tuple[str, str]]) -> None:
        given = request.headers.get("x-twilio-signature", "").encode()
        rest = "".join(name + value for name, value in sorted(set(fields)))
        found = [hmac.compare_digest(self._sign(url + rest), given) for url in _spellings(request.url)]
        if not any(found):
            raise ForgedReportError("The signature is missing or wrong")

    def _sign(self, text: str) -> bytes:
        return base64.b64encode(hmac.digest(self._key, text.encode(), hashlib.sha1))


def _read_form(body: bytes) -> list[tuple[str, str]]:
    """Raises ValueError."""
    return parse_qsl(
        body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=MAX_FIELDS
    )


def _spellings(url: str) -> set[str]:
    """Twilio signs an address with its port or without, whatever the account's age.

    >>> sorted(_spellings("https://api.example.com/hook"))
    ['https://api.example.com/hook', 'https://api.example.com:443/hook']
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {url} | {urlunsplit(parts._replace(netloc=netloc)) for netloc in (host, f"{host}:{port}")}
