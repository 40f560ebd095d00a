"""Schedules of functions in config.toml, and `basalt cron` over a project."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from typer.testing import CliRunner

from basalt.cli.main import app
from basalt.config import ConfigError
from basalt.jobs import (
    JobError,
    ensure_configured_schedules,
    list_runs,
    list_schedules,
    run_schedule,
    set_active,
)
from basalt.postgres import DatabaseAccess
from basalt.supervisor import RunningProject
from tests.jobs.cron_workers import (
    Connection,
    make_due,
    one,
    read_settings,
    result_of,
    running_scheduler,
    until,
    write_project,
)

pytestmark = pytest.mark.req("P11")

DIGEST = """
[functions.digest]
schedule = "0 8 * * mon"
timezone = "Asia/Singapore"
[functions.sweep]
schedule = "30 seconds"
queue = "slow"
[functions.silent]
[functions.off]
enabled = false
schedule = "* * * * *"
"""


@pytest.fixture
def owner(database: DatabaseAccess) -> Iterator[Connection]:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def admin(database: DatabaseAccess) -> Iterator[Connection]:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        yield connection


def rows(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select jobname, schedule, timezone, command, username, active "
        "from cron.job where is_configured order by jobname"
    ).fetchall()


async def test_functions_get_the_schedules_that_the_file_says(
    database: DatabaseAccess, owner: Connection
) -> None:
    await ensure_configured_schedules(read_settings(), database)
    assert one(owner, "select to_regclass('cron.job') is null") is True  # nothing asks for it
    await ensure_configured_schedules(read_settings(DIGEST), database)
    made = [
        (
            "functions/digest",
            "0 8 * * mon",
            "Asia/Singapore",
            "select basalt.enqueue('digest', '{}')",
            "postgres",
            True,
        ),
        (
            "functions/sweep",
            "30 seconds",
            "UTC",
            "select basalt.enqueue('sweep', '{}', queue => 'slow')",
            "postgres",
            True,
        ),
    ]
    assert rows(owner) == made
    owner.execute("select cron.schedule('mine', '* * * * *', 'select 1')")
    await set_active(database, "functions/digest", active=False)
    version = one(owner, "select string_agg(xmin::text, ' ' order by jobid) from cron.job")
    await ensure_configured_schedules(read_settings(DIGEST), database)
    assert (
        one(owner, "select string_agg(xmin::text, ' ' order by jobid) from cron.job") == version
    )  # nothing is touched
    changed = DIGEST.replace("0 8 * * mon", "0 9 * * mon").replace('schedule = "30 seconds"', "")
    await ensure_configured_schedules(read_settings(changed), database)
    assert [row[:2] + row[5:] for row in rows(owner)] == [("functions/digest", "0 9 * * mon", False)]
    await ensure_configured_schedules(read_settings(), database)
    assert owner.execute("select jobname from cron.job").fetchall() == [("mine",)]


async def test_a_tick_of_a_function_enqueues_its_job(
    database: DatabaseAccess, owner: Connection, admin: Connection
) -> None:
    async with running_scheduler(database, DIGEST):
        await until(lambda: one(admin, "select to_regclass('cron.ticks') is not null"))
        await until(lambda: one(admin, "select count(*) from cron.ticks where is_planned") == 2)
        make_due(admin, "functions/sweep")
        assert await result_of(owner, "functions/sweep") == ("succeeded", "1 row")
    assert owner.execute("select name, queue from basalt.jobs").fetchall() == [("sweep", "slow")]


@pytest.mark.parametrize(
    ("line", "key", "reason"),
    [
        ('schedule = "0 25 * * *"', "functions.digest.schedule", "hour: 25 is not from 0 to 23"),
        ('schedule = "@dayly"', "functions.digest.schedule", "@dayly is not one of @yearly"),
        ('schedule = "* * * * *"\ntimezone = "Mars/Base"', "functions.digest.timezone", "no time zone"),
    ],
)
def test_a_schedule_that_cannot_be_read_stops_the_start(line: str, key: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(f"[functions.digest]\n{line}")
    problem = caught.value.problems[0]
    assert problem.file.endswith("config.toml")
    assert problem.key == key
    assert reason in problem.reason


async def test_a_schedule_is_run_by_hand(
    database: DatabaseAccess, owner: Connection, admin: Connection
) -> None:
    owner.execute("create extension pg_cron")
    number = one(
        owner, "select cron.schedule('twice', '0 3 * * *', 'select 1; delete from cron.job where false')"
    )
    owner.execute("select cron.alter_job(%s, active := false)", [number])
    run = await run_schedule(database, "twice")
    assert (run.status, run.return_message, run.tick) == ("succeeded", "DELETE 0", None)
    assert (await run_schedule(database, str(number))).runid > run.runid
    owner.execute("select cron.schedule('broken', '0 3 * * *', 'select 1/0')")
    assert (await run_schedule(database, "broken")).status == "failed"
    assert [found.status for found in await list_runs(database, "twice", limit=10)] == ["succeeded"] * 2
    assert len(await list_runs(database, None, limit=2)) == 2
    listed = {each.jobname: each for each in await list_schedules(database)}
    assert (listed["broken"].last_status, listed["twice"].active) == ("failed", False)
    admin.execute(
        "insert into cron.runs (jobid, state, worker, is_alone) values (%s, 'running', 1, true)", [number]
    )
    with pytest.raises(JobError, match="is going on"):
        await run_schedule(database, "twice")
    with pytest.raises(JobError, match="There is no schedule nowhere"):
        await run_schedule(database, "nowhere")


@contextmanager
def held_by_a_supervisor(project: Path) -> Iterator[None]:
    """What commands see of a project that runs."""
    path = project / ".basalt" / "run" / "supervisor.json"
    path.parent.mkdir()
    running = RunningProject(os.getpid(), "", None, "", 0)
    with path.open("w+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(vars(running), file)
        file.flush()
        yield


def test_commands_over_a_project(database: DatabaseAccess, owner: Connection, tmp_path: Path) -> None:
    owner.execute("create extension pg_cron")
    project = str(write_project(database, tmp_path / "project"))
    cli = CliRunner()

    def run(*arguments: str) -> tuple[int, str]:
        result = cli.invoke(app, ["cron", *arguments])
        return result.exit_code, result.stdout

    with held_by_a_supervisor(Path(project)):
        assert run("list", project, "--json") == (0, "[]\n")
        owner.execute("select cron.schedule('good', '0 3 * * *', 'select 1')")
        owner.execute("select cron.schedule('bad', '0 3 * * *', 'select 1/0')")
        assert run("run", "good", project) == (0, "succeeded: 1 row\n")
        code, printed = run("run", "bad", project, "--json")
        assert (code, orjson.loads(printed)["return_message"]) == (1, "ERROR:  division by zero")
        assert "division by zero" in run("history", "bad", project)[1]
        assert [
            row["jobname"] for row in orjson.loads(run("history", project, "--json", "--limit", "1")[1])
        ] == ["bad"]
        assert run("disable", "good", project) == (0, "good is paused.\n")
        assert "paused" in run("list", project)[1]
        assert run("enable", "good", project)[0] == 0
        listed = orjson.loads(run("list", project, "--json")[1])
        assert [(row["jobname"], row["active"], row["last_status"]) for row in listed] == [
            ("bad", True, "failed"),
            ("good", True, "succeeded"),
        ]
