"""When and where a worker looks for jobs.

One loop fills the free slots, and rests when there is nothing: then a notification wakes it, or it looks by itself. A
second one sweeps the lines from their beginning now and then, for jobs that were committed late.
"""

import asyncio
from collections.abc import Sequence

from basalt.jobs.attention import LOOK_EVERY_S, Attention, Flow
from basalt.jobs.claims import Claimed, Claimer
from basalt.jobs.database import Pauses, is_transient
from basalt.jobs.frontier import Pace
from basalt.jobs.outcome import GivenBack
from basalt.jobs.performing import Performer
from basalt.jobs.settlement import Settled, Settler
from basalt.jobs.signals import Signals
from basalt.jobs.upkeep import Upkeep
from basalt.jobs.wakeup import Wakeup
from basalt.postgres import LanesUnavailable, PostgresError
from basalt.waiting import wait_within

SWEEP_LEAST_S = 0.05
SWEEP_BEHIND_S = 0.01  # the ordinary look goes first
RELOAD_QUEUES_S = 0.05
GATHER_S = 0.002
AT_LIMIT_S = 0.25
# Looks after the last job that was found: who had asked whether we are idle while we were not has notified nobody.
EAGER_S = (0.01, 0.05, 0.2)


class Lookout:
    """`concurrency` jobs run here at once; some more are claimed ahead (`Flow`)."""

    def __init__(
        self,
        signals: Signals,
        claimer: Claimer,
        upkeep: Upkeep,
        performer: Performer,
        settler: Settler,
        wakeup: Wakeup,
        flow: Flow,
        *,
        concurrency: int,
        poll_s: float,
    ) -> None:
        self._signals = signals
        self._claimer = claimer
        self._upkeep = upkeep
        self._performer = performer
        self._settler = settler
        self._wakeup = wakeup
        self._flow = flow
        self._concurrency = concurrency
        self._poll_s = poll_s
        self._attention = Attention()
        self._next_looks: dict[str, float] = {}
        self._limit_turn = False
        self._reload_at = 0.0
        self._is_unsure = False
        self._look_turn = asyncio.Lock()  # what a look may still claim is in nobody's count of free slots
        self._reserved = 0
        self._sweep_ended = asyncio.Event()
        self._sweep_ended.set()

    def is_busy(self) -> bool:
        """Whether jobs come so often that this worker wants no notifications."""
        return self._attention.is_busy(asyncio.get_running_loop().time())

    def note_settled(self, queue: str) -> None:
        """A queue with limits may have room again."""
        if queue in self._next_looks:
            self._next_looks[queue] = 0.0
            self._signals.news.set()

    def _free(self) -> int:
        if len(self._settler) > 4 * self._concurrency:
            return 0
        ahead = self._flow.ahead(asyncio.get_running_loop().time())
        return self._concurrency + ahead - len(self._performer.held) - self._reserved

    # Claiming

    async def claim_jobs(self) -> None:
        """Fill the free slots while there are jobs; else wait until some may have come."""
        signals = self._signals
        loop = asyncio.get_running_loop()
        pauses = Pauses()
        eager: list[float] = []
        while not signals.is_stopping:
            if self._free() <= 0:
                await self._wait_for_room()
                continue
            signals.news.clear()
            try:
                if self._is_unsure:
                    await self._adopt()
                    continue
                async with self._look_turn:
                    free = self._free()
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
                signals.activity.set()
                eager = list(EAGER_S)
            if found < free and not has_new_queue:
                await self._rest(eager)

    async def _wait_for_room(self) -> None:
        self._attention.note_saturation(asyncio.get_running_loop().time())
        await self._wakeup.want(wanted=False)
        self._signals.room.clear()
        if self._free() <= 0:
            await self._signals.room.wait()
        if self._free() < self._concurrency // 2:
            await asyncio.sleep(GATHER_S)  # for a batch

    async def _rest(self, eager: list[float]) -> None:
        now = asyncio.get_running_loop().time()
        if self.is_busy():
            await self._wakeup.want(wanted=False)
            await wait_within(self._signals.news, LOOK_EVERY_S)
        elif not await self._wakeup.want(wanted=True):  # else look again: who came before has told nobody
            limit_s = eager.pop(0) if eager else self._poll_s
            next_looks = [at for at in (*self._next_looks.values(), self._reload_at) if at > now]
            limit_s = min([limit_s, *[at - now for at in next_looks]])
            await wait_within(self._signals.news, limit_s)

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
        names = [queue.name for queue in self._signals.queues if not queue.is_limited and not queue.is_paused]
        return self._take(await self._claimer.claim(names, limit, from_start=from_start))

    async def _look_at_limited(self, limit: int, *, from_start: bool = False) -> int:
        loop = asyncio.get_running_loop()
        found = 0
        for queue in self._signals.queues:
            is_open = queue.is_limited and not queue.is_paused
            if not is_open or found >= limit or self._next_looks.get(queue.name, 0.0) > loop.time():
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
            if self._signals.is_stopping:
                self._settler.put(Settled(job, GivenBack()))
            else:
                self._performer.start(job)
        return len(claimed)

    async def _adopt(self) -> None:
        """After a claim of which we do not know whether it was made."""
        await self._sweep_ended.wait()
        in_hand = [*self._performer.held, *self._settler.list_ids()]
        self._take(await self._claimer.adopt(self._signals.queue_names, in_hand))
        self._is_unsure = False

    async def _reload_queues(self) -> bool:
        """Whether there are queues that were not looked at. A busy worker does not ask every time."""
        now = asyncio.get_running_loop().time()
        if now < self._reload_at:
            return False
        known = {queue.name for queue in self._signals.queues if not queue.is_paused}
        self._signals.queues = queues = await self._upkeep.load_queues()
        self._reload_at = now + (RELOAD_QUEUES_S if self.is_busy() else 0.0)
        for name in set(self._next_looks) - {queue.name for queue in queues if queue.is_limited}:
            del self._next_looks[name]
        return not {queue.name for queue in queues if not queue.is_paused} <= known

    # Sweeping

    async def sweep_lines(self) -> None:
        """Read the lines from their beginning now and then: for jobs that were committed late."""
        signals = self._signals
        loop = asyncio.get_running_loop()
        pace = Pace(least_s=SWEEP_LEAST_S)
        while not signals.is_stopping:
            await wait_within(signals.activity, self._poll_s)
            await asyncio.sleep(max(SWEEP_BEHIND_S, pace.due_at - loop.time()))
            signals.activity.clear()
            async with self._look_turn:
                limit = -(-self._free() // 4)
                may_sweep = limit > 0 and not signals.is_stopping and not self._is_unsure
                if may_sweep:
                    self._reserved = limit
                    self._sweep_ended.clear()
            if may_sweep:
                started = loop.time()
                await self._sweep(limit)
                pace.note(started, took_s=loop.time() - started)

    async def _sweep(self, limit: int) -> None:
        """With `limit` slots reserved."""
        try:
            found = await self._look_at_free(limit, from_start=True)
            if found < limit:
                found += await self._look_at_limited(limit - found, from_start=True)
            if found:
                self._signals.tell_news()
        except (LanesUnavailable, PostgresError) as error:
            if not is_transient(error):
                raise
            self._is_unsure = True
            self._signals.news.set()
        finally:
            self._reserved = 0
            self._sweep_ended.set()
            self._signals.room.set()
