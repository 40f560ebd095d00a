"""Row-level security of every table: each person sees and changes their own rows and nothing else."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from .acting import FAR, LNG, NEAR, App

Refused = Callable[..., psycopg.Error]
PRIVATE_TABLES = (
    "users", "gig_applications", "timesheets", "points_log", "user_achievements", "gig_alerts",
    "notification_channels", "notifications",
)  # fmt: skip
ALL_TABLES = (*PRIVATE_TABLES, "gigs", "achievements", "leaderboard")


@pytest.fixture(scope="module")
def app(shared_app: App) -> App:
    return shared_app


@pytest.fixture(scope="module")
def busy_worker(app: App) -> str:
    """A worker with a row in every private table."""
    gig = app.a_gig()
    worker = app.an_accepted_worker(gig)
    sheet = app.call(worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)["timesheet_id"]
    app.call(worker, "clock_out", p_timesheet_id=sheet, p_lat=NEAR, p_lng=LNG)
    app.call(worker, "register_device", p_token="token-1", p_platform="ios")
    app.admin.execute(
        "insert into public.notifications (user_id, type, title) values (%s, 'message', 'Hi')", [worker]
    )
    app.admin.execute(
        "insert into public.gig_alerts (user_id, location) values (%s, 'POINT(101.7 3.1)')", [worker]
    )
    return worker


@pytest.mark.req("G1")
def test_row_level_security_is_on_everywhere(app: App) -> None:
    without = app.admin.execute(
        """
        select relname from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relrowsecurity
        """
    ).fetchall()
    assert without == []


@pytest.mark.req("G1", "G14")
@pytest.mark.parametrize("table", PRIVATE_TABLES)
def test_a_user_sees_their_own_rows_only(app: App, busy_worker: str, table: str) -> None:
    stranger = app.a_user()
    owner_column = "id" if table == "users" else "user_id"
    with app.acting_as(busy_worker) as connection:
        mine = connection.execute(f"select {owner_column}::text as owner from public.{table}").fetchall()
    assert mine
    assert {row["owner"] for row in mine} == {busy_worker}
    with app.acting_as(stranger) as connection:
        query = f"select * from public.{table} where {owner_column} <> %s"
        assert connection.execute(query, [stranger]).fetchall() == []


@pytest.mark.req("G1", "G14")
@pytest.mark.parametrize("table", PRIVATE_TABLES)
def test_nobody_signed_in_sees_nothing(app: App, busy_worker: str, table: str) -> None:
    with app.acting_as(None) as connection, suppress(psycopg.errors.InsufficientPrivilege):
        assert connection.execute(f"select * from public.{table}").fetchall() == []


@pytest.mark.req("G1", "G14")
@pytest.mark.parametrize("table", ALL_TABLES)
@pytest.mark.parametrize("verb", ["update", "delete"])
def test_a_stranger_changes_no_row(app: App, busy_worker: str, table: str, verb: str) -> None:
    stranger = app.a_user()
    column = "id" if table == "users" else "created_at"
    exclude = f"id <> '{stranger}'" if table == "users" else "true"
    sql = f"delete from public.{table} where {exclude}"
    if verb == "update":
        sql = f"update public.{table} set {column} = {column} where {exclude}"
    with app.acting_as(stranger) as connection, suppress(psycopg.errors.InsufficientPrivilege):
        assert connection.execute(sql).rowcount == 0


@pytest.mark.req("G1", "G8")
@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("points_log", {"points": 1000, "reason": "greed"}),
        ("user_achievements", {}),
        ("notifications", {"type": "message", "title": "x"}),
        ("timesheets", {"hourly_rate": 1000}),
    ],
)
def test_a_client_writes_none_of_what_the_app_awards(
    app: App, refused: Refused, table: str, values: dict[str, Any]
) -> None:
    worker = app.a_user()
    row = {"user_id": worker, **values}
    names, marks = ", ".join(row), ", ".join(f"%({name})s" for name in row)

    def insert() -> None:
        with app.acting_as(worker) as connection:
            connection.execute(f"insert into public.{table} ({names}) values ({marks})", row)

    refused("42501", insert)


@pytest.mark.req("G1", "G8")
@pytest.mark.parametrize("assignment", ["total_points = 1000", "role = 'employer'", "current_streak = 99"])
def test_a_user_cannot_promote_themselves(app: App, refused: Refused, assignment: str) -> None:
    worker = app.a_user()

    def update() -> None:
        with app.acting_as(worker) as connection:
            connection.execute(f"update public.users set {assignment} where id = %s", [worker])

    refused("42501", update)


@pytest.mark.req("G1")
def test_a_user_changes_their_own_profile(app: App) -> None:
    worker = app.a_user()
    with app.acting_as(worker) as connection:
        assert connection.execute("update public.users set full_name = 'Ada'").rowcount == 1
    assert app.one("select full_name from public.users where id = %s", worker) == "Ada"


@pytest.mark.req("G1", "G3")
def test_drafts_are_seen_by_their_employer_only(app: App) -> None:
    employer = app.a_user(employer=True)
    draft = app.a_gig(employer, status="draft", published_at=None)
    for person, seen in ((employer, 1), (app.a_user(), 0), (None, 0)):
        with app.acting_as(person) as connection:
            rows = connection.execute("select id from public.gigs where id = %s", [draft]).fetchall()
            assert len(rows) == seen


@pytest.mark.req("G1")
def test_only_employers_post_gigs_and_only_as_themselves(app: App, refused: Refused) -> None:
    employer, other, worker = app.a_user(employer=True), app.a_user(employer=True), app.a_user()
    insert = """
        insert into public.gigs (employer_id, title, category, location, hourly_rate, start_date, end_date)
        values (%s, 'Cook', 'food_service', 'POINT(101 3)', 10, '2026-01-01', '2026-01-02')
    """

    def post(person: str, owner: str) -> None:
        with app.acting_as(person) as connection:
            connection.execute(insert, [owner])

    post(employer, employer)
    refused("42501", post, employer, other)
    refused("42501", post, worker, worker)


@pytest.mark.req("G4")
def test_an_employer_sees_and_decides_applications_to_their_own_gigs_only(app: App, refused: Refused) -> None:
    employer, other = app.a_user(employer=True), app.a_user(employer=True)
    application = app.call(app.a_user(), "apply_to_gig", p_gig_id=app.a_gig(employer))["application_id"]
    for person, seen in ((employer, 1), (other, 0)):
        with app.acting_as(person) as connection:
            assert len(connection.execute("select id from public.gig_applications").fetchall()) == seen
    decision = {"p_application_id": application, "p_decision": "accepted"}
    refused("APPLICATION_NOT_FOUND", app.call, other, "decide_application", **decision)


@pytest.mark.req("G1")
def test_every_security_definer_routine_pins_its_search_path(app: App) -> None:
    loose = app.admin.execute(
        """
        select p.oid::regprocedure::text as routine from pg_proc as p
        where p.prosecdef and p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
            and not exists (select from unnest(p.proconfig) as setting where setting like 'search_path=%')
            and not exists (select from pg_depend where objid = p.oid and deptype = 'e')
        """
    ).fetchall()
    assert loose == []


@pytest.mark.req("G1")
def test_tables_and_routines_carry_comments(app: App) -> None:
    bare = app.admin.execute(
        """
        select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'm')
            and obj_description(oid, 'pg_class') is null
        union all
        select p.oid::regprocedure::text from pg_proc as p where p.pronamespace = 'public'::regnamespace
            and obj_description(p.oid, 'pg_proc') is null
            and not exists (select from pg_depend where objid = p.oid and deptype = 'e')
        """
    ).fetchall()
    assert bare == []


@pytest.mark.req("G5")
def test_a_strangers_timesheet_cannot_be_closed(app: App, refused: Refused) -> None:
    gig = app.a_gig()
    worker = app.an_accepted_worker(gig)
    sheet = app.call(worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)["timesheet_id"]
    refused(
        "TIMESHEET_NOT_FOUND",
        app.call,
        app.a_user(),
        "clock_out",
        p_timesheet_id=sheet,
        p_lat=NEAR,
        p_lng=LNG,
    )
    refused("INVALID_LOCATION", app.call, worker, "clock_out", p_timesheet_id=sheet, p_lat=FAR, p_lng=LNG)
