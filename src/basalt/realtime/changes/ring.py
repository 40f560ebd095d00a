"""The changes of the last minutes, for clients that were away for a moment: bounded by age and by size."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from basalt.realtime.changes.log.change import Change, Transaction

OVERHEAD_BYTES = 200  # of a change, beside its values


@dataclass(frozen=True, slots=True)
class _Kept:
    transaction: Transaction
    kept_at: float
    size_bytes: int


class Ring:
    """Transactions in the order of the log. `start`: whatever was committed after it is here."""

    def __init__(self, *, window_s: float, max_bytes: int, clock: Callable[[], float]) -> None:
        self.start = 0
        self._window_s = window_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._kept: deque[_Kept] = deque()
        self._bytes = 0

    def restart(self, start: int) -> None:
        """The log is read from another point on: what came before is no longer without gaps."""
        self._kept.clear()
        self._bytes = 0
        self.start = start

    def add(self, transaction: Transaction) -> None:
        size = sum(map(_size, transaction.changes))
        self._kept.append(_Kept(transaction, self._clock(), size))
        self._bytes += size
        if transaction.truncated:  # it cannot be told again in full
            self.restart(transaction.lsn)
        self.expire()

    def expire(self) -> None:
        """Forget what is too old or too much."""
        oldest = self._clock() - self._window_s
        while self._kept and (self._bytes > self._max_bytes or self._kept[0].kept_at < oldest):
            gone = self._kept.popleft()
            self._bytes -= gone.size_bytes
            self.start = gone.transaction.lsn

    def since(self, lsn: int) -> list[Transaction]:
        """What was committed at `lsn` or later. Looked for from the end: a thousand who join at once want only what
        is newest, out of a ring of tens of thousands."""
        recent = takewhile(lambda kept: kept.transaction.lsn >= lsn, reversed(self._kept))
        return [kept.transaction for kept in recent][::-1]


def _size(change: Change) -> int:
    values = (*(change.new or ()), *(change.old or ()))
    return OVERHEAD_BYTES + sum(len(value) for value in values if isinstance(value, str))
