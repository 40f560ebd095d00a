"""The prepared statements of one lane: which are there, which are only on their way, which have to go.

A statement is shared only once PostgreSQL has confirmed it. Until then (its first use may yet fail before the
parse is reached) a second request with the same SQL is sent unprepared, so that one request's failure is
never another's. Names are used once, so that closing an old statement cannot meet a new one.
"""

from collections import OrderedDict


class Prepared:
    """A statement known to PostgreSQL as `name`, once `is_confirmed`."""

    __slots__ = ("is_confirmed", "key", "name")

    def __init__(self, key: tuple[str, str], name: bytes) -> None:
        self.key = key
        self.name = name
        self.is_confirmed = False


class LaneStatements:
    """At most `limit` statements by (scope, SQL); the least recently used gives way."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: OrderedDict[tuple[str, str], Prepared] = OrderedDict()
        self._count = 0
        self._closing: list[bytes] = []

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: tuple[str, str]) -> Prepared | None:
        """
        >>> statements = LaneStatements(limit=1)
        >>> statements.add(("anon", "select 1")).name, statements.add(("anon", "select 2")).name
        (b'basalt_1', b'basalt_2')
        >>> statements.find(("anon", "select 1")) is None, statements.take_closing()
        (True, [b'basalt_1'])
        """
        prepared = self._known.get(key)
        if prepared is not None:
            self._known.move_to_end(key)
        return prepared

    def add(self, key: tuple[str, str]) -> Prepared:
        self._count += 1
        prepared = self._known[key] = Prepared(key, b"basalt_%d" % self._count)
        if len(self._known) > self._limit:
            _, evicted = self._known.popitem(last=False)
            self._closing.append(evicted.name)
        return prepared

    def drop(self, prepared: Prepared) -> None:
        """It was never made, or is not to be used again."""
        if self._known.get(prepared.key) is prepared:
            del self._known[prepared.key]
            self._closing.append(prepared.name)

    def drop_all(self) -> None:
        self._closing.extend(prepared.name for prepared in self._known.values())
        self._known.clear()

    @property
    def has_closing(self) -> bool:
        return bool(self._closing)

    def take_closing(self) -> list[bytes]:
        """Names to close at the head of the next flush, where no earlier failure can skip it. Closing a name
        that is not there is no error (PostgreSQL, "Extended Query")."""
        names, self._closing = self._closing, []
        return names
