"""Messages of both versions, read and written without a socket (protocol §2)."""

import json
import struct
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from basalt.realtime.broadcast import Broadcast, TextBroadcast, UserBroadcast, size_of
from basalt.realtime.frames import (
    BroadcastPush,
    FrameError,
    Push,
    Version,
    Wording,
    build_message,
    build_user_broadcast,
    is_json,
    parse_message,
)
from tests.realtime.phoenix import build_broadcast_push, read_message

pytestmark = pytest.mark.req("P7", "S9")

VERSIONS: list[Version] = ["1.0.0", "2.0.0"]
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
REFS = st.none() | TEXT
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def unframe(frame: bytes) -> str | bytes:
    """What a client gets out of one whole unmasked frame."""
    size, start = frame[1], 2
    if size == 126:
        (size,), start = struct.unpack_from("!H", frame, 2), 4
    elif size == 127:
        (size,), start = struct.unpack_from("!Q", frame, 2), 10
    content = frame[start:]
    assert len(content) == size
    assert frame[0] in (0x81, 0x82)
    return content.decode() if frame[0] == 0x81 else content


# Reading


@settings(max_examples=60, deadline=None)
@given(REFS, REFS, TEXT, TEXT, JSON)
def test_what_a_client_writes_is_read_in_both_versions(
    join_ref: str | None, ref: str | None, topic: str, event: str, payload: Any
) -> None:
    array = json.dumps([join_ref, ref, topic, event, payload])
    named = json.dumps({"topic": topic, "event": event, "payload": payload, "ref": ref, "join_ref": join_ref})
    for version, text in (("2.0.0", array), ("1.0.0", named)):
        push = parse_message(version, text)  # type: ignore[arg-type]
        assert isinstance(push, Push)
        assert (push.join_ref, push.ref, push.topic, push.event) == (join_ref, ref, topic, event)
        assert json.loads(push.payload) == payload
        assert not push.is_binary


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"topic":"t","event":"e"}', Push(None, None, "t", "e", b"{}")),
        ('{"topic":"t","event":"e","ref":1,"join_ref":2}', Push("2", "1", "t", "e", b"{}")),
        (
            '{"more":[],"event":"e","topic":"t","payload": { "a" : 1 } }',
            Push(None, None, "t", "e", b'{ "a" : 1 }'),
        ),
        ('{"topic":"t","event":"e","payload":null}', Push(None, None, "t", "e", b"null")),
    ],
)
def test_version_1_reads_objects_and_forgives_what_is_missing(text: str, expected: Push) -> None:
    assert parse_message("1.0.0", text) == expected


def test_payloads_stay_the_bytes_that_arrived() -> None:
    push = parse_message("2.0.0", '[null,7,"t","e", {"b":1 ,"b":1e400} ]')
    assert push == Push(None, "7", "t", "e", b'{"b":1 ,"b":1e400}')


def test_a_binary_push_is_taken_apart() -> None:
    frame = bytes((0, 1, 2, 3, 4)) + b"1" + b"22" + b"333" + b"4444" + b"\x00\xff"
    assert parse_message("2.0.0", frame) == Push("1", "22", "333", "4444", b"\x00\xff", is_binary=True)
    assert parse_message("2.0.0", bytes(5)) == Push(None, None, "", "", b"", is_binary=True)


@settings(max_examples=60, deadline=None)
@given(
    TEXT, TEXT, TEXT, TEXT, JSON | st.binary(max_size=50), st.none() | st.dictionaries(TEXT, JSON, max_size=1)
)
def test_a_broadcast_push_is_taken_apart(
    join_ref: str, ref: str, topic: str, event: str, payload: Any, metadata: Any
) -> None:
    meta = b"" if metadata is None else json.dumps(metadata).encode()
    if any(len(part.encode()) > 255 for part in (join_ref, ref, topic, event)) or len(meta) > 255:
        return
    frame = build_broadcast_push(topic, event, payload, join_ref=join_ref, ref=ref, metadata=metadata)
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    assert parse_message("2.0.0", frame) == BroadcastPush(
        join_ref or None, ref or None, topic, event, meta, not isinstance(payload, bytes), content
    )


WHOLE = build_broadcast_push("realtime:x", "ev", {"a": 1}, join_ref="1", ref="2", metadata={"m": 1})


@pytest.mark.parametrize("size", range(len(WHOLE) - len(b'{"a": 1}')))
def test_a_binary_frame_that_ends_too_early_is_none(size: int) -> None:
    with pytest.raises(FrameError):
        parse_message("2.0.0", WHOLE[:size])


@pytest.mark.parametrize("kind", [1, 2, 4, 5, 255])
def test_kinds_that_do_not_come_from_clients_are_refused(kind: int) -> None:
    with pytest.raises(FrameError, match=f"kind {kind}"):
        parse_message("2.0.0", bytes((kind,)) + WHOLE[1:])


@pytest.mark.parametrize("encoding", [2, 255])
def test_an_unknown_encoding_is_refused(encoding: int) -> None:
    frame = bytearray(WHOLE)
    frame[6] = encoding
    with pytest.raises(FrameError, match="encoding"):
        parse_message("2.0.0", bytes(frame))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(VERSIONS), st.binary(max_size=300) | st.text(max_size=300))
@example("2.0.0", "[" * 200_000)
@example("1.0.0", '{"topic":"t","event":"e","payload":' + "[" * 200_000)
@example("2.0.0", '[null,null,"\ud800","e",{}]')
@example("1.0.0", '{"topic":"\ud800","event":"e"}')
@example("2.0.0", r'[null,null,"\ud800","e",{}]')
@example("2.0.0", "[null,1.5,true,[],{}]")
@example("2.0.0", "")
@example("2.0.0", b"")
@example("2.0.0", b"\x03")
def test_whatever_comes_is_a_message_or_a_frame_error(version: Version, data: str | bytes) -> None:
    try:
        push = parse_message(version, data)
    except FrameError:
        return
    json.dumps([push.join_ref, push.ref, push.topic, push.event]).encode()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=7, max_size=7), st.binary(max_size=400))
def test_whatever_binary_frame_comes_is_a_message_or_a_frame_error(head: list[int], rest: bytes) -> None:
    for kind in (0, 3):
        frame = bytes((kind, *head[1:6], head[6] % 2)) + rest
        try:
            push = parse_message("2.0.0", frame)
        except FrameError:
            continue
        parts = [push.join_ref or "", push.ref or "", push.topic, push.event]
        metadata = push.metadata if isinstance(push, BroadcastPush) else b""
        size = sum(len(part.encode()) for part in parts) + len(metadata) + len(push.payload)
        assert size == len(frame) - (5 if kind == 0 else 7)


@pytest.mark.parametrize(
    ("payload", "holds"),
    [(b"{}", True), (b' [1, "\xc3\xa4"] ', True), (b"null", True), (b"1e400", True), (b"", False), (b"{", False),
     (b"nul", False), (b'"\xff"', False), (b"{}{}", False), (b"NaN", False), (b"'a'", False), (b"[" * 100_000, False),
     (b'"\n"', False), (b"[1,]", False), (b"\xef\xbb\xbf{}", False)],
    ids=repr,
)  # fmt: skip
def test_json_is_what_others_can_read(payload: bytes, holds: bool) -> None:
    assert is_json(payload) is holds


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_all_json_is_json(value: Any) -> None:
    assert is_json(json.dumps(value).encode())
    assert is_json(json.dumps(value, ensure_ascii=False).encode())


# Writing


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(VERSIONS), TEXT, REFS, REFS, JSON)
def test_what_the_server_writes_is_read_by_clients(
    version: Version, topic: str, join_ref: str | None, ref: str | None, payload: Any
) -> None:
    wording = Wording(version, topic, join_ref)
    content = json.dumps(payload).encode()
    is_new = version == "2.0.0"
    reply = read_message(version, unframe(wording.reply(ref, "ok", content)))
    assert (reply.topic, reply.event, reply.ref) == (topic, "phx_reply", ref)
    assert reply.payload == {"status": "ok", "response": payload}
    assert reply.join_ref == (join_ref if is_new else None)
    own = read_message(version, unframe(wording.message(b"system", content, names_join=True)))
    assert (own.topic, own.event, own.ref, own.payload) == (topic, "system", None, payload)
    assert own.join_ref == (join_ref if is_new else None)
    shared = read_message(version, unframe(build_message(version, topic, b"presence_diff", content)))
    assert (shared.join_ref, shared.ref, shared.topic, shared.event, shared.payload) == (
        None,
        None,
        topic,
        "presence_diff",
        payload,
    )


def test_a_reply_looks_as_the_protocol_shows_it() -> None:
    assert unframe(Wording("1.0.0", "realtime:room1", "1").reply("1", "ok")) == (
        '{"topic":"realtime:room1","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}'
    )
    assert unframe(Wording("2.0.0", "realtime:room1", "1").reply("9", "error", b'{"reason":"x"}')) == (
        '["1","9","realtime:room1","phx_reply",{"status":"error","response":{"reason":"x"}}]'
    )


def test_a_part_that_its_length_byte_cannot_tell_is_refused() -> None:
    fits = "ä" * 127 + "x"
    assert unframe(build_user_broadcast(fits, fits, b"", is_json=False))
    for parts in ((fits + "x", "e", b""), ("t", fits + "x", b""), ("t", "e", b"x" * 256)):
        with pytest.raises(FrameError):
            build_user_broadcast(*parts[:2], b"", is_json=False, metadata=parts[2])


# Crossing versions: every row of the table of §2.3

META = b'{"id":"an id"}'
PAYLOAD = {"a": 1}
TEXT_OBJECT = {"type": "broadcast", "event": "ev", "payload": PAYLOAD, "more": True}
BYTES = b"\x00\xff"
ROWS: list[tuple[str, Broadcast, Any, Any]] = [
    ("text", TextBroadcast(json.dumps(TEXT_OBJECT).encode()), ("text", TEXT_OBJECT), TEXT_OBJECT),
    ("kind 3, JSON", UserBroadcast("ev", b'{"a":1}'), ("binary", 1, PAYLOAD, None),
     {"event": "ev", "payload": PAYLOAD, "type": "broadcast"}),
    ("kind 3, bytes", UserBroadcast("ev", BYTES, is_json=False), ("binary", 0, BYTES, None), None),
    ("database, JSON", UserBroadcast("ev", b'{"a":1}', meta=META), ("binary", 1, PAYLOAD, {"id": "an id"}),
     {"event": "ev", "payload": PAYLOAD, "type": "broadcast", "meta": {"id": "an id"}}),
    ("database, bytes", UserBroadcast("ev", BYTES, is_json=False, meta=META),
     ("binary", 0, BYTES, {"id": "an id"}), None),
    ("replayed, JSON", UserBroadcast("ev", b'{"a":1}', meta=META, prefers_text=True),
     ("text", {"event": "ev", "payload": PAYLOAD, "type": "broadcast", "meta": {"id": "an id"}}),
     {"event": "ev", "payload": PAYLOAD, "type": "broadcast", "meta": {"id": "an id"}}),
    ("too long a name", UserBroadcast("e" * 256, b'{"a":1}'),
     ("text", {"event": "e" * 256, "payload": PAYLOAD, "type": "broadcast"}),
     {"event": "e" * 256, "payload": PAYLOAD, "type": "broadcast"}),
    ("too long a name for bytes", UserBroadcast("e" * 256, BYTES, is_json=False), None, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("broadcast", "second", "first"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_broadcast_crosses_between_versions(broadcast: Broadcast, second: Any, first: Any) -> None:
    for version, expected in (("2.0.0", second), ("1.0.0", first and ("text", first))):
        frame = broadcast.build(version, "realtime:x")  # type: ignore[arg-type]
        if expected is None:
            assert frame is None
            continue
        assert frame is not None
        message = read_message(version, unframe(frame))  # type: ignore[arg-type]
        assert (message.topic, message.ref) == ("realtime:x", None)
        if expected[0] == "text":
            assert (message.kind, message.event, message.payload) == (None, "broadcast", expected[1])
        else:
            assert (message.kind, message.event) == (4, "ev")
            assert (message.encoding, message.payload, message.metadata) == expected[1:]


def test_a_payloads_size_is_what_the_sender_put_in() -> None:
    assert size_of(UserBroadcast("event", b"12345", meta=META)) == 5
    assert size_of(TextBroadcast(b"{}")) == 2
