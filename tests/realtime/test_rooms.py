"""Broadcast in rooms: who receives what, in which words, and what is never sent (protocol §2.3, §7)."""

import itertools
from typing import Any

import pytest

from tests.realtime.conftest import Harbour
from tests.realtime.phoenix import Message, Phoenix, Vsn

pytestmark = pytest.mark.req("P7")

BOTH: list[Vsn] = ["1.0.0", "2.0.0"]
OK = {"status": "ok", "response": {}}
LIMIT_BYTES = 3_000_000


async def room_of(harbour: Harbour, name: str, *versions: Vsn, **config: Any) -> list[Phoenix]:
    """A socket per version, all in the room."""
    sockets = [await harbour.socket(version) for version in versions]
    for phx in sockets:
        await phx.join(name, config)
    return sockets


def text(name: str, event: str, payload: Any, **more: Any) -> dict[str, Any]:
    return {"type": "broadcast", "event": event, "payload": payload, **more}


def is_text(message: Message, name: str, payload: Any) -> bool:
    found = (message.topic, message.event, message.payload, message.ref, message.kind)
    return found == (f"realtime:{name}", "broadcast", payload, None, None)


def is_binary(message: Message, name: str, event: str, payload: Any, *, metadata: Any = None) -> bool:
    found = (message.kind, message.topic, message.event, message.payload, message.metadata)
    encoding = 0 if isinstance(payload, bytes) else 1
    return found == (4, f"realtime:{name}", event, payload, metadata) and message.encoding == encoding


@pytest.mark.parametrize("vsn", BOTH)
async def test_a_text_broadcast_reaches_both_versions_unchanged(
    harbour: Harbour, name: str, vsn: Vsn
) -> None:
    sender, first, second = await room_of(harbour, name, vsn, "1.0.0", "2.0.0")
    for payload in [{"x": 1}, {}, None, [1, {"ä": "😀"}], "text", 1.5e300, {"deep": [[[[]]]]}]:
        await sender.broadcast(f"realtime:{name}", "cursor", payload, more={"travels": "along"}, meta=[1])
        expected = text(name, "cursor", payload, more={"travels": "along"}, meta=[1])
        assert is_text(await first.next(), name, expected)
        assert is_text(await second.next(), name, expected)
    assert await sender.drain() == []


async def test_the_payload_of_a_broadcast_may_be_missing(harbour: Harbour, name: str) -> None:
    sender, first, second = await room_of(harbour, name, "2.0.0", "1.0.0", "2.0.0")
    await sender.send(f"realtime:{name}", "broadcast", {"type": "broadcast", "event": "e"})
    for receiver in (first, second):
        assert is_text(await receiver.next(), name, {"type": "broadcast", "event": "e"})


async def test_json_of_kind_three_becomes_kind_four_or_text(harbour: Harbour, name: str) -> None:
    sender, first, second = await room_of(harbour, name, "2.0.0", "1.0.0", "2.0.0")
    for payload in [{"a": 1}, [], None, "ä", 3]:
        await sender.push(f"realtime:{name}", "ev", payload)
        received = await first.next()
        assert is_text(received, name, text(name, "ev", payload))
        assert list(received.payload) == ["event", "payload", "type"]
        assert is_binary(await second.next(), name, "ev", payload)


async def test_the_worked_example_of_the_protocol(harbour: Harbour) -> None:
    sender, receiver = await room_of(harbour, "x", "2.0.0", "2.0.0")
    await sender.send_raw(bytes.fromhex("03 01 01 0a 02 00 01 31 32") + b'realtime:xev{"a":1}')
    assert (await receiver.next()).raw == bytes.fromhex("04 0a 02 00 01") + b'realtime:xev{"a":1}'


async def test_payload_bytes_are_not_rewritten(harbour: Harbour, name: str) -> None:
    """Neither blanks, nor the order of keys, nor numbers that a double cannot hold."""
    sender, first, second = await room_of(harbour, name, "2.0.0", "1.0.0", "2.0.0")
    odd = '{ "b":1 ,"a":12345678901234567890.10,"a":"\\u00e4"}'
    topic = f"realtime:{name}"
    head = bytes((3, 0, 0, len(topic), 1, 0, 1)) + f"{topic}e".encode()
    await sender.send_raw(head + odd.encode())
    assert odd in str((await first.next()).raw)
    raw = (await second.next()).raw
    assert isinstance(raw, bytes)
    assert raw.endswith(odd.encode())
    await sender.send_raw(f'[null,null,"{topic}","broadcast",{odd}]')
    assert odd in str((await first.next()).raw)
    assert odd in str((await second.next()).raw)


async def test_bytes_reach_only_those_who_can_hold_them(harbour: Harbour, name: str) -> None:
    sender, first, second = await room_of(harbour, name, "2.0.0", "1.0.0", "2.0.0")
    for payload in [b"", b"\x00\xff\xfe", bytes(range(256)), b"{"]:
        await sender.push(f"realtime:{name}", "raw", payload)
        assert is_binary(await second.next(), name, "raw", payload)
    await sender.broadcast(f"realtime:{name}", "marker", {})
    assert (await first.next()).payload["event"] == "marker"


async def test_an_event_too_long_for_a_binary_frame_comes_as_text(harbour: Harbour, name: str) -> None:
    with harbour.server.client() as client:
        receiver, first = await room_of(harbour, name, "2.0.0", "1.0.0")
        event = "e" * 256
        answer = client.post(f"/realtime/v1/api/broadcast/{name}/events/{event}", json={"a": 1})
        assert answer.status_code == 202
        for each in (receiver, first):
            assert is_text(
                await each.next(), name, {"event": event, "payload": {"a": 1}, "type": "broadcast"}
            )


@pytest.mark.parametrize(("wants_own", "acknowledged"), [*itertools.product([False, True], repeat=2)])
async def test_self_and_ack_are_what_was_asked_for(
    harbour: Harbour, name: str, wants_own: bool, acknowledged: bool
) -> None:
    topic = f"realtime:{name}"
    for vsn in BOTH:
        (sender, other) = await room_of(
            harbour, name, vsn, "2.0.0", broadcast={"self": wants_own, "ack": acknowledged}
        )
        refs = [await sender.broadcast(topic, "e", {})]
        if vsn == "2.0.0":
            refs.append(await sender.push(topic, "e", {}))
        got = await sender.drain()
        assert len([each for each in got if each.event != "phx_reply"]) == (len(refs) if wants_own else 0)
        replies = [(each.ref, each.payload) for each in got if each.event == "phx_reply"]
        assert replies == ([(ref, OK) for ref in refs] if acknowledged else [])
        assert len(await other.drain()) == len(refs)
        await other.close()


async def test_two_channels_of_one_user_are_two_members(harbour: Harbour, name: str) -> None:
    """`self` is about the channel, not about the token."""
    token = harbour.token()
    one, other = await harbour.socket(key=token), await harbour.socket(key=token)
    await one.join(name)
    await other.join(name)
    await one.broadcast(f"realtime:{name}", "e", {})
    assert (await other.next()).payload["event"] == "e"
    assert await one.drain() == []


async def test_everybody_gets_everything_in_the_order_in_which_it_was_taken(
    harbour: Harbour, name: str
) -> None:
    sender, other, *receivers = await room_of(harbour, name, "2.0.0", "1.0.0", "1.0.0", "2.0.0")
    topic = f"realtime:{name}"
    for number in range(100):
        await (sender if number % 3 else other).broadcast(topic, "e", number)
    await other.drain()
    await sender.drain()
    orders = [[message.payload["payload"] for message in await each.drain()] for each in receivers]
    assert sorted(orders[0]) == list(range(100))
    assert orders[0] == orders[1]
    assert [number for number in orders[0] if number % 3] == [number for number in range(100) if number % 3]


async def test_nothing_crosses_between_rooms(harbour: Harbour, name: str) -> None:
    (sender,) = await room_of(harbour, name, "2.0.0")
    others = [f"{name}0", name[:-1], name.upper(), f"realtime:{name}", f"public:{name}", f"{name} "]
    receivers = []
    for other in others:
        receivers += await room_of(harbour, other, "2.0.0")
    await sender.broadcast(f"realtime:{name}", "e", {})
    await sender.push(f"realtime:{name}", "e", {})
    await sender.drain()
    for receiver in receivers:
        assert await receiver.drain() == []


async def test_a_public_and_a_private_room_of_one_name_are_two(harbour: Harbour, name: str) -> None:
    room, token = f"room:{name}", harbour.token()
    public, private = [await harbour.socket(key=token) for _ in range(2)]
    await public.join(room, {"broadcast": {"self": True}, "presence": {"enabled": True, "key": "public"}})
    await private.join(
        room, {"private": True, "broadcast": {"self": True}, "presence": {"enabled": True, "key": "private"}}
    )
    for phx, event in ((public, "in public"), (private, "in private")):
        assert (await phx.next()).short == ("presence_state", {})
        await phx.broadcast(f"realtime:{room}", event, {})
        await phx.track(f"realtime:{room}", {})
    for phx, event in ((public, "in public"), (private, "in private")):
        own, reply, diff = await phx.take(3)
        assert own.payload["event"] == event
        assert reply.payload == OK
        assert list(diff.payload["joins"]) == [event.removeprefix("in ")]
        assert await phx.drain() == []


async def test_a_payload_over_the_limit_is_refused_or_dropped(harbour: Harbour, name: str) -> None:
    loud, silent, receiver = [await harbour.socket() for _ in range(3)]
    await loud.join(name, {"broadcast": {"ack": True}})
    await silent.join(name)
    await receiver.join(name)
    topic = f"realtime:{name}"
    large = "x" * (LIMIT_BYTES - 1)  # and two quotes
    for phx in (loud, silent):
        ref = await phx.push(topic, "large", large)
        other = await phx.broadcast(topic, "large", large)
        replies = [(each.ref, each.payload) for each in await phx.drain()]
        refusal = {"status": "error", "response": {}}
        assert replies == ([(ref, refusal), (other, refusal)] if phx is loud else [])
    assert await receiver.drain() == []
    fitting = "x" * (LIMIT_BYTES - 2)
    ref = await loud.push(topic, "fits", fitting)
    reply = await loud.next()
    assert (reply.ref, reply.payload) == (ref, OK)
    assert (await receiver.next()).payload == fitting


async def test_nothing_is_stored(harbour: Harbour, name: str) -> None:
    sender, receiver = await room_of(harbour, name, "2.0.0", "2.0.0", broadcast={"ack": True})
    await sender.broadcast(f"realtime:{name}", "e", {})
    await receiver.next()
    found = harbour.sql.execute("select count(*) from realtime.messages where topic = %s", (name,)).fetchone()
    assert found == (0,)


async def test_a_broadcast_that_is_no_object_goes_through_as_it_is(harbour: Harbour, name: str) -> None:
    """Clients look for `event` in it and find none; nobody is harmed."""
    sender, receiver = await room_of(harbour, name, "2.0.0", "1.0.0")
    for payload in ([], 1, "x"):
        await sender.send(f"realtime:{name}", "broadcast", payload)
        assert (await receiver.next()).payload == payload
