"""Callers that go away: their statement ends in PostgreSQL, their neighbours on the lane do not notice."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import psycopg
import pytest

from basalt.postgres import LanePool, PostgresError, Query, Result

OpenLanes = Callable[..., AbstractAsyncContextManager[LanePool]]
Observer = psycopg.Connection[tuple[Any, ...]]
RUNNING = """select count(*) from pg_stat_activity
    where state = 'active' and query like %s and pid <> pg_backend_pid()"""


def value(results: list[Result]) -> str:
    return (results[-1].rows[0][0] or b"null").decode()


async def until(observer: Observer, sql: str, pattern: str, wanted: int, limit_s: float = 5.0) -> None:
    deadline = time.monotonic() + limit_s
    while (row := observer.execute(sql, (pattern,)).fetchone()) != (wanted,):
        assert time.monotonic() < deadline, f"{row} and not {wanted}"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("own_lane", [False, True])
async def test_a_cancelled_request_stops_running_in_postgresql(
    lanes: LanePool, observer: Observer, own_lane: bool
) -> None:
    task = asyncio.create_task(lanes.execute([Query("select pg_sleep(60)")], own_lane=own_lane))
    await until(observer, RUNNING, "%sleep(60)%", 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(observer, RUNNING, "%sleep(60)%", 0)
    assert value(await lanes.execute([Query("select 'well'")])) == "well"


async def test_neighbours_of_a_cancelled_statement_run_exactly_once(
    open_lanes: OpenLanes, observer: Observer
) -> None:
    observer.execute("create table public.done (id int)")
    async with open_lanes("postgres", size=1, spare=0) as lanes:
        for attempt in range(10):
            slow = asyncio.create_task(lanes.execute([Query("select pg_sleep(60), 'slow'")]))
            await asyncio.sleep(0)
            insert = "insert into public.done select $1::int from pg_sleep(0.002)"
            neighbours = [
                asyncio.create_task(lanes.execute([Query(insert, (b"%d" % (attempt * 100 + number),))]))
                for number in range(20)
            ]
            await asyncio.sleep(0.01)
            slow.cancel()
            async with asyncio.timeout(10):
                answers = await asyncio.gather(*neighbours)
            assert [answer[0].command_tag for answer in answers] == ["INSERT 0 1"] * 20
    assert observer.execute("select count(*), count(distinct id) from public.done").fetchone() == (200, 200)


async def test_a_cancel_request_that_comes_too_late_hits_nobody(
    open_lanes: OpenLanes, observer: Observer
) -> None:
    """The abandoned statement ends about when the cancel request arrives; whatever follows must be
    unharmed."""
    observer.execute("create table public.done (id int)")
    async with open_lanes("postgres", size=1, spare=0) as lanes:
        insert = "insert into public.done select $1::int from pg_sleep(0.01)"
        for attempt in range(40):
            sleep_s = b"%.4f" % (0.024 + attempt * 0.0005)
            slow = asyncio.create_task(lanes.execute([Query("select pg_sleep($1::float)", (sleep_s,))]))
            await asyncio.sleep(0)
            neighbours = [
                asyncio.create_task(lanes.execute([Query(insert, (b"%d" % (attempt * 10 + number),))]))
                for number in range(3)
            ]
            await asyncio.sleep(0.001)
            slow.cancel()
            async with asyncio.timeout(10):
                await asyncio.gather(*neighbours)
    assert observer.execute("select count(*), count(distinct id) from public.done").fetchone() == (120, 120)


async def test_a_neighbours_own_timeout_stays_its_own(open_lanes: OpenLanes) -> None:
    async with open_lanes(size=1, spare=0) as lanes:
        slow = asyncio.create_task(lanes.execute([Query("select pg_sleep(60)")]))
        await asyncio.sleep(0)
        limit = Query("select set_config('statement_timeout', '50ms', true)")
        limited = asyncio.create_task(lanes.execute([limit, Query("select pg_sleep(30)")]))
        await asyncio.sleep(0.01)
        slow.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(PostgresError, match="statement timeout"):
                await limited


async def test_a_request_cancelled_before_its_turn_is_dropped_quietly(
    open_lanes: OpenLanes, observer: Observer
) -> None:
    async with open_lanes(size=1, depth=2, spare=0) as lanes:
        first = asyncio.create_task(lanes.execute([Query("select pg_sleep(0.2), 'first'")]))
        await asyncio.sleep(0)
        sent = asyncio.create_task(lanes.execute([Query("select 'sent behind it'")]))
        waiting = asyncio.create_task(lanes.execute([Query("select 'not even sent'")]))
        await asyncio.sleep(0.02)
        sent.cancel()
        waiting.cancel()
        assert (await first)[0].rows[0][1] == b"first"
        assert value(await lanes.execute([Query("select 'well'")])) == "well"


async def test_many_callers_going_away_leave_the_pool_whole(lanes: LanePool, observer: Observer) -> None:
    async def go_away(number: int) -> None:
        try:
            async with asyncio.timeout(number % 7 / 50):
                await lanes.execute([Query("select pg_sleep(20)")], own_lane=number % 3 == 0)
        except TimeoutError:
            return

    await asyncio.gather(*(go_away(number) for number in range(60)))
    await until(observer, RUNNING, "%sleep(20)%", 0)
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*(lanes.execute([Query("select 'well'")]) for _ in range(100)))
    assert {value(answer) for answer in answers} == {"well"}


async def test_closing_the_pool_cancels_what_still_runs(
    open_lanes: OpenLanes, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("basalt.postgres.lanes.CLOSE_GRACE_S", 0.05)
    async with open_lanes() as lanes:
        task = asyncio.create_task(lanes.execute([Query("select pg_sleep(50)")]))
        await until(observer, RUNNING, "%sleep(50)%", 1)
    await until(observer, RUNNING, "%sleep(50)%", 0)
    with pytest.raises(Exception, match=r"lost|cancel"):
        await task
