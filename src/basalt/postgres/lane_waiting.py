"""Where requests wait when no lane will take them: a bound, a deadline, a 503 beyond either."""

from collections import deque
from collections.abc import Callable

from basalt.postgres.lane_job import Job
from basalt.postgres.postgres_error import LanesUnavailable


class WaitingRoom:
    """Two queues, so that requests that need a lane of their own hold up nobody else. `on_refusal` is told why a
    request gets none: `busy` or `disconnected`."""

    def __init__(self, *, limit: int, wait_s: float, on_refusal: Callable[[str], None]) -> None:
        self._limit = limit
        self._wait_s = wait_s
        self._on_refusal = on_refusal
        self.shared: deque[Job] = deque()
        self.exclusive: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self.shared) + len(self.exclusive)

    def add(self, job: Job, now: float) -> None:
        if len(self) >= self._limit:
            self._on_refusal("busy")
            raise LanesUnavailable("busy", retry_after_s=self._wait_s)
        job.queued_at = now
        (self.exclusive if job.exclusive else self.shared).append(job)

    def discard(self, job: Job) -> None:
        """Its caller has gone."""
        for queue in (self.shared, self.exclusive):
            if job in queue:
                queue.remove(job)

    def expire(self, now: float) -> None:
        for queue in (self.shared, self.exclusive):
            while queue and now - queue[0].queued_at > self._wait_s:
                self._on_refusal("busy")
                queue.popleft().fail(LanesUnavailable("busy", retry_after_s=self._wait_s))

    def fail_all(self, retry_after_s: float) -> None:
        for queue in (self.shared, self.exclusive):
            while queue:
                self._on_refusal("disconnected")
                queue.popleft().fail(LanesUnavailable("disconnected", retry_after_s=retry_after_s))
