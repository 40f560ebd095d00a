"""Buying credits: the order at Paymob, and its callbacks, which grant and take back exactly once."""

import copy
import hashlib
import hmac
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import START_CREDITS, App
from .paymob import CARD, sign, signed_text

Refused = Callable[..., psycopg.Error]

SMALL, SMALL_CENTS = 20, 4900
_transactions = count(900_000_000)


def a_payment(order: dict[str, Any], **obj: Any) -> dict[str, Any]:
    """A callback of a card that paid, with a transaction of its own."""
    return {
        "type": "TRANSACTION",
        "obj": {
            "id": next(_transactions), "success": True, "pending": False, "error_occured": False,
            "amount_cents": order["amount_cents"], "currency": order["currency"], "integration_id": CARD,
            "has_parent_transaction": False, "is_refunded": False, "is_voided": False, "is_refund": False,
            "is_void": False, "is_auth": False, "is_capture": False, "refunded_amount_cents": 0,
            "order": {"id": order["paymob_order_id"], "merchant_order_id": order["merchant_order_id"]}, **obj,
        },
    }  # fmt: skip


def a_refund(payment: dict[str, Any], amount_cents: int, **obj: Any) -> dict[str, Any]:
    """The refund as a transaction of its own, under the payment."""
    refund = copy.deepcopy(payment)
    refund["obj"] |= {
        "id": next(_transactions), "amount_cents": amount_cents, "has_parent_transaction": True, "is_refund": True,
        "parent_transaction": payment["obj"]["id"], **obj,
    }  # fmt: skip
    return refund


def refunded(payment: dict[str, Any], total_cents: int) -> dict[str, Any]:
    """What Paymob then says of the payment itself."""
    parent = copy.deepcopy(payment)
    parent["obj"] |= {"is_refunded": True, "refunded_amount_cents": total_cents}
    return parent


def apply(app: App, callback: dict[str, Any]) -> str:
    outcome: str = app.serve("apply_paymob_callback", p_callback=callback)["outcome"]
    return outcome


def purchase(app: App, order: dict[str, Any]) -> dict[str, Any]:
    return app.rows("select * from public.credit_purchases where id = %s", order["purchase_id"])[0]


# An order


@pytest.mark.req("S1")
def test_an_order_keeps_the_price_of_its_moment(app: App) -> None:
    user = app.a_user()
    order = app.an_order(user)
    app.admin.execute("update public.credit_packs set price_cents = 1, credits = 1 where id = 'small'")
    assert apply(app, a_payment(order)) == "granted"
    assert app.balance(user) == START_CREDITS + SMALL


@pytest.mark.req("S1")
def test_only_what_is_for_sale_can_be_ordered(app: App, refused: Refused) -> None:
    user = app.a_user()

    def order(kind: str, item: str) -> None:
        app.call(user, "create_order", p_kind=kind, p_item_id=item)

    assert refused("ITEM_NOT_FOUND", order, "pack", "gigantic").sqlstate == "PT404"
    refused("ITEM_NOT_FOUND", order, "plan", "free")
    refused("ITEM_NOT_FOUND", order, "plan", "small")
    refused("VALIDATION_ERROR", order, "gift", "small")
    app.admin.execute("update public.credit_packs set is_active = false where id = 'small'")
    refused("ITEM_NOT_FOUND", order, "pack", "small")


@pytest.mark.req("S1")
def test_unpaid_orders_are_bounded(app: App, refused: Refused) -> None:
    user = app.a_user()
    for _ in range(20):
        app.call(user, "create_order", p_kind="pack", p_item_id="small")
    error = refused("TOO_MANY_ORDERS", app.call, user, "create_order", p_kind="pack", p_item_id="small")
    assert error.sqlstate == "PT429"
    app.call(app.a_user(), "create_order", p_kind="pack", p_item_id="small")


@pytest.mark.req("S7")
def test_an_order_has_one_order_at_paymob(app: App, refused: Refused) -> None:
    order = app.an_order(app.a_user())

    def attach(paymob_order_id: int) -> None:
        app.serve(
            "attach_paymob_order",
            p_merchant_order_id=order["merchant_order_id"],
            p_paymob_order_id=paymob_order_id,
        )

    attach(order["paymob_order_id"])
    refused("ORDER_NOT_FOUND", attach, order["paymob_order_id"] + 1)


# A payment


@pytest.mark.req("S7")
def test_a_payment_grants_once_however_often_it_is_told(app: App) -> None:
    user = app.a_user()
    order = app.an_order(user)
    callback = a_payment(order)
    assert [apply(app, callback) for _ in range(4)] == ["granted", "repeated", "repeated", "repeated"]
    assert app.balance(user) == START_CREDITS + SMALL
    assert purchase(app, order)["status"] == "paid"
    (payment,) = app.rows("select * from public.payments where user_id = %s", user)
    assert payment["callback"] == callback
    assert (payment["outcome"], payment["delivery_count"]) == ("granted", 4)
    told = app.rows("select kind, title from public.notifications where user_id = %s", user)
    assert told == [{"kind": "purchase", "title": "20 credits added"}]


NO_PAYMENT: list[tuple[dict[str, Any], str]] = [
    ({"success": False}, "declined"),
    ({"success": False, "error_occured": True}, "declined"),
    ({"pending": True}, "pending"),
    ({"pending": True, "success": False}, "pending"),
    ({"is_auth": True}, "pending"),
    ({"has_parent_transaction": True}, "ignored"),
    ({"amount_cents": SMALL_CENTS - 1}, "amount_mismatch"),
    ({"amount_cents": SMALL_CENTS + 1}, "amount_mismatch"),
    ({"currency": "USD"}, "amount_mismatch"),
    ({"currency": None}, "amount_mismatch"),
]


@pytest.mark.req("S7")
def test_what_is_no_payment_of_the_order_is_written_down_and_grants_nothing(app: App) -> None:
    for wrong, outcome in NO_PAYMENT:
        user = app.a_user()
        order = app.an_order(user)
        assert apply(app, a_payment(order, **wrong)) == outcome, wrong
        assert app.balance(user) == START_CREDITS
        assert purchase(app, order)["status"] == "pending"
        written = app.one("select outcome from public.payments where purchase_id = %s", order["purchase_id"])
        assert written == outcome
        assert apply(app, a_payment(order)) == "granted"


@pytest.mark.req("S7")
def test_a_pending_payment_grants_when_it_succeeds_and_not_after_its_late_repetition(app: App) -> None:
    user = app.a_user()
    success = a_payment(app.an_order(user))
    pending = copy.deepcopy(success)
    pending["obj"] |= {"pending": True, "success": False}
    assert [apply(app, callback) for callback in (pending, success, pending, success)] == [
        "pending", "granted", "pending", "repeated",
    ]  # fmt: skip
    assert app.balance(user) == START_CREDITS + SMALL


@pytest.mark.req("S7")
def test_a_signed_callback_cannot_be_turned_to_another_order(app: App) -> None:
    """`merchant_order_id` is not part of what Paymob signs, and buyers see signatures of their payments."""
    user, friend = app.a_user(), app.a_user()
    paid, unpaid, friends = app.an_order(user), app.an_order(user), app.an_order(friend)
    callback = a_payment(paid)
    for other in (unpaid, friends):
        turned = copy.deepcopy(callback)
        turned["obj"]["order"]["merchant_order_id"] = other["merchant_order_id"]
        assert apply(app, turned) == "order_mismatch"
    turned["obj"]["order"]["merchant_order_id"] = "another-shop"
    assert apply(app, turned) == "unknown_order"
    assert (app.balance(user), app.balance(friend)) == (START_CREDITS, START_CREDITS)
    assert apply(app, callback) == "granted"


@pytest.mark.req("S7")
def test_an_order_fails_only_while_it_waits_and_is_granted_when_it_is_paid_after_all(app: App) -> None:
    user = app.a_user()
    failed, paid = app.an_order(user), app.an_order(user)
    assert apply(app, a_payment(paid)) == "granted"
    for order in (failed, paid):
        app.serve("fail_order", p_merchant_order_id=order["merchant_order_id"])
    statuses = "select array_agg(status order by created_at) from public.credit_purchases where user_id = %s"
    assert app.one(statuses, user) == ["failed", "paid"]
    assert app.balance(user) == START_CREDITS + SMALL
    assert apply(app, a_payment(failed)) == "granted"
    assert app.one(statuses, user) == ["paid", "paid"]
    assert app.balance(user) == START_CREDITS + 2 * SMALL


@pytest.mark.req("S7")
def test_an_order_that_never_reached_paymob_cannot_be_paid(app: App) -> None:
    user = app.a_user()
    order = app.call(user, "create_order", p_kind="pack", p_item_id="small")
    assert apply(app, a_payment(order | {"paymob_order_id": 5})) == "order_mismatch"
    assert app.balance(user) == START_CREDITS


@pytest.mark.req("S7")
def test_a_second_payment_of_one_order_grants_nothing_and_is_marked(app: App) -> None:
    user = app.a_user()
    order = app.an_order(user)
    first, second = a_payment(order), a_payment(order)
    assert [apply(app, callback) for callback in (first, second, second, first)] == [
        "granted", "paid_twice", "paid_twice", "repeated",
    ]  # fmt: skip
    assert app.balance(user) == START_CREDITS + SMALL


@pytest.mark.req("S7")
@pytest.mark.parametrize("which", [0, 1])
def test_of_two_payments_of_one_order_one_can_go_back(app: App, which: int) -> None:
    user = app.a_user()
    order = app.an_order(user)
    payments = [a_payment(order), a_payment(order)]
    for callback in payments:
        apply(app, callback)
    for callback in (a_refund(payments[which], SMALL_CENTS), refunded(payments[which], SMALL_CENTS)):
        apply(app, callback)
        assert app.balance(user) == START_CREDITS + SMALL
    assert purchase(app, order)["status"] == "paid"
    apply(app, a_refund(payments[1 - which], SMALL_CENTS))
    assert app.balance(user) == START_CREDITS
    assert purchase(app, order)["status"] == "refunded"


@pytest.mark.req("S7")
def test_a_refund_of_a_second_payment_may_come_before_both(app: App) -> None:
    user = app.a_user()
    order = app.an_order(user)
    first, second = a_payment(order), a_payment(order)
    for callback in (a_refund(second, SMALL_CENTS), first, second, first, second):
        apply(app, callback)
    assert app.balance(user) == START_CREDITS + SMALL
    assert purchase(app, order)["status"] == "paid"


@pytest.mark.req("S7")
def test_a_captured_authorisation_is_a_payment(app: App) -> None:
    user = app.a_user()
    order = app.an_order(user)
    assert apply(app, a_payment(order, is_auth=True)) == "pending"
    assert apply(app, a_payment(order, has_parent_transaction=True, is_capture=True)) == "granted"
    assert app.balance(user) == START_CREDITS + SMALL


@pytest.mark.req("S7")
def test_a_payment_for_a_deleted_account_is_kept_for_the_operator(app: App) -> None:
    user = app.a_user()
    order = app.an_order(user)
    app.admin.execute("delete from auth.users where id = %s", [user])
    assert apply(app, a_payment(order)) == "no_user"
    row = purchase(app, order)
    assert (row["status"], row["granted_at"]) == ("paid", None)


@pytest.mark.req("S7")
def test_a_repetition_with_other_unsigned_fields_changes_no_books(app: App) -> None:
    order = app.an_order(app.a_user())
    callback = a_payment(order)
    apply(app, callback)
    dressed = copy.deepcopy(callback)
    dressed["obj"]["data"] = {"message": "x" * 1000}
    assert apply(app, dressed) == "repeated"
    (payment,) = app.rows("select callback from public.payments where purchase_id = %s", order["purchase_id"])
    assert payment["callback"] == callback


# Money that goes back


@pytest.mark.req("S7")
def test_a_refund_takes_the_credits_back_once_though_it_is_told_twice(app: App) -> None:
    user = app.a_user()
    order = app.an_order(user)
    payment = a_payment(order)
    refund = a_refund(payment, SMALL_CENTS)
    apply(app, payment)
    for callback in (refund, refunded(payment, SMALL_CENTS), refund, payment, refunded(payment, SMALL_CENTS)):
        apply(app, callback)
        assert app.balance(user) == START_CREDITS
    row = purchase(app, order)
    assert (row["status"], row["credits_taken_back"], row["credits_missing"]) == ("refunded", SMALL, 0)
    assert (
        app.one("select count(*) from public.notifications where user_id = %s and kind = 'refund'", user) == 1
    )


@pytest.mark.req("S7")
def test_what_was_spent_is_not_taken_back_and_is_recorded(app: App) -> None:
    user = app.a_user()
    order = app.an_order(user)
    payment = a_payment(order)
    apply(app, payment)
    app.serve("adjust_credits", p_user_id=user, p_credits=-25)
    assert apply(app, a_refund(payment, SMALL_CENTS)) == "taken_back"
    assert app.balance(user) == 0
    row = purchase(app, order)
    assert (row["credits_taken_back"], row["credits_missing"]) == (5, 15)
    app.serve("adjust_credits", p_user_id=user, p_credits=50)
    apply(app, refunded(payment, SMALL_CENTS))
    assert app.balance(user) == 50, "what is missing is recorded, not collected later"


@pytest.mark.req("S7")
def test_a_part_refund_takes_the_same_part_of_the_credits(app: App) -> None:
    user = app.a_user()
    order = app.an_order(user)
    payment = a_payment(order)
    apply(app, payment)
    apply(app, a_refund(payment, SMALL_CENTS // 2))
    assert app.balance(user) == START_CREDITS + SMALL // 2
    assert purchase(app, order)["status"] == "partly_refunded"
    apply(app, refunded(payment, SMALL_CENTS // 2))
    assert app.balance(user) == START_CREDITS + SMALL // 2
    apply(app, a_refund(payment, SMALL_CENTS // 2))
    assert app.balance(user) == START_CREDITS
    assert purchase(app, order)["status"] == "refunded"


@pytest.mark.req("S7")
def test_a_void_takes_everything_back(app: App) -> None:
    user = app.a_user()
    order = app.an_order(user)
    payment = a_payment(order)
    apply(app, payment)
    voided = copy.deepcopy(payment)
    voided["obj"]["is_voided"] = True
    apply(app, voided)
    apply(app, a_refund(payment, SMALL_CENTS, is_refund=False, is_void=True))
    assert app.balance(user) == START_CREDITS
    assert purchase(app, order)["status"] == "refunded"


@pytest.mark.req("S7")
def test_a_refund_that_overtakes_its_payment_leaves_nothing_to_grant(app: App) -> None:
    user = app.a_user()
    order = app.an_order(user)
    payment = a_payment(order)
    apply(app, a_refund(payment, SMALL_CENTS))
    assert apply(app, payment) == "taken_back"
    assert app.balance(user) == START_CREDITS
    assert purchase(app, order)["status"] == "refunded"
    assert app.one("select count(*) from public.credit_log where user_id = %s", user) == 1


@pytest.mark.req("S7")
def test_a_refund_that_failed_or_waits_takes_nothing(app: App) -> None:
    user = app.a_user()
    payment = a_payment(app.an_order(user))
    apply(app, payment)
    assert apply(app, a_refund(payment, SMALL_CENTS, success=False)) == "declined"
    assert apply(app, a_refund(payment, SMALL_CENTS, pending=True)) == "pending"
    assert apply(app, a_refund(payment, SMALL_CENTS + 1)) == "amount_mismatch"
    assert app.balance(user) == START_CREDITS + SMALL


@pytest.mark.req("S7")
def test_many_callbacks_at_once_grant_once(app: App) -> None:
    user = app.a_user()
    callback = a_payment(app.an_order(user))
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: apply(app, callback), range(24)))
    assert sorted(outcomes) == ["granted"] + ["repeated"] * 23
    assert app.balance(user) == START_CREDITS + SMALL


@pytest.mark.req("S7")
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    refunds=st.lists(st.sampled_from([1, 1000, 2450, 4900]), max_size=3),
    at_once=st.booleans(),
)
def test_in_whatever_order_callbacks_come_the_end_is_the_same(
    app: App, seed: int, refunds: list[int], at_once: bool
) -> None:
    user = app.a_user()
    order = app.an_order(user)
    payment = a_payment(order)
    pending = copy.deepcopy(payment)
    pending["obj"] |= {"pending": True, "success": False}
    callbacks, total = [pending, payment, a_payment(order, success=False)], 0
    for amount in refunds:
        if total + amount <= SMALL_CENTS:
            total += amount
            callbacks += [a_refund(payment, amount), refunded(payment, total)]
    dice = random.Random(seed)
    deliveries = callbacks + dice.choices(callbacks, k=len(callbacks))
    dice.shuffle(deliveries)
    if at_once:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda callback: apply(app, callback), deliveries))
    else:
        for callback in deliveries:
            apply(app, callback)
    taken = SMALL * total // SMALL_CENTS
    assert app.balance(user) == START_CREDITS + SMALL - taken
    row = purchase(app, order)
    assert row["refunded_cents"] == total
    if row["granted_at"]:
        assert row["credits_taken_back"] == taken


# The signature


@pytest.mark.req("S7")
def test_the_signed_text_is_that_of_the_documentation() -> None:
    """The example of "HMAC Transaction Callback" in Paymob's documentation."""
    obj = {
        "amount_cents": 100000, "created_at": "2024-06-13T11:33:44.592345", "currency": "EGP", "error_occured": False,
        "has_parent_transaction": False, "id": 192036465, "integration_id": 4097558, "is_3d_secure": True,
        "is_auth": False, "is_capture": False, "is_refunded": False, "is_standalone_payment": True, "is_voided": False,
        "order": {"id": 217503754}, "owner": 302852, "pending": False,
        "source_data": {"pan": "2346", "sub_type": "MasterCard", "type": "card"}, "success": True,
    }  # fmt: skip
    text = (
        "1000002024-06-13T11:33:44.592345EGPfalsefalse1920364654097558truefalsefalsefalsetruefalse217503754302852"
        "false2346MasterCardcardtrue"
    )
    assert signed_text(obj) == text
    assert sign("secret", obj) == hmac.new(b"secret", text.encode(), hashlib.sha512).hexdigest()
