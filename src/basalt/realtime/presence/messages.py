"""What nodes tell each other about presence: MessagePack arrays, the first element says which."""

from collections.abc import Iterator
from typing import Annotated, TypeVar

import msgspec
import orjson

from basalt.realtime.presence.diff import Entry

MESSAGE_BYTES = 1024 * 1024  # one larger entry is a message by itself
MAX_ENTRY_BYTES = (
    4 * 1024 * 1024
)  # less than a bus carries: an entry that cannot travel would be asked for in vain
MAX_PARTS = 100_000

T = TypeVar("T")

Version = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
PartNumber = Annotated[int, msgspec.Meta(ge=0, le=MAX_PARTS)]


class Joined(msgspec.Struct, frozen=True, array_like=True):
    """`meta` is a JSON object."""

    room: str
    key: str
    ref: str
    meta: bytes


class Operation(msgspec.Struct, frozen=True, array_like=True):
    """A leave, a join, or both: one track replaced by another."""

    left_ref: str | None
    joined: Joined | None

    @property
    def size(self) -> int:
        return 32 + (_size(self.joined) if self.joined else 0)


class Delta(msgspec.Struct, frozen=True, array_like=True, tag="delta"):
    """The sender's operations number `first` and following; its version is the number of its newest operation."""

    first: Version
    operations: list[Operation]


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, tag="beat"):
    """The sender lives and has said everything up to `version`. `wants_answer`: who hears it says the same."""

    version: Version
    wants_answer: bool


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    """The sender lacks something of `node` and wants all of it."""

    node: str


class Part(msgspec.Struct, frozen=True, array_like=True, tag="part"):
    """Part `number` of `count` of all entries that the sender has at `version`: a list of `Joined`, still encoded,
    since most nodes need none of it."""

    version: Version
    number: PartNumber
    count: PartNumber
    entries: msgspec.Raw


class Farewell(msgspec.Struct, frozen=True, array_like=True, tag="bye"):
    """The sender ends, and its entries with it."""


Message = Delta | Heartbeat | Ask | Part | Farewell

ENCODER = msgspec.msgpack.Encoder()
DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
ENTRIES_DECODER = msgspec.msgpack.Decoder(list[Joined])


def parse_message(message: bytes) -> Message:
    """Raises ValueError."""
    return DECODER.decode(message)


def parse_entries(part: Part) -> list[Entry]:
    """Raises ValueError."""
    return [parse_joined(joined) for joined in ENTRIES_DECODER.decode(part.entries)]


def parse_joined(joined: Joined) -> Entry:
    """Raises ValueError."""
    meta = orjson.loads(joined.meta)
    if not isinstance(meta, dict):
        raise ValueError("a meta is no object")
    return Entry(joined.room, joined.key, joined.ref, meta)


def build_joined(entry: Entry) -> Joined:
    """Raises ValueError for a meta that JSON cannot hold or nobody could carry."""
    try:
        joined = Joined(entry.room, entry.key, entry.ref, orjson.dumps(entry.meta))
    except TypeError as exc:
        raise ValueError(f"a meta is no JSON: {exc}") from exc
    if _size(joined) > MAX_ENTRY_BYTES:
        raise ValueError("a meta is too large")
    return joined


def render_deltas(first: int, operations: list[Operation]) -> Iterator[bytes]:
    for group in _groups([(operation, operation.size) for operation in operations]):
        yield ENCODER.encode(Delta(first, group))
        first += len(group)


def render_state(version: int, entries: list[Entry]) -> Iterator[bytes]:
    joined = [build_joined(entry) for entry in entries]
    groups = list(_groups([(each, _size(each)) for each in joined])) or [[]]
    for number, group in enumerate(groups):
        yield ENCODER.encode(Part(version, number, len(groups), msgspec.Raw(ENCODER.encode(group))))


def _groups(sized: list[tuple[T, int]]) -> Iterator[list[T]]:
    """In order, each of at most MESSAGE_BYTES or of a single item."""
    group: list[T] = []
    total = 0
    for item, size in sized:
        if group and total + size > MESSAGE_BYTES:
            yield group
            group, total = [], 0
        group.append(item)
        total += size
    if group:
        yield group


def _size(joined: Joined) -> int:
    return len(joined.meta) + 4 * (len(joined.room) + len(joined.key)) + len(joined.ref) + 32
