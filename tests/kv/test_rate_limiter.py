"""Rate limits in memory."""

import pytest

from basalt.kv import MemoryRates, Quota, RateLimiter, Use, rate_memory


@pytest.mark.req("P15")
def test_a_burst_up_to_the_limit_passes_and_the_next_one_waits() -> None:
    limiter = RateLimiter()
    answers = [limiter.take("a", 60, 60, now=1000.0) for _ in range(61)]
    assert answers[:60] == [None] * 60
    assert answers[60] == pytest.approx(1.0)


@pytest.mark.req("P15")
def test_a_refused_request_costs_nothing() -> None:
    limiter = RateLimiter()
    for _ in range(100):
        limiter.take("a", 1, 60, now=1000.0)
    assert limiter.take("a", 1, 60, now=1060.0) is None


@pytest.mark.req("P15")
def test_keys_do_not_share_a_limit() -> None:
    limiter = RateLimiter()
    assert limiter.take("a", 1, 60, now=1.0) is None
    assert limiter.take("b", 1, 60, now=1.0) is None


@pytest.mark.req("P15")
def test_memory_is_bounded_and_made_up_keys_push_out_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_memory, "MAX_KEYS", 100)
    rates = MemoryRates()
    quota = Quota(1, 60.0, 1)
    rates.use_now([Use("203.0.113.9", quota, group="addresses")], now=5.0)
    for number in range(1000):
        rates.use_now([Use(str(number), quota, group="numbers")], now=5.0)
        assert len(rates._groups["numbers"]) <= 100
    assert rates.use_now([Use("203.0.113.9", quota, group="addresses")], now=5.0)[0].is_over
    assert rates.use_now([Use("999", quota, group="numbers")], now=5.0)[0].is_over


def test_a_limit_of_one_lets_one_through_at_any_instant() -> None:
    limiter = RateLimiter()
    for number in range(1000):
        now = 11_111.1 + number / 7
        assert limiter.take(f"key {number}", 1, 3600.0, now=now) is None
        assert limiter.take(f"key {number}", 1, 3600.0, now=now) is not None


def test_looking_uses_nothing() -> None:
    limiter = RateLimiter()
    for _ in range(5):
        assert limiter.wait_s("a", 1, 60.0, now=100.0) is None
    assert limiter.take("a", 1, 60.0, now=100.0) is None
    assert limiter.wait_s("a", 1, 60.0, now=100.0) == 60.0
