"""Presence on the wire (protocol §8)."""

import uuid
from typing import Any

import pytest

from tests.realtime.conftest import Harbour
from tests.realtime.phoenix import Phoenix, Vsn

pytestmark = pytest.mark.req("P7")

OK = {"status": "ok", "response": {}}
BOTH: list[Vsn] = ["1.0.0", "2.0.0"]


async def present(harbour: Harbour, name: str, key: str = "", vsn: Vsn = "2.0.0", **config: Any) -> Phoenix:
    """Joined with presence on; `presence_state` is the next message."""
    phx = await harbour.socket(vsn)
    await phx.join(name, {"presence": {"key": key, "enabled": True}, **config})
    return phx


async def state_of(phx: Phoenix) -> dict[str, Any]:
    message = await phx.next()
    assert (message.event, message.ref) == ("presence_state", None)
    state: dict[str, Any] = message.payload
    return state


async def diff_of(phx: Phoenix) -> tuple[dict[str, Any], dict[str, Any]]:
    message = await phx.next()
    assert (message.event, message.ref) == ("presence_diff", None)
    assert set(message.payload) == {"joins", "leaves"}
    return message.payload["joins"], message.payload["leaves"]


async def tracked(phx: Phoenix, name: str, payload: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Track, and the diff that follows the reply."""
    ref = await phx.track(f"realtime:{name}", payload)
    reply = await phx.next()
    assert (reply.event, reply.ref, reply.payload) == ("phx_reply", ref, OK)
    return await diff_of(phx)


def only_meta(presences: dict[str, Any], key: str) -> dict[str, Any]:
    assert list(presences) == [key]
    (meta,) = presences[key]["metas"]
    assert isinstance(meta["phx_ref"], str)
    return dict(meta)


@pytest.mark.parametrize("vsn", BOTH)
async def test_a_life_in_a_room_is_told_to_everybody_and_to_oneself(
    harbour: Harbour, name: str, vsn: Vsn
) -> None:
    """Track, track anew, untrack: as the protocol shows it."""
    ann, bob = await present(harbour, name, "ann", vsn), await present(harbour, name, "bob", vsn)
    assert await state_of(ann) == {}
    assert await state_of(bob) == {}
    diffs = [await tracked(ann, name, {"name": "Ann"})]
    diffs.append(await tracked(ann, name, {"name": "Ann", "typing": True}))
    ref = await ann.untrack(f"realtime:{name}")
    reply = await ann.next()
    assert (reply.ref, reply.payload) == (ref, OK)
    diffs.append(await diff_of(ann))
    assert [await diff_of(bob) for _ in range(3)] == diffs
    came, changed, went = diffs
    first = only_meta(came[0], "ann")
    assert came == ({"ann": {"metas": [{"phx_ref": first["phx_ref"], "name": "Ann"}]}}, {})
    second = only_meta(changed[0], "ann")
    assert second == {
        "phx_ref": second["phx_ref"],
        "phx_ref_prev": first["phx_ref"],
        "name": "Ann",
        "typing": True,
    }
    assert first["phx_ref"] != second["phx_ref"]
    assert only_meta(changed[1], "ann") == first
    assert went[0] == {}
    assert (
        only_meta(went[1], "ann").items()
        >= {"phx_ref": second["phx_ref"], "name": "Ann", "typing": True}.items()
    )


async def test_who_comes_later_sees_who_is_there(harbour: Harbour, name: str) -> None:
    ann = await present(harbour, name, "ann")
    await state_of(ann)
    joins, _ = await tracked(ann, name, {"n": 1})
    for vsn in BOTH:
        late = await present(harbour, name, "late", vsn)
        assert await state_of(late) == joins


async def test_without_a_key_a_uuid_is_made_up(harbour: Harbour, name: str) -> None:
    ann, bob = await present(harbour, name), await present(harbour, name)
    await state_of(ann)
    await state_of(bob)
    (key,), _ = await tracked(ann, name, {})
    (other,), _ = (await diff_of(bob), await tracked(bob, name, {}))[1]
    assert str(uuid.UUID(key)) == key
    assert key != other


async def test_two_channels_with_one_key_are_one_key_with_two_metas(harbour: Harbour, name: str) -> None:
    one, other = await present(harbour, name, "ann"), await present(harbour, name, "ann")
    await state_of(one)
    await state_of(other)
    await tracked(one, name, {"device": 1})
    await diff_of(other)
    await tracked(other, name, {"device": 2})
    late = await present(harbour, name)
    state = await state_of(late)
    assert [meta["device"] for meta in state["ann"]["metas"]] == [1, 2]
    await one.untrack(f"realtime:{name}")
    joins, leaves = await diff_of(late)
    assert joins == {}
    assert only_meta(leaves, "ann")["device"] == 1


async def test_tracking_the_same_again_changes_nothing(harbour: Harbour, name: str) -> None:
    ann, bob = await present(harbour, name, "ann"), await present(harbour, name, "bob")
    await state_of(ann)
    await state_of(bob)
    await tracked(ann, name, {"a": 1, "b": [2]})
    await diff_of(bob)
    ref = await ann.track(f"realtime:{name}", {"b": [2], "a": 1})
    reply = await ann.next()
    assert (reply.ref, reply.payload) == (ref, OK)
    joins, _ = await tracked(ann, name, {"a": True, "b": [2]})  # which is not the same, though 1 == True here
    assert only_meta(joins, "ann")["a"] is True
    assert await diff_of(bob) == (joins, _)


@pytest.mark.parametrize("way", ["leave", "close", "cut"])
async def test_whoever_goes_is_told_as_a_leave(harbour: Harbour, name: str, way: str) -> None:
    ann, bob = await present(harbour, name, "ann"), await present(harbour, name, "bob")
    await state_of(ann)
    await state_of(bob)
    came = await tracked(ann, name, {"a": 1})
    assert await diff_of(bob) == came
    match way:
        case "leave":
            await ann.send(f"realtime:{name}", "phx_leave")
        case "close":
            await ann.close()
        case "cut":
            ann.abort()
    assert await diff_of(bob) == ({}, came[0])


async def test_untracking_without_a_track_is_ok_and_nobody_hears_of_it(harbour: Harbour, name: str) -> None:
    ann = await present(harbour, name, "ann")
    await state_of(ann)
    ref = await ann.untrack(f"realtime:{name}")
    (reply,) = await ann.drain()
    assert (reply.ref, reply.payload) == (ref, OK)


@pytest.mark.parametrize("event", ["TRACK", "Track", "track"])
async def test_the_event_is_read_without_regard_to_case(harbour: Harbour, name: str, event: str) -> None:
    ann = await present(harbour, name, "ann")
    await state_of(ann)
    await ann.send(f"realtime:{name}", "presence", {"type": "presence", "event": event, "payload": {"a": 1}})
    reply, diff = await ann.take(2)
    assert reply.payload == OK
    assert only_meta(diff.payload["joins"], "ann")["a"] == 1
    await ann.send(
        f"realtime:{name}", "presence", {"type": "presence", "event": event.replace("rack", "RACK")}
    )


async def test_what_cannot_be_tracked_is_refused_and_the_channel_goes_on(harbour: Harbour, name: str) -> None:
    ann = await present(harbour, name, "ann")
    await state_of(ann)
    topic = f"realtime:{name}"
    no_map = {"status": "error", "response": {"reason": "Presence track payload must be a map"}}
    for payload in ([], "x", 1, None, True):
        ref = await ann.track(topic, payload)
        reply = await ann.next()
        assert (reply.ref, reply.payload) == (ref, no_map), payload
    for asked in ({"event": "dance"}, {}, {"event": None}, {"event": 3}, []):
        ref = await ann.send(topic, "presence", asked)
        reply = await ann.next()
        assert (reply.ref, reply.payload) == (ref, {"status": "error", "response": {}}), asked
    assert only_meta((await tracked(ann, name, {"a": 1}))[0], "ann")["a"] == 1


async def test_nobody_can_forge_a_reference(harbour: Harbour, name: str) -> None:
    ann = await present(harbour, name, "ann")
    await state_of(ann)
    joins, _ = await tracked(ann, name, {"phx_ref": "mine", "phx_ref_prev": "mine too", "a": 1})
    meta = only_meta(joins, "ann")
    assert meta["phx_ref"] != "mine"
    assert set(meta) == {"phx_ref", "a"}


async def test_a_channel_without_presence_hears_nothing_until_it_tracks(harbour: Harbour, name: str) -> None:
    ann, shy = await present(harbour, name, "ann"), await harbour.socket()
    await shy.join(name, {"presence": {"key": "shy", "enabled": False}})
    await state_of(ann)
    await tracked(ann, name, {"n": 1})
    assert await shy.drain() == []
    joins, _ = await tracked(shy, name, {"n": 2})
    assert list(joins) == ["shy"]
    assert await diff_of(ann) == (joins, {})
    await ann.untrack(f"realtime:{name}")
    assert list((await diff_of(shy))[1]) == ["ann"]


async def test_many_who_come_at_once_are_all_told(harbour: Harbour, name: str) -> None:
    watcher = await present(harbour, name, "watcher")
    await state_of(watcher)
    crowd = [await present(harbour, name, f"user{number}") for number in range(30)]
    for phx in crowd:
        await phx.track(f"realtime:{name}", {"here": True})
    seen: dict[str, Any] = {}
    while len(seen) < len(crowd):
        joins, leaves = await diff_of(watcher)
        assert leaves == {}
        assert not joins.keys() & seen.keys()
        seen |= joins
    assert seen.keys() == {f"user{number}" for number in range(30)}
    late = await present(harbour, name)
    assert (await state_of(late)).keys() == seen.keys()


async def test_a_track_that_is_too_large_ends_the_channel(harbour: Harbour, name: str) -> None:
    ann = await present(harbour, name, "ann")
    await state_of(ann)
    await ann.track(f"realtime:{name}", {"a": "x" * 3_000_000})
    told, closed = await ann.take(2)
    assert told.short == (
        "system",
        {"extension": "system", "status": "error", "message": "Track message size exceeded", "channel": name},
    )
    assert (closed.event, closed.ref) == ("phx_close", "1")
    await ann.join(name)


# Private channels


async def test_presence_of_a_private_channel_needs_its_policies(harbour: Harbour, name: str) -> None:
    token = harbour.token()
    refused = {"status": "error", "response": {}}
    config = {"private": True, "presence": {"key": "k", "enabled": True}}
    # broadcasts alone: neither state nor diffs, and no track
    heard = await harbour.socket(key=token)
    await heard.join(f"heard:{name}", config)
    ref = await heard.track(f"realtime:heard:{name}", {})
    reply = await heard.next()
    assert (reply.ref, reply.payload) == (ref, refused)
    assert await heard.drain() == []
    # presence alone: no broadcasts
    met, other = await harbour.socket(key=token), await harbour.socket(key=token)
    await met.join(f"met:{name}", config)
    await other.join(f"met:{name}", config)
    assert await state_of(met) == {}
    await met.track(f"realtime:met:{name}", {"a": 1})
    reply, diff = await met.take(2)
    assert reply.payload == OK
    assert only_meta(diff.payload["joins"], "k")["a"] == 1
    with harbour.server.client(harbour.server.secret_key) as client:
        answer = client.post(f"/realtime/v1/api/broadcast/met:{name}/events/e?private=true", json={})
        assert answer.status_code == 202
    assert await met.drain() == []


async def test_tracking_may_be_forbidden_where_reading_is_not(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    await phx.join(f"shown:{name}", {"private": True, "presence": {"enabled": True}})
    assert await state_of(phx) == {}
    await phx.track(f"realtime:shown:{name}", {})
    assert (await phx.next()).payload == {"status": "error", "response": {}}
    assert await phx.drain() == []
