"""What every cache does, over the database and over Redis."""

import asyncio
from typing import Any

import psycopg
import pytest
import redis

from basalt.config import CacheSettings
from basalt.errors import BasaltError
from basalt.kv import Cache, open_cache
from tests.kv.engines import CacheServer

ABSENT = object()


async def code_of(work: Any) -> str:
    with pytest.raises(BasaltError) as caught:
        await work
    return caught.value.code


async def wait_until(is_so: Any, limit_s: float = 10.0) -> None:
    async with asyncio.timeout(limit_s):
        while not await is_so():
            await asyncio.sleep(0.01)


# Values


@pytest.mark.req("P14")
async def test_a_value_is_what_was_stored_until_its_time_is_over(cache: Cache, key: str) -> None:
    assert await cache.fetch(key) is None
    await cache.store(key, {"rank": [1, 2]}, ttl_s=60)
    assert await cache.fetch(key) == {"rank": [1, 2]}
    await cache.store(key, "newer", ttl_s=0.2)
    assert await cache.fetch(key) == "newer"

    async def is_gone() -> bool:
        return await cache.fetch(key) is None

    began = asyncio.get_running_loop().time()
    await wait_until(is_gone)
    assert 0.1 < asyncio.get_running_loop().time() - began < 1


@pytest.mark.req("P14")
@pytest.mark.parametrize(
    "value",
    [
        None, False, 0, -1.5, 1e300, 2**53 + 1, "", "text", [], {}, [None, [1, [2]]], {"a": {"b": None}, "": 1},
        "quotes \" ' \\ \n \x01 é 漢 🦉", "\\u0000 as text",
    ],
    ids=repr,
)  # fmt: skip
async def test_a_value_of_any_shape_comes_back(cache: Cache, key: str, value: Any) -> None:
    await cache.store(key, value, ttl_s=60)
    found = await cache.fetch(key, ABSENT)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.req("P14")
async def test_a_cached_null_is_told_from_absence_by_a_default(cache: Cache, key: str) -> None:
    assert await cache.fetch(key, ABSENT) is ABSENT
    await cache.store(key, None, ttl_s=60)
    assert await cache.fetch(key, ABSENT) is None

    async def compute() -> Any:
        raise AssertionError("a null is a value")

    assert await cache.fetch_or_compute(key, compute, ttl_s=60) is None


@pytest.mark.req("P14")
@pytest.mark.parametrize(
    "value", [{1, 2}, b"bytes", "nul \0", {"a\0": 1}, 2**70, "\ud800", {1: "a"}], ids=repr
)
async def test_what_json_or_the_database_cannot_hold_is_refused(cache: Cache, key: str, value: Any) -> None:
    assert await code_of(cache.store(key, value, ttl_s=60)) == "cache_value_invalid"
    assert await cache.fetch(key) is None


@pytest.mark.req("P14")
async def test_a_value_over_the_limit_is_refused_by_name_and_size(
    cache_server: CacheServer, key: str
) -> None:
    small = await cache_server.open(max_value_bytes=100)
    await small.store(key, "x" * 98, ttl_s=60)
    with pytest.raises(BasaltError, match="101 bytes as JSON, 100 are allowed") as caught:
        await small.store(key, "x" * 99, ttl_s=60)
    assert (caught.value.code, caught.value.status) == ("cache_value_too_large", 413)
    assert await small.fetch(key) == "x" * 98
    await small.close()


@pytest.mark.req("P14")
async def test_a_value_of_megabytes_is_kept(cache: Cache, key: str) -> None:
    await cache.store(key, ["x" * 1000] * 3000, ttl_s=60)
    assert await cache.fetch(key) == ["x" * 1000] * 3000


@pytest.mark.req("P14")
@pytest.mark.parametrize(
    "odd", [" ", "a b:c/{d}*?[e]'\"\\;--", "漢字 🦉", "x" * 1024, "é" * 512, "\n\t"], ids=repr
)
async def test_odd_keys_are_keys(cache: Cache, odd: str) -> None:
    await cache.store(odd, odd, ttl_s=60)
    assert await cache.fetch(odd) == odd
    assert await cache.delete(odd) == 1


@pytest.mark.req("P14")
@pytest.mark.parametrize(
    "bad", ["", "nul \0", "x" * 1025, "é" * 513, "x" * 8192, "\ud800"], ids=lambda key: repr(key[:9])
)
async def test_keys_that_cannot_be_are_refused(cache: Cache, bad: str) -> None:
    async def compute() -> int:
        raise AssertionError("not for such a key")

    assert await code_of(cache.fetch(bad)) == "cache_key_invalid"
    assert await code_of(cache.store(bad, 1, ttl_s=1)) == "cache_key_invalid"
    assert await code_of(cache.delete("fine", bad)) == "cache_key_invalid"
    assert await code_of(cache.fetch_or_compute(bad, compute, ttl_s=1)) == "cache_key_invalid"


@pytest.mark.req("P14")
@pytest.mark.parametrize("ttl_s", [0, -1, float("nan"), float("inf"), 1e12])
async def test_a_lifetime_that_cannot_be_is_refused(cache: Cache, key: str, ttl_s: float) -> None:
    assert await code_of(cache.store(key, 1, ttl_s=ttl_s)) == "cache_ttl_invalid"


@pytest.mark.req("P14")
async def test_delete_tells_how_many_values_there_were(cache: Cache, key: str) -> None:
    await cache.store(key, 1, ttl_s=60)
    await cache.store(key + "b", 1, ttl_s=60)
    assert await cache.delete(key, key + "b", key + "c") == 2
    assert await cache.delete() == 0
    assert await cache.fetch(key) is None


@pytest.mark.req("P14")
async def test_nobody_waits_for_ever_behind_others(cache: Cache, key: str) -> None:
    """Some pools of connections give them to whoever asks, not to whoever waits."""
    await cache.store(key, 1, ttl_s=60)
    turns: list[int] = []

    async def ask(number: int) -> None:
        for _ in range(10):
            assert await cache.fetch(key) == 1
            turns.append(number)

    await asyncio.gather(*map(ask, range(64)))
    assert set(turns[:320]) == set(range(64))  # in the first half everybody had a turn


# Computing what is missing


@pytest.mark.req("P14", "A13")
async def test_many_callers_in_one_process_are_one_computation(cache: Cache, key: str) -> None:
    computed = []

    async def compute() -> list[int]:
        computed.append(1)
        await asyncio.sleep(0.05)
        return [1, 2]

    answers = await asyncio.gather(*(cache.fetch_or_compute(key, compute, ttl_s=60) for _ in range(100)))
    assert answers == [[1, 2]] * 100
    assert len(computed) == 1
    assert await cache.fetch(key) == [1, 2]


@pytest.mark.req("P14")
async def test_an_exception_goes_to_its_own_caller_and_the_next_one_tries(cache: Cache, key: str) -> None:
    running: list[int] = []

    async def compute(number: int) -> int:
        assert not running, "one at a time"
        running.append(number)
        await asyncio.sleep(0.02)
        running.remove(number)
        if number < 3:
            raise ZeroDivisionError(str(number))
        return number

    calls = (cache.fetch_or_compute(key, lambda n=n: compute(n), ttl_s=60) for n in range(6))  # type: ignore[misc]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    failed = {n: str(answer) for n, answer in enumerate(answers) if isinstance(answer, ZeroDivisionError)}
    assert failed == {n: str(n) for n in failed}
    assert failed[0] == "0"  # who of those that wait comes next is open
    found = {answer for answer in answers if not isinstance(answer, BaseException)}
    assert len(found) == 1
    assert found <= {3, 4, 5}


@pytest.mark.req("P14")
async def test_a_cancelled_computer_frees_the_lease_at_once(cache_server: CacheServer, key: str) -> None:
    first, second = await cache_server.open(lease_s=60), await cache_server.open(lease_s=60)
    started = asyncio.Event()

    async def endless() -> int:
        started.set()
        await asyncio.sleep(60)
        return 1

    async def compute() -> int:
        return 2

    task = asyncio.create_task(first.fetch_or_compute(key, endless, ttl_s=60))
    await started.wait()
    other = asyncio.create_task(second.fetch_or_compute(key, compute, ttl_s=60))
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(5):
        assert await other == 2
    with pytest.raises(asyncio.CancelledError):
        await task
    await first.close()
    await second.close()


@pytest.mark.req("P14")
async def test_who_takes_too_long_is_cancelled_and_another_one_takes_over(cache: Cache, key: str) -> None:
    async def slow() -> int:
        await asyncio.sleep(60)
        return 1

    async def compute() -> int:
        return 2

    first = asyncio.create_task(cache.fetch_or_compute(key, slow, ttl_s=60, limit_s=0.2))
    await asyncio.sleep(0)
    assert await cache.fetch_or_compute(key, compute, ttl_s=60) == 2
    assert await code_of(first) == "cache_computation_timeout"


@pytest.mark.req("P14")
async def test_a_timeout_of_the_computation_itself_stays_what_it_is(cache: Cache, key: str) -> None:
    async def compute() -> int:
        raise TimeoutError("of my own")

    with pytest.raises(TimeoutError, match="of my own"):
        await cache.fetch_or_compute(key, compute, ttl_s=60)


@pytest.mark.req("P14")
async def test_who_waits_gives_up_after_the_limit(cache_server: CacheServer, cache: Cache, key: str) -> None:
    other = await cache_server.open()
    started = asyncio.Event()

    async def slow() -> int:
        started.set()
        await asyncio.sleep(60)
        return 1

    async def compute() -> int:
        raise AssertionError("somebody else does")

    task = asyncio.create_task(cache.fetch_or_compute(key, slow, ttl_s=60))
    await started.wait()
    for waiting in (cache, other):
        assert (
            await code_of(waiting.fetch_or_compute(key, compute, ttl_s=60, limit_s=0.2))
            == "cache_wait_timeout"
        )
    task.cancel()
    await other.close()


@pytest.mark.req("P14")
async def test_what_was_computed_before_a_delete_is_not_kept(
    cache_server: CacheServer, cache: Cache, key: str
) -> None:
    other = await cache_server.open()
    started, go_on = asyncio.Event(), asyncio.Event()

    async def compute_old() -> str:
        started.set()
        await go_on.wait()
        return "old"

    async def compute_new() -> str:
        return "new"

    task = asyncio.create_task(cache.fetch_or_compute(key, compute_old, ttl_s=60))
    await started.wait()
    await other.delete(key)
    assert await other.fetch_or_compute(key, compute_new, ttl_s=60) == "new"
    go_on.set()
    assert await task == "old"
    assert await cache.fetch(key) == "new"
    await other.close()


@pytest.mark.req("P14")
async def test_a_value_that_cannot_be_kept_is_its_callers_error(cache: Cache, key: str) -> None:
    async def compute() -> object:
        return {1, 2}

    assert await code_of(cache.fetch_or_compute(key, compute, ttl_s=60)) == "cache_value_invalid"

    async def compute_well() -> int:
        return 2

    assert await cache.fetch_or_compute(key, compute_well, ttl_s=60) == 2


# Several processes


@pytest.mark.long
@pytest.mark.req("P14", "S4")
async def test_many_callers_in_four_processes_are_one_computation(
    cache_server: CacheServer, key: str
) -> None:
    callers = await asyncio.gather(
        *(cache_server.caller(key, callers=50, work_s=0.05, answer=n, rounds=5) for n in range(4))
    )
    with cache_server.connect() as connection:
        for _ in range(5):
            connection.execute("truncate public.computations")
            for caller in callers:
                caller.start()
            answers = [answer for caller in callers for answer in await answers_of(caller)]
            assert len(answers) == 200
            assert len(set(answers)) == 1
            assert connection.execute("select count(*) from public.computations").fetchone() == (1,)
    await asyncio.gather(*(caller.end() for caller in callers))


async def answers_of(caller: Any) -> list[Any]:
    while (said := await caller.hear()) == "computing":
        pass
    answers: list[Any] = said["answers"]
    return answers


@pytest.mark.req("P14")
async def test_after_kill_9_of_the_computer_another_process_takes_over(
    cache_server: CacheServer, cache: Cache, key: str
) -> None:
    caller = await cache_server.caller(key, work_s=60)
    caller.start()
    assert await caller.hear() == "computing"
    calls = []

    async def compute() -> int:
        calls.append(1)
        return 2

    waiting = [asyncio.create_task(cache.fetch_or_compute(key, compute, ttl_s=60)) for _ in range(5)]
    await asyncio.sleep(0)
    await caller.kill()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting) == [2] * 5
    assert len(calls) == 1


@pytest.mark.long
@pytest.mark.req("P14")
async def test_a_computation_that_outlives_its_lease_is_not_taken_over(
    cache_server: CacheServer, cache: Cache, key: str
) -> None:
    """The lease is a second long and renewed."""
    caller = await cache_server.caller(key, work_s=2.2, answer="theirs")
    caller.start()
    assert await caller.hear() == "computing"

    async def compute() -> str:
        return "mine"

    assert await cache.fetch_or_compute(key, compute, ttl_s=60) == "theirs"
    assert await answers_of(caller) == ["theirs"]
    await caller.end()


@pytest.mark.req("P14")
async def test_who_waits_in_another_process_is_told_at_once(cache_server: CacheServer, key: str) -> None:
    """Not by looking again: that is once a second. The median of several, because machines hesitate."""
    caller = await cache_server.caller(key, work_s=0.1, rounds=5)
    cache = await cache_server.open(lease_s=30)
    took_s = []
    for number in range(5):
        caller.start()
        assert await caller.hear() == "computing"
        began = asyncio.get_running_loop().time()

        async def compute() -> int:
            raise AssertionError("somebody else does")

        assert await cache.fetch_or_compute(f"{key}:{number}", compute, ttl_s=60) == 1
        took_s.append(asyncio.get_running_loop().time() - began)
        await answers_of(caller)
    assert sorted(took_s)[2] < 0.6
    await caller.end()
    await cache.close()


@pytest.mark.req("P14")
async def test_nobody_holds_a_connection_while_computing(cache_server: CacheServer, key: str) -> None:
    """Two lanes serve fifty computations at once."""
    cache = await cache_server.open()
    together = asyncio.Barrier(50)

    async def compute() -> int:
        async with asyncio.timeout(10):
            await together.wait()
        return 1

    calls = (cache.fetch_or_compute(f"{key}:{n}", compute, ttl_s=60) for n in range(50))
    assert await asyncio.gather(*calls) == [1] * 50
    assert cache_server.connections("basalt/cache") <= 4
    await cache.close()


@pytest.mark.req("P14")
async def test_nothing_of_a_computation_is_left_behind(
    cache_server: CacheServer, cache: Cache, key: str
) -> None:
    async def compute() -> int:
        return 1

    async def fail() -> int:
        raise ZeroDivisionError

    await cache.fetch_or_compute(key, compute, ttl_s=60)
    with pytest.raises(ZeroDivisionError):
        await cache.fetch_or_compute(key + "f", fail, ttl_s=60)
    if cache_server.engine == "postgres":
        with cache_server.connect() as connection:

            async def has_none() -> bool:
                found = connection.execute("select from basalt.cache_leases where key like %s", [key + "%"])
                return found.rowcount == 0

            await wait_until(has_none)


# The engine is away


@pytest.mark.req("P14")
async def test_an_engine_that_is_away_is_an_error_of_503_and_comes_back(
    cache_server: CacheServer, key: str
) -> None:
    cache = await cache_server.open()
    await cache.store(key, 1, ttl_s=60)
    if cache_server.redis is not None:
        await cache_server.redis.cut()
    else:
        with cache_server.connect() as connection:
            connection.execute("alter role authenticator nologin")
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'basalt/cache'"
            )

    async def is_away() -> bool:
        try:
            await cache.fetch(key)
        except BasaltError as error:
            return error.status == 503
        return False

    await wait_until(is_away)
    if cache_server.redis is not None:
        await cache_server.redis.restore()
    else:
        with cache_server.connect() as connection:
            connection.execute("alter role authenticator login")

    async def is_back() -> bool:
        return not await is_away()

    await wait_until(is_back, 15)
    await cache.close()


@pytest.mark.req("P14")
async def test_a_server_that_hangs_costs_nobody_more_than_the_limit(
    cache_server: CacheServer, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those for whom there is no connection left."""
    if cache_server.redis is None:
        pytest.skip("lanes have a limit of their own")
    monkeypatch.setattr("basalt.kv.redis.ANSWER_LIMIT_S", 0.5)
    cache = await cache_server.open()
    await cache.store(key, 1, ttl_s=60)
    with redis.Redis.from_url(cache_server.redis.url) as client:
        client.client_pause(60_000, all=False)  # writes; all would pause the end of it too
        began = asyncio.get_running_loop().time()
        codes = await asyncio.gather(*(code_of(cache.store(key, n, ttl_s=60)) for n in range(100)))
        assert set(codes) == {"cache_unavailable"}
        assert asyncio.get_running_loop().time() - began < 3
        client.client_unpause()
    await cache.store(key, 2, ttl_s=60)
    assert await cache.fetch(key) == 2
    await cache.close()


@pytest.mark.req("P14")
async def test_a_cache_that_cannot_be_says_what_is_missing() -> None:
    for settings, message in (
        (CacheSettings(engine="redis"), "needs the address of its server"),
        (CacheSettings(engine="redis", url="http://127.0.0.1"), "basalt.cache.url cannot be used"),
    ):
        with pytest.raises(BasaltError, match=message) as caught:
            await open_cache(settings, conninfo="", project_id="shop")
        assert caught.value.code == "cache_unusable"
    with pytest.raises(BasaltError) as caught:
        await open_cache(
            CacheSettings(engine="redis", url="redis://127.0.0.1:1/0"), conninfo="", project_id="shop"
        )
    assert (caught.value.code, caught.value.status) == ("cache_unavailable", 503)


# The table


@pytest.fixture
def table(cache_server: CacheServer) -> CacheServer:
    if cache_server.engine != "postgres":
        pytest.skip("the table is the database's")
    return cache_server


@pytest.mark.req("P14", "S8")
async def test_purge_removes_what_has_expired_and_passes_over_locked_rows(
    table: CacheServer, cache: Cache
) -> None:
    with table.connect() as connection, table.connect() as other:
        connection.execute("delete from cache.kv_store")
        connection.execute(
            "insert into cache.kv_store (key, value, expires_at) "
            "select 'old ' || n, '1', now() - interval '1 second' from generate_series(1, 2500) as n"
        )
        connection.execute(
            "insert into cache.kv_store (key, value, expires_at) values ('live', '1', now() + interval '1 h')"
        )
        connection.execute("insert into cache.kv_store (key, value) values ('for ever', '1')")
        with other.transaction():
            other.execute("select from cache.kv_store where key = 'old 7' for update")
            assert await cache.purge() == 2499
        assert await cache.purge() == 1
        left = connection.execute("select key from cache.kv_store order by key").fetchall()
        assert left == [("for ever",), ("live",)]
    assert await cache.fetch("for ever") == 1


@pytest.mark.req("P14", "S1", "S4")
async def test_what_sql_wrote_is_fetched_and_the_other_way_round(
    table: CacheServer, cache: Cache, key: str
) -> None:
    with table.connect() as connection:
        connection.execute("set role service_role")
        connection.execute(
            "insert into cache.kv_store (key, value, expires_at) values (%s, %s, now() + interval '24 hours')",
            [key, '{"url": "generations/1.png"}'],
        )
        assert await cache.fetch(key) == {"url": "generations/1.png"}
        await cache.store(key + "p", [1], ttl_s=24 * 3600)
        row = connection.execute(
            "select value, expires_at between now() + interval '86399 s' and now() + interval '86401 s' "
            "from cache.kv_store where key = %s and expires_at > now()", [key + "p"],
        ).fetchone()  # fmt: skip
        assert row == ([1], True)


@pytest.mark.req("P14", "S1")
def test_a_projects_own_migration_of_the_table_still_applies(table: CacheServer) -> None:
    with psycopg.connect(table.access.conninfo("postgres")) as connection:
        for statement in (
            "create schema if not exists cache",
            "create table if not exists cache.kv_store ("
            "key text primary key, value jsonb not null, expires_at timestamptz not null)",
            "alter table cache.kv_store enable row level security",
            "create index if not exists idx_kv_store_expires_at on cache.kv_store (expires_at)",
            'create policy "nobody reads" on cache.kv_store for select to authenticated using (false)',
            "grant usage on schema cache to service_role",
            "grant all on cache.kv_store to service_role",
            "comment on table cache.kv_store is 'ours'",
            "delete from cache.kv_store where expires_at < now()",
        ):
            connection.execute(statement.encode())
        connection.rollback()


@pytest.mark.req("P14")
@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_users_reach_neither_values_nor_leases(table: CacheServer, role: str) -> None:
    with table.connect() as connection:
        connection.execute(f"set role {role}".encode())
        for statement in (
            "select * from cache.kv_store",
            "insert into cache.kv_store (key, value) values ('x', '1')",
            "select * from basalt.cache_leases",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
