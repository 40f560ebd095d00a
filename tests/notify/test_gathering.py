"""Digests whose people or events are no longer what they were when the first message was kept for them."""

import pytest

from basalt.postgres import DatabaseAccess
from tests.jobs.engines import Sql, connected
from tests.notify.engine import EACH_STATUS, a_person, a_template, issue, preferences
from tests.notify.test_fan_out import expand, perform

pytestmark = [pytest.mark.req("P13", "H23", "M5")]

DUE = "update public.notification_queue set scheduled_for = now() where status = 'digest'"


async def somebody_with_a_digest(access: DatabaseAccess, sql: Sql, *event_types: str) -> str:
    """A person for whom one message of each type is kept and due."""
    ann = await a_person(sql, email="ann@example.com")
    await preferences(sql, ann, digest_frequency="weekly")
    for event_type in event_types:
        await a_template(sql, event_type, "email", "Hello", subject=event_type)
        await expand(access, await issue(sql, event_type, ann))
    await sql.rows(DUE)
    return ann


async def test_the_digest_of_a_deleted_account_is_cancelled_and_costs_no_other(
    notify_database: DatabaseAccess,
) -> None:
    async with connected(notify_database) as sql:
        gone = await somebody_with_a_digest(notify_database, sql, "offer")
        await sql.rows("update auth.users set deleted_at = now() where id = %s", gone)
        bob = await a_person(sql, email="bob@example.com")
        await preferences(sql, bob, digest_frequency="weekly")
        await expand(notify_database, await issue(sql, "offer", bob))
        await sql.rows(DUE)
        assert await perform(notify_database, "basalt.notify.digest", {}) == {"digests": 1}
        assert await sql.value(EACH_STATUS) == {"cancelled": 1, "sent": 1, "pending": 1}


@pytest.mark.req("H22")
async def test_a_digest_leaves_out_what_its_reader_has_turned_off_since(
    notify_database: DatabaseAccess,
) -> None:
    async with connected(notify_database) as sql:
        ann = await somebody_with_a_digest(notify_database, sql, "offer", "gossip")
        off = '{"events": {"gossip": {"enabled": false}}}'
        await sql.rows(
            "update public.notification_preferences set channel_settings = %s where user_id = %s", off, ann
        )
        assert await perform(notify_database, "basalt.notify.digest", {}) == {"digests": 1}
        body = "select payload ->> 'body' from public.notification_queue where status = 'pending'"
        assert await sql.rows(body) == [("- offer: Hello",)]
        assert await sql.value(EACH_STATUS) == {"cancelled": 1, "sent": 1, "pending": 1}
