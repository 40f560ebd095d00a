"""Writing rows: from planned messages to `notification_queue`, one statement for many people.

Rows of a channel in the app are delivered as they are written: the row of `notifications` beside them is the message.
A row that is there already (the same person, channel, address and dedup key) is left as it is, so that a page that is
written twice is there once.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import orjson
from msgspec import Struct
from psycopg.types.json import Jsonb

from basalt.notify.event import Connection, Event
from basalt.notify.measures import QUEUED
from basalt.notify.planning import PlannedRow

INSERT_ROWS: Final = """
with payload as materialized (
    select p.number - 1 as number, p.value from jsonb_array_elements(%(payloads)s) with ordinality as p(value, number)),
made as (
    insert into public.notification_queue (
        event_id, user_id, channel, channel_id, provider, address, template_id, payload, scheduled_for, expires_at,
        priority, dedup_key, fallback, status, finished_at)
    select %(event_id)s, r.u, r.c, r.k, r.p, r.a, r.t, payload.value, r.at, %(expires_at)s, %(priority)s, %(dedup_key)s,
        r.f, r.s, case when r.s = 'delivered' then now() end
    from jsonb_to_recordset(%(rows)s) as r(
        u uuid, c text, k uuid, p text, a text, t uuid, n integer, at timestamptz, f text[], s text)
    join payload on payload.number = r.n
    on conflict (user_id, channel, hashtextextended(address, 0), dedup_key) where dedup_key is not null do nothing
    returning id, user_id, channel, status, payload),
shown as (
    insert into public.notifications (user_id, event_id, queue_id, type, title, body, data, expires_at)
    select m.user_id, %(event_id)s, m.id, %(event_type)s, coalesce(m.payload ->> 'subject', ''),
        coalesce(m.payload ->> 'body', ''), coalesce(m.payload -> 'data', '{}'), %(expires_at)s
    from made as m where m.channel = 'in_app'),
told as (
    select pg_notify('basalt_notify', '') where exists (select from made as m where m.status = 'pending'))
select m.channel, m.status, count(*) as count, (select count(*) from told) as told from made as m
group by m.channel, m.status
"""


class NewRow(Struct, frozen=True, gc=False):
    """A planned row of a person; `payload` is the number of its text."""

    user_id: str
    row: PlannedRow
    template_id: str | None
    payload: int

    @property
    def provider(self) -> str:
        """Who delivers it; empty in-app."""
        return self.row.address.provider if self.row.address else ""


async def insert_rows(
    connection: Connection,
    event: Event,
    rows: Sequence[NewRow],
    payloads: Sequence[Any],
    *,
    dedup_key: str | None = None,
) -> int:
    """How many were new. `dedup_key` is the event's, unless another one is given."""
    if not rows:
        return 0
    params = {
        "event_id": event.id,
        "event_type": event.event_type,
        "expires_at": event.expires_at,
        "priority": event.priority,
        "dedup_key": dedup_key or event.row_key,
        "payloads": Jsonb(list(payloads), dumps=orjson.dumps),
        "rows": Jsonb([_render_row(row) for row in rows], dumps=orjson.dumps),
    }
    made = await (await connection.execute(INSERT_ROWS, params)).fetchall()
    counts: Counter[tuple[str, str]] = Counter()
    for one in made:
        counts[one["channel"], one["status"]] += one["count"]
    for (channel, status), count in counts.items():
        QUEUED.add(count, channel, status)
    return counts.total()


def _render_row(new: NewRow) -> dict[str, Any]:
    row, address = new.row, new.row.address
    return {
        "u": new.user_id,
        "c": row.channel,
        "k": address and address.channel_id,
        "p": address and address.provider,
        "a": address and address.address,
        "t": new.template_id,
        "n": new.payload,
        "at": row.scheduled_for.isoformat(),
        "f": list(row.fallback),
        "s": row.status,
    }
