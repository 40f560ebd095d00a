"""Broadcast over HTTP: every status and body (protocol §14)."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.realtime.conftest import Harbour, sign
from tests.realtime.phoenix import Phoenix

pytestmark = pytest.mark.req("P7", "S9")

UNAUTHORIZED = {"message": "Unauthorized"}
TOO_LARGE = {"payload": ["Payload size exceeds tenant limit"]}
BATCH = "/realtime/v1/api/broadcast"


@pytest.fixture
def http(harbour: Harbour) -> Iterator[httpx2.Client]:
    with harbour.server.client() as client:
        yield client


def one(name: str, event: str = "e", query: str = "") -> str:
    return f"{BATCH}/{name}/events/{event}{query}"


async def listeners(harbour: Harbour, name: str, **config: Any) -> tuple[Phoenix, Phoenix]:
    """One of each version: 1.0.0, 2.0.0."""
    key = harbour.server.service_role_key
    first, second = await harbour.socket("1.0.0", key=key), await harbour.socket("2.0.0", key=key)
    await first.join(name, config)
    await second.join(name, config)
    return first, second


async def test_a_batch_is_sent_as_text_to_both_versions(
    harbour: Harbour, http: httpx2.Client, name: str
) -> None:
    sockets = await listeners(harbour, name)
    messages = [
        {"topic": name, "event": "cursor", "payload": {"x": 1}},
        {"topic": name, "event": "cursor", "payload": {"x": 2}, "private": False, "id": "an id"},
        {"topic": f"{name} too", "event": "cursor", "payload": {"x": 3}},
    ]
    answer = http.post(BATCH, json={"messages": messages})
    assert (answer.status_code, answer.content) == (202, b"")
    for phx in sockets:
        first, second = await phx.take(2)
        assert (first.kind, first.ref, first.topic) == (None, None, f"realtime:{name}")
        assert first.payload == {"type": "broadcast", "event": "cursor", "payload": {"x": 1}}
        assert second.payload == {
            "type": "broadcast",
            "event": "cursor",
            "payload": {"x": 2},
            "meta": {"id": "an id"},
        }
        assert await phx.drain() == []


async def test_a_single_message_is_its_body(harbour: Harbour, http: httpx2.Client, name: str) -> None:
    first, second = await listeners(harbour, name)
    for payload in ({"a": 1}, [1], None, "x"):
        answer = http.post(
            one(name, "ev"), content=json.dumps(payload), headers={"content-type": "application/json"}
        )
        assert (answer.status_code, answer.content) == (202, b"")
        assert (await first.next()).payload == {"event": "ev", "payload": payload, "type": "broadcast"}
        message = await second.next()
        assert (message.kind, message.encoding, message.event) == (4, 1, "ev")
        assert (message.payload, message.metadata) == (payload, None)


async def test_a_single_message_may_be_bytes(harbour: Harbour, http: httpx2.Client, name: str) -> None:
    first, second = await listeners(harbour, name)
    answer = http.post(
        one(name), content=b"\x00\xff", headers={"content-type": "application/octet-stream; x=y"}
    )
    assert answer.status_code == 202
    message = await second.next()
    assert (message.kind, message.encoding, message.payload) == (4, 0, b"\x00\xff")
    assert await first.drain() == []


async def test_json_is_assumed_without_a_content_type(
    harbour: Harbour, http: httpx2.Client, name: str
) -> None:
    _, second = await listeners(harbour, name)
    answer = http.post(one(name), content=b'{"a":1}')
    assert answer.status_code == 202
    assert (await second.next()).payload == {"a": 1}


async def test_topic_and_event_are_percent_encoded(harbour: Harbour, http: httpx2.Client, name: str) -> None:
    odd = f"{name}/ä b?c%2F"
    _, second = await listeners(harbour, odd)
    path = f"{BATCH}/{name}%2F%C3%A4%20b%3Fc%252F/events/an%2Fevent%20"
    assert http.post(path, json={}).status_code == 202
    message = await second.next()
    assert (message.topic, message.event) == (f"realtime:{odd}", "an/event ")


async def test_other_types_are_not_supported(http: httpx2.Client, name: str) -> None:
    for media_type in ("text/plain", "application/xml", "multipart/form-data"):
        answer = http.post(one(name), content=b"{}", headers={"content-type": media_type})
        assert answer.status_code == 415
        assert answer.json() == {
            "error": "Unsupported Media Type. Use application/json or application/octet-stream"
        }


async def test_nobody_sends_without_a_good_token(harbour: Harbour, name: str) -> None:
    first, _ = await listeners(harbour, name)
    body = {"messages": [{"topic": name, "event": "e", "payload": {}}]}
    other = sign("another secret of more than 32 characters", role="service_role")
    expired = harbour.token(expires_in_s=-5)
    with httpx2.Client(base_url=harbour.server.url) as http:
        for headers in (
            {},
            {"apikey": "nonsense"},
            {"authorization": "Bearer nonsense"},
            {"authorization": f"Bearer {other}"},
            {"authorization": f"Bearer {expired}"},
            {"authorization": f"Bearer {expired}", "apikey": harbour.server.anon_key},
            {"authorization": f"Bearer {harbour.token(exp=None)}"},
            {"authorization": "Basic abc"},
        ):
            for answer in (
                http.post(BATCH, json=body, headers=headers),
                http.post(one(name), json={}, headers=headers),
            ):
                assert (answer.status_code, answer.json()) == (401, UNAUTHORIZED), headers
        for headers in (
            {"apikey": harbour.server.publishable_key},
            {"authorization": f"Bearer {harbour.server.anon_key}"},
            {"authorization": f"bearer {harbour.token()}", "apikey": "nonsense"},
        ):
            assert http.post(BATCH, json=body, headers=headers).status_code == 202
    assert len(await first.drain()) == 3


async def test_a_private_single_message_needs_permission(
    harbour: Harbour, http: httpx2.Client, name: str
) -> None:
    room = f"room:{name}"
    first, second = await listeners(harbour, room, private=True)
    public, _ = await listeners(harbour, room)
    answer = http.post(one(room, query="?private=true"), json={})
    assert (answer.status_code, answer.json()) == (403, UNAUTHORIZED)
    answer = http.post(one(f"raises:{name}", query="?private=true"), json={}, headers=bearer(harbour))
    assert (answer.status_code, answer.json()) == (403, UNAUTHORIZED)
    answer = http.post(one(room, query="?private=true"), json={"a": 1}, headers=bearer(harbour))
    assert answer.status_code == 202
    assert (await first.next()).payload["payload"] == {"a": 1}
    assert (await second.next()).payload == {"a": 1}
    assert await public.drain() == []


async def test_private_messages_of_a_batch_are_dropped_without_permission(
    harbour: Harbour, http: httpx2.Client, name: str
) -> None:
    room = f"room:{name}"
    first, _ = await listeners(harbour, room, private=True)
    public, _ = await listeners(harbour, room)
    messages = [
        {"topic": room, "event": "private", "payload": {}, "private": True},
        {"topic": room, "event": "public", "payload": {}},
    ]
    assert http.post(BATCH, json={"messages": messages}).status_code == 202
    assert (await public.next()).payload["event"] == "public"
    assert await first.drain() == []
    assert http.post(BATCH, json={"messages": messages}, headers=bearer(harbour)).status_code == 202
    assert (await public.next()).payload["event"] == "public"
    assert [message.payload["event"] for message in await first.drain()] == ["private"]


def bearer(harbour: Harbour) -> dict[str, str]:
    return {"authorization": f"Bearer {harbour.token()}"}


async def test_a_batch_with_a_bad_message_is_refused_as_a_whole(
    harbour: Harbour, http: httpx2.Client, name: str
) -> None:
    first, _ = await listeners(harbour, name)
    good = {"topic": name, "event": "e", "payload": {}}
    blank = ["can't be blank"]
    for bad, problem in [
        ({**good, "topic": ""}, {"topic": blank}),
        ({**good, "topic": None}, {"topic": blank}),
        ({"event": "e", "payload": {}}, {"topic": blank}),
        ({"topic": name}, {"event": blank, "payload": blank}),
        ({}, {"topic": blank, "event": blank, "payload": blank}),
        (3, {"topic": blank, "event": blank, "payload": blank}),
        ({**good, "payload": {"a": "x" * 2_999_993}}, TOO_LARGE),
    ]:
        answer = http.post(BATCH, json={"messages": [good, bad]})
        assert (answer.status_code, answer.json()) == (422, {"errors": {"messages": [{}, problem]}})
    for wrong in ({**good, "topic": 3}, {**good, "event": []}, {**good, "payload": "text"}):
        answer = http.post(BATCH, json={"messages": [wrong]})
        assert answer.status_code == 422
        (problem,) = answer.json()["errors"]["messages"]
        assert list(problem.values()) == [["is invalid"]]
    assert await first.drain() == []


async def test_a_payload_over_the_limit_is_refused(http: httpx2.Client, name: str) -> None:
    message = {"topic": name, "event": "e", "payload": {"a": "x" * 3_000_000}}
    answer = http.post(BATCH, json={"messages": [message]})
    assert (answer.status_code, answer.json()) == (422, {"errors": {"messages": [TOO_LARGE]}})
    answer = http.post(
        one(name), content=b"x" * 3_000_001, headers={"content-type": "application/octet-stream"}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"] == TOO_LARGE


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"nul", b"[" * 1_000_000])
async def test_a_body_that_is_no_json_is_refused(http: httpx2.Client, name: str, body: bytes) -> None:
    json_type = {"content-type": "application/json"}
    assert http.post(BATCH, content=body, headers=json_type).status_code == 400
    assert http.post(one(name), content=body, headers=json_type).status_code == 422


@pytest.mark.parametrize(
    "body", [{}, [], None, {"messages": None}, {"messages": {}}, {"messages": []}, 3], ids=str
)
async def test_a_body_without_messages_is_refused(http: httpx2.Client, body: object) -> None:
    answer = http.post(BATCH, content=json.dumps(body), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (422, {"errors": {"messages": ["can't be blank"]}})


async def test_a_batch_that_is_too_long_is_refused(http: httpx2.Client, name: str) -> None:
    message = {"topic": name, "event": "e", "payload": {}}
    answer = http.post(BATCH, json={"messages": [message] * 1001})
    assert answer.status_code == 429
    assert answer.json() == {"message": "Too many messages to broadcast, please reduce the batch size"}


async def test_every_answer_tells_the_rate_and_allows_every_origin(http: httpx2.Client, name: str) -> None:
    for answer in (
        http.post(BATCH, json={}, headers={"origin": "https://example.com"}),
        http.post(one(name), json={}, headers={"origin": "https://example.com"}),
        http.get("/realtime/v1/api/ping", headers={"origin": "https://example.com"}),
    ):
        assert answer.headers["access-control-allow-origin"] in ("*", "https://example.com")
        assert float(answer.headers["x-rate-rolling"]) >= 0
        assert int(answer.headers["x-rate-limit"]) == 1_000_000
        assert 0 < int(answer.headers["x-rate-limit-remaining"]) <= 1_000_000
    preflight = http.options(
        BATCH, headers={"origin": "https://example.com", "access-control-request-method": "POST"}
    )
    assert preflight.headers["access-control-allow-origin"] in ("*", "https://example.com")


async def test_ping_says_success(harbour: Harbour) -> None:
    with httpx2.Client(base_url=harbour.server.url) as http:
        answer = http.get("/realtime/v1/api/ping")
    assert (answer.status_code, answer.json()) == (200, {"message": "Success"})


async def test_other_paths_and_methods_are_not_there(http: httpx2.Client, name: str) -> None:
    assert http.get("/realtime/v1/api/nothing").status_code == 404
    assert http.get(BATCH).status_code == 405
    assert http.put(one(name), json={}).status_code == 405
