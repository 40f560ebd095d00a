"""The job `basalt.notify.fall_back`: a message has failed, for good or by a provider's late word, and the next channel
takes its place where no other row of its event, person and channel is left that may still arrive. One whose address was
no longer the person's when it left goes to those that the person has now, before another channel is tried.
"""

from collections.abc import Mapping
from typing import Any, Final

from basalt.jobs import DiscardJob, Job
from basalt.notify.audience import load_people, load_told
from basalt.notify.event import Connection, Event, Problems, load_event
from basalt.notify.people import build_recipient, choosing, read_preferences, write_planned
from basalt.notify.planning import URGENT, PlannedRow, Recipient, RowStatus, find_send_time, plan_time
from basalt.notify.preferences import NotifyChannel
from basalt.notify.queueing import NewRow, insert_rows
from basalt.notify.rendering import Writer
from basalt.notify.template_book import TemplateBook
from basalt.postgres import Pool
from basalt.senders import DeliverySender

LOAD_FAILED: Final = """
select q.event_id::text as event_id, q.user_id::text as user_id, q.channel, q.fallback,
    q.template_id::text as template_id, q.payload, coalesce(q.error_code = 'address_gone', false) as has_moved
from public.notification_queue as q
where q.id = %s and q.status = 'failed' and (q.fallback <> '{}' or q.error_code = 'address_gone')
"""
# Two rows may fail at once: whose job comes second sees what the first one did.
LOCK_PERSON: Final = "select pg_advisory_xact_lock(hashtextextended(%s, 1650553713))"

# `is not distinct from` keeps the index over events out of it: an event may have a million rows, a person has few.
HAS_OTHERS: Final = """
select exists (
    select from public.notification_queue as q
    where q.user_id = %(user_id)s and q.channel = %(channel)s and q.event_id is not distinct from %(event_id)s
        and q.status not in ('failed', 'expired', 'cancelled')) as has_others
"""


class FallBack:
    def __init__(self, pool: Pool, book: TemplateBook, senders: Mapping[str, DeliverySender]) -> None:
        self._pool = pool
        self._book = book
        self._choose = choosing(senders)

    async def fall_back(self, job: Job) -> object:
        """The handler."""
        queue_id = job.payload.get("queue_id") if isinstance(job.payload, dict) else None
        if not isinstance(queue_id, int):
            raise DiscardJob("the payload names no queue_id")
        await self._book.refresh()
        async with self._pool.connection() as connection, connection.transaction():
            failed = await (await connection.execute(LOAD_FAILED, [queue_id])).fetchone()
            if failed is None:
                return {"skipped": True}
            await connection.execute(LOCK_PERSON, [failed["event_id"] + failed["user_id"]])
            others = await (await connection.execute(HAS_OTHERS, failed)).fetchone()
            event = await load_event(connection, failed["event_id"])
            is_over = event is None or event.status == "cancelled" or (others and others["has_others"])
            if event is None or is_over:
                return {"skipped": True}
            return {"queued": await self._queue_next(connection, event, failed)}

    async def _queue_next(self, connection: Connection, event: Event, failed: Mapping[str, Any]) -> int:
        """Rows of the first channel at which the person can be reached."""
        problems = Problems(None)
        people = await load_people(connection, [failed["user_id"]])
        known = read_preferences(people, problems)
        for person in people:
            if (preferences := known.get(person.user_id)) is None:
                continue
            told = await load_told(connection, event.id, [person.user_id])
            recipient = build_recipient(person, preferences, told, self._choose, problems)
            if failed["has_moved"] and (queued := await _follow(connection, event, failed, recipient)):
                return queued
            writer = Writer(event, self._book)
            channels: list[NotifyChannel] = [
                channel
                for channel in failed["fallback"]
                if channel in writer.find_channels(person.locale)
                and preferences.wants(channel, event.event_type)
                and recipient.addresses.get(channel)
            ]
            while channels:
                channel = channels.pop(0)
                status, at = plan_time(event.event_type, channel, event.priority, recipient, event.now)
                rows = [
                    PlannedRow(channel, address, status, at, tuple(channels))
                    for address in recipient.addresses[channel]
                ]
                written = write_planned(rows, person, preferences, writer, problems)
                if queued := await insert_rows(connection, event, written, writer.payloads):
                    return queued
        return 0


async def _follow(
    connection: Connection, event: Event, failed: Mapping[str, Any], recipient: Recipient
) -> int:
    """The same message to where the person is reached by now; those addresses that it went to before have it."""
    at = event.now if event.priority == URGENT else find_send_time(event.now, recipient)
    status: RowStatus = "held" if at > event.now else "pending"
    new = [
        NewRow(
            failed["user_id"],
            PlannedRow(failed["channel"], address, status, at, tuple(failed["fallback"])),
            failed["template_id"],
            0,
        )
        for address in recipient.addresses.get(failed["channel"], ())
    ]
    return await insert_rows(connection, event, new, [failed["payload"]])
