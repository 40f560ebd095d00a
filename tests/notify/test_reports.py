"""What providers report about messages: forward only, once, and in any order."""

from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from basalt.postgres import DatabaseAccess
from tests.notify.conftest import Connection, a_user

pytestmark = [pytest.mark.req("H25")]


@pytest.fixture
def message(connection: Connection, ann: UUID) -> int:
    """A mail to Ann, which Resend has taken."""
    return a_message(connection, ann, "m-1")


def a_message(connection: Connection, user_id: UUID, message_id: str | None, fallback: str = "{sms}") -> int:
    row = connection.execute(
        """
        with event as (
            insert into public.notification_events (event_type, subject_id) values ('gig.new', %(user)s) returning id),
        queued as (
            insert into public.notification_queue (event_id, user_id, channel, address, provider, status, fallback)
            select id, %(user)s, 'email', 'ann@example.com', 'resend', 'sent', %(fallback)s from event returning id)
        select id from queued
        """,
        {"user": user_id, "fallback": fallback},
    ).fetchone()
    assert row is not None
    if message_id is not None:
        deliver(connection, row[0], message_id)
    return int(row[0])


def deliver(connection: Connection, queue_id: int, message_id: str) -> None:
    connection.execute(
        "insert into public.notification_deliveries (queue_id, attempt, provider, status, provider_message_id)"
        " values (%s, 1, 'resend', 'accepted', %s)",
        [queue_id, message_id],
    )


def report(connection: Connection, status: str, at: str = "2026-01-01T10:00:00Z", **named: object) -> Any:
    one = {"id": f"r-{status}-{at}", "message_id": "m-1", "status": status, "at": at, **named}
    row = connection.execute("select basalt.apply_delivery_reports('resend', %s)", [Jsonb([one])]).fetchone()
    assert row is not None
    return row[0]


def state(connection: Connection) -> tuple[Any, ...] | None:
    return connection.execute(
        "select d.status, to_char(d.delivered_at at time zone 'UTC', 'HH24:MI'),"
        " to_char(d.opened_at at time zone 'UTC', 'HH24:MI'), q.status"
        " from public.notification_deliveries as d join public.notification_queue as q on q.id = d.queue_id"
    ).fetchone()


@pytest.mark.usefixtures("message")
def test_a_message_moves_forward_and_never_back(connection: Connection) -> None:
    assert report(connection, "opened", "2026-01-01T10:05:00Z") == {"applied": 1, "unknown": 0}
    assert state(connection) == ("opened", "10:05", "10:05", "delivered")
    report(connection, "delivered", "2026-01-01T10:01:00Z")
    assert state(connection) == ("opened", "10:01", "10:05", "delivered")
    report(connection, "clicked", "2026-01-01T10:06:00Z")
    report(connection, "opened", "2026-01-01T10:05:00Z")
    assert state(connection) == ("clicked", "10:01", "10:05", "delivered")


@pytest.mark.usefixtures("message")
@pytest.mark.req("H24")
def test_a_hard_bounce_ends_the_address_and_takes_the_fall_back_once(connection: Connection) -> None:
    for _ in range(2):
        report(connection, "bounced", is_permanent=True, error_code="no_mailbox")
    assert state(connection) == ("bounced", None, None, "failed")
    assert connection.execute("select error_code from public.notification_queue").fetchall() == [
        ("no_mailbox",)
    ]
    channels = connection.execute(
        "select channel, address, is_enabled, disabled_reason from public.notification_channels"
    ).fetchall()
    assert channels == [("email", "ann@example.com", False, "bounced")]
    jobs = connection.execute(
        "select count(*) from basalt.jobs where name = 'basalt.notify.fall_back'"
    ).fetchone()
    assert jobs == (1,)
    report(connection, "delivered", "2026-01-01T11:00:00Z")
    assert state(connection) == ("bounced", "11:00", None, "failed")


ENABLE = "update public.notification_channels set is_enabled = true, disabled_reason = null"
IS_ENABLED = "select is_enabled from public.notification_channels"


@pytest.mark.usefixtures("message")
@pytest.mark.parametrize("status", ["bounced", "complained"])
@pytest.mark.req("M8")
def test_a_repeated_report_does_not_end_an_address_that_is_good_again(
    connection: Connection, status: str
) -> None:
    hard: dict[str, Any] = {"is_permanent": True, "response": {"type": "Permanent"}}
    report(connection, status, **hard)
    connection.execute(ENABLE)
    report(connection, "delivered", "2026-01-01T11:00:00Z", response={"type": "delivered"})
    report(connection, status, **hard)
    assert connection.execute(IS_ENABLED).fetchone() == (True,)
    kept = connection.execute("select response_payload -> 'report' from public.notification_deliveries")
    assert kept.fetchone() == ({"type": "Permanent"},)


@pytest.mark.usefixtures("message")
def test_a_hard_bounce_behind_a_soft_one_ends_the_address(connection: Connection) -> None:
    report(connection, "bounced", error_code="full", response={"type": "Transient"})
    report(connection, "bounced", error_code="gone", is_permanent=True, response={"type": "Permanent"})
    assert connection.execute(IS_ENABLED).fetchone() == (False,)


@pytest.mark.usefixtures("message")
def test_a_full_mailbox_takes_the_fall_back_and_the_address_stays(connection: Connection) -> None:
    report(connection, "bounced", is_permanent=False)
    assert state(connection) == ("bounced", None, None, "failed")
    assert connection.execute("select * from public.notification_channels").fetchall() == []


@pytest.mark.usefixtures("message")
def test_a_complaint_ends_the_address_and_nothing_is_sent_by_another_way(connection: Connection) -> None:
    report(connection, "complained")
    assert state(connection) == ("complained", "10:00", None, "delivered")
    reasons = connection.execute("select disabled_reason from public.notification_channels").fetchall()
    assert reasons == [("complained",)]
    assert connection.execute("select * from basalt.jobs").fetchall() == []


def test_a_report_that_is_quicker_than_the_delivery_waits_for_it(connection: Connection, ann: UUID) -> None:
    queued = a_message(connection, ann, None)
    for _ in range(2):
        assert report(connection, "delivered") == {"applied": 0, "unknown": 1}
    assert report(connection, "opened", "2026-01-01T10:05:00Z") == {"applied": 0, "unknown": 1}
    deliver(connection, queued, "m-1")
    assert state(connection) == ("opened", "10:00", "10:05", "delivered")
    assert connection.execute("select * from basalt.early_delivery_reports").fetchall() == []


def test_an_early_report_that_cannot_be_applied_costs_no_delivery(connection: Connection, ann: UUID) -> None:
    queued = a_message(connection, ann, None)
    report(connection, "delivered", "never")
    report(connection, "opened")
    deliver(connection, queued, "m-1")
    assert state(connection) == ("opened", "10:00", "10:00", "delivered")
    assert connection.execute("select * from basalt.early_delivery_reports").fetchall() == []


def test_a_report_that_comes_while_the_delivery_is_written_is_not_lost(
    notify_database: DatabaseAccess,
) -> None:
    """Neither transaction sees the other: the dispatcher's chores bring them together."""
    conninfo = notify_database.conninfo("postgres")
    with psycopg.connect(conninfo) as writing, psycopg.connect(conninfo, autocommit=True) as other:
        queued = a_message(writing, a_user(writing, "ann@example.com"), None)
        deliver(writing, queued, "m-1")
        assert report(other, "delivered") == {"applied": 0, "unknown": 1}
        writing.commit()
        assert state(other) == ("accepted", None, None, "sent")
        for _ in range(2):
            other.execute("select basalt.apply_missed_reports()")
            assert state(other) == ("delivered", "10:00", None, "delivered")
        assert other.execute("select * from basalt.early_delivery_reports").fetchall() == []


def test_reports_about_strangers_messages_go_after_a_day(connection: Connection) -> None:
    report(connection, "delivered")
    connection.execute("update basalt.early_delivery_reports set received_at = now() - interval '25 hours'")
    connection.execute("select basalt.delete_old_deliveries()")
    assert connection.execute("select * from basalt.early_delivery_reports").fetchall() == []


@pytest.mark.usefixtures("message")
def test_a_clock_ahead_of_ours_opens_nothing_in_the_future(connection: Connection) -> None:
    report(connection, "opened", "2999-01-01T00:00:00Z")
    opened = connection.execute("select opened_at = now() from public.notification_deliveries").fetchone()
    assert opened == (True,)


def test_another_users_address_is_nobodys_business(connection: Connection, message: int) -> None:
    """The row that says that an account's address is dead is made for its owner only."""
    a_user(connection, "bob@example.com")
    report(connection, "bounced", is_permanent=True)
    assert connection.execute("select count(*) from public.notification_channels").fetchone() == (1,)
