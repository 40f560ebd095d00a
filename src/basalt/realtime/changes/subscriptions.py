"""Who has asked for which changes: the subscriptions of this process, found by table."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakValueDictionary

from basalt.realtime.changes.filters.bindings import Binding
from basalt.realtime.changes.filters.index import FilterIndex
from basalt.realtime.changes.filters.prepare import Filter
from basalt.realtime.changes.log.change import Operation
from basalt.realtime.changes.policies.claims import Claims
from basalt.realtime.changes.position import Position
from basalt.realtime.changes.tables.table import Table
from basalt.realtime.frames import Version

ANY = "*"

Name = tuple[str, str]


class Receiver(Protocol):
    """The channel that changes are sent to. `is_old`: by the interface from before `postgres_changes`."""

    is_old: bool

    @property
    def topic(self) -> str: ...

    @property
    def version(self) -> Version: ...

    def write(self, frames: bytes) -> None:
        """Send a whole frame, or several one behind the other."""

    def note_delivered(self) -> None:
        """What the present batch has for this channel has been written."""

    def tell_problem(self, message: str) -> None:
        """A change was not delivered to this channel, and why."""

    def tell_ended(self, message: str) -> None:
        """The subscription is over, and why."""

    def tell_missed(self) -> None:
        """Changes were lost for this channel: the data must be loaded anew."""


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Shape:
    """What the frame of a change depends on, besides the change. Equal ones are one object, which is compared by
    identity: it is looked up for each change and subscriber."""

    role: str
    topic: str
    version: Version
    is_old: bool
    binding_id: int
    select: tuple[str, ...] | None
    has_position: bool


_shapes: WeakValueDictionary[tuple[object, ...], Shape] = WeakValueDictionary()


@dataclass(eq=False, slots=True)
class Entry:
    """One binding of a subscription. A wildcard's filter is empty."""

    subscription: "Subscription"
    binding: Binding
    filter: Filter
    shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        receiver, binding = self.subscription.receiver, self.binding
        role, has_position = self.subscription.claims.role, bool(binding.replay)
        key = (
            role,
            receiver.topic,
            receiver.version,
            receiver.is_old,
            binding.id,
            binding.select,
            has_position,
        )
        shape = _shapes.get(key)
        if shape is None:
            shape = _shapes[key] = Shape(*key)
        self.shape = shape


@dataclass(eq=False, slots=True)
class Subscription:
    """The bindings of one channel, on behalf of `claims`. `since`: changes up to there are not for it."""

    receiver: Receiver
    claims: Claims
    since: Position
    entries: list[Entry] = field(default_factory=list)


class SubscriptionIndex:
    """Entries by the names of schema and table, and within a table by the values that they wait for.

    A filter index belongs to one description of a table and one operation: it is built when the first such change
    comes, kept up to date, and gone with `forget_tables`."""

    def __init__(self, subscriptions: Iterable[Subscription] = ()) -> None:
        self.newest_since: Position = (0, 0)  # changes behind it are for all of them
        self._subscriptions: dict[Subscription, None] = {}
        self._entries: dict[Name, dict[Entry, None]] = {}
        self._built: dict[Name, dict[tuple[Table, Operation, bool], FilterIndex[Entry]]] = {}
        for subscription in subscriptions:
            self.add(subscription)

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self._subscriptions))

    def __len__(self) -> int:
        return len(self._subscriptions)

    def add(self, subscription: Subscription) -> None:
        self._subscriptions[subscription] = None
        self.newest_since = max(self.newest_since, subscription.since)
        for entry in subscription.entries:
            name = (entry.binding.schema, entry.binding.table)
            self._entries.setdefault(name, {})[entry] = None
            for (_, operation, has_wildcards), index in self._affected(name):
                if _wants(entry, operation) and (has_wildcards or ANY not in name):
                    index.add(entry, entry.filter)

    def remove(self, subscription: Subscription) -> None:
        """Safe to repeat."""
        if subscription not in self._subscriptions:
            return
        del self._subscriptions[subscription]
        for entry in subscription.entries:
            name = (entry.binding.schema, entry.binding.table)
            del self._entries[name][entry]
            if not self._entries[name]:
                del self._entries[name]
            for _, index in self._affected(name):
                index.remove(entry)

    def has_any(self, schema: str, table: str) -> bool:
        """Whether somebody may be interested in this table."""
        entries = self._entries
        return bool(entries) and any(name in entries for name in _names(schema, table))

    def find(self, table: Table, operation: Operation, *, with_wildcards: bool) -> FilterIndex[Entry]:
        """The index to look up a change of the table in. `with_wildcards`: for those too that asked for every table."""
        built = self._built.setdefault((table.schema, table.name), {})
        key = (table, operation, with_wildcards)
        index = built.get(key)
        if index is None:
            index = built[key] = FilterIndex(_positions(table, operation))
            names = _names(table.schema, table.name) if with_wildcards else [(table.schema, table.name)]
            for entry in (entry for name in names for entry in self._entries.get(name, ())):
                if _wants(entry, operation):
                    index.add(entry, entry.filter)
        return index

    def forget_tables(self) -> None:
        """Tables have been altered."""
        self._built.clear()

    def _affected(self, name: Name) -> Iterator[tuple[tuple[Table, Operation, bool], FilterIndex[Entry]]]:
        """The indexes that entries of this name belong to; for a wildcard, those of many tables."""
        for (schema, table), built in self._built.items():
            if name[0] in (schema, ANY) and name[1] in (table, ANY):
                yield from built.items()


def _names(schema: str, table: str) -> list[Name]:
    return [(schema, table), (schema, ANY), (ANY, ANY), (ANY, table)]


def _wants(entry: Entry, operation: Operation) -> bool:
    return entry.binding.event in (ANY, operation)


def _positions(table: Table, operation: Operation) -> Mapping[str, int]:
    """The columns that a change tells: of a deleted row only those of the replica identity."""
    if operation != "DELETE":
        return table.positions
    return {table.columns[position].name: position for position in table.identity}
