"""The way out to one provider: claim what is due, hand it over in the provider's own batches, several at once, and pass
on what became of it.

Each provider has its own, so that one that is slow or down holds up nobody else's messages.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence

from basalt import observe
from basalt.config import NotifySettings
from basalt.jobs import Pauses, is_transient
from basalt.notify.claiming import Claimed, Claimer, build_delivery
from basalt.notify.flow import Flow
from basalt.notify.measures import DELIVERIES, DELIVERY_SECONDS, IN_HAND, LAG_SECONDS
from basalt.notify.reviewing import Reviewer
from basalt.notify.settlement import Settlement, give_back, plan_settlement, plan_without_attempt
from basalt.notify.settling import Settler
from basalt.notify.shipments import Shipment
from basalt.postgres import LanesUnavailable, PostgresError
from basalt.senders import Delivery, DeliverySender, Outcome
from basalt.waiting import wait_within

CLAIMS_AHEAD = 4  # batches in hand at most

Ways = dict[str, "Outflow"]  # by provider


class Outflow:
    """`settler` takes what became of rows; it answers by `note_settled` and `note_shipped` when that is written
    down."""

    def __init__(
        self,
        sender: DeliverySender,
        claimer: Claimer,
        reviewer: Reviewer,
        settler: Settler,
        settings: NotifySettings,
        *,
        poll_s: float,
    ) -> None:
        self._sender = sender
        self.claimer = claimer
        self._reviewer = reviewer
        self._settler = settler
        self._settings = settings
        self._poll_s = poll_s
        self._chunk = max(1, min(sender.batch_size, settings.batch_size))
        self._flow = Flow(chunk=self._chunk, most=CLAIMS_AHEAD * settings.batch_size)
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_room = asyncio.Event()
        self._is_unsure = False
        self._is_running = False
        self._is_passable = False
        self.news = asyncio.Event()
        self.held: dict[int, Claimed] = {}
        self.shipments: dict[int, Shipment] = {}

    @property
    def provider(self) -> str:
        return self._sender.name

    async def run(self, stopping: asyncio.Event) -> None:
        """Claim and hand over until told to stop; what is in hand then goes on (`drain`)."""
        self._is_running = True
        try:
            await self._keep_claiming(stopping)
        finally:
            self._is_running = self._is_passable = False

    def has_room(self, count: int) -> bool:
        """Whether so many messages may leave past the queue: nobody has been left waiting in it by the last look."""
        return self._is_passable and min(count, self._flow.room) <= self._flow.room - self._in_hand

    async def wait_for_room(self, count: int, limit_s: float) -> None:
        """Until they may leave past the queue, or the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not self.has_room(count):
                    self._has_room.clear()
                    await self._has_room.wait()

    def ship(self, shipment: Shipment) -> None:
        """Send what has been written down as on its way."""
        self.shipments[shipment.id] = shipment
        if self._is_running:
            self._start(shipment.rows, shipment)
        else:  # told to stop meanwhile
            self._end([give_back(row) for row in shipment.rows], shipment)

    async def _keep_claiming(self, stopping: asyncio.Event) -> None:
        pauses = Pauses()
        while not stopping.is_set():
            room = min(self._flow.room - self._in_hand, self._settings.batch_size)
            if room < min(self._chunk, self._flow.room // 2):
                await self._wait_for_room(stopping)
                continue
            self.news.clear()
            try:
                rows = await self._look(room)
                ends = await self._reviewer.review(rows)
            except (LanesUnavailable, PostgresError) as error:
                if not is_transient(error):
                    raise
                self._is_unsure = True
                self._is_passable = False
                await pauses.wait()
                continue
            pauses = Pauses()
            if stopping.is_set():
                self._settler.put([give_back(row) for row in rows])
                return
            if rows:
                LAG_SECONDS.note(max(row.lag_s for row in rows), self.provider)
                self.held.update((row.id, row) for row in rows)
                self._settler.put(list(ends.values()))
                self._start([row for row in rows if row.id not in ends])
            self._is_passable = len(rows) < room
            if self._is_passable:
                self._has_room.set()
                await wait_within(self.news, self._poll_s)

    async def drain(self, limit_s: float) -> None:
        """Let what is in hand end; what does not in time is stopped, and its fate is unknown."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limit_s)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def note_settled(self, ids: Sequence[int]) -> None:
        for row_id in ids:
            self.held.pop(row_id, None)
        self._note_room()

    def note_shipped(self, shipment: Shipment) -> None:
        self.shipments.pop(shipment.id, None)
        self._note_room()

    @property
    def _in_hand(self) -> int:
        return len(self.held) + sum(len(shipment.rows) for shipment in self.shipments.values())

    def _note_room(self) -> None:
        IN_HAND.set(self._in_hand, self.provider)
        self._has_room.set()

    async def _wait_for_room(self, stopping: asyncio.Event) -> None:
        self._has_room.clear()
        told = asyncio.ensure_future(stopping.wait())
        room = asyncio.ensure_future(self._has_room.wait())
        try:
            await asyncio.wait([told, room], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in (told, room):
                future.cancel()

    async def _look(self, room: int) -> list[Claimed]:
        if self._is_unsure:
            rows = await self.claimer.adopt([self.provider], self.held)
            self._is_unsure = False
            if rows:
                return rows
        return await self.claimer.claim([self.provider], room)

    def _start(self, rows: Sequence[Claimed], shipment: Shipment | None = None) -> None:
        IN_HAND.set(self._in_hand, self.provider)
        ready: list[tuple[Claimed, Delivery]] = []
        for row in rows:
            end = plan_without_attempt(row, self._settings)
            if end is None:
                try:
                    ready.append((row, build_delivery(row)))
                    continue
                except ValueError:
                    end = Settlement(row.id, row.attempt, "failed", error_code="payload_invalid")
            self._end([end], shipment)
        for start in range(0, len(ready), self._chunk):
            task = asyncio.create_task(self._deliver(ready[start : start + self._chunk], shipment))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, batch: Sequence[tuple[Claimed, Delivery]], shipment: Shipment | None) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        outcomes: Sequence[Outcome] = [Outcome("unknown", error_code="worker_stopped")] * len(batch)
        request_ids = sorted({delivery.request_id for _, delivery in batch} - {""})
        observe.request_id.set(request_ids[0] if len(request_ids) == 1 else "")
        count = {"messaging.batch.message_count": len(batch)}
        try:
            # `drain` cancels: what was sent so far must be written down
            with (
                contextlib.suppress(asyncio.CancelledError),
                observe.span(f"deliver {self.provider}", kind="client", attributes=count),
            ):
                outcomes = await self._ask(batch)
        finally:
            took_s = loop.time() - started
            self._flow.note(took_s=took_s)
            DELIVERY_SECONDS.note(took_s, self.provider)
            ends = [
                plan_settlement(row, outcome, self._settings)
                for (row, _), outcome in zip(batch, outcomes, strict=True)
            ]
            counts = Counter(end.delivery or "not_asked" for end in ends)
            for status, number in counts.items():
                DELIVERIES.add(number, self.provider, status)
            observe.event(
                "notify_delivered",
                provider=self.provider,
                request_ids=request_ids,
                ms=round(took_s * 1000, 2),
                count=len(batch),
                ends=counts,
            )
            self._end(ends, shipment)

    def _end(self, ends: Sequence[Settlement], shipment: Shipment | None) -> None:
        if shipment is None:
            self._settler.put(ends)
            return
        shipment.ends += ends
        if shipment.has_ended:
            self._settler.put_shipment(shipment)

    async def _ask(self, batch: Sequence[tuple[Claimed, Delivery]]) -> Sequence[Outcome]:
        """A sender does not raise; one that does has its messages tried again, for they may be on their way."""
        try:
            outcomes = await self._sender.deliver([delivery for _, delivery in batch])
        except Exception as error:
            observe.event("notify_sender_failed", level="error", provider=self.provider, error=error)
            return [Outcome("unknown", error_code="sender_failed")] * len(batch)
        if len(outcomes) != len(batch):
            observe.event(
                "notify_sender_failed", level="error", provider=self.provider, reason="outcomes are missing"
            )
            return [Outcome("unknown", error_code="sender_failed")] * len(batch)
        return outcomes
