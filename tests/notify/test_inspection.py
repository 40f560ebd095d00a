"""What an operator sees and does: at rest, while the engine is at work, and twice."""

import asyncio

import psycopg
import pytest

from basalt.notify import (
    NotifyError,
    cancel_event,
    list_events,
    load_stats,
    resend_event,
    resend_message,
    show_event,
    show_message,
)
from basalt.postgres import DatabaseAccess
from tests.jobs.engines import connected
from tests.notify.engine import EACH_STATUS, a_device, a_person, a_template, an_engine, issue

pytestmark = [pytest.mark.req("P13", "H27")]

ADD_ROW = """
insert into public.notification_queue (event_id, user_id, channel, provider, address, status)
values (%s, %s, 'push', 'fcm', 'token', %s)
"""
HAS_WAITING = "select count(*) > 0 from pg_locks where not granted"


async def test_an_operator_sees_resends_and_cancels(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        await a_template(sql, "offer", "push", "Hello")
        ann = await a_person(sql)
        await a_device(sql, ann, "refused-1")
        event = await issue(sql, "offer", ann)
        await sql.becomes({"failed": 1}, EACH_STATUS)
        (listed,) = list_events(notify_database, event_type="offer", status="expanded", most=5)
        assert (listed["id"], listed["recipients"], listed["queued"]) == (event, 1, 1)
        shown = show_event(notify_database, event, most=5)
        assert (shown["failed"], shown["failures"][0]["error_code"]) == (1, "INVALID")
        number = shown["failures"][0]["id"]
        message = show_message(notify_database, number)
        assert message["deliveries"][0]["response_payload"] == {"reason": "no"}
        await sql.rows("update public.notification_queue set address = 'token-1'")
        await sql.rows("update public.notification_channels set address = 'token-1'")
        assert resend_event(notify_database, event) == 1
        await sql.becomes({"failed": 1, "sent": 1}, EACH_STATUS)
        assert resend_message(notify_database, number) == number + 2
        await sql.becomes({"failed": 1, "sent": 2}, EACH_STATUS)
        assert len(courier.keys) == 2
        await sql.rows("update public.notification_channels set user_id = %s", await a_person(sql))
        resend_message(notify_database, number)  # the device is another person's by now
        await sql.becomes({"failed": 2, "sent": 2}, EACH_STATUS)
        later = str(
            await sql.value(
                "select public.issue_notification('offer', %s, scheduled_for => now() + interval '1 hour')",
                ann,
            )
        )
        assert cancel_event(notify_database, later) == 0
        (stats,) = load_stats(notify_database, 24)
        assert (stats["provider"], stats["sent"], stats["failed"]) == ("fcm", 2, 2)


async def test_an_operator_is_told_what_there_is_not(
    notify_database: DatabaseAccess, database: DatabaseAccess
) -> None:
    unknown = "00000000-0000-0000-0000-000000000000"
    for act, code in (
        (lambda: show_event(notify_database, unknown, most=1), "event_not_found"),
        (lambda: cancel_event(notify_database, "nonsense"), "event_not_found"),
        (lambda: show_message(notify_database, 1), "message_not_found"),
        (lambda: list_events(database, event_type=None, status=None, most=1), "notify_off"),
    ):
        with pytest.raises(NotifyError) as caught:
            act()
        assert caught.value.code == code
    async with an_engine(notify_database) as (sql, _):
        await a_template(sql, "offer", "in_app", "Hello")
        await issue(sql, "offer", await a_person(sql))
        await sql.becomes({"delivered": 1}, EACH_STATUS)
        with pytest.raises(NotifyError) as caught:
            resend_message(notify_database, 1)
        assert caught.value.code == "message_in_app"


async def test_a_page_that_is_being_written_is_cancelled_with_its_event(
    notify_database: DatabaseAccess,
) -> None:
    async with connected(notify_database) as sql, connected(notify_database) as expander:
        await a_template(sql, "offer", "push", "Hello")
        ann = await a_person(sql)
        event = await issue(sql, "offer", ann)
        async with expander.connection.transaction():
            await expander.rows(
                "select from public.notification_events where id = %s for no key update", event
            )
            await expander.rows(ADD_ROW, event, ann, "pending")
            cancelling = asyncio.create_task(asyncio.to_thread(cancel_event, notify_database, event))
            await sql.becomes(True, HAS_WAITING)
        assert await cancelling == 1
        assert await sql.value(EACH_STATUS) == {"cancelled": 1}


async def test_what_is_true_no_more_is_cancelled_in_the_transaction_that_changes_it(
    notify_database: DatabaseAccess,
) -> None:
    cancel = "select public.cancel_notification('offer', %s)"
    async with connected(notify_database) as sql:
        await a_template(sql, "offer", "push", "Hello")
        ann = await a_person(sql)
        stale, other = [await issue(sql, "offer", ann, dedup_key=key) for key in ("gig-1", "gig-2")]
        for event in (stale, other):
            for status in ("sent", "held", "digest"):
                await sql.rows(ADD_ROW, event, ann, status)
        assert await sql.value(cancel, "gig-3") == 0
        async with sql.connection.transaction(force_rollback=True):
            assert await sql.value(cancel, "gig-1") == 2
        assert await sql.value(cancel, "gig-1") == 2
        assert await sql.value(cancel, "gig-1") == 0
        statuses = "select array_agg(status order by id) from public.notification_queue where event_id = %s"
        assert await sql.value(statuses, stale) == ["sent", "cancelled", "cancelled"]
        assert await sql.value(statuses, other) == ["sent", "held", "digest"]
        await sql.rows("set role authenticated")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await sql.value(cancel, "gig-2")


async def test_what_was_sent_again_is_not_sent_a_third_time(notify_database: DatabaseAccess) -> None:
    async with connected(notify_database) as sql:
        await a_template(sql, "offer", "push", "Hello")
        ann = await a_person(sql)
        event = await issue(sql, "offer", ann)
        await sql.rows(ADD_ROW, event, ann, "failed")
        assert [resend_event(notify_database, event) for _ in range(2)] == [1, 0]
        await sql.rows("update public.notification_queue set status = 'failed' where status = 'held'")
        assert resend_event(notify_database, event) == 1
