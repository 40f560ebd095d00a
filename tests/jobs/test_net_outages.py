"""The longer campaigns: PostgreSQL restarted and killed under load, workers killed again and again."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from basalt.postgres import DatabaseAccess, PrivateCluster, apply_bootstrap
from tests.conftest import free_port
from tests.fakes.receiver import Receiver, running_receiver
from tests.jobs.sending import (
    Database,
    connected,
    net_settings,
    reset_database,
    running_sender,
    wait_for,
)
from tests.jobs.test_net_faults import TABLE, worker

pytestmark = pytest.mark.req("P12")

REQUESTS = 400


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[PrivateCluster]:
    """With fsync: what is acknowledged survives."""
    folder = Path(tempfile.mkdtemp(prefix="basalt-tests-"))
    folder.chmod(0o711)
    running = PrivateCluster(folder / ".basalt", port=free_port(), max_connections=60)
    apply_bootstrap(running.ensure())
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


async def queue(access: DatabaseAccess, url: str) -> list[int]:
    """Requests and rows until all are committed; the ids of the requests. A statement whose connection broke is not
    repeated: nobody knows whether it was committed."""
    ids: list[int] = []
    for number in range(REQUESTS):
        try:
            async with connected(access) as db:
                request = await db.one(
                    "with row as (insert into public.my_table values (%s)) select net.http_post(%s)",
                    number,
                    f"{url}/request/{number}",
                )
                ids.append(request)
        except psycopg.OperationalError:
            await asyncio.sleep(0.05)
    return ids


async def check(db: Database, receiver: Receiver, ids: list[int]) -> None:
    """Every request has one answer and arrived once at most, every row's webhook arrived."""
    await db.until("select from net._http_response where id = any (%s)", ids, count=len(ids), limit_s=90)
    await db.until("select where not exists (select from basalt.webhook_requests)", limit_s=90)
    arrived = Counter(one.target for one in receiver.arrived)
    hooked = {json.loads(one.body)["record"]["id"] for one in receiver.arrived if one.target == "/hook"}
    assert {count for target, count in arrived.items() if target != "/hook"} == {1}
    assert {row["id"] for row in await db.rows("select id from my_table")} <= hooked
    assert await db.one("select count(*) = count(distinct id) from net._http_response")
    assert await db.rows("select * from basalt.dead_webhooks") == []


async def prepare(access: DatabaseAccess, receiver: Receiver) -> None:
    async with reset_database(access) as db:
        await db.rows(TABLE.replace("URL", f"{receiver.url}/hook"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT, signal.SIGINT])
async def test_postgresql_ends_under_load(
    own_cluster: PrivateCluster, tmp_path: Path, number: signal.Signals
) -> None:
    access = own_cluster.ensure()
    async with running_receiver() as receiver:
        await prepare(access, receiver)
        async with running_sender(access, net_settings(tmp_path)):
            queueing = asyncio.create_task(queue(access, receiver.url))
            await wait_for(lambda: len(receiver.arrived) > REQUESTS // 4, limit_s=60)
            os.kill(int((own_cluster.data_dir / "postmaster.pid").read_text().split()[0]), number)
            access = await asyncio.to_thread(start_again, own_cluster)
            ids = await queueing
            async with connected(access) as db:
                await check(db, receiver, ids)
    assert len(ids) > REQUESTS // 4


def start_again(cluster: PrivateCluster) -> DatabaseAccess:
    while cluster.is_running():
        time.sleep(0.05)
    return cluster.ensure()


async def test_workers_are_killed_again_and_again(database: DatabaseAccess, tmp_path: Path) -> None:
    async with running_receiver() as receiver:
        await prepare(database, receiver)
        queueing = asyncio.create_task(queue(database, receiver.url))
        for _ in range(5):
            before = len(receiver.arrived)
            with worker(database, tmp_path / "first"), worker(database, tmp_path / "second"):
                await wait_for(
                    lambda before=before: len(receiver.arrived) > before + 20 or queueing.done(), limit_s=30
                )
        ids = await queueing
        async with running_sender(database, net_settings(tmp_path / "last")), connected(database) as db:
            await check(db, receiver, ids)
    assert len(ids) == REQUESTS
