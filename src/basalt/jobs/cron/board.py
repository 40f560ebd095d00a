"""What the schedulers of all workers agree by: the statements over `cron.ticks` and `cron.runs`.

Instants are those of the database's clock. Each statement is one transaction, so that a worker may be killed between
any two of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from basalt import observe
from basalt.jobs.cron.ticks import Missed, decide_claim, find_next_tick, read_line

Connection = AsyncConnection[DictRow]

# A worker holds the advisory lock (LOCK_CLASS, its number): what runs under a number that nobody holds has lost it.
LOCK_CLASS: Final = 0x6372_6F6E  # "cron"
MOST_WAITING: Final = 100  # runs of one schedule that may overlap: beyond, its ticks are skipped

ENDED_WORKER = "the worker ended before the run did"


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule that is to be planned or comes due within the time asked for."""

    jobid: int
    schedule: str
    timezone: str
    missed: Missed
    since: datetime
    next_tick: datetime | None


@dataclass(frozen=True, slots=True)
class Board:
    now: datetime
    due: Sequence[Due]
    has_waiting: bool
    has_others: bool


@dataclass(frozen=True, slots=True)
class Run:
    """A run that this worker has started to perform. `database` and `username` are where and as whom."""

    runid: int
    jobid: int
    jobname: str | None
    database: str
    username: str
    command: str


HAS_SCHEDULES: Final = (
    "select to_regclass('cron.ticks') is not null as is_ours, to_regclass('cron.job') is not null as exists"
)


async def find_schedules(connection: Connection) -> tuple[bool, bool]:
    """Whether the tables are Basalt's, and whether there are any: a server may have pg_cron itself."""
    row = await (await connection.execute(HAS_SCHEDULES)).fetchone()
    assert row is not None
    return row["is_ours"], row["exists"]


ANNOUNCE: Final = "select pg_try_advisory_lock(%s, %s) as is_held"


async def announce(connection: Connection, worker: int) -> bool:
    """Hold the lock that says that this worker lives; False where another one has the number."""
    row = await (await connection.execute(ANNOUNCE, [LOCK_CLASS, worker])).fetchone()
    return row is not None and row["is_held"] is True


LOAD: Final = """
select clock.now, due.*,
    exists (select from cron.runs where state = 'waiting') as has_waiting,
    exists (select from cron.runs where state = 'running' and worker <> %(worker)s) as has_others
from (select clock_timestamp() as now) as clock
left join lateral (
    select j.jobid, j.schedule, j.timezone, j.missed, t.since, t.next_tick
    from cron.ticks as t join cron.job as j using (jobid)
    where j.active and (not t.is_planned or t.next_tick <= clock.now + %(ahead)s::interval)
) as due on true
"""


async def load_board(connection: Connection, *, worker: int, ahead_s: float) -> Board:
    """The state of things, and schedules that come due within `ahead_s`."""
    rows = await (await connection.execute(LOAD, {"worker": worker, "ahead": f"{ahead_s} s"})).fetchall()
    return Board(
        now=rows[0]["now"],
        due=[_read_due(row) for row in rows if row["jobid"] is not None],
        has_waiting=rows[0]["has_waiting"],
        has_others=rows[0]["has_others"],
    )


def _read_due(row: DictRow) -> Due:
    return Due(row["jobid"], row["schedule"], row["timezone"], row["missed"], row["since"], row["next_tick"])


PLAN: Final = """
update cron.ticks as t set next_tick = p.next_tick, is_planned = true
from unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[]) as p (jobid, since, next_tick)
where t.jobid = p.jobid and t.since = p.since and not t.is_planned
"""


async def plan(connection: Connection, unplanned: Sequence[Due]) -> None:
    """Find the first tick of schedules that were made or changed."""
    first = [_find_first_tick(job) for job in unplanned]
    await connection.execute(
        PLAN, [[job.jobid for job in unplanned], [job.since for job in unplanned], first]
    )


def _find_first_tick(job: Due) -> datetime | None:
    try:
        return find_next_tick(read_line(job.schedule), job.timezone, after=job.since, anchor=job.since)
    except (
        KeyError,
        ValueError,
    ) as error:  # a zone that PostgreSQL's database of time zones has and Python's has not
        observe.event("cron_schedule_unreadable", level="error", jobid=job.jobid, reason=str(error))
        return None


# A tick is claimed by whoever moves `next_tick` on from it. What another worker is claiming just now is passed over.
CLAIM: Final = """
with passed as (
    select t.jobid, p.tick, p.next_tick, p.is_due
    from cron.ticks as t
    join unnest(%(jobids)s::bigint[], %(ticks)s::timestamptz[], %(next_ticks)s::timestamptz[], %(are_due)s::boolean[])
        as p (jobid, tick, next_tick, is_due) on p.jobid = t.jobid and p.tick = t.next_tick
    where t.is_planned and t.next_tick <= clock_timestamp()
    for update of t skip locked
), claimed as (
    update cron.ticks as t set next_tick = p.next_tick, since = greatest(t.since, p.tick)
    from passed as p, cron.job as j
    where t.jobid = p.jobid and j.jobid = p.jobid and j.active
    returning t.jobid, p.tick, p.is_due, j.overlap
)
insert into cron.runs (jobid, tick, is_alone)
select c.jobid, c.tick, c.overlap <> 'allow'
from claimed as c
where c.is_due
    and not exists (select from cron.job_run_details as d where d.jobid = c.jobid and d.tick = c.tick)
    and case c.overlap
        when 'skip' then not exists (select from cron.runs as r where r.jobid = c.jobid)
        when 'queue' then not exists (select from cron.runs as r where r.jobid = c.jobid and r.state = 'waiting')
        else (select count(*) from cron.runs as r where r.jobid = c.jobid) < %(most)s
    end
on conflict do nothing
"""


async def claim_ticks(connection: Connection, passed: Sequence[Due], now: datetime) -> int:
    """Make the runs of ticks that have passed, each once over all workers; how many were made here."""
    claims = [
        (
            job,
            tick,
            decide_claim(read_line(job.schedule), job.timezone, tick=tick, now=now, missed=job.missed),
        )
        for job in passed
        if (tick := job.next_tick) is not None
    ]
    made = await connection.execute(
        CLAIM,
        {
            "jobids": [job.jobid for job, _, _ in claims],
            "ticks": [tick for _, tick, _ in claims],
            "next_ticks": [claim.next_tick for _, _, claim in claims],
            "are_due": [claim.is_due for _, _, claim in claims],
            "most": MOST_WAITING,
        },
    )
    return made.rowcount


# `@reboot`: the start of PostgreSQL is its tick.
CLAIM_START: Final = """
update cron.ticks as t set next_tick = pg_postmaster_start_time()
from cron.job as j
where j.jobid = t.jobid and j.active and btrim(j.schedule, E' \\t\\r\\n') in ('@reboot', '@restart')
    and t.is_planned and t.next_tick is null and t.since < pg_postmaster_start_time()
"""


async def note_start(connection: Connection) -> None:
    """Make schedules due that wait for a start of PostgreSQL, if it has started since they last ran."""
    await connection.execute(CLAIM_START)


START: Final = """
with startable as (
    select r.runid, j.jobname, j.database, j.username, j.command
    from cron.runs as r join cron.job as j using (jobid)
    where r.state = 'waiting' and j.active and not (
        r.is_alone and exists (select from cron.runs as o where o.jobid = r.jobid and o.state = 'running'))
    order by r.tick, r.runid
    limit %(places)s for update of r skip locked
), started as (
    update cron.runs as r set state = 'running', worker = %(worker)s
    from startable as s where r.runid = s.runid
    returning r.runid, r.jobid, r.tick, s.jobname, s.database, s.username, s.command
), told as (
    insert into cron.job_run_details (runid, jobid, tick, database, username, command, status)
    select runid, jobid, tick, database, username, command, 'starting' from started
    on conflict do nothing
)
select runid, jobid, jobname, database, username, command from started order by tick, runid
"""


async def start_runs(connection: Connection, *, worker: int, places: int) -> list[Run]:
    """Take waiting runs, oldest first, whose schedules let them start now."""
    rows = await (await connection.execute(START, {"worker": worker, "places": places})).fetchall()
    return [Run(**row) for row in rows]


START_NOW: Final = """
with started as (
    insert into cron.runs (jobid, state, worker, is_alone)
    select jobid, 'running', %(worker)s, overlap <> 'allow' from cron.job where jobid = %(jobid)s
    on conflict do nothing
    returning runid, jobid
), told as (
    insert into cron.job_run_details (runid, jobid, database, username, command, status)
    select runid, jobid, database, username, command, 'starting' from started join cron.job using (jobid)
)
select runid, jobid, jobname, database, username, command from started join cron.job using (jobid)
"""


async def start_now(connection: Connection, *, worker: int, jobid: int) -> Run | None:
    """A run that somebody asks for, beside the ticks; None while one is going on that bears none beside it."""
    row = await (await connection.execute(START_NOW, {"worker": worker, "jobid": jobid})).fetchone()
    return Run(**row) if row is not None else None


SHOW_RUNNING: Final = """
update cron.job_run_details set status = 'running', job_pid = %s, start_time = clock_timestamp() where runid = %s
"""


async def show_running(connection: Connection, runid: int, pid: int) -> None:
    await connection.execute(SHOW_RUNNING, [pid, runid])


END: Final = """
with ended as (delete from cron.runs where runid = %(runid)s returning runid)
update cron.job_run_details as d
set status = %(status)s, return_message = %(message)s, end_time = clock_timestamp(),
    start_time = coalesce(d.start_time, clock_timestamp())
from ended where d.runid = ended.runid
"""


async def end_run(connection: Connection, runid: int, *, is_success: bool, message: str) -> None:
    """Settle a run. One that another worker has ended meanwhile stays as that one left it."""
    status = "succeeded" if is_success else "failed"
    await connection.execute(END, {"runid": runid, "status": status, "message": message.replace("\0", "")})


# The worker's session is gone, so its command has been told to stop; PostgreSQL may not have seen it yet.
END_LOST: Final = """
with lost as (
    delete from cron.runs as r
    where r.state = 'running' and not exists (
        select from pg_catalog.pg_locks as l
        where l.locktype = 'advisory' and l.classid = %(lock_class)s and l.objid::bigint = r.worker and l.objsubid = 2
            and l.granted and l.database = (select oid from pg_catalog.pg_database where datname =
            current_database()))
    returning r.runid
), told as (
    update cron.job_run_details as d
    set status = 'failed', return_message = %(message)s, end_time = clock_timestamp(),
        start_time = coalesce(d.start_time, clock_timestamp())
    from lost where d.runid = lost.runid
    returning d.runid, d.job_pid
)
select lost.runid, pg_catalog.pg_terminate_backend(a.pid) as was_running
from lost
left join told using (runid)
left join pg_catalog.pg_stat_activity as a
    on a.pid = told.job_pid and a.application_name = 'basalt/cron ' || lost.runid
        and pg_catalog.pg_has_role(current_user, a.usesysid, 'usage')
"""


async def end_lost_runs(connection: Connection) -> list[int]:
    """End runs as failed whose worker is gone; their numbers."""
    parameters: dict[str, Any] = {"lock_class": LOCK_CLASS, "message": ENDED_WORKER}
    rows = await (await connection.execute(END_LOST, parameters)).fetchall()
    return [row["runid"] for row in rows]


FIND_REMOVED: Final = """
select id as jobid from unnest(%s::bigint[]) as id
where not exists (select from cron.job as j where j.jobid = id and j.active)
"""


async def find_removed(connection: Connection, jobids: Sequence[int]) -> set[int]:
    """Which of these schedules are there no longer, or not active."""
    rows = await (await connection.execute(FIND_REMOVED, [list(jobids)])).fetchall()
    return {row["jobid"] for row in rows}


PURGE: Final = """
delete from cron.job_run_details where runid in (
    select runid from cron.job_run_details where end_time < clock_timestamp() - %s::interval
    order by end_time limit 10000)
"""


async def purge_history(connection: Connection, *, keep_s: float) -> int:
    """Remove the oldest runs that ended longer ago; how many went."""
    return (await connection.execute(PURGE, [f"{keep_s} s"])).rowcount
