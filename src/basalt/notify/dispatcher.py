"""The part of the worker that delivers: one `Outflow` per provider, the `Settler` behind them, `Upkeep` beside them.

A run of the dispatcher has an id of its own, under which its claims stand. Told to stop, it claims no more, lets what
is in hand end while there is time, and writes down how everything ended.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Literal, TypeVar
from uuid import uuid4

from basalt import observe
from basalt.config import Settings
from basalt.jobs import JobsDatabase, Pauses, is_transient
from basalt.notify.claiming import Claimer
from basalt.notify.listening import listen
from basalt.notify.outflow import Outflow, Ways
from basalt.notify.reviewing import Reviewer
from basalt.notify.sending import BuildSenders
from basalt.notify.settlement import Settlement
from basalt.notify.settling import Settler
from basalt.notify.shipments import Shipment
from basalt.notify.upkeep import Upkeep
from basalt.postgres import DatabaseAccess, LanesUnavailable, PostgresError, open_pool
from basalt.senders import DeliverySender, build_delivery_senders
from basalt.waiting import end_within, raise_failure, wait_within

CONNECTIONS = 4
SENDER_POOL_SIZE = 4
STOP_LIMIT_S = 2.0
CHORES_EVERY_S = 5.0
CLEAN_UP_EVERY_S = 3600.0

T = TypeVar("T")


class Dispatcher:
    """`ways` has the way out to each provider while this runs. `build_senders` takes the place of the settings'
    providers, for whoever brings their own."""

    name = "notify"

    def __init__(
        self,
        settings: Settings,
        access: DatabaseAccess,
        ways: Ways,
        *,
        build_senders: BuildSenders = build_delivery_senders,
    ) -> None:
        self._settings = settings
        self._access = access
        self._ways = ways
        self._build_senders = build_senders

    async def run(self, stopping: asyncio.Event) -> None:
        # As the project's own administrator: triggers on these tables run with its rights, not with a superuser's.
        database = JobsDatabase(self._access, CONNECTIONS, role="postgres", name="notify")
        if not await _open(database, stopping):
            return
        async with AsyncExitStack() as stack:
            stack.push_async_callback(database.close)
            pool = open_pool(
                self._access.conninfo("postgres"), max_size=SENDER_POOL_SIZE, name="notify-senders"
            )
            stack.push_async_callback(pool.close)
            await pool.open()
            senders = self._build_senders(self._settings, pool)
            for sender in senders.values():
                stack.push_async_callback(sender.close)
            run = DispatchRun(self._settings, self._access, database, senders)
            self._ways.update(run.ways)
            try:
                await run.work(stopping)
            finally:
                self._ways.clear()


class DispatchRun:
    def __init__(
        self,
        settings: Settings,
        access: DatabaseAccess,
        database: JobsDatabase,
        senders: Mapping[str, DeliverySender],
    ) -> None:
        worker = settings.basalt.worker
        worker_id = uuid4()
        self._conninfo = access.conninfo("postgres")
        self._lease_s = worker.lease_s
        self._drain_s = max(0.0, worker.drain_timeout_s - min(2 * STOP_LIMIT_S, worker.drain_timeout_s / 3))
        self._settler = Settler(database, worker_id, self._note_settled, self._note_shipped)
        claimer = Claimer(database, worker_id, worker.lease_s)
        reviewer = Reviewer(database)
        self.ways: Ways = {
            sender.name: Outflow(
                sender, claimer, reviewer, self._settler, settings.notify, poll_s=worker.poll_interval_s
            )
            for sender in senders.values()
        }
        self._outflows = list(self.ways.values())
        self._upkeep = Upkeep(database, worker_id, claimer, senders, lease_s=worker.lease_s)

    async def work(self, stopping: asyncio.Event) -> None:
        """Until told to stop and what is in hand has ended or was stopped. Raises what a loop raised."""
        outflows = [asyncio.create_task(outflow.run(stopping)) for outflow in self._outflows]
        beside = [
            asyncio.create_task(loop)
            for loop in (
                self._settler.run(),
                listen(self._conninfo, self._tell_news),
                self._keep_leases(),
                self._do_chores(stopping),
            )
        ]
        told = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait([told, *outflows, *beside], return_when=asyncio.FIRST_COMPLETED)
            raise_failure([*outflows, *beside])
            self._tell_news()  # who rests shall see that it is over
            if outflows:  # a project may have no provider
                await asyncio.wait(outflows, timeout=STOP_LIMIT_S)
            await asyncio.gather(*[outflow.drain(self._drain_s) for outflow in self._outflows])
        finally:
            for task in (told, *outflows):
                task.cancel()
            await asyncio.gather(*[outflow.drain(0) for outflow in self._outflows])
            await end_within(self._settler.wait_empty(), STOP_LIMIT_S)
            for task in beside:
                task.cancel()
            await asyncio.gather(told, *outflows, *beside, return_exceptions=True)
        raise_failure([*outflows, *beside])

    def _tell_news(self) -> None:
        for outflow in self._outflows:
            outflow.news.set()

    def _note_settled(self, batch: Sequence[Settlement]) -> None:
        ids = [settlement.id for settlement in batch]
        for outflow in self._outflows:
            outflow.note_settled(ids)

    def _note_shipped(self, shipment: Shipment) -> None:
        self.ways[shipment.provider].note_shipped(shipment)

    async def _keep_leases(self) -> None:
        """For ever, also while the dispatcher stops."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            held = [row_id for outflow in self._outflows for row_id in outflow.held]
            shipped = [number for outflow in self._outflows for number in outflow.shipments]
            await _try("leases", self._upkeep.renew_leases(held, shipped))

    async def _do_chores(self, stopping: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        pause_s = min(CHORES_EVERY_S, self._lease_s / 3)
        clean_up_at = loop.time()
        while not stopping.is_set():
            await _try("digests", self._upkeep.call_for_digests())
            await _try("receipts", self._upkeep.call_for_receipts())
            self._settler.put(await _try("strays", self._upkeep.adopt_strays()) or [])
            await _try("shipments", self._upkeep.take_over_shipments())
            await _try("reports", self._upkeep.apply_missed_reports())
            await _try("measures", self._upkeep.measure())
            if loop.time() >= clean_up_at:
                clean_up_at = loop.time() + CLEAN_UP_EVERY_S
                await _try("clean-up", self._upkeep.clean_up())
            await wait_within(stopping, pause_s)


async def _open(database: JobsDatabase, stopping: asyncio.Event) -> bool:
    """Waits for the database; whether it is there before the stop."""
    pauses = Pauses()
    while not stopping.is_set():
        with contextlib.suppress(LanesUnavailable):
            await database.open()
            return True
        await pauses.wait()
    return False


async def _try(chore: str, work: Awaitable[T]) -> T | None:
    """A chore can wait until the database is back; one that it refuses is told, and costs no other."""
    try:
        return await work
    except (LanesUnavailable, PostgresError) as error:
        level: Literal["debug", "error"] = "debug" if is_transient(error) else "error"
        observe.event("notify_chore_failed", level=level, chore=chore, reason=str(error))
        return None
