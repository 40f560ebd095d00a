"""How an attempt ended, and what follows from it: decisions without I/O.

A job that failed waits before its next attempt: full jitter (a random part of a pause that doubles), so that a
thousand jobs that failed together do not come back together.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from basalt.config import QueueSettings
from basalt.jobs.job import DiscardJob, RetryJob

REASON_CHARS = 2000
RESULT_BYTES = 64 * 1024

WORKER_DIED = "the worker died while it ran"


@dataclass(frozen=True, slots=True)
class Finished:
    """`result` is JSON, kept where the queue keeps finished jobs."""

    result: bytes | None = None


@dataclass(frozen=True, slots=True)
class Retried:
    reason: str
    delay_s: float


@dataclass(frozen=True, slots=True)
class Died:
    reason: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    pass


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The worker stops: the attempt does not count."""


Outcome = Finished | Retried | Died | Cancelled | GivenBack


def plan_after_failure(
    error: BaseException, attempt: int, max_attempts: int, policy: QueueSettings
) -> Retried | Died:
    """What becomes of a job whose attempt raised.

    >>> policy = QueueSettings(first_delay_s=1)
    >>> plan_after_failure(DiscardJob("no such user"), 1, 10, policy)
    Died(reason='no such user')
    >>> plan_after_failure(RetryJob("busy", delay_s=7), 1, 10, policy)
    Retried(reason='busy', delay_s=7)
    >>> plan_after_failure(KeyError("email"), 10, 10, policy)
    Died(reason="KeyError: 'email'")
    """
    reason = describe(error)
    if isinstance(error, DiscardJob) or attempt >= max_attempts:
        return Died(reason)
    if isinstance(error, RetryJob) and error.delay_s is not None:
        return Retried(reason, max(error.delay_s, 0))
    return Retried(reason, compute_delay_s(attempt, policy))


def plan_after_loss(
    attempt: int, max_attempts: int, policy: QueueSettings, *, is_cancelled: bool
) -> Retried | Died | Cancelled:
    """What becomes of a job whose lease ran out. Its attempt counts, so that one that kills its worker dies in the
    end."""
    if is_cancelled:
        return Cancelled()
    if attempt >= max_attempts:
        return Died(WORKER_DIED)
    return Retried(WORKER_DIED, compute_delay_s(attempt, policy))


def compute_delay_s(attempt: int, policy: QueueSettings, draw: Callable[[], float] = random.random) -> float:
    """The pause after the given attempt, a random part of a limit that doubles.

    >>> policy = QueueSettings(first_delay_s=1, longest_delay_s=60)
    >>> [compute_delay_s(attempt, policy, lambda: 1.0) for attempt in (1, 2, 3, 7, 5000)]
    [1.0, 2.0, 4.0, 60.0, 60.0]
    >>> compute_delay_s(3, policy, lambda: 0.25)
    1.0
    """
    doublings = min(attempt - 1, 64)
    return min(policy.longest_delay_s, policy.first_delay_s * float(2**doublings)) * draw()


def describe(error: BaseException) -> str:
    """The reason that is kept and shown: text that PostgreSQL takes, of bounded length.

    >>> describe(ValueError("a\\0b")), describe(RetryJob("busy"))
    ('ValueError: ab', 'busy')
    """
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be read)"
    if not isinstance(error, (RetryJob, DiscardJob)):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return clean(text)[:REASON_CHARS]


def clean(text: str) -> str:
    """Without what PostgreSQL's text cannot hold."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def render_result(result: object) -> bytes | None:
    """JSON of what a handler returned; None for nothing, for what is no JSON, and for more than 64 KB.

    >>> render_result({"sent": 3}), render_result(None), render_result("a\\0b")
    (b'{"sent":3}', None, None)
    """
    if result is None:
        return None
    try:
        rendered = orjson.dumps(result, default=str, option=orjson.OPT_NON_STR_KEYS)
    except Exception:
        return None
    return rendered if len(rendered) <= RESULT_BYTES and b"\\u0000" not in rendered else None
