"""The app's routines: what they do, what they refuse, and what stays true when many call at once."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from .acting import FAR, LAT, LNG, NEAR, App

Refused = Callable[..., psycopg.Error]


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """The results of `count` calls at the same time; an error is its own result."""

    def attempt(number: int) -> Any:
        try:
            return work(number)
        except psycopg.Error as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(attempt, range(count)))


def succeeded(results: list[Any]) -> list[Any]:
    return [result for result in results if not isinstance(result, psycopg.Error)]


def search(app: App, person: str | None = None, **arguments: Any) -> list[str]:
    numbers = ("p_user_lat", "p_user_lng")
    names = ", ".join(f"{name} => %({name})s{'::numeric' if name in numbers else ''}" for name in arguments)
    with app.acting_as(person) as connection:
        return [
            str(row["id"])
            for row in connection.execute(f"select id from public.search_gigs({names})", arguments)
        ]


# Search


@pytest.mark.req("G3")
def test_search_gives_open_and_published_gigs_nearest_first(app: App) -> None:
    far = app.a_gig(location=f"POINT({LNG} {LAT + 0.05})")
    near = app.a_gig(location=f"POINT({LNG} {LAT + 0.01})")
    app.a_gig(location=f"POINT({LNG} {LAT + 1})")
    app.a_gig(status="closed")
    app.a_gig(status="draft", published_at=None)
    assert search(app, p_user_lat=LAT, p_user_lng=LNG, p_max_distance_km=10) == [near, far]


@pytest.mark.req("G3")
def test_search_without_a_position_gives_the_newest_first(app: App) -> None:
    old = app.a_gig(published_at="2026-01-01")
    new = app.a_gig(published_at="2026-02-01")
    assert search(app) == [new, old]


@pytest.mark.req("G3")
def test_search_filters_by_category_and_rate(app: App) -> None:
    wanted = app.a_gig(category="retail", hourly_rate=20)
    app.a_gig(category="retail", hourly_rate=10)
    app.a_gig(category="logistics", hourly_rate=30)
    assert search(app, p_category="retail", p_min_rate=15) == [wanted]


# A ring at nearly the same distance, where a sphere and the spheroid order differently, and places with several gigs.
MANY_GIGS = """
insert into public.gigs (
    employer_id, title, category, location, hourly_rate, start_date, end_date, status, published_at)
select %(employer)s, 'Gig', case when n %% 3 = 0 then 'retail' else 'events' end,
    extensions.st_project(
        extensions.st_makepoint(%(lng)s, %(lat)s)::extensions.geography,
        case when n <= 120 then 4000 + n * 0.25 else n / 5 * 50 end, radians(n / 5 * 5 * 37)),
    10 + n %% 4, '2026-01-01', '2036-01-01', case when n %% 11 = 0 then 'closed' else 'open' end,
    timestamptz '2026-01-01 00:00+00' + (n %% 7) * interval '1 day'
from generate_series(1, 360) as n
order by md5(n::text)
"""
LISTED = """
select g.id::text as id from public.gigs as g
cross join (select extensions.st_makepoint(%(lng)s, %(lat)s)::extensions.geography as point) as here
where g.status = 'open' and g.category = coalesce(%(category)s, g.category) and g.hourly_rate >= %(min_rate)s
    and (not %(by_distance)s or extensions.st_distance(g.location, here.point) <= 5000)
order by case when %(by_distance)s then extensions.st_distance(g.location, here.point) end,
    case when not %(by_distance)s then g.published_at end desc, g.id
"""


@pytest.mark.req("G2", "G3")
def test_pages_of_a_search_hold_every_gig_once_and_in_exact_order(app: App) -> None:
    app.admin.execute(MANY_GIGS, {"employer": app.a_user(employer=True), "lat": LAT, "lng": LNG})
    for by_distance, category, min_rate in (
        (True, None, 0), (True, "retail", 12), (False, None, 0), (False, "events", 11),
    ):  # fmt: skip
        wanted = {"category": category, "min_rate": min_rate, "by_distance": by_distance}
        rows = app.admin.execute(LISTED, {**wanted, "lat": LAT, "lng": LNG}).fetchall()
        expected = [row["id"] for row in rows]
        assert len(expected) > 40
        place = {"p_user_lat": LAT, "p_user_lng": LNG, "p_max_distance_km": 5} if by_distance else {}
        asked = {"p_category": category, "p_min_rate": min_rate, **place}
        assert search(app, **asked) == expected, wanted
        for size in (7, 50):
            pages = [
                search(app, **asked, p_limit=size, p_offset=offset)
                for offset in range(0, len(expected) + size, size)
            ]
            assert [gig for page in pages for gig in page] == expected, (wanted, size)
            assert pages[-1] == [], "behind the last one there is nothing"


@pytest.mark.req("G2")
def test_distance_is_in_metres(shared_app: App) -> None:
    sql = "select public.is_within_distance(%s::extensions.geography, %s::extensions.geography, %s)"
    here, there = f"POINT({LNG} {LAT})", f"POINT({LNG} {LAT + 0.0009})"  # 99.5 m
    assert shared_app.one(sql, here, there, 100) is True
    assert shared_app.one(sql, here, there, 99) is False


@pytest.mark.req("G2")
def test_search_by_distance_uses_the_spatial_index(app: App) -> None:
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
    plan = app.admin.execute(
        """
        explain select * from public.gigs
        where extensions.st_dwithin(location, 'POINT(101.5 3.5)'::extensions.geography, 5000)
        """
    ).fetchall()
    assert "gigs_location_idx" in str(plan)


# Applications


@pytest.mark.req("G4", "G8")
def test_an_application_gives_ten_points_once(shared_app: App, refused: Refused) -> None:
    worker, gig = shared_app.a_user(), shared_app.a_gig()
    assert shared_app.call(worker, "apply_to_gig", p_gig_id=gig)["points_earned"] == 10
    error = refused("ALREADY_APPLIED", shared_app.call, worker, "apply_to_gig", p_gig_id=gig)
    assert error.sqlstate == "PT409"
    assert shared_app.balance(worker) == 10


@pytest.mark.req("G4", "G13")
def test_applications_that_cannot_be_are_refused(shared_app: App, refused: Refused) -> None:
    worker = shared_app.a_user()
    full = shared_app.a_gig(capacity=1)
    shared_app.an_accepted_worker(full)
    nothing = "00000000-0000-0000-0000-000000000000"
    for code, sqlstate, person, gig in [
        ("GIG_NOT_FOUND", "PT404", worker, nothing),
        ("GIG_NOT_FOUND", "PT404", worker, shared_app.a_gig(status="draft", published_at=None)),
        ("GIG_CLOSED", "PT409", worker, shared_app.a_gig(status="closed")),
        ("GIG_FULL", "PT409", worker, full),
    ]:
        error = refused(code, shared_app.call, person, "apply_to_gig", p_gig_id=gig)
        assert error.sqlstate == sqlstate, code
    with pytest.raises(psycopg.Error):
        shared_app.call(None, "apply_to_gig", p_gig_id=full)
    assert shared_app.balance(worker) == 0


@pytest.mark.req("G4", "G8")
def test_fifty_applications_of_one_worker_at_once_are_one(shared_app: App) -> None:
    worker, gig = shared_app.a_user(), shared_app.a_gig()
    results = at_once(50, lambda _: shared_app.call(worker, "apply_to_gig", p_gig_id=gig))
    assert len(succeeded(results)) == 1
    assert shared_app.balance(worker) == 10


@pytest.mark.req("G4")
def test_twenty_workers_for_five_places_fill_five(shared_app: App) -> None:
    employer = shared_app.a_user(employer=True)
    gig = shared_app.a_gig(employer, capacity=5)
    applications = [
        shared_app.call(shared_app.a_user(), "apply_to_gig", p_gig_id=gig)["application_id"]
        for _ in range(20)
    ]

    def accept(number: int) -> Any:
        return shared_app.call(
            employer, "decide_application", p_application_id=applications[number], p_decision="accepted"
        )

    assert len(succeeded(at_once(20, accept))) == 5
    assert shared_app.one("select filled_count from public.gigs where id = %s", gig) == 5
    accepted = "select count(*) from public.gig_applications where gig_id = %s and status = 'accepted'"
    assert shared_app.one(accepted, gig) == 5


# Clock-in and clock-out


@pytest.mark.req("G5", "G13", "G14")
def test_clock_in_needs_an_accepted_application_and_the_place(shared_app: App, refused: Refused) -> None:
    gig = shared_app.a_gig()
    worker = shared_app.an_accepted_worker(gig)
    here = {"p_gig_id": gig, "p_lat": NEAR, "p_lng": LNG}
    refused("NOT_ACCEPTED", shared_app.call, shared_app.a_user(), "clock_in", **here)
    far = refused("INVALID_LOCATION", shared_app.call, worker, "clock_in", **{**here, "p_lat": FAR})
    assert far.sqlstate == "PT400"
    assert '"limit_m": 100' in (far.diag.message_detail or "")
    assert shared_app.call(worker, "clock_in", **here)["success"] is True
    refused("ALREADY_CLOCKED_IN", shared_app.call, worker, "clock_in", **here)


@pytest.mark.req("G5")
def test_thirty_clock_ins_at_once_open_one_timesheet(shared_app: App) -> None:
    gig = shared_app.a_gig()
    worker = shared_app.an_accepted_worker(gig)
    results = at_once(30, lambda _: shared_app.call(worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG))
    assert len(succeeded(results)) == 1
    assert shared_app.one("select count(*) from public.timesheets where user_id = %s", worker) == 1


def a_shift(app: App, hours: float, **gig: Any) -> tuple[str, str]:
    """A worker and a timesheet that was opened so many hours ago."""
    gig_id = app.a_gig(**gig)
    worker = app.an_accepted_worker(gig_id)
    sheet = app.call(worker, "clock_in", p_gig_id=gig_id, p_lat=NEAR, p_lng=LNG)["timesheet_id"]
    app.admin.execute(
        "update public.timesheets set clock_in = now() - make_interval(secs => %s) where id = %s",
        [hours * 3600, sheet],
    )
    return worker, sheet


@pytest.mark.req("G6", "G8")
@pytest.mark.parametrize(("hours", "points"), [(1, 50), (7.99, 50), (8, 70), (9, 70)])
def test_clock_out_pays_to_the_cent_and_awards_by_hours(shared_app: App, hours: float, points: int) -> None:
    worker, sheet = a_shift(shared_app, hours, hourly_rate=10)
    answer = shared_app.call(worker, "clock_out", p_timesheet_id=sheet, p_lat=NEAR, p_lng=LNG)
    assert answer["points_earned"] == points
    row = shared_app.admin.execute("select * from public.timesheets where id = %s", [sheet]).fetchone()
    assert row is not None
    assert isinstance(row["total_amount"], Decimal)
    assert abs(row["total_amount"] - Decimal(str(hours * 10))) <= Decimal("0.10")
    assert shared_app.balance(worker) >= points + 10


@pytest.mark.req("G6", "G7")
def test_the_first_shift_unlocks_achievements_with_their_bonus(shared_app: App) -> None:
    worker, sheet = a_shift(shared_app, 1)
    answer = shared_app.call(worker, "clock_out", p_timesheet_id=sheet, p_lat=NEAR, p_lng=LNG)
    unlocked = answer["new_achievements"]
    assert unlocked
    bonus = shared_app.one(
        "select coalesce(sum(points), 0) from public.points_log where user_id = %s and reason = 'achievement_unlock'",
        worker,
    )
    assert shared_app.balance(worker) == 10 + 50 + bonus
    assert shared_app.one("select count(*) from public.user_achievements where user_id = %s", worker) == len(
        unlocked
    )


@pytest.mark.req("G6", "G8")
def test_thirty_clock_outs_at_once_award_once_and_answer_alike(shared_app: App) -> None:
    worker, sheet = a_shift(shared_app, 8)
    results = at_once(
        30, lambda _: shared_app.call(worker, "clock_out", p_timesheet_id=sheet, p_lat=NEAR, p_lng=LNG)
    )
    assert len(succeeded(results)) == 30, results
    assert len({str(sorted(result.items(), key=str)) for result in results}) == 1
    completed = "select count(*) from public.points_log where user_id = %s and reason = 'completed_shift'"
    assert shared_app.one(completed, worker) == 1
    shared_app.balance(worker)


# Points, statistics, leaderboard


@pytest.mark.req("G7", "G8")
def test_points_are_given_by_the_service_only_and_once_per_source(shared_app: App, refused: Refused) -> None:
    worker = shared_app.a_user()
    award = {"p_user_id": worker, "p_points": 25, "p_reason": "referral", "p_source_id": worker}
    refused("42501", shared_app.call, worker, "increment_user_points", **award)
    for _ in range(2):
        shared_app.call(None, "increment_user_points", as_role="service_role", **award)
    assert shared_app.balance(worker) == 25


@pytest.mark.req("G8")
def test_the_log_adds_up_after_any_mixture_at_once(shared_app: App) -> None:
    workers = [shared_app.a_user() for _ in range(4)]
    gigs = [shared_app.a_gig() for _ in range(4)]
    chance = random.Random(7)
    work = [(chance.choice(workers), chance.choice(gigs), chance.randint(-30, 60)) for _ in range(120)]

    def act(number: int) -> Any:
        worker, gig, points = work[number]
        if number % 2:
            return shared_app.call(worker, "apply_to_gig", p_gig_id=gig)
        award = {"p_user_id": worker, "p_points": points, "p_reason": "adjustment"}
        return shared_app.call(None, "increment_user_points", as_role="service_role", **award)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda number: at_once(1, lambda _: act(number)), range(len(work))))
    for worker in workers:
        shared_app.balance(worker)


@pytest.mark.req("G8")
def test_the_log_cannot_be_changed(app: App, refused: Refused) -> None:
    worker, gig = app.a_user(), app.a_gig()
    app.call(worker, "apply_to_gig", p_gig_id=gig)
    for sql in (
        "update public.points_log set points = 1000",
        "delete from public.points_log",
        "truncate public.points_log",
    ):
        with pytest.raises(psycopg.Error):
            app.admin.execute(sql)
    assert app.balance(worker) == 10


@pytest.mark.req("G8")
def test_statistics_count_completed_shifts(shared_app: App, refused: Refused) -> None:
    worker, sheet = a_shift(shared_app, 8)
    shared_app.call(worker, "clock_out", p_timesheet_id=sheet, p_lat=NEAR, p_lng=LNG)
    stats = shared_app.call(worker, "get_user_stats")
    assert stats["gigs_completed"] == 1
    assert 8 <= stats["total_hours_worked"] < 8.1
    assert stats["attendance_rate"] == 100
    refused("FORBIDDEN", shared_app.call, shared_app.a_user(), "get_user_stats", p_user_id=worker)


@pytest.mark.req("G8", "G9")
def test_the_leaderboard_ranks_by_points(app: App, refused: Refused) -> None:
    winner, sheet = a_shift(app, 8)
    app.call(winner, "clock_out", p_timesheet_id=sheet, p_lat=NEAR, p_lng=LNG)
    second = app.a_user()
    app.call(second, "apply_to_gig", p_gig_id=app.a_gig())
    refused("42501", app.call, winner, "refresh_leaderboard", p_period_type="weekly")
    app.call(None, "refresh_leaderboard", as_role="service_role", p_period_type="weekly")
    rows = app.admin.execute(
        "select user_id::text, rank from public.weekly_leaderboard order by rank"
    ).fetchall()
    assert [row["user_id"] for row in rows][:2] == [winner, second]
    with app.acting_as(second) as connection:
        board = connection.execute(
            "select user_id::text as who from public.leaderboard order by rank"
        ).fetchall()
    assert [row["who"] for row in board][:2] == [winner, second]
