"""The life of the changes: one stream of the log per process, subscriptions that come and go, and what happens when the
stream breaks.

A reader takes transactions off the stream; a deliverer waits a moment with each, so that no change overtakes the
response of the request that caused it, and then takes all that have waited long enough as one batch. The log is
confirmed behind what was delivered. Whoever subscribes, changes its token or comes back is let in between two batches,
and caught up from the ring of recent transactions: nothing is missed in between and nothing comes twice.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass

from basalt import observe
from basalt.config import RealtimeSettings
from basalt.postgres import LanePool, LanesUnavailable, PostgresError, Query
from basalt.realtime.changes.delivery import Delivery
from basalt.realtime.changes.filters.bindings import Binding, BindingError, not_published
from basalt.realtime.changes.filters.columns import load_filter_columns
from basalt.realtime.changes.filters.database_conditions import is_trouble
from basalt.realtime.changes.filters.prepare import Filter, prepare_filter
from basalt.realtime.changes.log.change import Transaction
from basalt.realtime.changes.log.stream import ReplicationStream, StreamLost, parse_lsn
from basalt.realtime.changes.policies.claims import Claims
from basalt.realtime.changes.policies.role_access import load_selectable
from basalt.realtime.changes.policies.visibility import Visibility
from basalt.realtime.changes.position import WHOLE, Position
from basalt.realtime.changes.ring import Ring
from basalt.realtime.changes.subscriptions import ANY, Entry, Receiver, Subscription, SubscriptionIndex
from basalt.realtime.changes.tables.catalog import PublishedTable, TableCatalog
from basalt.realtime.messages import StoredMessage, is_message, read_message

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
MAX_WAITING = 20_000  # changes between reader and deliverer; beyond, PostgreSQL keeps them
MAX_BATCH = 500  # changes
DELIVERY_LIMIT_S = 5.0  # for which a batch is tried again while the database cannot be asked
LOOK_AGAIN_S = 10.0  # roles and memberships change without a trace in the log

INTERRUPTED = "Changes are interrupted, and will go on by themselves"

# Not the end of what was written: a commit that waits for the disk has its place there and nobody can see it yet.
CURRENT_POSITION = "select pg_current_wal_flush_lsn()"


class ChangesUnavailable(Exception):  # noqa: N818  # a state, like LanesUnavailable
    """The stream is not running; the message says why. Another attempt may succeed."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Bindings that can be served, checked for the role of `claims`; live from `since` on once it is let in."""

    claims: Claims
    bindings: Sequence[Binding]
    filters: Sequence[Filter]
    since: Position


class ChangesEngine:
    """`on_message` gets each row of `realtime.messages`, `on_delivered` how many channels each change was written to;
    `is_over_limit` says whether the project sends more than it may."""

    def __init__(
        self,
        conninfo: str,
        lanes: LanePool,
        settings: RealtimeSettings,
        *,
        clock: Callable[[], float],
        on_message: Callable[[StoredMessage], None],
        on_delivered: Callable[[int], None],
        is_over_limit: Callable[[], bool],
    ) -> None:
        self._conninfo = conninfo
        self._is_over_limit = is_over_limit
        self._is_skipping = False
        self._lanes = lanes
        self._settings = settings
        self._clock = clock
        self._on_message = on_message
        self._catalog = TableCatalog(lanes)
        self._visibility = Visibility(lanes, timeout_s=settings.policy_timeout_s)
        self._delivery = Delivery(
            lanes, self._catalog, self._visibility, clock=clock, on_delivered=on_delivered
        )
        self._index = SubscriptionIndex()
        self._ring = Ring(window_s=settings.replay_window_s, max_bytes=settings.replay_bytes, clock=clock)
        self._turn = asyncio.Lock()  # one batch, or one subscription that is let in
        self._waiting: deque[tuple[float, Transaction]] = deque()
        self._waiting_changes = 0
        self._arrived = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._live = asyncio.Event()
        self._failure = "the stream has not begun"
        self._stream: ReplicationStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._position: Position = (0, 0)
        self._forget_at = 0.0

    # Life

    def ensure_started(self) -> None:
        """Begin to read the log, at the first socket: a project without Realtime pays nothing for it."""
        if self._task is None:
            # not in the name of the request that happens to be the first
            self._task = asyncio.create_task(self._run(), context=Context())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def wait_live(self, limit_s: float) -> None:
        """Raises ChangesUnavailable when the stream does not run in time."""
        self.ensure_started()
        try:
            async with asyncio.timeout(limit_s):  # before Python 3.12 `wait_for` can swallow a cancellation
                await self._live.wait()
        except TimeoutError as exc:
            raise ChangesUnavailable(self._failure) from exc

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            stream = ReplicationStream(self._conninfo)
            try:
                await self._begin(await stream.open(), stream)
                pause_s = FIRST_PAUSE_S
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._read(stream))
                    group.create_task(self._deliver(stream))
            except* (StreamLost, LanesUnavailable, PostgresError) as failures:
                self._note_failure(str(failures.exceptions[0]))
            except* (
                Exception
            ) as failures:  # the edge of this task: without it nobody would get anything any more
                observe.event("changes_failed", level="error", error=failures.exceptions[0])
                self._note_failure("an error in the server, which its log tells")
            finally:
                self._live.clear()
                self._stream = None
                await stream.close()
            if pause_s > FIRST_PAUSE_S:  # a short break is told at its end, with what it cost
                for subscription in self._index:
                    subscription.receiver.tell_problem(f"{INTERRUPTED}: {self._failure}")
            await asyncio.sleep(pause_s * random.uniform(0.75, 1.25))  # noqa: S311
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _begin(self, start: int, stream: ReplicationStream) -> None:
        """The log is read from `start` on. If it was read before, what was committed in between is lost, and everybody
        is told."""
        async with self._turn:
            was_reading = self._position > (0, 0)
            self._waiting.clear()
            self._waiting_changes = 0
            self._has_room.set()
            self._delivery.forget()
            self._index.forget_tables()
            self._ring.restart(start)
            self._position = (start, WHOLE)
            self._stream = stream
            if was_reading:
                for subscription in self._index:
                    subscription.receiver.tell_missed()
            self._live.set()
        observe.event("changes_live", subscriptions=len(self._index), after_gap=was_reading)

    def _note_failure(self, reason: str) -> None:
        self._failure = reason
        observe.event("changes_interrupted", level="warning", reason=self._failure)

    # The two tasks

    async def _read(self, stream: ReplicationStream) -> None:
        while True:
            await self._has_room.wait()
            transactions = await stream.read()
            now = self._clock()
            for transaction in transactions:
                self._waiting.append((now, transaction))
                self._waiting_changes += len(transaction.changes)
            if self._waiting_changes > MAX_WAITING:
                self._has_room.clear()
            self._arrived.set()

    async def _deliver(self, stream: ReplicationStream) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                rest_s = self._waiting[0][0] + self._settings.settle_s - self._clock()
                if rest_s > 0:
                    await asyncio.sleep(rest_s)
                    continue
                async with self._turn:
                    await self._deliver_batch(self._take_batch(), stream)

    def _take_batch(self) -> list[Transaction]:
        """Those that have waited long enough, up to one that altered tables: what comes after it is judged by the new
        state of things."""
        settled = self._clock() - self._settings.settle_s
        batch: list[Transaction] = []
        size = 0
        while self._waiting and self._waiting[0][0] <= settled and size < MAX_BATCH:
            if batch and self._waiting[0][1].altered:
                break
            _, transaction = self._waiting.popleft()
            batch.append(transaction)
            size += len(transaction.changes)
        self._waiting_changes -= size
        if self._waiting_changes <= MAX_WAITING:
            self._has_room.set()
        return batch

    async def _deliver_batch(self, batch: list[Transaction], stream: ReplicationStream) -> None:
        if not batch:
            return
        if batch[0].altered:
            await self._take_alteration(batch[0])
        elif self._clock() > self._forget_at:
            self._look_again()
        for transaction in batch:
            self._broadcast(transaction)
        self.look_at_limit()
        if self._is_over_limit():
            self._is_skipping = True
        is_delivered = self._is_skipping or await self._try_to_deliver(batch, self._index)
        if not is_delivered or any(transaction.truncated for transaction in batch):
            for subscription in self._index:
                subscription.receiver.tell_missed()
        for transaction in batch:
            self._ring.add(transaction)
        self._position = (batch[-1].lsn, WHOLE)
        stream.confirm(batch[-1].lsn)

    async def _take_alteration(self, transaction: Transaction) -> None:
        """Tables, policies, privileges or the publication may be others from here on."""
        self._delivery.forget()
        self._look_again()
        await self._tell_unpublished()
        for subscription in self._index:
            if _brings_gap(transaction, subscription):
                subscription.receiver.tell_missed()

    def look_at_limit(self) -> None:
        """Changes over the project's limit of messages are skipped; when it is over, everybody is told. To be called
        every second or so."""
        if self._is_skipping and not self._is_over_limit():
            self._is_skipping = False
            for subscription in self._index:
                subscription.receiver.tell_missed()

    async def _try_to_deliver(self, batch: list[Transaction], index: SubscriptionIndex) -> bool:
        """Nothing is written before the database has answered everything, so that another attempt repeats nothing. An
        error that stays concerns its own transaction only."""
        deadline = self._clock() + DELIVERY_LIMIT_S
        while True:
            try:
                await self._delivery.deliver(batch, index)
            except (PostgresError, LanesUnavailable) as error:
                may_pass = isinstance(error, LanesUnavailable) or is_trouble(error)
                if not may_pass and len(batch) > 1:
                    return all([await self._try_to_deliver([one], index) for one in batch])
                if not may_pass or self._clock() > deadline:
                    observe.event("changes_undeliverable", level="error", reason=str(error))
                    return False
                await asyncio.sleep(FIRST_PAUSE_S)
            except Exception as error:
                observe.event("changes_undeliverable", level="error", error=error)
                return False
            else:
                return True

    def _look_again(self) -> None:
        self._delivery.look_again()
        self._index.forget_tables()
        self._forget_at = self._clock() + LOOK_AGAIN_S

    def _broadcast(self, transaction: Transaction) -> None:
        """Rows of `realtime.messages` are no changes of tables for anybody."""
        for change in transaction.changes:
            if is_message(change.relation) and (message := read_message(change)) is not None:
                self._on_message(message)
        transaction.changes[:] = [change for change in transaction.changes if not is_message(change.relation)]

    async def _tell_unpublished(self) -> None:
        """Those who asked for a table that is not in the publication any more."""
        subscriptions = list(self._index)
        if not subscriptions:
            return
        with contextlib.suppress(PostgresError, LanesUnavailable):
            published = {(table.schema, table.name) for table in await self._catalog.published()}
            for subscription in subscriptions:
                for binding in (entry.binding for entry in subscription.entries):
                    name = (binding.schema, binding.table)
                    if ANY not in name and name not in published:
                        subscription.receiver.tell_problem(str(not_published(binding)))

    # Subscriptions

    async def prepare(self, bindings: Sequence[Binding], claims: Claims, *, limit_s: float) -> Prepared:
        """Check that the bindings can be served. Raises BindingError with the message for the client;
        ChangesUnavailable, LanesUnavailable or PostgresError when another attempt may succeed."""
        for binding in bindings:
            if binding.problem is not None:
                raise BindingError(binding.problem)
        await self.wait_live(limit_s)
        filters = [await self._prepare_filter(binding, claims.role) for binding in bindings]
        (result,) = await self._lanes.execute([Query(CURRENT_POSITION)], read_only=True)
        since = parse_lsn((result.rows[0][0] or b"0/0").decode())
        return Prepared(claims, bindings, filters, (since, WHOLE))

    async def _prepare_filter(self, binding: Binding, role: str) -> Filter:
        published = await self._find_published(binding)
        if ANY in (binding.schema, binding.table):
            return Filter()
        columns = await load_filter_columns(self._lanes, published.oid)
        if not binding.conditions and binding.select is None:
            return Filter()
        selectable = await load_selectable(self._lanes, published.oid, role)
        readable = {name: column for name, column in columns.items() if name in selectable}
        return await prepare_filter(self._lanes, readable, binding, role=role)

    async def _find_published(self, binding: Binding) -> PublishedTable:
        """One that the binding names, looked for again where it is not known: it may just have been added."""
        for is_second_look in (False, True):
            if is_second_look:
                self._catalog.forget()
            for table in await self._catalog.published():
                if binding.schema in (table.schema, ANY) and binding.table in (table.name, ANY):
                    return table
        raise not_published(binding)

    async def let_in(
        self, prepared: Prepared, receiver: Receiver, *, after: Position | None, on_live: Callable[[], None]
    ) -> Subscription:
        """From now on the receiver gets what it has subscribed to, from what was committed after `after`, or
        after `prepared.since` where that is None. `on_live` is called before the first change. When the ring does not
        reach back to `after`, the receiver is told that it has missed something."""
        async with self._turn:
            start = prepared.since if after is None else after
            subscription = Subscription(receiver, prepared.claims, start)
            subscription.entries = [
                Entry(subscription, binding, filter_)
                for binding, filter_ in zip(prepared.bindings, prepared.filters, strict=True)
            ]
            on_live()
            self._ring.expire()
            newest = max(prepared.since, self._position)
            if start < (self._ring.start, WHOLE) or start > newest:  # or of another life of the database
                subscription.since = min(start, newest)
                receiver.tell_missed()
            else:
                recent = self._ring.since(start[0])
                gaps = [number for number, each in enumerate(recent) if _brings_gap(each, subscription)]
                if gaps:  # what came before it would undo, in a copy loaded anew, what nobody was told
                    recent = recent[gaps[-1] :]
                    receiver.tell_missed()
                if recent and not await self._try_to_deliver(recent, SubscriptionIndex([subscription])):
                    receiver.tell_missed()
            self._index.add(subscription)
        return subscription

    async def let_out(self, subscription: Subscription) -> Position:
        """Stop, and the position up to which it was served: where another one may go on."""
        async with self._turn:
            self._index.remove(subscription)
            return max(self._position, subscription.since)

    def drop(self, subscription: Subscription) -> None:
        """Stop at once: its channel is gone."""
        self._index.remove(subscription)

    # What a console shows

    @property
    def is_started(self) -> bool:
        return self._task is not None

    @property
    def is_live(self) -> bool:
        return self._live.is_set()

    @property
    def failure(self) -> str:
        return self._failure

    @property
    def subscription_count(self) -> int:
        return len(self._index)

    @property
    def position(self) -> Position:
        return self._position

    @property
    def waiting_changes(self) -> int:
        return self._waiting_changes


def _brings_gap(transaction: Transaction, subscription: Subscription) -> bool:
    """Changes of a table are not told while it is not in the publication: when it comes in, whoever asked for it before
    has missed something."""
    return subscription.since < (transaction.lsn, WHOLE) and any(
        _is_about(entry.binding, schema, table)
        for schema, table in transaction.published
        for entry in subscription.entries
    )


def _is_about(binding: Binding, schema: str, table: str) -> bool:
    return (ANY in (schema, binding.schema) or schema == binding.schema) and (
        ANY in (table, binding.table) or table == binding.table
    )
