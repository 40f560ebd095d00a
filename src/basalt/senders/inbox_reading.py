"""What the Inbox holds, newest first: kept messages, and in development in-app notifications as the apps show them.

The two stand in different tables. Each is read in the order of its own keys, and a place in the whole is a place in
both.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any, Final
from uuid import UUID

from basalt.senders.inbox import Pool

INBOX_CHANNELS: Final = ("email", "sms", "whatsapp", "push", "in_app")
PLACE: Final = re.compile(r"(\d{1,18})?(?:_(\S{1,40})_([0-9a-f-]{36}))?")

SELECT_MESSAGES = """
select id, channel, recipient as "to", subject, body_text as text, body_html as html, kind, data, details, created_at
from basalt.inbox_messages
where (%(to)s::text is null or recipient = %(to)s)
    and (%(channel)s::text is null or channel = %(channel)s)
    and (%(before)s::bigint is null or id < %(before)s)
order by id desc
limit %(limit)s
"""

SELECT_NOTIFICATIONS = """
select n.id::text, 'in_app' as channel, coalesce(nullif(u.email, ''), n.user_id::text) as "to", n.title as subject,
    n.body as text, null as html, coalesce(n.type, 'notification') as kind, n.data, '{}'::jsonb as details, n.created_at
from public.notifications as n
join auth.users as u on u.id = n.user_id
where (%(to)s::text is null or u.email = %(to)s or n.user_id::text = %(to)s)
    and (%(created_before)s::timestamptz is null
        or (n.created_at, n.id) < (%(created_before)s::timestamptz, %(id_before)s::uuid))
order by n.created_at desc, n.id desc
limit %(limit)s
"""

SELECT_MESSAGE_HTML = "select body_html as html from basalt.inbox_messages where id = %s"


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """`id` is a number, or the id of a row of `public.notifications`."""

    id: int | str
    channel: str
    to: str
    subject: str | None
    text: str
    html: str | None
    kind: str
    data: dict[str, Any]
    details: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class InboxPlace:
    """Before which message of each table to go on."""

    message_id: int | None = None
    created_at: datetime | None = None
    notification_id: str | None = None

    def __str__(self) -> str:
        rest = f"_{self.created_at.isoformat()}_{self.notification_id}" if self.created_at else ""
        return f"{self.message_id or ''}{rest}"


@dataclass(frozen=True, slots=True)
class InboxPage:
    """`next` is None at the end."""

    messages: Sequence[InboxMessage]
    next: InboxPlace | None


def parse_place(text: str) -> InboxPlace:
    """What `str` of a place gives. Raises ValueError.

    >>> parse_place("12") == InboxPlace(12), parse_place("") == InboxPlace()
    (True, True)
    """
    found = PLACE.fullmatch(text)
    if found is None:
        raise ValueError("this is no place in the Inbox")
    created_at = datetime.fromisoformat(found[2]) if found[2] else None
    return InboxPlace(int(found[1]) if found[1] else None, created_at, found[3] and str(UUID(found[3])))


async def load_inbox(
    pool: Pool,
    *,
    to: str | None = None,
    channel: str | None = None,
    before: InboxPlace | None = None,
    limit: int = 50,
    with_notifications: bool = False,
) -> InboxPage:
    """The newest messages before a place, to one recipient or to all. `with_notifications`: there is a table of
    them."""
    place = before or InboxPlace()
    values = {
        "to": to,
        "channel": channel,
        "before": place.message_id,
        "created_before": place.created_at,
        "id_before": place.notification_id,
        "limit": limit + 1,
    }
    async with pool.connection() as connection:
        cursor = await connection.execute(SELECT_MESSAGES, values)
        kept = [InboxMessage(**row) for row in await cursor.fetchall()]
        shown: list[InboxMessage] = []
        if with_notifications and channel in (None, "in_app"):
            cursor = await connection.execute(SELECT_NOTIFICATIONS, values)
            shown = [InboxMessage(**row) for row in await cursor.fetchall()]
    newest = merge(kept, shown, key=lambda message: message.created_at, reverse=True)
    found = list(islice(newest, limit + 1))
    messages = found[:limit]
    return InboxPage(messages, _place_after(messages, place) if len(found) > limit else None)


async def load_message_html(pool: Pool, message_id: int) -> str | None:
    async with pool.connection() as connection:
        row = await (await connection.execute(SELECT_MESSAGE_HTML, [message_id])).fetchone()
    return row["html"] if row is not None else None


def _place_after(messages: Sequence[InboxMessage], start: InboxPlace) -> InboxPlace:
    message_id, created_at, notification_id = start.message_id, start.created_at, start.notification_id
    for message in messages:
        if isinstance(message.id, int):
            message_id = message.id
        else:
            created_at, notification_id = message.created_at, message.id
    return InboxPlace(message_id, created_at, notification_id)
