"""Which statements are slow: a short memory, so that a slow statement blocks others only until it is known.

Requests behind a slow statement wait for it, because a lane answers in order. The pool notices slowness when
it happens; this remembers it by SQL text, and the next run of the same statement gets a lane of its own.
"""

from collections import OrderedDict

SLOW_S = 0.025
WEIGHT = 0.2
CEILING_S = 4 * SLOW_S  # seven fast runs make up for any stall, a lock held elsewhere for one
REMEMBERED = 512


class StatementCosts:
    """
    >>> costs = StatementCosts()
    >>> costs.note("select pg_sleep(1)", 1.0)
    >>> costs.is_slow("select pg_sleep(1)"), costs.is_slow("select 1")
    (True, False)
    >>> for _ in range(8): costs.note("select pg_sleep(1)", 0.001)
    >>> costs.is_slow("select pg_sleep(1)"), len(costs)
    (False, 1)
    """

    def __init__(self) -> None:
        self._costs: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._costs)

    def is_slow(self, sql: str) -> bool:
        return self._costs.get(sql, 0.0) > SLOW_S

    def note(self, sql: str, ran_s: float) -> None:
        """Fast statements that never were slow are not kept: there is nothing to remember."""
        ran_s = min(ran_s, CEILING_S)
        known = self._costs.get(sql)
        if known is None:
            if ran_s > SLOW_S:
                self._costs[sql] = ran_s
                if len(self._costs) > REMEMBERED:
                    self._costs.popitem(last=False)
        else:
            cost = known + (ran_s - known) * WEIGHT
            if cost > SLOW_S / 100:
                self._costs[sql] = cost
            else:
                del self._costs[sql]
