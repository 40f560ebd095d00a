"""Frames of HTTP/2 as bytes, RFC 9113 §4, and the numbers that stand in them."""

from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE = 0, 1, 3, 4, 5
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 2, 3, 4, 5
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR = 0x0, 0x1, 0x3, 0x6
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x7, 0x8, 0x9, 0xB

HEAD_BYTES: Final = 9
FRAME_BYTES: Final = 16_384  # the largest payload that either side takes unless it says otherwise
LAST_STREAM: Final = 2**31 - 1

FRAME_HEAD = Struct(">HBBBL")  # length in 16 + 8 bits, type, flags, stream
SETTING = Struct(">HL")
NUMBER = Struct(">L")


class Http2Error(Exception):
    """The other side breaks the protocol; the connection is over. `code` is what it is told."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def render_head(size: int, kind: int, flags: int, number: int) -> bytes:
    return FRAME_HEAD.pack(size >> 8, size & 255, kind, flags, number)


def render_frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    """
    >>> render_frame(RST_STREAM, 0, 1, NUMBER.pack(CANCEL)).hex(" ")
    '00 00 04 03 00 00 00 00 01 00 00 00 08'
    """
    return render_head(len(payload), kind, flags, number) + payload


def render_header_block(number: int, block: bytes) -> bytes:
    """HEADERS, and CONTINUATION for what does not fit into a frame, RFC 9113 §6.10."""
    if len(block) <= FRAME_BYTES:
        return render_head(len(block), HEADERS, END_HEADERS, number) + block
    frames = [render_frame(HEADERS, 0, number, block[:FRAME_BYTES])]
    for start in range(FRAME_BYTES, len(block), FRAME_BYTES):
        flags = 0 if start + FRAME_BYTES < len(block) else END_HEADERS
        frames.append(render_frame(CONTINUATION, flags, number, block[start : start + FRAME_BYTES]))
    return b"".join(frames)


def parse_number(payload: bytes, what: str) -> int:
    """The 32 bits that are all of a payload. Raises Http2Error."""
    if len(payload) != 4:
        raise Http2Error(FRAME_SIZE_ERROR, f"a {what} of a wrong length")
    number: int = NUMBER.unpack(payload)[0]
    return number


def without_padding(payload: bytes) -> bytes:
    """RFC 9113 §6.1. Raises Http2Error."""
    if not payload or payload[0] >= len(payload):
        raise Http2Error(PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
