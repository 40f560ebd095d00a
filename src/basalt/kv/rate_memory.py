"""Rate limits in the memory of one process: dictionaries of instants by the monotonic clock, no task and no lock."""

import time
from collections.abc import Sequence
from itertools import islice

from basalt.kv.gcra import ROUNDING_S, Standing, Use

MAX_KEYS = 100_000


class MemoryRates:
    """A `RateStore`. Memory is bounded for each group of buckets, so that keys which callers make up push out no other
    ones: those that are full again are forgotten first."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, float]] = {}

    async def use(self, uses: Sequence[Use], *, peek: bool = False) -> Sequence[Standing]:
        return self.use_now(uses, peek=peek)

    async def close(self) -> None:
        self._groups.clear()

    def use_now(self, uses: Sequence[Use], *, peek: bool = False, now: float | None = None) -> list[Standing]:
        moment = time.monotonic() if now is None else now
        if len(uses) == 1 and not peek:  # as it nearly always is
            told = self._look(uses[0], moment)
            return [told if told.is_over else self._take(uses[0], moment, told.full_in_s)]
        standings = [self._look(use, moment) for use in uses]
        if peek or any(told.is_over and use.binding for use, told in zip(uses, standings, strict=True)):
            return standings
        return [
            told if told.is_over else self._take(use, moment, told.full_in_s)
            for use, told in zip(uses, standings, strict=True)
        ]

    def _look(self, use: Use, moment: float) -> Standing:
        group = self._groups.get(use.group)
        full_in_s = 0.0 if group is None else group.get(use.key, 0.0) - moment
        if full_in_s < 0.0:
            full_in_s = 0.0
        quota = use.quota
        is_over = full_in_s + quota.interval_s - quota.most_s > ROUNDING_S
        return Standing(is_over, full_in_s)

    def _take(self, use: Use, moment: float, full_in_s: float) -> Standing:
        full_in_s += use.quota.interval_s
        group = self._groups.setdefault(use.group, {})
        if len(group) >= MAX_KEYS and use.key not in group:
            self._groups[use.group] = group = _forget(group, moment)
        group[use.key] = moment + full_in_s
        return Standing(False, full_in_s)


def _forget(group: dict[str, float], moment: float) -> dict[str, float]:
    """Half empty at least, so that looking through all of them is rare."""
    live = {key: full_at for key, full_at in group.items() if full_at > moment}
    excess = len(live) - MAX_KEYS // 2
    for key in list(islice(live, max(excess, 0))):
        del live[key]
    return live
