"""Alerts: told once when something has been wrong for a while, once when it is well again, by one worker."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from basalt import observe
from basalt.config import ALERT_RULE_NAMES, AlertRulesSettings, AlertSettings
from basalt.postgres import DatabaseAccess
from basalt.project import AlertWatch, apply_modules, list_alerts, render_rules
from basalt.project.alerts.decision import Standing, decide
from basalt.project.alerts.measuring import RequestFigures
from basalt.project.alerts.rules import RULES
from tests.notify.engine import an_engine
from tests.projects import settings_of, write_project

pytestmark = [pytest.mark.req("P17", "M7", "H27")]

ROOT = Path(__file__).parent.parent.parent
OPERATOR = "0b2e6f0e-6b4e-4b0e-8b0e-0b2e6f0e6b4e"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
QUIET = "\n".join(
    f"[basalt.alerts.rules.{name}]\nenabled = false"
    for name in ALERT_RULE_NAMES
    if name not in ("queue_age", "cron_failures")
)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Watched:
    """A watch whose clock is ours, over a database in which the oldest job has waited as long as we say."""

    def __init__(self, folder: Path, database: DatabaseAccess, config: str) -> None:
        write_project(folder, {"config.toml": f"{config}\n{QUIET}"})
        self.clock = Clock()
        self.settings = settings_of(folder)
        self.watch = AlertWatch(self.settings, database, now=self.clock)
        self.database = database

    async def connect(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(
            self.database.conninfo("supabase_admin"), autocommit=True, row_factory=dict_row
        )

    async def look(self, waiting_s: float | None, *, after_s: float = 0) -> None:
        self.clock.pass_s(after_s)
        async with await self.connect() as connection:
            await connection.execute("delete from basalt.jobs where name = 'slow'")
            if waiting_s is not None:
                await connection.execute("select basalt.enqueue('slow')")
                await connection.execute(
                    "update basalt.jobs set run_at = now() - make_interval(secs => %s)", [waiting_s]
                )
            await self.watch.look(connection)

    async def rows(self, statement: str) -> list[dict[str, Any]]:
        async with await self.connect() as connection:
            return await (await connection.execute(statement.encode())).fetchall()

    async def execute(self, *statements: str) -> None:
        async with await self.connect() as connection:
            for statement in statements:
                await connection.execute(statement.encode())

    async def told(self) -> list[tuple[str, str]]:
        bodies = await self.rows("select body::jsonb as body from basalt.webhook_requests order by id")
        return [(row["body"]["rule"], row["body"]["state"]) for row in bodies]


@pytest.fixture
async def watched(tmp_path: Path, database: DatabaseAccess) -> AsyncIterator[Watched]:
    return Watched(tmp_path, database, '[basalt.alerts]\nwebhook_url = "https://pager.example.com/hook"')


async def test_a_short_trouble_is_not_told(watched: Watched) -> None:
    await watched.look(400)
    await watched.look(10, after_s=30)
    assert await watched.told() == []
    assert await watched.rows("select * from basalt.alerts") == []


async def test_what_lasts_is_told_once_and_once_when_it_is_well(watched: Watched) -> None:
    await watched.look(400)
    for _ in range(5):
        await watched.look(500, after_s=20)
    assert await watched.told() == [("queue_age", "firing")]
    [row] = await watched.rows("select * from basalt.alerts")
    assert (row["state"], row["subject"], row["severity"], row["threshold"]) == (
        "firing",
        "default",
        "critical",
        300,
    )
    assert row["fired_at"] == NOON + timedelta(seconds=60)
    for _ in range(5):
        await watched.look(None, after_s=20)
    assert await watched.told() == [("queue_age", "firing"), ("queue_age", "resolved")]
    [row] = list_alerts(watched.database, with_resolved=True, limit=10)
    assert (row.state, row.summary) == (
        "resolved",
        "Queue default: the oldest job that is ready has waited 8.3 min (limit 5.0 min)",
    )
    assert list_alerts(watched.database, with_resolved=False, limit=10) == []


async def test_what_flaps_is_one_alert(watched: Watched) -> None:
    await watched.look(400)
    await watched.look(400, after_s=60)
    for _ in range(10):
        await watched.look(10, after_s=20)
        await watched.look(400, after_s=20)
    assert await watched.told() == [("queue_age", "firing")]


async def test_a_repetition_after_the_end_is_a_new_alert(watched: Watched) -> None:
    for waiting_s in (400, 400, None, None, 400, 400):
        await watched.look(waiting_s, after_s=60)
    assert await watched.told() == [
        ("queue_age", "firing"),
        ("queue_age", "resolved"),
        ("queue_age", "firing"),
    ]


async def test_thresholds_and_durations_are_settings(tmp_path: Path, database: DatabaseAccess) -> None:
    config = '[basalt.alerts]\nwebhook_url = "https://a.example"\n'
    config += '[basalt.alerts.rules.queue_age]\nthreshold = 5\nfor = "0s"\n'
    watched = Watched(tmp_path, database, "")
    write_project(tmp_path, {"config.toml": config + "\n" + QUIET})
    watched.settings = settings_of(tmp_path)
    watched.watch = AlertWatch(watched.settings, database, now=watched.clock)
    await watched.look(6)
    assert await watched.told() == [("queue_age", "firing")]


async def test_a_message_and_its_alert_are_one_transaction(watched: Watched) -> None:
    """What cannot be told is told at the next look, not forgotten."""
    await watched.look(400)
    await watched.execute("alter table basalt.webhook_requests add constraint full_disk check (false)")
    watched.clock.pass_s(60)
    with pytest.raises(psycopg.errors.CheckViolation):
        await watched.look(400)
    [row] = await watched.rows("select state from basalt.alerts")
    assert row["state"] == "pending"
    await watched.execute("alter table basalt.webhook_requests drop constraint full_disk")
    await watched.look(400)
    assert await watched.told() == [("queue_age", "firing")]


async def test_a_rule_that_cannot_be_measured_leaves_its_alerts_alone(watched: Watched) -> None:
    await watched.execute(
        "create extension pg_cron",
        "select cron.schedule('nightly', '0 3 * * *', 'select 1')",
        "insert into cron.job_run_details (jobid, status, end_time) select jobid, 'failed', now() from cron.job",
    )
    await watched.look(None)
    assert await watched.told() == [("cron_failures", "firing")]
    await watched.execute("alter table cron.job_run_details rename column status to state")
    await watched.look(None, after_s=3600)
    await watched.look(None, after_s=3600)
    assert await watched.told() == [("cron_failures", "firing")]


async def test_a_rule_that_fails_hides_no_other(watched: Watched) -> None:
    await watched.execute(
        "create schema if not exists cron",
        "create table cron.job (jobid int, jobname text)",
        "create table cron.job_run_details (jobid int, end_time text, status text)",
        "insert into cron.job_run_details values (1, 'noon', 'failed')",
    )
    await watched.look(400)
    await watched.look(400, after_s=60)
    assert await watched.told() == [("queue_age", "firing")]


async def test_an_alert_of_a_rule_that_was_switched_off_ends(watched: Watched, tmp_path: Path) -> None:
    await watched.look(400)
    await watched.look(400, after_s=60)
    config = (tmp_path / "supabase" / "config.toml").read_text()
    off = f"{config}\n[basalt.alerts.rules.queue_age]\nenabled = false"
    write_project(tmp_path, {"config.toml": off})
    watched.watch = AlertWatch(settings_of(tmp_path), watched.database, now=watched.clock)
    await watched.look(400, after_s=60)
    await watched.look(400, after_s=60)
    assert await watched.told() == [("queue_age", "firing"), ("queue_age", "resolved")]
    assert list_alerts(watched.database, with_resolved=False, limit=10) == []
    [row] = await watched.rows(
        "select body::jsonb ->> 'summary' as summary from basalt.webhook_requests order by id desc limit 1"
    )
    assert "has waited 6.7 min" in row["summary"]  # what it was last


async def test_a_worker_that_begins_anew_goes_on_where_the_last_one_was(watched: Watched) -> None:
    await watched.look(400)
    watched.watch = AlertWatch(watched.settings, watched.database, now=watched.clock)
    await watched.look(400, after_s=60)
    watched.watch = AlertWatch(watched.settings, watched.database, now=watched.clock)
    await watched.look(400, after_s=60)
    assert await watched.told() == [("queue_age", "firing")]
    [row] = list_alerts(watched.database, with_resolved=False, limit=10)
    assert (row.pending_since, row.fired_at) == (NOON, NOON + timedelta(seconds=60))


async def test_many_alerts_of_one_rule_at_once_are_one_message(watched: Watched) -> None:
    await watched.execute(
        "create extension pg_cron",
        "select cron.schedule('job ' || to_char(n, 'FM000'), '0 3 * * *', 'select 1') from generate_series(1, 200) n",
        "insert into cron.job_run_details (jobid, status, end_time) select jobid, 'failed', now() from cron.job",
    )
    await watched.look(None)
    assert await watched.told() == [("cron_failures", "firing")]
    [sent] = await watched.rows("select body::jsonb ->> 'subject' as subject from basalt.webhook_requests")
    assert sent["subject"] == "job 001, job 002, job 003 and 197 more"
    assert len(list_alerts(watched.database, with_resolved=False, limit=1000)) == 200


async def test_one_worker_looks_and_another_takes_over(tmp_path: Path, database: DatabaseAccess) -> None:
    write_project(tmp_path, {"config.toml": f"[basalt.alerts]\ninterval = 0.1\n{QUIET}"})
    settings = settings_of(tmp_path)
    first, second = AlertWatch(settings, database), AlertWatch(settings, database)
    looks: list[str] = []
    for name, watch in (("first", first), ("second", second)):
        watch.look = note_looks(looks, name, watch.look)  # type: ignore[method-assign]
    stopping = [asyncio.Event(), asyncio.Event()]
    tasks = [asyncio.create_task(first.run(stopping[0]))]
    await wait_until(lambda: len(looks) >= 2)
    tasks.append(asyncio.create_task(second.run(stopping[1])))
    await wait_until(lambda: len(looks) >= 6)
    assert set(looks) == {"first"}
    stopping[0].set()
    await tasks[0]
    await wait_until(lambda: "second" in looks)
    stopping[1].set()
    await tasks[1]


def note_looks(looks: list[str], name: str, look: Any) -> Any:
    async def noted(connection: Any) -> None:
        looks.append(name)
        await look(connection)

    return noted


async def wait_until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_operators_are_told_by_notification_and_erased_ones_do_not_matter(
    tmp_path: Path, database: DatabaseAccess
) -> None:
    gone = "0b2e6f0e-6b4e-4b0e-8b0e-000000000000"
    erased = "0b2e6f0e-6b4e-4b0e-8b0e-000000000001"
    config = f'[basalt.alerts]\noperators = ["{OPERATOR}", "{gone}", "{erased}"]\n[notify]\nenabled = true'
    watched = Watched(tmp_path, database, config)
    apply_modules(database, watched.settings)
    await watched.execute(
        "insert into auth.users (id, aud, role, deleted_at) values "
        f"('{OPERATOR}', 'authenticated', 'authenticated', null), "
        f"('{erased}', 'authenticated', 'authenticated', now())"
    )
    await watched.look(400)
    await watched.look(400, after_s=60)
    await watched.look(400, after_s=60)
    [event] = await watched.rows("select * from public.notification_events")
    assert event["event_type"] == "basalt.alert"
    assert event["audience"] == {"user_ids": [OPERATOR]}
    async with an_engine(database) as (sql, _):
        await sql.becomes(1, "select count(*) from public.notifications where user_id = %s", OPERATOR)
        [told] = await watched.rows("select title, body from public.notifications")
        assert told["title"] == f"Alert: {tmp_path.name}, queue_age"
        assert told["body"].startswith("Queue default: the oldest job that is ready has waited 6.7 min")
        assert "runbooks.md#a-queue-is-stuck" in told["body"]


async def test_what_was_measured_is_a_metric(watched: Watched) -> None:
    await watched.look(400)
    await watched.look(400, after_s=60)
    [families] = (await observe.gather(watched.settings.state_dir)).values()
    page = observe.render_families({"": families}).decode()
    assert re.search(r'basalt_alert_value\{rule="queue_age",subject="default"\} 4\d\d', page)
    assert 'basalt_alerts_firing{rule="queue_age",severity="critical"} 1' in page
    assert 'basalt_alerts_firing{rule="disk_free",severity="critical"} 0' in page


async def test_clients_see_no_alerts(watched: Watched) -> None:
    for role in ("anon", "authenticated"):
        with psycopg.connect(watched.database.conninfo("postgres")) as connection:
            connection.execute(f"set role {role}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select * from basalt.alerts")


@pytest.mark.parametrize(
    ("standing", "is_wrong", "moves"),
    [
        (None, False, ()),
        (None, True, ("begin",)),
        (Standing("pending", NOON - timedelta(seconds=59)), True, ("stay",)),
        (Standing("pending", NOON - timedelta(seconds=60)), True, ("fire",)),
        (Standing("pending", NOON), False, ("forget",)),
        (Standing("firing", NOON), True, ("stay",)),
        (Standing("firing", NOON), False, ("calm",)),
        (Standing("firing", NOON, NOON - timedelta(seconds=59)), False, ()),
        (Standing("firing", NOON, NOON - timedelta(seconds=60)), False, ("resolve",)),
        (Standing("firing", NOON, NOON - timedelta(seconds=59)), True, ("relapse",)),
    ],
    ids=["well", "begins", "waits", "fires", "passes", "goes-on", "turns", "not-yet", "resolved", "relapse"],
)
def test_every_turn(standing: Standing | None, is_wrong: bool, moves: tuple[str, ...]) -> None:
    assert decide(standing, is_wrong=is_wrong, now=NOON, lasting=timedelta(seconds=60)) == moves


def test_latency_and_failures_come_from_what_was_answered_within_the_last_minutes() -> None:
    def families(fast: float, slow: float, failed: float) -> dict[str, list[observe.Family]]:
        buckets = (fast, slow, 0.0)
        return {
            "gateway": [
                observe.Family(
                    "basalt_http_request_seconds",
                    "histogram",
                    "",
                    ("service", "route", "method"),
                    [observe.Sample(("rest", "/{table}", "GET"), 0.0, buckets)],
                    (0.1, 2.0),
                ),
                observe.Family(
                    "basalt_http_requests_total",
                    "counter",
                    "",
                    ("service", "route", "method", "status"),
                    [
                        observe.Sample(("rest", "/{table}", "GET", "2xx"), fast + slow - failed),
                        observe.Sample(("rest", "/{table}", "GET", "5xx"), failed),
                    ],
                ),
            ]
        }

    now = 0.0
    figures = RequestFigures(lambda: now)
    assert figures.look(families(1000, 0, 0)) == {}  # nothing is measured yet: alerts stay as they are
    now = 20.0
    second = figures.look(families(1090, 10, 20))
    assert second["request_latency_p95"] == {"rest": pytest.approx(1.05)}
    assert second["request_latency_p99"] == {"rest": pytest.approx(1.81)}
    assert second["request_error_rate"] == {"rest": pytest.approx(0.2)}
    now = 340.0
    later = figures.look(families(1105, 14, 20))
    assert later["request_error_rate"] == {}  # of 19 requests within the window a share says nothing
    now = 360.0
    began_anew = figures.look(families(50, 0, 0))
    assert began_anew["request_latency_p95"] == {"rest": pytest.approx(0.095)}


def test_every_rule_has_its_settings_and_its_line_in_the_guide() -> None:
    names = {rule.name for rule in RULES}
    assert names == {spec.name for spec in fields(AlertRulesSettings)} == set(ALERT_RULE_NAMES)
    guide = (ROOT / "docs" / "how-to" / "alerts.md").read_text("utf-8")
    runbooks = (ROOT / "docs" / "how-to" / "runbooks.md").read_text("utf-8")
    headings = {
        re.sub(r"[^a-z0-9]+", "-", line.lower()).strip("-")
        for line in re.findall(r"^## (.+)$", runbooks, re.M)
    }
    for rule in RULES:
        assert f"| `{rule.name}` |" in guide
        assert rule.runbook in headings


def test_what_one_failure_is_enough_for_asks_prometheus_for_no_increase_of_labelled_counters() -> None:
    """Their series begin with the first failure, and an increase is the difference to the first sample."""
    for rule in RULES:
        if rule.threshold == 0:
            assert not re.search(r"increase\(\w+\{", rule.expression), rule.name


def test_the_file_for_prometheus_is_up_to_date() -> None:
    assert (ROOT / "ops" / "prometheus" / "alerts.yml").read_text("utf-8") == render_rules(AlertSettings())
