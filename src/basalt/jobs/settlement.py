"""Acknowledging: how attempts ended is written down, many in one round trip.

A statement names job, attempt and worker, so that one that is sent twice, or too late, changes nothing.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson

from basalt.config import QueueSettings
from basalt.jobs.claims import Claimed
from basalt.jobs.database import BY_INDEX, JobsDatabase, array
from basalt.jobs.outcome import Cancelled, Died, Finished, GivenBack, Outcome, Retried
from basalt.postgres import Query

BATCH = 1000

# The outcomes are an object by the jobs' ids, which costs a search for each row. Joined they would be read over and
# over for each row, and if the statements asked for running jobs the planner would read the index of those, dead
# entries and all: it believes both to be small. That a row is running is known from its worker.
FINISH_JOBS = """
delete from basalt.jobs as j
where j.id = any ($1::bigint[]) and j.worker_id = $2::uuid
    and j.attempt = ($3::jsonb -> j.id::text ->> 'attempt')::integer
"""
KEEP_JOBS = """
with gone as (
    delete from basalt.jobs as j
    where j.id = any ($1::bigint[]) and j.worker_id = $2::uuid
        and j.attempt = ($3::jsonb -> j.id::text ->> 'attempt')::integer
    returning j.*, $3::jsonb -> j.id::text as outcome)
insert into basalt.finished_jobs (id, queue, name, state, attempt, key, request_id, result, created_at, keep_until)
select g.id, g.queue, g.name, g.outcome ->> 'state', g.attempt, g.key, g.request_id,
    nullif(g.outcome -> 'result', 'null'), g.created_at,
    now() + make_interval(secs => (g.outcome ->> 'keep_s')::double precision)
from gone as g
"""
RETRY_JOBS = """
update basalt.jobs as j
set state = 'scheduled', worker_id = null, lease_until = null, last_error = $3::jsonb -> j.id::text ->> 'reason',
    run_at = clock_timestamp()
        + make_interval(secs => ($3::jsonb -> j.id::text ->> 'delay_s')::double precision)
where j.id = any ($1::bigint[]) and j.worker_id = $2::uuid and j.cancel_requested_at is null
    and j.attempt = ($3::jsonb -> j.id::text ->> 'attempt')::integer
"""
GIVE_BACK_JOBS = """
with given as (
    update basalt.jobs as j
    set state = 'ready', attempt = j.attempt - 1, worker_id = null, lease_until = null
    where j.id = any ($1::bigint[]) and j.worker_id = $2::uuid and j.cancel_requested_at is null
        and j.attempt = ($3::jsonb -> j.id::text ->> 'attempt')::integer
    returning j.id)
select basalt.wake_workers('ready') where exists (select from given)
"""
BURY_JOBS = """
with gone as (
    delete from basalt.jobs as j
    where j.id = any ($1::bigint[]) and j.worker_id = $2::uuid
        and j.attempt = ($3::jsonb -> j.id::text ->> 'attempt')::integer
    returning j.*, $3::jsonb -> j.id::text ->> 'reason' as reason)
insert into basalt.dead_jobs (
    id, queue, name, payload, priority, attempt, max_attempts, key, request_id, created_at, reason)
select
    g.id, g.queue, g.name, g.payload, g.priority, g.attempt, g.max_attempts, g.key, g.request_id, g.created_at,
    g.reason
from gone as g
"""


@dataclass(frozen=True, slots=True)
class Settled:
    job: Claimed
    outcome: Outcome


class Settler:
    """`policy_of` tells the settings of a queue; `on_settled` hears of each batch that is written down."""

    def __init__(
        self,
        database: JobsDatabase,
        worker_id: UUID,
        policy_of: Callable[[str], QueueSettings],
        on_settled: Callable[[Sequence[Settled]], None],
    ) -> None:
        self._database = database
        self._worker_id = str(worker_id).encode()
        self._policy_of = policy_of
        self._on_settled = on_settled
        self._outbox: list[Settled] = []
        self._on_its_way: list[Settled] = []
        self._has_some = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self.counts: Mapping[str, Counter[str]] = defaultdict(Counter)

    def __len__(self) -> int:
        return len(self._outbox)

    def list_ids(self) -> list[int]:
        """The jobs that ended here and may not be written down yet."""
        return [settled.job.id for settled in (*self._on_its_way, *self._outbox)]

    def put(self, settled: Settled) -> None:
        self._outbox.append(settled)
        self._has_some.set()
        self._is_empty.clear()

    async def run(self) -> None:
        """For ever. While one batch is on its way the next one gathers."""
        while True:
            await self._has_some.wait()
            batch, self._outbox = self._outbox[:BATCH], self._outbox[BATCH:]
            self._on_its_way = batch
            try:
                await self._database.insist(build_settlement(batch, self._worker_id, self._policy_of))
            except BaseException:
                self._outbox = batch + self._outbox
                raise
            finally:
                self._on_its_way = []
            for settled in batch:
                self._count(settled)
            self._on_settled(batch)
            if not self._outbox:
                self._has_some.clear()
                self._is_empty.set()

    async def wait_empty(self) -> None:
        """Until everything that was put is written down."""
        await self._is_empty.wait()

    def take_counts(self) -> Mapping[str, Counter[str]]:
        taken, self.counts = self.counts, defaultdict(Counter)
        return taken

    def _count(self, settled: Settled) -> None:
        match settled.outcome:
            case Finished():
                self.counts[settled.job.queue]["finished"] += 1
            case Retried():
                self.counts[settled.job.queue]["retried"] += 1
            case Died():
                self.counts[settled.job.queue]["dead"] += 1
            case Cancelled() | GivenBack():
                pass


Outcomes = dict[int, dict[str, object]]


def build_settlement(
    batch: Sequence[Settled], worker_id: bytes, policy_of: Callable[[str], QueueSettings]
) -> list[Query]:
    """A statement for each kind of outcome that occurs. A cancellation that came too late for the worker wins over a
    retry."""
    finished: Outcomes = {}
    kept: Outcomes = {}
    retried: Outcomes = {}
    buried: Outcomes = {}
    given_back: Outcomes = {}
    for settled in batch:
        job, outcome = settled.job, settled.outcome
        attempt: dict[str, object] = {"attempt": job.attempt}
        match outcome:
            case Finished() | Cancelled():
                keep_s = policy_of(job.queue).keep_finished_s
                if keep_s > 0:
                    kept[job.id] = attempt | _kept(outcome, keep_s)
                else:
                    finished[job.id] = attempt
            case Retried(reason, delay_s):
                retried[job.id] = attempt | {"reason": reason, "delay_s": delay_s}
            case Died(reason):
                buried[job.id] = attempt | {"reason": reason}
            case GivenBack():
                given_back[job.id] = attempt
    steps = (
        (FINISH_JOBS, finished),
        (KEEP_JOBS, kept),
        (RETRY_JOBS, retried),
        (BURY_JOBS, buried),
        (GIVE_BACK_JOBS, given_back),
        (FINISH_JOBS, retried | given_back),  # what is still ours of these was to be cancelled
    )
    return [
        BY_INDEX,
        *[
            Query(sql, (array(outcomes), worker_id, orjson.dumps(outcomes, option=orjson.OPT_NON_STR_KEYS)))
            for sql, outcomes in steps
            if outcomes
        ],
    ]


def _kept(outcome: Finished | Cancelled, keep_s: float) -> dict[str, object]:
    if isinstance(outcome, Cancelled):
        return {"state": "cancelled", "keep_s": keep_s}
    result = orjson.Fragment(outcome.result) if outcome.result is not None else None
    return {"state": "finished", "keep_s": keep_s, "result": result}
