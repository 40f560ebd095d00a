"""Rate limits in each store: memory, PostgreSQL, Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from itertools import count

import psycopg
import pytest
import redis

from basalt import observe
from basalt.config import RateLimitSettings
from basalt.errors import BasaltError
from basalt.kv import Quota, RateCounts, RateStore, RateStoreError, Standing, Use, build_rates
from basalt.kv.rate_postgres import PostgresRates
from basalt.postgres import DatabaseAccess
from tests.bus.brokers import Postgres, Server
from tests.kv.rates import RateServer

pytestmark = pytest.mark.req("P15")

numbers = count(1)
HOURLY = Quota(limit=5, per_s=3600.0, burst=5)


@pytest.fixture
async def store(rate_server: RateServer) -> AsyncIterator[RateStore]:
    opened = rate_server.open()
    yield opened
    await opened.close()


@pytest.fixture
async def two_gateways(rate_server: RateServer) -> AsyncIterator[list[RateStore]]:
    """Two processes' views of one store; the memory is one process's own."""
    opened = [rate_server.open(), rate_server.open()]
    yield opened[:1] * 2 if rate_server.engine == "memory" else opened
    for each in opened:
        await each.close()


@pytest.fixture
def key() -> str:
    return f"key-{next(numbers)}"


async def use(store: RateStore, key: str, quota: Quota = HOURLY, *, peek: bool = False) -> Standing:
    return (await store.use([Use(key, quota)], peek=peek))[0]


async def reach(store: RateStore, key: str) -> None:
    """Until the store answers."""
    async with asyncio.timeout(20):
        while True:
            try:
                await use(store, key)
                return
            except RateStoreError:
                await asyncio.sleep(0.05)


async def test_a_burst_passes_and_what_is_over_it_is_told_when_to_come_back(
    store: RateStore, key: str
) -> None:
    told = [await use(store, key) for _ in range(6)]
    assert [one.is_over for one in told] == [False] * 5 + [True]
    assert [one.remaining(HOURLY) for one in told] == [4, 3, 2, 1, 0, 0]
    assert told[0].full_in_s == pytest.approx(720, abs=0.01)
    assert told[-1].wait_s(HOURLY) == pytest.approx(720, abs=5)


async def test_uses_come_back_evenly(store: RateStore, key: str) -> None:
    fast = Quota(limit=20, per_s=1.0, burst=2)
    assert [(await use(store, key, fast)).is_over for _ in range(2)] == [False, False]
    async with asyncio.timeout(10):
        while (await use(store, key, fast)).is_over:
            await asyncio.sleep(0.005)


async def test_a_burst_may_be_smaller_and_larger_than_the_limit(store: RateStore, key: str) -> None:
    for burst in (2, 9):
        quota = Quota(limit=5, per_s=3600.0, burst=burst)
        told = [(await use(store, f"{key}-{burst}", quota)).is_over for _ in range(12)]
        assert told == [False] * burst + [True] * (12 - burst)


async def test_looking_and_refused_uses_cost_nothing(store: RateStore, key: str) -> None:
    for _ in range(20):
        assert not (await use(store, key, peek=True)).is_over
    for _ in range(30):
        last = await use(store, key)
    assert last.wait_s(HOURLY) == pytest.approx(720, abs=5)
    assert (await use(store, key, peek=True)).is_over


async def test_bursts_are_exact_however_many_ask_at_once(two_gateways: list[RateStore], key: str) -> None:
    quota = Quota(limit=50, per_s=3600.0, burst=50)
    told = await asyncio.gather(*(use(two_gateways[n % 2], key, quota) for n in range(200)))
    assert sum(not one.is_over for one in told) == 50


async def test_nobody_waits_for_ever_behind_others(
    rate_server: RateServer, store: RateStore, key: str
) -> None:
    """Some pools of connections give them to whoever asks, not to whoever waits."""
    if rate_server.engine == "memory":
        pytest.skip("memory lets nobody wait")
    quota = Quota(limit=10_000, per_s=3600.0, burst=10_000)
    turns: list[int] = []

    async def ask(number: int) -> None:
        for _ in range(10):
            await use(store, key, quota)
            turns.append(number)

    await asyncio.gather(*map(ask, range(64)))
    assert set(turns[:320]) == set(range(64))  # in the first half everybody had a turn


async def test_gateways_count_together_and_projects_do_not(
    rate_server: RateServer, two_gateways: list[RateStore], key: str
) -> None:
    told = [(await use(two_gateways[n % 2], key)).is_over for n in range(6)]
    assert told == [False] * 5 + [True]
    if rate_server.engine == "redis":
        other = rate_server.open("another project")
        assert not (await use(other, key)).is_over
        await other.close()


async def test_what_one_rule_refuses_no_other_one_counts(store: RateStore, key: str) -> None:
    narrow, wide = Quota(1, 3600.0, 1), Quota(10, 3600.0, 10)
    uses = [Use(f"{key}-narrow", narrow), Use(f"{key}-wide", wide)]
    told = [await store.use(uses) for _ in range(4)]
    assert [[one.is_over for one in standings] for standings in told] == [[False, False]] + [
        [True, False]
    ] * 3
    assert (await use(store, f"{key}-wide", wide, peek=True)).remaining(wide) == 9


async def test_what_is_not_binding_hinders_nobody(store: RateStore, key: str) -> None:
    uses = [Use(f"{key}-shadow", Quota(1, 3600.0, 1), binding=False), Use(key, HOURLY)]
    told = [await store.use(uses) for _ in range(5)]
    assert [[one.is_over for one in standings] for standings in told] == [[False, False]] + [
        [True, False]
    ] * 4
    assert (await use(store, key)).is_over


async def test_rules_in_any_order_never_wait_for_each_other(two_gateways: list[RateStore], key: str) -> None:
    quota = Quota(10_000, 3600.0, 10_000)
    uses = [Use(f"{key}-{n}", quota) for n in range(4)]
    turns = [uses if n % 2 else uses[::-1] for n in range(100)]
    await asyncio.gather(*(two_gateways[n % 2].use(turn) for n, turn in enumerate(turns)))
    for one in uses:
        left = (await two_gateways[0].use([one], peek=True))[0].remaining(quota)
        assert 9_900 <= left <= 9_901  # a use comes back every third of a second


async def test_keys_that_nobody_would_write_are_keys(store: RateStore) -> None:
    for odd in ("", "a'b\"c\\", "ключ", "k" * 5000, "a\nb", "\udcff"):
        assert not (await use(store, odd, Quota(1, 3600.0, 1))).is_over
        assert (await use(store, odd, Quota(1, 3600.0, 1))).is_over


async def test_a_clock_that_was_set_back_makes_a_bucket_empty_and_no_more(
    rate_server: RateServer, store: RateStore, key: str
) -> None:
    """As when an instant was stored by a clock that was a day ahead."""
    await use(store, key)
    match rate_server.broker:
        case Server(url=url):
            with redis.Redis.from_url(url) as client:
                for name in client.scan_iter():
                    client.set(name, int(client.get(name)) + 86400 * 10**6)
        case Postgres():
            with rate_server.connect() as connection:
                connection.execute("update basalt.rate_limits set full_at = full_at + interval '1 day'")
        case None:
            pytest.skip("the monotonic clock is never set")
    told = await use(store, key)
    assert told.is_over
    assert told.wait_s(HOURLY) == pytest.approx(720, abs=1)


async def test_a_store_that_is_away_is_reported_once_and_back_by_itself(
    rate_server: RateServer, key: str, capfd: pytest.CaptureFixture[str]
) -> None:
    broker = rate_server.broker
    if broker is None:
        pytest.skip("memory is never away")
    store = rate_server.open(timeout_s=2.0)
    await reach(store, key)
    await broker.cut()
    loop = asyncio.get_running_loop()
    for _ in range(50):
        with pytest.raises(RateStoreError):
            await use(store, key)
    began = loop.time()
    with pytest.raises(RateStoreError):
        await use(store, key)
    assert loop.time() - began < 2.5
    counts = RateCounts(store)
    assert [await counts.take(key, 2, 3600.0) is None for _ in range(3)] == [True, True, False]
    await broker.restore()
    await reach(store, key)
    left = (await use(store, key, peek=True)).remaining(HOURLY)
    assert left == (4 if isinstance(broker, Server) else 3)  # a Redis that saves nothing begins anew
    await store.close()
    observe.flush()
    log = capfd.readouterr().err
    assert log.count("rate_limit_store_lost") == 1
    assert log.count("rate_limit_store_back") == 1


async def test_a_store_that_hangs_costs_the_time_limit_once(rate_server: RateServer, key: str) -> None:
    if rate_server.broker is None:
        pytest.skip("memory never hangs")
    store = rate_server.open(timeout_s=1.0)
    await reach(store, key)
    with ExitStack() as stack:
        if isinstance(rate_server.broker, Server):
            client = stack.enter_context(redis.Redis.from_url(rate_server.broker.url))
            client.client_pause(60_000, all=False)  # all would pause the end of it too
            stack.callback(client.client_unpause)
        else:
            holder = stack.enter_context(rate_server.connect())
            stack.enter_context(holder.transaction())
            holder.execute("lock table basalt.rate_limits")
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(20):
            with pytest.raises(RateStoreError):
                await use(store, key)
        assert 0.9 < loop.time() - began < 3
    await reach(store, key)
    await store.close()


async def test_nothing_in_a_shared_store_tells_who_was_counted(
    rate_server: RateServer, store: RateStore
) -> None:
    await use(store, "codes|ada@example.com|203.0.113.9")
    with rate_server.connect() as connection:
        kept = str(connection.execute("select * from basalt.rate_limits").fetchall())
    if isinstance(rate_server.broker, Server):
        with redis.Redis.from_url(rate_server.broker.url) as client:
            kept += str([(name, client.get(name)) for name in client.scan_iter()])
    assert "ada@" not in kept
    assert "203.0.113" not in kept


async def test_full_buckets_are_removed(rate_server: RateServer, store: RateStore, key: str) -> None:
    await use(store, f"{key}-short", Quota(1000, 1.0, 1000))
    await use(store, f"{key}-long")
    match rate_server.broker:
        case Server(url=url):
            with redis.Redis.from_url(url) as client:
                left_ms = [client.pttl(name) for name in client.scan_iter()]
                assert -1 not in left_ms  # which would be for ever; -2 has just gone
                assert max(left_ms) <= 86_400_000 + 1000
        case Postgres():
            rates = PostgresRates(rate_server.access.conninfo("authenticator"))
            with rate_server.connect() as connection:
                connection.execute("update basalt.rate_limits set full_at = now() where key <> ''")
                connection.execute(
                    "insert into basalt.rate_limits values ('live', now() + interval '1 hour')"
                )
                removed = await rates.purge()
                assert removed > 1
                assert connection.execute("select key from basalt.rate_limits").fetchall() == [("live",)]
            await rates.close()
        case None:
            pytest.skip("memory forgets when it is full")


def test_callers_of_the_api_reach_no_counts(database: DatabaseAccess) -> None:
    statements = (
        "select * from basalt.rate_limits",
        "select basalt.use_rates('[]', false)",
        "select basalt.purge_rates(1)",
    )
    with psycopg.connect(database.conninfo("authenticator"), autocommit=True) as connection:
        for role in ("anon", "authenticated", "service_role"):
            connection.execute("select set_config('role', %s, false)", [role])
            for statement in statements:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())


def test_a_store_that_cannot_be_is_refused_with_what_to_do() -> None:
    def build(url: str | None) -> RateStore:
        settings = RateLimitSettings(store="redis")
        return build_rates(settings, conninfo="", project_id="shop", url=url)

    with pytest.raises(BasaltError, match="need the address of the server"):
        build(None)
    with pytest.raises(BasaltError, match="url cannot be used"):
        build("http://nowhere")
