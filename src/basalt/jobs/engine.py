"""The worker's loops over the queues: claim, perform, settle, and the upkeep beside them.

A run of the engine has an id of its own, under which its claims stand. Handlers run in `performing`, outcomes leave
through `settlement`, and what was claimed comes from `claims`; this module decides when to look, and how to stop.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

from basalt import observe
from basalt.config import QueueSettings, Settings
from basalt.jobs.attention import LOOK_EVERY_S, Attention, Flow
from basalt.jobs.claims import Claimed, Claimer
from basalt.jobs.database import JobsDatabase, Pauses, is_transient
from basalt.jobs.frontier import Pace
from basalt.jobs.job import Handlers
from basalt.jobs.outcome import GivenBack, Retried, plan_after_loss
from basalt.jobs.performing import Performer
from basalt.jobs.settlement import Settled, Settler
from basalt.jobs.upkeep import QueueState, Upkeep
from basalt.jobs.wakeup import Wakeup
from basalt.postgres import DatabaseAccess, LanesUnavailable, PostgresError

KEEP_EVERY_S = 0.25
SWEEP_LEAST_S = 0.05
SWEEP_BEHIND_S = 0.01  # the ordinary look goes first
RELOAD_QUEUES_S = 0.02
GATHER_S = 0.002
GRACE_S = 5.0  # after an outage everybody first renews, then judges who is gone
AT_LIMIT_S = 0.25
STOP_LIMIT_S = 2.0
EAGER_S = (
    0.01,
    0.05,
    0.2,
)  # looks after the last job: who enqueued while we were busy has notified nobody


class JobEngine:
    name = "jobs"

    def __init__(self, settings: Settings, access: DatabaseAccess, handlers: Handlers) -> None:
        self._settings = settings
        self._access = access
        self._handlers = handlers

    async def run(self, stopping: asyncio.Event) -> None:
        run = EngineRun(self._settings, self._access, self._handlers)
        try:
            if await run.open(stopping):
                await run.work(stopping)
        finally:
            await run.close()


class EngineRun:
    def __init__(self, settings: Settings, access: DatabaseAccess, handlers: Handlers) -> None:
        worker = settings.basalt.worker
        worker_id = uuid4()
        self._settings = settings.basalt
        self._concurrency = worker.concurrency
        self._poll_s = worker.poll_interval_s
        self._lease_s = worker.lease_s
        self._drain_s = max(0.0, worker.drain_timeout_s - min(STOP_LIMIT_S, worker.drain_timeout_s / 5))
        self._database = JobsDatabase(access, worker.connections)
        self._claimer = Claimer(self._database, worker_id, worker.lease_s)
        self._upkeep = Upkeep(self._database, worker_id, worker.lease_s)
        self._settler = Settler(self._database, worker_id, self._policy_of, self._note_settled)
        self._performer = Performer(handlers, worker.concurrency, self._policy_of, self._note_end)
        self._wakeup = Wakeup(
            access.conninfo("supabase_admin"),
            self._note_news,
            self._note_schedule,
            self._cancel,
            self._note_gap,
        )
        self._attention = Attention()
        self._flow = Flow()
        self._queues: list[QueueState] = []
        self._next_looks: dict[str, float] = {}
        self._limit_turn = False
        self._is_stopping = False
        self._is_unsure = False
        self._reserved = 0
        self._renew_all = False
        self._steady_since = 0.0
        self._news = asyncio.Event()
        self._schedule = asyncio.Event()
        self._activity = asyncio.Event()
        self._room = asyncio.Event()
        self._sweep_ended = asyncio.Event()
        self._sweep_ended.set()

    # Life

    async def open(self, stopping: asyncio.Event) -> bool:
        """Connect and bring the queues up to date; waits for the database. False when told to stop meanwhile."""
        pauses = Pauses()
        while not stopping.is_set():
            try:
                await self._database.open()
                await self._upkeep.ensure_queues(self._settings.queues, QueueSettings())
                self._queues = await self._upkeep.load_queues()
                self._steady_since = asyncio.get_running_loop().time()
                return True
            except LanesUnavailable:
                await pauses.wait()
        return False

    async def work(self, stopping: asyncio.Event) -> None:
        """Until told to stop and what is in hand has ended or was given back. Raises what a loop raised."""
        looking = [
            asyncio.create_task(loop())
            for loop in (self._claim_jobs, self._sweep_lines, self._promote_jobs, self._do_chores)
        ]
        keeping = [
            asyncio.create_task(loop()) for loop in (self._settler.run, self._keep_leases, self._wakeup.run)
        ]
        told = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait([told, *looking, *keeping], return_when=asyncio.FIRST_COMPLETED)
            self._is_stopping = True
            for event in (self._news, self._schedule, self._activity, self._room):
                event.set()
            await asyncio.wait(looking, timeout=STOP_LIMIT_S)
            _raise_failure([*looking, *keeping])
            self._performer.give_back_waiting()
            await self._wait_at_most(self._performer.wait_all(), self._drain_s)
        finally:
            self._is_stopping = True
            for task in (told, *looking):
                task.cancel()
            await self._give_back()
            for task in keeping:
                task.cancel()
            await asyncio.gather(told, *looking, *keeping, return_exceptions=True)
        _raise_failure([*looking, *keeping])

    async def close(self) -> None:
        await self._database.close()

    async def _give_back(self) -> None:
        """Stop what still runs, and write down how everything ended while the database lets us."""
        for job_id in list(self._performer.held):
            self._performer.stop(job_id, "stopping")
        if await self._wait_at_most(self._performer.wait_all(), STOP_LIMIT_S):
            await self._wait_at_most(self._settler.wait_empty(), STOP_LIMIT_S)
        if held := len(self._performer.held) + len(self._settler):
            observe.event("jobs_left", level="warning", count=held, again_in_s=self._lease_s)

    async def _wait_at_most(self, awaitable: Awaitable[object], limit_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await awaitable
                return True
        return False

    # What is heard

    def _policy_of(self, queue: str) -> QueueSettings:
        return self._settings.queue(queue)

    def _note_news(self) -> None:
        self._news.set()
        self._activity.set()

    def _note_schedule(self) -> None:
        self._schedule.set()

    def _cancel(self, job_id: int) -> None:
        self._performer.stop(job_id, "cancelled")

    def _note_gap(self) -> None:
        self._renew_all = True
        self._note_news()
        self._note_schedule()

    def _note_end(self, settled: Settled) -> None:
        self._flow.note_end(asyncio.get_running_loop().time())
        self._settler.put(settled)
        self._room.set()

    def _note_settled(self, batch: Sequence[Settled]) -> None:
        self._room.set()
        if any(isinstance(settled.outcome, Retried) for settled in batch):
            self._schedule.set()
        for settled in batch:
            if settled.job.queue in self._next_looks:
                self._next_looks[settled.job.queue] = 0.0
                self._news.set()

    # Claiming

    def _free(self) -> int:
        if len(self._settler) > 4 * self._concurrency:
            return 0
        return self._concurrency + self._flow.ahead - len(self._performer.held) - self._reserved

    async def _claim_jobs(self) -> None:
        """Fill the free slots while there are jobs; else wait until some may have come."""
        loop = asyncio.get_running_loop()
        pauses = Pauses()
        eager: list[float] = []
        while not self._is_stopping:
            free = self._free()
            if free <= 0:
                self._attention.note_saturation(loop.time())
                self._room.clear()
                await self._room.wait()
                if self._free() < self._concurrency // 2:
                    await asyncio.sleep(GATHER_S)  # for a batch
                continue
            self._news.clear()
            try:
                if self._is_unsure:
                    await self._adopt()
                    continue
                found = await self._look(free)
                has_new_queue = found < free and await self._reload_queues()
            except (LanesUnavailable, PostgresError) as error:
                if not is_transient(error):
                    raise
                self._is_unsure = True
                await pauses.wait()
                continue
            pauses = Pauses()
            if found:
                self._attention.note_find(loop.time())
                self._activity.set()
                eager = list(EAGER_S)
            if found < free and not has_new_queue:
                await self._rest(eager)

    async def _rest(self, eager: list[float]) -> None:
        now = asyncio.get_running_loop().time()
        if self._attention.is_busy(now):
            await self._wakeup.want(wanted=False)
            await self._wait_for(self._news, LOOK_EVERY_S)
        elif not await self._wakeup.want(wanted=True):  # else look again: who came before has told nobody
            limit_s = eager.pop(0) if eager else self._poll_s
            next_look_s = min((at - now for at in self._next_looks.values() if at > now), default=limit_s)
            await self._wait_for(self._news, min(limit_s, next_look_s))

    async def _look(self, free: int) -> int:
        """One look at all queues; how many jobs were found and started."""
        self._limit_turn = not self._limit_turn
        found = 0
        for is_limited in (self._limit_turn, not self._limit_turn):
            if found < free:
                find = self._look_at_limited if is_limited else self._look_at_free
                found += await find(free - found)
        return found

    async def _look_at_free(self, limit: int, *, from_start: bool = False) -> int:
        names = [queue.name for queue in self._queues if not queue.is_limited and not queue.is_paused]
        return self._take(await self._claimer.claim(names, limit, from_start=from_start))

    async def _look_at_limited(self, limit: int, *, from_start: bool = False) -> int:
        loop = asyncio.get_running_loop()
        found = 0
        for queue in self._queues:
            if not queue.is_limited or queue.is_paused or found >= limit:
                continue
            if self._next_looks.get(queue.name, 0.0) > loop.time():
                continue
            claimed, is_at_limit, wait_s = await self._claimer.claim_limited(
                queue.name, limit - found, from_start=from_start
            )
            pause_s = max(wait_s, AT_LIMIT_S if is_at_limit else 0.0)
            self._next_looks[queue.name] = loop.time() + pause_s if pause_s else 0.0
            found += self._take(claimed)
        return found

    def _take(self, claimed: Sequence[Claimed]) -> int:
        for job in claimed:
            if self._is_stopping:
                self._note_end(Settled(job, GivenBack()))
            else:
                self._performer.start(job)
        return len(claimed)

    async def _adopt(self) -> None:
        """After a claim of which we do not know whether it was made."""
        await self._sweep_ended.wait()
        in_hand = [*self._performer.held, *self._settler.list_ids()]
        self._take(await self._claimer.adopt([queue.name for queue in self._queues], in_hand))
        self._is_unsure = False

    async def _reload_queues(self) -> bool:
        """Whether there are queues that were not looked at."""
        known = {queue.name for queue in self._queues if not queue.is_paused}
        self._queues = await self._upkeep.load_queues()
        for name in set(self._next_looks) - {queue.name for queue in self._queues if queue.is_limited}:
            del self._next_looks[name]
        return not {queue.name for queue in self._queues if not queue.is_paused} <= known

    async def _sweep_lines(self) -> None:
        """Read the lines from their beginning now and then: for jobs that were committed late."""
        loop = asyncio.get_running_loop()
        pace = Pace(least_s=SWEEP_LEAST_S)
        while not self._is_stopping:
            await self._wait_for(self._activity, self._poll_s)
            await asyncio.sleep(max(SWEEP_BEHIND_S, pace.due_at - loop.time()))
            self._activity.clear()
            limit = max(1, self._free() // 4)
            if self._is_stopping or self._is_unsure or self._free() <= 0:
                continue
            started = loop.time()
            self._reserved = limit
            self._sweep_ended.clear()
            try:
                found = await self._look_at_free(limit, from_start=True)
                if found < limit:
                    found += await self._look_at_limited(limit - found, from_start=True)
                if found:
                    self._activity.set()
            except (LanesUnavailable, PostgresError) as error:
                if not is_transient(error):
                    raise
                self._is_unsure = True
                self._news.set()
            finally:
                self._reserved = 0
                self._sweep_ended.set()
                self._room.set()
                pace.note(started, took_s=loop.time() - started)

    # Beside

    async def _promote_jobs(self) -> None:
        """Scheduled jobs become ready when their time comes."""
        loop = asyncio.get_running_loop()
        pace = Pace(least_s=5.0)
        pauses = Pauses()
        while not self._is_stopping:
            self._schedule.clear()
            started = loop.time()
            is_whole = pace.is_due(started)
            names = [queue.name for queue in self._queues]
            try:
                count, next_in_s = await self._upkeep.promote(names, from_start=is_whole)
            except (LanesUnavailable, PostgresError) as error:
                if not is_transient(error):
                    raise
                await pauses.wait()
                continue
            pauses = Pauses()
            if is_whole:
                pace.note(started, took_s=loop.time() - started)
            if count:
                self._note_news()
            longest_s = KEEP_EVERY_S if self._attention.is_busy(loop.time()) else self._poll_s
            wait_s = longest_s if next_in_s is None else min(next_in_s, longest_s)
            if not count:
                await self._wait_for(self._schedule, max(wait_s, 0.001))

    async def _keep_leases(self) -> None:
        """Renew the leases of what runs long, write down its progress, stop what is not ours or not wanted any
        more."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            held = self._performer.held
            await self._upkeep.note_progress([one for one in held.values() if one.progress is not None])
            now = loop.time()
            is_due = self._renew_all
            self._renew_all = False
            due = [one for one in held.values() if is_due or one.renewed_at < now - self._lease_s / 3]
            if due:
                ours, cancelled = await self._upkeep.renew(due)
                for one in due:
                    one.renewed_at = now
                    if one.job.id not in ours and held.get(one.job.id) is one:
                        self._performer.stop(one.job.id, "lost")
                for job_id in cancelled:
                    self._performer.stop(job_id, "cancelled")
            for one in list(held.values()):
                if one.stop is not None and one.task is not None and one.has_begun:
                    one.task.cancel()  # again: it may have caught the first one

    async def _do_chores(self) -> None:
        loop = asyncio.get_running_loop()
        chores: list[tuple[Callable[[], Awaitable[None]], Pace]] = [
            (self._take_over, Pace(least_s=min(5.0, self._lease_s / 4))),
            (self._measure, Pace(least_s=1.0)),
            (self._count, Pace(least_s=5.0)),
            (self._clear, Pace(least_s=30.0)),
        ]
        whole = Pace(least_s=60.0)
        self._whole_take_over = whole
        while not self._is_stopping:
            for chore, pace in chores:
                started = loop.time()
                if not pace.is_due(started):
                    continue
                try:
                    await chore()
                except (LanesUnavailable, PostgresError) as error:
                    if not is_transient(error):
                        raise
                    self._steady_since = loop.time()
                pace.note(started, took_s=loop.time() - started)
            await asyncio.sleep(min(KEEP_EVERY_S, self._lease_s / 8))
        await self._count()

    async def _take_over(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        if started - self._steady_since < min(GRACE_S, self._lease_s / 3):
            return
        is_whole = self._whole_take_over.is_due(started)
        names = [queue.name for queue in self._queues]
        lost = await self._upkeep.take_over(names, from_start=is_whole)
        if is_whole:
            self._whole_take_over.note(started, took_s=loop.time() - started)
        if lost:
            observe.event("jobs_taken_over", level="warning", count=len(lost))
        for job in lost:
            policy = self._policy_of(job.queue)
            max_attempts = job.max_attempts or policy.max_attempts
            outcome = plan_after_loss(job.attempt, max_attempts, policy, is_cancelled=job.is_cancelled)
            self._note_end(Settled(job, outcome))

    async def _measure(self) -> None:
        await self._upkeep.measure_depth([queue.name for queue in self._queues])

    async def _count(self) -> None:
        if counts := self._settler.take_counts():
            await self._upkeep.add_counts(counts)

    async def _clear(self) -> None:
        keep_s = {queue.name: self._policy_of(queue.name).keep_dead_s for queue in self._queues}
        while await self._upkeep.clear(keep_s) and not self._is_stopping:
            pass

    async def _wait_for(self, event: asyncio.Event, limit_s: float) -> None:
        if event.is_set():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await event.wait()


def _raise_failure(tasks: Sequence["asyncio.Task[None]"]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error
