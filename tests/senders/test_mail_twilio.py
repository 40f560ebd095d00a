"""Notifications as text messages by Twilio, and by the providers that Auth has."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from basalt.config import TwilioMessageSettings, VonageSettings
from basalt.http import OutgoingClient
from basalt.senders import Delivery, Outcome
from basalt.senders.text_delivery import TextDeliverySender
from basalt.senders.twilio_messages import CONCURRENCY, TwilioMessageSender
from basalt.senders.vonage import VonageSender
from tests.fakes.small_server import Reply, small_server
from tests.fakes.sms import ACCOUNT as VONAGE_KEY
from tests.fakes.sms import SECRET, fake_sms
from tests.fakes.twilio import ACCOUNT, TOKEN, FakeTwilio

pytestmark = pytest.mark.req("P13")

NUMBER = "+4917012345678"
STATUS_URL = "https://api.habits.example/notify/v1/webhooks/twilio"


@pytest.fixture
def fake() -> Iterator[FakeTwilio]:
    fake = FakeTwilio()
    with small_server(fake.answer) as fake.url:
        yield fake


@contextlib.asynccontextmanager
async def sender_to(fake: FakeTwilio, **options: Any) -> AsyncIterator[TwilioMessageSender]:
    settings = TwilioMessageSettings(
        account_sid=ACCOUNT,
        auth_token=options.pop("auth_token", TOKEN),
        sender=options.pop("sender", "MG123"),
        api_url=fake.url,
    )
    sender = TwilioMessageSender(settings, OutgoingClient(), **{"timeout_s": 5.0, **options})
    try:
        yield sender
    finally:
        await sender.close()


def a_text(**changes: Any) -> Delivery:
    return Delivery(**{"key": "d-1", "address": NUMBER, "body": "Deine Serie läuft aus: 東京", **changes})


async def test_a_text_leaves_by_the_messaging_service_and_asks_for_reports(fake: FakeTwilio) -> None:
    async with sender_to(fake, status_url=STATUS_URL) as sender:
        [outcome] = await sender.deliver([a_text(ttl_s=86_400.0)])
    assert outcome == Outcome("accepted", message_id=f"SM{1:032x}", response={"status": "queued"})
    assert fake.sent == [
        {
            "To": NUMBER,
            "Body": "Deine Serie läuft aus: 東京",
            "MessagingServiceSid": "MG123",
            "StatusCallback": STATUS_URL,
            "ValidityPeriod": "36000",
        }
    ]


async def test_a_text_leaves_by_a_number(fake: FakeTwilio) -> None:
    async with sender_to(fake, sender="+15005550006") as sender:
        await sender.deliver([a_text(address=NUMBER.removeprefix("+"))])
    assert fake.sent == [{"To": NUMBER, "Body": a_text().body, "From": "+15005550006"}]


async def test_many_texts_are_each_answered_for(fake: FakeTwilio) -> None:
    numbers = [f"+49170{number:08d}" for number in range(40)]
    fake.codes = {numbers[7]: 21610, numbers[9]: 21408}
    async with sender_to(fake) as sender:
        outcomes = await sender.deliver([a_text(address=number) for number in numbers])
    assert outcomes[7].verdict == "dead_address"
    assert outcomes[9].verdict == "refused"
    assert [outcome.verdict for outcome in outcomes].count("accepted") == 38


async def test_connections_are_kept_from_batch_to_batch() -> None:
    """Each new one is a handshake, which costs more than the request."""
    connections, serving = 0, list[asyncio.StreamWriter]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        serving.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
                await asyncio.sleep(0.01)
                body = b'{"sid": "SM1", "status": "queued"}'
                writer.write(b"HTTP/1.1 201 Created\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, sender_to(FakeTwilio(url=url)) as sender:
        for _ in range(3):
            outcomes = await sender.deliver([a_text(key=f"d-{number}") for number in range(2 * CONCURRENCY)])
            assert {outcome.verdict for outcome in outcomes} == {"accepted"}
    assert connections <= CONCURRENCY
    await asyncio.gather(*(writer.wait_closed() for writer in serving))


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (21211, "dead_address"),
        (21614, "dead_address"),
        (21610, "dead_address"),
        (21611, "retry"),
        (21617, "refused"),
        (30005, "dead_address"),
        (30006, "dead_address"),
        (30001, "retry"),
        (30003, "refused"),
    ],
)
async def test_what_each_code_means(fake: FakeTwilio, code: int, verdict: str) -> None:
    fake.codes = {NUMBER: code}
    async with sender_to(fake) as sender:
        [outcome] = await sender.deliver([a_text()])
    assert (outcome.verdict, outcome.error_code) == (verdict, str(code))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(429, b'{"code": 20429}', {"retry-after": "4"}), ("retry", "20429", 4.0)),
        (Reply(500, b'{"code": 20500}'), ("retry", "20500", None)),
        (Reply(503, b"down"), ("retry", "http_503", None)),
        (Reply(504, b""), ("unknown", "http_504", None)),
        (Reply(201, b"{}"), ("unknown", "unexpected_answer", None)),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Reply) else value[1],
)
async def test_what_each_answer_means(
    fake: FakeTwilio, reply: Reply, expected: tuple[str, str, float | None]
) -> None:
    fake.next_replies = [reply]
    async with sender_to(fake) as sender:
        [outcome] = await sender.deliver([a_text()])
    assert (outcome.verdict, outcome.error_code, outcome.retry_after_s) == expected


@pytest.mark.parametrize("reply", [Reply(pause_s=0.6), Reply(is_cut=True)], ids=["slow", "cut"])
async def test_a_text_without_an_answer_is_unknown(fake: FakeTwilio, reply: Reply) -> None:
    fake.is_taken_first = True
    fake.next_replies = [reply]
    async with sender_to(fake, timeout_s=0.3) as sender:
        [outcome] = await sender.deliver([a_text()])
    assert (outcome.verdict, len(fake.sent)) == ("unknown", 1)


async def test_a_wrong_token_is_the_operators_to_mend(fake: FakeTwilio) -> None:
    async with sender_to(fake, auth_token="another-token") as sender:
        [outcome] = await sender.deliver([a_text()])
    assert (outcome.verdict, outcome.error_code) == ("retry", "20003")
    assert "another-token" not in repr(outcome)


async def test_a_provider_of_auth_carries_notifications() -> None:
    async with fake_sms() as fake:
        http = OutgoingClient()
        vonage = VonageSender(
            VonageSettings(
                enabled=True, sender="Habits", api_key=VONAGE_KEY, api_secret=SECRET, api_url=fake.url
            ),
            http,
        )
        sender = TextDeliverySender("vonage", vonage, http)
        [outcome] = await sender.deliver([a_text()])
        assert (outcome.verdict, fake.sent[0]["to"]) == ("accepted", NUMBER.removeprefix("+"))
        for status, verdict in (("1", "retry"), ("9", "retry"), ("6", "refused")):
            fake.next_replies = [(200, {"messages": [{"status": status, "error-text": "No"}]})]
            [outcome] = await sender.deliver([a_text()])
            assert (outcome.verdict, outcome.error_code) == (verdict, "not_taken")
    [outcome] = await sender.deliver([a_text()])
    assert (outcome.verdict, outcome.error_code) == ("retry", "unreachable")
    await sender.close()
