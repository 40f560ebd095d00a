"""From an event to a provider: what a person gets, by which way, and what is written down about it."""

from datetime import UTC, datetime
from typing import Any, LiteralString

import pytest

from basalt.postgres import DatabaseAccess
from tests.jobs.engines import Sql, connected
from tests.notify.engine import (
    EACH_STATUS,
    Courierhouse,
    a_crowd,
    a_device,
    a_person,
    a_template,
    an_engine,
    issue,
    preferences,
    running_notify,
)

pytestmark = [pytest.mark.req("P13")]


@pytest.mark.req("H20", "H24")
async def test_an_event_reaches_a_person_by_every_way(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        for channel in ("in_app", "push", "email"):
            await a_template(sql, "gig.new", channel, "{{ title }} is new", subject="New: {{ title }}")
        ann = await a_person(sql, email="ann@example.com")
        await a_device(sql, ann, "token-1")
        event = await issue(sql, "gig.new", ann, context={"title": "Bass", "data": {"gig": 7}})
        await sql.becomes({"delivered": 1, "sent": 2}, EACH_STATUS)
        assert courier.addresses == ["ann@example.com", "token-1"]
        push = next(one for one in courier.taken if one["address"] == "token-1")
        assert (push["subject"], push["body"]) == ("New: Bass", "Bass is new")
        assert push["data"] == {"gig": 7, "event_id": event, "type": "gig.new"}
        shown = await sql.rows("select user_id::text, title, body, data ->> 'gig' from public.notifications")
        assert shown == [(ann, "New: Bass", "Bass is new", "7")]
        deliveries = await sql.rows(
            "select attempt, provider, status from public.notification_deliveries order by provider"
        )
        assert deliveries == [(1, "fcm", "accepted"), (1, "smtp", "accepted")]
        state = await sql.rows(
            "select status, recipient_count, queued_count, error from public.notification_events"
        )
        assert state == [("expanded", 1, 3, None)]


@pytest.mark.req("H24", "M4")
async def test_what_is_not_taken_is_tried_again_with_the_same_key(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        await a_template(sql, "offer", "push", "Hello")
        ann = await a_person(sql)
        await a_device(sql, ann, "late-1")
        await issue(sql, "offer", ann)
        await sql.becomes({"sent": 1}, EACH_STATUS)
        assert courier.tries["late-1"] == 2
        attempts = await sql.rows(
            "select attempt, status, error_code, provider_message_id from public.notification_deliveries order by id"
        )
        assert attempts == [(1, "retrying", "UNAVAILABLE", None), (2, "accepted", None, "m-1")]
        row = await sql.rows(
            "select attempts, locked_by, finished_at is not null from public.notification_queue"
        )
        assert row == [(2, None, True)]


@pytest.mark.req("H24")
async def test_a_refused_message_is_followed_by_the_next_channel(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        for channel in ("push", "email", "sms"):
            await a_template(sql, "offer", channel, f"By {channel}")
        ann = await a_person(sql, email="refused-ann@example.com", phone="491701234567")
        await a_device(sql, ann, "refused-1")
        await issue(sql, "offer", ann, channels=["push"])
        await sql.becomes({"failed": 2, "sent": 1}, EACH_STATUS)
        assert [(one["address"], one["body"]) for one in courier.taken] == [("+491701234567", "By sms")]
        rows = await sql.rows(
            "select channel, status, error_code, fallback from public.notification_queue order by id"
        )
        assert rows == [
            ("push", "failed", "INVALID", ["email", "sms"]),
            ("email", "failed", "INVALID", ["sms"]),
            ("sms", "sent", None, []),
        ]


@pytest.mark.req("H22", "H24")
async def test_a_channel_that_was_turned_off_since_is_no_fall_back(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        for channel in ("push", "email", "sms"):
            await a_template(sql, "offer", channel, f"By {channel}")
        ann = await a_person(sql, email="ann@example.com", phone="491701234567")
        await a_device(sql, ann, "refused-1")
        courier.moods = ["busy"]  # for a second
        await issue(sql, "offer", ann, channels=["push"])
        await sql.becomes(1, "select attempts from public.notification_queue where fallback = '{email,sms}'")
        await preferences(sql, ann, channel_settings={"email": {"enabled": False}})
        await sql.becomes({"failed": 1, "sent": 1}, EACH_STATUS)
        assert [(one["address"], one["body"]) for one in courier.taken] == [("+491701234567", "By sms")]


@pytest.mark.req("H24", "M4")
async def test_a_dead_device_is_given_up_and_another_one_is_enough(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        for channel in ("push", "email"):
            await a_template(sql, "offer", channel, "Hello")
        ann = await a_person(sql, email="ann@example.com")
        dead = await a_device(sql, ann, "dead-1")
        await a_device(sql, ann, "token-1")
        await issue(sql, "offer", ann, channels=["push"])
        await sql.becomes({"failed": 1, "sent": 1}, EACH_STATUS)
        channel = "select is_enabled, disabled_reason from public.notification_channels where id = %s"
        assert await sql.rows(channel, dead) == [(False, "UNREGISTERED")]
        bob = await a_person(sql, email="bob@example.com")
        await a_device(sql, bob, "dead-2")
        await a_device(sql, bob, "dead-3")
        await issue(sql, "offer", bob, channels=["push"])
        await sql.becomes({"failed": 3, "sent": 2}, EACH_STATUS)
        assert courier.addresses == ["bob@example.com", "token-1"]
        await sql.becomes(0, "select count(*) from basalt.jobs")  # nobody fell back for Ann
        assert await sql.count("public.notification_queue") == 5


@pytest.mark.req("H24", "M4")
async def test_a_provider_that_is_down_costs_attempts_and_then_its_turn(
    notify_database: DatabaseAccess,
) -> None:
    async with an_engine(notify_database) as (sql, courier):
        for channel in ("push", "email"):
            await a_template(sql, "offer", channel, "Hello")
        ann = await a_person(sql, email="ann@example.com")
        await a_device(sql, ann, "token-1")
        courier.moods = ["broken", "broken", "broken"]
        await issue(sql, "offer", ann, channels=["push"])
        await sql.becomes({"failed": 1, "sent": 1}, EACH_STATUS)
        tries = "select array_agg(d.status order by d.id) from public.notification_deliveries as d"
        assert await sql.value(tries) == ["retrying", "retrying", "failed", "accepted"]
        assert courier.addresses == ["ann@example.com"]


@pytest.mark.req("M4")
async def test_a_provider_that_asks_for_patience_is_given_it(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        await a_template(sql, "offer", "push", "Hello")
        ann = await a_person(sql)
        await a_device(sql, ann, "token-1")
        courier.moods = ["busy"]
        await issue(sql, "offer", ann)
        await sql.becomes({"sent": 1}, EACH_STATUS)
        pause = "select max(created_at) - min(created_at) >= interval '1 second' from public.notification_deliveries"
        assert await sql.value(pause) is True


@pytest.mark.req("M4")
async def test_no_answer_is_tried_again_and_a_provider_that_knows_keys_takes_it_once(
    notify_database: DatabaseAccess,
) -> None:
    async with an_engine(notify_database, knows_keys=True) as (sql, courier):
        await a_template(sql, "offer", "push", "Hello")
        ann = await a_person(sql)
        await a_device(sql, ann, "token-1")
        courier.moods = ["silent"]
        await issue(sql, "offer", ann)
        await sql.becomes({"sent": 1}, EACH_STATUS)
        assert courier.tries["token-1"] == 2
        assert set(courier.keys.values()) == {1}
        tries = "select array_agg(d.status order by d.id) from public.notification_deliveries as d"
        assert await sql.value(tries) == ["unknown", "accepted"]


@pytest.mark.req("M4")
async def test_half_of_a_batch_is_tried_again_and_the_other_half_is_not(
    notify_database: DatabaseAccess,
) -> None:
    async with an_engine(notify_database) as (sql, courier):
        await a_template(sql, "offer", "push", "Hello")
        await a_crowd(sql, 20)
        courier.moods = ["half"]
        await issue(sql, "offer", audience={"everyone": True})
        await sql.becomes({"sent": 20}, EACH_STATUS)
        assert len(courier.addresses) == len(set(courier.addresses)) == 20


@pytest.mark.req("H23")
async def test_what_has_expired_is_not_sent(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        await a_template(sql, "offer", "push", "Hello")
        ann = await a_person(sql)
        await a_device(sql, ann, "token-1")
        await preferences(sql, ann, quiet_hours_start="00:00", quiet_hours_end="23:59:59")
        await issue(sql, "offer", ann)
        await sql.becomes({"held": 1}, EACH_STATUS)
        await sql.rows("update public.notification_queue set expires_at = now(), scheduled_for = now()")
        await sql.becomes({"expired": 1}, EACH_STATUS)
        assert courier.taken == []


@pytest.mark.req("M4")
async def test_rows_of_a_dispatcher_that_died_are_taken_over(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        await a_template(sql, "offer", "push", "Hello")
        ann = await a_person(sql)
        await a_device(sql, ann, "token-1")
        await preferences(sql, ann, rate_limit_per_hour=1)
        event = await issue(sql, "offer", ann)
        await sql.becomes({"sent": 1}, EACH_STATUS)
        await sql.rows(
            "update public.notification_queue set status = 'pending', attempts = 1, finished_at = null,"
            " locked_by = gen_random_uuid(), locked_until = now() - interval '1 second'"
        )
        await sql.becomes({"sent": 1}, EACH_STATUS)
        assert courier.keys == {f"{event}.1": 2}
        tries = "select array_agg(d.status order by d.id) from public.notification_deliveries as d"
        assert await sql.value(tries) == ["accepted", "unknown", "accepted"]
        # One that was tried as often as it may be has failed: its workers died of it.
        await sql.rows(
            "update public.notification_queue set status = 'pending', attempts = 3, finished_at = null,"
            " locked_by = gen_random_uuid(), locked_until = now() - interval '1 second'"
        )
        await sql.becomes({"failed": 1}, EACH_STATUS)
        assert await sql.value("select error_code from public.notification_queue") == "worker_lost"


@pytest.mark.req("M8")
async def test_rows_of_a_provider_that_is_gone_find_another_one_or_fail(
    notify_database: DatabaseAccess,
) -> None:
    async with an_engine(notify_database) as (sql, courier):
        await a_template(sql, "offer", "push", "Hello")
        ann = await a_person(sql)
        await a_device(sql, ann, "token-1")
        await issue(sql, "offer", ann)
        await sql.becomes({"sent": 1}, EACH_STATUS)
        again = (
            "update public.notification_queue set status = 'pending', provider = 'inbox', finished_at = null"
        )
        await sql.rows(again)
        await sql.becomes({"sent": 1}, EACH_STATUS)
        assert len(courier.taken) == 2
        await sql.rows("alter table public.notification_channels disable trigger user")
        await sql.rows("update public.notification_channels set provider = 'apns'")
        await sql.rows(again)
        await sql.becomes({"failed": 1}, EACH_STATUS)
        assert await sql.value("select error_code from public.notification_queue") == "provider_missing"


async def test_without_any_provider_the_app_is_told_and_old_messages_fail(
    notify_database: DatabaseAccess,
) -> None:
    async with connected(notify_database) as sql:
        for channel in ("in_app", "push"):
            await a_template(sql, "offer", channel, "Hello")
        ann = await a_person(sql)
        await a_device(sql, ann, "token-1")
        async with running_notify(notify_database, Courierhouse("http://127.0.0.1:1", names=())):
            event = await issue(sql, "offer", ann)
            await sql.becomes({"delivered": 1}, EACH_STATUS)
            await sql.rows(
                "insert into public.notification_queue (event_id, user_id, channel, provider, address)"
                " values (%s, %s, 'push', 'fcm', 'token-1')",
                event,
                ann,
            )
            await sql.becomes({"delivered": 1, "failed": 1}, EACH_STATUS)


async def test_a_trigger_that_raises_for_one_row_holds_up_no_other(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, _):
        await sql.rows(
            "create function public.refuse() returns trigger language plpgsql as $$ begin"
            " if new.address like 'bad-%' and new.status = 'sent' then raise exception 'no'; end if;"
            " return new; end $$"
        )
        await sql.rows(
            "create trigger refuse before insert or update on public.notification_queue"
            " for each row execute function public.refuse()"
        )
        await a_template(sql, "offer", "push", "Hello")
        await a_crowd(sql, 30)
        ann = await a_person(sql)
        await a_device(sql, ann, "bad-token")
        await issue(sql, "offer", audience={"everyone": True})
        await sql.becomes({"sent": 30}, EACH_STATUS)
        await issue(sql, "offer", ann)
        await sql.becomes({"sent": 30, "pending": 1}, EACH_STATUS)
        await sql.becomes(0, "select count(*) from basalt.notification_shipments")


@pytest.mark.req("P16", "M7")
async def test_one_request_id_goes_from_the_caller_to_the_provider(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        for channel in ("push", "email"):
            await a_template(sql, "offer", channel, "Hello")
        ann = await a_person(sql, email="ann@example.com")
        await a_device(sql, ann, "refused-1")
        await sql.rows(
            "select set_config('request.headers', '{\"x-request-id\": \"from-the-client\"}', false)"
        )
        await issue(sql, "offer", ann, channels=["push"])
        await sql.becomes({"failed": 1, "sent": 1}, EACH_STATUS)
        assert [one["request_id"] for one in courier.taken] == ["from-the-client"]  # after a fall-back, too


HOLD_NO_MORE = "update public.notification_queue set scheduled_for = now() where status = 'held'"


async def a_held_message(sql: Sql, user_id: str, event_type: str = "offer", **arguments: Any) -> str:
    """Beside one that has left and with which the person's limit of one an hour is used up."""
    await preferences(sql, user_id, rate_limit_per_hour=1)
    await issue(sql, "first", user_id)
    await sql.becomes(1, "select count(*)::int from public.notification_queue where status = 'sent'")
    event = await issue(sql, event_type, user_id, **arguments)
    await sql.becomes(True, "select count(*) > 0 from public.notification_queue where status = 'held'")
    return event


@pytest.mark.req("H22", "H24")
async def test_what_waited_does_not_reach_the_next_owner_of_a_device(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        for event_type, channel in (("first", "email"), ("offer", "push"), ("offer", "email")):
            await a_template(sql, event_type, channel, f"{event_type} by {channel}", subject="New")
        ann, bob = await a_person(sql, email="ann@example.com"), await a_person(sql)
        device = await a_device(sql, ann, "phone")
        await a_held_message(sql, ann, channels=["push"])
        await sql.rows("delete from public.notification_channels where id = %s", device)
        await a_device(sql, bob, "phone")
        await sql.rows(HOLD_NO_MORE)
        await sql.becomes(
            "email held, email sent, push failed address_gone",
            "select string_agg(concat_ws(' ', channel, status, error_code), ', ' order by channel, status)"
            " from public.notification_queue",
        )
        assert courier.addresses == ["ann@example.com"]


@pytest.mark.req("H22")
async def test_what_waited_goes_to_the_address_that_somebody_has_by_then(
    notify_database: DatabaseAccess,
) -> None:
    async with an_engine(notify_database) as (sql, courier):
        await a_template(sql, "first", "email", "Hello", subject="Hello")
        await a_template(sql, "offer", "push", "Hello {{ recipient.name }}")
        ann = await a_person(sql, email="ann@example.com", name="Ann")
        device = await a_device(sql, ann, "old")
        await a_held_message(sql, ann)
        await sql.rows("delete from public.notification_channels where id = %s", device)
        await a_device(sql, ann, "new")
        await sql.rows("update public.notification_preferences set rate_limit_per_hour = null")
        await sql.rows(HOLD_NO_MORE)
        await sql.becomes({"sent": 2, "failed": 1}, EACH_STATUS)
        assert courier.addresses == ["ann@example.com", "new"]
        assert courier.taken[-1]["body"] == "Hello Ann"


@pytest.mark.req("H22")
@pytest.mark.parametrize(
    ("change", "error_code"),
    [
        (
            """update public.notification_preferences set channel_settings = '{"push": {"enabled": false}}'""",
            "not_wanted",
        ),
        (
            "update public.notification_preferences"
            """ set channel_settings = '{"events": {"offer": {"enabled": false}}}'""",
            "not_wanted",
        ),
        ("update public.notification_preferences set rate_limit_per_hour = 0", "not_wanted"),
        ("update auth.users set deleted_at = now()", "user_unknown"),
    ],
)
async def test_what_waited_and_is_not_wanted_any_more_is_not_sent(
    notify_database: DatabaseAccess, change: LiteralString, error_code: str
) -> None:
    async with an_engine(notify_database) as (sql, courier):
        await a_template(sql, "first", "email", "Hello", subject="Hello")
        await a_template(sql, "offer", "push", "Hello")
        ann = await a_person(sql, email="ann@example.com")
        await a_device(sql, ann, "phone")
        await a_held_message(sql, ann)
        await sql.rows(change)
        await sql.rows(HOLD_NO_MORE)
        await sql.becomes({"sent": 1, "cancelled": 1}, EACH_STATUS)
        ends = "select error_code, attempts from public.notification_queue where status = 'cancelled'"
        assert await sql.rows(ends) == [(error_code, 0)]
        assert courier.addresses == ["ann@example.com"]


@pytest.mark.req("H22")
async def test_a_message_that_stood_in_line_until_the_night_waits_for_the_morning(
    notify_database: DatabaseAccess,
) -> None:
    async with an_engine(notify_database) as (sql, courier):
        await a_template(sql, "offer", "push", "Hello")
        ann = await a_person(sql)
        await a_device(sql, ann, "late-1")
        await issue(sql, "offer", ann, scheduled_for=datetime.now(UTC))
        await sql.becomes({"sent": 1}, EACH_STATUS)
        # As one that a provider had no time for, and was left for an hour.
        await preferences(sql, ann, quiet_hours_start="00:00", quiet_hours_end="23:59:59")
        await sql.rows(
            "update public.notification_queue set status = 'pending', finished_at = null, scheduled_for = now(),"
            " created_at = now() - interval '1 hour'"
        )
        await sql.becomes({"held": 1}, EACH_STATUS)
        assert courier.tries["late-1"] == 2


MISSED_REPORT = """
insert into basalt.early_delivery_reports (provider, message_id, report_id, report)
select d.provider, d.provider_message_id, 'r-1', jsonb_build_object(
    'id', 'r-1', 'message_id', d.provider_message_id, 'status', 'delivered', 'at', now())
from public.notification_deliveries as d
"""


@pytest.mark.req("H25")
async def test_a_report_that_missed_its_delivery_is_applied_soon(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, _):
        await a_template(sql, "offer", "email", "Hello")
        await issue(sql, "offer", await a_person(sql, email="ann@example.com"))
        await sql.becomes({"sent": 1}, EACH_STATUS)
        await sql.rows(MISSED_REPORT)
        await sql.becomes({"delivered": 1}, EACH_STATUS)
