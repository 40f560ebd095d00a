"""Resend's webhooks (resend.com/docs/webhooks), signed as Standard Webhooks are, with headers that Svix named."""

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from basalt.senders.delivery import ForgedReportError, ReportRequest, ReportStatus, StatusReport
from basalt.senders.report_signatures import check_time, keep_fields, read_instant, read_json

STATUS_OF: Final[dict[str, ReportStatus]] = {
    "email.delivered": "delivered",
    "email.opened": "opened",
    "email.clicked": "clicked",
    "email.bounced": "bounced",
    "email.complained": "complained",
    "email.failed": "failed",
    "email.suppressed": "bounced",
}
KEPT: Final = ("bounce", "failed", "suppressed", "click")


class ResendReportReader:
    """A `ReportReader`. Raises ValueError for a secret that is none."""

    def __init__(self, secret: str) -> None:
        try:
            self._webhook = Webhook(secret)
        except (ValueError, EmptyWebhookSecretError) as exc:
            raise ValueError("the secret is no whsec_… in Base64") from exc

    def read_reports(self, request: ReportRequest, *, now: datetime) -> Sequence[StatusReport]:
        message_id = self._check(request, now)
        body = read_json(request.body)
        if not isinstance(body, dict) or not isinstance(body.get("type"), str):
            raise ValueError("The webhook is no event")
        status = STATUS_OF.get(body["type"])
        if status is None:
            return []
        data = body.get("data")
        if not isinstance(data, dict) or not isinstance(data.get("email_id"), str):
            raise ValueError("The event names no mail")
        return [_read_report(message_id, status, body, data, now)]

    def _check(self, request: ReportRequest, now: datetime) -> str:
        """The webhook's id, which is the same when it is sent again."""
        headers = request.headers
        given = [
            headers.get(f"svix-{name}") or headers.get(f"webhook-{name}")
            for name in ("id", "timestamp", "signature")
        ]
        message_id, sent_at, signatures = given
        if not (message_id and sent_at and signatures):
            raise ForgedReportError("The webhook is not signed")
        check_time(sent_at, now)
        try:
            text = request.body.decode()
        except UnicodeDecodeError as exc:
            raise ForgedReportError("The body is not UTF-8") from exc
        expected = self._webhook.sign(message_id, datetime.fromtimestamp(int(sent_at), UTC), text)
        found = [hmac.compare_digest(expected.encode(), one.encode()) for one in signatures.split(" ")]
        if not any(found):
            raise ForgedReportError("The signature is wrong")
        return message_id


def _read_report(
    webhook_id: str, status: ReportStatus, body: dict[str, Any], data: dict[str, Any], now: datetime
) -> StatusReport:
    return StatusReport(
        id=webhook_id,
        message_id=data["email_id"],
        status=status,
        at=read_instant(body.get("created_at"), now),
        error_code=_find_code(data, body["type"]) if status in ("bounced", "failed") else "",
        is_permanent=status == "complained" or (status == "bounced" and _is_permanent(data)),
        response={"type": body["type"], **keep_fields(data, KEPT)},
    )


def _is_permanent(data: dict[str, Any]) -> bool:
    """A bounce without a word on it is, says the reference, and so is suppression; `Transient` ones say so."""
    bounce = data.get("bounce")
    return not isinstance(bounce, dict) or bounce.get("type") in ("Permanent", None)


def _find_code(data: dict[str, Any], kind: str) -> str:
    """`Permanent/Suppressed` of a bounce, the reason of a failure."""
    bounce, failed = data.get("bounce"), data.get("failed")
    if isinstance(bounce, dict):
        return "/".join(str(bounce[name]) for name in ("type", "subType") if bounce.get(name))[:100]
    if isinstance(failed, dict) and failed.get("reason"):
        return str(failed["reason"])[:100]
    return kind
