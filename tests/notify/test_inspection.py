"""What an operator does while the engine is at work, and does twice."""

import asyncio

import psycopg
import pytest

from basalt.notify import cancel_event, resend_event
from basalt.postgres import DatabaseAccess
from tests.jobs.engines import connected
from tests.notify.engine import EACH_STATUS, a_person, a_template, issue

pytestmark = [pytest.mark.req("P13", "H27")]

ADD_ROW = """
insert into public.notification_queue (event_id, user_id, channel, provider, address, status)
values (%s, %s, 'push', 'fcm', 'token', %s)
"""
HAS_WAITING = "select count(*) > 0 from pg_locks where not granted"


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
