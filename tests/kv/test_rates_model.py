"""Each store of rate limits against a bucket of tokens, the plain form of the same limit: what is drawn out comes back
evenly, up to the burst."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basalt.kv import MemoryRates, Quota, RateStore, Standing, Use
from tests.bus.brokers import Server
from tests.kv.rates import RateServer

pytestmark = pytest.mark.req("P15")

UNIT_S = 3600.0  # long beside the time that a test takes
QUOTAS = [
    Quota(limit=1, per_s=8 * UNIT_S, burst=1),
    Quota(limit=4, per_s=8 * UNIT_S, burst=4),
    Quota(limit=2, per_s=8 * UNIT_S, burst=5),
    Quota(limit=8, per_s=8 * UNIT_S, burst=2),
    Quota(limit=3, per_s=12 * UNIT_S, burst=1000),
]


@dataclass(frozen=True)
class Step:
    """`wait` quarters of a unit, then one request: buckets by their number, which is its quota's."""

    wait: int
    buckets: tuple[int, ...]
    shadow: frozenset[int]
    peek: bool


@dataclass
class Model:
    tokens: dict[int, Fraction] = field(default_factory=dict)

    def pass_time(self, quarters: int) -> None:
        for number, quota in enumerate(QUOTAS):
            grown = self.left(number) + Fraction(quarters) / 4 / Fraction(quota.interval_s / UNIT_S)
            self.tokens[number] = min(Fraction(quota.burst), grown)

    def left(self, number: int) -> Fraction:
        return self.tokens.get(number, Fraction(QUOTAS[number].burst))

    def use(self, step: Step) -> list[tuple[bool, float, int]]:
        over = {number: self.left(number) < 1 for number in step.buckets}
        if not step.peek and not any(over[number] for number in step.buckets if number not in step.shadow):
            for number in step.buckets:
                if not over[number]:
                    self.tokens[number] = self.left(number) - 1
        return [
            (
                over[number],
                float(QUOTAS[number].burst - self.left(number)) * QUOTAS[number].interval_s,
                math.floor(self.left(number)),
            )
            for number in step.buckets
        ]


# Tokens come in parts of a thirty-second, beside which the milliseconds that a test takes are nothing.
steps = st.lists(
    st.builds(
        lambda wait, buckets, shadow, peek: Step(wait, tuple(buckets), frozenset(shadow), peek),
        st.sampled_from([0, 0, 0, 1, 3, 5, 9, 17, 33]),
        st.lists(st.integers(0, len(QUOTAS) - 1), min_size=1, max_size=3, unique=True),
        st.sets(st.integers(0, len(QUOTAS) - 1), max_size=2),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=25,
)


def test_every_store_counts_like_a_bucket_of_tokens(rate_server: RateServer) -> None:
    with asyncio.Runner() as runner:
        buckets = Buckets(rate_server)

        @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(steps)
        def check(wanted: list[Step]) -> None:
            model = Model()
            buckets.clear()
            for step in wanted:
                model.pass_time(step.wait)
                buckets.pass_time(step.wait * UNIT_S / 4)
                uses = [Use(f"bucket {n}", QUOTAS[n], n not in step.shadow) for n in step.buckets]
                told = runner.run(buckets.use(uses, peek=step.peek))
                for number, one, (is_over, full_in_s, left) in zip(
                    step.buckets, told, model.use(step), strict=True
                ):
                    assert one.is_over is is_over
                    assert one.remaining(QUOTAS[number]) == left
                    assert one.full_in_s == pytest.approx(full_in_s, abs=UNIT_S / 60)

        check()
        runner.run(buckets.close())


class Buckets:
    """A store whose time can be let pass: the instants that it keeps are set back by as much."""

    def __init__(self, server: RateServer) -> None:
        self.now = 1000.0
        self.store: RateStore = MemoryRates() if server.broker is None else server.open()
        self.connection = server.connect()
        self.client = redis.Redis.from_url(server.broker.url) if isinstance(server.broker, Server) else None

    def clear(self) -> None:
        if isinstance(self.store, MemoryRates):
            self.store = MemoryRates()
        elif self.client is not None:
            self.client.flushdb()
        else:
            self.connection.execute("delete from basalt.rate_limits")

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        if self.client is not None:
            for name in self.client.scan_iter():
                self.client.set(name, int(self.client.get(name)) - round(seconds * 1e6), keepttl=True)
        elif not isinstance(self.store, MemoryRates):
            self.connection.execute(
                "update basalt.rate_limits set full_at = full_at - make_interval(secs => %s)", [seconds]
            )

    async def use(self, uses: Sequence[Use], *, peek: bool) -> Sequence[Standing]:
        if isinstance(self.store, MemoryRates):
            return self.store.use_now(uses, peek=peek, now=self.now)
        return await self.store.use(uses, peek=peek)

    async def close(self) -> None:
        await self.store.close()
        self.connection.close()
        if self.client is not None:
            self.client.close()
