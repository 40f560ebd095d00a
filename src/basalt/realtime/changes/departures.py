"""Subscriptions whose connection broke: when the same user joins the same topic with the same bindings again, it gets
what was committed in between. Unmodified clients do just that when they reconnect."""

from collections import deque
from collections.abc import Callable

from basalt.realtime.changes.position import Position

MAX_DEPARTURES = 50_000
LIFE_S = (
    12 * 3600.0
)  # whoever comes back later than the ring reaches is to be told so: a laptop sleeps for a night

Key = tuple[str, str | None, str, tuple[int, ...]]
"""Role, user, topic, ids of the bindings."""


class Departures:
    """By key, the positions up to which each of those who left has certainly received everything. `clock` is
    monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: dict[Key, list[Position]] = {}
        self._order: deque[tuple[float, Key, Position]] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._left.values()))

    def add(self, key: Key, position: Position) -> None:
        self._left.setdefault(key, []).append(position)
        self._order.append((self._clock(), key, position))
        self.expire()

    def take(self, key: Key) -> Position | None:
        """The position that somebody with this key left at; of several the earliest, for who is who cannot be told."""
        waiting = self._left.get(key)
        if not waiting:
            return None
        earliest = min(waiting)
        self._drop(key, earliest)
        return earliest

    def expire(self) -> None:
        """Forget those who have stayed away for long, and the longest where they are too many."""
        oldest = self._clock() - LIFE_S
        while self._order and (self._order[0][0] < oldest or len(self._order) > MAX_DEPARTURES):
            _, key, position = self._order.popleft()
            self._drop(key, position)

    def _drop(self, key: Key, position: Position) -> None:
        waiting = self._left.get(key, [])
        if position in waiting:  # unless it was taken
            waiting.remove(position)
            if not waiting:
                del self._left[key]
