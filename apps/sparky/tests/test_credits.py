"""The ledger and the life of a run: begun with a lease, finished in one transaction, charged once or not at all."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basalt.config import load_settings
from basalt.project import erase_user

from .conftest import APP, START_CREDITS, App, a_cache_key

Refused = Callable[..., psycopg.Error]
SHA = "a" * 64


def begin(app: App, user: str, key: str, tool: str = "enhance", **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = app.serve(
        "begin_generation", p_user_id=user, p_tool_id=tool, p_cache_key=key, **more
    )
    return answer


def finish(app: App, user: str, key: str, tool: str = "enhance", **more: Any) -> dict[str, Any]:
    arguments = {
        "p_user_id": user, "p_tool_id": tool, "p_cache_key": key, "p_parameters": {"strength": 0.5},
        "p_source_path": f"{user}/photo.jpg", "p_source_sha256": SHA, "p_result": {"path": f"{user}/{key}.png"},
        "p_result_path": f"{user}/{key}.png", "p_model": "local-preview", **more,
    }  # fmt: skip
    answer: dict[str, Any] = app.serve("finish_generation", **arguments)
    return answer


# The ledger


@pytest.mark.req("S1")
def test_a_new_account_starts_with_the_credits_of_the_free_plan(app: App) -> None:
    user = app.a_user()
    assert app.balance(user) == START_CREDITS
    assert app.one("select plan_id from public.users where id = %s", user) == "free"
    assert app.one("select reason from public.credit_log where user_id = %s", user) == "welcome"


@pytest.mark.req("S1")
def test_the_log_is_append_only_even_for_its_owner(app: App, refused: Refused) -> None:
    user = app.a_user()
    refused(
        "23000", app.admin.execute, "update public.credit_log set credits = 99 where user_id = %s", [user]
    )
    refused("23000", app.admin.execute, "delete from public.credit_log where user_id = %s", [user])
    refused("23000", app.admin.execute, "truncate public.credit_log")
    app.admin.execute("delete from auth.users where id = %s", [user])
    assert app.one("select count(*) from public.credit_log where user_id = %s", user) == 0


@pytest.mark.req("S1", "P25")
def test_a_customer_can_be_erased_with_all_they_did(app: App, tmp_path: Path) -> None:
    user, other = app.a_user(), app.a_user()
    key = a_cache_key()
    begin(app, user, key)
    finish(app, user, key)
    project = replace(load_settings(APP, {}), project_dir=tmp_path)
    assert not erase_user(project, app.access, user, is_dry=False).keeps_user
    for table in ("credit_log", "credit_usage", "generations", "notifications"):
        assert app.one(f"select count(*) from public.{table} where user_id = %s", user) == 0, table
    assert app.one("select count(*) from cache.kv_store where user_id = %s", user) == 0
    assert app.balance(other) == START_CREDITS


@pytest.mark.req("S1")
def test_an_adjustment_counts_once_for_each_source_and_never_goes_below_zero(
    app: App, refused: Refused
) -> None:
    user = app.a_user()
    for _ in range(3):
        adjusted = app.serve("adjust_credits", p_user_id=user, p_credits=5, p_source_id="ticket-1")
        assert adjusted == START_CREDITS + 5
    refused("CREDITS_OUT_OF_RANGE", app.serve, "adjust_credits", p_user_id=user, p_credits=-16)
    refused("VALIDATION_ERROR", app.serve, "adjust_credits", p_user_id=user, p_credits=0)
    refused("USER_NOT_FOUND", app.serve, "adjust_credits", p_user_id=SHA[:32], p_credits=1)
    assert app.balance(user) == START_CREDITS + 5


@pytest.mark.req("S1")
def test_a_user_is_told_once_that_credits_run_out(app: App) -> None:
    user = app.a_user(credits=6)
    told = """
        select array_agg(title order by created_at) from public.notifications
        where kind = 'low_credits' and user_id = %s
    """
    assert app.one(told, user) is None
    for change in (-2, -1, -1, -1, +10, -9):  # 4, 3 (told), 2, 1, 11, 2 (told again)
        app.serve("adjust_credits", p_user_id=user, p_credits=change)
    assert app.one(told, user) == ["3 credits left", "2 credits left"]


# A run


@pytest.mark.req("S4")
def test_a_run_is_charged_when_it_is_finished_and_remembered_for_a_day(app: App) -> None:
    user, key = app.a_user(), a_cache_key()
    assert begin(app, user, key, "hair_color") == {"state": "started", "cost": 2}
    assert app.balance(user) == START_CREDITS
    assert begin(app, user, key, "hair_color") == {"state": "running"}
    done = finish(app, user, key, "hair_color")
    assert done["credits_left"] == app.balance(user) == START_CREDITS - 2
    assert done["value"] == {"path": f"{user}/{key}.png", "generation_id": done["generation_id"]}
    assert begin(app, user, key, "hair_color") == {"state": "hit", "value": done["value"]}
    assert app.balance(user) == START_CREDITS - 2
    row = app.rows("select * from public.generations where user_id = %s", user)[0]
    assert (row["tool_id"], row["credits"], row["model"]) == ("hair_color", 2, "local-preview")
    assert app.one("select generation_id from public.credit_usage where user_id = %s", user) == row["id"]
    lasts = app.one("select expires_at - now() from cache.kv_store where key = %s", key)
    assert 86300 < lasts.total_seconds() <= 86400


@pytest.mark.req("S4")
def test_a_run_is_finished_once(app: App, refused: Refused) -> None:
    user, key = app.a_user(), a_cache_key()
    refused("NOT_RUNNING", finish, app, user, key)
    begin(app, user, key)
    finish(app, user, key)
    error = refused("NOT_RUNNING", finish, app, user, key)
    assert error.sqlstate == "PT409"
    assert app.balance(user) == START_CREDITS - 1
    assert app.one("select count(*) from public.generations where user_id = %s", user) == 1


@pytest.mark.req("S4")
def test_a_failed_run_costs_nothing_and_can_be_begun_again(app: App, refused: Refused) -> None:
    user, key = app.a_user(), a_cache_key()
    begin(app, user, key)
    app.serve("fail_generation", p_user_id=user, p_cache_key=key, p_reason="the model refused")
    refused("NOT_RUNNING", finish, app, user, key)
    assert app.balance(user) == START_CREDITS
    assert begin(app, user, key)["state"] == "started"
    finish(app, user, key)
    assert app.balance(user) == START_CREDITS - 1


@pytest.mark.req("S4")
def test_a_lease_that_ran_out_is_taken_over_and_the_run_is_charged_once(app: App, refused: Refused) -> None:
    user, key = app.a_user(), a_cache_key()
    begin(app, user, key)
    app.admin.execute(
        "update private.leases set lease_until = now() - interval '1 second' where key = %s", [key]
    )
    assert begin(app, user, key)["state"] == "started"
    finish(app, user, key)
    refused("NOT_RUNNING", finish, app, user, key)
    assert app.balance(user) == START_CREDITS - 1


@pytest.mark.req("S4")
def test_an_expired_result_is_made_anew(app: App) -> None:
    user, key = app.a_user(), a_cache_key()
    begin(app, user, key)
    finish(app, user, key)
    app.admin.execute(
        "update cache.kv_store set expires_at = now() - interval '1 second' where key = %s", [key]
    )
    assert begin(app, user, key)["state"] == "started"


@pytest.mark.req("S4")
def test_what_runs_keeps_its_credits_free(app: App, refused: Refused) -> None:
    user, first, second = app.a_user(credits=3), a_cache_key(), a_cache_key()
    begin(app, user, first, "hair_color")
    error = refused("INSUFFICIENT_CREDITS", begin, app, user, second, "hair_color")
    assert error.sqlstate == "PT402"
    app.serve("fail_generation", p_user_id=user, p_cache_key=first, p_reason="no answer")
    assert begin(app, user, second, "hair_color")["state"] == "started"


@pytest.mark.req("S4")
def test_without_enough_credits_nothing_is_begun_or_finished(app: App, refused: Refused) -> None:
    user, key = app.a_user(credits=1), a_cache_key()
    refused("INSUFFICIENT_CREDITS", begin, app, user, key, "hair_color")
    begin(app, user, key)
    app.serve("adjust_credits", p_user_id=user, p_credits=-1)  # while it runs, by the operator
    refused("INSUFFICIENT_CREDITS", finish, app, user, key)
    assert app.one("select count(*) from public.generations where user_id = %s", user) == 0
    assert app.one("select count(*) from cache.kv_store where key = %s", key) == 0
    assert app.one("select state from private.leases where key = %s", key) == "running"
    assert app.balance(user) == 0


@pytest.mark.req("S4")
def test_a_tool_must_be_there_and_switched_on(app: App, refused: Refused) -> None:
    user, key = app.a_user(), a_cache_key()
    assert refused("TOOL_NOT_FOUND", begin, app, user, key, "teleport").sqlstate == "PT404"
    app.admin.execute("update public.tools set is_enabled = false where id = 'enhance'")
    assert refused("TOOL_DISABLED", begin, app, user, key).sqlstate == "PT409"
    refused("VALIDATION_ERROR", begin, app, user, "not-a-hash", "upscale")
    refused("USER_NOT_FOUND", begin, app, SHA[:32], key, "upscale")


@pytest.mark.req("S4")
def test_a_result_of_one_user_is_no_hit_for_another(app: App) -> None:
    user, other, key = app.a_user(), app.a_user(), a_cache_key()
    begin(app, user, key)
    finish(app, user, key)
    assert begin(app, other, key)["state"] == "started"


@pytest.mark.req("S4", "S3")
def test_a_generation_stays_in_the_folder_of_its_user(app: App, refused: Refused) -> None:
    user, other, key = app.a_user(), app.a_user(), a_cache_key()
    begin(app, user, key)
    refused("23514", finish, app, user, key, p_source_path=f"{other}/photo.jpg")
    refused("23514", finish, app, user, key, p_result_path=f"{other}/x.png")
    assert app.balance(user) == START_CREDITS
    finish(app, user, key)


@pytest.mark.req("S4")
def test_of_many_identical_requests_at_once_one_starts(app: App) -> None:
    user, key = app.a_user(), a_cache_key()
    with ThreadPoolExecutor(8) as pool:
        states = [answer["state"] for answer in pool.map(lambda _: begin(app, user, key), range(16))]
    assert sorted(states) == ["running"] * 15 + ["started"]

    def try_to_finish(_: int) -> bool:
        try:
            finish(app, user, key)
        except psycopg.Error:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_to_finish, range(8))) == 1
    assert app.balance(user) == START_CREDITS - 1


@pytest.mark.req("S4")
def test_many_different_runs_at_once_never_spend_more_than_there_is(app: App) -> None:
    user = app.a_user(credits=5)

    def run(_: int) -> bool:
        key = a_cache_key()
        try:
            begin(app, user, key)
            finish(app, user, key)
        except psycopg.Error as error:
            return not (error.diag.message_primary or "").startswith("INSUFFICIENT_CREDITS")
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(run, range(16))) == 5
    assert app.balance(user) == 0


# The invariant

STEP = st.one_of(
    st.tuples(st.just("adjust"), st.integers(-15, 15).filter(bool), st.integers(0, 3)),
    st.tuples(st.just("run"), st.sampled_from(["enhance", "hair_color", "hairstyle"]), st.integers(0, 3)),
    st.tuples(st.just("fail"), st.sampled_from(["enhance", "upscale"]), st.integers(0, 3)),
    st.tuples(st.just("buy"), st.sampled_from(["small", "medium"]), st.booleans()),
)


@pytest.mark.req("S1", "S4")
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans=st.lists(st.lists(STEP, min_size=1, max_size=6), min_size=2, max_size=4))
def test_the_sum_of_the_log_is_the_balance_whatever_happens_at_once(
    app: App, plans: list[list[tuple[str, Any, Any]]]
) -> None:
    user = app.a_user()
    keys = [a_cache_key() for _ in range(4)]
    gate = threading.Barrier(len(plans))

    def live(steps: list[tuple[str, Any, Any]]) -> None:
        gate.wait()
        for step in steps:
            try:
                take_step(app, user, keys, *step)
            except psycopg.Error as error:  # refusals are part of life; anything else is not
                if not (error.sqlstate or "").startswith("PT4"):
                    raise

    with ThreadPoolExecutor(len(plans)) as pool:
        list(pool.map(live, plans))
    assert app.balance(user) >= 0
    spent = app.one("select coalesce(sum(credits), 0) from public.credit_usage where user_id = %s", user)
    logged = "select coalesce(-sum(credits), 0) from public.credit_log where user_id = %s and reason = 'generation'"
    assert spent == app.one(logged, user)


def take_step(app: App, user: str, keys: list[str], kind: str, what: Any, which: Any) -> None:
    match kind:
        case "adjust":
            app.serve("adjust_credits", p_user_id=user, p_credits=what, p_source_id=f"source-{which}")
        case "run" | "fail":
            if begin(app, user, keys[which], what)["state"] == "started":
                if kind == "run":
                    finish(app, user, keys[which], what)
                else:
                    app.serve(
                        "fail_generation", p_user_id=user, p_cache_key=keys[which], p_reason="no answer"
                    )
        case "buy":
            order = app.an_order(user, what)
            app.serve("apply_paymob_callback", p_callback=a_callback(order))
            if which:
                app.serve("apply_paymob_callback", p_callback=a_callback(order, is_refunded=True))


def a_callback(order: dict[str, Any], **obj: Any) -> dict[str, Any]:
    return {
        "type": "TRANSACTION",
        "obj": {
            "id": order["paymob_order_id"] + 5_000_000, "success": True, "pending": False,
            "amount_cents": order["amount_cents"], "currency": order["currency"], "has_parent_transaction": False,
            "order": {"id": order["paymob_order_id"], "merchant_order_id": order["merchant_order_id"]}, **obj,
        },
    }  # fmt: skip
