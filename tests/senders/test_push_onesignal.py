"""OneSignal: groups of equal messages, keys that make a second request harmless."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from basalt.config import OneSignalSettings
from basalt.http import OutgoingAnswer, OutgoingClient
from basalt.senders import Delivery, Outcome
from basalt.senders.onesignal import OneSignalSender, read_answer
from tests.fakes.onesignal import API_KEY, APP_ID, FakeOneSignal
from tests.fakes.small_server import Reply, small_server

pytestmark = pytest.mark.req("P13", "M4")


@dataclass
class OneSignal:
    fake: FakeOneSignal
    sender: OneSignalSender

    async def send(self, *addresses: str, **fields: Any) -> list[Outcome]:
        deliveries = [message_to(address, **fields) for address in addresses]
        return [*await self.sender.deliver(deliveries)]


def message_to(address: str, **fields: Any) -> Delivery:
    return Delivery(**{"key": f"event.{address}", "address": address, "body": "Gig", **fields})


@pytest.fixture
async def onesignal() -> AsyncIterator[OneSignal]:
    fake = FakeOneSignal()
    with small_server(fake.answer) as url:
        sender = OneSignalSender(
            OneSignalSettings(app_id=APP_ID, api_key=API_KEY, api_url=url), OutgoingClient()
        )
        yield OneSignal(fake, sender)
        await sender.close()


async def test_equal_messages_go_in_one_request_and_others_in_their_own(onesignal: OneSignal) -> None:
    deliveries = [
        *[message_to(f"sub{n}") for n in range(5)],
        message_to("ana", body="Hello Ana"),
        message_to("external_id:42"),
        message_to("dead1"),
    ]
    outcomes = await onesignal.sender.deliver(deliveries)
    assert [outcome.verdict for outcome in outcomes] == ["accepted"] * 7 + ["dead_address"]
    assert len(onesignal.fake.answers) == 3
    assert {sent["address"]: sent["contents"]["en"] for sent in onesignal.fake.sent} == {
        **{f"sub{n}": "Gig" for n in range(5)},
        "ana": "Hello Ana",
        "42": "Gig",
    }


async def test_messages_that_differ_do_not_wait_for_each_other(onesignal: OneSignal) -> None:
    onesignal.fake.pause_s = 0.2
    started = time.monotonic()
    await onesignal.sender.deliver([message_to(f"sub{n}", body=f"For {n}") for n in range(8)])
    assert time.monotonic() - started < 8 * onesignal.fake.pause_s
    assert len(onesignal.fake.sent) == 8


async def test_a_message_says_what_the_delivery_does(onesignal: OneSignal) -> None:
    await onesignal.send(
        "one", subject="New", data={"gig": 7}, ttl_s=60.5, is_urgent=True, badge=2, collapse_key="gigs"
    )
    [sent] = onesignal.fake.sent
    assert sent["headings"] == {"en": "New"}
    assert (sent["data"], sent["ttl"], sent["priority"]) == ({"gig": 7}, 60, 10)
    assert (sent["ios_badgeType"], sent["ios_badgeCount"], sent["collapse_id"]) == ("SetTo", 2, "gigs")


@pytest.mark.parametrize("reply", [Reply(is_cut=True)])
async def test_a_request_without_an_answer_is_made_again_and_sent_once(
    onesignal: OneSignal, reply: Reply
) -> None:
    onesignal.fake.next_replies = [reply]
    outcomes = await onesignal.send("one", "two")
    assert [outcome.verdict for outcome in outcomes] == ["accepted", "accepted"]
    assert len(onesignal.fake.sent) == 2
    for second in (
        reply,
        Reply(503),
        Reply(429, headers={"retry-after": "0"}),
    ):  # which say nothing of the message
        onesignal.fake.next_replies = [reply, second]
        assert {outcome.verdict for outcome in await onesignal.send("three")} == {"unknown"}
    await onesignal.send("three")  # the engine's next attempt
    assert len(onesignal.fake.sent) == 3


async def test_nobody_is_subscribed(onesignal: OneSignal) -> None:
    outcomes = await onesignal.send("dead1", "dead2")
    assert {(outcome.verdict, outcome.error_code) for outcome in outcomes} == {
        ("dead_address", "not_subscribed")
    }


async def test_a_wrong_key_makes_messages_wait_for_the_operator(onesignal: OneSignal) -> None:
    onesignal.sender._headers = {"authorization": "Key another"}
    [outcome] = await onesignal.send("one")
    assert (outcome.verdict, outcome.error_code) == ("retry", "http_403")
    assert "another" not in str(outcome)


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (429, b'{"errors": ["API rate limit exceeded"]}', "retry"),
        (503, b"<html>", "retry"),
        (400, b'{"errors": ["Message Notifications must have English language content"]}', "refused"),
        (200, b"[]", "unknown"),
        (200, b'{"id": null, "errors": 7}', "unknown"),
        (200, b'{"id": "", "errors": ["All included players are not subscribed"]}', "dead_address"),
        (200, b'{"id": "", "errors": ["Something else"]}', "refused"),
        (200, b'{"id": "x", "errors": {"invalid_player_ids": "odd"}}', "accepted"),
        (200, b'{"id": "x", "errors": {"invalid_player_ids": ["one", {}]}}', "dead_address"),
    ],
)
def test_what_follows_from_an_answer(status: int, body: bytes, verdict: str) -> None:
    [outcome] = read_answer(OutgoingAnswer(status, {"retry-after": "9"}, body), ["one"])
    assert outcome.verdict == verdict
    assert outcome.retry_after_s == (9 if verdict == "retry" else None)
