"""Workers killed in flight and backends terminated: requests are sent once at most, webhooks once at least."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from basalt.postgres import DatabaseAccess
from tests.conftest import CloneDatabase
from tests.fakes.receiver import Receiver, running_receiver
from tests.jobs.sending import (
    QUICK,
    Database,
    connected,
    net_settings,
    reset_database,
    running_sender,
    wait_for,
)

pytestmark = pytest.mark.req("P12")

TABLE = """
create table public.my_table (id int primary key);
create trigger my_webhook after insert on public.my_table for each row
execute function supabase_functions.http_request('URL', 'POST', '{}', '{}', '5000');
"""


@pytest.fixture(scope="module")
def database(template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[DatabaseAccess]:
    with clone_database(template.dbname) as access:
        yield access


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


@pytest.fixture
async def db(database: DatabaseAccess) -> AsyncIterator[Database]:
    async with reset_database(database) as connection:
        yield connection


@contextmanager
def worker(access: DatabaseAccess, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`python -m basalt.worker` over the test's database, in a process that can be killed."""
    settings = net_settings(folder)
    settings.state_dir.mkdir(exist_ok=True)
    state = {
        "host": access.host,
        "port": access.port,
        "dbname": access.dbname,
        "passwords": dict(access.passwords),
        "socket_dir": access.socket_dir,
    }
    (settings.state_dir / "database.json").write_text(json.dumps(state))
    process = subprocess.Popen(
        [sys.executable, "-m", "basalt.worker", str(folder)], env={**os.environ, **QUICK}
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_a_worker_killed_in_flight_sends_no_request_twice_and_loses_no_webhook(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    await db.rows(TABLE.replace("URL", f"{receiver.url}/slow/0.5"))
    request = await db.one("select net.http_post(%s, timeout_milliseconds := 500)", f"{receiver.url}/slow/30")
    await db.rows("insert into my_table values (1)")
    with worker(database, tmp_path) as process:
        await wait_for(lambda: len(receiver.arrived) == 2, limit_s=30)
        process.send_signal(signal.SIGKILL)
        process.wait()
    async with running_sender(database, net_settings(tmp_path)):
        answer = await db.answer(request)
        await db.until("select from basalt.webhook_attempts where status_code = 200", limit_s=15)
        await db.until("select where not exists (select from basalt.webhook_requests)")
    assert answer["error_msg"].startswith("The worker ended before the answer")
    paths = Counter(arrived.target for arrived in receiver.arrived)
    assert paths == {"/slow/30": 1, "/slow/0.5": 2}
    ids = {arrived.headers["webhook-id"] for arrived in receiver.arrived if arrived.target == "/slow/0.5"}
    assert len(ids) == 1


async def test_terminated_backends_cost_nothing_that_was_committed(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    await db.rows(TABLE.replace("URL", f"{receiver.url}/hook"))
    async with (
        running_sender(database, net_settings(tmp_path)),
        connected(database, "supabase_admin") as killer,
    ):
        for number in range(10):
            await db.rows(
                "select net.http_post(%s || n) from generate_series(1, 20) as n",
                f"{receiver.url}/n/{number}/",
            )
            await db.rows("insert into my_table select %s * 20 + n from generate_series(1, 20) as n", number)
            await killer.rows(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and application_name like 'basalt/outgoing%%'"
            )
            await asyncio.sleep(0)
        await db.until(
            "select from net._http_response where id in (select request_id from supabase_functions.hooks)",
            count=200,
            limit_s=30,
        )
        await db.until("select from net._http_response", count=400, limit_s=30)
        await db.until("select where not exists (select from basalt.webhook_requests)")
    targets = Counter(arrived.target for arrived in receiver.arrived)
    assert targets.pop("/hook") >= 200
    assert set(targets.values()) == {1}
    hooked = {
        json.loads(arrived.body)["record"]["id"] for arrived in receiver.arrived if arrived.target == "/hook"
    }
    assert hooked == set(range(1, 201))
    assert await db.one("select count(*) from net._http_response") == 400
