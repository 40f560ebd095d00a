"""The short way of a large fan-out: past the queue while it is clear, and into it with what became of it."""

import pytest
from psycopg.errors import LockNotAvailable

from basalt.postgres import DatabaseAccess
from tests.jobs.engines import Sql, connected
from tests.notify.engine import EACH_STATUS, a_crowd, a_device, a_person, a_template, an_engine, issue

pytestmark = [pytest.mark.req("P13", "M4")]

SHIPPED = "select coalesce(sum(cardinality(ids)), 0) from basalt.notification_shipments"


@pytest.mark.req("M9")
async def test_a_large_page_leaves_past_the_queue(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        await a_template(sql, "offer", "push", "Hello")
        await a_template(sql, "offer", "in_app", "Hello")
        await a_crowd(sql, 40)
        ann = await a_person(sql, email="ann@example.com")
        await a_device(sql, ann, "refused-1")
        courier.mood = "slow"
        event = await issue(sql, "offer", audience={"everyone": True})
        await sql.becomes(41, SHIPPED)
        assert await sql.value(EACH_STATUS) == {"delivered": 41}  # in the app; the others are being sent
        progress = await sql.value("select basalt.notification_progress(%s)", event)
        assert (progress["queued"], progress["waiting"], progress["status"]) == (82, 41, "expanded")
        await sql.becomes({"delivered": 41, "sent": 40, "failed": 1}, EACH_STATUS)
        attempts = (
            "select d.attempt, d.status, count(*) from public.notification_deliveries as d group by 1, 2"
        )
        assert sorted(await sql.rows(attempts)) == [(1, "accepted", 40), (1, "failed", 1)]
        await sql.becomes(0, SHIPPED)


async def test_nobody_who_waits_is_overtaken(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database, knows_keys=True) as (sql, courier):
        await a_template(sql, "offer", "push", "Hello")
        await a_crowd(sql, 600)
        courier.mood = "slow"
        everybody = {"audience": {"everyone": True}}
        first = await issue(sql, "offer", dedup_key="first", **everybody)  # a key: by the queue
        hands_are_full = (
            "select count(*) >= 500 and count(*) filter (where status = 'sent' or locked_until > now()) >= 200"
            " from public.notification_queue"
        )
        await sql.becomes(True, hands_are_full)
        second = await issue(sql, "offer", **everybody)
        await sql.becomes({"sent": 1200}, EACH_STATUS)
        order = [one["key"].partition(".")[0] for one in courier.taken]
        assert order.count(first) == order.count(second) == 600
        assert order[1000:] == [second] * 200  # the dispatcher has 400 in hand at most


DEAD_WORKER = """
with people as (
    select array_agg(c.user_id) as user_ids, array_agg(c.id) as channel_ids, array_agg(c.address) as addresses,
        array_agg(0) as numbers, array_agg(nextval('public.notification_queue_id_seq')) as ids
    from public.notification_channels as c)
insert into basalt.notification_shipments (
    event_id, provider, worker_id, locked_until, ids, user_ids, channel_ids, addresses, text_numbers, texts, priority)
select e.id, 'fcm', gen_random_uuid(), now() + interval '200 milliseconds', p.ids, p.user_ids, p.channel_ids,
    p.addresses, p.numbers, '[{"channel": "push", "fallback": ["email"], "payload": {"body": "Hello"}}]', 5
from people as p, public.notification_events as e
"""


async def test_what_a_dead_worker_was_sending_is_sent_again(notify_database: DatabaseAccess) -> None:
    async with an_engine(notify_database) as (sql, courier):
        await a_template(sql, "offer", "push", "Hello")
        ann, bob = await a_person(sql), await a_person(sql)
        await issue(sql, "offer", ann)  # who has no device yet
        await a_crowd(sql, 30)
        await a_device(sql, bob, "token-bob")
        await sql.rows(DEAD_WORKER)
        await sql.rows("delete from auth.users where id = %s", bob)
        await sql.becomes({"sent": 30}, EACH_STATUS)
        assert courier.requests > 0
        seen = "select attempt, status, error_code, count(*) from public.notification_deliveries group by 1, 2, 3"
        assert sorted(await sql.rows(seen)) == [(1, "unknown", "worker_lost", 30), (2, "accepted", None, 30)]
        assert await sql.value("select distinct fallback from public.notification_queue") == ["email"]


WRITE_SHIPMENT = """
select basalt.settle_shipment(s.id, s.worker_id, (
    select jsonb_agg(jsonb_build_object(
        'id', i, 'status', 'sent', 'delivery', 'accepted', 'message_id', 'message-' || i))
    from unnest(s.ids) as ids(i)))
from basalt.notification_shipments as s
"""
REPORT = """
select basalt.apply_delivery_reports('fcm', jsonb_build_array(jsonb_build_object(
    'id', 'report-1', 'message_id', 'message-' || s.ids[1], 'status', 'delivered', 'at', now())))
from basalt.notification_shipments as s
"""
CHECKED_BY_ENGINE = "select basalt.shipments_are_checked_by_engine()"


async def ship_to_a_crowd(sql: Sql, count: int) -> str:
    """What a worker is sending; the event's id."""
    await a_template(sql, "offer", "push", "Hello")
    event = await issue(sql, "offer", await a_person(sql))
    await a_crowd(sql, count)
    await sql.rows(DEAD_WORKER)
    return event


@pytest.mark.req("M9")
async def test_a_shipment_is_checked_at_once_as_row_by_row(notify_database: DatabaseAccess) -> None:
    async with connected(notify_database) as sql, connected(notify_database) as other:
        event = await ship_to_a_crowd(sql, 30)
        gone = await sql.value(
            "delete from auth.users where id = (select user_ids[2] from"
            " basalt.notification_shipments) returning id"
        )
        await sql.rows(REPORT)
        assert await sql.value(CHECKED_BY_ENGINE)
        await sql.rows("begin")
        assert await sql.value(WRITE_SHIPMENT) == []
        assert await sql.value("show session_replication_role") == "origin"
        await other.rows("set lock_timeout = '100ms'")
        for table, key in (("auth.users", "user_id"), ("public.notification_events", "event_id")):
            row = await sql.value(f"select {key} from public.notification_queue limit 1")
            with pytest.raises(LockNotAvailable):  # nobody deletes what it refers to
                await other.rows(f"delete from {table} where id = %s", row)
        await sql.rows("commit")
        assert await sql.value(EACH_STATUS) == {"delivered": 1, "sent": 28}
        assert not await sql.rows("select from public.notification_queue where user_id = %s", gone)
        await sql.rows("delete from public.notification_events where id = %s", event)
        assert await sql.count("public.notification_deliveries") == 0


TRIGGER = """
create function public.note() returns trigger language plpgsql as $$
begin insert into public.seen values (new.user_id); return new; end $$;
create table public.seen (user_id uuid);
create trigger note before insert on public.notification_queue for each row execute function public.note();
grant insert on public.seen to postgres
"""
FOREIGN_KEY = """
create table public.providers (name text primary key);
alter table public.notification_queue add constraint known foreign key (provider) references public.providers (name)
"""
REVOKED = "revoke set on parameter session_replication_role from postgres"


@pytest.mark.req("M9")
@pytest.mark.parametrize(
    ("change", "queued"), [(TRIGGER, 30), (FOREIGN_KEY, 0)], ids=["a trigger", "a foreign key"]
)
async def test_what_an_app_adds_to_the_queue_holds_for_shipments(
    notify_database: DatabaseAccess, change: str, queued: int
) -> None:
    async with connected(notify_database) as sql:
        await ship_to_a_crowd(sql, 30)
        await sql.rows(change)
        assert not await sql.value(CHECKED_BY_ENGINE)
        assert len(await sql.value(WRITE_SHIPMENT)) == 30 - queued
        assert await sql.value("select count(*) from public.notification_queue") == queued
        if change is TRIGGER:
            assert await sql.count("public.seen") == queued


async def test_a_shipment_needs_no_right_of_a_superuser(notify_database: DatabaseAccess) -> None:
    """A managed database does not let the project turn foreign keys off."""
    async with connected(notify_database, "supabase_admin") as sql:
        await ship_to_a_crowd(sql, 30)
        await sql.rows("begin")
        await sql.rows(REVOKED)
        await sql.rows("set local role postgres")
        assert not await sql.value(CHECKED_BY_ENGINE)
        assert await sql.value(WRITE_SHIPMENT) == []
        assert await sql.value(EACH_STATUS) == {"sent": 30}
        await sql.rows("rollback")  # the grant is the whole cluster's
