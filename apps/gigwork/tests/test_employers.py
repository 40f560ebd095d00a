"""The employer's desk: the life of a gig, a timesheet and a payout, and what an employer cannot do to a worker."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from basalt.project import erase_user

from .acting import LAT, LNG, NEAR, App, wait_for_blocked_sessions
from .conftest import without_seeds

Refused = Callable[..., psycopg.Error]
TODAY = (datetime.now(UTC) + timedelta(hours=8)).date()
PERIOD = {"p_period_start": TODAY - timedelta(days=3), "p_period_end": TODAY}


def edit(app: App, employer: str, gig: str, assignment: str) -> int:
    with app.acting_as(employer) as connection:
        return connection.execute(f"update public.gigs set {assignment} where id = %s", [gig]).rowcount


def a_shift(app: App, employer: str, *, hours: float = 8, **gig: Any) -> tuple[str, str]:
    """A worker and their submitted timesheet of so many hours."""
    gig_id = app.a_gig(employer, **gig)
    worker = app.an_accepted_worker(gig_id)
    sheet = app.call(worker, "clock_in", p_gig_id=gig_id, p_lat=NEAR, p_lng=LNG)["timesheet_id"]
    started = "update public.timesheets set clock_in = now() - make_interval(secs => %s) where id = %s"
    app.admin.execute(started, [hours * 3600, sheet])
    app.call(worker, "clock_out", p_timesheet_id=sheet, p_lat=NEAR, p_lng=LNG)
    return worker, sheet


def status_of(app: App, sheet: str) -> str:
    status: str = app.one("select status from public.timesheets where id = %s", sheet)
    return status


# Gigs


@pytest.mark.req("G1", "G13")
def test_a_gig_is_published_closed_opened_again_and_completed(shared_app: App, refused: Refused) -> None:
    employer = shared_app.a_user(employer=True)
    gig = shared_app.a_gig(employer, status="draft", published_at=None)
    published = shared_app.call(employer, "publish_gig", p_gig_id=gig)
    assert published["status"] == "open"
    assert published["published_at"]
    assert shared_app.call(employer, "publish_gig", p_gig_id=gig) == published
    assert shared_app.call(employer, "close_gig", p_gig_id=gig)["status"] == "closed"
    assert shared_app.call(employer, "publish_gig", p_gig_id=gig)["published_at"] == published["published_at"]
    waiting = shared_app.call(shared_app.a_user(), "apply_to_gig", p_gig_id=gig)["application_id"]
    assert shared_app.call(employer, "complete_gig", p_gig_id=gig)["status"] == "completed"
    assert shared_app.one("select status from public.gig_applications where id = %s", waiting) == "rejected"
    error = refused("INVALID_STATUS_CHANGE", shared_app.call, employer, "publish_gig", p_gig_id=gig)
    assert error.sqlstate == "PT409"
    refused("INVALID_STATUS_CHANGE", edit, shared_app, employer, gig, "status = 'draft'")
    refused("GIG_NOT_FOUND", shared_app.call, shared_app.a_user(employer=True), "close_gig", p_gig_id=gig)


@pytest.mark.req("G1", "G13")
def test_a_gig_of_the_past_is_not_published(shared_app: App, refused: Refused) -> None:
    employer = shared_app.a_user(employer=True)
    gig = shared_app.a_gig(employer, status="draft", published_at=None, end_date="2026-01-02")
    refused("GIG_OVER", shared_app.call, employer, "publish_gig", p_gig_id=gig)


def post(app: App, employer: str, **values: Any) -> None:
    """A gig by a plain insert, as REST makes one."""
    gig = {
        "title": "Waiter", "category": "food_service", "location": f"POINT({LNG} {LAT})", "hourly_rate": 12.5,
        "start_date": "2026-01-01", "end_date": "2036-01-01", **values,
    }  # fmt: skip
    marks = ", ".join(f"%({name})s" for name in gig)
    with app.acting_as(employer) as connection:
        connection.execute(f"insert into public.gigs ({', '.join(gig)}) values ({marks})", gig)


@pytest.mark.req("G1", "G13")
def test_a_plain_insert_begins_where_the_life_of_a_gig_does(app: App, refused: Refused) -> None:
    employer = app.a_user(employer=True)
    for status in ("closed", "completed", "cancelled"):
        assert refused("INVALID_STATUS_CHANGE", post, app, employer, status=status).sqlstate == "PT409"
    past = {"status": "open", "end_date": "2026-01-02", "published_at": "2026-01-01"}
    refused("GIG_OVER", post, app, employer, **past)
    post(app, employer, **{**past, "status": "draft"})


@pytest.mark.req("G1", "G3")
def test_nobody_is_the_newest_by_a_date_to_come(app: App) -> None:
    employer = app.a_user(employer=True)
    post(app, employer, status="open", published_at="2999-01-01")
    listed = "select count(*) from public.gigs where published_at > now()"
    assert app.one(listed) == 0
    gig = app.one("select id from public.gigs")
    assert edit(app, employer, gig, "published_at = '2999-01-01'") == 1
    assert app.one(listed) == 0


@pytest.mark.req("G1", "G4")
def test_a_promise_is_not_broken_beside_a_change_of_status(app: App, refused: Refused) -> None:
    employer = app.a_user(employer=True)
    gig = app.a_gig(employer)
    app.an_accepted_worker(gig)
    refused("GIG_HAS_WORKERS", edit, app, employer, gig, "status = 'closed', hourly_rate = 1")
    assert edit(app, employer, gig, "status = 'closed', hourly_rate = hourly_rate + 1") == 1


@pytest.mark.req("G1", "G4")
@pytest.mark.parametrize(
    "assignment",
    ["location = 'POINT(103 1)'", "start_date = start_date + 1", "end_date = end_date - 1", "shift_start = '05:00'",
     "shift_end = '23:00'", "currency = 'SGD'", "hourly_rate = hourly_rate - 1"],
)  # fmt: skip
def test_what_an_accepted_worker_was_promised_stands(
    shared_app: App, refused: Refused, assignment: str
) -> None:
    employer = shared_app.a_user(employer=True)
    gig, free = shared_app.a_gig(employer), shared_app.a_gig(employer)
    shared_app.an_accepted_worker(gig)
    error = refused("GIG_HAS_WORKERS", edit, shared_app, employer, gig, assignment)
    assert assignment.split()[0] in (error.diag.message_detail or "")
    assert edit(shared_app, employer, free, assignment) == 1


@pytest.mark.req("G1", "G4")
def test_words_and_better_pay_can_change_after_workers_are_accepted(shared_app: App) -> None:
    employer = shared_app.a_user(employer=True)
    gig = shared_app.a_gig(employer)
    shared_app.an_accepted_worker(gig)
    for assignment in ("title = 'Head waiter'", "hourly_rate = hourly_rate + 1", "capacity = 9"):
        assert edit(shared_app, employer, gig, assignment) == 1


@pytest.mark.req("G1", "G4")
def test_a_cancelled_gig_tells_everybody_and_counts_for_nobody(app: App, refused: Refused) -> None:
    employer = app.a_user(employer=True)
    gig = app.a_gig(employer)
    accepted, waiting = app.an_accepted_worker(gig), app.a_user()
    application = app.call(waiting, "apply_to_gig", p_gig_id=gig)["application_id"]
    refused("VALIDATION_ERROR", app.call, employer, "cancel_gig", p_gig_id=gig, p_reason=" ")
    app.call(employer, "cancel_gig", p_gig_id=gig, p_reason="Rain")
    with app.acting_as(accepted) as connection:
        seen = connection.execute(
            """
            select a.status, g.cancelled_reason
            from public.gig_applications as a join public.gigs as g on g.id = a.gig_id
            """
        ).fetchall()
    assert seen == [{"status": "cancelled", "cancelled_reason": "Rain"}]
    assert app.one("select filled_count from public.gigs where id = %s", gig) == 0
    refused("GIG_CLOSED", app.call, accepted, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)
    refused("ALREADY_DECIDED", app.call, waiting, "withdraw_application", p_application_id=application)
    assert app.call(accepted, "get_user_stats")["attendance_rate"] is None


@pytest.mark.req("G1", "G5")
def test_a_gig_where_somebody_works_is_not_ended(shared_app: App, refused: Refused) -> None:
    employer = shared_app.a_user(employer=True)
    gig = shared_app.a_gig(employer)
    worker = shared_app.an_accepted_worker(gig)
    sheet = shared_app.call(worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)["timesheet_id"]
    refused("SHIFT_IN_PROGRESS", shared_app.call, employer, "complete_gig", p_gig_id=gig)
    refused("SHIFT_IN_PROGRESS", shared_app.call, employer, "cancel_gig", p_gig_id=gig, p_reason="No")
    shared_app.call(worker, "clock_out", p_timesheet_id=sheet, p_lat=NEAR, p_lng=LNG)
    refused("ALREADY_STARTED", shared_app.call, employer, "cancel_gig", p_gig_id=gig, p_reason="No")
    assert shared_app.call(employer, "complete_gig", p_gig_id=gig)["status"] == "completed"


@pytest.mark.req("G1", "G5")
def test_of_a_clock_in_and_a_cancellation_at_once_one_comes_first(shared_app: App) -> None:
    employer = shared_app.a_user(employer=True)
    with ThreadPoolExecutor(2) as pair:
        for _ in range(8):
            gig = shared_app.a_gig(employer)
            worker = shared_app.an_accepted_worker(gig)
            came = pair.submit(shared_app.call, worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)
            cancelled = pair.submit(shared_app.call, employer, "cancel_gig", p_gig_id=gig, p_reason="Rain")
            errors = [error for error in (came.exception(), cancelled.exception()) if error]
            assert len(errors) == 1, errors
            assert str(errors[0]).startswith(("GIG_CLOSED", "SHIFT_IN_PROGRESS"))


# Timesheets


@pytest.mark.req("G6", "G13")
def test_a_timesheet_is_submitted_disputed_corrected_approved_and_settled(app: App, refused: Refused) -> None:
    employer = app.a_user(employer=True)
    worker, sheet = a_shift(app, employer, hours=9, hourly_rate=10)
    assert status_of(app, sheet) == "submitted"
    by_id = {"p_timesheet_id": sheet}
    refused("TIMESHEET_NOT_FOUND", app.call, worker, "approve_timesheet", **by_id)
    refused("TIMESHEET_NOT_FOUND", app.call, app.a_user(employer=True), "approve_timesheet", **by_id)
    refused("VALIDATION_ERROR", app.call, employer, "dispute_timesheet", **by_id, p_reason="")
    app.call(employer, "dispute_timesheet", **by_id, p_reason="You left at noon")
    before = app.balance(worker)
    ended = app.one("select clock_in + interval '4 hours' from public.timesheets where id = %s", sheet)
    corrected = app.call(
        employer, "correct_timesheet", **by_id, p_reason="As the door says", p_clock_out=ended
    )
    assert (corrected["status"], corrected["hours_worked"], corrected["amount"]) == ("submitted", 4, 40)
    assert app.balance(worker) == before - 20, "the bonus of a full day goes with it"
    app.call(worker, "dispute_timesheet", **by_id, p_reason="I came back")
    approved = app.call(employer, "approve_timesheet", **by_id)
    assert app.call(employer, "approve_timesheet", **by_id) == approved
    assert approved["status"] == "approved"
    refused(
        "ALREADY_APPROVED", app.call, employer, "correct_timesheet", **by_id, p_reason="x", p_clock_out=ended
    )
    refused("ALREADY_APPROVED", app.call, worker, "dispute_timesheet", **by_id, p_reason="x")
    with app.acting_as(worker) as connection:
        history = connection.execute(
            "select actor, status, reason from public.timesheet_events order by id"
        ).fetchall()
    told = [(row["actor"], row["status"], row["reason"]) for row in history]
    assert told[0] == ("worker", "open", None)
    assert told[-5:] == [
        ("worker", "submitted", None),
        ("employer", "disputed", "You left at noon"),
        ("employer", "submitted", "As the door says"),
        ("worker", "disputed", "I came back"),
        ("employer", "approved", None),
    ]


@pytest.mark.req("G6")
def test_a_correction_over_eight_hours_brings_the_bonus_and_back_takes_it(shared_app: App) -> None:
    employer = shared_app.a_user(employer=True)
    worker, sheet = a_shift(shared_app, employer, hours=7)
    before = shared_app.balance(worker)
    began = shared_app.one("select clock_in from public.timesheets where id = %s", sheet)
    for hours, bonus in ((9, 20), (10, 20), (5, 0), (8, 20)):
        shared_app.call(
            employer, "correct_timesheet", p_timesheet_id=sheet, p_reason=f"{hours} hours",
            p_clock_in=began - timedelta(hours=24), p_clock_out=began - timedelta(hours=24 - hours))  # fmt: skip
        assert shared_app.balance(worker) == before + bonus


@pytest.mark.req("G6", "G13")
def test_a_correction_has_possible_times(shared_app: App, refused: Refused) -> None:
    employer = shared_app.a_user(employer=True)
    _, sheet = a_shift(shared_app, employer)
    now = datetime.now(UTC)
    for times in (
        {"p_clock_in": now - timedelta(hours=1), "p_clock_out": now - timedelta(hours=2)},
        {"p_clock_in": now - timedelta(hours=30), "p_clock_out": now - timedelta(hours=2)},
        {"p_clock_out": now + timedelta(hours=1)},
    ):
        refused(
            "VALIDATION_ERROR",
            shared_app.call,
            employer,
            "correct_timesheet",
            p_timesheet_id=sheet,
            p_reason="x",
            **times,
        )


def at(app: App, hours: float) -> datetime:
    """So many hours from now."""
    moment: datetime = app.one("select now() + make_interval(secs => %s)", hours * 3600)
    return moment


def a_past_shift(app: App, employer: str, worker: str, began: datetime, ended: datetime) -> str:
    gig = app.a_gig(employer)
    application = app.call(worker, "apply_to_gig", p_gig_id=gig)["application_id"]
    app.call(employer, "decide_application", p_application_id=application, p_decision="accepted")
    sheet = str(app.call(worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)["timesheet_id"])
    app.call(
        employer, "correct_timesheet", p_timesheet_id=sheet, p_reason="As the door says",
        p_clock_in=began, p_clock_out=ended)  # fmt: skip
    return sheet


@pytest.mark.req("G6", "G13")
def test_a_correction_that_overlaps_another_shift_is_refused(shared_app: App, refused: Refused) -> None:
    employer, other, worker = (
        shared_app.a_user(employer=True),
        shared_app.a_user(employer=True),
        shared_app.a_user(),
    )
    early = a_past_shift(shared_app, employer, worker, at(shared_app, -10), at(shared_app, -6))
    late = a_past_shift(shared_app, employer, worker, at(shared_app, -5), at(shared_app, -3))
    elsewhere = a_past_shift(shared_app, other, worker, at(shared_app, -2), at(shared_app, -1))

    def correct(sheet: str, began: float, ended: float, by: str = employer) -> None:
        shared_app.call(
            by, "correct_timesheet", p_timesheet_id=sheet, p_reason="x",
            p_clock_in=at(shared_app, began), p_clock_out=at(shared_app, ended))  # fmt: skip

    before = shared_app.balance(worker)
    for began, ended in ((-7, -3), (-9, -8), (-12, -4), (-6.01, -3)):
        error = refused("SHIFTS_OVERLAP", correct, late, began, ended)
        assert error.sqlstate == "PT409"
        assert early in (error.diag.message_detail or "")
    told = refused("SHIFTS_OVERLAP", correct, late, -5, -1.5).diag.message_detail or ""
    assert elsewhere not in told, "where else somebody works is their own affair"
    refused("SHIFTS_OVERLAP", correct, elsewhere, -4, -1, other)
    assert shared_app.balance(worker) == before
    ends_at = shared_app.one("select clock_out from public.timesheets where id = %s", early)
    shared_app.call(employer, "correct_timesheet", p_timesheet_id=late, p_reason="x", p_clock_in=ends_at)
    gig = shared_app.a_gig(employer)
    stranger = shared_app.an_accepted_worker(gig)
    a_past_shift(
        shared_app, employer, stranger, at(shared_app, -10), at(shared_app, -6)
    )  # another worker's hours are their own
    running = shared_app.call(stranger, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)["timesheet_id"]
    shared_app.admin.execute(
        "update public.timesheets set clock_in = now() - interval '2 hours' where id = %s", [running]
    )
    sheets = "select id from public.timesheets where user_id = %s and clock_out is not null"
    refused("SHIFTS_OVERLAP", correct, str(shared_app.one(sheets, stranger)), -10, -1)


@pytest.mark.req("G6")
def test_of_two_corrections_at_once_that_overlap_one_is_refused(shared_app: App) -> None:
    worker = shared_app.a_user()
    employers = [shared_app.a_user(employer=True) for _ in range(2)]
    sheets = [
        a_past_shift(shared_app, employer, worker, at(shared_app, began), at(shared_app, began + 2))
        for employer, began in zip(employers, (-10, -4), strict=True)
    ]
    with ThreadPoolExecutor(2) as pair:
        with shared_app.admin.transaction():
            shared_app.admin.execute("select from public.users where id = %s for update", [worker])
            corrections = [
                pair.submit(
                    shared_app.call, employer, "correct_timesheet", p_timesheet_id=sheet, p_reason="x",
                    p_clock_in=at(shared_app, began), p_clock_out=at(shared_app, began + 4))
                for employer, sheet, began in zip(employers, sheets, (-10, -7), strict=True)
            ]  # fmt: skip
            wait_for_blocked_sessions(shared_app, 2)
        errors = [error for error in (one.exception() for one in corrections) if error]
    assert len(errors) == 1
    assert str(errors[0]).startswith("SHIFTS_OVERLAP: ")


@pytest.mark.req("G6")
@pytest.mark.parametrize(
    ("shift", "came", "ended"),
    [
        (("09:00", "18:00"), "2026-03-02 09:05+08", "2026-03-02 18:00+08"),
        (("09:00", "18:00"), "2026-03-02 08:50+08", "2026-03-02 17:50+08"),
        (("22:00", "06:00"), "2026-03-02 22:10+08", "2026-03-03 06:00+08"),
        (("22:00", "06:00"), "2026-03-03 00:30+08", "2026-03-03 06:00+08"),
    ],
)
def test_a_forgotten_clock_out_ends_with_the_shift(
    app: App, refused: Refused, shift: tuple[str, str], came: str, ended: str
) -> None:
    employer = app.a_user(employer=True)
    gig = app.a_gig(employer, shift_start=shift[0], shift_end=shift[1])
    worker = app.an_accepted_worker(gig)
    sheet = app.call(worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)["timesheet_id"]
    app.admin.execute("update public.timesheets set clock_in = %s where id = %s", [came, sheet])
    close = "select private.close_forgotten_shifts(%s::timestamptz)"
    scheduled_end = came[:10] + " 18:00+08" if shift[1] == "18:00" else "2026-03-03 06:00+08"
    assert (
        app.one(
            close.replace(
                "%s::timestamptz", f"'{scheduled_end}'::timestamptz + interval '3 hours 59 minutes'"
            )
        )
        == 0
    )
    assert (
        app.one(close.replace("%s::timestamptz", f"'{scheduled_end}'::timestamptz + interval '4 hours'")) == 1
    )
    assert app.one("select clock_out = %s from public.timesheets where id = %s", ended, sheet) is True
    refused("ALREADY_CLOCKED_OUT", app.call, worker, "clock_out", p_timesheet_id=sheet, p_lat=NEAR, p_lng=LNG)
    assert app.balance(worker) == 10, "it earns points when the employer approves it"
    app.call(employer, "approve_timesheet", p_timesheet_id=sheet)
    assert app.one("select points from public.points_log where source_id = %s", sheet) in (50, 70)
    assert app.one("select current_streak from public.users where id = %s", worker) == 1
    app.balance(worker)


@pytest.mark.req("G6")
def test_a_schedule_closes_forgotten_shifts(app: App) -> None:
    row = app.admin.execute("select * from cron.job where jobname = 'close-forgotten-shifts'").fetchone()
    assert row is not None
    assert row["timezone"] == "Asia/Singapore"
    app.admin.execute(row["command"])


@pytest.mark.req("G6")
def test_the_employer_can_end_a_shift_that_was_forgotten(shared_app: App, refused: Refused) -> None:
    employer = shared_app.a_user(employer=True)
    gig = shared_app.a_gig(employer)
    worker = shared_app.an_accepted_worker(gig)
    sheet = shared_app.call(worker, "clock_in", p_gig_id=gig, p_lat=NEAR, p_lng=LNG)["timesheet_id"]
    refused("SHIFT_IN_PROGRESS", shared_app.call, employer, "approve_timesheet", p_timesheet_id=sheet)
    now = datetime.now(UTC)
    shared_app.call(
        employer, "correct_timesheet", p_timesheet_id=sheet, p_reason="Forgot to clock out",
        p_clock_in=now - timedelta(hours=6), p_clock_out=now - timedelta(hours=1))  # fmt: skip
    shared_app.call(employer, "approve_timesheet", p_timesheet_id=sheet)
    assert shared_app.one("select points from public.points_log where source_id = %s", sheet) == 50


@pytest.mark.req("G6")
@pytest.mark.parametrize("table", ["timesheet_events", "payouts", "payout_batches"])
def test_histories_and_the_ledger_cannot_be_changed(app: App, table: str) -> None:
    employer = app.a_user(employer=True)
    _, sheet = a_shift(app, employer)
    app.call(employer, "approve_timesheet", p_timesheet_id=sheet)
    app.call(employer, "create_payout_batch", **PERIOD)
    for sql in (
        f"update public.{table} set created_at = now() - interval '1 day', employer_id = null",
        f"delete from public.{table}",
        f"truncate public.{table} cascade",
    ):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            app.admin.execute(sql)


# Payouts


@pytest.mark.req("G6", "G8")
def test_approved_timesheets_are_paid_once_in_a_batch_of_their_employer(app: App) -> None:
    employer, other = app.a_user(employer=True), app.a_user(employer=True)
    paid = [a_shift(app, employer, hours=hours, hourly_rate=10)[1] for hours in (2, 3)]
    waiting = a_shift(app, employer)[1]
    foreign = a_shift(app, other)[1]
    for sheet in paid:
        app.call(employer, "approve_timesheet", p_timesheet_id=sheet)
    app.call(other, "approve_timesheet", p_timesheet_id=foreign)
    (batch,) = app.call(employer, "create_payout_batch", **PERIOD)
    assert (batch["timesheet_count"], batch["workers"], batch["currency"]) == (2, 2, "MYR")
    amounts = [app.one("select amount from public.payouts where timesheet_id = %s", sheet) for sheet in paid]
    assert all(isinstance(amount, Decimal) for amount in amounts)
    assert Decimal(str(batch["total_amount"])) == sum(amounts)
    assert [status_of(app, sheet) for sheet in (*paid, waiting, foreign)] == [
        "paid",
        "paid",
        "submitted",
        "approved",
    ]
    assert app.call(employer, "create_payout_batch", **PERIOD) == []


@pytest.mark.req("G6")
def test_payout_batches_at_once_pay_each_timesheet_once(app: App) -> None:
    employer = app.a_user(employer=True)
    for number in range(6):
        _, sheet = a_shift(app, employer, hours=1 + number, currency="SGD" if number % 2 else "MYR")
        app.call(employer, "approve_timesheet", p_timesheet_id=sheet)
    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(lambda _: app.call(employer, "create_payout_batch", **PERIOD), range(8)))
    batches = [batch for answer in answers for batch in answer]
    assert sorted((batch["currency"], batch["timesheet_count"]) for batch in batches) == [
        ("MYR", 3),
        ("SGD", 3),
    ]
    assert app.one("select count(*) from public.payouts") == 6
    assert app.one("select sum(amount) from public.payouts") == app.one(
        "select sum(total_amount) from public.timesheets where status = 'paid'"
    )


@pytest.mark.req("G6")
def test_no_timesheet_is_paid_past_the_ledger(shared_app: App) -> None:
    employer = shared_app.a_user(employer=True)
    _, sheet = a_shift(shared_app, employer)
    shared_app.call(employer, "approve_timesheet", p_timesheet_id=sheet)
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
        shared_app.admin.execute(
            "update public.timesheets set status = 'paid', paid_at = now() where id = %s", [sheet]
        )


@pytest.mark.req("G1", "G6")
def test_payouts_are_seen_by_the_two_they_concern(app: App, refused: Refused) -> None:
    employer = app.a_user(employer=True)
    worker, sheet = a_shift(app, employer)
    app.call(employer, "approve_timesheet", p_timesheet_id=sheet)
    app.call(employer, "create_payout_batch", **PERIOD)
    for person, payouts, batches in ((worker, 1, 0), (employer, 1, 1), (app.a_user(), 0, 0)):
        with app.acting_as(person) as connection:
            assert len(connection.execute("select id from public.payouts").fetchall()) == payouts
            assert len(connection.execute("select id from public.payout_batches").fetchall()) == batches
    refused("FORBIDDEN", app.call, worker, "create_payout_batch", **PERIOD, p_employer_id=employer)
    refused(
        "VALIDATION_ERROR",
        app.call,
        employer,
        "create_payout_batch",
        p_period_start=TODAY,
        p_period_end=date(2020, 1, 1),
    )
    assert (
        app.call(None, "create_payout_batch", as_role="service_role", **PERIOD, p_employer_id=employer) == []
    )


@pytest.mark.req("G1", "G6")
def test_amounts_outlive_the_accounts(app: App) -> None:
    employer = app.a_user(employer=True)
    worker, sheet = a_shift(app, employer)
    app.call(employer, "approve_timesheet", p_timesheet_id=sheet)
    (batch,) = app.call(employer, "create_payout_batch", **PERIOD)
    for person in (worker, employer):
        app.admin.execute("delete from auth.users where id = %s", [person])
    left = app.admin.execute(
        "select user_id, employer_id, timesheet_id, amount from public.payouts"
    ).fetchone()
    assert left is not None
    assert Decimal(str(batch["total_amount"])) == left.pop("amount")
    assert set(left.values()) == {None}


@pytest.mark.req("G6", "G8", "P25")
def test_a_worker_and_an_employer_can_be_erased_with_all_they_did(app: App, tmp_path: Path) -> None:
    employer = app.a_user(employer=True)
    worker, sheet = a_shift(app, employer)
    app.call(employer, "approve_timesheet", p_timesheet_id=sheet)
    app.call(employer, "create_payout_batch", **PERIOD)
    settings = replace(without_seeds(), project_dir=tmp_path)
    for person in (worker, employer):
        erased = erase_user(settings, app.access, person, is_dry=False)
        assert not erased.keeps_user
    names = "select num_nonnulls(user_id, employer_id, timesheet_id) from public.payouts"
    assert app.one(names) == 0
    for table in ("points_log", "timesheets", "timesheet_events", "user_achievements", "users"):
        assert app.one(f"select count(*) from public.{table}") == 0, table


@pytest.mark.req("G5", "G6")
def test_a_place_is_where_the_gig_is_for_both_ends(shared_app: App) -> None:
    employer = shared_app.a_user(employer=True)
    _, sheet = a_shift(shared_app, employer)
    gap = """
        select extensions.st_distance(clock_in_location, extensions.st_makepoint(%s, %s)::extensions.geography)
        from public.timesheets where id = %s
    """
    assert shared_app.one(gap, LNG, LAT, sheet) < 100
