"""SendGrid's signed event webhook (twilio.com/docs/sendgrid/for-developers/tracking-events): up to hundreds of events
in one request, under an ECDSA signature over time and body."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from basalt.senders.delivery import ForgedReportError, ReportRequest, ReportStatus, StatusReport
from basalt.senders.report_signatures import check_time, keep_fields, read_instant, read_json
from basalt.senders.sendgrid import KEY_ARGUMENT

SIGNATURE: Final = "x-twilio-email-event-webhook-signature"
TIMESTAMP: Final = "x-twilio-email-event-webhook-timestamp"
# What is not taken is sent again for a day, and nothing says that it is signed anew. Events have ids of their own.
OLDEST: Final = timedelta(hours=25)
STATUS_OF: Final[dict[str, ReportStatus]] = {
    "delivered": "delivered",
    "open": "opened",
    "click": "clicked",
    "bounce": "bounced",
    "spamreport": "complained",
    "dropped": "failed",
}
DEAD_DROPS: Final = frozenset(
    {"Bounced Address", "Invalid", "Spam Reporting Address", "Unsubscribed Address"}
)
KEPT: Final = ("event", "type", "reason", "status", "response", "sg_message_id", "bounce_classification")


class SendGridReportReader:
    """A `ReportReader`. Raises ValueError for a key that is none."""

    def __init__(self, public_key: str) -> None:
        try:
            key = serialization.load_der_public_key(base64.b64decode(public_key, validate=True))
        except (binascii.Error, ValueError) as exc:
            raise ValueError("the verification key is no public key in Base64") from exc
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("the verification key is of another kind")
        self._key = key

    def read_reports(self, request: ReportRequest, *, now: datetime) -> Sequence[StatusReport]:
        self._check(request, now)
        events = read_json(request.body)
        if not isinstance(events, list):
            raise ValueError("The webhook is no list of events")
        reports = (_read_report(event, now) for event in events if isinstance(event, dict))
        return [report for report in reports if report is not None]

    def _check(self, request: ReportRequest, now: datetime) -> None:
        signature, sent_at = request.headers.get(SIGNATURE), request.headers.get(TIMESTAMP)
        if not signature or not sent_at:
            raise ForgedReportError("The webhook is not signed")
        try:
            raw = base64.b64decode(signature, validate=True)
            self._key.verify(raw, sent_at.encode() + request.body, ec.ECDSA(hashes.SHA256()))
        except (binascii.Error, InvalidSignature, ValueError) as exc:
            raise ForgedReportError("The signature is wrong") from exc
        check_time(sent_at, now, oldest=OLDEST)


def _read_report(event: dict[str, Any], now: datetime) -> StatusReport | None:
    """None for events of other kinds, and of mails that we have not sent."""
    kind, message_id = event.get("event"), event.get(KEY_ARGUMENT)
    status = STATUS_OF.get(kind) if isinstance(kind, str) else None
    if status is None or not isinstance(message_id, str):
        return None
    at = read_instant(event.get("timestamp"), now)
    reason = str(event.get("reason") or "")
    if status == "failed" and reason in DEAD_DROPS:
        status = "bounced"  # SendGrid did not try, because it knows that the address is dead
    code = str(event.get("status") or event.get("type") or reason)[:100]
    return StatusReport(
        id=str(event.get("sg_event_id") or f"{message_id}:{kind}:{at.timestamp():.0f}"),
        message_id=message_id,
        status=status,
        at=at,
        error_code=code if status in ("bounced", "failed") else "",
        # `blocked` is the receiving server's mood, `bounce` the address's end.
        is_permanent=status == "complained"
        or (status == "bounced" and event.get("type", "bounce") == "bounce"),
        response=keep_fields(event, KEPT),
    )
