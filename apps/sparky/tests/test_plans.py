"""Subscriptions: paid by the month or the year, with credits each month, renewed, cancelled, expired, paid back."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from .conftest import START_CREDITS, App
from .test_payments import a_payment, a_refund, apply

Refused = Callable[..., psycopg.Error]

PLUS, PLUS_CENTS = 100, 14900
PRO = 400


def subscribe(app: App, user: str, plan: str = "plus") -> dict[str, Any]:
    """A payment for a plan; its callback."""
    callback = a_payment(app.an_order(user, plan, kind="plan"))
    assert apply(app, callback) == "granted"
    return callback


def let_pass(app: App, user: str, months: int = 0, days: int = 0) -> None:
    """Everything of the user's subscriptions happened so long before."""
    app.admin.execute(
        """
        update public.subscriptions
        set started_at = private.month_after(started_at, -%(months)s) - make_interval(days => %(days)s),
            current_period_end = private.month_after(current_period_end, -%(months)s) - make_interval(days => %(days)s),
            next_credits_at = private.month_after(next_credits_at, -%(months)s) - make_interval(days => %(days)s)
        where user_id = %(user)s
        """,
        {"months": months, "days": days, "user": user},
    )


def advance(app: App) -> int:
    """What the schedule runs."""
    command = app.one("select command from cron.job where jobname = 'advance-subscriptions'")
    advanced: int = app.one(command)
    return advanced


def subscription(app: App, user: str) -> dict[str, Any]:
    return app.rows(
        "select * from public.subscriptions where user_id = %s order by created_at desc, started_at desc limit 1",
        user,
    )[0]


def plan_of(app: App, user: str) -> str:
    plan: str = app.one("select plan_id from public.users where id = %s", user)
    return plan


def told(app: App, user: str) -> list[str]:
    return [
        row["kind"]
        for row in app.rows(
            "select kind from public.notifications where user_id = %s and kind <> 'low_credits' order by created_at",
            user,
        )
    ]


@pytest.mark.req("S1", "S7")
def test_a_paid_plan_begins_with_its_first_month(app: App) -> None:
    user = app.a_user()
    callback = subscribe(app, user)
    apply(app, callback)
    assert app.balance(user) == START_CREDITS + PLUS
    row = subscription(app, user)
    assert row["current_period_end"] == app.one("select private.month_after(%s, 1)", row["started_at"])
    profile = app.rows("select plan_id, plan_renews_at from public.users where id = %s", user)[0]
    assert profile == {"plan_id": "plus", "plan_renews_at": row["current_period_end"]}
    assert told(app, user) == ["purchase"]


@pytest.mark.req("S7")
def test_a_renewal_extends_the_period_and_its_credits_come_with_their_month(app: App) -> None:
    user = app.a_user()
    subscribe(app, user)
    subscribe(app, user)
    row = subscription(app, user)
    assert row["current_period_end"] == app.one("select private.month_after(%s, 2)", row["started_at"])
    assert app.balance(user) == START_CREDITS + PLUS
    advance(app)
    assert app.balance(user) == START_CREDITS + PLUS
    let_pass(app, user, months=1)
    advance(app)
    assert app.balance(user) == START_CREDITS + 2 * PLUS
    assert told(app, user)[:2] == ["purchase", "renewal"]
    assert app.one("select count(*) from public.subscriptions where user_id = %s", user) == 1


@pytest.mark.req("S1")
def test_monthly_credits_come_once_a_month_also_after_downtime(app: App) -> None:
    user = app.a_user()
    subscribe(app, user, "pro_yearly")
    assert app.balance(user) == START_CREDITS + PRO
    let_pass(app, user, months=5)  # nothing ran for five months
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: app.serve_cron(), range(8)))
    assert app.balance(user) == START_CREDITS + 6 * PRO
    assert advance(app) == 0
    let_pass(app, user, months=20)
    advance(app)
    assert app.balance(user) == START_CREDITS + 12 * PRO, "what was paid for, and no more"
    assert subscription(app, user)["status"] == "expired"
    assert plan_of(app, user) == "free"


@pytest.mark.req("S1")
def test_months_are_counted_from_the_first_day_in_utc(app: App) -> None:
    days = app.one(
        """
        select array_agg(to_char(private.month_after('2026-01-31 23:30+00', n) at time zone 'UTC', 'MM-DD') order by n)
        from generate_series(0, 3) as n
        """
    )
    assert days == ["01-31", "02-28", "03-31", "04-30"]
    app.admin.execute("set timezone = 'Pacific/Auckland'")
    assert app.one("select private.month_after('2026-02-28 12:00+00', 1) = '2026-03-28 12:00+00'")


@pytest.mark.req("S7")
def test_an_unrenewed_plan_expires_after_a_reminder(app: App) -> None:
    user = app.a_user()
    subscribe(app, user)
    period_days = (subscription(app, user)["current_period_end"] - subscription(app, user)["started_at"]).days
    let_pass(app, user, days=period_days - 4)
    assert advance(app) == 0
    let_pass(app, user, days=2)
    assert (advance(app), advance(app)) == (1, 0)
    assert told(app, user) == ["purchase", "renewal_due"]
    assert plan_of(app, user) == "plus"
    let_pass(app, user, days=3)
    assert (advance(app), advance(app)) == (1, 0)
    assert told(app, user) == ["purchase", "renewal_due", "subscription_ended"]
    profile = app.rows("select plan_id, plan_renews_at, credits from public.users where id = %s", user)[0]
    assert profile == {"plan_id": "free", "plan_renews_at": None, "credits": START_CREDITS + PLUS}
    assert subscription(app, user)["status"] == "expired"


@pytest.mark.req("S7")
def test_a_cancelled_plan_lasts_to_its_end_without_a_reminder(app: App, refused: Refused) -> None:
    user = app.a_user()
    refused("NO_SUBSCRIPTION", app.call, user, "cancel_subscription")
    subscribe(app, user)
    for _ in range(2):
        assert app.call(user, "cancel_subscription")["cancel_at_period_end"] is True
    assert plan_of(app, user) == "plus"
    let_pass(app, user, days=26)
    advance(app)
    let_pass(app, user, days=6)
    advance(app)
    assert subscription(app, user)["status"] == "cancelled"
    assert plan_of(app, user) == "free"
    assert told(app, user) == ["purchase", "subscription_ended"]
    refused("NO_SUBSCRIPTION", app.call, user, "resume_subscription")


@pytest.mark.req("S7")
def test_a_cancellation_is_taken_back_by_its_owner_or_by_paying_again(app: App) -> None:
    user = app.a_user()
    subscribe(app, user)
    app.call(user, "cancel_subscription")
    assert app.call(user, "resume_subscription")["cancel_at_period_end"] is False
    app.call(user, "cancel_subscription")
    subscribe(app, user)
    assert subscription(app, user)["cancel_at_period_end"] is False


@pytest.mark.req("S7")
def test_a_late_payment_begins_anew_though_the_schedule_has_not_run(app: App) -> None:
    user = app.a_user()
    subscribe(app, user)
    let_pass(app, user, months=3)
    subscribe(app, user)
    statuses = app.rows(
        "select status from public.subscriptions where user_id = %s order by started_at", user
    )
    assert [row["status"] for row in statuses] == ["expired", "active"]
    assert app.balance(user) == START_CREDITS + 2 * PLUS
    assert plan_of(app, user) == "plus"


@pytest.mark.req("S7")
def test_another_plan_takes_the_place_and_paid_months_are_not_lost(app: App) -> None:
    user = app.a_user()
    for _ in range(3):
        subscribe(app, user, "plus")
    assert app.balance(user) == START_CREDITS + PLUS
    subscribe(app, user, "pro")
    assert app.balance(user) == START_CREDITS + 3 * PLUS + PRO
    statuses = app.rows(
        "select plan_id, status from public.subscriptions where user_id = %s order by plan_id", user
    )
    assert statuses == [{"plan_id": "plus", "status": "replaced"}, {"plan_id": "pro", "status": "active"}]
    assert plan_of(app, user) == "pro"


@pytest.mark.req("S7")
def test_a_refunded_plan_ends_and_gives_its_credits_back(app: App) -> None:
    user = app.a_user()
    callback = subscribe(app, user)
    apply(app, a_refund(callback, PLUS_CENTS))
    assert app.balance(user) == START_CREDITS
    assert plan_of(app, user) == "free"
    assert subscription(app, user)["status"] == "refunded"
    subscribe(app, user)
    assert app.balance(user) == START_CREDITS + PLUS
    assert plan_of(app, user) == "plus"


@pytest.mark.req("S7")
def test_a_refunded_renewal_shortens_the_period_and_can_be_paid_again(app: App) -> None:
    user = app.a_user()
    subscribe(app, user)
    renewal = subscribe(app, user)
    apply(app, a_refund(renewal, PLUS_CENTS))
    row = subscription(app, user)
    assert row["current_period_end"] == app.one("select private.month_after(%s, 1)", row["started_at"])
    assert (row["status"], app.balance(user)) == ("active", START_CREDITS + PLUS)
    assert app.one("select plan_renews_at from public.users where id = %s", user) == row["current_period_end"]
    subscribe(app, user)
    let_pass(app, user, months=1)
    advance(app)
    assert app.balance(user) == START_CREDITS + 2 * PLUS


@pytest.mark.req("S7")
def test_renewals_at_once_extend_one_after_the_other(app: App) -> None:
    user = app.a_user()
    callbacks = [a_payment(app.an_order(user, "plus", kind="plan")) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(lambda callback: apply(app, callback), callbacks + callbacks))
    assert sorted(outcomes) == ["granted"] * 6 + ["repeated"] * 6
    row = subscription(app, user)
    assert row["current_period_end"] == app.one("select private.month_after(%s, 6)", row["started_at"])
    assert app.balance(user) == START_CREDITS + PLUS
    months = app.rows(
        "select first_month from public.credit_purchases where user_id = %s order by first_month", user
    )
    assert [month["first_month"] for month in months] == list(range(6))


@pytest.mark.req("S1")
def test_one_subscription_that_fails_holds_up_no_other(app: App) -> None:
    broken, fine = app.a_user(), app.a_user()
    for user in (broken, fine):
        subscribe(app, user, "pro_yearly")
        let_pass(app, user, months=1)
    app.admin.execute(
        f"alter table public.credit_log add constraint broken check (user_id <> '{broken}') not valid"
    )
    assert advance(app) == 1
    assert app.balance(fine) == START_CREDITS + 2 * PRO
    app.admin.execute("alter table public.credit_log drop constraint broken")
    assert advance(app) == 1
    assert app.balance(broken) == START_CREDITS + 2 * PRO


# The cache


@pytest.mark.req("S8")
def test_the_cache_is_purged_each_day_at_three_utc(app: App) -> None:
    job = app.rows("select * from cron.job where jobname = 'cleanup-cache'")[0]
    assert (job["schedule"], job["timezone"], job["active"]) == ("0 3 * * *", "UTC", True)
    app.admin.execute(
        """
        insert into cache.kv_store (key, value, expires_at) values
            ('old', '{}', now() - interval '1 second'), ('new', '{}', now() + interval '1 hour'), ('kept', '{}', null)
        """
    )
    app.admin.execute(job["command"])
    assert [row["key"] for row in app.rows("select key from cache.kv_store order by key")] == ["kept", "new"]


@pytest.mark.req("S8")
def test_runs_that_are_long_over_are_forgotten(app: App) -> None:
    user = app.a_user()
    for key, age in (("a" * 64, "2 days"), ("b" * 64, "0 days")):
        app.serve("begin_generation", p_user_id=user, p_tool_id="enhance", p_cache_key=key)
        app.admin.execute(
            "update private.leases set lease_until = lease_until - %s::interval where key = %s", [age, key]
        )
    app.admin.execute(app.one("select command from cron.job where jobname = 'cleanup-leases'"))
    assert [row["key"] for row in app.rows("select key from private.leases")] == ["b" * 64]
