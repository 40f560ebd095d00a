"""Web Push: sealed for the browser, signed for its push service, and nowhere else."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from basalt.config import WebPushSettings
from basalt.senders import Delivery, Outcome
from basalt.senders.webpush import WebPushSender, load_vapid_key
from tests.fakes.push_service import Browser, FakePushService, encode
from tests.fakes.small_server import Reply, small_server

pytestmark = pytest.mark.req("P13", "M4")

KEY = ec.generate_private_key(ec.SECP256R1())
SECRET = encode(KEY.private_numbers().private_value.to_bytes(32))
PUBLIC = encode(
    KEY.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
)
SETTINGS = WebPushSettings(private_key=SECRET, subject="mailto:ops@gigwork.example", allow_private=True)


@dataclass
class Web:
    fake: FakePushService
    sender: WebPushSender

    async def send(self, *subscriptions: str, **fields: Any) -> list[Outcome]:
        deliveries = [
            Delivery(**{"key": f"event.{n}", "address": address, "subject": "New", "body": "Gig", **fields})
            for n, address in enumerate(subscriptions)
        ]
        return [*await self.sender.deliver(deliveries)]


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    fake = FakePushService(PUBLIC)
    with small_server(fake.answer) as fake.url:
        sender = WebPushSender(SETTINGS)
        yield Web(fake, sender)
        await sender.close()


async def test_a_browser_can_open_what_it_is_sent(web: Web) -> None:
    outcomes = await web.send(
        web.fake.subscribe("one"), data={"gig": 7, "name": "Müller"}, ttl_s=60.5, is_urgent=True, badge=2
    )
    assert outcomes == [Outcome("accepted", message_id=f"{web.fake.url}/message/1")]
    [(_, headers, message)] = web.fake.shown
    assert message == {
        "title": "New",
        "body": "Gig",
        "tag": "event.0",
        "data": {"gig": 7, "name": "Müller"},
        "badge": 2,
    }
    assert (headers["ttl"], headers["urgency"]) == ("60", "high")


async def test_many_browsers_each_with_their_own_key(web: Web) -> None:
    outcomes = await web.send(*(web.fake.subscribe(f"n{n}") for n in range(60)))
    assert {outcome.verdict for outcome in outcomes} == {"accepted"}
    assert len({path for path, _, _ in web.fake.shown}) == 60
    assert len({headers["topic"] for _, headers, _ in web.fake.shown}) == 60


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(404, "dead_address"), (410, "dead_address"), (413, "refused"), (400, "refused"), (403, "refused"),
     (401, "retry"), (429, "retry"), (500, "retry"), (201, "accepted"), (202, "accepted")],
)  # fmt: skip
async def test_what_follows_from_an_answer(web: Web, status: int, verdict: str) -> None:
    web.fake.next_replies = [Reply(status, headers={"retry-after": "40"})]
    [outcome] = await web.send(web.fake.subscribe("one"))
    assert outcome.verdict == verdict
    if verdict == "retry":
        assert outcome.retry_after_s == 40
        [held] = await web.send(web.fake.subscribe("two"))
        assert held.error_code == "provider_paused"


async def test_a_service_that_asks_for_patience_holds_back_no_other(web: Web) -> None:
    other = FakePushService(PUBLIC)
    with small_server(other.answer) as other.url:
        web.fake.next_replies = [Reply(429, headers={"retry-after": "40"})]
        first = web.fake.subscribe("one")
        await web.send(first)
        outcomes = await web.send(first, other.subscribe("two"))
    assert [outcome.verdict for outcome in outcomes] == ["retry", "accepted"]


async def test_a_subscription_that_is_gone_is_a_dead_address(web: Web) -> None:
    gone, here = web.fake.subscribe("gone"), web.fake.subscribe("here")
    web.fake.gone["/push/gone"] = 410
    assert [outcome.verdict for outcome in await web.send(gone, here)] == ["dead_address", "accepted"]


async def test_a_message_that_no_service_takes_is_not_sent(web: Web) -> None:
    [outcome] = await web.send(web.fake.subscribe("one"), body="x" * 4000)
    assert outcome == Outcome("refused", error_code="payload_too_large")
    [outcome] = await web.send(web.fake.subscribe("one"), body="x" * 3850)
    assert outcome.verdict == "accepted"


def spoilt(**changes: Any) -> str:
    found = json.loads(Browser("https://push.example/one").subscription())
    keys = {name: changes.pop(name) for name in ("p256dh", "auth") if name in changes}
    return json.dumps({**found, "keys": {**found["keys"], **keys}, **changes})


@pytest.mark.parametrize(
    "address",
    [
        "",
        "no json",
        "[]",
        '{"endpoint": "https://push.example/"}',
        spoilt(endpoint="http:/push.example/"),
        spoilt(endpoint="ftp://push.example/"),
        spoilt(endpoint="https://user:word@push.example/"),
        spoilt(endpoint="https://push.example/\r\nx: y"),
        spoilt(endpoint="https:///"),
        spoilt(endpoint=7),
        spoilt(auth=encode(b"short")),
        spoilt(p256dh=encode(b"\x04" * 64)),
        spoilt(p256dh=encode(b"\x04" * 65)),
        spoilt(p256dh="!!!"),
        spoilt(p256dh=None),
    ],
    ids=range(15),
)
async def test_an_address_that_is_no_subscription_is_dead(web: Web, address: str) -> None:
    assert await web.send(address) == [Outcome("dead_address", error_code="invalid_subscription")]


async def test_a_signature_is_made_anew_when_the_clock_was_set_back(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    subscription = web.fake.subscribe("one")
    monkeypatch.setattr("basalt.senders.webpush.time.time", lambda: now + 3 * 86_400)
    await web.send(subscription)
    monkeypatch.undo()
    [outcome] = await web.send(subscription)
    assert outcome.verdict == "accepted"


async def test_a_push_service_that_talks_too_much_is_not_listened_to(web: Web) -> None:
    web.fake.next_replies = [Reply(201, b"x" * 100_000)]
    [outcome] = await web.send(web.fake.subscribe("one"))
    assert (outcome.verdict, outcome.error_code) == ("unknown", "too_large")


@pytest.mark.req("M8")
async def test_no_request_goes_to_a_private_address(web: Web) -> None:
    sender = WebPushSender(replace(SETTINGS, allow_private=False))
    subscription = json.loads(web.fake.subscribe("one"))
    subscription["endpoint"] = subscription["endpoint"].replace("http:", "https:")
    [outcome] = await sender.deliver([Delivery("k", json.dumps(subscription))])
    await sender.close()
    assert outcome == Outcome("refused", error_code="forbidden_address")
    [outcome] = await WebPushSender(replace(SETTINGS, allow_private=False)).deliver(
        [Delivery("k", web.fake.subscribe("one"))]
    )
    assert outcome.error_code == "invalid_subscription"  # not over TLS
    assert web.fake.shown == []


@pytest.mark.req("M8")
async def test_a_push_service_redirects_nobody(web: Web) -> None:
    subscription = web.fake.subscribe("one")
    web.fake.next_replies = [Reply(307, b"", {"location": f"{web.fake.url}/push/one"})]
    [outcome] = await web.send(subscription)
    assert (outcome.verdict, outcome.error_code, web.fake.shown) == ("refused", "http_307", [])


async def test_a_key_as_pem_is_the_same_key() -> None:
    pem = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    assert load_vapid_key(pem).private_numbers() == load_vapid_key(SECRET).private_numbers()


@pytest.mark.req("M8")
@pytest.mark.parametrize("text", ["secret-word", "", "-----BEGIN secret-word", "0" * 60, encode(bytes(32))])
def test_a_key_that_is_none_is_named_without_it(text: str) -> None:
    with pytest.raises(ValueError, match="no VAPID key") as caught:
        load_vapid_key(text)
    assert "secret-word" not in str(caught.value)
