"""The one who writes down how attempts ended: rows of the queue many in one round trip, shipments one by one.

An app may put triggers on the engine's tables. One that raises for a row costs that row alone: a batch that the
database refuses is halved until it is found, and the row waits for its lease to end.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from uuid import UUID

from basalt import observe
from basalt.jobs import JobsDatabase, is_transient
from basalt.notify.settlement import Settlement, build_settlement
from basalt.notify.shipments import Shipment, build_shipment_settlement
from basalt.postgres import PostgresError

BATCH = 1000


class Settler:
    """`on_settled` hears of each batch of rows, and `on_shipped` of each shipment, that is written down or given up."""

    def __init__(
        self,
        database: JobsDatabase,
        worker_id: UUID,
        on_settled: Callable[[Sequence[Settlement]], None],
        on_shipped: Callable[[Shipment], None],
    ) -> None:
        self._database = database
        self._worker_id = str(worker_id).encode()
        self._on_settled = on_settled
        self._on_shipped = on_shipped
        self._outbox: list[Settlement] = []
        self._shipments: deque[Shipment] = deque()
        self._has_some = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def put(self, settlements: Sequence[Settlement]) -> None:
        if settlements:
            self._outbox.extend(settlements)
            self._note_some()

    def put_shipment(self, shipment: Shipment) -> None:
        """One whose messages have all ended."""
        self._shipments.append(shipment)
        self._note_some()

    async def run(self) -> None:
        """For ever. While one batch is on its way the next one gathers."""
        while True:
            await self._has_some.wait()
            await self._settle_rows()
            await self._settle_shipment()
            if not self._outbox and not self._shipments:
                self._has_some.clear()
                self._is_empty.set()

    async def wait_empty(self) -> None:
        """Until everything that was put is written down."""
        await self._is_empty.wait()

    def _note_some(self) -> None:
        self._has_some.set()
        self._is_empty.clear()

    async def _settle_rows(self) -> None:
        batch, self._outbox = self._outbox[:BATCH], self._outbox[BATCH:]
        if batch:
            try:
                await self._write(batch)
            except BaseException:
                self._outbox = batch + self._outbox
                raise
            self._on_settled(batch)

    async def _settle_shipment(self) -> None:
        if self._shipments:
            shipment = self._shipments[0]
            await self._write_shipment(shipment)
            self._shipments.popleft()
            self._on_shipped(shipment)

    async def _write_shipment(self, shipment: Shipment) -> None:
        try:
            answers = await self._database.insist(build_shipment_settlement(shipment, self._worker_id))
        except PostgresError as error:
            if is_transient(error):
                raise
            observe.event(
                "notify_shipment_unsettled", level="error", shipment=shipment.id, reason=error.message
            )
            return
        refused = answers[1].rows[0][0] or b"{}"
        if refused != b"{}":
            observe.event("notify_rows_refused", level="error", rows=refused.decode())

    async def _write(self, batch: Sequence[Settlement]) -> None:
        try:
            await self._database.insist(build_settlement(batch, self._worker_id))
        except PostgresError as error:
            if is_transient(error):
                raise
            if len(batch) == 1:
                observe.event("notify_row_unsettled", level="error", row=batch[0].id, reason=error.message)
                return
            half = len(batch) // 2
            await self._write(batch[:half])
            await self._write(batch[half:])
