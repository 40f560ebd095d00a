"""Who is in which room of this process, and delivery to all of them.

A room is a channel name together with its privacy: nothing crosses between a public and a private channel of one name.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from basalt.realtime.broadcast import Broadcast
from basalt.realtime.frames import Version

TOPIC_PREFIX = "realtime:"


def room_key(name: str, *, is_private: bool) -> str:
    """One text for both, as the bus and presence want it.

    >>> room_key("a", is_private=True), room_key("a", is_private=False)
    ('private:a', 'public:a')
    """
    return f"{'private' if is_private else 'public'}:{name}"


def topic_of(key: str) -> str:
    """The topic that members of a room have joined.

    >>> topic_of("public:a:b")
    'realtime:a:b'
    """
    return TOPIC_PREFIX + key.partition(":")[2]


class Member(Protocol):
    """A channel as its room sees it."""

    room: str
    version: Version
    reads_broadcasts: bool
    reads_presence: bool

    @property
    def receives_own(self) -> bool: ...

    def write(self, frame: bytes) -> None: ...


class Rooms:
    """Members in the order in which they joined."""

    def __init__(self) -> None:
        self._members: dict[str, dict[Member, None]] = {}

    def add(self, member: Member) -> None:
        self._members.setdefault(member.room, {})[member] = None

    def remove(self, member: Member) -> None:
        """Safe to repeat."""
        members = self._members.get(member.room)
        if members is not None:
            members.pop(member, None)
            if not members:
                del self._members[member.room]

    def members(self, room: str) -> Iterable[Member]:
        return self._members.get(room, {})

    def names(self) -> Iterator[tuple[str, int]]:
        """Rooms and how many are in them."""
        return ((room, len(members)) for room, members in self._members.items())

    def __len__(self) -> int:
        return len(self._members)

    def deliver(
        self, room: str, broadcast: Broadcast, *, sender: Member | None = None, skip: Iterable[Member] = ()
    ) -> int:
        """To every member that reads broadcasts, but for `skip`, and for the sender unless it wants its own. The answer
        is how many were written to."""
        members = self._members.get(room)
        if not members:
            return 0
        topic = topic_of(room)
        frames: dict[Version, bytes | None] = {}
        delivered = 0
        for member in members:
            if not member.reads_broadcasts or (member is sender and not member.receives_own):
                continue
            if skip and member in skip:
                continue
            version = member.version
            if version not in frames:
                frames[version] = broadcast.build(version, topic)
            frame = frames[version]
            if frame is not None:
                member.write(frame)
                delivered += 1
        return delivered
