"""The job `basalt.notify.digest`: what was kept for a digest and is due becomes one message per person and channel.

The message is an event of its own (`digest`), whose context has `items` (`type`, `subject`, `body`, `data`, `event_id`,
`at`) and `count`; its text is that of the project's template for `digest`, or a plain list. It goes to the addresses
that the person has by now, outside quiet hours and within the hourly limit. The rows that it replaces are `sent`, and
name the digest's event in their payload. What is not wanted any more is cancelled.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from psycopg.types.json import Jsonb

from basalt.jobs import Job
from basalt.notify.audience import Person, load_people, load_told
from basalt.notify.breathing import Breath
from basalt.notify.errors import TemplateError
from basalt.notify.event import Connection, Event, Problems, load_event
from basalt.notify.people import build_recipient, choosing, read_preferences
from basalt.notify.planning import PlannedRow, Recipient, RowStatus, find_send_time
from basalt.notify.preferences import NotifyChannel, Preferences
from basalt.notify.queueing import NewRow, insert_rows
from basalt.notify.rendering import NOBODY, Writer, build_payload
from basalt.notify.template_book import TemplateBook
from basalt.postgres import Pool
from basalt.senders import DeliverySender

DIGEST: Final = "digest"
PAGE = 200
MOST_ITEMS = 100
LINE_CHARS = 200

FIND_DUE: Final = """
select distinct d.user_id from (
    select q.user_id from public.notification_queue as q
    where q.status = 'digest' and q.scheduled_for <= now()
    order by q.scheduled_for, q.user_id
    limit %s) as d
"""
TAKE_DUE: Final = """
select q.id, q.user_id::text as user_id, q.channel, q.payload, q.event_id::text as event_id, e.event_type,
    e.triggered_at, e.status = 'cancelled' as is_cancelled, coalesce(q.expires_at <= now(), false) as is_expired
from public.notification_queue as q
join public.notification_events as e on e.id = q.event_id
where q.user_id = any (%s::uuid[]) and q.status = 'digest' and q.scheduled_for <= now()
order by e.triggered_at, q.id
for update of q
"""
ADD_EVENT: Final = """
insert into public.notification_events (event_type, subject_id, context, channels, status, recipient_count)
values ('digest', %(user_id)s, %(context)s, array[%(channel)s], 'expanded', 1)
returning id::text as id
"""
NOTE_QUEUED: Final = "update public.notification_events set queued_count = %s, error = %s where id = %s"
END_ROWS: Final = """
update public.notification_queue as q
set status = case when q.expires_at <= now() then 'expired' else 'sent' end, finished_at = now(),
    payload = q.payload || jsonb_build_object('digest_event_id', %s::text)
where q.id = any (%s::bigint[])
"""
CANCEL_ROWS: Final = """
update public.notification_queue as q set status = 'cancelled', finished_at = now() where q.id = any (%s::bigint[])
"""

Row = Mapping[str, Any]


class DigestGatherer:
    def __init__(self, pool: Pool, book: TemplateBook, senders: Mapping[str, DeliverySender]) -> None:
        self._pool = pool
        self._book = book
        self._choose = choosing(senders)

    async def gather(self, job: Job) -> object:
        """The handler: page after page, each one transaction, until nothing is due."""
        await self._book.refresh()
        count = 0
        while (made := await self._gather_page()) is not None:
            count += made
            await job.report(0.0, f"{count} digests")
        return {"digests": count}

    async def _gather_page(self) -> int | None:
        async with self._pool.connection() as connection, connection.transaction():
            due = await (await connection.execute(FIND_DUE, [PAGE])).fetchall()
            if not due:
                return None
            user_ids = sorted(str(row["user_id"]) for row in due)
            people = await load_people(connection, user_ids)
            problems = Problems(None)
            known = read_preferences(people, problems)
            limited = [user_id for user_id, preferences in known.items() if preferences.hourly_limit]
            told = await load_told(connection, NOBODY, limited)
            by_person: dict[str, dict[NotifyChannel, list[Row]]] = defaultdict(lambda: defaultdict(list))
            for row in await (await connection.execute(TAKE_DUE, [user_ids])).fetchall():
                by_person[row["user_id"]][row["channel"]].append(row)
            count, breath = 0, Breath()
            for person in people:
                preferences = known.get(person.user_id)
                for channel, rows in by_person[person.user_id].items():
                    if dropped := [row["id"] for row in rows if not is_wanted(row, preferences)]:
                        await connection.execute(CANCEL_ROWS, [dropped])
                    kept = [row for row in rows if is_wanted(row, preferences)]
                    if preferences is not None and kept:
                        recipient = build_recipient(person, preferences, told, self._choose, problems)
                        count += await self._gather(connection, person, recipient, channel, kept)
                        await breath.take()
            return count

    async def _gather(
        self,
        connection: Connection,
        person: Person,
        recipient: Recipient,
        channel: NotifyChannel,
        rows: Sequence[Row],
    ) -> int:
        items = build_items([row for row in rows if not row["is_expired"]])
        event_id = ""
        if items:
            event_id = await self._send(connection, person, recipient, channel, items)
        await connection.execute(END_ROWS, [event_id, [row["id"] for row in rows]])
        return 1 if items else 0

    async def _send(
        self,
        connection: Connection,
        person: Person,
        recipient: Recipient,
        channel: NotifyChannel,
        items: Sequence[Mapping[str, Any]],
    ) -> str:
        """The digest's event."""
        context = {"items": list(items[:MOST_ITEMS]), "count": len(items)}
        params = {"user_id": person.user_id, "context": Jsonb(context), "channel": channel}
        added = await (await connection.execute(ADD_EVENT, params)).fetchone()
        assert added is not None
        event = await load_event(connection, added["id"])
        assert event is not None
        problems = Problems(None)
        template_id, payload = self._write(event, person, recipient, channel, problems)
        at = find_send_time(event.now, recipient)
        status: RowStatus = "held" if at > event.now else "pending"
        new = [
            NewRow(person.user_id, PlannedRow(channel, address, status, at), template_id, 0)
            for address in recipient.addresses.get(channel, ())
        ]
        if not new:
            problems.add("address_missing", f"{person.user_id} has no address for {channel} any more")
        queued = await insert_rows(connection, event, new, [payload])
        told = problems.render()
        await connection.execute(NOTE_QUEUED, [queued, None if told is None else Jsonb(told), event.id])
        return event.id

    def _write(
        self, event: Event, person: Person, recipient: Recipient, channel: NotifyChannel, problems: Problems
    ) -> tuple[str | None, Mapping[str, Any]]:
        """By the project's template; where it has none, or it fails, as a plain list."""
        writer = Writer(event, self._book)
        if channel in writer.find_channels(person.locale):
            try:
                template, number = writer.write(
                    channel, person.user_id, person.name, person.locale, recipient.preferences
                )
                return template.id, writer.payloads[number]
            except TemplateError as error:
                problems.add(error.code, error.message)
        return None, build_payload(event, *render_plain(event.context["items"], event.context["count"]), None)


def is_wanted(row: Row, preferences: Preferences | None) -> bool:
    """Not where the event was cancelled or the account has gone; `preferences` are today's."""
    if row["is_cancelled"] or preferences is None:
        return False
    return preferences.wants(row["channel"], row["event_type"])


def build_items(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What the digest tells, oldest first; once, where it would have come to several addresses."""
    items: dict[str, dict[str, Any]] = {}
    for row in rows:
        payload = row["payload"]
        items.setdefault(
            row["event_id"],
            {
                "type": row["event_type"],
                "subject": payload.get("subject", ""),
                "body": payload.get("body", ""),
                "data": payload.get("data", {}),
                "event_id": row["event_id"],
                "at": row["triggered_at"].isoformat(),
            },
        )
    return list(items.values())


def render_plain(items: Sequence[Mapping[str, Any]], count: int) -> tuple[str, str]:
    r"""Subject and body without a template.

    >>> render_plain([{"subject": "New gig", "body": "Guitarist wanted"}, {"subject": "", "body": "Hi\nthere"}], 3)
    ('3 notifications', '- New gig: Guitarist wanted\n- Hi there\n- and 1 more')
    """
    lines = []
    for item in items:
        text = ": ".join(part for part in (item["subject"], " ".join(item["body"].split())) if part)
        lines.append(f"- {text[:LINE_CHARS]}")
    if count > len(items):
        lines.append(f"- and {count - len(items)} more")
    return ("1 notification" if count == 1 else f"{count} notifications"), "\n".join(lines)
