"""How far a worker claims ahead, by when jobs ended: from values alone."""

from collections.abc import Iterable

import pytest

from basalt.jobs.attention import MANY, WINDOW_S, Attention, Flow

pytestmark = pytest.mark.req("P10")


def every(pause_s: float, *, start: float = 100.0, stop: float) -> Iterable[float]:
    return (start + number * pause_s for number in range(int((stop - start) / pause_s) + 1))


BURST = [*every(0.0002, stop=100.5)]  # 5,000 a second

JOBS = {
    "nothing-has-ended": ([], 100.0, 0),
    "short-ones": (BURST, 100.5, 100),
    "short-ones-with-a-hiccup": (BURST, 100.54, 100),
    "short-ones-that-have-ended": (BURST, 100.56, 50),
    "long-ones-after-short-ones": (BURST, 101.0, 0),
    "long-ones-for-a-day": (BURST, 86_500.0, 0),
    "one-of-the-long-ones-ends": ([*BURST, 120.0], 120.0, 0),
    "short-ones-again": ([*BURST, *every(0.0002, start=110.0, stop=110.2)], 110.2, 100),
    "as-fast-as-never": ([*every(0.00001, stop=100.2)], 100.2, 500),
    "one-every-second": ([*every(1.0, stop=130.0)], 130.0, 0),
    "a-clock-that-stands": ([100.0] * 1000, 100.0, 0),
}


@pytest.mark.parametrize(("ends", "now", "ahead"), JOBS.values(), ids=JOBS)
def test_a_worker_claims_ahead_what_ends_while_it_asks(ends: list[float], now: float, ahead: int) -> None:
    flow = Flow()
    for at in ends:
        flow.note_end(at)
    assert flow.ahead(now) == ahead
    assert flow.ahead(now) == ahead  # asking changes nothing


def test_a_worker_that_is_never_idle_remembers_no_more_than_it_needs() -> None:
    attention = Attention()
    for number in range(100_000):
        attention.note_saturation(number * 0.001)
    assert len(attention._finds) == MANY + 1
    assert attention.is_busy(100.0)
    assert not attention.is_busy(100.0 + WINDOW_S)
