"""Broadcasts on their way to a room, and the frames that they become in each version (protocol §2.3).

A broadcast came as a text message, whose object goes through unchanged, or with event and payload apart (a binary
frame, a REST call, a row of `realtime.messages`). Frames are built once per version, however many receive them.
"""

import msgspec
import orjson

from basalt.realtime.frames import FrameError, Version, build_message, build_user_broadcast


class TextBroadcast(msgspec.Struct, frozen=True, tag="t"):
    """`payload` is the JSON object of the message: type, event, payload and whatever else the sender put in."""

    payload: bytes

    def build(self, version: Version, topic: str) -> bytes:
        return build_message(version, topic, b"broadcast", self.payload)


class UserBroadcast(msgspec.Struct, frozen=True, tag="u"):
    """`payload` is JSON or, with `is_json` false, raw bytes, which 1.0.0 cannot receive. `meta` is a JSON object or
    empty. `prefers_text`: written as text in 2.0.0 too."""

    event: str
    payload: bytes
    is_json: bool = True
    meta: bytes = b""
    prefers_text: bool = False

    def build(self, version: Version, topic: str) -> bytes | None:
        if version == "2.0.0" and not self.prefers_text:
            try:
                return build_user_broadcast(
                    topic, self.event, self.payload, is_json=self.is_json, metadata=self.meta
                )
            except FrameError:  # a name too long for a binary frame
                pass
        if not self.is_json:
            return None
        meta = b',"meta":' + self.meta if self.meta else b""
        text = b'{"event":%b,"payload":%b,"type":"broadcast"%b}' % (
            orjson.dumps(self.event),
            self.payload,
            meta,
        )
        return build_message(version, topic, b"broadcast", text)


Broadcast = TextBroadcast | UserBroadcast


def size_of(broadcast: Broadcast) -> int:
    """What counts against the limit of a payload, in bytes."""
    return len(broadcast.payload)
