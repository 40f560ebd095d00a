"""Rate limits by the generic cell rate algorithm: what a bucket says, whoever keeps it.

A bucket is one instant, at which it is full again. Each use moves it on by `per_s / limit`; a use that would move it
further than `burst` of those away is refused and costs nothing. So a burst passes, the rest evenly, and nothing runs
while nobody asks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

ROUNDING_S = 1e-6  # of sums of instants; without it the only one of a limit of one may be refused


@dataclass(frozen=True, slots=True)
class Quota:
    """`limit` uses in `per_s` seconds, `burst` of them at once. `interval_s` is the time of one, `most_s` how far ahead
    the instant of an empty bucket is."""

    limit: int
    per_s: float
    burst: int
    interval_s: float = field(init=False)
    most_s: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "interval_s", self.per_s / self.limit)
        object.__setattr__(self, "most_s", self.burst * self.per_s / self.limit)


class Use(NamedTuple):
    """One use of a bucket. One that is not `binding` is counted and hinders nobody. `group` names those that a store
    with little room may forget together; keys are unique without it."""

    key: str
    quota: Quota
    binding: bool = True
    group: str = ""


class Standing(NamedTuple):
    """What a bucket says after it was asked: whether it had nothing left, and in how many seconds it is full."""

    is_over: bool
    full_in_s: float

    def remaining(self, quota: Quota) -> int:
        """How many uses would pass at once.

        >>> Standing(False, 3.0).remaining(Quota(limit=60, per_s=60.0, burst=10))
        7
        """
        return max(0, int((quota.most_s - self.full_in_s) / quota.interval_s + ROUNDING_S))

    def wait_s(self, quota: Quota) -> float:
        """Seconds until the next use passes.

        >>> Standing(True, 60.0).wait_s(Quota(limit=2, per_s=60.0, burst=2))
        30.0
        """
        return max(0.0, self.full_in_s + quota.interval_s - quota.most_s)


class RateStore(Protocol):
    """Keeps the buckets. Time is the store's own; a clock that was set back makes a bucket empty at most."""

    async def use(self, uses: Sequence[Use], *, peek: bool = False) -> Sequence[Standing]:
        """All or none: what one binding bucket refuses is counted by no other one. With `peek` nothing is counted at
        all. Raises RateStoreError where the buckets cannot be reached within the time limit."""

    async def close(self) -> None: ...


class RateStoreError(Exception):
    """The buckets cannot be reached."""
