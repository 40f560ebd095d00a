"""Streaks, attendance, achievements and the standings of a period, over days that are chosen here."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from .acting import LNG, NEAR, App, wait_for_blocked_sessions

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
def test_consecutive_days_make_a_streak_and_a_missed_day_ends_it(shared_app: App) -> None:
    worker = shared_app.a_user()
    work(shared_app, worker, "2026-03-02 09:00+08")
    work(shared_app, worker, "2026-03-02 18:00+08")
    assert streaks(shared_app, worker) == (1, 1)
    work(shared_app, worker, "2026-03-03 09:00+08")
    assert "three_day_streak" in codes(work(shared_app, worker, "2026-03-04 09:00+08"))
    assert streaks(shared_app, worker) == (3, 3)
    work(shared_app, worker, "2026-03-06 09:00+08")
    assert streaks(shared_app, worker) == (1, 3)
    assert shared_app.call(worker, "get_user_stats")["streak_days"] == 0


@pytest.mark.req("G6", "G7")
def test_a_day_of_a_streak_is_a_day_in_singapore(shared_app: App) -> None:
    worker = shared_app.a_user()
    work(shared_app, worker, "2026-03-02 15:30+00")  # 23:30 on the 2nd
    work(shared_app, worker, "2026-03-02 16:30+00")  # 00:30 on the 3rd
    assert streaks(shared_app, worker) == (2, 2)


def move(app: App, worker: str, time_zone: str) -> None:
    with app.acting_as(worker) as connection:
        connection.execute("update public.users set time_zone = %s", [time_zone])


@pytest.mark.req("G6", "G7")
def test_a_day_of_a_streak_is_a_day_where_the_worker_lives(shared_app: App) -> None:
    londoner, singaporean = shared_app.a_user(), shared_app.a_user()
    move(shared_app, londoner, "Europe/London")
    for worker in (londoner, singaporean):
        work(shared_app, worker, "2026-03-02 23:30+00")
        work(shared_app, worker, "2026-03-03 00:30+00")
    assert (streaks(shared_app, londoner), streaks(shared_app, singaporean)) == ((2, 2), (1, 1))
    work(shared_app, londoner, "2026-03-29 00:30+00")
    work(shared_app, londoner, "2026-03-29 22:30+00")  # 23:30: clocks went forward at one
    assert streaks(shared_app, londoner) == (1, 2)
    work(shared_app, londoner, "2026-03-29 23:30+00")  # 00:30 on the 30th
    assert streaks(shared_app, londoner) == (2, 2)


def a_worked_day(app: App, employer: str, worker: str, clock_in: str) -> str:
    """A rewarded shift of eight hours; its timesheet."""
    sheet = str(work(app, worker, clock_in, gig_id=app.a_gig(employer))["timesheet_id"])
    correct(app, employer, sheet, clock_in)
    return sheet


def correct(app: App, employer: str, sheet: str, clock_in: str, *, hours: float = 8) -> None:
    began = datetime.fromisoformat(clock_in)
    times = {"p_clock_in": began, "p_clock_out": began + timedelta(hours=hours)}
    app.call(employer, "correct_timesheet", p_timesheet_id=sheet, p_reason="As the door says", **times)


@pytest.mark.req("G6", "G7")
def test_a_correction_fills_the_gap_of_a_streak_and_unlocks_what_it_earns(shared_app: App) -> None:
    employer, worker = shared_app.a_user(employer=True), shared_app.a_user()
    unlocked = """
        select count(*) from public.user_achievements as ua join public.achievements as a on a.id = ua.achievement_id
        where ua.user_id = %s and a.code = 'three_day_streak'
    """
    a_worked_day(shared_app, employer, worker, "2026-03-02 09:00+08:00")
    a_worked_day(shared_app, employer, worker, "2026-03-04 09:00+08:00")
    wrong = a_worked_day(shared_app, employer, worker, "2026-03-09 09:00+08:00")
    assert streaks(shared_app, worker) == (1, 1)
    correct(shared_app, employer, wrong, "2026-03-03 09:00+08:00")
    assert streaks(shared_app, worker) == (3, 3)
    assert shared_app.one(unlocked, worker) == 1
    correct(shared_app, employer, wrong, "2026-03-12 09:00+08:00")
    assert streaks(shared_app, worker) == (1, 3)
    assert shared_app.one(unlocked, worker) == 1, "what was unlocked stays"
    shared_app.balance(worker)


@pytest.mark.req("G6", "G7")
def test_a_forgotten_shift_fills_its_gap_when_it_is_approved(app: App) -> None:
    employer, worker = app.a_user(employer=True), app.a_user()
    a_worked_day(app, employer, worker, "2026-03-02 09:00+08:00")
    gig = app.a_gig(employer)
    accept(app, worker, gig)
    forgotten = app.call(worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)["timesheet_id"]
    app.admin.execute(
        "update public.timesheets set clock_in = '2026-03-03 09:00+08' where id = %s", [forgotten]
    )
    app.admin.execute("select private.close_forgotten_shifts('2026-03-03 23:00+08')")
    a_worked_day(app, employer, worker, "2026-03-04 09:00+08:00")
    assert streaks(app, worker) == (1, 1)
    app.call(employer, "approve_timesheet", p_timesheet_id=forgotten)
    assert streaks(app, worker) == (3, 3)


@pytest.mark.req("G6")
def test_a_correction_keeps_the_days_of_a_worker_who_has_moved(shared_app: App) -> None:
    employer, worker = shared_app.a_user(employer=True), shared_app.a_user()
    evening = a_worked_day(
        shared_app, employer, worker, "2026-03-02 07:00+08:00"
    )  # late on the 1st in London
    a_worked_day(shared_app, employer, worker, "2026-03-03 12:00+08:00")
    move(shared_app, worker, "Europe/London")
    days = "select array_agg(worked_on::text order by worked_on) from public.timesheets where user_id = %s"
    for clock_in, hours in (("2026-03-02 07:00+08:00", 4), ("2026-03-02 07:20+08:00", 4)):
        correct(shared_app, employer, evening, clock_in, hours=hours)
        assert shared_app.one(days, worker) == ["2026-03-02", "2026-03-03"]
        assert streaks(shared_app, worker) == (2, 2)
    correct(shared_app, employer, evening, "2026-03-01 07:20+08:00")
    assert shared_app.one(days, worker) == ["2026-03-01", "2026-03-03"]


@pytest.mark.req("G8")
def test_a_running_streak_is_in_the_statistics(shared_app: App) -> None:
    worker = shared_app.a_user()
    work(shared_app, worker, f"{TODAY - timedelta(days=1)} 09:00+08")
    assert shared_app.call(worker, "get_user_stats")["streak_days"] == 1


# Achievements


@pytest.mark.req("G7")
def test_an_achievement_is_unlocked_once_and_its_bonus_given_once(shared_app: App) -> None:
    worker = shared_app.a_user()
    assert "first_shift" in codes(work(shared_app, worker, "2026-03-02 09:00+08"))
    assert "first_shift" not in codes(work(shared_app, worker, "2026-03-09 09:00+08"))
    assert shared_app.call(worker, "check_achievements") == []
    awards = """
        select count(*) from public.points_log as p join public.achievements as a on a.id = p.source_id
        where p.user_id = %s and p.reason = 'achievement_unlock' and a.code = 'first_shift'
    """
    assert shared_app.one(awards, worker) == 1
    shared_app.balance(worker)


@pytest.mark.req("G7")
def test_hours_of_all_shifts_count(shared_app: App) -> None:
    worker, gig = shared_app.a_user(), shared_app.a_gig()
    now = datetime.now(UTC)
    assert "forty_hours" not in codes(
        work(shared_app, worker, str(now - timedelta(hours=39, minutes=50)), gig_id=gig)
    )
    assert "forty_hours" in codes(work(shared_app, worker, str(now - timedelta(minutes=15)), gig_id=gig))


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
def test_a_second_shift_at_one_gig_is_not_a_second_gig(shared_app: App) -> None:
    worker, gig = shared_app.a_user(), shared_app.a_gig()
    work(shared_app, worker, "2026-03-02 09:00+08", gig_id=gig)
    work(shared_app, worker, "2026-03-03 09:00+08", gig_id=gig)
    stats = shared_app.call(worker, "get_user_stats")
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
def test_achievements_of_others_are_checked_by_the_service_only(shared_app: App, refused: Refused) -> None:
    worker, stranger = shared_app.a_user(), shared_app.a_user()
    refused("FORBIDDEN", shared_app.call, stranger, "check_achievements", p_user_id=worker)
    assert shared_app.call(None, "check_achievements", as_role="service_role", p_user_id=worker) == []
    nobody = "00000000-0000-0000-0000-000000000000"
    refused(
        "USER_NOT_FOUND",
        shared_app.call,
        None,
        "check_achievements",
        as_role="service_role",
        p_user_id=nobody,
    )
    refused("VALIDATION_ERROR", shared_app.call, None, "check_achievements", as_role="service_role")


@pytest.mark.req("G8")
@pytest.mark.parametrize(("points", "level"), [(99, 1), (100, 2), (399, 2), (400, 3), (10000, 11)])
def test_levels_follow_the_points(shared_app: App, points: int, level: int) -> None:
    worker = shared_app.a_user()
    shared_app.call(None, "increment_user_points", as_role="service_role", p_user_id=worker, p_points=points)
    assert shared_app.one("select level from public.users where id = %s", worker) == level


def award(app: App, worker: str, points: int) -> None:
    app.call(None, "increment_user_points", as_role="service_role", p_user_id=worker, p_points=points)


def set_threshold(app: App, level: int, min_points: int) -> None:
    with app.acting_as(None, "service_role") as connection:
        done = connection.execute(
            "update public.levels set min_points = %s where level = %s", [min_points, level]
        )
        assert done.rowcount == 1


def levels_told(app: App, worker: str) -> list[int]:
    """The rows of level_ups, after checking that each was one event."""
    reached = app.admin.execute(
        "select level from public.level_ups where user_id = %s order by level", [worker]
    ).fetchall()
    events = app.admin.execute(
        """
        select (payload -> 'properties' ->> 'level')::int as level from basalt.jobs
        where name = 'basalt.track' and payload ->> 'event' = 'level_up' and payload ->> 'distinct_id' = %s
        order by level
        """,
        [worker],
    ).fetchall()
    assert reached == events
    return [row["level"] for row in reached]


@pytest.mark.req("G8")
def test_levels_follow_thresholds_that_an_administrator_changes(app: App) -> None:
    worker, other = app.a_user(), app.a_user()
    award(app, worker, 150)
    award(app, other, 30)

    def level() -> tuple[int, int]:
        stats = app.call(worker, "get_user_stats")
        assert stats["level"] == app.one("select level from public.users where id = %s", worker)
        return stats["level"], stats["next_level_at"]

    assert (level(), levels_told(app, worker)) == ((2, 400), [2])
    set_threshold(app, 2, 160)
    assert (level(), levels_told(app, worker)) == ((1, 160), [2])
    set_threshold(app, 2, 120)
    assert (level(), levels_told(app, worker)) == ((2, 400), [2]), "it was reached before"
    set_threshold(app, 3, 140)
    assert (level(), levels_told(app, worker)) == ((3, 900), [2, 3])
    with app.acting_as(None, "service_role") as connection:
        connection.execute("delete from public.levels where level = 3")
    assert level() == (2, 900)
    assert (app.one("select level from public.users where id = %s", other), levels_told(app, other)) == (
        1,
        [],
    )


@pytest.mark.req("G8")
def test_a_level_is_told_once_however_many_awards_reach_it_at_once(shared_app: App) -> None:
    worker = shared_app.a_user()
    with ThreadPoolExecutor(12) as crowd:
        list(crowd.map(lambda _: award(shared_app, worker, 20), range(24)))
    assert shared_app.balance(worker) == 480
    assert levels_told(shared_app, worker) == [2, 3]


@pytest.mark.req("G8")
def test_an_award_at_the_moment_of_new_thresholds_has_the_level_of_these(app: App) -> None:
    worker = app.a_user()
    with ThreadPoolExecutor(1) as other:
        with app.admin.transaction():
            app.admin.execute("update public.levels set min_points = 50 where level = 2")
            awarded = other.submit(award, app, worker, 60)
            wait_for_blocked_sessions(app)
        awarded.result()
    assert app.one("select level from public.users where id = %s", worker) == 2
    assert levels_told(app, worker) == [2]


@pytest.mark.req("G8")
def test_a_balance_leaves_its_range_in_neither_direction(shared_app: App, refused: Refused) -> None:
    worker = shared_app.a_user()

    def award(points: int) -> int:
        total: int = shared_app.call(
            None, "increment_user_points", as_role="service_role", p_user_id=worker, p_points=points
        )
        return total

    assert award(30) == 30
    assert award(-10) == 20
    refused("POINTS_OUT_OF_RANGE", award, -21)
    refused("POINTS_OUT_OF_RANGE", award, 2147483647)
    refused("VALIDATION_ERROR", award, 0)
    assert shared_app.balance(worker) == 20


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


def board(app: App, period: str) -> list[tuple[str, int, int]]:
    """What get_leaderboard answers somebody: user, rank, position."""
    with app.acting_as(app.a_user()) as connection:
        rows = connection.execute(
            "select user_id::text, rank, position from public.get_leaderboard(%s)", [period]
        ).fetchall()
    return [(row["user_id"], row["rank"], row["position"]) for row in rows]


@pytest.mark.req("G8", "G9")
def test_among_equals_whoever_had_the_points_first_comes_first_in_every_period(app: App) -> None:
    midnight = app.one("select private.singapore_day(now())::timestamp at time zone 'Asia/Singapore'")

    def earn(worker: str, points: int, second: int) -> None:
        app.admin.execute(
            "insert into public.points_log (user_id, points, reason, created_at) values (%s, %s, 'adjustment', %s)",
            [worker, points, midnight + timedelta(seconds=second)],
        )

    best, early, late, last = (app.a_user() for _ in range(4))
    together = sorted(app.a_user() for _ in range(5))
    earned = [(best, 60, 9), (late, 30, 1), (late, 20, 8), (early, 50, 2), (last, 20, 0)]
    earned += [(worker, 50, 5) for worker in together]
    random.Random(9).shuffle(earned)
    for worker, points, second in earned:
        earn(worker, points, second)
    ranked = [(best, 1), (early, 2), *((worker, 2) for worker in together), (late, 2), (last, 9)]
    expected = [(worker, rank, position) for position, (worker, rank) in enumerate(ranked, 1)]
    for _ in range(2):
        for period in ("daily", "weekly", "monthly", "all_time"):
            refresh(app, period)
            assert board(app, period) == expected, period
    with app.acting_as(best) as connection:
        week = connection.execute(
            "select user_id::text, rank, position from public.weekly_leaderboard order by position"
        ).fetchall()
    assert [tuple(row.values()) for row in week] == expected


@pytest.mark.req("G8", "G9")
@pytest.mark.parametrize("period", ["daily", "weekly", "monthly"])
def test_a_new_period_begins_empty_and_the_one_before_ends_with_its_last_hour(app: App, period: str) -> None:
    begins_at = app.one(
        "select starts_at from private.leaderboard_period(%s, private.singapore_day(now()))", period
    )
    worker = log_points(app, 20, str(begins_at - timedelta(minutes=10)))
    app.admin.execute(  # as the refresh an hour before left it
        """
        insert into public.leaderboard (period_type, period_start, user_id, display_name, points_earned, gigs_completed,
            hours_worked, rank, position, updated_at)
        select %s, p.period_start, %s, 'Worker', 5, 0, 0, 1, 1, p.ends_at - interval '1 hour'
        from private.leaderboard_period(%s, private.singapore_day(%s)) as p
        """,
        [period, worker, period, begins_at - timedelta(minutes=10)],
    )
    assert board(app, period) == []
    assert refresh(app, period)["entries"] == 0
    assert board(app, period) == []
    assert standings(app, period) == [(worker, 20, 1)]
    newcomer = log_points(app, 10, str(begins_at))
    refresh(app, period)
    assert board(app, period) == [(newcomer, 1, 1)]
    assert sorted(standings(app, period)) == sorted([(worker, 20, 1), (newcomer, 10, 1)])


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
def test_an_unknown_period_is_refused(shared_app: App, refused: Refused) -> None:
    refused("VALIDATION_ERROR", refresh, shared_app, "yearly")


@pytest.mark.req("G8", "G9")
def test_standings_show_a_first_name_and_an_initial(app: App) -> None:
    names = {"Aisyah binti Rahman": "Aisyah R.", "Madonna": "Madonna", "": "Worker"}
    for full_name in names:
        worker = log_points(app, 10, "2026-03-04 12:00+08")
        app.admin.execute("update public.users set full_name = %s where id = %s", [full_name, worker])
    refresh(app, "daily", date(2026, 3, 4))
    shown = app.admin.execute("select display_name from public.leaderboard").fetchall()
    assert {row["display_name"] for row in shown} == set(names.values())
