"""From where on a worker reads each line of waiting jobs: a line is a queue and a priority, in order of positions.

While some session holds an old snapshot, index entries of finished jobs cannot go, and whoever reads a line from its
beginning walks over all of them: minutes after such a session began, a claim would cost a hundred times as much. So a
worker remembers up to which position it has looked a line through, and begins there.

Positions are given out before the transactions that took them commit, so that what was looked through may still
receive a row. Two things take care of it: the frontier stays behind the sequence until the transactions that were open
then have ended, but not for longer than a few seconds; and every now and then the whole line is swept.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Line = tuple[str, int]

PRIORITIES = range(10)
LEAST_LAG_S = 0.1  # a position is taken a moment before its transaction has a number
MOST_LAG_S = 3.0


@dataclass(frozen=True, slots=True)
class Gauge:
    """How far the sequence had come, read before the statement that claims. Transactions from number `xmin` on may have
    been open then; those from `xmax` on had not begun (`pg_current_snapshot()`)."""

    at: float
    last_position: int
    xmin: int
    xmax: int


class Frontier:
    """
    >>> frontier = Frontier()
    >>> line = ("default", 5)
    >>> frontier.note_gauge(Gauge(0.0, 40, xmin=7, xmax=9))
    >>> frontier.note_gauge(Gauge(1.0, 50, xmin=8, xmax=12))
    >>> frontier.note_claim([line], {}, is_full=False)
    >>> frontier.starts([line])  # transaction 8 may still bring a job before position 40
    [0]
    >>> frontier.note_gauge(Gauge(1.1, 50, xmin=9, xmax=12))
    >>> frontier.note_claim([line], {}, is_full=False)
    >>> frontier.starts([line, ("default", 0)])
    [40, 0]
    """

    def __init__(self) -> None:
        self._gauges: deque[Gauge] = deque()
        self._looked_through = 0
        self._starts: dict[Line, int] = {}

    def starts(self, lines: Iterable[Line]) -> list[int]:
        """The position after which each line has to be read."""
        return [self._starts.get(line, 0) for line in lines]

    def note_gauge(self, gauge: Gauge) -> None:
        """One that went back is that of another server: everything is new there."""
        if self._gauges and gauge.last_position < self._gauges[-1].last_position:
            self.forget()
        self._gauges.append(gauge)
        while self._is_settled(self._gauges[0], gauge):
            self._looked_through = self._gauges.popleft().last_position

    def _is_settled(self, earlier: Gauge, now: Gauge) -> bool:
        age_s = now.at - earlier.at
        return age_s >= MOST_LAG_S or (age_s >= LEAST_LAG_S and earlier.xmax <= now.xmin)

    def note_claim(self, lines: Sequence[Line], highest: Mapping[Line, int], *, is_full: bool) -> None:
        """What a claim over `lines`, in this order, has shown, after its gauge: `highest` is the last position that was
        claimed of each. A full one ended in the last line that gave something; that one and those after it may have
        more."""
        last = _last_found(lines, highest) if is_full else len(lines)
        for line in lines[: max(last, 0)]:
            self._starts[line] = max(self._starts.get(line, 0), self._looked_through)
        if 0 <= last < len(lines):
            line = lines[last]
            self._starts[line] = max(self._starts.get(line, 0), min(self._looked_through, highest[line]))

    def note_full_sweep(self, lines: Sequence[Line], highest: Mapping[Line, int]) -> None:
        """A sweep found more than it could take (a thousand jobs of one long transaction, say): the rest is read from
        there on.

        >>> frontier = Frontier()
        >>> frontier._starts[("default", 5)] = 5000
        >>> frontier.note_full_sweep([("default", 5)], {("default", 5): 1016})
        >>> frontier.starts([("default", 5)])
        [1016]
        """
        line = lines[_last_found(lines, highest)]
        self._starts[line] = min(self._starts.get(line, 0), highest[line])

    def forget(self) -> None:
        self._gauges.clear()
        self._starts.clear()
        self._looked_through = 0


def _last_found(lines: Sequence[Line], highest: Mapping[Line, int]) -> int:
    return max((lines.index(line) for line in highest), default=-1)


class Pace:
    """When to do something again that costs: never more than a twentieth of the time is spent on it.

    >>> pace = Pace(least_s=0.05)
    >>> pace.is_due(10.0)
    True
    >>> pace.note(10.0, took_s=0.1)
    >>> pace.is_due(11.9), pace.is_due(12.2)
    (False, True)
    """

    SHARE = 20

    def __init__(self, *, least_s: float) -> None:
        self._least_s = least_s
        self.due_at = 0.0

    def is_due(self, now: float) -> bool:
        return now >= self.due_at

    def note(self, started_at: float, *, took_s: float) -> None:
        self.due_at = started_at + took_s + max(self._least_s, took_s * self.SHARE)
