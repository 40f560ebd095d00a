"""Notifications by Resend: what is asked, what each answer means, and that no mail is sent twice."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from basalt.config import ResendSettings
from basalt.http import OutgoingClient
from basalt.senders import Outcome
from basalt.senders.resend import ResendSender
from tests.fakes.resend import API_KEY, FakeResend
from tests.fakes.small_server import Reply, small_server
from tests.senders.deliveries import a_mail, verdicts

pytestmark = pytest.mark.req("P13")

ERROR = b'{"statusCode": 500, "name": "application_error", "message": "Something went wrong"}'


@pytest.fixture
def fake() -> Iterator[FakeResend]:
    fake = FakeResend()
    with small_server(fake.answer) as fake.url:
        yield fake


@asynccontextmanager
async def sender_to(fake: FakeResend, **options: Any) -> AsyncIterator[ResendSender]:
    given = {"api_key": API_KEY, "sender": "Habits <hi@habits.example>", "rate_per_s": 0.0}
    timeout_s = options.pop("timeout_s", 5.0)
    settings = ResendSettings(**{**given, "api_url": fake.url, **options})
    sender = ResendSender(settings, OutgoingClient(), timeout_s=timeout_s)
    try:
        yield sender
    finally:
        await sender.close()


async def test_a_single_mail_has_its_delivery_as_idempotency_key(fake: FakeResend) -> None:
    mail = a_mail(
        1,
        html="<p>Go on</p>",
        request_id="req-7",
        data={"unsubscribe_url": "https://habits.example/unsubscribe/1"},
    )
    async with sender_to(fake) as sender:
        [outcome] = await sender.deliver([mail])
    assert outcome == Outcome("accepted", message_id="mail-1")
    [request] = fake.requests
    assert (request.path, request.headers["idempotency-key"]) == ("/emails", "d-1")
    assert fake.sent == [
        {
            "from": "Habits <hi@habits.example>",
            "to": ["user1@example.com"],
            "subject": "Streak",
            "text": "Go on",
            "html": "<p>Go on</p>",
            "headers": {
                "List-Unsubscribe": "<https://habits.example/unsubscribe/1>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
                "X-Request-Id": "req-7",
            },
        }
    ]


async def test_many_mails_go_in_batches_of_a_hundred_and_keep_their_order(fake: FakeResend) -> None:
    async with sender_to(fake) as sender:
        outcomes = await sender.deliver([a_mail(number) for number in range(250)])
    assert [request.path for request in fake.requests] == ["/emails/batch"] * 3
    assert set(verdicts(outcomes)) == {"accepted"}
    for number, outcome in enumerate(outcomes):
        assert fake.sent[int(outcome.message_id.removeprefix("mail-")) - 1]["to"] == [
            f"user{number}@example.com"
        ]


@pytest.mark.parametrize("is_strict", [False, True])
async def test_a_bad_address_in_a_batch_costs_only_itself(fake: FakeResend, is_strict: bool) -> None:
    fake.is_strict = is_strict
    mails = [a_mail(number) for number in range(20)]
    mails[3], mails[11] = a_mail(3, address="nobody"), a_mail(11, subject="x", body="")
    async with sender_to(fake) as sender:
        outcomes = await sender.deliver(mails)
    assert outcomes[3].verdict == "dead_address"
    assert outcomes[11].verdict == "refused"
    assert verdicts(outcomes).count("accepted") == 18
    assert len({outcome.message_id for outcome in outcomes if outcome.message_id}) == 18


async def test_a_lost_answer_to_a_single_mail_may_be_tried_again(fake: FakeResend) -> None:
    fake.is_taken_first = True
    fake.next_replies = [Reply(is_cut=True)]
    async with sender_to(fake) as sender:
        assert verdicts(await sender.deliver([a_mail(1)])) == ["retry"]
        assert verdicts(await sender.deliver([a_mail(1)])) == ["accepted"]
    assert len(fake.sent) == 1


async def test_a_batch_without_an_answer_is_asked_about_at_once(fake: FakeResend) -> None:
    fake.is_taken_first = True
    fake.next_replies = [Reply(pause_s=0.6)]
    async with sender_to(fake, timeout_s=0.3) as sender:
        outcomes = await sender.deliver([a_mail(number) for number in range(3)])
        assert verdicts(outcomes) == ["accepted"] * 3
        for second in (Reply(is_cut=True), Reply(503), Reply(429)):
            fake.next_replies = [Reply(is_cut=True), second]
            assert verdicts(await sender.deliver([a_mail(4), a_mail(5)])) == ["unknown"] * 2
    assert len(fake.sent) == 5


async def test_an_answer_that_drips_costs_no_more_than_the_limit(fake: FakeResend) -> None:
    fake.next_replies = [Reply(200, b'{"id": "mail-1"}', drip_s=0.2)]
    async with sender_to(fake, timeout_s=0.4) as sender, asyncio.timeout(3):
        assert verdicts(await sender.deliver([a_mail(1)])) == ["retry"]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(429, b'{"name": "rate_limit_exceeded"}', {"retry-after": "7"}), ("retry", 7.0)),
        (Reply(429, b'{"name": "daily_quota_exceeded"}'), ("retry", 900.0)),
        (Reply(500, ERROR), ("retry", None)),
        (Reply(503, b"<html>"), ("retry", None)),
        (Reply(401, b'{"name": "missing_api_key"}'), ("retry", None)),
        (
            Reply(403, b'{"name": "validation_error", "message": "The domain is not verified"}'),
            ("retry", None),
        ),
        (Reply(400, b'{"name": "validation_error", "message": "API key is invalid"}'), ("retry", None)),
        (Reply(409, b'{"name": "concurrent_idempotent_requests"}'), ("retry", 1.0)),
        (Reply(409, b'{"name": "invalid_idempotent_request"}'), ("refused", None)),
        (Reply(422, b'{"name": "invalid_from_address", "message": "Invalid `from`"}'), ("refused", None)),
        (
            Reply(422, b'{"name": "validation_error", "message": "Invalid `to` field."}'),
            ("dead_address", None),
        ),
        (Reply(200, b"{}"), ("unknown", None)),
        (Reply(200, b"no JSON"), ("unknown", None)),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Reply) else value[0],
)
async def test_what_each_answer_means(
    fake: FakeResend, reply: Reply, expected: tuple[str, float | None]
) -> None:
    fake.next_replies = [reply]
    async with sender_to(fake) as sender:
        [outcome] = await sender.deliver([a_mail(1)])
    assert (outcome.verdict, outcome.retry_after_s) == expected
    assert outcome.error_code
    assert API_KEY not in repr(outcome)


async def test_a_wrong_key_is_asked_about_once(fake: FakeResend) -> None:
    """Resend says 400 of what does not look like a key: no mail of the batch is at fault."""
    fake.next_replies = [Reply(400, b'{"name": "validation_error", "message": "API key is invalid"}')]
    async with sender_to(fake) as sender:
        outcomes = await sender.deliver([a_mail(number) for number in range(100)])
    assert {outcome.verdict for outcome in outcomes} == {"retry"}
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"data": [{"id": "a"}]}',
        b'{"data": [{"id": "a"}], "errors": [{"index": 9, "message": "?"}]}',
        b'{"data": [{}, {}]}',
        b'{"data": "x"}',
    ],
)
async def test_a_provider_that_lies_about_a_batch_leaves_it_unknown(fake: FakeResend, body: bytes) -> None:
    fake.next_replies = [Reply(200, body)]
    async with sender_to(fake) as sender:
        assert verdicts(await sender.deliver([a_mail(1), a_mail(2)])) == ["unknown"] * 2


async def test_patience_that_was_asked_for_is_kept(fake: FakeResend) -> None:
    fake.next_replies = [Reply(429, b'{"name": "rate_limit_exceeded"}', {"retry-after": "60"})]
    async with sender_to(fake) as sender:
        await sender.deliver([a_mail(1)])
        [outcome] = await sender.deliver([a_mail(2)])
    assert (outcome.verdict, outcome.error_code) == ("retry", "provider_paused")
    assert outcome.retry_after_s is not None
    assert 50 < outcome.retry_after_s <= 60
    assert len(fake.requests) == 1


async def test_nobody_listens() -> None:
    fake = FakeResend()
    with small_server(fake.answer) as fake.url:
        pass
    async with sender_to(fake) as sender:
        assert verdicts(await sender.deliver([a_mail(1), a_mail(2)])) == ["retry"] * 2
