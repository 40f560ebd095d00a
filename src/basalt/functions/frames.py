"""What gateway and function processes say to each other: MessagePack frames with a length before them, over a
socket.

Many calls share a socket; a number tells them apart. A large or growing answer comes as a head, chunks and an end, and
no faster than the gateway gives credit for it: a client that reads slowly fills neither its memory nor the socket.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 128 * 1024
WINDOW_BYTES = 4 * CHUNK_BYTES  # of an answer, on the way before anybody has read of it

SWEEP = b"sweep"  # to the zygote: end what dead functions left behind
ZYGOTE_REPLY_BYTES = 8


class JobFacts(msgspec.Struct, array_like=True, frozen=True):
    """The job that a call performs; its payload is the body. `created_at` is in Unix seconds."""

    id: int
    name: str
    queue: str
    attempt: int
    max_attempts: int
    key: str | None
    created_at: float


class Call(msgspec.Struct, tag="call", array_like=True):
    """Gateway → process. `path` begins with the function's name. Header names are in lower case, repeated ones are
    joined. `token` is the caller's, if any."""

    id: int
    method: str
    path: str
    query_string: str
    headers: dict[str, str]
    body: bytes
    request_id: str
    role: str
    claims_json: bytes
    token: str | None = None
    job: JobFacts | None = None

    @property
    def query(self) -> dict[str, str]:
        """Of repeated parameters the last."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True)) if self.query_string else {}


class Cancel(msgspec.Struct, tag="cancel", array_like=True):
    """Gateway → process: nobody waits for this call any more; `everything` means what runs behind it too."""

    id: int
    everything: bool = False


class Credit(msgspec.Struct, tag="credit", array_like=True):
    """Gateway → process: so many bytes of the answer were taken."""

    id: int
    size: int


class Answer(msgspec.Struct, tag="answer", array_like=True):
    """Process → gateway: a whole answer. While `is_open`, work that it left behind goes on until `Settled`."""

    id: int
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    is_open: bool = False


class Head(msgspec.Struct, tag="head", array_like=True):
    """Process → gateway: an answer begins."""

    id: int
    status: int
    headers: list[tuple[str, str]]


class Chunk(msgspec.Struct, tag="chunk", array_like=True):
    id: int
    body: bytes


class End(msgspec.Struct, tag="end", array_like=True):
    id: int
    is_open: bool = False


class Settled(msgspec.Struct, tag="settled", array_like=True):
    """Process → gateway: the work that an answer left behind has ended."""

    id: int


class Failure(msgspec.Struct, tag="failure", array_like=True):
    """Process → gateway: an error in the structured shape; `trace` is for the log only."""

    id: int
    code: str
    status: int
    message: str
    details: Any
    hint: str | None
    trace: str | None
    is_open: bool = False
    headers: list[tuple[str, str]] = []


class Progress(msgspec.Struct, tag="progress", array_like=True):
    """Process → worker: how far a job is."""

    job_id: int
    fraction: float
    note: str | None


class Ready(msgspec.Struct, tag="ready", array_like=True):
    """Process → gateway: the function is loaded, or why it is not."""

    problem: str | None


class CacheReads(msgspec.Struct, tag="cache_reads", array_like=True):
    """Process → gateway: reads of the cache since the last time, for the figures."""

    hits: int
    misses: int


ToWorker = Call | Cancel | Credit
ToGateway = Answer | Head | Chunk | End | Settled | Failure | Progress | Ready | CacheReads

_encoder = msgspec.msgpack.Encoder()
to_worker = msgspec.msgpack.Decoder(ToWorker)
to_gateway = msgspec.msgpack.Decoder(ToGateway)

Frame = TypeVar("Frame")


def encode(frame: ToWorker | ToGateway) -> bytes:
    body = _encoder.encode(frame)
    return LENGTH.pack(len(body)) + body


class Channel(asyncio.Protocol, Generic[Frame]):
    """One end of the socket. `on_frame` gets every frame as it arrives; `on_lost` is called once, when the other end is
    gone or speaks nonsense."""

    def __init__(
        self,
        decoder: "msgspec.msgpack.Decoder[Frame]",
        on_frame: Callable[[Frame], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._decode = decoder.decode
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._partial = bytearray()
        self._wanted = LENGTH.size
        self._is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def send(self, frame: ToWorker | ToGateway) -> None:
        """Nothing, when the other end is gone."""
        if not self._is_lost:
            self._transport.write(encode(frame))

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()
        self._lose()

    def data_received(self, data: bytes) -> None:
        if self._partial:
            self._partial += data
            if len(self._partial) < self._wanted:
                return
            data = bytes(self._partial)
            self._partial.clear()
        try:
            rest = self._take_frames(data)
        except (ValueError, msgspec.MsgspecError):
            self.abort()
        else:
            if rest < len(data):
                self._partial += memoryview(data)[rest:]

    def _take_frames(self, data: bytes) -> int:
        """Where the first incomplete frame begins."""
        view, start, end = memoryview(data), 0, len(data)
        while end - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(data, start)
            if length > MAX_FRAME_BYTES:
                raise ValueError("a frame is too large")
            stop = start + LENGTH.size + length
            if stop > end:
                self._wanted = stop - start
                return start
            frame = self._decode(view[start + LENGTH.size : stop])
            start = stop
            self._on_frame(frame)
        self._wanted = LENGTH.size
        return start

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose()

    def _lose(self) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._on_lost()
