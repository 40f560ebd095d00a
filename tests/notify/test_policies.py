"""Each table by REST: what a visitor, somebody else, its person and the service role may do with a row."""

from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from tests.notify.conftest import Connection
from tests.server import Server

pytestmark = [pytest.mark.req("H20", "M8")]

# What Ann has before each caller comes, her messages before their events.
FORGET = """
delete from public.notification_events where subject_id = %(ann)s;
delete from public.notification_channels where user_id = %(ann)s;
delete from public.notification_preferences where user_id = %(ann)s;
delete from public.notifications where user_id = %(ann)s;
delete from public.notification_templates where event_type like 'policies.%%';
"""
TELL = """
with template as (
    insert into public.notification_templates (event_type, channel, body_template) values ('policies.x', 'sms', 'x')
    returning id),
channel as (
    insert into public.notification_channels (user_id, channel, address) values (%(ann)s, 'sms', '+491701234567')
    returning id),
preferences as (
    insert into public.notification_preferences (user_id) values (%(ann)s) returning user_id),
event as (
    insert into public.notification_events (event_type, subject_id, status) values ('policies.x', %(ann)s, 'expanded')
    returning id),
queued as (
    insert into public.notification_queue (event_id, user_id, channel, status)
    select id, %(ann)s, 'push', 'sent' from event returning id),
delivery as (
    insert into public.notification_deliveries (queue_id, attempt, provider, status)
    select id, 1, 'fcm', 'accepted' from queued returning id),
shown as (
    insert into public.notifications (user_id, title) values (%(ann)s, 'New') returning id)
select delivery.id, queued.id, event.id, shown.id, preferences.user_id, channel.id, template.id
from delivery, queued, event, shown, preferences, channel, template
"""
ALL = "read change delete add"
# by visitors, others, the person, the service role
EXPECTED = {
    "notification_deliveries": ("", "", "read", ALL),
    "notification_queue": ("", "", "read", ALL),
    "notification_events": ("", "", "read", ALL),
    "notifications": ("", "", "read change delete", ALL),
    "notification_preferences": ("", "", ALL, ALL),
    "notification_channels": ("", "", ALL, ALL),
    "notification_templates": ("", "", "", ALL),
}


def has_effect(answer: httpx2.Response) -> bool:
    """Rows that it read or wrote."""
    assert answer.status_code in (200, 201, 401, 403), answer.text
    return answer.status_code < 300 and answer.json() != []


def what_may_be_done(client: httpx2.Client, sql: Connection, ann: UUID) -> dict[str, str]:
    """To Ann's rows and in Ann's name, by whoever the client is."""
    with sql.transaction():
        for statement in FORGET.split(";\n")[:-1]:
            sql.execute(statement.encode(), {"ann": ann})
        row = sql.execute(TELL, {"ann": ann}).fetchone()
    assert row is not None
    keys = dict(zip(EXPECTED, map(str, row), strict=True))
    queued, event, person = keys["notification_queue"], keys["notification_events"], str(ann)
    sent = {"status": "sent", "channel": "email"}
    writes: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "notification_deliveries": (
            {"status": "opened"},
            {"queue_id": int(queued), "attempt": 2, "provider": "fcm", "status": "accepted"},
        ),
        "notification_queue": ({"status": "failed"}, {"event_id": event, "user_id": person, **sent}),
        "notification_events": ({"status": "failed"}, {"event_type": "policies.y", "subject_id": person}),
        "notifications": ({"read_at": "2026-01-01T00:00:00Z"}, {"user_id": person, "title": "forged"}),
        "notification_preferences": ({"rate_limit_per_hour": 3}, {"user_id": person}),
        "notification_channels": (
            {"label": "phone"},
            {"user_id": person, "channel": "email", "address": "a@b.cd"},
        ),
        "notification_templates": (
            {"is_active": False},
            {"event_type": "policies.z", "channel": "sms", "body_template": "x"},
        ),
    }
    found = {}
    for table, (change, new) in writes.items():
        key = "user_id" if table == "notification_preferences" else "id"
        place, one = f"/rest/v1/{table}", {key: f"eq.{keys[table]}", "select": key}
        told = {"prefer": "return=representation"}
        answers = {
            "read": client.get(place, params=one),
            "change": client.patch(place, params=one, json=change, headers=told),
            "delete": client.delete(place, params=one, headers=told),
            "add": client.post(place, params={"select": key}, json=new, headers=told),
        }
        found[table] = " ".join(name for name, answer in answers.items() if has_effect(answer))
    return found


def test_who_may_do_what_with_a_row_of_each_table(notified: Server, sql: Connection) -> None:
    with notified.client() as client:
        sessions = [
            client.post(
                "/auth/v1/signup", json={"email": f"{uuid4()}@example.com", "password": "long enough"}
            )
            for _ in range(2)
        ]
    ann, bob = (answer.json() for answer in sessions)
    callers = (
        notified.client(),
        notified.client(token=bob["access_token"]),
        notified.client(token=ann["access_token"]),
        notified.client(notified.secret_key),
    )
    for number, caller in enumerate(callers):
        with caller as client:
            found = what_may_be_done(client, sql, UUID(ann["user"]["id"]))
        assert found == {table: rights[number] for table, rights in EXPECTED.items()}, number


def test_people_write_only_the_columns_that_are_theirs(sql: Connection) -> None:
    """By `insert` and by `update`; what else somebody sends is refused as a whole."""
    rows = sql.execute(
        "select c.relname, p.name, string_agg(a.attname, ' ' order by a.attname)"
        " from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped,"
        " unnest(array['insert', 'update']) as p(name)"
        " where c.oid = any (%s::regclass[]) and has_column_privilege('authenticated', c.oid, a.attnum, p.name)"
        " group by 1, 2 order by 1, 2",
        [[f"public.{table}" for table in EXPECTED]],
    ).fetchall()
    settings = "channel_settings digest_frequency locale quiet_hours_end quiet_hours_start rate_limit_per_hour timezone"
    assert rows == [
        ("notification_channels", "insert", "address channel is_enabled label provider user_id"),
        ("notification_channels", "update", "is_enabled label"),
        ("notification_preferences", "insert", f"{settings} user_id"),
        ("notification_preferences", "update", f"{settings} user_id"),
        ("notifications", "update", "archived_at read_at"),
    ]


def test_clients_may_call_what_is_for_apps_and_nothing_else(sql: Connection) -> None:
    rows = sql.execute(
        "select r.name, p.proname from pg_proc as p, unnest(array['anon', 'authenticated']) as r(name)"
        " where p.pronamespace = any (array['public', 'basalt']::regnamespace[])"
        " and p.proname ~ 'notif|deliver|queue_item|early_report'"
        " and has_function_privilege(r.name, p.oid, 'execute') order by 1, 2"
    ).fetchall()
    assert rows == [
        ("authenticated", "archive_notifications"),
        ("authenticated", "mark_notifications_read"),
        ("authenticated", "mark_queue_item_read"),
        ("authenticated", "register_notification_channel"),
        ("authenticated", "unread_notification_counts"),
    ]


@pytest.mark.req("H26")
def test_realtime_tells_of_nothing_but_what_the_app_shows(sql: Connection) -> None:
    """Which rows of it a person hears of is in `notifications.mjs`."""
    rows = sql.execute(
        "select tablename from pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'public'"
    ).fetchall()
    assert rows == [("notifications",)]


def test_every_reference_of_the_engines_tables_has_an_index(sql: Connection) -> None:
    """Deleting a template, an account or an event does not read whole tables."""
    rows = sql.execute(
        """
        select c.conrelid::regclass::text, a.attname
        from pg_constraint as c
        join pg_attribute as a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
        where c.contype = 'f' and c.conrelid::regclass::text ~ '^(public\\.)?notification'
            and c.conrelid <> 'public.notification_queue'::regclass
            and not exists (
                select from pg_index as i where i.indrelid = c.conrelid and i.indkey[0] = c.conkey[1])
        """
    ).fetchall()
    assert rows == []
