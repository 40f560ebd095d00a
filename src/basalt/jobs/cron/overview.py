"""Schedules and their history for who looks after a project, and a run that somebody asks for."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from basalt.jobs.cron.board import Connection, Run, end_run, find_schedules, show_running, start_now
from basalt.jobs.cron.command import perform
from basalt.jobs.cron.session import connect_owner, open_session
from basalt.jobs.errors import JobError
from basalt.postgres import DatabaseAccess


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """`next_at` is None where the schedule is paused, waits for a start of PostgreSQL, never comes, or no worker has
    planned it yet."""

    jobid: int
    jobname: str | None
    schedule: str
    timezone: str
    database: str
    username: str
    command: str
    active: bool
    overlap: str
    missed: str
    is_configured: bool
    next_at: datetime | None
    last_status: str | None
    last_started_at: datetime | None


@dataclass(frozen=True, slots=True)
class RunRow:
    runid: int
    jobid: int
    jobname: str | None
    status: str
    return_message: str | None
    tick: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


LIST_SCHEDULES: Final = """
select j.jobid, j.jobname, j.schedule, j.timezone, j.database, j.username, j.command, j.active, j.overlap, j.missed,
    j.is_configured, case when j.active then t.next_tick end as next_at,
    d.status as last_status, d.start_time as last_started_at
from cron.job as j
left join cron.ticks as t using (jobid)
left join lateral (
    select status, start_time from cron.job_run_details where jobid = j.jobid order by runid desc limit 1
) as d on true
order by j.jobname nulls last, j.jobid
"""

LIST_RUNS: Final = """
select d.runid, d.jobid, j.jobname, d.status, d.return_message, d.tick,
    d.start_time as started_at, d.end_time as ended_at
from cron.job_run_details as d left join cron.job as j using (jobid)
where %(jobid)s::bigint is null or d.jobid = %(jobid)s
order by d.runid desc limit %(limit)s
"""

FIND_JOBS: Final = """
select jobid, username from cron.job
where jobname = %(name)s or jobid::text = %(name)s
order by jobname = %(name)s desc nulls last, jobid
"""

SET_ACTIVE: Final = "update cron.job set active = %s where jobid = %s"


async def list_schedules(access: DatabaseAccess) -> Sequence[ScheduleRow]:
    """All of the project's; none where it has no pg_cron."""
    async with await connect_owner(access, "cron-command") as connection:
        if not (await find_schedules(connection))[0]:
            return []
        rows = await (await connection.execute(LIST_SCHEDULES)).fetchall()
    return [ScheduleRow(**row) for row in rows]


async def list_runs(access: DatabaseAccess, name: str | None, *, limit: int) -> Sequence[RunRow]:
    """The newest runs, of one schedule by its name or number or of all. Raises JobError."""
    async with await connect_owner(access, "cron-command") as connection:
        jobid = await _find_job(connection, name) if name is not None else None
        if name is None and not (await find_schedules(connection))[0]:
            return []
        rows = await (await connection.execute(LIST_RUNS, {"jobid": jobid, "limit": limit})).fetchall()
    return [RunRow(**row) for row in rows]


async def set_active(access: DatabaseAccess, name: str, *, active: bool) -> int:
    """Pause a schedule or let it go on; its number. Raises JobError."""
    async with await connect_owner(access, "cron-command") as connection:
        jobid = await _find_job(connection, name)
        await connection.execute(SET_ACTIVE, [active, jobid])
    return jobid


async def run_schedule(access: DatabaseAccess, name: str) -> RunRow:
    """Perform a schedule's command now, whether it is paused or not, and wait for its end. Raises JobError."""
    async with open_session(access) as session:
        jobid = await _find_job(session.connection, name)
        run = await start_now(session.connection, worker=session.worker, jobid=jobid)
        if run is None:
            raise JobError(
                "SCHEDULE_RUNNING",
                409,
                f"A run of {name} is going on, and its schedule lets no other run beside it",
                hint="Wait for its end, or set cron.job.overlap to 'allow'.",
            )
        return await _perform(access, session.connection, run)


async def _perform(access: DatabaseAccess, connection: Connection, run: Run) -> RunRow:
    try:
        outcome = await perform(access, run, lambda pid: show_running(connection, run.runid, pid))
    except asyncio.CancelledError:
        await end_run(connection, run.runid, is_success=False, message="job canceled")
        raise
    await end_run(connection, run.runid, is_success=outcome.is_success, message=outcome.message)
    rows = await (await connection.execute(LIST_RUNS, {"jobid": run.jobid, "limit": 100})).fetchall()
    return next(RunRow(**row) for row in rows if row["runid"] == run.runid)


async def _find_job(connection: Connection, name: str) -> int:
    """A name counts before a number."""
    found = []
    if (await find_schedules(connection))[0]:
        found = await (await connection.execute(FIND_JOBS, {"name": name})).fetchall()
    if not found:
        raise JobError(
            "SCHEDULE_NOT_FOUND", 404, f"There is no schedule {name}", hint="`basalt cron list` shows all."
        )
    if len(found) > 1:
        numbers = ", ".join(f"{row['jobid']} of {row['username']}" for row in found)
        raise JobError("SCHEDULE_AMBIGUOUS", 400, f"Several schedules are called {name}: {numbers}")
    jobid: int = found[0]["jobid"]
    return jobid
