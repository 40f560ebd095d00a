"""The engine's tables and routines as SQL sees them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from basalt.notify import Template, render
from basalt.postgres import DatabaseAccess, apply_module
from tests.notify.conftest import NOTIFY_SETTINGS, Connection, a_user

pytestmark = [pytest.mark.req("P13", "H20")]


@contextmanager
def refused(connection: Connection, sqlstate: str, message: str, case: str = "") -> Iterator[None]:
    """The statement inside is refused so; what was done before it stays."""
    with pytest.raises(psycopg.Error, match=message) as info, connection.transaction():
        yield
    assert info.value.sqlstate == sqlstate, case


def a_template(
    connection: Connection, event_type: str, channel: str, body: str, schema: object = None, **named: str
) -> None:
    connection.execute(
        "select public.save_notification_template(%s, %s, %s, subject => %s, metadata_schema => %s, locale => %s)",
        [
            event_type,
            channel,
            body,
            named.get("subject", "S"),
            Jsonb(schema or {}),
            named.get("locale", "en"),
        ],
    )


def issue(connection: Connection, event_type: str, **named: object) -> UUID:
    arguments = ", ".join(f"{name} => %({name})s" for name in named)
    row = connection.execute(
        f"select public.issue_notification(%(event_type)s{', ' if named else ''}{arguments})",
        {
            "event_type": event_type,
            **{name: Jsonb(value) if isinstance(value, dict) else value for name, value in named.items()},
        },
    ).fetchone()
    assert row is not None
    event_id: UUID = row[0]
    return event_id


def queue_row(connection: Connection, event_id: UUID, user_id: UUID, channel: str, **columns: object) -> int:
    values = {"event_id": event_id, "user_id": user_id, "channel": channel, **columns}
    row = connection.execute(
        f"insert into public.notification_queue ({', '.join(values)}) values"
        f" ({', '.join(f'%({name})s' for name in values)}) returning id",
        values,
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_second_application_changes_nothing(notify_database: DatabaseAccess) -> None:
    assert apply_module(notify_database, "notify", NOTIFY_SETTINGS) == []


def test_changed_settings_reach_the_routines(notify_database: DatabaseAccess) -> None:
    apply_module(notify_database, "notify", {**NOTIFY_SETTINGS, "max_context_bytes": 1024})
    with psycopg.connect(notify_database.conninfo("postgres")) as connection:
        ann = a_user(connection, "ann@example.com")
        a_template(connection, "gig.new", "in_app", "x")
        with refused(connection, "PT413", "context has 2009 bytes, more than 1024"):
            issue(connection, "gig.new", subject_id=ann, context={"a": "x" * 2000})


def test_the_tables_are_the_projects_to_extend_and_described(connection: Connection) -> None:
    connection.execute("alter table public.notifications add column pinned boolean not null default false")
    undescribed = connection.execute(
        "select c.relname from pg_class as c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'"
        " and c.relname ~ '^notification' and (obj_description(c.oid) is null or not c.relrowsecurity"
        " or pg_get_userbyid(c.relowner) <> 'postgres')"
    ).fetchall()
    assert undescribed == []
    published = connection.execute(
        "select tablename from pg_publication_tables where pubname = 'supabase_realtime'"
    ).fetchall()
    assert ("notifications",) in published


def test_people_are_reached_by_confirmed_addresses_and_devices(connection: Connection) -> None:
    ann = a_user(connection, "Ann@example.com", phone="491701234567", locale="de-AT")
    connection.execute(
        "insert into public.notification_channels (user_id, channel, provider, address)"
        " values (%(id)s, 'push', 'fcm', ' token '), (%(id)s, 'email', null, 'other@example.com')",
        {"id": ann},
    )

    def addresses() -> list[tuple[Any, ...]]:
        return connection.execute(
            "select a.channel, a.provider, a.address from auth.users as u, basalt.notification_addresses("
            "u, array['email', 'push', 'sms']) as a where u.id = %s order by a.channel, a.address",
            [ann],
        ).fetchall()

    push, sms = ("push", "fcm", "token"), ("sms", None, "+491701234567")
    assert addresses() == [("email", None, "ann@example.com"), push, sms]

    disable = "select basalt.disable_notification_address(%s, %s, %s, 'bounced', %s)"
    assert connection.execute(disable, ["email", "ann@example.com", None, ann]).fetchone() == (1,)
    assert connection.execute(disable, ["push", "token", "fcm", ann]).fetchone() == (1,)
    assert addresses() == [sms]
    assert connection.execute(disable, ["push", "token", "fcm", ann]).fetchone() == (0,)

    connection.execute("update public.notification_channels set is_enabled = true where channel = 'email'")
    connection.execute(
        "update public.notification_channels set verified = true where address = 'other@example.com'"
    )
    assert [row[2] for row in addresses()] == ["ann@example.com", "other@example.com", "+491701234567"]


@pytest.mark.req("H14")
def test_an_event_is_written_and_put_before_the_workers(connection: Connection, ann: UUID) -> None:
    a_template(connection, "gig.new", "in_app", "Hello {{ name }}")
    connection.execute("select set_config('request.headers', '{\"x-request-id\": \"r-1\"}', true)")
    event_id = issue(connection, "gig.new", subject_id=ann, context={"name": "Ann"})
    later = issue(connection, "gig.new", subject_id=ann, priority=0)
    jobs = connection.execute(
        "select name, queue, key, payload, priority, request_id from basalt.jobs order by id"
    ).fetchall()
    assert jobs == [
        ("basalt.notify.expand", "notify", str(event_id), {"event_id": str(event_id)}, 5, "r-1"),
        ("basalt.notify.expand", "notify", str(later), {"event_id": str(later)}, 0, "r-1"),
    ]


@pytest.mark.req("H23")
def test_an_event_waits_for_its_time(connection: Connection, ann: UUID) -> None:
    a_template(connection, "gig.new", "in_app", "x")
    at = connection.execute("select now() + interval '1 hour'").fetchone()
    assert at is not None
    issue(connection, "gig.new", subject_id=ann, scheduled_for=at[0])
    assert connection.execute("select state, run_at from basalt.jobs").fetchall() == [("scheduled", at[0])]


@pytest.mark.req("H23")
def test_the_same_key_is_the_same_event(connection: Connection, ann: UUID) -> None:
    a_template(connection, "gig.new", "in_app", "x")
    first = issue(connection, "gig.new", subject_id=ann, dedup_key="k")
    assert issue(connection, "gig.new", subject_id=ann, dedup_key="k") == first
    assert issue(connection, "gig.new", subject_id=ann, dedup_key="l") != first
    assert connection.execute("select count(*) from basalt.jobs").fetchone() == (2,)


WHO = "00000000-0000-0000-0000-00000000000f"
REFUSED_EVENTS: dict[str, tuple[dict[str, object], str, str]] = {
    "unknown type": ({"event_type": "nope"}, "PT404", "no active template for event type nope"),
    "no template by this channel": ({"channels": ["sms"]}, "PT404", "no active template"),
    "unknown channel": ({"channels": ["pigeon"]}, "PT400", "there is no channel pigeon"),
    "no channel": ({"channels": []}, "PT400", "channels is empty"),
    "unknown user": ({"subject_id": WHO}, "PT404", f"subject_id: there is no user {WHO}"),
    "unknown actor": ({"actor_id": WHO}, "PT404", f"actor_id: there is no user {WHO}"),
    "missing variable": (
        {"context": {"n": 1}},
        "PT400",
        "Variable 'name' is missing: template gig.new/in_app/en",
    ),
    "variable of another type": ({"context": {"name": 1}}, "PT400", "'name' is of type number.*needs string"),
    "no whole number": (
        {"context": {"name": "a", "n": 1.5}},
        "PT400",
        "'n' is of type number.*needs integer",
    ),
    "both": ({"audience": {"everyone": True}}, "PT400", "a subject_id or an audience, one of them"),
    "neither": ({"subject_id": None}, "PT400", "a subject_id or an audience, one of them"),
    "strange audience": ({"subject_id": None, "audience": {"all": 1}}, "PT400", "audience is one of"),
    "not everyone": ({"subject_id": None, "audience": {"everyone": False}}, "PT400", "everyone is true"),
    "nobody": ({"subject_id": None, "audience": {"user_ids": []}}, "PT400", "no.* list of users|not a list"),
    "no uuid": ({"subject_id": None, "audience": {"user_ids": ["x"]}}, "PT400", "x is no UUID"),
    "null": ({"subject_id": None, "audience": {"user_ids": [None]}}, "PT400", "null is no UUID"),
    "stranger": ({"subject_id": None, "audience": {"user_ids": [WHO]}}, "PT404", f"no user {WHO}"),
    "no routine": ({"subject_id": None, "audience": {"routine": "public.x"}}, "PT404", "there is no routine"),
    "trick": ({"subject_id": None, "audience": {"routine": "x(); drop"}}, "PT404", "there is no routine"),
    "priority": ({"priority": 10}, "PT400", "priority is from 0"),
    "over before it begins": ({"expires_at": "2020-01-01T00:00:00Z"}, "PT400", "expires_at is not after"),
    "far ahead": ({"scheduled_for": "2099-01-01T00:00:00Z"}, "PT400", "more than a year"),
    "large": (
        {"context": {"name": "x" * 70_000}},
        "PT413",
        "70012 bytes, more than 65536\\s.*notify.max_context\\s",
    ),
    "never": ({"scheduled_for": "infinity"}, "PT400", "more than a year"),
    "for ever": ({"expires_at": "infinity"}, "PT400", "expires_at is more than ten years ahead"),
    "routine of another case": (
        {"subject_id": None, "audience": {"routine": "AUTH.uid"}},
        "PT404",
        "there is no routine",
    ),
    "long key": ({"dedup_key": "x" * 401}, "PT400", "dedup_key has 1 to 400 bytes"),
}


def test_what_is_wrong_with_an_event_is_said_and_nothing_is_written(
    connection: Connection, ann: UUID
) -> None:
    schema = {"required": ["name"], "properties": {"name": {"type": "string"}, "n": {"type": "integer"}}}
    a_template(connection, "gig.new", "in_app", "Hello {{ name }}", schema)
    for case, (changes, sqlstate, message) in REFUSED_EVENTS.items():
        given = {"event_type": "gig.new", "subject_id": ann, "context": {"name": "Ann"}, **changes}
        with refused(connection, sqlstate, message, case):
            issue(connection, **given)  # type: ignore[arg-type]
    assert connection.execute("select count(*) from public.notification_events").fetchone() == (0,)
    assert connection.execute("select count(*) from basalt.jobs").fetchone() == (0,)


def test_an_audience_is_a_list_or_a_routine(connection: Connection, ann: UUID) -> None:
    a_template(connection, "gig.new", "in_app", "x")
    connection.execute(
        "create function public.everybody(arguments jsonb) returns setof uuid language sql"
        " as 'select id from auth.users'"
    )
    issue(connection, "gig.new", audience={"user_ids": [str(ann)]})
    issue(connection, "gig.new", audience={"routine": "public.everybody", "arguments": {"near": 1}})
    issue(connection, "gig.new", audience={"everyone": True})


@pytest.mark.req("H21")
def test_a_saved_template_is_a_new_version(connection: Connection) -> None:
    a_template(connection, "gig.new", "email", "one")
    a_template(connection, "gig.new", "email", "two")
    a_template(connection, "gig.new", "email", "zwei", locale="de")
    rows = connection.execute(
        "select locale, version, body_template from public.notification_templates order by locale, version"
    ).fetchall()
    assert rows == [("de", 1, "zwei"), ("en", 1, "one"), ("en", 2, "two")]
    for arguments in (
        ("Gig New", "email", "x", "S", "en"),
        ("gig.new", "pigeon", "x", "S", "en"),
        ("gig.new", "email", "", "S", "en"),
        ("gig.new", "email", "x", "", "en"),
        ("gig.new", "email", "x", "S", "english"),
        ("gig.new", "email", "x" * 65_537, "S", "en"),
        ("gig.new", "email", "x", "S" * 4_097, "en"),
    ):
        with refused(connection, "PT400", "(event_type|channel|body|subject|locale)"):
            connection.execute(
                "select public.save_notification_template(%s, %s, %s, subject => %s, locale => %s)", arguments
            )


@pytest.mark.req("M8")
def test_what_was_due_before_time_began_is_due_now(connection: Connection, ann: UUID) -> None:
    a_template(connection, "gig.new", "in_app", "x")
    for long_ago in ("-infinity", "4713-01-01 BC"):
        issue(connection, "gig.new", subject_id=ann, scheduled_for=long_ago)
    due = connection.execute("select distinct scheduled_for = now() from public.notification_events")
    assert due.fetchall() == [(True,)]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (["name"], "is not an object"),
        ({"required": "name"}, "required is not a list"),
        ({"properties": ["name"]}, "properties is not an object"),
        ({"properties": {"name": {"type": 5}}}, "properties.name.type is neither"),
        ({"title": "x" * 70_000}, "larger than 65536 bytes"),
    ],
    ids=["list", "required", "properties", "type", "large"],
)
@pytest.mark.req("H21")
def test_a_schema_that_no_context_could_be_held_against_is_refused(
    connection: Connection, schema: object, message: str
) -> None:
    with refused(connection, "PT400", f"metadata_schema.*{message}"):
        a_template(connection, "gig.new", "in_app", "x", schema)


@pytest.mark.req("H22")
def test_time_zones_are_found_without_reading_all_of_them(connection: Connection, ann: UUID) -> None:
    """A person who saves preferences again and again costs the others nothing."""
    connection.execute("insert into public.notification_preferences (user_id) values (%s)", [ann])
    started = time.monotonic()
    for zone in ("Europe/Vienna", "Asia/Kolkata", "UTC") * 20:
        connection.execute("update public.notification_preferences set timezone = %s", [zone])
    assert time.monotonic() - started < 3  # 60 of them took ten seconds


REFUSED_PREFERENCES: dict[str, tuple[str, str]] = {
    "unknown channel": ("channel_settings = '{\"pigeon\": {}}'", "there is no channel pigeon"),
    "no object": ("channel_settings = '[]'", "channel_settings is not an object"),
    "channel without object": (
        "channel_settings = '{\"push\": false}'",
        "channel_settings.push is not an object",
    ),
    "no truth": (
        'channel_settings = \'{"push": {"enabled": "no"}}\'',
        "push.enabled is neither true nor false",
    ),
    "unknown setting": ('channel_settings = \'{"push": {"on": true}}\'', "there is no setting on"),
    "unknown digest": (
        'channel_settings = \'{"push": {"digest": "yearly"}}\'',
        "push.digest: .yearly. is none of",
    ),
    "digest in the app": ('channel_settings = \'{"in_app": {"digest": "daily"}}\'', "in_app.digest"),
    "fall-back": ('channel_settings = \'{"fallback": ["push", "pigeon"]}\'', "fallback: there is no channel"),
    "fall-back twice": ('channel_settings = \'{"fallback": ["sms", "sms"]}\'', "occurs twice"),
    "fall-back to in_app": ('channel_settings = \'{"fallback": ["in_app"]}\'', "in_app"),
    "contradiction": (
        'channel_settings = \'{"events": {"a": {"enabled": false, "channels": ["push"]}}}\'',
        "events.a contradicts itself",
    ),
    "enabled by nothing": (
        'channel_settings = \'{"events": {"a": {"enabled": true, "channels": []}}}\'',
        "events.a contradicts itself",
    ),
    "event's channel": ('channel_settings = \'{"events": {"a": {"channels": ["x"]}}}\'', "no channel .x."),
    "event's name": ('channel_settings = \'{"events": {"Gig New": {}}}\'', "Gig New is no name of an event"),
    "time zone": ("timezone = 'Mars/Olympus'", "no time zone Mars/Olympus\\s+HINT:  Take a name"),
    "offset": ("timezone = 'XYZ5'", "there is no time zone XYZ5"),
    "spelling": ("timezone = 'europe/berlin'", "It is written Europe/Berlin"),
    "half of the hours": ("quiet_hours_start = '22:00'", "belong together"),
    "no hours": ("quiet_hours_start = '22:00', quiet_hours_end = '22:00'", "are the same"),
    "all hours": ("quiet_hours_start = '00:00', quiet_hours_end = '24:00'", "are the same"),
    "negative limit": ("rate_limit_per_hour = -1", "is negative"),
    "locale": ("locale = 'english'", "is no language tag"),
    "digest": ("digest_frequency = 'sometimes'", "sometimes is none of"),
}


@pytest.mark.req("H22")
def test_preferences_that_cannot_be_followed_are_refused(connection: Connection, ann: UUID) -> None:
    connection.execute("insert into public.notification_preferences (user_id) values (%s)", [ann])
    for case, (change, message) in REFUSED_PREFERENCES.items():
        with refused(connection, "PT400", message, case):
            connection.execute(f"update public.notification_preferences set {change}")
    connection.execute(
        "update public.notification_preferences set timezone = 'Asia/Kolkata', quiet_hours_start = '22:00',"
        " quiet_hours_end = '07:00', locale = 'de-AT', rate_limit_per_hour = 3, digest_frequency = 'daily',"
        " channel_settings = %s",
        [
            Jsonb(
                {
                    "push": {"enabled": False},
                    "email": {"enabled": True, "digest": "hourly"},
                    "fallback": ["email", "sms"],
                    "events": {
                        "gig.new": {"channels": ["in_app", "push"], "digest": "none", "fallback": []},
                        "offer": {"enabled": False},
                    },
                }
            )
        ],
    )


def test_addresses_have_one_spelling(connection: Connection, ann: UUID) -> None:
    subscription = (
        '{"keys": {"p256dh": "k", "auth": "a"}, "expirationTime": null, "endpoint": "https://push.example/1"}'
    )
    add = (
        "insert into public.notification_channels (user_id, channel, provider, address)"
        " values (%s, %s, %s, %s) returning address"
    )
    assert connection.execute(add, [ann, "email", None, " Ann@Example.com"]).fetchone() == (
        "ann@example.com",
    )
    assert connection.execute(add, [ann, "sms", None, "+49 (170) 123-4567"]).fetchone() == ("+491701234567",)
    assert connection.execute(add, [ann, "push", "webpush", subscription]).fetchone() == (
        '{"keys": {"auth": "a", "p256dh": "k"}, "endpoint": "https://push.example/1"}',
    )
    for channel, provider, address in (
        ("email", None, "ann"),
        ("sms", None, "0170 1234567"),
        ("push", "webpush", "token"),
        ("push", "webpush", '{"endpoint": "http://push.example", "keys": {"p256dh": "k", "auth": "a"}}'),
        ("push", None, "token"),
        ("push", "carrier", "token"),
        ("email", "fcm", "a@example.com"),
        ("push", "fcm", "x" * 3000),
    ):
        with pytest.raises(psycopg.Error), connection.transaction():
            connection.execute(add, [ann, channel, provider, address])


@pytest.mark.req("H24")
def test_what_did_not_arrive_takes_the_fall_back_once(connection: Connection, ann: UUID) -> None:
    a_template(connection, "gig.new", "email", "x")
    event_id = issue(connection, "gig.new", subject_id=ann)
    sent = queue_row(connection, event_id, ann, "email", status="sent", fallback=["sms"], address="a@b.c")
    plain = queue_row(connection, event_id, ann, "email", status="sent", address="b@b.c")
    fall_back = "select basalt.fall_back_notification(%s, 'mailbox_full')"
    assert connection.execute(fall_back, [sent]).fetchone() == (True,)
    assert connection.execute(fall_back, [sent]).fetchone() == (False,)
    assert connection.execute(fall_back, [plain]).fetchone() == (False,)
    rows = connection.execute(
        "select status, error_code, finished_at is not null from public.notification_queue"
    )
    assert rows.fetchall() == [("failed", "mailbox_full", True)] * 2
    jobs = connection.execute(
        "select payload from basalt.jobs where name = 'basalt.notify.fall_back'"
    ).fetchall()
    assert jobs == [({"queue_id": sent},)]


@pytest.mark.req("H26", "P25")
def test_old_notifications_are_archived_then_deleted(connection: Connection, ann: UUID) -> None:
    connection.execute(
        "insert into public.notifications (user_id, title, created_at, archived_at, expires_at) values"
        " (%(id)s, 'new', now(), null, now() + interval '1 day'),"
        " (%(id)s, 'old', now() - interval '91 days', null, null),"
        " (%(id)s, 'ancient', now() - interval '400 days', now() - interval '366 days', null),"
        " (%(id)s, 'expired', now(), null, now() - interval '1 second')",
        {"id": ann},
    )
    assert connection.execute("select basalt.archive_notifications()").fetchone() == (1,)
    assert connection.execute("select basalt.delete_old_notifications()").fetchone() == (2,)
    rows = connection.execute("select title, archived_at is null from public.notifications order by title")
    assert rows.fetchall() == [("new", True), ("old", False)]


@pytest.mark.req("P25")
def test_settled_messages_and_their_events_are_deleted(connection: Connection, ann: UUID) -> None:
    a_template(connection, "gig.new", "email", "x")
    old, new = issue(connection, "gig.new", subject_id=ann), issue(connection, "gig.new", subject_id=ann)
    connection.execute(
        "update public.notification_events set status = 'expanded', triggered_at = now() - interval '31 days',"
        " scheduled_for = now() - interval '31 days' where id = %s",
        [old],
    )
    for event_id, age in ((old, 31), (new, 1)):
        queue_row(connection, event_id, ann, "email", status="sent")
        connection.execute(
            "update public.notification_queue set finished_at = now() - make_interval(days => %s)"
            " where event_id = %s",
            [age, event_id],
        )
    connection.execute("select basalt.delete_old_deliveries()")
    connection.execute("select basalt.delete_old_deliveries()")
    assert connection.execute("select id from public.notification_events").fetchall() == [(new,)]
    assert connection.execute("select event_id from public.notification_queue").fetchall() == [(new,)]


def test_progress_counts_messages_by_their_state(connection: Connection, ann: UUID) -> None:
    a_template(connection, "gig.new", "email", "x")
    event_id = issue(connection, "gig.new", subject_id=ann)
    for status in ("sent", "delivered", "failed", "held", "expired"):
        queue_row(connection, event_id, ann, "email", status=status)
    row = connection.execute("select basalt.notification_progress(%s)", [event_id]).fetchone()
    assert row is not None
    counts = {
        name: row[0][name] for name in ("queued", "waiting", "sent", "delivered", "failed", "cancelled")
    }
    assert counts == {"queued": 5, "waiting": 1, "sent": 2, "delivered": 1, "failed": 1, "cancelled": 1}
    assert row[0]["by_channel"]["email"]["held"] == 1
    assert connection.execute("select basalt.notification_progress(%s)", [uuid4()]).fetchone() == (None,)


def test_the_texts_of_the_documentation_can_be_saved_and_rendered(connection: Connection) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "notifications.md").read_text("utf-8")
    connection.execute(page.split("```sql\n")[1].split("```")[0].encode())
    rows = connection.execute(
        "select id::text, event_type, channel, locale, version, subject_template, body_template, html_template,"
        " metadata_schema from public.notification_templates order by channel, locale"
    ).fetchall()
    context = {"title": "Sax <solo>", "city": "Wien", "recipient": {"name": ""}}
    made = [render(Template(*row), context) for row in rows]
    assert [one.subject for one in made] == ["A new gig in Wien", "Ein neuer Gig", "A new gig"]
    assert made[0].body == "Hello there, Sax <solo> …"
    assert made[0].html == "<p><b>Sax &lt;solo&gt;</b> in Wien</p>"
