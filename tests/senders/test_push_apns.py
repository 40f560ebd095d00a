"""Apple's push service: what is sent, and what becomes of every answer."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import h2.errors
import orjson
import pytest

from basalt.config import ApnsSettings
from basalt.senders import Delivery, Outcome
from basalt.senders.apns import ApnsSender, ProviderTokens, read_answer, read_outcome
from basalt.senders.http2_protocol import Answered
from tests.fakes.apns import KEY_ID, TEAM_ID, TOPIC, FakeApns
from tests.fakes.http2_server import Answer, Cut, GoAway, Http2Server, Reset, http2_server
from tests.fakes.small_server import Received

pytestmark = pytest.mark.req("P13", "M4")

DEVICE = "ab" * 32


@dataclass
class Apns:
    fake: FakeApns
    server: Http2Server
    sender: ApnsSender

    async def send(self, *devices: str, **fields: Any) -> list[Outcome]:
        return [*await self.sender.deliver([message_to(device, **fields) for device in devices])]


def message_to(device: str, **fields: Any) -> Delivery:
    return Delivery(
        **{"key": f"event.{device}", "address": device, "subject": "New gig", "body": "Near you", **fields}
    )


@pytest.fixture
async def apns() -> AsyncIterator[Apns]:
    fake = FakeApns()
    async with http2_server(fake.answer) as server:
        settings = ApnsSettings(
            key=fake.pem(), key_id=KEY_ID, team_id=TEAM_ID, topic=TOPIC, api_url=server.url
        )
        sender = ApnsSender(settings, is_sandbox=True)
        yield Apns(fake, server, sender)
        await sender.close()


async def test_a_batch_is_accepted_with_one_provider_token(apns: Apns) -> None:
    devices = [f"{n:064x}" for n in range(300)]
    outcomes = await apns.send(*devices)
    assert {outcome.verdict for outcome in outcomes} == {"accepted"}
    assert sorted(taken.device for taken in apns.fake.taken) == devices
    assert len(apns.fake.tokens) == 1
    ids = {taken.device: taken.headers["apns-id"] for taken in apns.fake.taken}
    assert [outcome.message_id.lower() for outcome in outcomes] == [ids[device] for device in devices]


async def test_a_message_says_what_the_delivery_does(apns: Apns) -> None:
    now = time.time()
    await apns.send(DEVICE.upper())
    await apns.send(
        DEVICE,
        key="0b9d7f2c-6f6e-4a0e-9d6b-0d2f0c7c4f11",
        data={"gig": 7, "aps": "not yours"},
        ttl_s=3600.0,
        is_urgent=True,
        collapse_key="gigs",
        badge=0,
    )
    await apns.send(DEVICE, ttl_s=0.4)
    plain, rich, passing = apns.fake.taken
    assert plain.device == DEVICE
    assert plain.payload == {"aps": {"alert": {"title": "New gig", "body": "Near you"}, "sound": "default"}}
    assert plain.headers["apns-priority"] == "5"
    assert plain.headers["apns-push-type"] == "alert"
    assert "apns-expiration" not in plain.headers
    assert rich.payload["gig"] == 7
    assert rich.payload["aps"]["badge"] == 0
    assert rich.headers["apns-id"] == "0b9d7f2c-6f6e-4a0e-9d6b-0d2f0c7c4f11"
    assert rich.headers["apns-priority"] == "10"
    assert rich.headers["apns-collapse-id"] == "gigs"
    assert 3598 <= int(rich.headers["apns-expiration"]) - now <= 3602
    assert passing.headers["apns-expiration"] == "0"  # now or never


async def test_the_id_is_the_same_for_every_attempt(apns: Apns) -> None:
    await apns.send(DEVICE)
    await apns.send(DEVICE)
    first, second = (taken.headers["apns-id"] for taken in apns.fake.taken)
    assert first == second == str(UUID(first))


@pytest.mark.req("M7")
async def test_each_message_says_which_request_it_comes_of(apns: Apns) -> None:
    await apns.sender.deliver([message_to(DEVICE, request_id=f"request-{n}") for n in range(3)])
    await apns.send(DEVICE)
    told = [taken.headers.get("x-request-id") for taken in apns.fake.taken]
    assert told == ["request-0", "request-1", "request-2", None]


async def test_a_collapse_key_that_no_header_can_hold_costs_nobody_anything(apns: Apns) -> None:
    keys = (" gigs", "gigs ", "Müller", "two\nlines", "x" * 65, "gigs and more")
    outcomes = await apns.sender.deliver([message_to(DEVICE, collapse_key=key) for key in keys])
    assert {outcome.verdict for outcome in outcomes} == {"accepted"}
    assert len({taken.headers["apns-collapse-id"] for taken in apns.fake.taken}) == len(keys)
    assert apns.server.connections == 1


async def test_a_batch_with_many_dead_devices_reaches_the_others(apns: Apns) -> None:
    """APNs takes one message at a time after each that it does not like, and refuses those that were on their way."""
    dead = {f"{n:064x}" for n in range(0, 60, 3)}
    apns.fake.unregistered = dead
    refused: dict[str, int] = {}

    def answer(received: Received) -> Answer:
        refused[received.path] = refused.get(received.path, 0) + 1
        is_refused = refused[received.path] <= int(received.path[-1], 16) % 5
        return Reset(h2.errors.ErrorCodes.REFUSED_STREAM) if is_refused else apns.fake.answer(received)

    apns.server.answer = answer
    devices = [f"{n:064x}" for n in range(60)]
    outcomes = dict(zip(devices, await apns.send(*devices), strict=True))
    assert {device for device, outcome in outcomes.items() if outcome.verdict == "dead_address"} == dead
    assert {outcome.verdict for outcome in outcomes.values()} == {"dead_address", "accepted"}
    assert len(apns.fake.taken) == 40


async def test_each_device_has_its_own_outcome(apns: Apns) -> None:
    gone, busy, fine = "00" * 32, "01" * 32, "02" * 32
    apns.fake.unregistered = {gone}
    apns.fake.failures[busy] = [(429, "TooManyRequests")]
    outcomes = await apns.send(gone, busy, fine, "no/../hex", "", "ab")
    assert [(outcome.verdict, outcome.error_code) for outcome in outcomes] == [
        ("dead_address", "Unregistered"),
        ("retry", "TooManyRequests"),
        ("accepted", ""),
        *[("dead_address", "BadDeviceToken")] * 3,
    ]
    assert (await apns.send(fine))[0].verdict == "accepted"  # a busy device holds back nobody else


async def test_an_expired_provider_token_is_renewed_once_it_may_be(
    apns: Apns, monkeypatch: pytest.MonkeyPatch
) -> None:
    await apns.send(DEVICE)
    apns.fake.expired = set(apns.fake.tokens)
    [young] = await apns.send(DEVICE)  # Apple wants none renewed within 20 minutes
    assert (young.verdict, young.error_code) == ("retry", "ExpiredProviderToken")
    later = time.time() + 21 * 60
    monkeypatch.setattr(time, "time", lambda: later)
    assert (await apns.send(DEVICE))[0].verdict == "accepted"
    assert len(apns.fake.tokens) == 2


def test_a_provider_token_is_used_for_most_of_an_hour() -> None:
    tokens = ProviderTokens(FakeApns().pem(), key_id=KEY_ID, team_id=TEAM_ID)
    now = time.time()
    first = tokens.current(now)
    assert tokens.current(now + 39 * 60) == first
    assert tokens.current(now + 41 * 60) != first
    assert tokens.renew("another", now + 42 * 60) == tokens.current(now + 42 * 60)


@pytest.mark.parametrize(
    ("status", "reason", "verdict", "reading"),
    [
        (400, "BadDeviceToken", "dead_address", "served"),
        (410, "Unregistered", "dead_address", "served"),
        (410, "ExpiredToken", "dead_address", "served"),
        (400, "DeviceTokenNotForTopic", "dead_address", "served"),
        (413, "PayloadTooLarge", "refused", "served"),
        (400, "BadCollapseId", "refused", "served"),
        (429, "TooManyRequests", "retry", "served"),
        (429, "TooManyProviderTokenUpdates", "retry", "throttled"),
        (403, "InvalidProviderToken", "retry", "failed"),
        (403, "ExpiredProviderToken", "retry", "failed"),
        (400, "TopicDisallowed", "retry", "failed"),
        (400, "IdleTimeout", "retry", "served"),
        (500, "InternalServerError", "retry", "failed"),
        (503, "ServiceUnavailable", "retry", "failed"),
        (503, "Shutdown", "retry", "failed"),
        (418, "", "refused", "served"),
        (404, "", "retry", "failed"),
        (302, "", "retry", "failed"),
        (403, "", "retry", "failed"),
    ],
)
def test_what_follows_from_an_answer(status: int, reason: str, verdict: str, reading: str) -> None:
    body = orjson.dumps({"reason": reason}) if reason else b"<html>"
    answer = Answered(1, status, {b"retry-after": b"17"}, body)
    outcome = read_outcome(answer)
    assert (outcome.verdict, outcome.error_code) == (verdict, reason or f"http_{status}")
    assert outcome.retry_after_s == (17 if verdict == "retry" else None)
    assert read_answer(answer)[0] == reading


def test_a_success_that_is_not_apples_is_none() -> None:
    assert read_outcome(Answered(1, 200, {}, b"<html>")).verdict == "unknown"
    assert read_outcome(Answered(1, 200, {b"apns-id": b"A-1"}, b"")) == Outcome("accepted", message_id="A-1")


async def test_a_shutdown_moves_the_messages_and_a_cut_leaves_them_in_doubt(apns: Apns) -> None:
    apns.fake.provider_failures = [GoAway()]
    assert (await apns.send(DEVICE))[0].verdict == "accepted"
    assert apns.server.connections == 2
    apns.fake.provider_failures = [Cut()]
    assert await apns.send(DEVICE) == [Outcome("unknown", error_code="connection_lost")]


async def test_a_wrong_key_makes_messages_wait_for_the_operator(apns: Apns) -> None:
    settings = ApnsSettings(
        key=FakeApns().pem(), key_id=KEY_ID, team_id=TEAM_ID, topic=TOPIC, api_url=apns.server.url
    )
    sender = ApnsSender(settings, is_sandbox=True)
    [outcome] = await sender.deliver([message_to(DEVICE)])
    await sender.close()
    assert (outcome.verdict, outcome.error_code) == ("retry", "InvalidProviderToken")


@pytest.mark.req("M8")
def test_sandbox_and_production_are_apart(apns_settings: ApnsSettings) -> None:
    hosts = {
        is_sandbox: ApnsSender(apns_settings, is_sandbox=is_sandbox)._pseudo[2][1]
        for is_sandbox in (True, False)
    }
    assert hosts == {True: b"api.sandbox.push.apple.com", False: b"api.push.apple.com"}


@pytest.mark.req("M8")
def test_a_key_that_is_none_is_named_without_it(apns_settings: ApnsSettings) -> None:
    with pytest.raises(ValueError, match="no token signing key") as caught:
        ApnsSender(replace(apns_settings, key="-----BEGIN secret"), is_sandbox=True)
    assert "secret" not in str(caught.value)
    assert "PRIVATE" not in repr(apns_settings)


@pytest.fixture
def apns_settings() -> ApnsSettings:
    return ApnsSettings(key=FakeApns().pem(), key_id=KEY_ID, team_id=TEAM_ID, topic=TOPIC)
