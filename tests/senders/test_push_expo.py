"""Expo: batches, tickets, receipts."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from basalt.config import ExpoSettings
from basalt.http import OutgoingClient
from basalt.senders import Delivery, Outcome
from basalt.senders.expo import ExpoSender
from tests.fakes.expo import ACCESS_TOKEN, FakeExpo
from tests.fakes.small_server import Reply, small_server

pytestmark = pytest.mark.req("P13", "M4")

NOW = datetime(2026, 11, 26, tzinfo=UTC)


@dataclass
class Expo:
    fake: FakeExpo
    sender: ExpoSender

    async def send(self, *devices: str, **fields: Any) -> list[Outcome]:
        deliveries = [
            Delivery(key=f"event.{device}", address=token_of(device), subject="New", body="Gig", **fields)
            for device in devices
        ]
        return [*await self.sender.deliver(deliveries)]


def token_of(device: str, project: str = "app") -> str:
    return device if "[" in device or " " in device else f"ExponentPushToken[{project}:{device}]"


@pytest.fixture
async def expo() -> AsyncIterator[Expo]:
    fake = FakeExpo()
    with small_server(fake.answer) as url:
        settings = ExpoSettings(enabled=True, access_token=ACCESS_TOKEN, api_url=url, rate_per_s=0)
        sender = ExpoSender(settings, OutgoingClient())
        yield Expo(fake, sender)
        await sender.close()


async def test_a_hundred_messages_go_in_one_request(expo: Expo) -> None:
    outcomes = await expo.send(*(f"device{n}" for n in range(250)))
    assert {outcome.verdict for outcome in outcomes} == {"accepted"}
    assert sorted(len(request) for request in expo.fake.requests) == [50, 100, 100]
    assert [expo.fake.taken[outcome.message_id]["to"] for outcome in outcomes] == [
        token_of(f"device{n}") for n in range(250)
    ]


async def test_a_message_says_what_the_delivery_does(expo: Expo) -> None:
    await expo.send("one", data={"gig": 7}, ttl_s=60.5, is_urgent=True, badge=2)
    [[message]] = expo.fake.requests
    assert message == {
        "to": token_of("one"),
        "title": "New",
        "body": "Gig",
        "sound": "default",
        "priority": "high",
        "data": {"gig": 7},
        "ttl": 60,
        "badge": 2,
    }


async def test_each_ticket_is_an_outcome(expo: Expo) -> None:
    expo.fake.tickets = {
        "busy": "MessageRateExceeded",
        "big": "MessageTooBig",
        "wrong": "InvalidCredentials",
    }
    outcomes = await expo.send("fine", "dead1", "busy", "big", "wrong", "no token at all")
    assert [(outcome.verdict, outcome.error_code) for outcome in outcomes] == [
        ("accepted", ""),
        ("dead_address", "DeviceNotRegistered"),
        ("retry", "MessageRateExceeded"),
        ("refused", "MessageTooBig"),
        ("retry", "InvalidCredentials"),
        ("dead_address", "invalid_token"),
    ]


async def test_one_message_that_spoils_a_request_costs_the_others_nothing(expo: Expo) -> None:
    devices = [f"device{n}" for n in range(40)]
    devices[17] = "poison"
    outcomes = await expo.send(*devices)
    assert outcomes.pop(17).verdict == "refused"
    assert {outcome.verdict for outcome in outcomes} == {"accepted"}
    assert len(expo.fake.taken) == 39
    assert len(expo.fake.requests) < 15


async def test_tokens_of_several_projects_go_apart(expo: Expo) -> None:
    devices = [token_of(f"device{n}", f"app{n % 3}") for n in range(9)]
    outcomes = await expo.send(*devices)
    assert {outcome.verdict for outcome in outcomes} == {"accepted"}
    assert [len(request) for request in expo.fake.requests] == [9, 3, 3, 3]


@pytest.mark.parametrize(
    ("reply", "verdict", "code"),
    [
        (Reply(429, b'{"errors": [{"code": "TOO_MANY_REQUESTS", "message": "slow"}]}', {"retry-after": "7"}),
         "retry", "TOO_MANY_REQUESTS"),
        (Reply(503, b"<html>"), "retry", "http_503"),
        (Reply(401, b"{}"), "retry", "http_401"),
        (Reply(404, b"{}"), "retry", "http_404"),
        (Reply(200, b'{"data": [{"status": "ok"}]}'), "unknown", "unexpected_answer"),
        (Reply(200, b"[]"), "unknown", "unexpected_answer"),
        (Reply(200, b'{"data": [7, {"status": "ok", "id": "t"}]}'), "unknown", "unexpected_answer"),
        (Reply(200, b'{"data": [{"status": "ok", "id": null}, {"status": "ok", "id": "t"}]}'),
         "unknown", "unexpected_answer"),
        (Reply(200, is_cut=True), "unknown", "unreachable"),
    ],
)  # fmt: skip
async def test_an_answer_to_the_whole_request(expo: Expo, reply: Reply, verdict: str, code: str) -> None:
    expo.fake.next_replies = [reply]
    first, _ = await expo.send("one", "two")
    assert (first.verdict, first.error_code) == (verdict, code)
    assert first.retry_after_s == (7 if reply.status == 429 else None)


async def test_receipts_say_what_became_of_accepted_messages(expo: Expo) -> None:
    expo.fake.receipts = {"gone": "DeviceNotRegistered", "busy": "MessageRateExceeded", "early": None}
    tickets = [outcome.message_id for outcome in await expo.send("fine", "gone", "busy", "early")]
    reports = await expo.sender.fetch_receipts([*tickets, "ticket-unknown"], now=NOW)
    assert [
        (report.message_id, report.status, report.error_code, report.is_permanent) for report in reports
    ] == [
        (tickets[0], "delivered", "", False),
        (tickets[1], "bounced", "DeviceNotRegistered", True),
        (tickets[2], "failed", "MessageRateExceeded", False),
    ]
    assert len({report.id for report in reports}) == 3
    assert {report.at for report in reports} == {NOW}


async def test_receipts_are_asked_for_a_thousand_at_a_time(expo: Expo) -> None:
    reports = await expo.sender.fetch_receipts([f"ticket-{n}-{n}" for n in range(2500)], now=NOW)
    assert reports == []
    assert [len(ids) for ids in expo.fake.asked_receipts] == [1000, 1000, 500]


@pytest.mark.parametrize("reply", [Reply(500), Reply(200, b"odd"), Reply(200, b'{"data": {"a": 7}}')])
async def test_without_receipts_nothing_is_reported(expo: Expo, reply: Reply) -> None:
    expo.fake.next_replies = [reply]
    assert await expo.sender.fetch_receipts(["a"], now=NOW) == []
