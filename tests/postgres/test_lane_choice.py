"""Which lane a request gets: slow ones hold up nobody, full ones refuse, idle ones are given back."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import psycopg
import pytest

from basalt.postgres import LanePool, LanesUnavailable, Query, Result

OpenLanes = Callable[..., AbstractAsyncContextManager[LanePool]]
Observer = psycopg.Connection[tuple[Any, ...]]
FAST = Query("select sum(g) from generate_series(1, 100) as g")
CONNECTED = "select count(*) from pg_stat_activity where application_name = 'basalt/test'"


def value(results: list[Result]) -> str:
    return (results[-1].rows[0][0] or b"null").decode()


async def timed(lanes: LanePool, *, workers: int, requests: int, read_only: bool) -> list[float]:
    """Seconds that each fast request took, sorted."""
    took_s = []

    async def work() -> None:
        for _ in range(requests):
            started = time.monotonic()
            await lanes.execute([FAST], read_only=read_only)
            took_s.append(time.monotonic() - started)

    await asyncio.gather(*(work() for _ in range(workers)))
    return sorted(took_s)


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("sleep_s", [b"0.06", b"1"])
async def test_slow_statements_do_not_hold_up_fast_ones(
    open_lanes: OpenLanes, read_only: bool, sleep_s: bytes
) -> None:
    async with open_lanes() as lanes:

        async def be_slow() -> None:
            while True:
                await lanes.execute([Query("select pg_sleep($1::float)", (sleep_s,))])

        await timed(lanes, workers=16, requests=50, read_only=read_only)
        alone = await timed(lanes, workers=16, requests=200, read_only=read_only)
        async with asyncio.TaskGroup() as group:
            slow = [group.create_task(be_slow()) for _ in range(4)]
            beside = await timed(lanes, workers=16, requests=400, read_only=read_only)
            for task in slow:
                task.cancel()
    p99_alone, p99_beside = alone[int(len(alone) * 0.99)], beside[int(len(beside) * 0.99)]
    assert p99_beside < max(2 * p99_alone, 0.04), f"p99 {p99_alone * 1e3:.1f} → {p99_beside * 1e3:.1f} ms"


async def test_a_read_behind_a_slow_statement_is_answered_by_another_lane(open_lanes: OpenLanes) -> None:
    async with open_lanes(size=1, spare=1) as lanes:
        slow = asyncio.create_task(lanes.execute([Query("select pg_sleep(2), 'slow'")]))
        await asyncio.sleep(0)
        behind = [asyncio.create_task(lanes.execute([FAST], read_only=True)) for _ in range(10)]
        async with asyncio.timeout(1):
            assert {value(await task) for task in behind} == {"5050"}
        assert not slow.done()
        assert (await slow)[0].rows[0][1] == b"slow"


async def test_a_write_behind_a_slow_statement_runs_once(open_lanes: OpenLanes, observer: Observer) -> None:
    observer.execute("create table public.w (id int)")
    async with open_lanes("postgres", size=1, spare=1) as lanes:
        slow = asyncio.create_task(lanes.execute([Query("select pg_sleep(0.3)")]))
        await asyncio.sleep(0)
        behind = [lanes.execute([Query("insert into public.w values (1)")]) for _ in range(10)]
        await asyncio.gather(slow, *behind)
    assert observer.execute("select count(*) from public.w").fetchone() == (10,)


async def test_an_own_lane_is_shared_with_nobody(open_lanes: OpenLanes) -> None:
    async with open_lanes(size=2, spare=2) as lanes:
        pid = "select pg_backend_pid(), pg_sleep($1::float)"
        own = [asyncio.create_task(lanes.execute([Query(pid, (b"0.3",))], own_lane=True)) for _ in range(3)]
        await asyncio.sleep(0.1)
        started = time.monotonic()
        others = await asyncio.gather(*(lanes.execute([Query(pid, (b"0",))]) for _ in range(40)))
        assert time.monotonic() - started < 0.15
        own_pids = [value(await task) for task in own]
        assert len(set(own_pids)) == 3
        assert not set(own_pids) & {value(answer) for answer in others}


async def test_own_lanes_wait_for_each_other_and_leave_room_for_the_rest(open_lanes: OpenLanes) -> None:
    async with open_lanes(size=2, spare=0) as lanes:
        own = [
            asyncio.create_task(lanes.execute([Query("select pg_sleep(0.05), 'own'")], own_lane=True))
            for _ in range(10)
        ]
        await asyncio.sleep(0.02)
        while not all(task.done() for task in own):
            started = time.monotonic()
            assert value(await lanes.execute([FAST])) == "5050"
            assert time.monotonic() - started < 0.04
            await asyncio.sleep(0.005)
        assert {(await task)[0].rows[0][1] for task in own} == {b"own"}


async def test_a_full_pool_queues_up_to_its_bound_and_then_refuses(open_lanes: OpenLanes) -> None:
    async with open_lanes(size=1, depth=2, spare=0, max_waiting=3, wait_s=10) as lanes:
        asked = [asyncio.create_task(lanes.execute([Query("select pg_sleep(0.1), 'x'")])) for _ in range(8)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, LanesUnavailable)]
    assert len(refused) == 3
    assert {(error.reason, error.status) for error in refused} == {("busy", 503)}
    assert all("retry-after" in dict(error.headers) for error in refused)
    assert answers[5:] == refused


async def test_a_request_that_waits_too_long_is_refused(open_lanes: OpenLanes) -> None:
    async with open_lanes(size=1, depth=1, spare=0, wait_s=0.1) as lanes:
        slow = asyncio.create_task(lanes.execute([Query("select pg_sleep(0.5)")]))
        await asyncio.sleep(0)
        started = time.monotonic()
        with pytest.raises(LanesUnavailable) as caught:
            await lanes.execute([FAST])
        assert 0.09 < time.monotonic() - started < 0.4
        assert caught.value.reason == "busy"
        await slow
        assert value(await lanes.execute([FAST])) == "5050"


async def test_a_server_without_room_for_more_connections_is_used_with_those_there_are(
    open_lanes: OpenLanes, observer: Observer
) -> None:
    async with open_lanes() as lanes:
        observer.execute("alter role authenticator connection limit 1")
        try:
            answers = await asyncio.gather(*(lanes.execute([FAST]) for _ in range(300)))
        finally:
            observer.execute("alter role authenticator connection limit -1")
    assert {value(answer) for answer in answers} == {"5050"}


async def test_lanes_are_opened_under_load_and_closed_when_idle(
    open_lanes: OpenLanes, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("basalt.postgres.lanes.IDLE_S", 0.2)
    async with open_lanes(size=4) as lanes:
        await timed(lanes, workers=64, requests=30, read_only=True)
        assert observer.execute(CONNECTED).fetchone() == (4,)
        async with asyncio.timeout(5):
            while observer.execute(CONNECTED).fetchone() != (1,):  # the condition is PostgreSQL's
                await asyncio.sleep(0.02)
    assert observer.execute(CONNECTED).fetchone() in {(0,), (1,)}


async def test_a_busy_event_loop_is_not_taken_for_a_slow_statement(open_lanes: OpenLanes) -> None:
    async with open_lanes(size=2) as lanes:
        for _ in range(5):
            asked = [asyncio.create_task(lanes.execute([FAST])) for _ in range(8)]
            await asyncio.sleep(0)
            time.sleep(0.06)  # noqa: ASYNC251  # this is the point
            assert {value(await task) for task in asked} == {"5050"}
        assert len(lanes._costs) == 0


async def test_the_only_lane_serves_a_request_that_wants_its_own(open_lanes: OpenLanes) -> None:
    async with open_lanes(size=1, spare=0) as lanes:
        mixed = [lanes.execute([FAST], own_lane=number % 5 == 0) for number in range(50)]
        async with asyncio.timeout(5):
            assert {value(answer) for answer in await asyncio.gather(*mixed)} == {"5050"}
