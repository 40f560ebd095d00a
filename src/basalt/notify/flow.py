"""How much of one provider's work a dispatcher has in hand: as much as the provider ends in about a second.

What is in hand is lost time when the worker is told to stop, and doubles when it dies; too little lets a fast provider
wait for the next claim.
"""

QUICK_S = 1.0
SLOW_S = 4.0


class Flow:
    """`chunk` is how much the provider takes at once, `most` the bound.

    >>> flow = Flow(chunk=100, most=1000)
    >>> flow.room
    200
    >>> for _ in range(3): flow.note(took_s=0.2)
    >>> flow.room
    1000
    >>> flow.note(took_s=20.0); flow.room
    500
    """

    def __init__(self, *, chunk: int, most: int) -> None:
        self._least = min(2 * chunk, most)
        self._most = most
        self.room = self._least

    def note(self, *, took_s: float) -> None:
        """After each chunk."""
        if took_s < QUICK_S:
            self.room = min(self.room * 2, self._most)
        elif took_s > SLOW_S:
            self.room = max(self.room // 2, self._least)
