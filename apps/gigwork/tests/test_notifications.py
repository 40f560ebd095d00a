"""Who is told of what: rules in the database, read from the events that they make."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from basalt.project import apply_modules, migrate
from tests.conftest import CloneDatabase

from .acting import LAT, LNG, NEAR, App, wait_for_blocked_sessions
from .conftest import APP, DatabaseAccess, without_seeds
from .test_employers import PERIOD, a_shift
from .test_migrations import MIGRATIONS, ROLLBACKS, run

EVENTS = ("gig.new", "application.new", "application.accepted", "application.rejected", "shift.reminder",
          "achievement.unlocked", "payout.made", "message", "message.text")  # fmt: skip


def events(app: App, event_type: str) -> list[dict[str, Any]]:
    return app.admin.execute(
        "select * from public.notification_events where event_type = %s order by triggered_at", [event_type]
    ).fetchall()


def an_alert(app: App, *, north_m: float = 0, **wishes: Any) -> str:
    """A worker who wants to hear of gigs, so many metres north of the usual one."""
    worker = app.a_user()
    row = {"user_id": worker, "location": f"POINT({LNG} {LAT + north_m / 111_000})", **wishes}
    names, marks = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    with app.acting_as(worker) as connection:
        connection.execute(f"insert into public.gig_alerts ({names}) values ({marks})", row)
    return worker


def post_gig(app: App, **values: Any) -> tuple[str, str]:
    """A draft that its employer publishes: the gig, and who."""
    employer = app.a_user(employer=True)
    gig = app.a_gig(employer, status="draft", published_at=None, **values)
    with app.acting_as(employer) as connection:
        connection.execute(
            "update public.gigs set status = 'open', published_at = now() where id = %s", [gig]
        )
    return gig, employer


@pytest.mark.req("G11")
def test_a_new_gig_is_news_for_workers_near_it_who_wish_for_it(app: App) -> None:
    near = an_alert(app, north_m=900, radius_m=1000)
    wishing = an_alert(app, north_m=40_000, radius_m=50_000, categories=["retail", "food_service"])
    for wishes in (
        {"north_m": 1_200, "radius_m": 1000},
        {"north_m": 51_000, "radius_m": 50_000},
        {"categories": ["retail"]},
        {"min_hourly_rate": 13},
        {"is_enabled": False},
    ):
        an_alert(app, **wishes)  # type: ignore[arg-type]
    gig, employer = post_gig(app)
    app.admin.execute(
        "insert into public.gig_alerts (user_id, location) values (%s, %s)", [employer, f"POINT({LNG} {LAT})"]
    )
    (event,) = events(app, "gig.new")
    assert event["audience"]["routine"] == "private.workers_near_gig"
    assert event["context"]["data"] == {"gig_id": gig}
    audience = "select private.workers_near_gig(%s)::text as id"
    with app.acting_as(None, "service_role") as connection:  # as the engine asks it
        told = connection.execute(audience, [json.dumps(event["audience"]["arguments"])]).fetchall()
    assert {row["id"] for row in told} == {near, wishing}
    app.call(near, "apply_to_gig", p_gig_id=gig)
    assert app.one("select count(*) from private.workers_near_gig(%s)", json.dumps({"gig_id": gig})) == 1


@pytest.mark.req("G11")
def test_a_gig_is_new_once(app: App) -> None:
    gig, employer = post_gig(app)
    for status in ("closed", "open"):
        with app.acting_as(employer) as connection:
            connection.execute("update public.gigs set status = %s where id = %s", [status, gig])
    assert len(events(app, "gig.new")) == 1
    app.a_gig()  # by the owner: a seed
    assert len(events(app, "gig.new")) == 1


@pytest.mark.req("G2", "G11")
def test_workers_near_a_gig_are_found_by_the_spatial_index(app: App) -> None:
    gig = app.a_gig()
    with app.admin.transaction():
        app.admin.execute("alter table public.gig_alerts drop constraint gig_alerts_user_id_fkey")
        app.admin.execute(
            "insert into public.gig_alerts (user_id, location, radius_m) select gen_random_uuid(), "
            "extensions.st_makepoint(-180 + n % 360, -60 + n / 360), 50000 from generate_series(0, 20000) as n"
        )
    app.admin.execute("analyze public.gig_alerts")
    body = app.one("select prosrc from pg_proc where proname = 'workers_near_gig'")
    query = body.replace("(p_arguments ->> 'gig_id')::uuid", f"'{gig}'::uuid")
    plan = app.admin.execute(f"explain {query}").fetchall()
    assert any("gig_alerts_location_idx" in row["QUERY PLAN"] for row in plan), plan


@pytest.mark.req("G11")
def test_the_employer_hears_of_an_application_and_the_worker_of_the_decision(app: App) -> None:
    gig, employer = post_gig(app, title="Waiter", start_date="2030-05-01", shift_start="18:30")
    accepted, rejected = app.a_user(), app.a_user()
    app.admin.execute("update public.users set full_name = 'Aisyah' where id = %s", [accepted])
    for worker, decision in ((accepted, "accepted"), (rejected, "rejected")):
        application = app.call(worker, "apply_to_gig", p_gig_id=gig)["application_id"]
        for _ in range(2):  # said twice, decided once
            app.call(employer, "decide_application", p_application_id=application, p_decision=decision)
    first, second = events(app, "application.new")
    assert (str(first["subject_id"]), str(first["actor_id"])) == (employer, accepted)
    assert (first["context"]["worker"], second["context"]["worker"]) == ("Aisyah", "A worker")
    (yes,), (no,) = events(app, "application.accepted"), events(app, "application.rejected")
    assert (str(yes["subject_id"]), str(no["subject_id"])) == (accepted, rejected)
    assert yes["context"]["gig"] == "Waiter"
    assert yes["context"]["starts_at"].startswith("2030-05-01T10:30:00")  # half past six in Singapore


@pytest.mark.req("G11")
def test_a_shift_is_reminded_of_once_a_day_before_it_starts(app: App) -> None:
    gig = app.a_gig(start_date="2030-05-01", end_date="2030-05-02", shift_start="00:30")
    worker = app.an_accepted_worker(gig)
    app.call(app.a_user(), "apply_to_gig", p_gig_id=gig)  # waits for an answer
    cancelled = app.a_gig(start_date="2030-05-01", shift_start="00:30")
    app.an_accepted_worker(cancelled)
    app.admin.execute("update public.gigs set status = 'cancelled' where id = %s", [cancelled])

    def remind(at: str) -> int:
        return int(app.one("select private.remind_of_shifts(%s)", at))

    assert remind("2030-04-30 22:29+08") == 0
    assert remind("2030-04-30 22:30+08") == 1  # the shift is after midnight
    assert remind("2030-05-01 00:29+08") == 0
    assert remind("2030-05-01 00:30+08") == 0
    assert remind("2030-05-02 00:20+08") == 1
    assert remind("2030-05-03 00:00+08") == 0
    told = events(app, "shift.reminder")
    assert {str(event["subject_id"]) for event in told} == {worker}
    assert {event["dedup_key"][-10:] for event in told} == {"2030-05-01", "2030-05-02"}
    assert all(event["expires_at"] for event in told)
    schedule = app.admin.execute(
        "select schedule, active from cron.job where jobname = 'gigwork-shift-reminders'"
    ).fetchone()
    assert schedule == {"schedule": "*/5 * * * *", "active": True}


# News that waits

ADD_ROW = """
insert into public.notification_queue (event_id, user_id, channel, provider, address, status)
select id, %s, 'push', 'fcm', 'token', %s from public.notification_events where event_type = %s and context @> %s
"""


def a_gig_that_begins_soon(app: App) -> tuple[str, str]:
    begins = app.admin.execute(
        """
        select at::date as start_date, at::date as end_date, at::time as shift_start
        from (select (now() + interval '1 hour') at time zone 'Asia/Singapore' as at) as soon
        """
    ).fetchone()
    assert begins is not None
    return post_gig(app, **begins)


def apply(app: App, gig: str, employer: str, decision: str | None = None) -> tuple[str, str]:
    """A worker and their application, decided or not."""
    worker = app.a_user()
    application = app.call(worker, "apply_to_gig", p_gig_id=gig)["application_id"]
    if decision:
        app.call(employer, "decide_application", p_application_id=application, p_decision=decision)
    return worker, application


def queued(app: App, *statuses: str) -> set[str]:
    """The kinds of messages of these statuses."""
    rows = app.admin.execute(
        """
        select distinct e.event_type from public.notification_queue as q
        join public.notification_events as e on e.id = q.event_id where q.status = any (%s)
        """,
        [list(statuses)],
    ).fetchall()
    return {row["event_type"] for row in rows}


@pytest.mark.req("G11")
@pytest.mark.parametrize(
    ("end", "taken_back"),
    [
        ("close_gig", {"gig.new"}),
        ("complete_gig", {"gig.new", "application.new", "application.accepted", "shift.reminder"}),
        ("cancel_gig", {"gig.new", "application.new", "application.accepted", "application.rejected",
                        "shift.reminder"}),
        ("withdraw_application", {"application.new", "application.accepted", "shift.reminder"}),
    ],
)  # fmt: skip
def test_news_of_what_is_over_is_not_told_any_more(app: App, end: str, taken_back: set[str]) -> None:
    gig, employer = a_gig_that_begins_soon(app)
    worker, application = apply(app, gig, employer, "accepted")
    if end != "withdraw_application":
        apply(app, gig, employer, "rejected")
    assert app.one("select private.remind_of_shifts()") == 1
    about = json.dumps({"data": {"gig_id": gig}})
    kinds = ("gig.new", "application.new", "application.accepted", "shift.reminder")
    told = {*kinds} if end == "withdraw_application" else {*kinds, "application.rejected"}
    for event_type in kinds:
        for status in ("sent", "held", "digest"):
            app.admin.execute(ADD_ROW, [worker, status, event_type, about])
    same, boss = a_gig_that_begins_soon(app)  # of which everything is told
    apply(app, same, boss, "accepted")
    assert app.one("select private.remind_of_shifts()") == 1
    match end:
        case "withdraw_application":
            app.call(worker, end, p_application_id=application)
        case "cancel_gig":
            app.call(employer, end, p_gig_id=gig, p_reason="Rain")
        case _:
            app.call(employer, end, p_gig_id=gig)
    statuses = app.admin.execute(
        "select event_type, status from public.notification_events where context @> %s", [about]
    ).fetchall()
    cancelled = {row["event_type"] for row in statuses if row["status"] == "cancelled"}
    assert cancelled == taken_back
    assert {row["event_type"] for row in statuses if row["event_type"] not in cancelled} == told - taken_back
    assert queued(app, "held", "digest") == set(kinds) - taken_back
    assert queued(app, "sent") == set(kinds)
    others = "select count(*) from public.notification_events where not context @> %s and status <> 'pending'"
    assert app.one(others, about) == 0


@pytest.mark.req("G11")
def test_a_reminder_that_is_written_while_its_gig_is_cancelled_is_taken_back(app: App) -> None:
    first, second = a_gig_that_begins_soon(app), a_gig_that_begins_soon(app)
    for gig, employer in (first, second):
        apply(app, gig, employer, "accepted")
    with ThreadPoolExecutor(1) as other:
        with app.admin.transaction():  # the reminders first
            assert app.one("select private.remind_of_shifts()") == 2
            cancelled = other.submit(app.call, first[1], "cancel_gig", p_gig_id=first[0], p_reason="Rain")
            wait_for_blocked_sessions(app)
        cancelled.result()
        (taken_back,) = [event for event in events(app, "shift.reminder") if event["status"] == "cancelled"]
        assert taken_back["context"]["data"]["gig_id"] == first[0]
        third, boss = a_gig_that_begins_soon(app)
        apply(app, third, boss, "accepted")
        with app.admin.transaction():  # and the cancellation first: the reminders do not wait for it
            app.admin.execute("update public.gigs set status = 'cancelled' where id = %s", [third])
            with psycopg.connect(app.access.conninfo("postgres")) as schedule:
                assert schedule.execute("select private.remind_of_shifts()").fetchone() == (0,)
    assert app.one("select private.remind_of_shifts()") == 0


@pytest.mark.req("G11")
def test_a_shift_is_told_by_the_clock_of_the_worker(app: App) -> None:
    gig, employer = post_gig(app, start_date="2030-05-01", end_date="2030-05-01", shift_start="23:30")
    at_home, abroad = app.a_user(), app.a_user()
    with app.acting_as(abroad) as connection:
        connection.execute("update public.users set time_zone = 'Asia/Tokyo'")
    for worker in (at_home, abroad):
        application = app.call(worker, "apply_to_gig", p_gig_id=gig)["application_id"]
        app.call(employer, "decide_application", p_application_id=application, p_decision="accepted")
    assert app.one("select private.remind_of_shifts('2030-05-01 22:00+08')") == 2
    for event_type in ("application.accepted", "shift.reminder"):
        told = {
            str(event["subject_id"]): (event["context"]["starts_day"], event["context"]["starts_time"])
            for event in events(app, event_type)
        }
        assert told == {at_home: ("01.05.2030", "23:30"), abroad: ("02.05.2030", "00:30")}
        instants = {event["context"]["starts_at"] for event in events(app, event_type)}
        assert instants == {"2030-05-01T15:30:00+00:00"}


@pytest.mark.req("G7", "G11")
def test_an_achievement_is_told_in_the_transaction_that_unlocks_it(app: App) -> None:
    gig = app.a_gig()
    worker = app.an_accepted_worker(gig)
    shift = app.call(worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)["timesheet_id"]
    receipt = app.call(worker, "clock_out", p_timesheet_id=shift, p_lat=NEAR, p_lng=LNG)
    told = events(app, "achievement.unlocked")
    assert len(told) == len(receipt["new_achievements"]) > 0
    assert {str(event["subject_id"]) for event in told} == {worker}


@pytest.mark.req("G11")
def test_a_payout_is_told_to_who_is_paid(app: App) -> None:
    employer = app.a_user(employer=True)
    worker, sheet = a_shift(app, employer)
    app.call(employer, "approve_timesheet", p_timesheet_id=sheet)
    app.call(employer, "create_payout_batch", **PERIOD)
    paid = app.admin.execute("select amount::text, currency from public.payouts").fetchone()
    assert paid is not None
    (event,) = events(app, "payout.made")
    assert str(event["subject_id"]) == worker
    told = event["context"]
    assert (told["amount"], told["currency"], told["hours"]) == (paid["amount"], paid["currency"], "8.00")


@pytest.mark.req("G11")
def test_what_people_do_goes_on_when_nobody_can_be_told(app: App) -> None:
    gig, employer = post_gig(app)
    app.admin.execute("update public.notification_templates set is_active = false")
    worker = app.a_user()
    application = app.call(worker, "apply_to_gig", p_gig_id=gig)["application_id"]
    app.call(employer, "decide_application", p_application_id=application, p_decision="accepted")
    assert events(app, "application.new") == []


@pytest.mark.req("G11")
def test_every_event_has_its_texts_in_english_and_malay(app: App) -> None:
    rows = app.admin.execute(
        "select event_type, locale, array_agg(channel order by channel) as channels "
        "from public.notification_templates group by event_type, locale"
    ).fetchall()
    texts = {(row["event_type"], row["locale"]): row["channels"] for row in rows}
    assert {name for name, _ in texts} == set(EVENTS)
    for event_type in EVENTS:
        assert {"in_app", "push"} <= set(texts[event_type, "en"])
        if not event_type.startswith("message"):  # whose words are its sender's
            assert texts[event_type, "ms"] == texts[event_type, "en"]


@pytest.mark.req("G11")
def test_a_database_from_before_keeps_its_notifications_and_devices(
    template: DatabaseAccess, clone_database: CloneDatabase
) -> None:
    """The table that the app had becomes the engine's, which has added to it what it needs; and back."""
    before = [path for path in MIGRATIONS if path.name < "20260105120000"]
    user = "00000000-0000-4000-8000-000000000001"
    with clone_database(template.dbname) as access:
        with psycopg.connect(access.conninfo("postgres"), autocommit=True) as owner:
            for path in before:
                run(owner, path)
            owner.execute((APP / "tests" / "earlier_notifications.sql").read_bytes())
            owner.execute(
                "create schema if not exists supabase_migrations; create table if not exists "
                "supabase_migrations.schema_migrations (version text primary key, statements text[], name text)"
            )
            for path in before:
                owner.execute(
                    "insert into supabase_migrations.schema_migrations (version, name) values (%s, %s)",
                    path.stem.split("_", 1),
                )
            owner.execute("insert into auth.users (id, email) values (%s, 'a@example.com')", [user])
            owner.execute(
                "insert into public.device_tokens (user_id, token, platform) values (%s, 't', 'ios')", [user]
            )
            owner.execute(
                "insert into public.notifications (user_id, kind, title) values (%s, 'welcome', 'Hello')",
                [user],
            )
        apply_modules(access, without_seeds())
        migrate(access, without_seeds())
        with psycopg.connect(access.conninfo("postgres"), autocommit=True) as owner:
            kept = owner.execute("select type, title, channel from public.notifications").fetchall()
            assert kept == [("welcome", "Hello", "in_app")]
            devices = "select provider, address, label from public.notification_channels"
            assert owner.execute(devices).fetchall() == [("fcm", "t", "ios")]
            for path in reversed(MIGRATIONS[len(before) :]):
                run(owner, ROLLBACKS / path.name)
            assert owner.execute("select token, platform from public.device_tokens").fetchall() == [
                ("t", "ios")
            ]
            assert owner.execute(devices).fetchall() == []
