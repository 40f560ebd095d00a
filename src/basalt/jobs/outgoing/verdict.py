"""What becomes of a webhook after an attempt: pure decisions."""

from dataclasses import dataclass
from typing import assert_never

from basalt.config import WebhookSettings
from basalt.jobs.outgoing.outcome import Outcome

# The same request would fail again in the same way.
PERMANENT = ("forbidden_address", "invalid")
LONGEST_DOUBLING = 40


@dataclass(frozen=True, slots=True)
class Delivered:
    pass


@dataclass(frozen=True, slots=True)
class Retry:
    delay_s: float


@dataclass(frozen=True, slots=True)
class GivenUp:
    reason: str


Verdict = Delivered | Retry | GivenUp


def judge(
    outcome: Outcome, *, attempt: int, max_attempts: int, settings: WebhookSettings, spread: float
) -> Verdict:
    """2xx is delivered. No answer, 5xx and 429 are tried again while attempts are left; any other answer will not get
    better. `spread` is random, from 0 to 1: receivers that were down are not asked by everybody at once.

    >>> settings = WebhookSettings()
    >>> busy = Outcome(status=429, retry_after_s=120)
    >>> judge(busy, attempt=1, max_attempts=8, settings=settings, spread=0.5)
    Retry(delay_s=120)
    >>> judge(Outcome(status=503), attempt=3, max_attempts=8, settings=settings, spread=0.5)
    Retry(delay_s=40.0)
    >>> judge(Outcome(status=503), attempt=8, max_attempts=8, settings=settings, spread=0.5)
    GivenUp(reason='answered 503, attempt 8 of 8')
    >>> judge(Outcome(status=404), attempt=1, max_attempts=8, settings=settings, spread=0.5)
    GivenUp(reason='answered 404')
    """
    if outcome.status is not None and 200 <= outcome.status < 300:
        return Delivered()
    problem = f"answered {outcome.status}" if outcome.status is not None else str(outcome.error_msg)
    is_answered = outcome.status is not None and outcome.status < 500 and outcome.status != 429
    if is_answered or outcome.failure in PERMANENT:
        return GivenUp(problem)
    if attempt >= max_attempts:
        return GivenUp(f"{problem}, attempt {attempt} of {max_attempts}")
    delay_s = min(settings.first_delay_s * 2 ** min(attempt - 1, LONGEST_DOUBLING), settings.longest_delay_s)
    delay_s *= 0.75 + 0.5 * spread
    return Retry(min(max(delay_s, outcome.retry_after_s or 0), settings.longest_delay_s))


def name_of(verdict: Verdict) -> str:
    match verdict:
        case Delivered():
            return "delivered"
        case Retry():
            return "retry"
        case GivenUp():
            return "given_up"
        case _:
            assert_never(verdict)
