"""How messages travel: a batch of numbered messages is one MessagePack list, cut into pieces of the size that the
engine carries. The numbers are per sender; by them a listener drops what it had already and notices what it never got.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from basalt.bounded_dict import BoundedDict
from basalt.bus.bus import MAX_PAYLOAD_BYTES, NODE_ID_CHARACTERS

# Sender, number of the batch's first message, which piece of how many.
HEAD = struct.Struct(f">{NODE_ID_CHARACTERS}sQHH")
MAX_BATCH_BYTES = MAX_PAYLOAD_BYTES + 1024 * 1024
MAX_SENDERS = 1000  # a sender is one life of a process

ENCODER = msgspec.msgpack.Encoder()
DECODER = msgspec.msgpack.Decoder(list[bytes])


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages in order; `first` is the number of the first, or of the one to come where there are none."""

    first: int
    payloads: list[bytes]


@dataclass(frozen=True, slots=True)
class Heard:
    """`payloads` are new; `is_gap` tells that others were lost before them."""

    payloads: list[bytes]
    is_gap: bool


def cut(sender: str, batch: Batch, piece_bytes: int) -> Iterator[bytes]:
    """The pieces of a batch, none longer than `piece_bytes`."""
    body = ENCODER.encode(batch.payloads)
    room = piece_bytes - HEAD.size
    count = -(-len(body) // room)
    for index in range(count):
        yield HEAD.pack(sender.encode(), batch.first, index, count) + body[index * room : (index + 1) * room]


def sender_of(piece: bytes) -> str:
    """Raises ValueError for what is no piece."""
    if len(piece) <= HEAD.size:
        raise ValueError("too short")
    return piece[:NODE_ID_CHARACTERS].decode("ascii")


@dataclass(slots=True)
class _Sender:
    """`expected` is the number of the next message, None before the first batch; `parts` belong to the batch that
    starts with `first`."""

    expected: int | None = None
    first: int = 0
    parts: list[bytes] = field(default_factory=list)
    size: int = 0


class Assembler:
    """Puts the pieces of all senders together again."""

    def __init__(self) -> None:
        self._senders: BoundedDict[str, _Sender] = BoundedDict(MAX_SENDERS)

    def add(self, piece: bytes) -> Heard | None:
        """What the piece completes, None while others of its batch are missing. Raises ValueError for what is no piece
        of a batch."""
        name = sender_of(piece)
        sender = self._senders.get(name)
        if sender is None:
            sender = self._senders[name] = _Sender()
        body = self._join(sender, piece)
        if body is None:
            return None
        try:
            return _accept(sender, Batch(sender.first, DECODER.decode(body)))
        except msgspec.DecodeError as exc:
            raise ValueError(str(exc)) from exc

    def _join(self, sender: _Sender, piece: bytes) -> bytes | None:
        _, first, index, count = HEAD.unpack_from(piece)
        if index == 0:
            sender.first, sender.parts, sender.size = first, [], 0
        elif first != sender.first or index != len(sender.parts):
            sender.parts = []  # a piece is missing: the batch is lost, and the next one's number will tell
            return None
        sender.parts.append(piece[HEAD.size :])
        sender.size += len(piece)
        if sender.size > MAX_BATCH_BYTES:
            sender.parts = []
            raise ValueError("a batch is too large")
        if len(sender.parts) < count:
            return None
        body, sender.parts = b"".join(sender.parts), []
        return body


def _accept(sender: _Sender, batch: Batch) -> Heard:
    expected = batch.first if sender.expected is None else sender.expected
    fresh = batch.payloads[max(0, expected - batch.first) :]
    sender.expected = max(expected, batch.first + len(batch.payloads))
    return Heard(fresh, is_gap=batch.first > expected)
