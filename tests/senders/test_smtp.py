"""Mails by SMTP: how they look, when they are tried again, and that none arrives twice."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from basalt.config import ConfigError, SmtpSettings
from basalt.senders import Mail, SendError, SmtpSender, choose_mail_sender, smtp_connections
from basalt.senders import smtp as smtp_module
from tests.fakes.smtp import PASSWORD, USER, FakeSmtp, certificate, fake_smtp

pytestmark = pytest.mark.req("P6")

MAIL = Mail(
    to="ada@example.com",
    subject="Grüße, 你好",
    html="<p>Ünïcode <b>123456</b></p>",
    text="Ünïcode 123456\n.dots\n",
    kind="confirmation",
)


@asynccontextmanager
async def sender_to(fake: FakeSmtp, *, tls_context: Any = None, **changes: Any) -> AsyncIterator[SmtpSender]:
    settings = SmtpSettings(
        **{
            "host": "127.0.0.1",
            "port": fake.port,
            "admin_email": "no-reply@agentwise.example",
            "sender_name": "Agentwise, the Ägent",
            "timeout_s": 5.0,
            **changes,
        }
    )
    sender = SmtpSender(settings, local_name="api.agentwise.example", tls_context=tls_context)
    try:
        yield sender
    finally:
        await sender.close()
        await asyncio.sleep(0)


async def test_a_mail_arrives_with_both_forms_and_proper_headers() -> None:
    async with fake_smtp() as fake, sender_to(fake) as sender:
        await sender.send(MAIL)
    [mail], [envelope] = fake.mails, fake.envelopes
    assert envelope == ("no-reply@agentwise.example", ["ada@example.com"])
    assert mail["To"] == "ada@example.com"
    assert mail["From"].addresses[0].display_name == "Agentwise, the Ägent"
    assert mail["From"].addresses[0].addr_spec == "no-reply@agentwise.example"
    assert mail["Subject"] == "Grüße, 你好"
    assert mail["Message-ID"].endswith("@agentwise.example>")
    assert mail["Date"].datetime.tzinfo is not None
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert plain.get_content().splitlines() == MAIL.text.splitlines()
    assert html is not None
    assert html.get_content().strip() == MAIL.html


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("subject", "Hello\r\nBcc: eve@example.com"),
        ("subject", "Hello\nBcc: eve@example.com"),
        ("to", "ada@example.com\r\nRCPT TO:<eve@example.com>"),
        ("to", "ada@example.com, eve@example.com"),
        ("to", "ada@example.com>\r\nDATA"),
    ],
)
async def test_nothing_can_be_smuggled_into_a_header_or_command(field: str, value: str) -> None:
    values = {"to": MAIL.to, "subject": MAIL.subject} | {field: value}
    async with fake_smtp() as fake, sender_to(fake) as sender:
        with pytest.raises(SendError):
            await sender.send(Mail(html="x", text="x", kind="confirmation", **values))
    assert fake.mails == []


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"admin_email": "no-reply@example.com\r\nBcc: eve@example.com"}, "admin_email"),
        ({"admin_email": "no-reply"}, "admin_email"),
        ({"admin_email": ""}, "admin_email"),
        ({"sender_name": "Agentwise\r\nBcc: eve@example.com"}, "sender_name"),
    ],
)
def test_a_sender_that_is_none_stops_the_start(changes: dict[str, str], key: str) -> None:
    settings = SmtpSettings(**{"host": "smtp.example.com", **changes})
    with pytest.raises(ConfigError, match=f"config.toml: auth.email.smtp.{key}: "):
        choose_mail_sender(settings, local_name="x", config_file=Path("config.toml"))


def test_without_a_host_or_switched_off_there_is_no_server() -> None:
    for settings in (SmtpSettings(), SmtpSettings(host="smtp.example.com", enabled=False)):
        assert choose_mail_sender(settings, local_name="x", config_file=Path("c")) is None


async def test_connections_are_kept_and_bounded() -> None:
    async with fake_smtp() as fake, sender_to(fake) as sender:
        for _ in range(3):
            await sender.send(MAIL)
        assert fake.connections == 1
        fake.pause_s = 0.05
        await asyncio.gather(*(sender.send(MAIL) for _ in range(20)))
        assert len(fake.mails) == 23
        assert fake.most_open == smtp_connections.MAX_CONNECTIONS


async def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_connections, "IDLE_S", 0.05)
    async with fake_smtp() as fake, sender_to(fake) as sender:
        await sender.send(MAIL)
        async with asyncio.timeout(5):
            while fake.open_connections:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("farewell", ["drop", "421 Idle for too long"])
async def test_a_kept_connection_that_the_server_gave_up_is_opened_again(farewell: str) -> None:
    async with fake_smtp() as fake, sender_to(fake) as sender:
        await sender.send(MAIL)
        fake.answers = {"MAIL": [farewell]}
        started = time.monotonic()
        await sender.send(MAIL)
        assert time.monotonic() - started < smtp_module.PAUSES_S[0]
        assert (len(fake.mails), fake.connections) == (2, 2)


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
async def test_what_is_refused_for_now_is_tried_again(command: str) -> None:
    async with fake_smtp() as fake, sender_to(fake) as sender:
        fake.answers = {command: ["451 Try again", "450 And again"]}
        await sender.send(MAIL)
        assert len(fake.mails) == 1


@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
async def test_a_connection_lost_before_the_mail_was_handed_over_is_tried_again(command: str) -> None:
    async with fake_smtp() as fake, sender_to(fake) as sender:
        fake.answers = {command: ["drop"]}
        await sender.send(MAIL)
        assert (len(fake.mails), fake.connections) == (1, 2)


async def test_a_connection_lost_after_the_mail_was_handed_over_is_not() -> None:
    async with fake_smtp() as fake, sender_to(fake) as sender:
        fake.answers = {"DATA": ["drop"]}
        with pytest.raises(SendError, match="handed over"):
            await sender.send(MAIL)
        await asyncio.sleep(smtp_module.PAUSES_S[0] * 2)
        assert len(fake.mails) == 1
        await sender.send(MAIL)


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
async def test_what_is_refused_for_good_is_not_tried_again(command: str) -> None:
    async with fake_smtp() as fake, sender_to(fake) as sender:
        fake.answers = {command: ["550 No such user"]}
        with pytest.raises(SendError, match="No such user"):
            await sender.send(MAIL)
        assert fake.mails == []
        assert fake.connections == 1


@pytest.mark.parametrize("command", ["MAIL", "DATA"])
async def test_a_server_that_does_not_answer_costs_no_more_than_the_limit(command: str) -> None:
    async with fake_smtp() as fake, sender_to(fake, timeout_s=0.3) as sender:
        fake.answers = {command: ["hang"] * 9}
        started = time.monotonic()
        with pytest.raises(SendError):
            await sender.send(MAIL)
        assert time.monotonic() - started < 2


async def test_nobody_listens() -> None:
    async with fake_smtp() as fake:
        pass
    async with sender_to(fake, timeout_s=0.5) as sender:
        with pytest.raises(SendError):
            await sender.send(MAIL)


async def test_passwords_are_sent_over_starttls(tmp_path: Path) -> None:
    server, client = certificate(tmp_path)
    async with (
        fake_smtp(start_tls=server, auth_required=True) as fake,
        sender_to(fake, tls_context=client, user=USER, password=PASSWORD) as sender,
    ):
        await sender.send(MAIL)
        assert fake.over_tls == [True]
        assert len(fake.logins) == 1


async def test_port_465_is_tls_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, client = certificate(tmp_path)
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(fake_smtp(implicit_tls=server))
        monkeypatch.setattr(smtp_connections, "TLS_PORT", fake.port)
        sender = await stack.enter_async_context(sender_to(fake, tls_context=client))
        await sender.send(MAIL)
        assert fake.over_tls == [True]


async def test_a_certificate_of_somebody_else_is_refused(tmp_path: Path) -> None:
    server, _ = certificate(tmp_path)
    async with fake_smtp(start_tls=server) as fake, sender_to(fake, user=USER, password=PASSWORD) as sender:
        with pytest.raises(SendError):
            await sender.send(MAIL)
        assert (fake.connections, fake.logins, fake.mails) == (1, [], [])


async def test_a_wrong_password_is_an_error_at_once() -> None:
    async with fake_smtp(auth_required=True) as fake, sender_to(fake, user=USER, password="wrong") as sender:
        with pytest.raises(SendError) as caught:
            await sender.send(MAIL)
        assert fake.connections == 1
        assert "wrong" not in str(caught.value)


async def test_a_password_is_not_sent_in_the_clear_to_another_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with fake_smtp() as fake, sender_to(fake, user=USER, password=PASSWORD) as sender:
        monkeypatch.setattr(smtp_connections, "_is_loopback", lambda host: False)
        with pytest.raises(SendError, match="offers no TLS"):
            await sender.send(MAIL)
        assert fake.logins == []
