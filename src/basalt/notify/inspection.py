"""What an operator asks of notifications, and does about them, for the command line.

An event is named by its id, a message by the number of its row in `notification_queue`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from basalt.notify.errors import NotifyError
from basalt.postgres import DatabaseAccess

LIST_EVENTS: Final = """
select e.id::text as id, e.event_type, e.status, e.recipient_count as recipients, e.queued_count as queued,
    e.triggered_at, e.scheduled_for, coalesce(e.error ->> 'code', (
        select string_agg(k, ', ') from jsonb_object_keys(e.error -> 'problems') as k)) as problem
from public.notification_events as e
where (%(event_type)s::text is null or e.event_type = %(event_type)s)
    and (%(status)s::text is null or e.status = %(status)s)
order by e.triggered_at desc
limit %(most)s
"""
SHOW_EVENT: Final = "select basalt.notification_progress(%s) as progress"
LIST_FAILURES: Final = """
select q.id, q.user_id::text as user_id, q.channel, q.provider, q.address, q.attempts, q.error_code
from public.notification_queue as q
where q.event_id = %s and q.status = 'failed'
order by q.id desc
limit %s
"""
SHOW_ROW: Final = """
select q.id, q.event_id::text as event_id, q.user_id::text as user_id, q.channel, q.provider, q.address, q.status,
    q.attempts, q.error_code, q.scheduled_for, q.expires_at, q.finished_at, q.fallback, q.payload
from public.notification_queue as q where q.id = %s
"""
LIST_ATTEMPTS: Final = """
select d.attempt, d.provider, d.status, d.error_code, d.provider_message_id as message_id, d.created_at,
    d.response_payload
from public.notification_deliveries as d where d.queue_id = %s order by d.id
"""

# A new row has a new key: a provider that remembers the old one would answer as it did then. As one that was held, so
# that it is looked at before it leaves: the address may be somebody else's by now.
RESEND: Final = """
with again as (
    insert into public.notification_queue (
        event_id, user_id, channel, channel_id, provider, address, template_id, payload, priority, fallback, status)
    select q.event_id, q.user_id, q.channel, q.channel_id, q.provider, q.address, q.template_id, q.payload, q.priority,
        q.fallback, 'held'
    from public.notification_queue as q
    where {} and q.channel <> 'in_app'
    returning id)
select a.id, pg_notify('basalt_notify', '') from again as a
"""
# What was sent again already is not sent a third time.
FAILED_OF_EVENT: Final = """
q.event_id = %s and q.status = 'failed' and not exists (
    select from public.notification_queue as n
    where n.event_id = q.event_id and n.user_id = q.user_id and n.channel = q.channel and n.address = q.address
        and n.id > q.id)
"""
CANCEL: Final = "select basalt.cancel_notification_event(%s) as count"
STATS: Final = """
select coalesce(q.provider, '') as provider, q.channel,
    count(*) filter (where q.status in ('pending', 'held') and q.scheduled_for <= now() and not q.in_hand) as due,
    count(*) filter (where q.status in ('pending', 'held') and q.scheduled_for > now()) as later,
    count(*) filter (where q.status = 'digest') as digest, count(*) filter (where q.in_hand) as sending,
    count(*) filter (where q.status in ('sent', 'delivered')) as sent,
    count(*) filter (where q.status = 'failed') as failed,
    count(*) filter (where q.status in ('cancelled', 'expired')) as dropped
from (select *, coalesce(locked_until > now(), false) as in_hand from public.notification_queue) as q
where q.finished_at is null or q.finished_at > now() - make_interval(hours => %s)
group by 1, 2 order by 1, 2
"""


def list_events(
    access: DatabaseAccess, *, event_type: str | None, status: str | None, most: int
) -> list[dict[str, Any]]:
    """The newest events."""
    return _fetch(access, LIST_EVENTS, {"event_type": event_type, "status": status, "most": most})


def show_event(access: DatabaseAccess, event_id: str, *, most: int) -> dict[str, Any]:
    """How far an event has come, and its last failures. Raises NotifyError event_not_found."""
    found = _fetch(access, SHOW_EVENT, [_check_id(event_id)])[0]["progress"]
    if found is None:
        raise NotifyError("event_not_found", f"There is no event {event_id}")
    progress: dict[str, Any] = found
    return {**progress, "failures": _fetch(access, LIST_FAILURES, [event_id, most])}


def show_message(access: DatabaseAccess, number: int) -> dict[str, Any]:
    """A row of the queue and its attempts. Raises NotifyError message_not_found."""
    rows = _fetch(access, SHOW_ROW, [number])
    if not rows:
        raise NotifyError("message_not_found", f"There is no message {number}")
    return {**rows[0], "deliveries": _fetch(access, LIST_ATTEMPTS, [number])}


def resend_event(access: DatabaseAccess, event_id: str) -> int:
    """Send what failed of an event once more, each as a new message; how many."""
    show_event(access, event_id, most=0)
    return len(_fetch(access, RESEND.format(FAILED_OF_EVENT), [event_id]))


def resend_message(access: DatabaseAccess, number: int) -> int:
    """Send one message once more, whatever became of it; the number of the new one."""
    show_message(access, number)
    rows = _fetch(access, RESEND.format("q.id = %s"), [number])
    if not rows:
        raise NotifyError("message_in_app")
    return int(rows[0]["id"])


def cancel_event(access: DatabaseAccess, event_id: str) -> int:
    """Stop an event: who has not been told is not told any more. How many messages were stopped; what a provider has
    in hand goes on."""
    show_event(access, event_id, most=0)
    return int(_fetch(access, CANCEL, [event_id])[0]["count"])


def load_stats(access: DatabaseAccess, hours: int) -> list[dict[str, Any]]:
    """Messages by provider and channel: what waits, and what ended in the last hours."""
    return _fetch(access, STATS, [hours])


def _check_id(event_id: str) -> str:
    try:
        return str(UUID(event_id))
    except ValueError as exc:
        raise NotifyError("event_not_found", f"{event_id} is no event's id") from exc


def _fetch(
    access: DatabaseAccess, statement: LiteralString, params: Sequence[Any] | dict[str, Any]
) -> list[dict[str, Any]]:
    with _connected(access) as cursor:
        return cursor.execute(statement, params).fetchall()


@contextmanager
def _connected(access: DatabaseAccess) -> Iterator[psycopg.Cursor[dict[str, Any]]]:
    """One transaction."""
    try:
        with (
            psycopg.connect(access.conninfo("postgres")) as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            yield cursor
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction) as exc:
        raise NotifyError("notify_off") from exc
