"""Claiming: waiting jobs become this worker's, many in one round trip."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from uuid import UUID

from basalt.jobs.database import BY_INDEX, JobsDatabase, array, text_array
from basalt.jobs.frontier import PRIORITIES, Frontier, Gauge, Line
from basalt.postgres import Query, Result

RETURNING = (
    "returning j.id, j.position, j.priority, j.queue, j.name, j.payload, j.attempt, j.max_attempts, j.key, "
    "j.request_id, extract(epoch from j.created_at), j.cancel_requested_at is not null, j.traceparent"
)

GAUGE = Query(
    "select q.last_value, pg_snapshot_xmin(s), pg_snapshot_xmax(s) "
    "from basalt.jobs_id_seq as q, pg_current_snapshot() as s"
)

CLAIM_JOBS = f"""
with due as materialized (
    select d.id
    from unnest($1::text[], $2::integer[], $3::bigint[]) with ordinality as line(queue, priority, start, number)
    cross join lateral (
        select j.id from basalt.jobs as j
        where j.state = 'ready' and j.queue = line.queue and j.priority = line.priority and j.position > line.start
        order by j.position
        limit $4::bigint
        for update skip locked) as d
    limit $4::bigint)
update basalt.jobs as j
set state = 'running', attempt = j.attempt + 1, worker_id = $5::uuid, progress = null, progress_note = null,
    lease_until = clock_timestamp() + make_interval(secs => $6::double precision)
where j.id = any (array(select d.id from due as d))
{RETURNING}
"""  # noqa: S608

# One worker at a time counts and claims. Expired leases do not count: those jobs are anybody's. A start rate is paced
# by the instant of the next start, which may lag behind by so much that a late look loses nothing.
LOCK_QUEUE = "select pg_advisory_xact_lock(1650553712, hashtext($1))"
RATE_SLACK_S = 0.05
CLAIM_LIMITED = f"""
with limits as (
    select q.concurrency, q.rate_per_s, clock_timestamp() as at,
        greatest(r.next_start_at, clock_timestamp() - make_interval(secs => {RATE_SLACK_S})) as next_start_at
    from basalt.queues as q left join basalt.queue_rates as r on r.queue = q.name
    where q.name = $1 and not q.is_paused),
room as (
    select l.*, greatest(0, least(
        $4::bigint,
        case when l.concurrency > 0 then l.concurrency - (
            select count(*) from basalt.jobs as j
            where j.state = 'running' and j.queue = $1 and j.lease_until > l.at) end,
        case when l.rate_per_s > 0 then
            case when l.next_start_at > l.at then 0
                else floor(extract(epoch from l.at - l.next_start_at) * l.rate_per_s)::bigint + 1 end end)) as count
    from limits as l),
due as materialized (
    select d.id
    from unnest($2::integer[], $3::bigint[]) with ordinality as line(priority, start, number)
    cross join lateral (
        select j.id from basalt.jobs as j
        where j.state = 'ready' and j.queue = $1 and j.priority = line.priority and j.position > line.start
        order by j.position
        limit $4::bigint
        for update skip locked) as d
    limit coalesce((select r.count from room as r), 0)),
claimed as (
    update basalt.jobs as j
    set state = 'running', attempt = j.attempt + 1, worker_id = $5::uuid, progress = null, progress_note = null,
        lease_until = clock_timestamp() + make_interval(secs => $6::double precision)
    where j.id = any (array(select d.id from due as d))
    {RETURNING}),
paced as (
    insert into basalt.queue_rates as r (queue, next_start_at)
    select $1, room.next_start_at + make_interval(secs => count(*) / room.rate_per_s)
    from claimed, room where room.rate_per_s > 0 group by room.next_start_at, room.rate_per_s
    on conflict (queue) do update set next_start_at = excluded.next_start_at)
select * from claimed
"""  # noqa: S608
LOAD_ROOM = """
select q.concurrency > 0 and q.concurrency <= (
        select count(*) from basalt.jobs as j
        where j.state = 'running' and j.queue = q.name and j.lease_until > clock_timestamp()),
    case when q.rate_per_s > 0 then greatest(0, extract(epoch from r.next_start_at - clock_timestamp())) end
from basalt.queues as q left join basalt.queue_rates as r on r.queue = q.name
where q.name = $1
"""

# After a claim whose answer was lost: what is ours and not in hand.
ADOPT_JOBS = f"""
update basalt.jobs as j
set lease_until = clock_timestamp() + make_interval(secs => $4::double precision)
from unnest($1::text[]) as q(name)
where j.state = 'running' and j.queue = q.name and j.lease_until > clock_timestamp() and j.worker_id = $2::uuid
    and j.id <> all ($3::bigint[])
{RETURNING}
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row of `basalt.jobs` that is ours. `max_attempts` is None where its queue decides; `payload` is JSON yet to
    be read."""

    id: int
    position: int
    priority: int
    queue: str
    name: str
    payload: bytes
    attempt: int
    max_attempts: int | None
    key: str | None
    request_id: str | None
    created_at: datetime
    is_cancelled: bool
    traceparent: str | None = None


class Claimer:
    """`worker_id` is new for each run of an engine."""

    def __init__(self, database: JobsDatabase, worker_id: UUID, lease_s: float) -> None:
        self._database = database
        self._worker_id = str(worker_id).encode()
        self._lease_s = str(lease_s).encode()
        self._frontier = Frontier()
        self._turn = 0

    async def claim(self, queues: Collection[str], limit: int, *, from_start: bool = False) -> list[Claimed]:
        """Up to `limit` jobs: lower priorities first, then by position; queues take turns in being first among
        equals. `from_start` reads the lines from their beginning, whatever was seen before."""
        lines = self._list_lines(queues)
        if not lines:
            return []
        at = asyncio.get_running_loop().time()
        params = (
            text_array(queue for queue, _ in lines),
            array(priority for _, priority in lines),
            array([0] * len(lines) if from_start else self._frontier.starts(lines)),
            b"%d" % limit,
            self._worker_id,
            self._lease_s,
        )
        _, gauge, answer = await self._database.execute([BY_INDEX, GAUGE, Query(CLAIM_JOBS, params)])
        return self._note(at, lines, gauge, parse_claimed(answer), limit, is_sweep=from_start)

    async def claim_limited(
        self, queue: str, limit: int, *, from_start: bool = False
    ) -> tuple[list[Claimed], bool, float]:
        """Jobs of a queue with limits over all workers; whether it now has as many running as it may; and how many
        seconds there are to its next start (0 where it has no rate)."""
        lines = [(queue, priority) for priority in PRIORITIES]
        name = queue.encode()
        at = asyncio.get_running_loop().time()
        params = (
            name,
            array(PRIORITIES),
            array([0] * len(lines) if from_start else self._frontier.starts(lines)),
            b"%d" % limit,
            self._worker_id,
            self._lease_s,
        )
        _, _, gauge, answer, room = await self._database.execute(
            [
                BY_INDEX,
                Query(LOCK_QUEUE, (name,)),
                GAUGE,
                Query(CLAIM_LIMITED, params),
                Query(LOAD_ROOM, (name,)),
            ]
        )
        claimed = parse_claimed(answer)
        is_at_limit, wait_s = room.rows[0] if room.rows else (b"f", None)
        # The limits may have ended it as `limit` would have: then nothing was looked through to the end.
        is_open_ended = is_at_limit != b"t" and wait_s is None
        self._note(at, lines, gauge, claimed, limit if is_open_ended else len(claimed), is_sweep=from_start)
        return claimed, is_at_limit == b"t", float(wait_s or 0)

    async def adopt(self, queues: Iterable[str], in_hand: Iterable[int]) -> list[Claimed]:
        """Jobs that a claim gave us without our hearing of it. Only while no claim is under way."""
        params = (text_array(queues), self._worker_id, array(in_hand), self._lease_s)
        _, answer = await self._database.execute([BY_INDEX, Query(ADOPT_JOBS, params)])
        return parse_claimed(answer)

    def _list_lines(self, queues: Collection[str]) -> list[Line]:
        """By priority, and within one beginning with another queue each time."""
        if not queues:
            return []
        self._turn = (self._turn + 1) % len(queues)
        ordered = list(queues)
        ordered = ordered[self._turn :] + ordered[: self._turn]
        return [(queue, priority) for priority in PRIORITIES for queue in ordered]

    def _note(
        self,
        at: float,
        lines: Sequence[Line],
        gauge: Result,
        claimed: list[Claimed],
        limit: int,
        *,
        is_sweep: bool,
    ) -> list[Claimed]:
        last_position, xmin, xmax = (int(value or 0) for value in gauge.rows[0])
        self._frontier.note_gauge(Gauge(at, last_position, xmin, xmax))
        highest: dict[Line, int] = {}
        for job in claimed:
            line = (job.queue, job.priority)
            highest[line] = max(highest.get(line, 0), job.position)
        is_full = len(claimed) >= limit
        if is_sweep and is_full and claimed:
            self._frontier.note_full_sweep(lines, highest)
        else:
            self._frontier.note_claim(lines, highest, is_full=is_full)
        return claimed


def parse_claimed(answer: Result) -> list[Claimed]:
    """In the order in which they are to be begun: `returning` has one of its own."""
    claimed = [
        Claimed(
            int(id_),  # type: ignore[arg-type]  # these columns are not null
            int(position),  # type: ignore[arg-type]
            int(priority),  # type: ignore[arg-type]
            queue.decode(),  # type: ignore[union-attr]
            name.decode(),  # type: ignore[union-attr]
            payload,  # type: ignore[arg-type]
            int(attempt),  # type: ignore[arg-type]
            int(max_attempts) if max_attempts is not None else None,
            key.decode() if key is not None else None,
            request_id.decode() if request_id is not None else None,
            datetime.fromtimestamp(float(created_at), UTC),  # type: ignore[arg-type]
            is_cancelled == b"t",
            traceparent.decode() if traceparent is not None else None,
        )
        for (
            id_,
            position,
            priority,
            queue,
            name,
            payload,
            attempt,
            max_attempts,
            key,
            request_id,
            created_at,
            is_cancelled,
            traceparent,
        ) in answer.rows
    ]
    claimed.sort(key=attrgetter("priority", "position"))
    return claimed
