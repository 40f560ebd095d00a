"""Who may do what with the engine's rows and routines: people their own, outsiders nothing."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from basalt.postgres import DatabaseAccess
from tests.jobs.engines import connected
from tests.notify.conftest import Connection, a_user
from tests.notify.engine import a_person

pytestmark = [pytest.mark.req("H20", "H26", "M8")]

TABLES = (
    "notification_templates",
    "notification_channels",
    "notification_preferences",
    "notification_events",
    "notification_queue",
    "notification_deliveries",
    "notifications",
)


@contextmanager
def acting(connection: Connection, role: str, user_id: UUID | None = None) -> Iterator[None]:
    """As a request does: role and claims are the transaction's."""
    claims = Jsonb({"role": role, **({"sub": str(user_id)} if user_id else {})})
    with connection.transaction():
        connection.execute("select set_config('request.jwt.claims', %s::text, true)", [claims])
        connection.execute(f"set local role {role}")
        yield
        connection.execute("reset role")
        connection.execute("select set_config('request.jwt.claims', '', true)")


@pytest.fixture
def bob(connection: Connection) -> UUID:
    return a_user(connection, "bob@example.com")


@pytest.fixture
def told(connection: Connection, ann: UUID) -> int:
    """Ann was told something: a row in every table, and the id of her message."""
    connection.execute("select public.save_notification_template('gig.new', 'in_app', 'x')")
    row = connection.execute("select public.issue_notification('gig.new', %s)", [ann]).fetchone()
    assert row is not None
    values = {"event": row[0], "user": ann}
    connection.execute("insert into public.notification_preferences (user_id) values (%(user)s)", values)
    connection.execute(
        "insert into public.notification_channels (user_id, channel, provider, address)"
        " values (%(user)s, 'push', 'fcm', 'token')",
        values,
    )
    queued = connection.execute(
        "insert into public.notification_queue (event_id, user_id, channel, status)"
        " values (%(event)s, %(user)s, 'push', 'sent') returning id",
        values,
    ).fetchone()
    assert queued is not None
    connection.execute(
        "insert into public.notification_deliveries (queue_id, attempt, provider, status)"
        " values (%s, 1, 'fcm', 'accepted')",
        [queued[0]],
    )
    connection.execute(
        "insert into public.notifications (user_id, event_id, title) values (%(user)s, %(event)s, 'New')",
        values,
    )
    return int(queued[0])


def is_refused(connection: Connection, statement: str, *parameters: object) -> bool:
    """Refused, or without any effect."""
    try:
        with connection.transaction():
            return connection.execute(statement, parameters).rowcount == 0
    except psycopg.errors.InsufficientPrivilege:
        return True


@pytest.mark.usefixtures("told")
def test_people_read_their_own_and_others_nothing(connection: Connection, ann: UUID, bob: UUID) -> None:
    def counts(role: str, user_id: UUID | None) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        with acting(connection, role, user_id):
            for table in TABLES:
                try:
                    with connection.transaction():
                        found[table] = connection.execute(f"select * from public.{table}").rowcount
                except psycopg.errors.InsufficientPrivilege:
                    found[table] = None
        return found

    assert counts("authenticated", ann) == {**dict.fromkeys(TABLES, 1), "notification_templates": None}
    assert counts("authenticated", bob) == {**dict.fromkeys(TABLES, 0), "notification_templates": None}
    assert counts("anon", None) == dict.fromkeys(TABLES)
    assert counts("service_role", None) == dict.fromkeys(TABLES, 1)


OWN_WRITES = (
    "update public.notification_preferences set rate_limit_per_hour = 3",
    "update public.notification_channels set is_enabled = false, label = 'phone'",
    "update public.notifications set read_at = now()",
    "update public.notifications set archived_at = now()",
    "delete from public.notification_channels",
    "delete from public.notification_preferences",
    "delete from public.notifications",
)
FOREIGN_WRITES = (
    "update public.notification_channels set verified = true",
    "update public.notification_channels set address = 'other'",
    "update public.notification_channels set disabled_reason = null",
    "update public.notifications set title = 'other'",
    "update public.notifications set user_id = auth.uid()",
    "update public.notification_events set status = 'pending'",
    "update public.notification_queue set status = 'pending'",
    "update public.notification_deliveries set status = 'opened'",
    "delete from public.notification_events",
    "delete from public.notification_queue",
    "delete from public.notification_deliveries",
    "insert into public.notifications (user_id, title) values (auth.uid(), 'forged')",
    "insert into public.notification_events (event_type, subject_id) values ('gig.new', auth.uid())",
    "insert into public.notification_queue (event_id, user_id, channel) select id, auth.uid(), 'email'"
    " from public.notification_events",
    "insert into public.notification_templates (event_type, channel, body_template) values ('a', 'sms', 'x')",
    "insert into public.notification_channels (user_id, channel, address, verified)"
    " values (auth.uid(), 'email', 'x@example.com', true)",
    "select * from basalt.notify_settings",
    "select * from basalt.early_delivery_reports",
)
PRIVILEGED_CALLS = (
    "select public.issue_notification('gig.new', auth.uid())",
    "select public.save_notification_template('a', 'sms', 'x')",
    "select basalt.notification_addresses(null::auth.users, '{}')",
    "select basalt.disable_notification_address('push', 'token', 'fcm', 'x')",
    "select basalt.fall_back_notification(1, 'x')",
    "select basalt.apply_delivery_reports('fcm', '[]')",
    "select basalt.apply_delivery_report(1, '{}')",
    "select basalt.notification_progress(auth.uid())",
    "select basalt.archive_notifications()",
    "select basalt.delete_old_notifications()",
    "select basalt.delete_old_deliveries()",
    "select basalt.check_notification_audience(auth.uid(), null)",
)


@pytest.mark.usefixtures("told")
def test_people_write_what_is_theirs_to_decide(connection: Connection, ann: UUID, bob: UUID) -> None:
    for statement in (*OWN_WRITES, *FOREIGN_WRITES, *PRIVILEGED_CALLS):
        with acting(connection, "authenticated", bob):
            assert is_refused(connection, statement), f"bob: {statement}"
        with acting(connection, "anon"):
            assert is_refused(connection, statement), f"anon: {statement}"
    for statement in (*FOREIGN_WRITES, *PRIVILEGED_CALLS):
        with acting(connection, "authenticated", ann):
            assert is_refused(connection, statement), f"ann: {statement}"
    for statement in OWN_WRITES:
        with acting(connection, "authenticated", ann):
            assert not is_refused(connection, statement), statement


@pytest.mark.usefixtures("told")
def test_nobody_writes_in_anothers_name(connection: Connection, ann: UUID, bob: UUID) -> None:
    with acting(connection, "authenticated", bob):
        assert is_refused(
            connection, "insert into public.notification_preferences (user_id) values (%s)", ann
        )
        add = "insert into public.notification_channels (user_id, channel, address) values (%s, 'email', 'a@b.cd')"
        assert is_refused(connection, add, ann)
        assert not is_refused(connection, add, bob)
        connection.execute("insert into public.notification_preferences (user_id) values (%s)", [bob])
        assert is_refused(connection, "update public.notification_preferences set user_id = %s", ann)
        for call in ("mark_notifications_read()", "archive_notifications()"):
            assert connection.execute(f"select public.{call}").fetchone() == (0,)
        assert connection.execute("select * from public.unread_notification_counts()").rowcount == 0


def test_unread_notifications_are_counted_by_channel_and_marked_in_one_call(
    connection: Connection, ann: UUID
) -> None:
    connection.execute(
        "insert into public.notifications (user_id, channel, title, created_at, expires_at) values"
        " (%(id)s, 'in_app', 'a', now() - interval '2 hours', null), (%(id)s, 'in_app', 'b', now(), null),"
        " (%(id)s, 'push', 'c', now(), null), (%(id)s, 'in_app', 'gone', now(), now() - interval '1 second')",
        {"id": ann},
    )
    counts = "select channel, unread from public.unread_notification_counts()"
    with acting(connection, "authenticated", ann):
        assert connection.execute(counts).fetchall() == [("in_app", 2), ("push", 1)]
        listed = connection.execute("select title from public.notifications order by title").fetchall()
        assert listed == [("a",), ("b",), ("c",)]  # as they are counted: what has expired is not there
        marked = connection.execute(
            "select public.mark_notifications_read(up_to => now() - interval '1 hour')"
        ).fetchone()
        assert marked == (1,)
        ids = [row[0] for row in connection.execute("select id from public.notifications where title = 'c'")]
        assert connection.execute("select public.mark_notifications_read(%s)", [ids]).fetchone() == (1,)
        assert connection.execute(counts).fetchall() == [("in_app", 1)]
        assert connection.execute("select public.archive_notifications()").fetchone() == (3,)
        assert connection.execute(counts).fetchall() == []
        connection.execute("update public.notifications set read_at = '2000-01-01' where title = 'b'")
        stamp = connection.execute(
            "select read_at = now() from public.notifications where title = 'b'"
        ).fetchone()
        assert stamp == (True,)


@pytest.mark.req("H14")
def test_a_read_receipt_opens_the_delivery(connection: Connection, ann: UUID, bob: UUID, told: int) -> None:
    with acting(connection, "authenticated", bob):
        with pytest.raises(psycopg.Error, match="There is no message") as refused, connection.transaction():
            connection.execute("select public.mark_queue_item_read(%s)", [told])
        assert refused.value.sqlstate == "PT404"
    with acting(connection, "authenticated", ann):
        assert connection.execute("select public.mark_queue_item_read(%s)", [told]).fetchone() == (True,)
    row = connection.execute(
        "select d.status, d.opened_at is not null, q.status, n.read_at is not null from public.notification_deliveries"
        " as d, public.notification_queue as q, public.notifications as n"
    ).fetchone()
    assert row == ("opened", True, "delivered", True)


@pytest.mark.req("M4")
def test_a_device_is_whose_app_registered_it_last(connection: Connection, ann: UUID, bob: UUID) -> None:
    register = "select public.register_notification_channel('push', 'token-1', 'fcm', 'Pixel')"
    for user_id in (ann, ann, bob):
        with acting(connection, "authenticated", user_id):
            connection.execute(register)
    rows = connection.execute("select user_id, label from public.notification_channels").fetchall()
    assert rows == [(bob, "Pixel")]
    with acting(connection, "service_role"):
        assert is_refused(connection, register)
    for arguments in (
        ("push", "t", None),
        ("email", "a@b.cd", "fcm"),
        ("pigeon", "x", None),
        ("push", "", "fcm"),
        ("push", " ", "fcm"),
    ):
        with acting(connection, "authenticated", ann):
            with pytest.raises(psycopg.Error) as refused, connection.transaction():
                connection.execute("select public.register_notification_channel(%s, %s, %s)", arguments)
            assert refused.value.sqlstate == "PT400"


@pytest.mark.req("M4")
async def test_two_who_register_one_device_at_once_take_turns(notify_database: DatabaseAccess) -> None:
    act_as = "select set_config('request.jwt.claims', json_build_object('sub', %s::text)::text, false)"
    register = "select public.register_notification_channel('push', 'token-1', 'fcm')"
    async with connected(notify_database) as first, connected(notify_database) as second:
        people = [await a_person(first), await a_person(first)]
        for sql, user_id in ((first, people[0]), (second, people[1])):
            await sql.rows(act_as, user_id)
        async with first.connection.transaction():
            await first.rows(register)
            waiting = asyncio.create_task(second.rows(register))
            async with connected(notify_database) as watcher:
                await watcher.becomes(True, "select count(*) > 0 from pg_locks where not granted")
        await waiting
        assert await first.rows("select user_id::text from public.notification_channels") == [(people[1],)]


@pytest.mark.req("H22")
def test_a_device_that_its_owner_turned_off_stays_off_at_the_next_start(
    connection: Connection, ann: UUID
) -> None:
    register = "select public.register_notification_channel('push', 'token-1', 'fcm')"
    is_on = "select is_enabled from public.notification_channels"
    with acting(connection, "authenticated", ann):
        connection.execute(register)
        connection.execute("update public.notification_channels set is_enabled = false")
        connection.execute(register)
        assert connection.execute(is_on).fetchall() == [(False,)]
        connection.execute("update public.notification_channels set is_enabled = true")
    connection.execute("select basalt.disable_notification_address('push', 'token-1', 'fcm', 'UNREGISTERED')")
    assert connection.execute(is_on).fetchall() == [(False,)]
    with acting(connection, "authenticated", ann):
        connection.execute(register)
        assert connection.execute(is_on).fetchall() == [(True,)]


@pytest.mark.req("M8")
def test_an_address_that_its_owner_changes_is_no_longer_verified(connection: Connection, ann: UUID) -> None:
    """Where a table from before the engine lets people write it."""
    connection.execute(
        "insert into public.notification_channels (user_id, channel, address, verified)"
        " values (%s, 'email', 'ann@example.org', true)",
        [ann],
    )
    connection.execute("grant update on public.notification_channels to authenticated")
    with acting(connection, "authenticated", ann):
        connection.execute("update public.notification_channels set address = 'victim@example.org'")
    row = connection.execute("select address, verified from public.notification_channels").fetchone()
    assert row == ("victim@example.org", False)


def test_the_address_of_an_account_is_told_once(connection: Connection, ann: UUID) -> None:
    connection.execute(
        "insert into public.notification_channels (user_id, channel, address, verified) values"
        " (%(ann)s, 'email', 'ann@example.com', true), (%(ann)s, 'email', 'ann@work.example', true),"
        " (%(ann)s, 'email', 'ann@new.example', false), (%(ann)s, 'sms', '+491701234567', true)",
        {"ann": ann},
    )
    reached = (
        "select a.channel, a.address from auth.users as u,"
        " basalt.notification_addresses(u, array['email', 'sms']) as a where u.id = %s order by 1, 2"
    )
    others = [("email", "ann@work.example"), ("sms", "+491701234567")]
    assert connection.execute(reached, [ann]).fetchall() == [("email", "ann@example.com"), *others]
    # An account whose address was taken away, and the instant of its confirmation left.
    connection.execute("update auth.users set email = null, phone_confirmed_at = now() where id = %s", [ann])
    assert connection.execute(reached, [ann]).fetchall() == [("email", "ann@example.com"), *others]


def test_a_forgotten_device_does_not_pile_up(connection: Connection, ann: UUID) -> None:
    with acting(connection, "authenticated", ann):
        connection.execute(
            "select public.register_notification_channel('push', 'token-' || n, 'fcm')"
            " from generate_series(1, 105) as n"
        )
    assert connection.execute("select count(*) from public.notification_channels").fetchone() == (100,)


def test_a_trigger_of_the_project_issues_events(connection: Connection, ann: UUID) -> None:
    """As its owner: a client may write the row that the event is about, and not the event."""
    connection.execute(
        """
        select public.save_notification_template('gig.new', 'in_app', 'x');
        create table public.gigs (id int, user_id uuid);
        create function public.tell() returns trigger language plpgsql security definer set search_path = '' as $$
        begin
            perform public.issue_notification('gig.new', new.user_id, jsonb_build_object('gig', new.id));
            return new;
        end $$;
        create trigger tell after insert on public.gigs for each row execute function public.tell();
        """
    )
    with acting(connection, "authenticated", ann):
        connection.execute("insert into public.gigs values (7, %s)", [ann])
    row = connection.execute("select subject_id, context from public.notification_events").fetchone()
    assert row == (ann, {"gig": 7})
