"""Notifications by SendGrid: equal mails share a request, each is told apart, and none is sent twice."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from basalt.config import SendGridSettings
from basalt.http import OutgoingClient
from basalt.senders.sendgrid import SendGridSender
from tests.fakes.sendgrid import API_KEY, FakeSendGrid
from tests.fakes.small_server import Reply, small_server
from tests.senders.deliveries import a_mail, verdicts

pytestmark = pytest.mark.req("P13")


@pytest.fixture
def fake() -> Iterator[FakeSendGrid]:
    fake = FakeSendGrid()
    with small_server(fake.answer) as fake.url:
        yield fake


@asynccontextmanager
async def sender_to(fake: FakeSendGrid, **options: Any) -> AsyncIterator[SendGridSender]:
    settings = SendGridSettings(
        api_key=options.pop("api_key", API_KEY), sender="Habits <hi@habits.example>", api_url=fake.url
    )
    sender = SendGridSender(settings, OutgoingClient(), **{"timeout_s": 5.0, **options})
    try:
        yield sender
    finally:
        await sender.close()


async def test_equal_mails_share_a_request_and_carry_their_own_keys(fake: FakeSendGrid) -> None:
    mails = [a_mail(number) for number in range(1500)]
    mails[700] = a_mail(700, body="Something else", html="<p>Something else</p>", request_id="req-7")
    async with sender_to(fake) as sender:
        outcomes = await sender.deliver(mails)
    sizes = sorted(len(json.loads(request.body)["personalizations"]) for request in fake.requests)
    assert sizes == [1, 499, 1000]
    assert set(verdicts(outcomes)) == {"accepted"}
    assert [outcome.message_id for outcome in outcomes] == [f"d-{number}" for number in range(1500)]
    assert {mail["custom_args"]["basalt_delivery"]: mail["to"][0]["email"] for mail in fake.sent} == {
        f"d-{number}": f"user{number}@example.com" for number in range(1500)
    }
    [other] = [mail for mail in fake.sent if mail["custom_args"]["basalt_delivery"] == "d-700"]
    assert other["from"] == {"email": "hi@habits.example", "name": "Habits"}
    assert [part["type"] for part in other["content"]] == ["text/plain", "text/html"]
    assert other["headers"] == {"X-Request-Id": "req-7"}


async def test_an_address_that_occurs_twice_is_in_two_requests(fake: FakeSendGrid) -> None:
    mails = [a_mail(1), a_mail(2, address="USER1@example.com"), a_mail(3)]
    async with sender_to(fake) as sender:
        assert verdicts(await sender.deliver(mails)) == ["accepted"] * 3
    assert len(fake.requests) == 2


async def test_whoever_is_blamed_is_left_out_and_the_others_are_sent(fake: FakeSendGrid) -> None:
    mails = [a_mail(number) for number in range(10)]
    mails[4] = a_mail(4, address="nobody")
    async with sender_to(fake) as sender:
        outcomes = await sender.deliver(mails)
    assert outcomes[4].verdict == "dead_address"
    assert verdicts(outcomes).count("accepted") == 9
    assert len(fake.sent) == 9


async def test_a_fault_of_all_is_refused_without_trying_each(fake: FakeSendGrid) -> None:
    async with sender_to(fake) as sender:
        assert (
            verdicts(await sender.deliver([a_mail(1, subject=""), a_mail(2, subject="")])) == ["refused"] * 2
        )
    assert len(fake.requests) == 1


async def test_in_the_sandbox_mails_are_checked_and_go_nowhere(fake: FakeSendGrid) -> None:
    async with sender_to(fake, is_sandbox=True) as sender:
        assert verdicts(await sender.deliver([a_mail(1), a_mail(2)])) == ["accepted"] * 2
    assert (fake.sent, fake.checked) == ([], 2)


@pytest.mark.parametrize(
    "reply", [Reply(pause_s=0.6), Reply(is_cut=True), Reply(504)], ids=["slow", "cut", "504"]
)
async def test_a_mail_without_an_answer_is_unknown(fake: FakeSendGrid, reply: Reply) -> None:
    fake.is_taken_first = True
    fake.next_replies = [reply]
    async with sender_to(fake, timeout_s=0.3) as sender:
        assert verdicts(await sender.deliver([a_mail(1), a_mail(2)])) == ["unknown"] * 2
    assert len(fake.sent) == 2


@pytest.mark.parametrize(
    ("status", "headers", "verdict", "pause_s"),
    [
        (429, {"retry-after": "3"}, "retry", 3.0),
        (429, {}, "retry", None),
        (500, {}, "retry", None),
        (503, {}, "retry", None),
        (403, {}, "retry", None),
        (413, {}, "refused", None),
        (400, {}, "refused", None),
    ],
)
async def test_what_each_answer_means(
    fake: FakeSendGrid, status: int, headers: dict[str, str], verdict: str, pause_s: float | None
) -> None:
    fake.next_replies = [Reply(status, b'{"errors": [{"message": "No", "field": null}]}', headers)]
    async with sender_to(fake) as sender:
        [outcome] = await sender.deliver([a_mail(1)])
    assert (outcome.verdict, outcome.error_code) == (verdict, f"http_{status}")
    assert outcome.retry_after_s == pause_s


async def test_the_instant_of_a_limits_reset_is_understood(fake: FakeSendGrid) -> None:
    fake.next_replies = [Reply(429, b"", {"X-RateLimit-Reset": str(int(time.time()) + 30)})]
    async with sender_to(fake) as sender:
        [outcome] = await sender.deliver([a_mail(1)])
    assert outcome.retry_after_s is not None
    assert 20 < outcome.retry_after_s <= 30


async def test_a_wrong_key_is_the_operators_to_mend(fake: FakeSendGrid) -> None:
    async with sender_to(fake, api_key="SG.other") as sender:
        [outcome] = await sender.deliver([a_mail(1)])
    assert (outcome.verdict, outcome.error_code) == ("retry", "http_401")
    assert "SG.other" not in repr(outcome)
