"""Workers of the notification engine killed while they expand and while they deliver, PostgreSQL restarted under them,
providers that answer nothing: nobody is left out, and somebody is told twice only where a provider had the message, the
worker did not live to hear of it, and the provider knows no keys."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from basalt.postgres import DatabaseAccess, PrivateCluster, apply_bootstrap, apply_module
from tests.conftest import free_port
from tests.fakes.courier import Courier, running_courier
from tests.jobs.engines import Sql, connected
from tests.notify.conftest import NOTIFY_SETTINGS, notify_database, notify_template
from tests.notify.engine import CONFIG, EACH_STATUS, Courierhouse, a_crowd, a_template, issue, running_notify

__all__ = ["notify_database", "notify_template"]  # fixtures

pytestmark = [pytest.mark.req("P13", "M4")]

LIMIT_S = 90.0
PEOPLE = 1500
IN_HAND = 400  # of a worker at most
PATIENT = CONFIG.replace("max_attempts = 3", "max_attempts = 20")


class Workers:
    """Processes of `notify_worker`, started again when they die, as the supervisor does."""

    def __init__(self, access: DatabaseAccess, url: str, log: Path) -> None:
        self._arguments = [json.dumps(asdict(access)), url, PATIENT]
        self._log = log
        self.processes: list[subprocess.Popen[bytes]] = []
        self.deaths = 0

    def start(self) -> None:
        with self._log.open("ab") as errors:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.faults.notify_worker", *self._arguments],
                    stderr=errors,
                    stdin=subprocess.DEVNULL,
                )
            )

    def kill(self, number: int) -> None:
        self.processes[number].kill()
        self.processes.pop(number).wait()
        self.deaths += 1
        self.start()

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@asynccontextmanager
async def working(
    access: DatabaseAccess, tmp_path: Path, *, knows_keys: bool, count: int = 2
) -> AsyncIterator[tuple[Sql, Courier, Workers]]:
    """Watched workers over a database with a crowd in it."""
    with running_courier(knows_keys=knows_keys) as (courier, url):
        workers = Workers(access, url, tmp_path / "workers.log")
        async with connected(access) as sql:
            for channel in ("in_app", "push"):
                await a_template(sql, "offer", channel, "Hello")
            await a_crowd(sql, PEOPLE)
            for _ in range(count):
                workers.start()
            try:
                yield sql, courier, workers
            finally:
                workers.stop()


async def becomes(sql: Sql, expected: object, statement: str) -> None:
    """Workers take seconds to start again, on a busy machine many."""
    async with asyncio.timeout(LIMIT_S):
        while await sql.value(statement) != expected:
            await asyncio.sleep(0.02)


async def check_everybody_was_told(sql: Sql, courier: Courier) -> None:
    await becomes(sql, {"sent": PEOPLE, "delivered": PEOPLE}, EACH_STATUS)
    assert await sql.value("select count(distinct user_id) from public.notifications") == PEOPLE
    assert await sql.count("public.notifications") == PEOPLE
    assert len(set(courier.addresses)) == PEOPLE
    state = "select status, recipient_count, queued_count from public.notification_events"
    assert await sql.rows(state) == [("expanded", PEOPLE, 2 * PEOPLE)]


async def test_workers_killed_while_they_expand_and_deliver_leave_nobody_out(
    notify_database: DatabaseAccess, tmp_path: Path
) -> None:
    async with working(notify_database, tmp_path, knows_keys=False) as (sql, courier, workers):
        courier.mood = "slow"
        await issue(sql, "offer", audience={"everyone": True})
        for number, least in enumerate((100, 700, 1500, 2200)):
            await becomes(sql, True, f"select count(*) >= {least} from public.notification_queue")
            workers.kill(number % 2)
        await becomes(sql, True, "select count(*) > 500 from public.notification_queue where status = 'sent'")
        workers.kill(0)
        courier.mood = "well"
        await check_everybody_was_told(sql, courier)
        twice = len(courier.addresses) - PEOPLE
        assert twice <= workers.deaths * IN_HAND
        # Who was told twice had no answer written down the first time.
        unheard = await sql.value(
            "select count(*) from public.notification_deliveries where status = 'unknown'"
        )
        assert twice <= unheard


async def test_a_provider_that_knows_keys_hides_that_workers_died(
    notify_database: DatabaseAccess, tmp_path: Path
) -> None:
    async with working(notify_database, tmp_path, knows_keys=True) as (sql, courier, workers):
        courier.mood = "slow"
        await issue(sql, "offer", audience={"everyone": True})
        for number in range(3):
            least = 200 * (number + 1)
            await becomes(
                sql, True, f"select count(*) >= {least} from public.notification_queue where status = 'sent'"
            )
            workers.kill(number % 2)
        courier.mood = "well"
        await check_everybody_was_told(sql, courier)
        assert len(courier.addresses) == PEOPLE


async def test_a_provider_that_misbehaves_in_every_way_gets_all_in_the_end(
    notify_database: DatabaseAccess, tmp_path: Path
) -> None:
    async with working(notify_database, tmp_path, knows_keys=True, count=1) as (sql, courier, _):
        courier.moods = ["silent", "broken", "half", "busy", "slow", "silent", "half", "broken", "busy"]
        await issue(sql, "offer", audience={"everyone": True})
        await check_everybody_was_told(sql, courier)
        assert len(courier.addresses) == PEOPLE
        seen = "select array_agg(distinct error_code order by error_code) from public.notification_deliveries"
        assert await sql.value(seen) == ["429", "503", "HALF", "no_answer", None]


async def test_a_worker_that_is_told_to_stop_writes_down_what_became_of_its_messages(
    notify_database: DatabaseAccess, tmp_path: Path
) -> None:
    async with working(notify_database, tmp_path, knows_keys=False) as (sql, courier, workers):
        courier.mood = "slow"
        await issue(sql, "offer", audience={"everyone": True})
        await becomes(sql, True, "select count(*) > 300 from public.notification_queue where status = 'sent'")
        process = workers.processes.pop(0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        courier.mood = "well"
        await check_everybody_was_told(sql, courier)
        assert len(courier.addresses) == PEOPLE


async def test_postgres_restarted_under_the_engine(tmp_path: Path, cluster_dir: Path) -> None:
    cluster = PrivateCluster(cluster_dir / "restarted" / ".basalt", port=free_port(), fsync=False)
    access = cluster.ensure()
    try:
        apply_bootstrap(access)
        apply_module(access, "notify", NOTIFY_SETTINGS)
        with running_courier(knows_keys=True) as (courier, url):
            async with connected(access) as sql:
                for channel in ("in_app", "push"):
                    await a_template(sql, "offer", channel, "Hello")
                await a_crowd(sql, PEOPLE)
            courier.mood = "slow"
            async with running_notify(access, Courierhouse(url)):
                async with connected(access) as sql:
                    await issue(sql, "offer", audience={"everyone": True})
                    await becomes(
                        sql,
                        True,
                        "select count(*) > 100 from public.notification_queue where status = 'sent'",
                    )
                await asyncio.to_thread(cluster.stop)
                await asyncio.to_thread(cluster.ensure)
                courier.mood = "well"
                async with connected(access) as sql:
                    await check_everybody_was_told(sql, courier)
            assert len(courier.addresses) == PEOPLE
    finally:
        cluster.stop()
