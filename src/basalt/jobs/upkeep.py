"""What workers do beside performing: keep their leases, take over those that ran out, promote what is due, count.

Every worker does all of it. Statements skip rows that somebody else has locked, so that several at once share the
work.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

import orjson

from basalt.config import QueueSettings
from basalt.jobs.claims import RETURNING, Claimed, parse_claimed
from basalt.jobs.database import BY_INDEX, JobsDatabase, array, text_array
from basalt.jobs.performing import Held
from basalt.postgres import Query

PROMOTE_BATCH = 1000
TAKE_OVER_BATCH = 200
CLEAR_BATCH = 5000
KEEP_COUNTS = "2 days"

ENSURE_QUEUES = """
insert into basalt.queues as q (name, concurrency, rate_per_s, max_depth, keep_finished_s)
select o.* from jsonb_to_recordset($1) as o(
    name text, concurrency integer, rate_per_s double precision, max_depth bigint, keep_finished_s double precision)
order by o.name
on conflict (name) do update set concurrency = excluded.concurrency, rate_per_s = excluded.rate_per_s,
    max_depth = excluded.max_depth, keep_finished_s = excluded.keep_finished_s
where (q.concurrency, q.rate_per_s, q.max_depth, q.keep_finished_s) is distinct from
    (excluded.concurrency, excluded.rate_per_s, excluded.max_depth, excluded.keep_finished_s)
"""
LOAD_QUEUES = "select name, is_paused, concurrency > 0 or rate_per_s > 0 from basalt.queues"

RENEW_LEASES = """
update basalt.jobs as j
set lease_until = clock_timestamp() + make_interval(secs => $4::double precision)
where j.id = any ($1::bigint[]) and j.worker_id = $2::uuid
    and j.attempt = ($3::jsonb ->> j.id::text)::integer
returning j.id, j.cancel_requested_at is not null
"""
NOTE_PROGRESS = """
update basalt.jobs as j
set progress = ($3::jsonb -> j.id::text ->> 'fraction')::real,
    progress_note = $3::jsonb -> j.id::text ->> 'note'
where j.id = any ($1::bigint[]) and j.worker_id = $2::uuid
    and j.attempt = ($3::jsonb -> j.id::text ->> 'attempt')::integer
"""

TAKE_OVER = f"""
with lost as materialized (
    select d.id
    from unnest($1::text[]) as q(name)
    cross join lateral (
        select j.id from basalt.jobs as j
        where j.state = 'running' and j.queue = q.name and j.lease_until > $2::timestamptz
            and j.lease_until <= clock_timestamp()
        order by j.lease_until
        limit {TAKE_OVER_BATCH}
        for update skip locked) as d
    limit {TAKE_OVER_BATCH})
update basalt.jobs as j
set worker_id = $3::uuid, lease_until = clock_timestamp() + make_interval(secs => $4::double precision)
where j.id = any (array(select l.id from lost as l))
{RETURNING}
"""  # noqa: S608

PROMOTE_JOBS = f"""
with due as materialized (
    select d.id
    from unnest($1::text[]) as q(name)
    cross join lateral (
        select j.id from basalt.jobs as j
        where j.state = 'scheduled' and j.queue = q.name and j.run_at > $2::timestamptz
            and j.run_at <= clock_timestamp()
        order by j.run_at
        limit {PROMOTE_BATCH}
        for update skip locked) as d
    limit {PROMOTE_BATCH}),
promoted as (
    update basalt.jobs as j set state = 'ready', position = nextval('basalt.jobs_id_seq')
    where j.id = any (array(select d.id from due as d))
    returning j.id)
select count(*), (select basalt.wake_workers('ready') from promoted limit 1) from promoted
"""  # noqa: S608
LOAD_NEXT_DUE = """
select extract(epoch from min(d.run_at) - clock_timestamp())
from unnest($1::text[]) as q(name)
cross join lateral (
    select j.run_at from basalt.jobs as j
    where j.state = 'scheduled' and j.queue = q.name and j.run_at > clock_timestamp()
    order by j.run_at limit 1) as d
"""
LOAD_CLOCK = Query("select clock_timestamp() - interval '1 second'")

MEASURE_DEPTH = """
update basalt.queues as q
set depth = m.waiting, depth_id = m.last_id, depth_at = clock_timestamp(), floor = m.floor
from (
    select n.name, g.last_id, basalt.count_waiting_jobs(n.name, n.floor, 100 * n.max_depth) as waiting,
        coalesce((
            select min(f.position) from generate_series(0, 9) as p cross join lateral (
                select j.position from basalt.jobs as j
                where j.state = 'ready' and j.queue = n.name and j.priority = p and j.position >= n.floor
                order by j.position limit 1) as f), g.last_id) as floor
    from basalt.queues as n
    cross join (select last_value as last_id from basalt.jobs_id_seq offset 0) as g
    where n.max_depth > 0 and n.depth + g.last_id - n.depth_id > n.max_depth / 2 and n.name = any ($1::text[])
    for update of n skip locked) as m
where q.name = m.name
"""

ADD_COUNTS = """
insert into basalt.job_counts as c (queue, minute, finished, retried, dead)
select o.queue, date_trunc('minute', clock_timestamp()), o.finished, o.retried, o.dead
from jsonb_to_recordset($1) as o(queue text, finished bigint, retried bigint, dead bigint)
order by o.queue
on conflict (queue, minute) do update set finished = c.finished + excluded.finished,
    retried = c.retried + excluded.retried, dead = c.dead + excluded.dead
"""
CLEAR_FINISHED = f"""
delete from basalt.finished_jobs as f
where f.id = any (array(
    select o.id from basalt.finished_jobs as o where o.keep_until < now()
    order by o.keep_until limit {CLEAR_BATCH} for update skip locked))
"""  # noqa: S608
CLEAR_DEAD = f"""
delete from basalt.dead_jobs as d
where d.id = any (array(
    select o.id from jsonb_to_recordset($1) as k(queue text, keep_s double precision)
    join basalt.dead_jobs as o on o.queue = k.queue and o.died_at < now() - make_interval(secs => k.keep_s)
    limit {CLEAR_BATCH} for update of o skip locked))
"""  # noqa: S608
CLEAR_COUNTS = f"""
delete from basalt.job_counts where minute < now() - interval '{KEEP_COUNTS}'
"""  # noqa: S608

FROM_THE_BEGINNING = b"-infinity"


@dataclass(frozen=True, slots=True)
class QueueState:
    """`is_limited`: over all workers together."""

    name: str
    is_paused: bool
    is_limited: bool


class Upkeep:
    def __init__(self, database: JobsDatabase, worker_id: UUID, lease_s: float) -> None:
        self._database = database
        self._worker_id = str(worker_id).encode()
        self._lease_s = str(lease_s).encode()
        self._promoted_until = FROM_THE_BEGINNING
        self._taken_over_until = FROM_THE_BEGINNING

    async def ensure_queues(self, named: Mapping[str, QueueSettings], otherwise: QueueSettings) -> None:
        """Give the settings to the database: to a queue that has none of its own those of any queue."""
        known = [state.name for state in await self.load_queues()]
        policies = dict.fromkeys(known, otherwise) | {"default": otherwise} | dict(named)
        rows = [
            {
                "name": name,
                "concurrency": policy.concurrency,
                "rate_per_s": policy.rate_per_s,
                "max_depth": policy.max_depth,
                "keep_finished_s": policy.keep_finished_s,
            }
            for name, policy in policies.items()
        ]
        await self._database.insist([Query(ENSURE_QUEUES, (orjson.dumps(rows),))])

    async def load_queues(self) -> list[QueueState]:
        (answer,) = await self._database.insist([Query(LOAD_QUEUES)])
        return [
            QueueState((name or b"").decode(), is_paused == b"t", is_limited == b"t")
            for name, is_paused, is_limited in answer.rows
        ]

    async def renew(self, held: Collection[Held]) -> tuple[set[int], set[int]]:
        """Keep the leases of these; the ids of those that we still have, and of those to be cancelled among them."""
        attempts = {str(one.job.id): one.job.attempt for one in held}
        params = (array(one.job.id for one in held), self._worker_id, orjson.dumps(attempts), self._lease_s)
        _, answer = await self._database.insist([BY_INDEX, Query(RENEW_LEASES, params)])
        ours = {int(id_ or 0) for id_, _ in answer.rows}
        return ours, {int(id_ or 0) for id_, is_cancelled in answer.rows if is_cancelled == b"t"}

    async def note_progress(self, held: Collection[Held]) -> None:
        """Write down what these reported, and forget it."""
        noted = {}
        for one in held:
            if one.progress is not None:
                fraction, note = one.progress
                one.progress = None
                noted[str(one.job.id)] = {"attempt": one.job.attempt, "fraction": fraction, "note": note}
        if noted:
            params = (array(int(id_) for id_ in noted), self._worker_id, orjson.dumps(noted))
            await self._database.insist([BY_INDEX, Query(NOTE_PROGRESS, params)])

    async def take_over(self, queues: Collection[str], *, from_start: bool) -> list[Claimed]:
        """Jobs whose lease ran out; they are ours then, with the attempt that was lost."""
        since = FROM_THE_BEGINNING if from_start else self._taken_over_until
        params = (text_array(queues), since, self._worker_id, self._lease_s)
        clock, _, answer = await self._database.execute([LOAD_CLOCK, BY_INDEX, Query(TAKE_OVER, params)])
        if len(answer.rows) < TAKE_OVER_BATCH:
            self._taken_over_until = clock.rows[0][0] or FROM_THE_BEGINNING
        return parse_claimed(answer)

    async def promote(self, queues: Collection[str], *, from_start: bool) -> tuple[int, float | None]:
        """Make scheduled jobs ready whose time has come: how many, and the seconds to the next one."""
        since = FROM_THE_BEGINNING if from_start else self._promoted_until
        names = text_array(queues)
        clock, _, answer, following = await self._database.execute(
            [
                LOAD_CLOCK,
                BY_INDEX,
                Query(PROMOTE_JOBS, (names, since)),
                Query(LOAD_NEXT_DUE, (names,)),
            ]
        )
        count = int(answer.rows[0][0] or 0)
        if count < PROMOTE_BATCH:
            self._promoted_until = clock.rows[0][0] or FROM_THE_BEGINNING
        next_in_s = following.rows[0][0]
        return count, None if next_in_s is None else float(next_in_s)

    async def measure_depth(self, queues: Collection[str]) -> None:
        """Count the waiting jobs of queues that may be on their way to being full."""
        await self._database.execute([BY_INDEX, Query(MEASURE_DEPTH, (text_array(queues),))])

    async def add_counts(self, counts: Mapping[str, Counter[str]]) -> None:
        rows = [
            {"queue": queue, **{kind: count[kind] for kind in ("finished", "retried", "dead")}}
            for queue, count in counts.items()
        ]
        await self._database.insist([Query(ADD_COUNTS, (orjson.dumps(rows),))])

    async def clear(self, keep_dead_s: Mapping[str, float]) -> bool:
        """Delete what was kept long enough, a batch of each; whether there may be more."""
        rows = [{"queue": queue, "keep_s": keep_s} for queue, keep_s in keep_dead_s.items() if keep_s > 0]
        finished, dead, _ = await self._database.execute(
            [Query(CLEAR_FINISHED), Query(CLEAR_DEAD, (orjson.dumps(rows),)), Query(CLEAR_COUNTS)]
        )
        return any(int(answer.command_tag.split()[-1]) >= CLEAR_BATCH for answer in (finished, dead))
