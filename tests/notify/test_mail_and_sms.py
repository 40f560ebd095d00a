"""The engine with its real senders: mails and texts by providers that speak their wire, and everything in the Inbox."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

import pytest

from basalt.config import Settings
from basalt.notify.reports import apply_reports
from basalt.postgres import DatabaseAccess, Pool, open_pool
from basalt.senders import (
    DeliverySender,
    ReportRequest,
    build_delivery_senders,
    load_inbox,
    report_readers,
)
from tests.fakes import resend, sendgrid, twilio
from tests.fakes.small_server import Reply, small_server
from tests.jobs.engines import connected, settings_with
from tests.notify.engine import (
    CONFIG,
    EACH_STATUS,
    Courierhouse,
    a_device,
    a_person,
    a_template,
    issue,
    running_notify,
)

pytestmark = [pytest.mark.req("P13", "H24")]

DELIVERIES = (
    "select provider, status, error_code, provider_message_id from public.notification_deliveries order by id"
)


class Providers(Courierhouse):
    """Those of the settings in an environment."""

    def __init__(self, environment: Literal["production", "inbox"]) -> None:
        super().__init__("")
        self._environment = environment

    def build(self, settings: Settings, pool: Pool) -> Mapping[str, DeliverySender]:
        notify = replace(settings.notify, environment=self._environment)
        return build_delivery_senders(replace(settings, notify=notify), pool)


async def test_mails_and_texts_leave_by_their_providers(notify_database: DatabaseAccess) -> None:
    mails, texts = resend.FakeResend(), twilio.FakeTwilio()
    dead = "+4917000000009"
    texts.codes = {dead: 21610}
    mails.next_replies = [Reply(503), Reply(429, headers={"retry-after": "0"})]
    with small_server(mails.answer) as mails.url, small_server(texts.answer) as texts.url:
        config = f"""
            [notify.providers.resend]
            api_key = "{resend.API_KEY}"
            from = "Habits <hi@habits.example>"
            api_url = "{mails.url}"
            rate_per_s = 0
            [notify.providers.twilio]
            account_sid = "{twilio.ACCOUNT}"
            auth_token = "{twilio.TOKEN}"
            from = "MG1"
            api_url = "{texts.url}"
        """
        async with connected(notify_database) as sql:
            await a_template(sql, "streak", "email", "Go on, {{ name }}", subject="Streak")
            await a_template(sql, "streak", "sms", "Go on, {{ name }}")
            for number in range(5):
                person = await a_person(
                    sql,
                    email=f"user{number}@example.com",
                    phone=dead if number == 4 else f"+491701234567{number}",
                )
                await issue(sql, "streak", person, context={"name": f"user {number}"})
            async with running_notify(notify_database, Providers("production"), config):
                await sql.becomes({"sent": 9, "failed": 1}, EACH_STATUS)
            deliveries = await sql.rows(DELIVERIES)
            assert sorted(mail["text"] for mail in mails.sent) == [
                f"Go on, user {number}" for number in range(5)
            ]
            assert len({text["To"] for text in texts.sent}) == 4
            accepted = [row for row in deliveries if row[1] == "accepted"]
            assert len({row[3] for row in accepted}) == len(accepted) == 9
            assert [row for row in deliveries if row[1] == "failed"] == [("twilio", "failed", "21610", None)]


@pytest.mark.req("H25")
async def test_what_providers_report_later_finds_its_delivery(notify_database: DatabaseAccess) -> None:
    mails, texts, signer = sendgrid.FakeSendGrid(), twilio.FakeTwilio(), sendgrid.EventSigner()
    with small_server(mails.answer) as mails.url, small_server(texts.answer) as texts.url:
        config = f"""
            [notify.providers.sendgrid]
            api_key = "{sendgrid.API_KEY}"
            from = "hi@habits.example"
            api_url = "{mails.url}"
            webhook_public_key = "{signer.public_key}"
            [notify.providers.twilio]
            account_sid = "{twilio.ACCOUNT}"
            auth_token = "{twilio.TOKEN}"
            from = "MG1"
            api_url = "{texts.url}"
        """
        async with connected(notify_database) as sql:
            for channel in ("email", "sms"):
                await a_template(sql, "streak", channel, "Go on", subject="Streak")
            for number in range(3):
                person = await a_person(
                    sql, email=f"user{number}@example.com", phone=f"+491701234567{number}"
                )
                await issue(sql, "streak", person)
            async with running_notify(notify_database, Providers("production"), config):
                await sql.becomes({"sent": 6}, EACH_STATUS)
            keys = {mail["to"][0]["email"]: mail["custom_args"]["basalt_delivery"] for mail in mails.sent}
            now = datetime.now(UTC)
            events = [
                {"event": "delivered", "sg_event_id": "e0", "basalt_delivery": keys["user0@example.com"]},
                {"event": "open", "sg_event_id": "e1", "basalt_delivery": keys["user1@example.com"]},
                {
                    "event": "bounce",
                    "type": "bounce",
                    "status": "5.1.1",
                    "sg_event_id": "e2",
                    "basalt_delivery": keys["user2@example.com"],
                },
            ]
            headers, body = signer.sign(events, sent_at=int(now.timestamp()))
            readers = report_readers(settings_with(CONFIG + config))
            reports = readers["sendgrid"].read_reports(ReportRequest("", headers, body), now=now)
            form = {"MessageSid": f"SM{1:032x}", "MessageStatus": "undelivered", "ErrorCode": "30005"}
            url = "https://api.habits.example/notify/v1/webhooks/twilio"
            called = ReportRequest(url, *twilio.sign_callback(url, form))
            async with open_pool(notify_database.conninfo("postgres"), max_size=2, name="test") as pool:
                for _ in range(2):
                    await apply_reports(pool, "sendgrid", reports)
                    await apply_reports(pool, "twilio", readers["twilio"].read_reports(called, now=now))
            statuses = await sql.rows(
                "select provider, status, count(*) from public.notification_deliveries group by 1, 2 order by 1, 2"
            )
            assert statuses == [
                ("sendgrid", "bounced", 1),
                ("sendgrid", "delivered", 1),
                ("sendgrid", "opened", 1),
                ("twilio", "accepted", 2),
                ("twilio", "bounced", 1),
            ]
            dead = await sql.rows(
                "select channel, address, disabled_reason from public.notification_channels"
                " where not is_enabled order by channel"
            )
            assert dead == [
                ("email", "user2@example.com", "bounced"),
                ("sms", texts.sent[0]["To"], "bounced"),
            ]


async def test_in_the_inbox_environment_every_channel_is_kept(notify_database: DatabaseAccess) -> None:
    async with (
        connected(notify_database) as sql,
        running_notify(notify_database, Providers("inbox")),
    ):
        for channel in ("in_app", "email", "sms", "push"):
            await a_template(sql, "streak", channel, "Go on", subject="Streak")
        person = await a_person(sql, email="ada@example.com", phone="+4917012345678")
        await a_device(sql, person, "token-1")
        await issue(sql, "streak", person, context={"data": {"image": "https://habits.example/1.png"}})
        await sql.becomes({"delivered": 4}, EACH_STATUS)
        async with open_pool(notify_database.conninfo("postgres"), max_size=2, name="test") as pool:
            messages = (await load_inbox(pool, with_notifications=True)).messages
    assert {(message.channel, message.to) for message in messages} == {
        ("in_app", "ada@example.com"),
        ("email", "ada@example.com"),
        ("sms", "+4917012345678"),
        ("push", "token-1"),
    }
    assert {message.kind for message in messages} == {"streak"}
