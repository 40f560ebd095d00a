"""Notifications by an SMTP server: each recipient's own answer decides, and what may have been taken is unknown."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from basalt.senders.smtp_connections import MAX_CONNECTIONS, MailServer
from basalt.senders.smtp_delivery import SmtpDeliverySender
from tests.fakes.smtp import PASSWORD, USER, FakeSmtp, certificate, fake_smtp
from tests.senders.deliveries import a_mail, verdicts

pytestmark = pytest.mark.req("P13")


@asynccontextmanager
async def sender_to(
    fake: FakeSmtp, *, timeout_s: float = 5.0, **login: str
) -> AsyncIterator[SmtpDeliverySender]:
    server = MailServer("127.0.0.1", fake.port, timeout_s=timeout_s, **login)
    sender = SmtpDeliverySender(server, "Habits <hi@habits.example>", local_name="api.habits.example")
    try:
        yield sender
    finally:
        await sender.close()


async def test_a_mail_carries_its_key_and_one_click_to_unsubscribe() -> None:
    mail = a_mail(
        1, html="<p>Go on</p>", request_id="req-7", data={"unsubscribe_url": "https://habits.example/u/1"}
    )
    async with fake_smtp() as fake, sender_to(fake) as sender:
        [outcome] = await sender.deliver([mail])
        [again] = await sender.deliver([mail])
    assert outcome.verdict == again.verdict == "accepted"
    assert outcome.message_id == again.message_id == "d-1@habits.example"
    sent = fake.mails[0]
    assert sent["Message-ID"] == fake.mails[1]["Message-ID"] == "<d-1@habits.example>"
    assert sent["From"].addresses[0].display_name == "Habits"
    assert sent["List-Unsubscribe"] == "<https://habits.example/u/1>"
    assert sent["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert sent["X-Request-Id"] == "req-7"
    assert sent.get_content_type() == "multipart/alternative"


async def test_many_mails_share_a_few_connections() -> None:
    async with fake_smtp() as fake, sender_to(fake) as sender:
        outcomes = await sender.deliver([a_mail(number) for number in range(40)])
        assert fake.connections <= MAX_CONNECTIONS
    assert set(verdicts(outcomes)) == {"accepted"}
    assert len(fake.mails) == 40


@pytest.mark.parametrize(
    ("command", "answer", "verdict"),
    [
        ("RCPT", "450 4.2.0 Greylisted", "retry"),
        ("RCPT", "452 4.2.2 Mailbox full", "retry"),
        ("RCPT", "550 5.1.1 No such user", "dead_address"),
        ("RCPT", "550 No such user", "dead_address"),
        ("RCPT", "550 5.1.8 Bad sender's domain", "refused"),
        ("RCPT", "550 Relay not permitted", "refused"),
        ("RCPT", "550 5.2.1 Mailbox disabled", "dead_address"),
        ("RCPT", "550 5.7.1 Blocked by policy", "refused"),
        ("RCPT", "552 5.2.2 Mailbox full", "refused"),
        ("MAIL", "421 4.3.2 Not now", "retry"),
        ("MAIL", "550 5.7.1 Not you", "retry"),
        ("MAIL", "530 5.7.0 Authentication required", "retry"),
        ("DATA", "451 4.3.0 Try again", "retry"),
        ("DATA", "554 5.7.1 Spam", "refused"),
        ("MAIL", "drop", "retry"),
        ("DATA", "drop", "unknown"),
    ],
)
async def test_what_each_reply_means(command: str, answer: str, verdict: str) -> None:
    async with fake_smtp() as fake, sender_to(fake) as sender:
        fake.answers = {command: [answer]}
        [outcome] = await sender.deliver([a_mail(1)])
    assert outcome.verdict == verdict
    assert outcome.error_code
    assert len(fake.mails) == (1 if verdict == "unknown" else 0)


@pytest.mark.parametrize(("command", "verdict"), [("MAIL", "retry"), ("DATA", "unknown")])
async def test_a_server_that_does_not_answer_costs_no_more_than_the_limit(command: str, verdict: str) -> None:
    async with fake_smtp() as fake, sender_to(fake, timeout_s=0.3) as sender:
        fake.answers = {command: ["hang"]}
        assert verdicts(await sender.deliver([a_mail(1)])) == [verdict]


async def test_dead_addresses_cost_no_connections_and_no_others_mail() -> None:
    async with fake_smtp() as fake, sender_to(fake) as sender:
        fake.answers = {"RCPT": ["550 5.1.1 No such user"] * 10}
        outcomes = await sender.deliver([a_mail(number) for number in range(30)])
        assert fake.connections <= MAX_CONNECTIONS
    assert verdicts(outcomes).count("dead_address") == 10
    assert verdicts(outcomes).count("accepted") == len(fake.mails) == 20


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"address": "nobody"}, "dead_address"),
        ({"address": "ada@example.com, eve@example.com"}, "dead_address"),
        ({"address": "ada@example.com>\r\nDATA"}, "dead_address"),
        ({"address": "ädä@example.com"}, "dead_address"),
        ({"subject": "Hello\r\nBcc: eve@example.com"}, "refused"),
    ],
)
async def test_nothing_can_be_smuggled_into_a_header_or_command(
    changes: dict[str, str], verdict: str
) -> None:
    async with fake_smtp() as fake, sender_to(fake) as sender:
        assert verdicts(await sender.deliver([a_mail(1, **changes), a_mail(2)])) == [verdict, "accepted"]
    assert [envelope[1] for envelope in fake.envelopes] == [["user2@example.com"]]


async def test_a_wrong_password_is_the_operators_to_mend() -> None:
    async with fake_smtp(auth_required=True) as fake, sender_to(fake, user=USER, password="wrong") as sender:
        [outcome] = await sender.deliver([a_mail(1)])
    assert (outcome.verdict, outcome.error_code) == ("retry", "smtp_auth")
    assert "wrong" not in repr(outcome)


async def test_a_right_password_is_taken() -> None:
    async with fake_smtp(auth_required=True) as fake, sender_to(fake, user=USER, password=PASSWORD) as sender:
        assert verdicts(await sender.deliver([a_mail(1)])) == ["accepted"]


async def test_nobody_listens_and_the_server_is_left_in_peace() -> None:
    async with fake_smtp() as fake:
        pass
    async with sender_to(fake, timeout_s=0.5) as sender:
        outcomes = await sender.deliver([a_mail(number) for number in range(20)])
    assert set(verdicts(outcomes)) == {"retry"}
    assert {outcome.error_code for outcome in outcomes} >= {"unreachable", "circuit_open"}


async def test_a_server_that_turns_everybody_away_is_the_operators_to_mend() -> None:
    """An address on a blocklist is greeted with 554 (RFC 5321 §3.1)."""

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"554 5.7.1 Your address is blocked\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        connections = MailServer("127.0.0.1", server.sockets[0].getsockname()[1], timeout_s=5.0)
        sender = SmtpDeliverySender(connections, "hi@habits.example", local_name="api.habits.example")
        [outcome] = await sender.deliver([a_mail(1)])
        await sender.close()
    assert (outcome.verdict, outcome.error_code) == ("retry", "smtp_554")
    assert "blocked" in outcome.response["message"]


async def test_why_a_server_is_not_reached_is_written_down(tmp_path: Path) -> None:
    certificate_of_nobody, _ = certificate(tmp_path)
    async with fake_smtp(start_tls=certificate_of_nobody) as fake, sender_to(fake) as sender:
        [outcome] = await sender.deliver([a_mail(1)])
    assert (outcome.verdict, outcome.error_code) == ("retry", "unreachable")
    assert "certificate" in outcome.response["message"].lower()
