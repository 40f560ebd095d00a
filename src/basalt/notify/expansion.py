"""The job `basalt.notify.expand`: an event becomes rows of the queue, page by page.

Each page is one transaction: its rows, and how far the event has come (`basalt.notification_expansions`). A worker that
dies leaves the page undone as a whole, and whoever has the job next goes on after the last one that was written. What
would fail for everybody (no template, a variable that is missing, an audience that cannot be asked) fails the event
before anything is queued; what fails for some is counted in the event's `error`, and the others are told.

A routine that finds an audience may take a minute. Two are asked at once and the others come back later, so that events
that ask none go on.

Messages of a large page leave by the short way (`shipments`) where there is one, and the next page waits a moment for
it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg.types.json import Jsonb

from basalt import observe
from basalt.config import NotifySettings
from basalt.jobs import DiscardJob, Job
from basalt.notify.audience import Person, load_page, load_told, stage_recipients
from basalt.notify.breathing import Breath
from basalt.notify.errors import TemplateError
from basalt.notify.event import Connection, Event, EventError, Problems, fail_event, lock_event
from basalt.notify.measures import EXPANDED
from basalt.notify.outflow import Outflow, Ways
from basalt.notify.people import Undemanding, build_recipient, choosing, read_preferences, write_rows
from basalt.notify.preferences import NO_PREFERENCES
from basalt.notify.queueing import NewRow, insert_rows
from basalt.notify.rendering import Writer
from basalt.notify.shipments import LEAST, Shipment, insert_shipment
from basalt.notify.template_book import TemplateBook
from basalt.postgres import Pool
from basalt.senders import DeliverySender

JOB_LIMIT_S = 60.0  # then another job goes on, well within a queue's time limit
ROOM_LIMIT_S = 1.0  # then the queue has it, and other workers with it
ASKED_AT_ONCE = 2  # half of the jobs' connections
TURN_LIMIT_S = 2.0  # then the job makes room for others
NEXT_TURN_S = 5.0
PAGE_LIMIT_S = 10.0  # of writing texts; the next page writes the rest
MOST_PAGE_CHARS = 16_000_000  # of what is said to each person; the next page says the rest

BEGIN: Final = """
with begun as (
    insert into basalt.notification_expansions (event_id) values (%(id)s) on conflict do nothing)
update public.notification_events set status = 'expanding', error = %(error)s where id = %(id)s
"""
COUNT_EVERYONE: Final = "select count(*) as count from auth.users as u where u.deleted_at is null"
COUNT_RECIPIENTS: Final = (
    "select count(*) as count from basalt.notification_recipients as r where r.event_id = %s"
)
LOAD_CURSOR: Final = (
    "select x.cursor::text as cursor from basalt.notification_expansions as x where x.event_id = %s"
)
NOTE_PAGE: Final = """
update basalt.notification_expansions
set cursor = %(cursor)s, recipient_count = recipient_count + %(people)s, queued_count = queued_count + %(rows)s
where event_id = %(id)s
returning recipient_count, clock_timestamp() - shown_at >= interval '1 second' as is_due
"""
SHOW: Final = """
with shown as (
    update basalt.notification_expansions set shown_at = clock_timestamp() where event_id = %(id)s
    returning recipient_count, queued_count)
update public.notification_events as e
set recipient_count = s.recipient_count, queued_count = s.queued_count, error = %(error)s
from shown as s where e.id = %(id)s
"""
FINISH: Final = """
with expansion as (delete from basalt.notification_expansions where event_id = %(id)s),
recipients as (delete from basalt.notification_recipients where event_id = %(id)s)
update public.notification_events set status = 'expanded' where id = %(id)s and status = 'expanding'
"""
GO_ON: Final = """
select basalt.enqueue(
    'basalt.notify.expand', jsonb_build_object('event_id', %(id)s::text), queue => 'notify', priority => %(priority)s,
    key => %(id)s || ':' || %(told)s)
"""
COME_BACK = """
select basalt.enqueue(
    'basalt.notify.expand', jsonb_build_object('event_id', e.id, 'asks_routine', true), queue => 'notify',
    priority => e.priority, run_at => now() + make_interval(secs => %(delay_s)s), key => e.id || ':turn:' || %(job)s)
from public.notification_events as e where e.id = %(id)s
"""


@dataclass(frozen=True, slots=True)
class Page:
    """What one page did. `told` counts the recipients so far, `leaving` the messages due at once, by provider."""

    told: int
    priority: int
    is_last: bool
    leaving: Mapping[str, int]


class Expander:
    def __init__(
        self,
        pool: Pool,
        book: TemplateBook,
        senders: Mapping[str, DeliverySender],
        ways: Ways,
        settings: NotifySettings,
    ) -> None:
        self._pool = pool
        self._book = book
        self._choose = choosing(senders)
        self._ways = ways
        self._page_size = settings.page_size
        self._shipment_size = settings.batch_size
        self._turns = asyncio.Semaphore(ASKED_AT_ONCE)

    async def expand(self, job: Job) -> object:
        """The handler. The event fails with the last attempt, or with what no attempt would better."""
        event_id = read_event_id(job)
        try:
            return await self._expand(job, event_id)
        except (EventError, TemplateError) as error:
            problem = error if isinstance(error, EventError) else EventError(error.code, error.message)
            await self._fail(event_id, problem)
            return {"failed": problem.code}
        except Exception as error:
            if job.attempt >= job.max_attempts:
                await self._fail(event_id, EventError("expansion_failed", f"{type(error).__name__}: {error}"))
            raise

    async def _expand(self, job: Job, event_id: str) -> object:
        await self._book.refresh()
        asks_routine = job.payload.get("asks_routine") is True
        if asks_routine and not await self._await_turn():
            await self._come_back(job, event_id)
            return {"comes_back": True}
        try:
            total = await self._begin(event_id)
        finally:
            if asks_routine:
                self._turns.release()
        if total is None:
            return {"skipped": True}
        loop = asyncio.get_running_loop()
        limit_at = loop.time() + JOB_LIMIT_S
        while (page := await self._expand_page(event_id)) is not None:
            await job.report(min(page.told / max(total, 1), 1.0), f"{page.told} of {total} recipients")
            if page.is_last:
                EXPANDED.add(1, "expanded")
                return {"recipients": page.told}
            if loop.time() > limit_at:
                await self._go_on_later(event_id, page)
                return {"recipients": page.told, "goes_on": True}
            await self._wait_for_room(page)
        return {"cancelled": True}

    async def _begin(self, event_id: str) -> int | None:
        """How many recipients there are; None where there is nothing to do any more. Raises EventError and
        TemplateError."""
        async with self._pool.connection() as connection, connection.transaction():
            event = await lock_event(connection, event_id)
            if event is None:
                raise DiscardJob(f"there is no event {event_id}")
            if event.status == "pending":
                await self._prepare(connection, event)
            elif event.status != "expanding":
                return None
            is_everyone = event.audience is not None and event.audience.get("everyone") is True
            statement, params = (COUNT_EVERYONE, []) if is_everyone else (COUNT_RECIPIENTS, [event.id])
            row = await (await connection.execute(statement, params)).fetchone()
            assert row is not None
            return int(row["count"])

    async def _prepare(self, connection: Connection, event: Event) -> None:
        if event.expires_at is not None and event.expires_at <= event.now:
            raise EventError("event_expired", "It had expired before anybody could be told")
        writer = Writer(event, self._book)
        await asyncio.to_thread(writer.check)  # a long text takes its time to compile
        problems = Problems(event.error)
        for channel in writer.find_missing():
            problems.add("template_not_found", f"{event.event_type} has no template for {channel}")
        await stage_recipients(connection, event)
        await connection.execute(BEGIN, {"id": event.id, "error": render_error(problems)})

    async def _expand_page(self, event_id: str) -> Page | None:
        """One transaction. None where the event was cancelled, or another worker has finished it."""
        departures: list[tuple[Outflow, Shipment]] = []
        page = await self._write_page(event_id, departures)
        for way, shipment in departures:
            way.ship(shipment)
        return page

    async def _write_page(self, event_id: str, departures: list[tuple[Outflow, Shipment]]) -> Page | None:
        """`departures` takes what is to be sent when it is committed."""
        async with self._pool.connection() as connection, connection.transaction():
            event = await lock_event(connection, event_id)
            if event is None or event.status != "expanding":
                return None
            row = await (await connection.execute(LOAD_CURSOR, [event.id])).fetchone()
            assert row is not None
            writer = Writer(event, self._book)
            channels = () if event.channels == ("in_app",) else writer.list_channels()
            page = await load_page(connection, event, row["cursor"], self._page_size, channels)
            problems = Problems(event.error)
            rows, people = await self._plan(connection, event, page, writer, problems)
            leaving = _gather_leaving(rows)
            passing = self._find_passing(event, leaving)
            for provider, way in passing.items():
                for part in self._cut(leaving[provider]):
                    shipment = await insert_shipment(
                        connection, event, provider, part, writer.payloads, claimer=way.claimer
                    )
                    departures.append((way, shipment))
            rest = [new for new in rows if new.row.status != "pending" or new.provider not in passing]
            queued = await insert_rows(connection, event, rest, writer.payloads)
            params = {
                "id": event.id,
                "cursor": people[-1].user_id if people else row["cursor"],
                "people": sum(person.addresses is not None for person in people),
                "rows": queued + len(rows) - len(rest),
            }
            noted = await (await connection.execute(NOTE_PAGE, params)).fetchone()
            assert noted is not None
            is_last = len(people) == len(page) < self._page_size
            if is_last or noted["is_due"] or problems.render() != event.error:
                await connection.execute(SHOW, {"id": event.id, "error": render_error(problems)})
            if is_last:
                await connection.execute(FINISH, {"id": event.id})
            counts = {provider: len(several) for provider, several in leaving.items()}
            return Page(noted["recipient_count"], event.priority, is_last, counts)

    def _find_passing(self, event: Event, leaving: Mapping[str, Sequence[NewRow]]) -> dict[str, Outflow]:
        """By provider, the ways that are clear for so many messages."""
        if event.dedup_key is not None:
            return {}  # the queue knows who has been told by an earlier event of the same key
        return {
            provider: way
            for provider, rows in leaving.items()
            if len(rows) >= LEAST and (way := self._ways.get(provider)) and way.has_room(len(rows))
        }

    def _cut(self, rows: Sequence[NewRow]) -> list[Sequence[NewRow]]:
        size = self._shipment_size
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    async def _wait_for_room(self, page: Page) -> None:
        """As the next page is like the last one."""
        for provider, count in page.leaving.items():
            if count >= LEAST and provider in self._ways:
                await self._ways[provider].wait_for_room(count, ROOM_LIMIT_S)

    async def _plan(
        self,
        connection: Connection,
        event: Event,
        people: Sequence[Person],
        writer: Writer,
        problems: Problems,
    ) -> tuple[list[NewRow], Sequence[Person]]:
        """The rows, and the people that they are for: fewer than these where they would say too much at once,
        or it would take too long."""
        known = read_preferences(people, problems)
        limited = [user_id for user_id, preferences in known.items() if preferences.hourly_limit]
        told = await load_told(connection, event.id, limited)
        undemanding = Undemanding(event, writer, self._choose)
        rows: list[NewRow] = []
        breath = Breath()
        end_at = asyncio.get_running_loop().time() + PAGE_LIMIT_S
        for number, person in enumerate(people):
            preferences = known.get(person.user_id)
            if preferences is NO_PREFERENCES:
                rows += undemanding.write_rows(person, problems)
            elif preferences is not None:
                recipient = build_recipient(person, preferences, told, self._choose, problems)
                rows += write_rows(event, person, recipient, writer, problems)
            await breath.take()
            if writer.char_count > MOST_PAGE_CHARS or asyncio.get_running_loop().time() > end_at:
                return rows, people[: number + 1]
        return rows, people

    async def _go_on_later(self, event_id: str, page: Page) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                GO_ON, {"id": event_id, "priority": page.priority, "told": str(page.told)}
            )

    async def _await_turn(self) -> bool:
        try:
            async with asyncio.timeout(TURN_LIMIT_S):
                return await self._turns.acquire()
        except TimeoutError:
            return False

    async def _come_back(self, job: Job, event_id: str) -> None:
        params = {"id": event_id, "job": str(job.id), "delay_s": NEXT_TURN_S}
        async with self._pool.connection() as connection:
            await connection.execute(COME_BACK, params)

    async def _fail(self, event_id: str, error: EventError) -> None:
        EXPANDED.add(1, "failed")
        observe.event(
            "notify_event_failed", level="warning", notify_event=event_id, code=error.code, reason=str(error)
        )
        async with self._pool.connection() as connection:
            await fail_event(connection, event_id, error)


def read_event_id(job: Job) -> str:
    """Raises DiscardJob."""
    event_id = job.payload.get("event_id") if isinstance(job.payload, dict) else None
    if not isinstance(event_id, str):
        raise DiscardJob("the payload names no event_id")
    return event_id


def _gather_leaving(rows: Sequence[NewRow]) -> Mapping[str, list[NewRow]]:
    """Messages that are due at once, by provider."""
    leaving: dict[str, list[NewRow]] = defaultdict(list)
    for new in rows:
        if new.row.status == "pending":
            leaving[new.provider].append(new)
    return leaving


def render_error(problems: Problems) -> Any:
    told = problems.render()
    return None if told is None else Jsonb(told)
