"""The worker's engine: claim, perform, settle, and the upkeep beside them, until told to stop.

A run of the engine has an id of its own, under which its claims stand. `looking` finds jobs, `performing` runs their
handlers, `settlement` writes down how they ended, `keeping` does the rest; this module puts them together, and stops
them in order.
"""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

from basalt import observe
from basalt.config import QueueSettings, Settings
from basalt.jobs.attention import Flow
from basalt.jobs.claims import Claimer
from basalt.jobs.database import JobsDatabase, Pauses
from basalt.jobs.job import Handlers
from basalt.jobs.keeping import Keeper
from basalt.jobs.looking import Lookout
from basalt.jobs.outcome import Retried
from basalt.jobs.performing import Performer
from basalt.jobs.settlement import Settled, Settler
from basalt.jobs.signals import Signals
from basalt.jobs.upkeep import Upkeep
from basalt.jobs.wakeup import Wakeup
from basalt.postgres import DatabaseAccess, LanesUnavailable
from basalt.waiting import end_within, raise_failure

STOP_LIMIT_S = 2.0


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
        self._lease_s = worker.lease_s
        self._drain_s = max(0.0, worker.drain_timeout_s - min(STOP_LIMIT_S, worker.drain_timeout_s / 5))
        self._signals = signals = Signals()
        self._flow = Flow()
        self._database = JobsDatabase(access, worker.connections)
        self._upkeep = Upkeep(self._database, worker_id, worker.lease_s)
        self._settler = Settler(self._database, worker_id, self._policy_of, self._note_settled)
        self._performer = Performer(handlers, worker.concurrency, self._policy_of, self._note_end)
        self._wakeup = Wakeup(
            access.conninfo("supabase_admin"),
            signals.tell_news,
            signals.tell_schedule,
            lambda job_id: self._performer.stop(job_id, "cancelled"),
            signals.tell_gap,
        )
        self._lookout = Lookout(
            signals,
            Claimer(self._database, worker_id, worker.lease_s),
            self._upkeep,
            self._performer,
            self._settler,
            self._wakeup,
            self._flow,
            concurrency=worker.concurrency,
            poll_s=worker.poll_interval_s,
        )
        self._keeper = Keeper(
            signals,
            self._upkeep,
            self._performer,
            self._settler,
            self._policy_of,
            self._lookout.is_busy,
            lease_s=worker.lease_s,
            poll_s=worker.poll_interval_s,
        )

    async def open(self, stopping: asyncio.Event) -> bool:
        """Connect and bring the queues up to date; waits for the database. False when told to stop meanwhile."""
        pauses = Pauses()
        while not stopping.is_set():
            try:
                await self._database.open()
                await self._upkeep.ensure_queues(self._settings.queues, QueueSettings())
                self._signals.queues = await self._upkeep.load_queues()
                return True
            except LanesUnavailable:
                await pauses.wait()
        return False

    async def work(self, stopping: asyncio.Event) -> None:
        """Until told to stop and what is in hand has ended or was given back. Raises what a loop raised."""
        lookout, keeper = self._lookout, self._keeper
        looking = [
            asyncio.create_task(loop())
            for loop in (lookout.claim_jobs, lookout.sweep_lines, keeper.promote_jobs, keeper.do_chores)
        ]
        keeping = [
            asyncio.create_task(loop()) for loop in (self._settler.run, keeper.keep_leases, self._wakeup.run)
        ]
        told = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait([told, *looking, *keeping], return_when=asyncio.FIRST_COMPLETED)
            self._signals.stop()
            await asyncio.wait(looking, timeout=STOP_LIMIT_S)
            raise_failure([*looking, *keeping])
            self._performer.give_back_waiting()
            await end_within(self._performer.wait_all(), self._drain_s)
        finally:
            self._signals.stop()
            for task in (told, *looking):
                task.cancel()
            await self._give_back()
            for task in keeping:
                task.cancel()
            await asyncio.gather(told, *looking, *keeping, return_exceptions=True)
        raise_failure([*looking, *keeping])

    async def close(self) -> None:
        await self._database.close()

    async def _give_back(self) -> None:
        """Stop what still runs, and write down how everything ended while the database lets us."""
        for job_id in list(self._performer.held):
            self._performer.stop(job_id, "stopping")
        if await end_within(self._performer.wait_all(), STOP_LIMIT_S):
            await end_within(self._settler.wait_empty(), STOP_LIMIT_S)
        if held := len(self._performer.held) + len(self._settler):
            observe.event("jobs_left", level="warning", count=held, again_in_s=self._lease_s)
        if counts := self._settler.take_counts():
            await end_within(self._upkeep.add_counts(counts), STOP_LIMIT_S)

    def _policy_of(self, queue: str) -> QueueSettings:
        return self._settings.queue(queue)

    def _note_end(self, settled: Settled) -> None:
        self._flow.note_end(asyncio.get_running_loop().time())
        self._settler.put(settled)
        self._signals.room.set()

    def _note_settled(self, batch: Sequence[Settled]) -> None:
        self._signals.room.set()
        if any(isinstance(settled.outcome, Retried) for settled in batch):
            self._signals.schedule.set()
        for settled in batch:
            self._lookout.note_settled(settled.job.queue)
