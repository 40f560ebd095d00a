"""What the gateway and a process that works on images say to each other: MessagePack behind four bytes of length."""

import struct
from typing import Final, Literal

import msgspec

from basalt.storage.images.plan import Plan

LENGTH: Final = struct.Struct(">I")
MAX_FRAME_BYTES: Final = 512 * 1024 * 1024

Reason = Literal["invalid", "pixels", "bytes", "missing", "failed"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The source is the file `path` or else `data`; `target` is the wanted format, None the source's own."""

    path: str | None = None
    data: bytes = b""
    plan: Plan
    target: Literal["avif", "webp"] | None
    max_pixels: int
    max_bytes: int
    timeout_s: float


class Rendered(msgspec.Struct, frozen=True, tag=True):
    """A finished image."""

    data: bytes
    content_type: str
    width: int
    height: int


class PassedThrough(msgspec.Struct, frozen=True, tag=True):
    """The source is to be handed out as it is."""

    content_type: str


class Refused(msgspec.Struct, frozen=True, tag=True):
    """No image. `detail` is for the log."""

    reason: Reason
    detail: str = ""


Outcome = Rendered | PassedThrough | Refused

ENCODER: Final = msgspec.msgpack.Encoder()
JOBS: Final = msgspec.msgpack.Decoder(Job)
OUTCOMES: Final = msgspec.msgpack.Decoder(Rendered | PassedThrough | Refused)


class RefusedError(Exception):
    """Raised by the engines."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail


def build_frame(message: Job | Outcome) -> bytes:
    body = ENCODER.encode(message)
    return LENGTH.pack(len(body)) + body
