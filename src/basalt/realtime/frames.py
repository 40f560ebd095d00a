"""Phoenix messages on the wire: serializers 1.0.0 (JSON objects) and 2.0.0 (JSON arrays, binary frames).

Reading gives a `Push` or a `BroadcastPush`; payloads stay the bytes that arrived until somebody looks into them,
so that a broadcast passes through unchanged. Writing gives whole WebSocket frames, built once for all who get them.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec
import orjson

from basalt.http import BINARY, TEXT, build_frame

Version = Literal["1.0.0", "2.0.0"]
Ref = str | None

PUSH = 0
USER_BROADCAST_PUSH = 3
USER_BROADCAST = 4
RAW_ENCODING = 0
JSON_ENCODING = 1
MAX_PART_BYTES = 255


class FrameError(ValueError):
    """A frame that is no message of this protocol; it is dropped and the socket stays open."""


@dataclass(frozen=True, slots=True)
class Push:
    """A message in the JSON forms, or a binary push whose `payload` is raw bytes."""

    join_ref: Ref
    ref: Ref
    topic: str
    event: str
    payload: bytes
    is_binary: bool = False


@dataclass(frozen=True, slots=True)
class BroadcastPush:
    """A broadcast as supabase-js sends it with 2.0.0 (kind 3). `event` is the user's; `metadata` is JSON or empty."""

    join_ref: Ref
    ref: Ref
    topic: str
    event: str
    metadata: bytes
    is_json: bool
    payload: bytes


class _ObjectMessage(msgspec.Struct):
    topic: str
    event: str
    payload: msgspec.Raw = msgspec.Raw(b"{}")
    ref: str | int | None = None
    join_ref: str | int | None = None


_objects = msgspec.json.Decoder(_ObjectMessage)
_arrays = msgspec.json.Decoder(tuple[str | int | None, str | int | None, str, str, msgspec.Raw])


def parse_message(version: Version, data: str | bytes) -> Push | BroadcastPush:
    """A message from a client. Raises FrameError.

    >>> parse_message("2.0.0", '["1","2","realtime:a","x",{"b":1}]').payload
    b'{"b":1}'
    """
    if isinstance(data, bytes):
        if version == "1.0.0":
            raise FrameError("version 1.0.0 has no binary frames")
        return _parse_binary(data)
    try:
        if version == "1.0.0":
            found = _objects.decode(data)
            return Push(_ref(found.join_ref), _ref(found.ref), found.topic, found.event, bytes(found.payload))
        join_ref, ref, topic, event, payload = _arrays.decode(data)
        return Push(_ref(join_ref), _ref(ref), topic, event, bytes(payload))
    except (msgspec.DecodeError, RecursionError, UnicodeError) as exc:
        raise FrameError(str(exc)) from exc


def _ref(value: str | int | None) -> Ref:
    return value if value is None or isinstance(value, str) else str(value)


def _parse_binary(data: bytes) -> Push | BroadcastPush:
    """Kinds 0 and 3: one byte of length per part, then encoding, then the parts, then the payload."""
    try:
        kind = data[0]
        if kind == PUSH:
            parts, payload = _split_parts(data, 1, 4, 5)
            join_ref, ref, topic, event = parts
            return Push(join_ref or None, ref or None, topic, event, payload, is_binary=True)
        if kind == USER_BROADCAST_PUSH:
            parts, payload = _split_parts(data, 1, 5, 7)
            join_ref, ref, topic, event, metadata = parts
            encoding = data[6]
            if encoding not in (RAW_ENCODING, JSON_ENCODING):
                raise FrameError(f"unknown encoding {encoding}")
            return BroadcastPush(
                join_ref or None, ref or None, topic, event, metadata.encode(), encoding == 1, payload
            )
    except (IndexError, UnicodeDecodeError) as exc:
        raise FrameError("a binary frame that is too short or not UTF-8") from exc
    raise FrameError(f"binary frames of kind {kind} do not come from clients")


def _split_parts(data: bytes, lengths_at: int, count: int, parts_at: int) -> tuple[list[str], bytes]:
    parts = []
    position = parts_at
    for length in data[lengths_at : lengths_at + count]:
        end = position + length
        if end > len(data):
            raise IndexError
        parts.append(data[position:end].decode())
        position = end
    if len(parts) < count:
        raise IndexError
    return parts, data[position:]


def is_json(payload: bytes) -> bool:
    """Whether bytes that a client called JSON are: they go into the frames of others."""
    try:
        payload.decode()  # a Raw is not looked at for that
        msgspec.json.decode(payload, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return False
    return True


class Wording:
    """How messages of one channel are written in one version. `topic` is what the client joined. It starts every frame
    alike, so that the constant parts are put together once."""

    __slots__ = ("_join_ref", "_topic", "version")

    def __init__(self, version: Version, topic: str, join_ref: Ref) -> None:
        self.version = version
        self._topic = orjson.dumps(topic)
        self._join_ref = orjson.dumps(join_ref)

    def reply(self, ref: Ref, status: Literal["ok", "error"], response: bytes = b"{}") -> bytes:
        """`phx_reply` to the message with this ref."""
        payload = b'{"status":"%b","response":%b}' % (status.encode(), response)
        return self.message(b"phx_reply", payload, ref=ref, names_join=True)

    def message(self, event: bytes, payload: bytes, *, ref: Ref = None, names_join: bool = False) -> bytes:
        """Any other event. `names_join`: to this channel's client alone, so its join may be named (2.0.0)."""
        if self.version == "1.0.0":
            text = b'{"topic":%b,"event":"%b","payload":%b,"ref":%b}' % (
                self._topic,
                event,
                payload,
                orjson.dumps(ref),
            )
        else:
            join_ref = self._join_ref if names_join else b"null"
            text = b'[%b,%b,%b,"%b",%b]' % (join_ref, orjson.dumps(ref), self._topic, event, payload)
        return build_frame(TEXT, text)


def build_message(version: Version, topic: str, event: bytes, payload: bytes) -> bytes:
    """A frame for whoever has joined the topic: without any reference, so that many channels can share it."""
    topic_json = orjson.dumps(topic)
    if version == "1.0.0":
        text = b'{"topic":%b,"event":"%b","payload":%b,"ref":null}' % (topic_json, event, payload)
    else:
        text = b'[null,null,%b,"%b",%b]' % (topic_json, event, payload)
    return build_frame(TEXT, text)


def build_user_broadcast(
    topic: str, event: str, payload: bytes, *, is_json: bool, metadata: bytes = b""
) -> bytes:
    """A broadcast for 2.0.0 (kind 4). Raises FrameError when a part is longer than its length byte can say."""
    parts = (topic.encode(), event.encode(), metadata)
    if any(len(part) > MAX_PART_BYTES for part in parts):
        raise FrameError("topic, event and metadata of a binary broadcast are at most 255 bytes long")
    head = bytes((USER_BROADCAST, *map(len, parts), int(is_json)))
    return build_frame(BINARY, b"".join((head, *parts, payload)))
