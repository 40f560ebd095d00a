"""What gateway and function processes say to each other: MessagePack frames with a length before them, over a
socket.

Many calls share a socket; a number tells them apart.
"""

import asyncio
import struct
from typing import Any

import msgspec

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 256 * 1024 * 1024


class Call(msgspec.Struct, tag="call", array_like=True):
    """Gateway → process."""

    id: int
    method: str
    path: str
    headers: dict[str, str]
    query: dict[str, str]
    body: bytes
    request_id: str
    role: str
    claims_json: bytes


class Cancel(msgspec.Struct, tag="cancel", array_like=True):
    """Gateway → process: nobody waits for this call any more."""

    id: int


class Answer(msgspec.Struct, tag="answer", array_like=True):
    """Process → gateway."""

    id: int
    status: int
    headers: dict[str, str]
    body: bytes


class Failure(msgspec.Struct, tag="failure", array_like=True):
    """Process → gateway: an error in the structured shape; `trace` is for the log only."""

    id: int
    code: str
    status: int
    message: str
    details: Any
    hint: str | None
    trace: str | None


class Ready(msgspec.Struct, tag="ready", array_like=True):
    """Process → gateway: the function is loaded, or why it is not."""

    problem: str | None


ToWorker = Call | Cancel
ToGateway = Answer | Failure | Ready

_encoder = msgspec.msgpack.Encoder()
_to_worker = msgspec.msgpack.Decoder(ToWorker)
_to_gateway = msgspec.msgpack.Decoder(ToGateway)


def encode(frame: ToWorker | ToGateway) -> bytes:
    body = _encoder.encode(frame)
    return LENGTH.pack(len(body)) + body


async def read_for_worker(reader: asyncio.StreamReader) -> ToWorker | None:
    """The next frame; None at the end of the stream."""
    raw = await _read(reader)
    return None if raw is None else _to_worker.decode(raw)


async def read_for_gateway(reader: asyncio.StreamReader) -> ToGateway | None:
    raw = await _read(reader)
    return None if raw is None else _to_gateway.decode(raw)


async def _read(reader: asyncio.StreamReader) -> bytes | None:
    try:
        (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        if length > MAX_FRAME_BYTES:
            return None
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
