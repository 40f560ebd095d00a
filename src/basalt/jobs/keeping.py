"""What goes on beside the jobs: leases are kept and taken over, scheduled jobs promoted, queues measured and
cleared."""

import asyncio
from collections.abc import Awaitable, Callable

from basalt import observe
from basalt.config import QueueSettings
from basalt.jobs.database import Pauses, is_transient
from basalt.jobs.frontier import Pace
from basalt.jobs.outcome import plan_after_loss
from basalt.jobs.performing import Held, Performer
from basalt.jobs.settlement import Settled, Settler
from basalt.jobs.signals import Signals
from basalt.jobs.upkeep import Upkeep
from basalt.postgres import LanesUnavailable, PostgresError
from basalt.waiting import wait_within

KEEP_EVERY_S = 0.25
GRACE_S = 5.0  # after an outage everybody first renews, then judges who is gone


class Keeper:
    """`is_busy` tells whether nobody would notify us of jobs that are soon due."""

    def __init__(
        self,
        signals: Signals,
        upkeep: Upkeep,
        performer: Performer,
        settler: Settler,
        policy_of: Callable[[str], QueueSettings],
        is_busy: Callable[[], bool],
        *,
        lease_s: float,
        poll_s: float,
    ) -> None:
        self._signals = signals
        self._upkeep = upkeep
        self._performer = performer
        self._settler = settler
        self._policy_of = policy_of
        self._is_busy = is_busy
        self._lease_s = lease_s
        self._poll_s = poll_s
        self._steady_since = 0.0
        self._whole_take_over = Pace(least_s=60.0)

    async def promote_jobs(self) -> None:
        """Scheduled jobs become ready when their time comes."""
        signals = self._signals
        loop = asyncio.get_running_loop()
        whole = Pace(least_s=5.0)
        pauses = Pauses()
        while not signals.is_stopping:
            signals.schedule.clear()
            started = loop.time()
            is_whole = whole.is_due(started)
            try:
                count, next_in_s = await self._upkeep.promote(signals.queue_names, from_start=is_whole)
            except (LanesUnavailable, PostgresError) as error:
                if not is_transient(error):
                    raise
                await pauses.wait()
                continue
            pauses = Pauses()
            if is_whole:
                whole.note(started, took_s=loop.time() - started)
            if count:
                signals.tell_news()
            else:
                longest_s = KEEP_EVERY_S if self._is_busy() else self._poll_s
                wait_s = longest_s if next_in_s is None else min(next_in_s, longest_s)
                await wait_within(signals.schedule, max(wait_s, 0.001))

    async def keep_leases(self) -> None:
        """For ever: renew the leases of what runs long, write down its progress, stop what is not ours or not wanted
        any more."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(KEEP_EVERY_S, self._lease_s / 8))
            held = list(self._performer.held.values())
            await self._upkeep.note_progress([one for one in held if one.progress is not None])
            late = loop.time() - self._lease_s / 3
            due = [one for one in held if self._signals.renew_all or one.renewed_at < late]
            self._signals.renew_all = False
            if due:
                await self._renew(due)
            for one in held:
                if one.stop is not None and one.task is not None and one.has_begun:
                    one.task.cancel()  # again: it may have caught the first one

    async def _renew(self, due: list[Held]) -> None:
        now = asyncio.get_running_loop().time()
        ours, cancelled = await self._upkeep.renew(due)
        for one in due:
            one.renewed_at = now
            if one.job.id not in ours and self._performer.held.get(one.job.id) is one:
                self._performer.stop(one.job.id, "lost")
        for job_id in cancelled:
            self._performer.stop(job_id, "cancelled")

    async def do_chores(self) -> None:
        """Each in its time, and none so often that it would be a burden."""
        loop = asyncio.get_running_loop()
        self._steady_since = loop.time()
        chores: list[tuple[Callable[[], Awaitable[None]], Pace]] = [
            (self._take_over, Pace(least_s=min(5.0, self._lease_s / 4))),
            (self._measure, Pace(least_s=1.0)),
            (self._count, Pace(least_s=5.0)),
            (self._clear, Pace(least_s=30.0)),
        ]
        while not self._signals.is_stopping:
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

    async def _take_over(self) -> None:
        started = asyncio.get_running_loop().time()
        if started - self._steady_since < min(GRACE_S, self._lease_s / 3):
            return
        is_whole = self._whole_take_over.is_due(started)
        lost = await self._upkeep.take_over(self._signals.queue_names, from_start=is_whole)
        if is_whole:
            took_s = asyncio.get_running_loop().time() - started
            self._whole_take_over.note(started, took_s=took_s)
        if lost:
            observe.event("jobs_taken_over", level="warning", count=len(lost))
        for job in lost:
            policy = self._policy_of(job.queue)
            max_attempts = job.max_attempts or policy.max_attempts
            outcome = plan_after_loss(job.attempt, max_attempts, policy, is_cancelled=job.is_cancelled)
            self._settler.put(Settled(job, outcome))

    async def _measure(self) -> None:
        await self._upkeep.measure_depth(self._signals.queue_names)

    async def _count(self) -> None:
        if counts := self._settler.take_counts():
            await self._upkeep.add_counts(counts)

    async def _clear(self) -> None:
        keep_s = {name: self._policy_of(name).keep_dead_s for name in self._signals.queue_names}
        while await self._upkeep.clear(keep_s) and not self._signals.is_stopping:
            pass
