"""Status webhooks: whose signature is right is believed, everything else is not."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from basalt.senders import ForgedReportError, ReportRequest, StatusReport
from basalt.senders.resend_reports import ResendReportReader
from basalt.senders.sendgrid_reports import SendGridReportReader
from basalt.senders.twilio_reports import TwilioReportReader
from tests.fakes.resend import SECRET, sign_event
from tests.fakes.sendgrid import EventSigner
from tests.fakes.twilio import TOKEN, sign_callback

pytestmark = pytest.mark.req("H25")

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SENT_AT = int(NOW.timestamp())
URL = "https://api.habits.example/notify/v1/webhooks/"
SIGNER = EventSigner()


def resend_reports(event: object, *, sent_at: int = SENT_AT, **changes: Any) -> list[StatusReport]:
    headers, body = sign_event(event, sent_at=sent_at)
    headers.update(changes.get("headers", {}))
    request = ReportRequest(URL + "resend", headers, changes.get("body", body))
    return list(ResendReportReader(SECRET).read_reports(request, now=NOW))


def sendgrid_reports(events: object, *, sent_at: int = SENT_AT, **changes: Any) -> list[StatusReport]:
    headers, body = SIGNER.sign(events, sent_at=sent_at)
    headers.update(changes.get("headers", {}))
    request = ReportRequest(URL + "sendgrid", headers, changes.get("body", body))
    return list(SendGridReportReader(SIGNER.public_key).read_reports(request, now=NOW))


def twilio_reports(form: dict[str, str], *, url: str = URL + "twilio", **changes: Any) -> list[StatusReport]:
    headers, body = sign_callback(changes.get("signed_url", url), form)
    headers.update(changes.get("headers", {}))
    request = ReportRequest(url, headers, changes.get("body", body))
    return list(TwilioReportReader(TOKEN).read_reports(request, now=NOW))


def resend_event(kind: str, **data: Any) -> dict[str, Any]:
    mail = {"email_id": "mail-1", "to": ["ada@example.com"], "subject": "Streak"}
    return {"type": kind, "created_at": "2026-03-01T11:59:58.000Z", "data": {**mail, **data}}


def sendgrid_event(kind: str, **changes: Any) -> dict[str, Any]:
    own = {"event": kind, "email": "ada@example.com", "timestamp": SENT_AT - 2, "basalt_delivery": "d-1"}
    return {**own, "sg_event_id": f"e-{kind}", "sg_message_id": "xmid1.recvd-0", **changes}


# Resend


@pytest.mark.parametrize(
    ("kind", "data", "status", "is_permanent"),
    [
        ("email.delivered", {}, "delivered", False),
        ("email.opened", {}, "opened", False),
        ("email.clicked", {"click": {"link": "https://habits.example"}}, "clicked", False),
        ("email.bounced", {"bounce": {"type": "Permanent", "subType": "General"}}, "bounced", True),
        ("email.bounced", {"bounce": {"type": "Transient", "subType": "MailboxFull"}}, "bounced", False),
        ("email.complained", {}, "complained", True),
        ("email.failed", {"failed": {"reason": "reached_daily_quota"}}, "failed", False),
        ("email.suppressed", {"suppressed": {"type": "OnAccountSuppressionList"}}, "bounced", True),
    ],
)
def test_what_resend_tells(kind: str, data: dict[str, Any], status: str, is_permanent: bool) -> None:
    [report] = resend_reports(resend_event(kind, **data))
    assert (report.id, report.message_id, report.status) == ("msg_1", "mail-1", status)
    assert report.is_permanent == is_permanent
    assert report.at == datetime(2026, 3, 1, 11, 59, 58, tzinfo=UTC)
    assert bool(report.error_code) == (status in ("bounced", "failed"))


@pytest.mark.parametrize(
    "kind", ["email.sent", "email.delivery_delayed", "contact.created", "email.yet_to_come"]
)
def test_what_else_resend_tells_is_passed_over(kind: str) -> None:
    assert resend_reports(resend_event(kind)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"svix-signature": "v1,AAAA"}},
        {"headers": {"svix-signature": ""}},
        {"headers": {"svix-signature": "v1"}},
        {"headers": {"svix-signature": "v1,ü"}},
        {"headers": {"svix-id": "msg_2"}},
        {"headers": {"svix-timestamp": str(SENT_AT - 1)}},
        {"headers": {"svix-timestamp": "now"}},
        {"headers": {"svix-timestamp": "9" * 30}},
        {"sent_at": SENT_AT - 301},
        {"sent_at": SENT_AT + 301},
        {"body": json.dumps(resend_event("email.opened", email_id="mail-2")).encode()},
        {"body": b"\xff"},
    ],
    ids=str,
)
def test_a_forged_webhook_of_resend_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ForgedReportError):
        resend_reports(resend_event("email.opened"), **changes)


@pytest.mark.parametrize(
    "event",
    [b"no JSON", [], {"data": {}}, {"type": 1}, {"type": "email.opened", "data": {"email_id": 1}}],
    ids=str,
)
def test_a_signed_webhook_of_resend_that_is_no_event_is_an_error(event: object) -> None:
    with pytest.raises(ValueError, match=r"JSON|event"):
        resend_reports(event)


def test_the_names_of_standard_webhooks_are_taken_too() -> None:
    headers, body = sign_event(resend_event("email.opened"), sent_at=SENT_AT)
    renamed = {name.replace("svix", "webhook"): value for name, value in headers.items()}
    [report] = ResendReportReader(SECRET).read_reports(ReportRequest(URL, renamed, body), now=NOW)
    assert report.status == "opened"


# SendGrid


@pytest.mark.parametrize(
    ("kind", "changes", "status", "is_permanent"),
    [
        ("delivered", {}, "delivered", False),
        ("open", {}, "opened", False),
        ("click", {"url": "https://habits.example"}, "clicked", False),
        ("bounce", {"type": "bounce", "status": "5.1.1", "reason": "No such user"}, "bounced", True),
        ("bounce", {"type": "blocked", "status": "4.7.0", "reason": "Too busy"}, "bounced", False),
        ("spamreport", {}, "complained", True),
        ("dropped", {"reason": "Bounced Address"}, "bounced", True),
        ("dropped", {"reason": "Invalid SMTPAPI header"}, "failed", False),
    ],
)
def test_what_sendgrid_tells(kind: str, changes: dict[str, Any], status: str, is_permanent: bool) -> None:
    [report] = sendgrid_reports([sendgrid_event(kind, **changes)])
    assert (report.id, report.message_id, report.status) == (f"e-{kind}", "d-1", status)
    assert report.is_permanent == is_permanent
    assert bool(report.error_code) == (status in ("bounced", "failed"))


def test_many_events_come_at_once_and_those_of_others_are_passed_over() -> None:
    events = [sendgrid_event("delivered", sg_event_id=f"e-{number}") for number in range(300)]
    events[10]["event"], events[20]["event"] = "processed", "deferred"
    del events[30]["basalt_delivery"]
    events[40]["event"] = ["nonsense"]
    reports = sendgrid_reports([*events, "nonsense", None, [], 7])
    assert len(reports) == len({report.id for report in reports}) == 296


def test_an_event_of_yesterday_that_was_not_taken_then_is_taken() -> None:
    assert sendgrid_reports([sendgrid_event("open")], sent_at=SENT_AT - 86_400)


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"x-twilio-email-event-webhook-signature": "AAAA"}},
        {"headers": {"x-twilio-email-event-webhook-signature": "not base64!"}},
        {"headers": {"x-twilio-email-event-webhook-signature": ""}},
        {"headers": {"x-twilio-email-event-webhook-timestamp": str(SENT_AT - 1)}},
        {"sent_at": SENT_AT - 2 * 86_400},
        {"sent_at": SENT_AT + 301},
        {"body": b"[]"},
    ],
    ids=str,
)
def test_a_forged_webhook_of_sendgrid_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ForgedReportError):
        sendgrid_reports([sendgrid_event("open")], **changes)


def test_another_key_signs_nothing_here() -> None:
    headers, body = EventSigner().sign([sendgrid_event("open")], sent_at=SENT_AT)
    with pytest.raises(ForgedReportError):
        SendGridReportReader(SIGNER.public_key).read_reports(ReportRequest(URL, headers, body), now=NOW)


@pytest.mark.parametrize("events", [b"no JSON", {"event": "open"}, b"null"], ids=str)
def test_a_signed_webhook_of_sendgrid_that_is_no_list_is_an_error(events: object) -> None:
    with pytest.raises(ValueError, match=r"JSON|list"):
        sendgrid_reports(events)


# Twilio


def callback(status: str, code: str = "") -> dict[str, str]:
    form = {
        "MessageSid": "SM1",
        "AccountSid": "AC1",
        "MessageStatus": status,
        "To": "+4917012345678",
        "Body": "",
    }
    return form | ({"ErrorCode": code} if code else {})


@pytest.mark.parametrize(
    ("form", "status", "is_permanent"),
    [
        (callback("delivered"), "delivered", False),
        (callback("read"), "opened", False),
        (callback("undelivered", "30003"), "failed", False),
        (callback("undelivered", "30005"), "bounced", True),
        (callback("failed", "30006"), "bounced", True),
        (callback("failed"), "failed", False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_twilio_tells(form: dict[str, str], status: str, is_permanent: bool) -> None:
    [report] = twilio_reports(form)
    assert (report.message_id, report.status, report.is_permanent) == ("SM1", status, is_permanent)
    assert (report.id, report.at) == (f"SM1:{form['MessageStatus']}", NOW)
    assert bool(report.error_code) == (status in ("bounced", "failed"))


@pytest.mark.parametrize("status", ["queued", "sending", "sent", "yet-to-come"])
def test_what_else_twilio_tells_is_passed_over(status: str) -> None:
    assert twilio_reports(callback(status)) == []


def test_an_address_with_its_port_is_the_same_address() -> None:
    assert twilio_reports(callback("read"), signed_url=URL.replace(".example", ".example:443") + "twilio")


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"x-twilio-signature": ""}},
        {"headers": {"x-twilio-signature": "AAAA"}},
        {"headers": {"x-twilio-signature": "ü"}},
        {"signed_url": "https://api.habits.example/other"},
        {"signed_url": "http://api.habits.example/notify/v1/webhooks/twilio"},
        {"body": b"MessageSid=SM2&MessageStatus=delivered"},
        {"body": b""},
    ],
    ids=str,
)
def test_a_forged_callback_of_twilio_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ForgedReportError):
        twilio_reports(callback("delivered"), **changes)


def test_what_is_no_form_cannot_be_twilios() -> None:
    for body in (b"no form", b"a=%", b"\xff=1", b"&".join(b"a=1" for _ in range(500))):
        with pytest.raises(ForgedReportError):
            twilio_reports(callback("delivered"), body=body)
    with pytest.raises(ValueError, match="names no message"):
        twilio_reports({"AccountSid": "AC1"})


@pytest.mark.parametrize(
    ("kind", "secret"),
    [
        (ResendReportReader, "whsec_é"),
        (ResendReportReader, "whsec_"),
        (SendGridReportReader, "MFkw"),
        (SendGridReportReader, "not base64!"),
        (SendGridReportReader, "-----BEGIN PUBLIC KEY-----"),
    ],
)
def test_a_secret_that_is_none_is_an_error(kind: Any, secret: str) -> None:
    with pytest.raises(ValueError, match=r"secret|key"):
        kind(secret)


def test_of_a_long_event_a_little_is_kept() -> None:
    long = "x" * 100_000
    [opened] = resend_reports(resend_event("email.clicked", click={"link": long, "deep": {"a": long}}))
    [bounced] = sendgrid_reports([sendgrid_event("bounce", reason=long, type=long)])
    for report in (opened, bounced):
        assert len(json.dumps(dict(report.response))) < 2000
        assert len(report.error_code) <= 100
