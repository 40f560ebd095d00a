"""Accounts, employers and devices: profiles that follow Auth, the employer's side, and what a client cannot write."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import psycopg
import pytest

from .acting import LAT, LNG, NEAR, App, wait_for_blocked_sessions

Refused = Callable[..., psycopg.Error]


# Profiles


@pytest.mark.req("G1", "G10")
def test_a_profile_follows_the_account(app: App) -> None:
    user_id = app.one(
        """
        insert into auth.users (id, aud, role, phone, raw_user_meta_data)
        values (gen_random_uuid(), 'authenticated', 'authenticated', '60120000001',
            '{"full_name": " Aisyah Rahman ", "role": "employer", "total_points": 9000}')
        returning id
        """
    )
    app.admin.execute("update auth.users set email = 'aisyah@example.com' where id = %s", [user_id])
    profile = app.admin.execute("select * from public.users where id = %s", [user_id]).fetchone()
    assert profile is not None
    assert (profile["phone"], profile["email"]) == ("60120000001", "aisyah@example.com")
    assert profile["full_name"] == "Aisyah Rahman"
    assert (profile["role"], profile["total_points"]) == ("worker", 0), "metadata is written by the client"


@pytest.mark.req("G1")
def test_a_deleted_account_takes_its_rows_and_cancels_its_gigs(app: App) -> None:
    employer = app.a_user(employer=True)
    gig = app.a_gig(employer)
    worker = app.an_accepted_worker(gig)
    app.call(worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)
    app.admin.execute("delete from auth.users where id = %s", [worker])
    for table in ("gig_applications", "timesheets", "points_log"):
        assert app.one(f"select count(*) from public.{table} where user_id = %s", worker) == 0, table
    assert app.one("select filled_count from public.gigs where id = %s", gig) == 0
    app.admin.execute("delete from auth.users where id = %s", [employer])
    assert app.one("select status from public.gigs where id = %s and employer_id is null", gig) == "cancelled"


@pytest.mark.req("G13")
def test_a_token_of_a_deleted_account_is_nobody(shared_app: App, refused: Refused) -> None:
    worker, gig = shared_app.a_user(), shared_app.a_gig()
    shared_app.admin.execute("delete from auth.users where id = %s", [worker])
    error = refused("UNAUTHORIZED", shared_app.call, worker, "apply_to_gig", p_gig_id=gig)
    assert error.sqlstate == "PT401"


@pytest.mark.req("G1")
def test_every_table_but_the_engines_logs_has_both_times(app: App) -> None:
    missing = """
    select array_agg(c.relname::text order by 1)
    from pg_class as c
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
        and (select count(*) from pg_attribute as a
            where a.attrelid = c.oid and a.attname in ('created_at', 'updated_at')) < 2
    """
    assert app.one(missing) == ["notification_deliveries", "notification_events", "notification_queue"]
    reader = app.a_user()
    told = (
        "insert into public.notifications (user_id, type, title, created_at, updated_at) "
        "values (%s, 'message', 'Hello', '2026-01-01', '2026-01-01') returning id"
    )
    notification = app.one(told, reader)
    with app.acting_as(reader) as connection:
        connection.execute("update public.notifications set read_at = now() where id = %s", [notification])
    kept = "select created_at = '2026-01-01' and updated_at > '2026-01-01' from public.notifications where id = %s"
    assert app.one(kept, notification)


@pytest.mark.req("G1")
@pytest.mark.parametrize(
    "table",
    ["users", "gigs", "gig_applications", "timesheets", "achievements", "user_achievements", "leaderboard",
     "gig_alerts"],
)  # fmt: skip
def test_times_are_kept_by_triggers(app: App, table: str) -> None:
    gig = app.a_gig()
    worker = app.an_accepted_worker(gig)
    sheet = app.call(worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)["timesheet_id"]
    app.call(worker, "clock_out", p_timesheet_id=sheet, p_lat=NEAR, p_lng=LNG)
    app.admin.execute(
        "insert into public.gig_alerts (user_id, location) values (%s, 'POINT(101.7 3.1)')", [worker]
    )
    app.call(None, "refresh_leaderboard", as_role="service_role", p_period_type="weekly")
    touched = f"update public.{table} set created_at = '2000-01-01', updated_at = '2000-01-01'"
    assert app.admin.execute(touched).rowcount > 0
    wrong = (
        f"select count(*) from public.{table} where created_at < '2020-01-01' or updated_at < '2020-01-01'"
    )
    assert app.one(wrong) == 0


# What a client can write at all: column by column, from the grants.

PREFERENCES = {
    "user_id", "channel_settings", "digest_frequency", "rate_limit_per_hour", "quiet_hours_start",
    "quiet_hours_end", "timezone", "locale",
}  # fmt: skip
WRITABLE = {
    ("users", "UPDATE"): {"full_name", "avatar_url", "skills", "time_zone"},
    ("gig_applications", "INSERT"): {"user_id", "gig_id", "cover_message"},
    ("gig_alerts", "INSERT"): {
        "user_id", "location", "radius_m", "categories", "min_hourly_rate", "is_enabled",
    },
    ("gig_alerts", "UPDATE"): {
        "user_id", "location", "radius_m", "categories", "min_hourly_rate", "is_enabled",
    },
    ("notification_channels", "INSERT"): {"user_id", "channel", "provider", "address", "label", "is_enabled"},
    ("notification_channels", "UPDATE"): {"label", "is_enabled"},
    ("notification_preferences", "INSERT"): PREFERENCES,
    ("notification_preferences", "UPDATE"): PREFERENCES,
    ("notifications", "UPDATE"): {"read_at", "archived_at"},
    ("gigs", "INSERT"): {
        "id", "employer_id", "title", "description", "category", "address", "city", "location", "hourly_rate",
        "currency", "start_date", "end_date", "shift_start", "shift_end", "capacity", "status", "published_at",
    },
    ("gigs", "UPDATE"): {
        "title", "description", "category", "address", "city", "location", "hourly_rate", "currency", "start_date",
        "end_date", "shift_start", "shift_end", "capacity", "status", "published_at",
    },
}  # fmt: skip


@pytest.mark.req("G1", "G8")
def test_clients_write_these_columns_and_no_others(shared_app: App) -> None:
    granted: dict[tuple[str, str], set[str]] = {}
    for row in shared_app.admin.execute(
        """
        select c.relname, verb, a.attname
        from pg_class as c
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        cross join unnest(array['INSERT', 'UPDATE']) as verb
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
            and has_column_privilege('authenticated', c.oid, a.attname, verb)
        """
    ):
        granted.setdefault((row["relname"], row["verb"]), set()).add(row["attname"])
    assert granted == WRITABLE


@pytest.mark.req("G1")
def test_nobody_signed_in_writes_nothing(shared_app: App) -> None:
    rows = shared_app.admin.execute(
        """
        select c.relname, verb from pg_class as c
        cross join unnest(array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) as verb
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'm') and (
            has_table_privilege('anon', c.oid, verb)
            or (verb in ('INSERT', 'UPDATE') and has_any_column_privilege('anon', c.oid, verb)))
        """
    ).fetchall()
    assert rows == []


@pytest.mark.req("G8")
@pytest.mark.parametrize("column", ["total_points", "current_streak", "longest_streak"])
def test_even_the_service_role_cannot_write_a_balance(shared_app: App, refused: Refused, column: str) -> None:
    worker = shared_app.a_user()

    def update() -> None:
        with shared_app.acting_as(None, "service_role") as connection:
            connection.execute(f"update public.users set {column} = 5 where id = %s", [worker])

    refused("42501", update)


@pytest.mark.req("G1")
def test_internal_routines_cannot_be_called_by_clients(shared_app: App) -> None:
    callable_ones = {
        row["name"]
        for row in shared_app.admin.execute(
            """
            select p.proname as name from pg_proc as p
            cross join unnest(array['anon', 'authenticated']) as caller
            where p.pronamespace = 'private'::regnamespace and has_function_privilege(caller, p.oid, 'execute')
            """
        )
    }
    about_the_caller = {"is_employer", "gigs_i_applied_to"}  # policies need these two
    about_what_all_may_see = {"find_gigs", "leaderboard_period"}
    harmless = {"fail", "is_time_zone", "point_at", "singapore_day"}
    assert callable_ones == about_the_caller | about_what_all_may_see | harmless


@pytest.mark.req("G1", "G14")
def test_no_one_inserts_a_row_in_anothers_name(shared_app: App, refused: Refused) -> None:
    worker, victim, gig = shared_app.a_user(), shared_app.a_user(), shared_app.a_gig()

    def insert(table: str, **values: Any) -> None:
        names, marks = ", ".join(values), ", ".join(f"%({name})s" for name in values)
        with shared_app.acting_as(worker) as connection:
            connection.execute(f"insert into public.{table} ({names}) values ({marks})", values)

    refused("42501", insert, "gig_applications", user_id=victim, gig_id=gig)
    refused("42501", insert, "gig_alerts", user_id=victim, location="POINT(101.7 3.1)")
    refused("42501", insert, "users", id=victim)


# The employer's side


@pytest.mark.req("G4")
def test_a_plain_insert_obeys_the_rules_of_the_routine(shared_app: App, refused: Refused) -> None:
    worker, gig, closed = shared_app.a_user(), shared_app.a_gig(), shared_app.a_gig(status="closed")

    def insert(gig_id: str) -> None:
        with shared_app.acting_as(worker) as connection:
            connection.execute("insert into public.gig_applications (gig_id) values (%s)", [gig_id])

    insert(gig)
    assert shared_app.balance(worker) == 10
    refused("ALREADY_APPLIED", insert, gig)
    refused("GIG_CLOSED", insert, closed)


@pytest.mark.req("G4")
def test_an_employer_cannot_apply_to_their_own_gig(shared_app: App, refused: Refused) -> None:
    employer = shared_app.a_user(employer=True)
    refused("OWN_GIG", shared_app.call, employer, "apply_to_gig", p_gig_id=shared_app.a_gig(employer))


@pytest.mark.req("G4")
def test_a_decision_stands_and_repeating_it_changes_nothing(shared_app: App, refused: Refused) -> None:
    employer = shared_app.a_user(employer=True)
    gig = shared_app.a_gig(employer, capacity=1)
    first, second = (
        shared_app.call(shared_app.a_user(), "apply_to_gig", p_gig_id=gig)["application_id"] for _ in "12"
    )

    def decide(application: str, decision: str) -> Any:
        return shared_app.call(
            employer, "decide_application", p_application_id=application, p_decision=decision
        )

    accepted = decide(first, "accepted")
    assert decide(first, "accepted") == accepted
    assert accepted["filled_count"] == 1
    refused("ALREADY_DECIDED", decide, first, "rejected")
    refused("GIG_FULL", decide, second, "accepted")
    assert decide(second, "rejected")["status"] == "rejected"
    refused("VALIDATION_ERROR", decide, second, "perhaps")


@pytest.mark.req("G4")
def test_withdrawing_frees_the_place_but_does_not_open_a_second_try(
    shared_app: App, refused: Refused
) -> None:
    gig = shared_app.a_gig(capacity=1)
    worker = shared_app.an_accepted_worker(gig)
    application = str(shared_app.one("select id from public.gig_applications where user_id = %s", worker))
    withdraw = {"p_application_id": application}
    refused("APPLICATION_NOT_FOUND", shared_app.call, shared_app.a_user(), "withdraw_application", **withdraw)
    for _ in range(2):
        assert shared_app.call(worker, "withdraw_application", **withdraw)["status"] == "withdrawn"
    assert shared_app.one("select filled_count from public.gigs where id = %s", gig) == 0
    refused("ALREADY_APPLIED", shared_app.call, worker, "apply_to_gig", p_gig_id=gig)
    refused("NOT_ACCEPTED", shared_app.call, worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)
    assert shared_app.balance(worker) == 10
    shared_app.an_accepted_worker(gig)


@pytest.mark.req("G4")
def test_a_place_that_was_worked_at_cannot_be_withdrawn_from(shared_app: App, refused: Refused) -> None:
    gig = shared_app.a_gig()
    worker = shared_app.an_accepted_worker(gig)
    shared_app.call(worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)
    application = str(shared_app.one("select id from public.gig_applications where user_id = %s", worker))
    refused("ALREADY_STARTED", shared_app.call, worker, "withdraw_application", p_application_id=application)


@pytest.mark.req("G1", "G4")
def test_applicants_are_shown_to_the_employer_without_phone_and_address(shared_app: App) -> None:
    employer, worker = shared_app.a_user(employer=True), shared_app.a_user()
    gig = shared_app.a_gig(employer)
    shared_app.call(worker, "apply_to_gig", p_gig_id=gig, p_cover_message="I am near")
    for person, seen in ((employer, [worker]), (shared_app.a_user(employer=True), []), (worker, [])):
        with shared_app.acting_as(person) as connection:
            rows = connection.execute("select * from public.list_applicants(%s)", [gig]).fetchall()
        assert [str(row["user_id"]) for row in rows] == seen
        assert not any({"phone", "email"} & row.keys() for row in rows)


@pytest.mark.req("G1")
def test_a_worker_still_sees_a_gig_that_closed_after_they_applied(shared_app: App) -> None:
    worker, gig = shared_app.a_user(), shared_app.a_gig()
    shared_app.call(worker, "apply_to_gig", p_gig_id=gig)
    shared_app.admin.execute("update public.gigs set status = 'closed' where id = %s", [gig])
    for person, seen in ((worker, 1), (shared_app.a_user(), 0)):
        with shared_app.acting_as(person) as connection:
            rows = connection.execute("select id from public.gigs where id = %s", [gig]).fetchall()
        assert len(rows) == seen


@pytest.mark.req("G1")
def test_an_employer_sees_the_timesheets_of_their_gigs_only(app: App) -> None:
    employer, other = app.a_user(employer=True), app.a_user(employer=True)
    gig = app.a_gig(employer)
    app.call(app.an_accepted_worker(gig), "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)
    for person, seen in ((employer, 1), (other, 0)):
        with app.acting_as(person) as connection:
            assert len(connection.execute("select id from public.timesheets").fetchall()) == seen


@pytest.mark.req("G1")
def test_an_employer_deletes_drafts_only(app: App) -> None:
    employer = app.a_user(employer=True)
    draft, posted = app.a_gig(employer, status="draft", published_at=None), app.a_gig(employer)
    with app.acting_as(employer) as connection:
        assert connection.execute("delete from public.gigs").rowcount == 1
    assert app.one("select id from public.gigs where id = %s", draft) is None
    assert app.one("select id from public.gigs where id = %s", posted) is not None


@pytest.mark.req("G1")
def test_a_capacity_cannot_fall_below_the_accepted(shared_app: App, refused: Refused) -> None:
    employer = shared_app.a_user(employer=True)
    gig = shared_app.a_gig(employer, capacity=2)
    for _ in range(2):
        shared_app.an_accepted_worker(gig)

    def shrink() -> None:
        with shared_app.acting_as(employer) as connection:
            connection.execute("update public.gigs set capacity = 1 where id = %s", [gig])

    refused("23514", shrink)


# Devices and notifications


@pytest.mark.req("G1")
def test_a_device_belongs_to_whoever_signed_in_last(app: App, refused: Refused) -> None:
    first, second = app.a_user(), app.a_user()
    for person in (first, second):
        app.call(person, "register_device", p_token="token", p_platform="android")
    assert str(app.one("select user_id from public.notification_channels")) == second
    refused("VALIDATION_ERROR", app.call, first, "register_device", p_token="", p_platform="android")
    refused("VALIDATION_ERROR", app.call, first, "register_device", p_token="t", p_platform="fax")


@pytest.mark.req("G1")
def test_a_user_marks_their_own_notifications_as_read(app: App, refused: Refused) -> None:
    worker = app.a_user()
    app.admin.execute("insert into public.notifications (user_id, title) values (%s, 'Hello')", [worker])
    with app.acting_as(worker) as connection:
        assert connection.execute("update public.notifications set read_at = now()").rowcount == 1

    def rewrite() -> None:
        with app.acting_as(worker) as connection:
            connection.execute("update public.notifications set title = 'You won'")

    refused("42501", rewrite)


# Search, as a client


@pytest.mark.req("G2", "G3")
def test_a_clients_search_reads_the_spatial_index_and_not_the_table(app: App) -> None:
    """Row-level security would keep st_dwithin away from the index; search_gigs is how a client gets it."""
    app.admin.execute(
        """
        insert into public.gigs (
            employer_id, title, category, location, hourly_rate, start_date, end_date, status, published_at)
        select %s, 'Gig', 'retail', extensions.st_makepoint(101 + random(), 3 + random())::extensions.geography, 10,
            '2026-01-01', '2036-01-01', 'open', now()
        from generate_series(1, 5000)
        """,
        [app.a_user(employer=True)],
    )
    app.admin.execute("analyze public.gigs")
    with app.acting_as(app.a_user()) as connection:
        connection.execute("select * from public.search_gigs(null, 2, 3.5, 101.5)")
        scans = connection.execute(
            "select seq_scan, idx_scan from pg_stat_xact_user_tables where relid = 'public.gigs'::regclass"
        ).fetchone()
    assert scans is not None
    assert scans["seq_scan"] == 0
    assert scans["idx_scan"] > 0


@pytest.mark.req("G3", "G13")
@pytest.mark.parametrize(
    "arguments",
    [(None, 10, 91, 101), (None, 10, 3, 181), (None, 10, 3, None), (None, 10, "NaN", 101), (None, -1, 3, 101),
     (None, 10, 3, 101, 0, -1)],
)  # fmt: skip
def test_a_search_that_makes_no_sense_is_refused(
    shared_app: App, refused: Refused, arguments: tuple[object, ...]
) -> None:
    marks = ", ".join(
        f"%s::{kind}"
        for kind, _ in zip(("text", "int", "numeric", "numeric", "numeric", "int"), arguments, strict=False)
    )

    def search() -> None:
        with shared_app.acting_as(None) as connection:
            connection.execute(f"select * from public.search_gigs({marks})", arguments)

    assert refused("VALIDATION_ERROR", search).sqlstate == "PT400"


@pytest.mark.req("G3")
def test_pages_of_a_search_follow_each_other(app: App) -> None:
    gigs = [app.a_gig(location=f"POINT({LNG} {LAT + step * 0.001})") for step in range(5)]
    pages: list[str] = []
    for offset in (0, 2, 4):
        with app.acting_as(None) as connection:
            rows = connection.execute(
                "select id from public.search_gigs(null, 10, %s::numeric, %s::numeric, 0, 2, %s)",
                [LAT, LNG, offset],
            )
            pages += [str(row["id"]) for row in rows]
    assert pages == gigs


# Many at once


@pytest.fixture
def crowd() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(24) as pool:
        yield pool


@pytest.mark.req("G4", "G6", "G7")
def test_an_application_that_waits_for_a_clock_out_does_not_stop_it(
    app: App, crowd: ThreadPoolExecutor
) -> None:
    worker, gig = app.a_user(), app.a_gig()
    with app.admin.transaction():  # two steps of clock_out, with the application between them
        app.admin.execute("update public.users set current_streak = 0 where id = %s", [worker])
        application = crowd.submit(app.call, worker, "apply_to_gig", p_gig_id=gig)
        wait_for_blocked_sessions(app)
        app.admin.execute("select private.unlock_achievements(%s)", [worker])
    assert application.result()["points_earned"] == 10
    assert app.balance(worker) == 10


@pytest.mark.req("G5")
def test_a_withdrawal_that_waits_for_a_clock_in_does_not_stop_it(app: App, crowd: ThreadPoolExecutor) -> None:
    gig = app.a_gig()
    worker = app.an_accepted_worker(gig)
    application = str(app.one("select id from public.gig_applications where user_id = %s", worker))
    with app.admin.transaction():  # the two steps of clock_in, with the withdrawal between them
        app.admin.execute("select from public.gig_applications where id = %s for share", [application])
        withdrawal = crowd.submit(app.call, worker, "withdraw_application", p_application_id=application)
        wait_for_blocked_sessions(app)
        app.admin.execute(
            """
            insert into public.timesheets (user_id, gig_id, clock_in_location, hourly_rate)
            select %s, id, location, hourly_rate from public.gigs where id = %s
            """,
            [worker, gig],
        )
    error = withdrawal.exception()
    assert isinstance(error, psycopg.Error)
    assert "ALREADY_STARTED" in str(error)


@pytest.mark.long
@pytest.mark.req("G4", "G6", "G8")
def test_everything_at_once_refuses_by_rule_and_never_by_deadlock(
    app: App, crowd: ThreadPoolExecutor
) -> None:
    """Workers apply, clock in and out, withdraw and are awarded while employers decide: only the app's own
    errors come back, and every balance and count adds up."""
    employer = app.a_user(employer=True)
    gigs = [app.a_gig(employer, capacity=4) for _ in range(3)]
    workers = [app.an_accepted_worker(gigs[number % 3]) for number in range(6)]
    applications = [
        str(row["id"]) for row in app.admin.execute("select id from public.gig_applications").fetchall()
    ]

    def decide(worker: str, gig: str, number: int) -> None:
        chosen = applications[number % len(applications)]
        app.call(employer, "decide_application", p_application_id=chosen, p_decision="accepted")

    def withdraw(worker: str, gig: str, number: int) -> None:
        app.call(worker, "withdraw_application", p_application_id=applications[number % len(applications)])

    def clock_in(worker: str, gig: str, number: int) -> None:
        app.call(worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)

    def clock_out(worker: str, gig: str, number: int) -> None:
        with app.acting_as(worker) as connection:
            sheets = connection.execute("select id from public.timesheets where clock_out is null").fetchall()
        for sheet in sheets:
            app.call(worker, "clock_out", p_timesheet_id=sheet["id"], p_lat=NEAR, p_lng=LNG)

    def apply(worker: str, gig: str, number: int) -> None:
        app.call(worker, "apply_to_gig", p_gig_id=gig)

    def award(worker: str, gig: str, number: int) -> None:
        app.call(None, "increment_user_points", as_role="service_role", p_user_id=worker, p_points=1)

    def check(worker: str, gig: str, number: int) -> None:
        app.call(worker, "check_achievements")

    def attempt(step: tuple[int, Callable[[str, str, int], None]]) -> str | None:
        number, act = step
        try:
            act(workers[number % 6], gigs[number % 3], number)
        except psycopg.Error as error:
            return error.sqlstate
        return None

    acts = (apply, clock_in, check, clock_out, award, decide, clock_in, clock_out, withdraw)
    outcomes = list(crowd.map(attempt, enumerate(act for _, act in product(range(40), acts))))
    assert set(outcomes) <= {None, "PT403", "PT404", "PT409"}, outcomes
    assert outcomes.count(None) > 100
    for worker in workers:
        app.balance(worker)
    for gig in gigs:
        accepted = "select count(*) from public.gig_applications where gig_id = %s and status = 'accepted'"
        assert app.one("select filled_count from public.gigs where id = %s", gig) == app.one(accepted, gig)
    shifts = app.one("select count(*) from public.timesheets where clock_out is not null")
    assert app.one("select count(*) from public.points_log where reason = 'completed_shift'") == shifts > 0
