"""Events for many people: audiences, pages, languages, preferences, digests; and what becomes of what is wrong."""

import asyncio
from typing import Any

import pytest

from basalt.jobs import Job
from basalt.notify import (
    NotifyJobs,
    cancel_event,
    expansion,
)
from basalt.postgres import DatabaseAccess
from tests.jobs.engines import connected, settings_with
from tests.notify.engine import (
    CONFIG,
    EACH_STATUS,
    Courierhouse,
    a_crowd,
    a_device,
    a_person,
    a_template,
    an_engine,
    issue,
    preferences,
)

pytestmark = [pytest.mark.req("P13", "M4")]

STATE = "select status, recipient_count, queued_count from public.notification_events"
PROBLEMS = "select error -> 'problems' from public.notification_events where event_type = 'offer'"


async def perform(access: DatabaseAccess, name: str, payload: Any, attempt: int = 1) -> Any:
    """One of the engine's jobs, without an engine."""

    async def report(fraction: float, note: str | None) -> None:
        assert 0 <= fraction <= 1

    jobs = NotifyJobs(
        settings_with(CONFIG), access, {}, build_senders=Courierhouse("http://127.0.0.1:1").build
    )
    await jobs.open()
    try:
        job = Job(1, name, "notify", payload, attempt, 4, None, None, None, report)  # type: ignore[arg-type]
        return await jobs.handlers[name](job)
    finally:
        await jobs.close()


async def expand(access: DatabaseAccess, event: str, attempt: int = 1) -> Any:
    return await perform(access, "basalt.notify.expand", {"event_id": event}, attempt)


async def test_everyone_is_told_once_in_pages(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        for channel in ("in_app", "push"):
            await a_template(sql, "offer", channel, "Hello")
        await a_crowd(sql, 120)
        await issue(sql, "offer", audience={"everyone": True})
        await sql.becomes({"sent": 120, "delivered": 120}, EACH_STATUS)
        assert await sql.rows(STATE) == [("expanded", 120, 240)]
        assert len(courier.addresses) == len(set(courier.addresses)) == 120
        assert await sql.value("select count(distinct user_id) from public.notifications") == 120
        assert await sql.count("basalt.notification_expansions") == 0


async def test_an_audience_by_name_and_by_routine(notify_database: DatabaseAccess) -> None:
    async with connected(notify_database) as sql:
        await a_template(sql, "offer", "in_app", "Hello")
        people = [await a_person(sql, name=name) for name in ("Ann", "Bob", "Cid")]
        named = await issue(sql, "offer", audience={"user_ids": [people[0], people[2], people[0]]})
        await expand(notify_database, named)
        told = (
            "select array_agg(user_id::text order by user_id) from public.notifications where event_id = %s"
        )
        assert await sql.value(told, named) == sorted([people[0], people[2]])
        await sql.rows(
            "create function public.called(arguments jsonb) returns setof uuid language sql as $$"
            " select id from auth.users where raw_user_meta_data ->> 'name' = arguments ->> 'name'"
            " and current_user = 'service_role' $$"
        )
        await sql.rows("grant select on auth.users to service_role")
        asked = await issue(sql, "offer", audience={"routine": "public.called", "arguments": {"name": "Bob"}})
        await expand(notify_database, asked)
        assert await sql.value(told, asked) == [people[1]]
        assert await sql.count("basalt.notification_recipients") == 0


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("raise exception 'no followers today'", "audience_failed", "public.called: no followers today"),
        ("perform pg_sleep(30)", "audience_failed", "public.called took longer than 300ms"),
    ],
    ids=["raises", "takes too long"],
)
async def test_a_routine_that_fails_fails_its_event(
    notify_database: DatabaseAccess,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    code: str,
    message: str,
) -> None:
    monkeypatch.setattr("basalt.notify.audience.ROUTINE_TIMEOUT", "300ms")
    async with connected(notify_database) as sql:
        await a_template(sql, "offer", "in_app", "Hello")
        await a_person(sql)
        await sql.rows(
            "create function public.called(arguments jsonb) returns setof uuid language plpgsql as $$ begin"
            f" {body}; return query select gen_random_uuid(); end $$"
        )
        event = await issue(sql, "offer", audience={"routine": "public.called"})
        assert await expand(notify_database, event) == {"failed": code}
        error = await sql.value("select error from public.notification_events where status = 'failed'")
        assert error == {"code": code, "message": message}
        assert await sql.count("public.notification_queue") == 0


@pytest.mark.req("H21")
async def test_each_is_told_in_their_language_and_by_their_name(notify_database: DatabaseAccess) -> None:
    async with connected(notify_database) as sql:
        await a_template(sql, "offer", "in_app", "Hello {{ recipient.name }}")
        await a_template(sql, "offer", "in_app", "Hallo {{ recipient.name or 'du' }}", locale="de")
        await a_person(sql, name="Ann")
        await a_person(sql, locale="de_AT")  # as Facebook and others write it
        await a_person(sql, name="Cid", locale="fr")
        await expand(notify_database, await issue(sql, "offer", audience={"everyone": True}))
        bodies = await sql.rows("select body from public.notifications order by body")
        assert bodies == [("Hallo du",), ("Hello Ann",), ("Hello Cid",)]


@pytest.mark.req("H21")
async def test_a_variable_that_is_missing_fails_the_event_before_anything_is_queued(
    notify_database: DatabaseAccess,
) -> None:
    async with connected(notify_database) as sql:
        await a_template(sql, "offer", "in_app", "Hello")
        await a_template(sql, "offer", "push", "{{ title }}", locale="de")
        await a_crowd(sql, 3)
        event = await issue(sql, "offer", audience={"everyone": True})
        assert await expand(notify_database, event) == {"failed": "template_variable_missing"}
        error = await sql.value("select error from public.notification_events")
        assert error == {
            "code": "template_variable_missing",
            "message": "Template offer/push/de v1: variable 'title' is missing",
        }
        assert await sql.count("public.notification_queue") == 0


@pytest.mark.req("H22")
async def test_what_is_wrong_for_some_is_counted_and_the_others_are_told(
    notify_database: DatabaseAccess,
) -> None:
    async with connected(notify_database) as sql:
        await a_template(sql, "offer", "in_app", "{{ 6 / (recipient.name|length - 3) }}", locale="en")
        people = [await a_person(sql, name=name) for name in ("Anna", "Bob", "Cidre")]
        await a_device(sql, people[0], "token-1")
        await sql.rows("alter table public.notification_preferences disable trigger user")
        await preferences(sql, people[0], channel_settings={"pigeon": {}}, timezone="Mars/Olympus")
        event = await issue(sql, "offer", audience={"user_ids": people}, channels=["in_app", "sms"])
        await sql.rows("delete from auth.users where id = %s", people[2])
        await expand(notify_database, event)
        problems = await sql.value(PROBLEMS)
        assert {code: problem["count"] for code, problem in problems.items()} == {
            "template_not_found": 1,
            "template_failed": 1,
            "preferences_invalid": 1,
            "user_unknown": 1,
        }
        assert problems["preferences_invalid"]["example"] == (
            f"{people[0]}: there is no channel pigeon; there is no time zone Mars/Olympus"
        )
        assert await sql.rows("select user_id::text from public.notifications") == [(people[0],)]
        assert await sql.rows(STATE) == [("expanded", 2, 1)]


async def test_a_channel_that_nobody_delivers_is_said_and_costs_no_other(
    notify_database: DatabaseAccess,
) -> None:
    async with connected(notify_database) as sql:
        for channel in ("in_app", "push"):
            await a_template(sql, "offer", channel, "Hello")
        ann = await a_person(sql)
        await sql.rows(
            "insert into public.notification_channels (user_id, channel, provider, address)"
            " values (%s, 'push', 'apns', 'a')",
            ann,
        )
        await expand(notify_database, await issue(sql, "offer", ann))
        assert await sql.value(PROBLEMS) == {
            "provider_missing": {"count": 1, "example": "nobody delivers to apns"}
        }
        assert await sql.rows(STATE) == [("expanded", 1, 1)]


@pytest.mark.req("H23")
async def test_the_same_happening_is_told_once(notify_database: DatabaseAccess) -> None:
    async with connected(notify_database) as sql:
        await a_template(sql, "offer", "in_app", "Hello")
        ann = await a_person(sql)
        first = await issue(sql, "offer", ann, dedup_key="x" * 400)
        assert await issue(sql, "offer", ann, dedup_key="x" * 400) == first
        await expand(notify_database, first)
        assert await expand(notify_database, first) == {"skipped": True}
        # An event that is expanded again from its beginning, as after a restored backup.
        await sql.rows("update public.notification_events set status = 'pending'")
        await expand(notify_database, first)
        assert await sql.count("public.notifications") == 1


@pytest.mark.req("H22")
async def test_beyond_the_hourly_limit_messages_wait_for_the_next_hours(
    notify_database: DatabaseAccess,
) -> None:
    async with connected(notify_database) as sql:
        for channel in ("in_app", "push"):
            await a_template(sql, "offer", channel, "Hello")
        ann = await a_person(sql)
        await a_device(sql, ann, "token-1")
        await preferences(sql, ann, rate_limit_per_hour=2)
        for _ in range(5):
            await expand(notify_database, await issue(sql, "offer", ann))
        await expand(notify_database, await issue(sql, "offer", ann, priority=0))
        hours = await sql.rows(
            "select status, extract(epoch from date_trunc('hour', scheduled_for) - date_trunc('hour', now())) / 3600"
            " from public.notification_queue where channel = 'push' order by id"
        )
        assert [(status, int(hour)) for status, hour in hours] == [
            ("pending", 0),
            ("pending", 0),
            ("held", 1),
            ("held", 1),
            ("held", 2),
            ("pending", 0),
        ]
        assert await sql.count("public.notifications") == 6


@pytest.mark.req("H22", "H23")
async def test_held_messages_are_sent_when_their_time_has_come(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        await a_template(sql, "offer", "push", "Hello")
        ann = await a_person(sql)
        await a_device(sql, ann, "token-1")
        await preferences(sql, ann, quiet_hours_start="00:00", quiet_hours_end="23:59:59")
        await issue(sql, "offer", ann)
        await sql.becomes({"held": 1}, EACH_STATUS)
        # Its time has come, and still it is quiet: an hour was set, or clocks were.
        await sql.rows("update public.notification_queue set scheduled_for = now()")
        await sql.becomes(
            True, "select scheduled_for > now() and status = 'held' from public.notification_queue"
        )
        assert courier.taken == []
        await sql.rows(
            "update public.notification_preferences set quiet_hours_start = null, quiet_hours_end = null"
        )
        await sql.rows("update public.notification_queue set scheduled_for = now()")
        await sql.becomes({"sent": 1}, EACH_STATUS)
        assert await sql.value("select attempts from public.notification_queue") == 1


@pytest.mark.req("H23", "M5")
async def test_a_digest_is_one_message_about_many(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        await a_template(sql, "offer", "email", "{{ title }} wanted", subject="New")
        ann = await a_person(sql, email="ann@example.com", name="Ann")
        await preferences(sql, ann, digest_frequency="daily")
        for title in ("Bass", "Drums"):
            await issue(sql, "offer", ann, context={"title": title})
        cancelled = await issue(sql, "offer", ann, context={"title": "Horn"})
        await sql.becomes({"digest": 3}, EACH_STATUS)
        cancel_event(notify_database, cancelled)
        await sql.rows("update public.notification_queue set scheduled_for = now() where status = 'digest'")
        await sql.becomes({"sent": 3, "cancelled": 1}, EACH_STATUS)
        assert [(one["subject"], one["body"]) for one in courier.taken] == [
            ("2 notifications", "- New: Bass wanted\n- New: Drums wanted")
        ]
        await a_template(
            sql,
            "digest",
            "email",
            "{% for item in items %}{{ item.body }}; {% endfor %}",
            subject="{{ count }} for {{ recipient.name }}",
        )
        await issue(sql, "offer", ann, context={"title": "Oboe"})
        await sql.becomes(1, "select count(*) from public.notification_queue where status = 'digest'")
        await sql.rows("update public.notification_queue set scheduled_for = now() where status = 'digest'")
        await sql.becomes({"sent": 5, "cancelled": 1}, EACH_STATUS)
        assert (courier.taken[-1]["subject"], courier.taken[-1]["body"]) == ("1 for Ann", "Oboe wanted; ")


async def test_a_cancelled_event_tells_nobody_else(notify_database: DatabaseAccess) -> None:
    async with connected(notify_database) as sql:
        await a_template(sql, "offer", "push", "Hello")
        await a_crowd(sql, 120)
        event = await issue(sql, "offer", audience={"everyone": True})
        waiting = asyncio.Event()

        async def report(fraction: float, note: str | None) -> None:
            waiting.set()
            await asyncio.to_thread(cancel_event, notify_database, event)

        jobs = NotifyJobs(
            settings_with(CONFIG), notify_database, {}, build_senders=Courierhouse("http://127.0.0.1:1").build
        )
        await jobs.open()
        job = Job(1, "e", "notify", {"event_id": event}, 1, 4, None, None, None, report)  # type: ignore[arg-type]
        assert await jobs.handlers["basalt.notify.expand"](job) == {"cancelled": True}
        await jobs.close()
        assert await sql.value(EACH_STATUS) == {"cancelled": 50}
        assert await sql.rows(STATE) == [("cancelled", 50, 50)]
        assert await expand(notify_database, event) == {"skipped": True}


async def test_an_expansion_goes_on_where_another_one_ended(notify_database: DatabaseAccess) -> None:
    async with connected(notify_database) as sql:
        await a_template(sql, "offer", "push", "Hello")
        await a_crowd(sql, 120)
        event = await issue(sql, "offer", audience={"everyone": True})
        await sql.rows(
            "create function public.stop() returns trigger language plpgsql as $$ begin"
            " if (select count(*) from public.notification_queue) >= 100 then raise exception 'full'; end if;"
            " return null; end $$"
        )
        await sql.rows(
            "create trigger stop after insert on public.notification_queue for each statement"
            " execute function public.stop()"
        )
        with pytest.raises(Exception, match="full"):
            await expand(notify_database, event)
        so_far = "select basalt.notification_progress(id) ->> 'recipients' from public.notification_events"
        assert await sql.value(so_far) == "50"
        await sql.rows("drop trigger stop on public.notification_queue")
        assert await expand(notify_database, event) == {"recipients": 120}
        assert await sql.value("select count(distinct user_id) from public.notification_queue") == 120
        assert await sql.count("public.notification_queue") == 120


async def test_an_expansion_that_never_succeeds_fails_its_event(notify_database: DatabaseAccess) -> None:
    async with connected(notify_database) as sql:
        await a_template(sql, "offer", "push", "Hello")
        await a_crowd(sql, 1)
        event = await issue(sql, "offer", audience={"everyone": True})
        await sql.rows("alter table public.notification_queue add constraint none check (channel <> 'push')")
        with pytest.raises(Exception, match="none"):
            await expand(notify_database, event, attempt=4)
        assert (
            await sql.value("select error ->> 'code' from public.notification_events") == "expansion_failed"
        )


@pytest.mark.req("H21", "M8")
async def test_a_costly_template_holds_up_nobody_else(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, _):
        costly = "{% for a in range(9000) %}{% if a % 7 == 3 and a % 5 == 1 %}.{% endif %}{% endfor %}"
        await a_template(sql, "slow", "in_app", "{{ recipient.name }}" + costly)
        await a_template(sql, "quick", "in_app", "Hello")
        people = [await a_person(sql, name=str(number)) for number in range(20)]
        shown = "select count(*)::int from public.notifications where type = %s"
        await issue(sql, "slow", audience={"everyone": True})
        await sql.becomes("expanding", "select status from public.notification_events")
        await issue(sql, "quick", people[0])
        await sql.becomes(1, shown, "quick")
        assert await sql.value(shown, "slow") == 0
        await sql.becomes(20, shown, "slow")


@pytest.mark.req("M4", "M8")
async def test_a_page_that_takes_too_long_is_cut(
    notify_database: DatabaseAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expansion, "PAGE_LIMIT_S", 0.0)
    async with connected(notify_database) as sql:
        await a_template(sql, "offer", "in_app", "Hello {{ recipient.name }}")
        people = [await a_person(sql, name=str(number)) for number in range(3)]
        assert await expand(notify_database, await issue(sql, "offer", audience={"everyone": True})) == {
            "recipients": 3
        }
        told = await sql.rows("select user_id::text from public.notifications order by 1")
        assert told == [(person,) for person in sorted(people)]
        assert await sql.rows(STATE) == [("expanded", 3, 3)]


@pytest.mark.req("H20", "M8")
async def test_routines_that_take_their_time_hold_up_nobody_else(
    notify_database: DatabaseAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expansion, "TURN_LIMIT_S", 0.1)
    monkeypatch.setattr(expansion, "NEXT_TURN_S", 0.1)
    async with an_engine(notify_database) as (sql, _), connected(notify_database) as slow:
        for event_type in ("slow", "quick"):
            await a_template(sql, event_type, "in_app", "Hello")
        await sql.rows(
            "create function public.waiting(arguments jsonb) returns setof uuid language plpgsql as $$ begin"
            " perform pg_advisory_lock_shared(77); perform pg_advisory_unlock_shared(77);"
            " return query select (arguments ->> 'id')::uuid; end $$"
        )
        await slow.rows("select pg_advisory_lock(77)")
        ann = await a_person(sql)
        for _ in range(8):
            audience = {"routine": "public.waiting", "arguments": {"id": ann}}
            await issue(sql, "slow", audience=audience)
        shown = "select count(*)::int from public.notifications where type = %s"
        await issue(sql, "quick", ann)
        await sql.becomes(1, shown, "quick")
        assert await sql.value(shown, "slow") == 0
        await slow.rows("select pg_advisory_unlock(77)")
        await sql.becomes(8, shown, "slow")


@pytest.mark.req("H26")
async def test_retention_is_kept_by_the_worker(notify_database: DatabaseAccess) -> None:
    async with connected(notify_database) as sql:
        await a_template(sql, "offer", "in_app", "Hello")
        ann = await a_person(sql)
        for _ in range(3):
            await expand(notify_database, await issue(sql, "offer", ann))
        await sql.rows(
            "update public.notifications set created_at = now() - interval '100 days' where queue_id = 1"
        )
        await sql.rows("update public.notifications set expires_at = now() where queue_id = 2")
        for address in ("token-1", "token-2"):
            await a_device(sql, ann, address)
        await sql.rows(
            "insert into public.notification_queue (event_id, user_id, channel, channel_id, status, finished_at)"
            " select e.id, c.user_id, 'push', c.id, 'sent', now() from public.notification_channels as c"
            " cross join (select id from public.notification_events limit 1) as e where c.address = 'token-1'"
        )
        async with an_engine(notify_database):
            await sql.becomes(2, "select count(*) from public.notifications")
            await sql.becomes(1, "select count(*) from public.notifications where archived_at is not null")
            used = (
                "select array_agg(address) from public.notification_channels where last_used_at is not null"
            )
            await sql.becomes(["token-1"], used)


async def test_outsiders_cannot_touch_what_the_engine_keeps(notify_database: DatabaseAccess) -> None:
    async with connected(notify_database) as sql:
        allowed = await sql.rows(
            "select r, t, p from unnest(array['anon', 'authenticated']) as r,"
            " unnest(array['basalt.notification_expansions', 'basalt.notification_recipients']) as t,"
            " unnest(array['select', 'insert', 'update', 'delete', 'truncate']) as p"
            " where has_table_privilege(r, t, p)"
        )
        assert allowed == []
        mine = await sql.rows(
            "select p from unnest(array['select', 'insert', 'update', 'delete']) as p"
            " where has_table_privilege('service_role', 'basalt.notification_recipients', p)"
        )
        assert mine == [("select",), ("insert",)]
