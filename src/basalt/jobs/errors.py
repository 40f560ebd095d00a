"""What goes wrong when jobs are enqueued or looked after."""

from basalt.errors import BasaltError


class JobError(BasaltError):
    """A job that cannot be enqueued, found or changed."""


class QueueFullError(JobError):
    """The queue has as many waiting jobs as it may have."""

    def __init__(self, queue: str, retry_after_s: int) -> None:
        super().__init__(
            "QUEUE_FULL",
            429,
            f"The queue {queue} is full",
            details={"queue": queue, "retry_after": retry_after_s},
            headers=[("Retry-After", str(retry_after_s))],
        )
        self.retry_after_s = retry_after_s
