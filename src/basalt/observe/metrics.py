"""Counters, gauges and histograms by their names, kept in this process.

A room declares its metrics as constants at the top of the module that counts; every name begins with `basalt_` and
stands in `docs/reference/metrics.md`. Labels have few values: no ids, addresses, or anything that users choose. What a
room knows anyhow is not counted twice: `before_scrape` lets it set its gauges when somebody looks.

Why not prometheus_client: the figures of all processes of a node are told by one of them (`sharing`), for which it has
files on a disk; and a request counts three times, which costs 0.7 µs here and 6 µs there.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import msgspec

from basalt.observe.families import Family, Sample

DURATION_BUCKETS_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
MAX_SERIES = 2000  # of one metric; what comes later is counted together, so that a mistake costs no memory
OTHERS = "(others)"

Labels = tuple[str, ...]
M = TypeVar("M", bound="Metric")


class Metric(ABC):
    """What the three kinds have in common. `add` and its like are single steps of the interpreter on one dictionary: no
    other thread comes in between, so that they need no lock."""

    kind: Literal["counter", "gauge", "histogram"]

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.documentation = documentation
        self.labels = tuple(labels)
        _register(self)

    @abstractmethod
    def samples(self) -> list[Sample]:
        """One for each series."""

    def _admit(self, labels: Labels, known: int) -> Labels:
        """The labels of a series that is not there yet. Raises ValueError where they are not as declared."""
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, and was given {labels}")
        return labels if known < MAX_SERIES else (OTHERS,) * len(labels)


class Counter(Metric):
    """Only grows. `basalt_deliveries_total` by ("provider", "status"): `counter.add(3, "fcm", "accepted")`."""

    kind = "counter"

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self._values: dict[Labels, float] = {}
        super().__init__(name, documentation, labels)

    def add(self, amount: float = 1.0, *labels: str) -> None:
        values = self._values
        if labels not in values:
            labels = self._admit(labels, len(values))
            values.setdefault(labels, 0.0)
        values[labels] += amount

    def samples(self) -> list[Sample]:
        if not self.labels and not self._values:
            return [Sample((), 0.0)]  # so that a rate has something to begin from
        return [Sample(labels, value) for labels, value in list(self._values.items())]


class Gauge(Metric):
    """Goes up and down."""

    kind = "gauge"

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self._values: dict[Labels, float] = {}
        super().__init__(name, documentation, labels)

    def set(self, value: float, *labels: str) -> None:
        if labels not in self._values:
            labels = self._admit(labels, len(self._values))
        self._values[labels] = value

    def add(self, amount: float = 1.0, *labels: str) -> None:
        values = self._values
        if labels not in values:
            labels = self._admit(labels, len(values))
            values.setdefault(labels, 0.0)
        values[labels] += amount

    def clear(self) -> None:
        """No values, before those that still exist are set."""
        self._values.clear()

    def samples(self) -> list[Sample]:
        return [Sample(labels, value) for labels, value in list(self._values.items())]


class Durations:
    """How many seconds things took, by buckets. By itself it is a part of a histogram that is taken over later, for
    what happens with every request."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0.0] * (len(DURATION_BUCKETS_S) + 1)
        self.sum_s = 0.0

    def note(self, seconds: float) -> None:
        self.counts[bisect_left(DURATION_BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


class Histogram(Metric):
    """Durations in seconds."""

    kind = "histogram"

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self._durations: dict[Labels, Durations] = {}
        super().__init__(name, documentation, labels)

    def note(self, seconds: float, *labels: str) -> None:
        durations = self._durations.get(labels)
        if durations is None:
            durations = self._add(labels)
        durations.note(seconds)

    def take(self, other: Durations, *labels: str) -> None:
        """Add what was gathered elsewhere, which begins anew."""
        durations = self._durations.get(labels) or self._add(labels)
        durations.counts = [one + more for one, more in zip(durations.counts, other.counts, strict=True)]
        durations.sum_s += other.sum_s
        other.counts = [0.0] * len(other.counts)
        other.sum_s = 0.0

    def samples(self) -> list[Sample]:
        return [Sample(labels, one.sum_s, tuple(one.counts)) for labels, one in list(self._durations.items())]

    def _add(self, labels: Labels) -> Durations:
        return self._durations.setdefault(self._admit(labels, len(self._durations)), Durations())


_metrics: dict[str, Metric] = {}
_callbacks: dict[Callable[[], None], None] = {}


def before_scrape(callback: Callable[[], None]) -> Callable[[], None]:
    """Have `callback` set its gauges before the figures are told; what is returned takes it out again."""
    _callbacks[callback] = None
    return lambda: _callbacks.pop(callback, None)


def snapshot() -> list[Family]:
    """What this process has to tell."""
    for callback in list(_callbacks):
        callback()
    return [
        Family(one.name, one.kind, one.documentation, one.labels, one.samples(), DURATION_BUCKETS_S)
        for one in _metrics.values()
    ]


def encode_snapshot() -> bytes:
    """`snapshot` for another process."""
    return msgspec.msgpack.encode(snapshot())


def decode_snapshot(payload: bytes) -> list[Family]:
    """Raises msgspec.MsgspecError."""
    return msgspec.msgpack.decode(payload, type=list[Family])


def _register(metric: Metric) -> None:
    """Raises ValueError where the name stands for something else already. A module that is imported twice, as doctests
    do, counts on in the second one."""
    known = _metrics.get(metric.name)
    if known is not None and (type(known), known.labels) != (type(metric), metric.labels):
        raise ValueError(f"{metric.name} is declared twice, and differently")
    _metrics[metric.name] = metric
