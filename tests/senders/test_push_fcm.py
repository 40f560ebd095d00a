"""Firebase Cloud Messaging: what is sent, and what becomes of every answer."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import h2.errors
import orjson
import pytest

from basalt.config import FcmSettings, OtlpSettings
from basalt.http import OutgoingClient
from basalt.observe.traces import start_traces, stop_traces
from basalt.senders import Delivery, Outcome
from basalt.senders import fcm as fcm_module
from basalt.senders.fcm import FcmSender, read_answer, read_outcome
from basalt.senders.google_token import parse_service_account
from basalt.senders.http2_protocol import Answered
from tests.fakes.apns import FakeApns
from tests.fakes.collector import collector
from tests.fakes.fcm import FakeFcm
from tests.fakes.http2_server import Answer, Cut, Drip, GoAway, Http2Server, Reset, Silence, http2_server
from tests.fakes.small_server import Received, Reply, small_server

pytestmark = pytest.mark.req("P13", "M4")


@dataclass
class Fcm:
    fake: FakeFcm
    server: Http2Server
    sender: FcmSender

    async def send(self, *devices: str, **fields: Any) -> list[Outcome]:
        deliveries = [message_to(device, **fields) for device in devices]
        return [*await self.sender.deliver(deliveries)]


def message_to(device: str, **fields: Any) -> Delivery:
    return Delivery(key=f"event.{device}", address=device, subject="New gig", body="Near you", **fields)


@asynccontextmanager
async def serving_fcm(**settings: Any) -> AsyncIterator[Fcm]:
    fake = FakeFcm()
    with small_server(fake.grant) as fake.url:
        async with http2_server(fake.answer) as server:
            account = fake.service_account()
            section = FcmSettings(
                service_account=account, api_url=server.url, **{"connections": 2, **settings}
            )
            sender = FcmSender(section, OutgoingClient())
            yield Fcm(fake, server, sender)
            await sender.close()


@pytest.fixture
async def fcm() -> AsyncIterator[Fcm]:
    async with serving_fcm() as found:
        yield found


async def test_a_batch_is_accepted_by_one_token_over_few_connections(fcm: Fcm) -> None:
    outcomes = await fcm.send(*(f"device-{n}" for n in range(500)))
    assert {outcome.verdict for outcome in outcomes} == {"accepted"}
    assert all(outcome.message_id.startswith("projects/gigwork-test/messages/") for outcome in outcomes)
    assert {message["token"] for message in fcm.fake.sent} == {f"device-{n}" for n in range(500)}
    assert fcm.fake.grants == 1
    assert fcm.server.connections == 2


async def test_a_message_says_what_the_delivery_does(fcm: Fcm) -> None:
    await fcm.send("plain")
    await fcm.send(
        "rich",
        data={"gig": 7, "place": {"x": 1}, "name": "Müller"},
        ttl_s=3600.9,
        is_urgent=True,
        collapse_key="gigs",
        badge=3,
    )
    plain, rich = fcm.fake.sent
    assert plain == {
        "token": "plain",
        "notification": {"title": "New gig", "body": "Near you"},
        "android": {"priority": "NORMAL", "notification": {"tag": "event.plain"}},
        "apns": {"headers": {"apns-priority": "5", "apns-collapse-id": "event.plain"}},
        "webpush": {"headers": {"Urgency": "normal"}, "notification": {"tag": "event.plain"}},
    }
    assert rich["data"] == {"gig": "7", "place": '{"x":1}', "name": "Müller"}
    assert rich["android"] == {
        "priority": "HIGH",
        "ttl": "3600s",
        "collapse_key": "gigs",
        "notification": {"tag": "gigs", "notification_count": 3},
    }
    until = int(rich["apns"]["headers"].pop("apns-expiration"))
    assert 3598 <= until - time.time() <= 3601
    assert rich["apns"] == {
        "headers": {"apns-priority": "10", "apns-collapse-id": "gigs"},
        "payload": {"aps": {"badge": 3}},
    }
    assert rich["webpush"] == {
        "headers": {"Urgency": "high", "TTL": "3600"},
        "notification": {"tag": "gigs"},
    }


async def test_what_is_over_is_delivered_now_or_never(fcm: Fcm) -> None:
    await fcm.send("one", ttl_s=0.5)
    [message] = fcm.fake.sent
    assert message["android"]["ttl"] == "0s"
    assert message["webpush"]["headers"]["TTL"] == message["apns"]["headers"]["apns-expiration"] == "0"


@pytest.mark.req("M7", "P17")
async def test_a_message_says_which_request_and_trace_it_belongs_to(fcm: Fcm) -> None:
    await fcm.send("token")
    heard: dict[str, tuple[str | None, str | None]] = {}

    def answer(request: Received) -> Answer:
        device = orjson.loads(request.body)["message"]["token"]
        heard[device] = request.headers.get("x-request-id"), request.headers.get("traceparent")
        return fcm.fake.answer(request)

    fcm.server.answer = answer
    fcm.fake.failures["cut"] = [Cut()]
    with collector() as fake:
        start_traces(replace(OtlpSettings(), endpoint=fake.url), project_id="shop")
        try:
            await fcm.sender.deliver(
                [message_to(device, request_id=f"of-{device}") for device in ("one", "two")]
            )
            await fcm.send("cut")
        finally:
            await asyncio.to_thread(stop_traces, within_s=5)
    await fcm.send("untraced")
    both, cut = sorted(fake.spans, key=lambda span: span.is_error)
    assert (both.name, both.kind, both.attributes["messaging.batch.message_count"]) == ("POST", 3, 2)
    assert both.attributes["server.address"] == "127.0.0.1"
    assert cut.is_error
    assert [heard[device][0] for device in ("one", "two", "cut")] == ["of-one", "of-two", None]
    parents = [(heard[device][1] or "")[:52] for device in ("one", "two", "cut")]
    assert parents == [f"00-{span.trace}-{span.id}" for span in (both, both, cut)]
    assert heard["untraced"] == (None, None)


async def test_each_device_has_its_own_outcome(fcm: Fcm) -> None:
    fcm.fake.failures["busy"] = [(503, "UNAVAILABLE")]
    outcomes = await fcm.send("one", "dead", "bad", "busy", "two")
    assert [outcome.verdict for outcome in outcomes] == [
        "accepted",
        "dead_address",
        "dead_address",
        "retry",
        "accepted",
    ]
    assert [outcome.error_code for outcome in outcomes[1:4]] == [
        "UNREGISTERED",
        "INVALID_ARGUMENT",
        "UNAVAILABLE",
    ]


def answered(
    status: int, code: str = "", *, details: Any = None, message: str = "", **headers: str
) -> Answered:
    kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
    error = {
        "code": status,
        "status": code,
        "message": message,
        "details": details or [{"@type": kind, "errorCode": code}],
    }
    pairs = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Answered(1, status, pairs, orjson.dumps({"error": error}))


QUOTA_OF_DEVICE = [
    {"errorCode": "QUOTA_EXCEEDED"},
    {"violations": [{"subject": "device:x", "description": "Message rate exceeded for device"}]},
]
WRONG_FIELD = [{"fieldViolations": [{"field": "message.data[0].value"}]}, {"errorCode": "INVALID_ARGUMENT"}]
WRONG_TOKEN = [{"fieldViolations": [{"field": "message.token"}]}, {"errorCode": "INVALID_ARGUMENT"}]


@pytest.mark.parametrize(
    ("answer", "verdict", "code", "reading"),
    [
        (answered(404, "UNREGISTERED"), "dead_address", "UNREGISTERED", "served"),
        (answered(403, "SENDER_ID_MISMATCH"), "dead_address", "SENDER_ID_MISMATCH", "served"),
        (
            answered(400, "INVALID_ARGUMENT", details=WRONG_TOKEN),
            "dead_address",
            "INVALID_ARGUMENT",
            "served",
        ),
        (answered(400, "INVALID_ARGUMENT", details=WRONG_FIELD), "refused", "INVALID_ARGUMENT", "served"),
        (answered(400, "INVALID_ARGUMENT"), "refused", "INVALID_ARGUMENT", "served"),
        (answered(404, "NOT_FOUND", details=[{}]), "refused", "NOT_FOUND", "served"),
        (answered(429, "QUOTA_EXCEEDED", retry_after="30"), "retry", "QUOTA_EXCEEDED", "throttled"),
        (answered(429, "QUOTA_EXCEEDED", details=QUOTA_OF_DEVICE), "retry", "QUOTA_EXCEEDED", "served"),
        (answered(503, "UNAVAILABLE"), "retry", "UNAVAILABLE", "failed"),
        (answered(500, "INTERNAL"), "retry", "INTERNAL", "failed"),
        (answered(401, "THIRD_PARTY_AUTH_ERROR"), "retry", "THIRD_PARTY_AUTH_ERROR", "served"),
        (answered(401, "UNAUTHENTICATED", details=[{}]), "retry", "UNAUTHENTICATED", "failed"),
        (answered(403, "PERMISSION_DENIED", details=[{}]), "retry", "PERMISSION_DENIED", "failed"),
        (Answered(1, 502, {}, b"<html>"), "retry", "http_502", "failed"),
        (Answered(1, 400, {}, b'{"error": ["odd"]}'), "refused", "http_400", "served"),
        (Answered(1, 400, {}, b'{"error": {"status": 1, "details": {"x": 1}}}'), "refused", "1", "served"),
        (Answered(1, 200, {}, b"no json"), "unknown", "unexpected_answer", "served"),
        (Answered(1, 200, {}, b"[]"), "unknown", "unexpected_answer", "served"),
        (Answered(1, 200, {}, b'{"name": 5}'), "unknown", "unexpected_answer", "served"),
        (Answered(1, 200, {}, b'{"name": {"a": 1}}'), "unknown", "unexpected_answer", "served"),
        (Answered(1, 204, {}, b""), "unknown", "unexpected_answer", "served"),
        (Answered(1, 404, {}, b"<html>"), "retry", "http_404", "failed"),
        (Answered(1, 302, {b"location": b"http://10.0.0.1"}, b""), "retry", "http_302", "failed"),
        (Answered(1, 504, {}, b"<html>"), "unknown", "http_504", "failed"),
    ],
)
def test_what_follows_from_an_answer(answer: Answered, verdict: str, code: str, reading: str) -> None:
    outcome = read_outcome(answer)
    assert (outcome.verdict, outcome.error_code) == (verdict, code)
    assert read_answer(answer)[0] == reading
    if b"retry-after" in answer.headers:
        assert outcome.retry_after_s == read_answer(answer)[1] == 30


def test_no_message_waits_longer_than_its_provider_is_left_in_peace() -> None:
    assert read_outcome(answered(429, "QUOTA_EXCEEDED", retry_after="999999999")).retry_after_s == 3600


async def test_a_quota_holds_back_the_whole_project(fcm: Fcm) -> None:
    fcm.fake.failures["one"] = [answer_of(429, "QUOTA_EXCEEDED", {"retry-after": "30"})]
    [first] = await fcm.send("one")
    assert (first.verdict, first.retry_after_s) == ("retry", 30)
    held = await fcm.send("two", "three")
    assert {outcome.error_code for outcome in held} == {"provider_paused"}
    assert all(29 < (outcome.retry_after_s or 0) <= 30 for outcome in held)
    assert fcm.fake.sent == []


def answer_of(status: int, code: str, headers: dict[str, str]) -> Reply:
    return Reply(status, answered(status, code).body, headers)


async def test_an_access_token_that_has_expired_is_renewed_at_once(fcm: Fcm) -> None:
    await fcm.send("one")
    fcm.fake.expired = {"ya29.1"}
    outcomes = await fcm.send("two", "three")
    assert [outcome.verdict for outcome in outcomes] == ["accepted", "accepted"]
    assert fcm.fake.grants == 2


async def test_one_request_at_a_time_asks_for_a_token_and_before_it_expires() -> None:
    async with serving_fcm() as fcm:
        await asyncio.gather(*(fcm.send(f"device-{n}") for n in range(20)))
        assert fcm.fake.grants == 1
        fcm.fake.lasts_s = 200  # less than the time before its end at which a token is renewed
        fcm.fake.expired = {"ya29.1"}
        await fcm.send("renewed")
        await fcm.send("again")
        assert fcm.fake.grants == 3


async def test_what_was_accepted_stays_so_when_no_new_token_is_had_for_the_rest(fcm: Fcm) -> None:
    fcm.fake.failures["late"] = [(401, "UNAUTHENTICATED")]
    await fcm.send("zero")
    fcm.fake.grant_failures = [Reply(500)]
    outcomes = await fcm.send("one", "late", "dead")
    assert [outcome.verdict for outcome in outcomes] == ["accepted", "retry", "dead_address"]
    assert [message["token"] for message in fcm.fake.sent] == ["zero", "one"]


async def test_while_a_token_is_renewed_messages_go_with_the_old_one() -> None:
    async with serving_fcm() as fcm:
        fcm.fake.lasts_s = 200  # less than the time before its end at which it is renewed
        await fcm.send("one")
        fcm.fake.grant_failures = [Reply(500, pause_s=1)]
        renewing = asyncio.create_task(fcm.send("two"))
        while not fcm.sender._tokens._renewing.locked():
            await asyncio.sleep(0)
        [outcome] = await fcm.send("three")
        assert outcome.verdict == "accepted"
        assert not renewing.done()
        assert (await renewing)[0].verdict == "accepted"  # Google's failure matters when the token is over


async def test_without_a_token_messages_wait(fcm: Fcm, capsys: pytest.CaptureFixture[str]) -> None:
    fcm.fake.grant_failures = [Reply(400, b'{"error": "invalid_grant"}')]
    outcomes = await fcm.send("one", "two")
    assert outcomes == [Outcome("retry", error_code="no_access_token")] * 2
    assert await fcm.send("three") == [
        Outcome("retry", error_code="no_access_token")
    ]  # Google is left in peace
    assert fcm.fake.grants == 0
    assert capsys.readouterr().err.count("invalid_grant") == 1


async def test_what_may_have_arrived_is_told_from_what_has_not(fcm: Fcm) -> None:
    fcm.fake.failures |= {
        "refused": [Reset(h2.errors.ErrorCodes.REFUSED_STREAM)],
        "reset": [Reset(h2.errors.ErrorCodes.INTERNAL_ERROR)],
        "goodbye": [GoAway()],
        "slow": [Drip(Reply(200, b'{"name": "projects/gigwork-test/messages/slow"}'))],
    }
    outcomes = {
        device: (await fcm.send(device))[0] for device in ("refused", "reset", "goodbye", "slow", "fine")
    }
    assert {device: outcome.verdict for device, outcome in outcomes.items()} == {
        "refused": "accepted",
        "reset": "unknown",
        "goodbye": "accepted",
        "slow": "accepted",
        "fine": "accepted",
    }
    assert [message["token"] for message in fcm.fake.sent] == ["refused", "goodbye", "fine"]
    fcm.fake.failures["cut"] = [Cut()]
    assert await fcm.send("cut") == [Outcome("unknown", error_code="connection_lost")]


async def test_an_answer_that_never_comes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcm_module, "TIMEOUT_S", 0.3)
    async with serving_fcm() as fcm:
        fcm.fake.failures["silent"] = [Silence()]
        outcomes = await fcm.send("one", "silent", "two")
    assert [outcome.verdict for outcome in outcomes] == ["accepted", "unknown", "accepted"]


async def test_a_provider_that_is_down_costs_one_message_at_a_time() -> None:
    async with serving_fcm() as fcm:
        fcm.fake.failures = {f"device-{n}": [(503, "UNAVAILABLE")] for n in range(200)}
        await fcm.send(*(f"device-{n}" for n in range(20)))
        outcomes = await fcm.send(*(f"device-{n}" for n in range(20, 40)))
    assert {outcome.error_code for outcome in outcomes} == {"circuit_open"}
    assert all(0 < (outcome.retry_after_s or 0) <= 1 for outcome in outcomes)


async def test_the_rate_is_kept() -> None:
    async with serving_fcm(rate_per_s=50.0) as fcm:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await fcm.send(*(f"device-{n}" for n in range(21)))
        assert loop.time() - started >= 0.4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "not json",
        '{"project_id": "p", "client_email": "e", "private_key": 7}',
        '{"project_id": "p", "client_email": "e", "private_key": "-----BEGIN secret"}',
        orjson.dumps({"project_id": "p", "client_email": "e", "private_key": FakeApns().pem()}).decode(),
    ],
    ids=count(),
)
def test_a_service_account_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no service account key") as caught:
        parse_service_account(text)
    assert "secret" not in str(caught.value)


@pytest.mark.req("M8")
async def test_credentials_stand_in_no_message(fcm: Fcm, capsys: pytest.CaptureFixture[str]) -> None:
    account = parse_service_account(fcm.fake.service_account())
    assert "PRIVATE KEY" not in repr(account)
    pem = orjson.loads(fcm.fake.service_account())["private_key"]
    fcm.fake.grant_failures = [Reply(500, pem.encode())]
    outcomes = await fcm.send("one")
    assert {outcome.error_code for outcome in outcomes} == {"no_access_token"}
    captured = capsys.readouterr()
    assert "PRIVATE KEY" not in f"{outcomes}{captured.err}{captured.out}"


@pytest.mark.req("M9")
async def test_a_provider_that_throttles_a_thousand_messages_gets_each_once_and_is_left_in_peace() -> None:
    """As the engine does it: what is to be tried later is, at the time that it was given."""
    async with serving_fcm() as fcm:
        loop = asyncio.get_running_loop()
        asked_at: list[float] = []
        pauses: list[float] = []

        def answer(request: Received) -> Answer:
            asked_at.append(loop.time())
            if len(asked_at) in (100, 600):
                pauses.append(loop.time())
                return answer_of(429, "QUOTA_EXCEEDED", {"retry-after": "1"})
            return fcm.fake.answer(request)

        fcm.server.answer = answer
        due = [f"device-{n}" for n in range(1000)]
        rounds = 0
        while due:
            outcomes = dict(zip(due, await fcm.send(*due), strict=True))
            due = [device for device, outcome in outcomes.items() if outcome.verdict == "retry"]
            rounds += 1
            if due:
                await asyncio.sleep(max(outcomes[device].retry_after_s or 0 for device in due))
    devices = [message["token"] for message in fcm.fake.sent]
    assert sorted(devices) == sorted(f"device-{n}" for n in range(1000))
    assert rounds <= 4
    for pause in pauses:  # what was on its way already may still come
        assert not [at for at in asked_at if pause + 0.5 < at < pause + 0.95]


async def test_a_batch_that_is_given_up_gives_back_its_places() -> None:
    async with serving_fcm(rate_per_s=2.0, connections=1, streams=1) as fcm:
        await fcm.send("one")
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await fcm.send("two")
        await asyncio.sleep(1.5)
        [outcome] = await fcm.send("three")
        assert outcome.verdict in ("accepted", "retry")  # and does not wait for ever
