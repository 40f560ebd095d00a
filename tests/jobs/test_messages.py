"""Mails and text messages as jobs: to the Inbox, to the providers of the settings, again after a failure."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from basalt.jobs import MessageJobs
from basalt.postgres import DatabaseAccess
from tests.fakes.sms import ACCOUNT, SECRET, SERVICE, fake_sms
from tests.fakes.smtp import fake_smtp
from tests.jobs.engines import Sql, connected, eventually, running_engine, settings_with

pytestmark = pytest.mark.req("G11")

FAST = "[basalt.queues.default]\nfirst_delay = 0.01\nlongest_delay = 0.01\n"
INBOX = "select channel, recipient, subject, body_text, body_html from basalt.inbox_messages"
NUMBER = "+60123456789"


@asynccontextmanager
async def delivering(database: DatabaseAccess, config: str = "") -> AsyncIterator[Sql]:
    messages = MessageJobs(settings_with(config), database)
    await messages.open()
    try:
        async with running_engine(database, messages.handlers, FAST), connected(database) as sql:
            yield sql
    finally:
        await messages.close()


async def enqueue(sql: Sql, name: str, **payload: object) -> None:
    await sql.rows("select basalt.enqueue(%s, %s::jsonb)", name, orjson.dumps(payload).decode())


async def test_without_providers_messages_go_to_the_inbox(database: DatabaseAccess) -> None:
    async with delivering(database) as sql:
        await enqueue(sql, "basalt.text", to=NUMBER, text="Shift at nine")
        await enqueue(sql, "basalt.mail", to="ada@example.com", subject="Hello", html="<p>Hi</p>", text=None)
        await sql.becomes(2, "select count(*) from basalt.inbox_messages")
        assert sorted(await sql.rows(INBOX)) == [
            ("email", "ada@example.com", "Hello", "", "<p>Hi</p>"),
            ("sms", "60123456789", None, "Shift at nine", None),
        ]


async def test_a_text_that_the_provider_refuses_for_now_is_sent_again(database: DatabaseAccess) -> None:
    async with fake_sms() as provider:
        provider.next_replies = [(503, "down"), (429, {"code": 20429, "message": "Too Many Requests"})]
        config = (
            f'[auth.sms.twilio]\nenabled = true\naccount_sid = "{ACCOUNT}"\nauth_token = "{SECRET}"\n'
            f'message_service_sid = "{SERVICE}"\napi_url = "{provider.url}"\n'
        )
        async with delivering(database, config) as sql:
            await enqueue(sql, "basalt.text", to=NUMBER, text="Shift at nine")
            await eventually(lambda: len(provider.sent) == 1)
            await sql.becomes(0, "select count(*) from basalt.jobs")
    assert len(provider.requests) == 3
    assert (provider.sent[0]["To"], provider.sent[0]["Body"]) == (NUMBER, "Shift at nine")


async def test_a_mail_goes_through_the_configured_server(database: DatabaseAccess) -> None:
    async with fake_smtp() as server:
        config = (
            f'[auth.email.smtp]\nenabled = true\nhost = "127.0.0.1"\nport = {server.port}\n'
            'admin_email = "app@example.com"\nsender_name = "Gigwork"\n'
        )
        async with delivering(database, config) as sql:
            await enqueue(sql, "basalt.mail", to="ada@example.com", subject="Plain", text="Hi Ada")
            await enqueue(sql, "basalt.mail", to="ada@example.com", subject="Marked up", html="<p>Hi</p>")
            await eventually(lambda: len(server.mails) == 2)
    by_subject = {mail["Subject"]: mail for mail in server.mails}
    assert by_subject["Plain"].get_content_type() == "text/plain"
    assert by_subject["Plain"].get_content().strip() == "Hi Ada"
    assert by_subject["Marked up"].get_content_type() == "text/html"


@pytest.mark.parametrize(
    ("name", "payload", "reason"),
    [
        ("basalt.text", {"to": "nobody", "text": "Hi"}, "`$.to`"),
        ("basalt.text", {"to": NUMBER, "text": ""}, "`$.text`"),
        ("basalt.text", {"to": NUMBER}, "`text`"),
        ("basalt.mail", {"to": "ada@example.com", "subject": "Hi\r\nBcc: all@example.com", "text": "x"}, "`$.subject`"),
        ("basalt.mail", {"to": "ada@example.com", "subject": "Hi"}, "html, text or both"),
    ],
)  # fmt: skip
async def test_a_message_that_cannot_be_is_a_dead_letter_at_once(
    database: DatabaseAccess, name: str, payload: dict[str, object], reason: str
) -> None:
    async with delivering(database) as sql:
        await enqueue(sql, name, **payload)
        await sql.becomes(1, "select count(*) from basalt.dead_jobs")
        [(attempt, said)] = await sql.rows("select attempt, reason from basalt.dead_jobs")
    assert attempt == 1
    assert reason in said
