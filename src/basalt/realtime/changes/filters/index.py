"""Which of many subscriptions to one table match a row, without looking at each: those that want a column to be equal
to a value are found by that value, and equal filters are tested once."""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from basalt.realtime.changes.filters.comparable import Key
from basalt.realtime.changes.filters.database_conditions import DatabaseCondition, Question
from basalt.realtime.changes.filters.prepare import Filter, FilterCondition, MemoryCondition, Test
from basalt.realtime.changes.log.change import Unchanged, Value

S = TypeVar("S", bound=Hashable)

UNKNOWN = object()  # neither a value nor null: nothing may be concluded from it


@dataclass(frozen=True, slots=True)
class Asking(Generic[S]):
    """The subscriptions match when every question is answered with yes (`ask_database`)."""

    questions: tuple[Question, ...]
    subscriptions: Collection[S]


@dataclass(slots=True)
class _Group(Generic[S]):
    """Subscriptions with equal conditions left."""

    tests: tuple[tuple[int, Test], ...]
    questions: tuple[tuple[int, DatabaseCondition], ...]
    members: dict[S, None] = field(default_factory=dict)


_Bucket = dict[tuple[FilterCondition, ...], _Group[S]]
_Lookup = dict[Key, _Bucket[S]]  # by a value of the column at one position


class FilterIndex(Generic[S]):
    """`positions`: column name → position in the rows that `find` is given, for the columns that these rows tell. A
    filter on any other column matches nothing, negated or not: for DELETE pass the columns of the replica identity.
    Keep one index for each operation, since subscriptions differ in the events that they want, and begin anew when the
    table was altered: the filters of one index read a column in one way."""

    def __init__(self, positions: Mapping[str, int]) -> None:
        self._positions = positions
        self._filters: dict[S, Filter] = {}
        self._lookups: dict[int, _Lookup[S]] = {}
        self._rest: _Bucket[S] = {}
        self._reads: dict[int, Callable[[str], Key]] = {}
        self._readers: Counter[int] = Counter()

    @property
    def positions_read(self) -> Set[int]:
        """The values that some filter looks at. An unchanged one should be filled in before `find`, or nothing that
        depends on it matches."""
        return self._readers.keys()

    def __len__(self) -> int:
        return len(self._filters)

    def add(self, subscription: S, filter_: Filter) -> None:
        """In place of the filter that it had."""
        self.remove(subscription)
        self._filters[subscription] = filter_
        if not self._knows(filter_):
            return
        for condition in filter_.conditions:
            position = self._positions[condition.column]
            self._readers[position] += 1
            if isinstance(condition, MemoryCondition):
                self._reads[position] = condition.key
        lookup, rest = _split(filter_)
        for bucket in self._ensure_buckets(lookup):
            group = bucket.get(rest) or bucket.setdefault(rest, self._build_group(rest))
            group.members[subscription] = None

    def remove(self, subscription: S) -> None:
        """Harmless when it is not there."""
        filter_ = self._filters.pop(subscription, None)
        if filter_ is None or not self._knows(filter_):
            return
        self._readers.subtract(self._positions[condition.column] for condition in filter_.conditions)
        self._readers += Counter()  # drops what nobody reads any more
        lookup, rest = _split(filter_)
        for bucket in self._ensure_buckets(lookup):
            group = bucket[rest]
            del group.members[subscription]
            if not group.members:
                del bucket[rest]
        if lookup is not None:
            self._drop_empty_buckets(lookup)

    def find(self, values: Sequence[Value]) -> tuple[list[S], list[Asking[S]]]:
        """Those that match the row, and those about which PostgreSQL must be asked, both in no particular order."""
        row = _Row(values, self._reads)
        matching: list[S] = []
        asking: list[Asking[S]] = []
        _collect(self._rest, row, matching, asking)
        for position, lookup in self._lookups.items():
            if bucket := lookup.get(row[position]):
                _collect(bucket, row, matching, asking)
        return matching, asking

    def _knows(self, filter_: Filter) -> bool:
        return all(condition.column in self._positions for condition in filter_.conditions)

    def _ensure_buckets(self, lookup: MemoryCondition | None) -> list[_Bucket[S]]:
        if lookup is None:
            return [self._rest]
        by_value = self._lookups.setdefault(self._positions[lookup.column], {})
        return [by_value.setdefault(key, {}) for key in lookup.keys or ()]

    def _drop_empty_buckets(self, lookup: MemoryCondition) -> None:
        position = self._positions[lookup.column]
        buckets = self._lookups[position]
        for key in lookup.keys or ():
            if not buckets[key]:
                del buckets[key]
        if not buckets:
            del self._lookups[position]

    def _build_group(self, conditions: tuple[FilterCondition, ...]) -> _Group[S]:
        tests: list[tuple[int, Test]] = []
        questions: list[tuple[int, DatabaseCondition]] = []
        for condition in conditions:
            position = self._positions[condition.column]
            if isinstance(condition, MemoryCondition):
                tests.append((position, condition.test))
            else:
                questions.append((position, condition))
        return _Group(tuple(tests), tuple(questions))


def _split(filter_: Filter) -> tuple[MemoryCondition | None, tuple[FilterCondition, ...]]:
    """The condition to look up by, and the others."""
    for condition in filter_.conditions:
        if isinstance(condition, MemoryCondition) and condition.keys is not None:
            return condition, tuple(other for other in filter_.conditions if other is not condition)
    return None, filter_.conditions


class _Row(dict[int, Key]):
    """Position → key of the row's value, read at most once. None for null; UNKNOWN where the log does not tell the
    value, or tells one of another type than the filter was made for: the table has been altered since."""

    __slots__ = ("_reads", "values_")

    def __init__(self, values: Sequence[Value], reads: Mapping[int, Callable[[str], Key]]) -> None:
        self.values_ = values
        self._reads = reads

    def __missing__(self, position: int) -> Key:
        value = self.values_[position]
        key: Key = value if value is None else UNKNOWN
        if isinstance(value, str):
            with suppress(ValueError, ArithmeticError):
                key = self._reads[position](value)
        self[position] = key
        return key


def _collect(bucket: _Bucket[S], row: _Row, matching: list[S], asking: list[Asking[S]]) -> None:
    for group in bucket.values():
        for position, test in group.tests:
            key = row[position]
            if key is UNKNOWN or not test(key):
                break
        else:
            if not group.questions:
                matching.extend(group.members)
            elif questions := _ask(group.questions, row.values_):
                asking.append(Asking(questions, tuple(group.members)))


def _ask(questions: Sequence[tuple[int, DatabaseCondition]], values: Sequence[Value]) -> tuple[Question, ...]:
    """Empty when the answer to one of them is no already."""
    asked: list[Question] = []
    for position, condition in questions:
        value = values[position]
        if isinstance(value, Unchanged) or (value is None and not condition.asks_null):
            return ()
        asked.append((condition, value))
    return tuple(asked)
