"""Whether a worker waits for notifications or looks by itself.

A notification finds an idle worker within a millisecond, but makes commits queue up behind each other. So while jobs
come often a worker looks every few milliseconds and wants no notifications; when they come rarely it wants them, and
looks only now and then in case one was lost.
"""

from collections import deque

WINDOW_S = 0.25
MANY = 12
FEW = 4
LOOK_EVERY_S = 0.005


class Attention:
    """
    >>> attention = Attention()
    >>> for number in range(20): attention.note_find(number * 0.005)
    >>> attention.is_busy(0.1), attention.is_busy(0.2), attention.is_busy(0.4)
    (True, True, False)
    """

    def __init__(self) -> None:
        self._finds: deque[float] = deque(maxlen=MANY + 1)  # older ones make no difference
        self._is_busy = False

    def note_find(self, now: float) -> None:
        """A look that found jobs."""
        self._finds.append(now)

    def note_saturation(self, now: float) -> None:
        """Every slot is taken: there is nothing that this worker could be told."""
        self._finds.extend([now] * MANY)

    def is_busy(self, now: float) -> bool:
        while self._finds and self._finds[0] < now - WINDOW_S:
            self._finds.popleft()
        self._is_busy = len(self._finds) > (FEW if self._is_busy else MANY)
        return self._is_busy


class Flow:
    """How many jobs to claim beyond those that can run at once: as many as end while a claim is on its way. With short
    jobs the slots would be empty meanwhile; with long ones it is none, and another worker gets them. What was measured
    is halved with every window in which nothing ended: jobs that run long say nothing until they end.

    >>> flow = Flow()
    >>> for number in range(1001): flow.note_end(number / 5000)
    >>> [flow.ahead(0.2 + idle_s) for idle_s in (0.0, 0.04, 0.06, 0.11, 0.36)]
    [100, 100, 50, 25, 0]
    """

    AHEAD_S = 0.02
    WINDOW_S = 0.05
    MOST = 500

    def __init__(self) -> None:
        self._measured = 0
        self._since = 0.0
        self._ended = 0
        self._last_end = 0.0

    def note_end(self, now: float) -> None:
        self._ended += 1
        self._last_end = now
        if (passed_s := now - self._since) >= self.WINDOW_S:
            self._measured = min(self.MOST, round(self._ended / passed_s * self.AHEAD_S))
            self._since = now
            self._ended = 0

    def ahead(self, now: float) -> int:
        return self._measured >> int((now - self._last_end) / self.WINDOW_S)
