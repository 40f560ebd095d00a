"""Streaks, attendance, achievements and the standings of a period, over days that are chosen here."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from .conftest import LNG, NEAR, App

Refused = Callable[..., psycopg.Error]
TODAY = (datetime.now(UTC) + timedelta(hours=8)).date()  # in Asia/Singapore


def work(app: App, worker: str, clock_in: str, *, gig_id: str | None = None) -> dict[str, Any]:
    """A shift of a worker that began at `clock_in` and ends now; the answer of clock_out."""
    gig = gig_id or app.a_gig()
    if not app.one("select 1 from public.gig_applications where user_id = %s and gig_id = %s", worker, gig):
        accept(app, worker, gig)
    sheet = app.call(worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)["timesheet_id"]
    app.admin.execute("update public.timesheets set clock_in = %s where id = %s", [clock_in, sheet])
    answer: dict[str, Any] = app.call(worker, "clock_out", p_timesheet_id=sheet, p_lat=NEAR, p_lng=LNG)
    return answer


def accept(app: App, worker: str, gig_id: str) -> None:
    application = app.call(worker, "apply_to_gig", p_gig_id=gig_id)["application_id"]
    owner = str(app.one("select employer_id from public.gigs where id = %s", gig_id))
    app.call(owner, "decide_application", p_application_id=application, p_decision="accepted")


def codes(answer: dict[str, Any]) -> set[str]:
    return {achievement["code"] for achievement in answer["new_achievements"]}


def streaks(app: App, worker: str) -> tuple[int, int]:
    row = app.admin.execute(
        "select current_streak, longest_streak from public.users where id = %s", [worker]
    ).fetchone()
    assert row is not None
    return row["current_streak"], row["longest_streak"]


# Streaks


@pytest.mark.req("G6", "G7")
def test_consecutive_days_make_a_streak_and_a_missed_day_ends_it(app: App) -> None:
    worker = app.a_user()
    work(app, worker, "2026-03-02 09:00+08")
    work(app, worker, "2026-03-02 18:00+08")
    assert streaks(app, worker) == (1, 1)
    work(app, worker, "2026-03-03 09:00+08")
    assert "three_day_streak" in codes(work(app, worker, "2026-03-04 09:00+08"))
    assert streaks(app, worker) == (3, 3)
    work(app, worker, "2026-03-06 09:00+08")
    assert streaks(app, worker) == (1, 3)
    assert app.call(worker, "get_user_stats")["streak_days"] == 0


@pytest.mark.req("G6", "G7")
def test_a_day_of_a_streak_is_a_day_in_singapore(app: App) -> None:
    worker = app.a_user()
    work(app, worker, "2026-03-02 15:30+00")  # 23:30 on the 2nd
    work(app, worker, "2026-03-02 16:30+00")  # 00:30 on the 3rd
    assert streaks(app, worker) == (2, 2)


@pytest.mark.req("G8")
def test_a_running_streak_is_in_the_statistics(app: App) -> None:
    worker = app.a_user()
    work(app, worker, f"{TODAY - timedelta(days=1)} 09:00+08")
    assert app.call(worker, "get_user_stats")["streak_days"] == 1


# Achievements


@pytest.mark.req("G7")
def test_an_achievement_is_unlocked_once_and_its_bonus_given_once(app: App) -> None:
    worker = app.a_user()
    assert "first_shift" in codes(work(app, worker, "2026-03-02 09:00+08"))
    assert "first_shift" not in codes(work(app, worker, "2026-03-09 09:00+08"))
    assert app.call(worker, "check_achievements") == []
    awards = """
        select count(*) from public.points_log as p join public.achievements as a on a.id = p.source_id
        where p.user_id = %s and p.reason = 'achievement_unlock' and a.code = 'first_shift'
    """
    assert app.one(awards, worker) == 1
    app.balance(worker)


@pytest.mark.req("G7")
def test_hours_of_all_shifts_count(app: App) -> None:
    worker, gig = app.a_user(), app.a_gig()
    now = datetime.now(UTC)
    assert "forty_hours" not in codes(
        work(app, worker, str(now - timedelta(hours=39, minutes=50)), gig_id=gig)
    )
    assert "forty_hours" in codes(work(app, worker, str(now - timedelta(minutes=15)), gig_id=gig))


@pytest.mark.req("G7")
def test_perfect_attendance_needs_the_number_and_no_missed_gig(app: App) -> None:
    app.admin.execute("update public.achievements set criteria_value = 2 where code = 'always_there'")
    faithful, careless = app.a_user(), app.a_user()
    missed = app.a_gig()
    accept(app, careless, missed)
    app.admin.execute("update public.gigs set end_date = current_date - 2 where id = %s", [missed])
    for worker in (faithful, careless):
        work(app, worker, "2026-03-02 09:00+08")
    assert "always_there" in codes(work(app, faithful, "2026-03-03 09:00+08"))
    assert "always_there" not in codes(work(app, careless, "2026-03-03 09:00+08"))
    assert app.call(faithful, "get_user_stats")["attendance_rate"] == 100
    assert app.call(careless, "get_user_stats")["attendance_rate"] == pytest.approx(66.67)


@pytest.mark.req("G7")
def test_a_second_shift_at_one_gig_is_not_a_second_gig(app: App) -> None:
    worker, gig = app.a_user(), app.a_gig()
    work(app, worker, "2026-03-02 09:00+08", gig_id=gig)
    work(app, worker, "2026-03-03 09:00+08", gig_id=gig)
    stats = app.call(worker, "get_user_stats")
    assert (stats["gigs_completed"], stats["shifts_completed"]) == (1, 2)


@pytest.mark.req("G7")
def test_inactive_achievements_are_neither_listed_nor_unlocked(app: App) -> None:
    app.admin.execute("update public.achievements set is_active = false where code = 'first_shift'")
    with app.acting_as(None) as connection:
        listed = connection.execute("select code from public.achievements").fetchall()
    assert listed
    assert {"code": "first_shift"} not in listed
    assert "first_shift" not in codes(work(app, app.a_user(), "2026-03-02 09:00+08"))


@pytest.mark.req("G7")
def test_achievements_of_others_are_checked_by_the_service_only(app: App, refused: Refused) -> None:
    worker, stranger = app.a_user(), app.a_user()
    refused("FORBIDDEN", app.call, stranger, "check_achievements", p_user_id=worker)
    assert app.call(None, "check_achievements", as_role="service_role", p_user_id=worker) == []
    nobody = "00000000-0000-0000-0000-000000000000"
    refused("USER_NOT_FOUND", app.call, None, "check_achievements", as_role="service_role", p_user_id=nobody)
    refused("VALIDATION_ERROR", app.call, None, "check_achievements", as_role="service_role")


@pytest.mark.req("G8")
@pytest.mark.parametrize(("points", "level"), [(99, 1), (100, 2), (399, 2), (400, 3), (10000, 11)])
def test_levels_follow_the_points(app: App, points: int, level: int) -> None:
    worker = app.a_user()
    app.call(None, "increment_user_points", as_role="service_role", p_user_id=worker, p_points=points)
    assert app.one("select level from public.users where id = %s", worker) == level


@pytest.mark.req("G8")
def test_a_balance_leaves_its_range_in_neither_direction(app: App, refused: Refused) -> None:
    worker = app.a_user()

    def award(points: int) -> int:
        total: int = app.call(
            None, "increment_user_points", as_role="service_role", p_user_id=worker, p_points=points
        )
        return total

    assert award(30) == 30
    assert award(-10) == 20
    refused("POINTS_OUT_OF_RANGE", award, -21)
    refused("POINTS_OUT_OF_RANGE", award, 2147483647)
    refused("VALIDATION_ERROR", award, 0)
    assert app.balance(worker) == 20


# Standings


def log_points(app: App, points: int, at: str) -> str:
    worker = app.a_user()
    app.admin.execute(
        "insert into public.points_log (user_id, points, reason, created_at) values (%s, %s, 'adjustment', %s)",
        [worker, points, at],
    )
    return worker


def refresh(app: App, period: str, day: date | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = app.call(
        None, "refresh_leaderboard", as_role="service_role", p_period_type=period, p_period_start=day
    )
    return answer


def standings(app: App, period: str) -> list[tuple[str, int, int]]:
    rows = app.admin.execute(
        """
        select user_id::text, points_earned, rank from public.leaderboard where period_type = %s
        order by rank, user_id::text
        """,
        [period],
    ).fetchall()
    return [(row["user_id"], row["points_earned"], row["rank"]) for row in rows]


@pytest.mark.req("G8", "G9")
@pytest.mark.parametrize(
    ("period", "first_day", "inside", "outside"),
    [
        ("daily", "2026-03-04", ["2026-03-04 00:00+08", "2026-03-04 23:59+08"],
         ["2026-03-03 23:59+08", "2026-03-05 00:00+08"]),
        ("weekly", "2026-03-02", ["2026-03-02 00:00+08", "2026-03-08 23:59+08"],
         ["2026-03-01 23:59+08", "2026-03-09 00:00+08"]),
        ("monthly", "2026-03-01", ["2026-03-01 00:00+08", "2026-03-31 23:59+08"],
         ["2026-02-28 23:59+08", "2026-04-01 00:00+08"]),
        ("all_time", "1970-01-01", ["2020-01-01", "2026-03-04"], []),
    ],
)  # fmt: skip
def test_periods_are_calendar_periods_of_singapore(
    app: App, period: str, first_day: str, inside: list[str], outside: list[str]
) -> None:
    counted = {log_points(app, 10, at) for at in inside}
    for at in outside:
        log_points(app, 99, at)
    assert refresh(app, period, date(2026, 3, 4))["period_start"] == first_day
    assert {row[0] for row in standings(app, period)} == counted


@pytest.mark.req("G9")
def test_equal_points_share_a_rank(app: App) -> None:
    for points in (50, 50, 20):
        log_points(app, points, "2026-03-04 12:00+08")
    refresh(app, "daily", date(2026, 3, 4))
    assert [(points, rank) for _, points, rank in standings(app, "daily")] == [(50, 1), (50, 1), (20, 3)]


@pytest.mark.req("G8")
def test_a_second_refresh_follows_corrections(app: App) -> None:
    at = "2026-03-04 12:00+08"
    worker, gone = log_points(app, 50, at), log_points(app, 40, at)
    refresh(app, "daily", date(2026, 3, 4))
    app.admin.execute(
        """
        insert into public.points_log (user_id, points, reason, created_at)
        values (%s, 5, 'adjustment', %s), (%s, -40, 'adjustment', %s)
        """,
        [worker, at, gone, at],
    )
    refresh(app, "daily", date(2026, 3, 4))
    assert standings(app, "daily") == [(worker, 55, 1)]


@pytest.mark.req("G9")
def test_the_running_week_is_refreshed_while_it_is_read(app: App) -> None:
    """`concurrently` needs the unique index; a reader in an open transaction does not hold the refresh up."""
    worker = app.a_user()
    app.call(worker, "apply_to_gig", p_gig_id=app.a_gig())
    query = "select points_earned, week_start from public.weekly_leaderboard"
    with app.acting_as(worker) as connection:
        assert connection.execute(query).fetchall() == []
        refresh(app, "weekly")
        monday = TODAY - timedelta(days=TODAY.weekday())
        assert connection.execute(query).fetchall() == [{"points_earned": 10, "week_start": monday}]


@pytest.mark.req("G8", "G13")
def test_an_unknown_period_is_refused(app: App, refused: Refused) -> None:
    refused("VALIDATION_ERROR", refresh, app, "yearly")


@pytest.mark.req("G8", "G9")
def test_standings_show_a_first_name_and_an_initial(app: App) -> None:
    names = {"Aisyah binti Rahman": "Aisyah R.", "Madonna": "Madonna", "": "Worker"}
    for full_name in names:
        worker = log_points(app, 10, "2026-03-04 12:00+08")
        app.admin.execute("update public.users set full_name = %s where id = %s", [full_name, worker])
    refresh(app, "daily", date(2026, 3, 4))
    shown = app.admin.execute("select display_name from public.leaderboard").fetchall()
    assert {row["display_name"] for row in shown} == set(names.values())
