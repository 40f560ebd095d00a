"""A job as its handler sees it, and how a handler says that it did not succeed."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Job:
    """`name` says who performs it: a function of the project, or a handler of Basalt's own (with a dot in its name).
    `attempt` counts from 1. `key` is the idempotency key it was enqueued with: the same job may run twice when a
    worker dies after the work and before the acknowledgement, so that a provider that knows keys is given this one,
    or `id`. `report(fraction, note)` makes progress visible within a second; `fraction` is from 0 to 1."""

    id: int
    name: str
    queue: str
    payload: Any
    attempt: int
    max_attempts: int
    key: str | None
    request_id: str | None
    created_at: datetime
    report: Callable[[float, str | None], Awaitable[None]]


Handler = Callable[[Job], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Handlers:
    """`own` by name; `functions` performs every job whose name has no dot in it, and raises DiscardJob for a function
    that does not exist."""

    own: Mapping[str, Handler]
    functions: Handler | None = None

    def find(self, name: str) -> Handler | None:
        """Who performs a job of this name.

        >>> async def send(job: Job) -> None: ...
        >>> handlers = Handlers(own={"basalt.mail": send})
        >>> handlers.find("basalt.mail") is send, handlers.find("basalt.fax"), handlers.find("resize")
        (True, None, None)
        """
        return self.own.get(name) or (self.functions if "." not in name else None)


class RetryJob(Exception):  # noqa: N818  an author reads it as a verb
    """Not now: try again, after `delay_s` where it is given (a provider's `Retry-After`), else after the back-off.
    Counts as an attempt."""

    def __init__(self, reason: str, *, delay_s: float | None = None) -> None:
        super().__init__(reason)
        self.delay_s = delay_s


class DiscardJob(Exception):  # noqa: N818
    """Never: the job becomes a dead letter at once, with this reason."""
