"""PostgreSQL goes away and comes back: every request is answered or refused with 503, and none hangs."""

import asyncio
import os
import shutil
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from basalt.postgres import LanePool, LanesUnavailable, PrivateCluster, Query

OpenLanes = Callable[..., AbstractAsyncContextManager[LanePool]]
Observer = psycopg.Connection[tuple[Any, ...]]
TERMINATE = (
    "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'basalt/test'"
)


@pytest.fixture(scope="module")
def mortal_cluster() -> Iterator[PrivateCluster]:
    """A cluster that may be killed, unlike the session's."""
    folder = Path(tempfile.mkdtemp(prefix="basalt-outage-"))
    folder.chmod(0o711)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cluster = PrivateCluster(folder / ".basalt", port=port, fsync=False)
    yield cluster
    cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)


def kill_postmaster(cluster: PrivateCluster) -> None:
    os.kill(int((cluster.data_dir / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)


def kill_backend(cluster: PrivateCluster) -> None:
    """PostgreSQL then ends all other backends, recovers and goes on by itself."""
    with psycopg.connect(cluster.ensure().conninfo("supabase_admin")) as connection:
        row = connection.execute(
            "select min(pid) from pg_stat_activity where application_name = 'basalt/test'"
        )
        ((pid,),) = row.fetchall()
    os.kill(pid, signal.SIGKILL)


def restart(cluster: PrivateCluster) -> None:
    cluster.stop()


@pytest.mark.parametrize("strike", [kill_postmaster, kill_backend, restart])
async def test_an_outage_under_load_hangs_nobody(
    mortal_cluster: PrivateCluster, strike: Callable[[PrivateCluster], None]
) -> None:
    access = await asyncio.to_thread(mortal_cluster.ensure)
    lanes = LanePool(access.conninfo("supabase_admin"), name="test", size=4)
    back = asyncio.Event()
    lanes.set_on_reconnect(back.set)
    await lanes.open()
    outcomes: Counter[str] = Counter()
    longest_s = 0.0
    is_over = False

    async def keep_asking(number: int) -> None:
        nonlocal longest_s
        while not is_over:
            started = time.monotonic()
            try:
                query = Query("select $1::int, pg_sleep($2::float)", (b"%d" % number, b"0.002"))
                results = await lanes.execute([query], own_lane=number == 0, read_only=number % 2 == 0)
                assert results[0].rows[0][0] == b"%d" % number
                outcomes["recovered" if back.is_set() else "answered"] += 1
            except LanesUnavailable as exc:
                outcomes[f"{exc.status} {exc.reason}"] += 1
                await asyncio.sleep(0.005)
            longest_s = max(longest_s, time.monotonic() - started)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(keep_asking(number))
        while outcomes["answered"] < 200:  # a condition of several tasks
            await asyncio.sleep(0.01)
        await asyncio.to_thread(strike, mortal_cluster)
        while not outcomes["503 disconnected"]:
            await asyncio.sleep(0.01)
        if strike is not kill_backend:
            await asyncio.to_thread(mortal_cluster.ensure)
        await back.wait()
        while outcomes["recovered"] < 200:
            await asyncio.sleep(0.01)
        is_over = True
    assert set(outcomes) == {"answered", "recovered", "503 disconnected"}
    assert longest_s < 6
    await lanes.close()


async def test_while_postgresql_is_away_requests_are_refused_at_once(mortal_cluster: PrivateCluster) -> None:
    access = await asyncio.to_thread(mortal_cluster.ensure)
    lanes = LanePool(access.conninfo("supabase_admin"), name="test")
    await lanes.open()
    await asyncio.to_thread(mortal_cluster.stop)
    with pytest.raises(LanesUnavailable):
        await lanes.execute([Query("select 1")])
    started = time.monotonic()
    for _ in range(20):
        with pytest.raises(LanesUnavailable) as caught:
            await lanes.execute([Query("select 1")])
        assert int(dict(caught.value.headers)["retry-after"]) >= 1
    assert time.monotonic() - started < 1
    assert not lanes.is_available
    await lanes.close()


async def test_one_terminated_lane_is_replaced(open_lanes: OpenLanes, observer: Observer) -> None:
    async with open_lanes(size=1, spare=0) as lanes:
        task = asyncio.create_task(lanes.execute([Query("select pg_sleep(30)")]))
        await asyncio.sleep(0.05)
        assert observer.execute(TERMINATE).fetchone() == (1,)
        with pytest.raises(LanesUnavailable):
            await task
        assert (await lanes.execute([Query("select 'well'")]))[0].rows == [(b"well",)]


async def test_an_awaitable_callback_is_awaited_after_an_outage(
    open_lanes: OpenLanes, observer: Observer
) -> None:
    called = asyncio.Event()

    async def reload() -> None:
        await asyncio.sleep(0)
        called.set()

    def callback() -> Awaitable[None]:
        return reload()

    async with open_lanes(size=1) as lanes:
        lanes.set_on_reconnect(callback)
        observer.execute(TERMINATE)
        await asyncio.wait_for(called.wait(), 5)


async def test_a_server_that_is_not_there_is_said_when_opening() -> None:
    lanes = LanePool("host=127.0.0.1 port=1 dbname=none", name="test")
    with pytest.raises(LanesUnavailable) as caught:
        await lanes.open()
    assert "refused" in str(caught.value.__cause__)
    with pytest.raises(LanesUnavailable):
        await lanes.execute([Query("select 1")])
    await lanes.close()
