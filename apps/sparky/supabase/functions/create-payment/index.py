"""Takes an order of the caller to Paymob and answers where to pay it. What is paid, `paymob-webhooks` grants.

Whoever asks again after a failure has a new order: of the old one Paymob may know, and it takes no name twice.
"""

from datetime import UTC, datetime, timedelta

from _shared.callers import check_user
from _shared.errors import error
from _shared.paymob import (
    KEY_LIFE_S,
    Account,
    Order,
    PaymobError,
    fetch_payment_key,
    fetch_token,
    iframe_url,
    read_account,
    register_order,
    request_wallet,
)
from _shared.requests import CreatePayment

from basalt.functions import Context, FunctionError, Request

CREATE = "select public.create_order(%(kind)s, %(item_id)s)"
ATTACH = "select public.attach_paymob_order(%(merchant_order_id)s, %(paymob_order_id)s)"
FAIL = "select public.fail_order(%(merchant_order_id)s)"


async def handler(request: Request, context: Context) -> object:
    check_user(request, context)
    wanted = request.parse(CreatePayment)
    account = read_account(context.env)
    if wanted.method == "wallet":
        check_wallet(wanted, account)
    made = await context.db.fetch_value(CREATE, {"kind": wanted.kind, "item_id": wanted.itemId})
    order = Order(made["merchant_order_id"], made["name"], made["amount_cents"], made["currency"])
    try:
        where = await _take_to_paymob(context, account, order, wanted)
    except PaymobError as exc:
        context.log.error("order %s did not reach Paymob: %s", order.merchant_order_id, exc)
        await context.service_db.execute(FAIL, {"merchant_order_id": order.merchant_order_id})
        raise error("PAYMENT_FAILED", details={"purchase_id": made["purchase_id"]}) from exc
    return {
        "success": True,
        "purchase_id": made["purchase_id"],
        "merchant_order_id": order.merchant_order_id,
        "amount_cents": order.amount_cents,
        "currency": order.currency,
        **where,
    }


def check_wallet(wanted: CreatePayment, account: Account) -> None:
    if wanted.walletPhone is None:
        raise FunctionError(
            "VALIDATION_ERROR",
            "walletPhone: the number of the wallet is needed",
            details=[{"path": "walletPhone", "message": "missing"}],
        )
    if account.wallet_integration_id is None:
        raise error("PAYMENTS_NOT_CONFIGURED", "Payments by wallet are not set up")


async def _take_to_paymob(
    context: Context, account: Account, order: Order, wanted: CreatePayment
) -> dict[str, str]:
    token = await fetch_token(account)
    paymob_order_id = await register_order(account, token, order)
    # Before anybody can pay: a callback counts only for the order that is written down here.
    await context.service_db.execute(
        ATTACH, {"merchant_order_id": order.merchant_order_id, "paymob_order_id": paymob_order_id}
    )
    expires_at = datetime.now(UTC) + timedelta(seconds=KEY_LIFE_S)
    key = await fetch_payment_key(
        account,
        token,
        order,
        paymob_order_id,
        method=wanted.method,
        billing={
            "first_name": wanted.billing.firstName,
            "last_name": wanted.billing.lastName,
            "email": context.claims.get("email"),
            "phone_number": wanted.billing.phone or wanted.walletPhone,
            "city": wanted.billing.city,
            "country": wanted.billing.country,
        },
    )
    answer = {"payment_token": key, "expires_at": expires_at.isoformat()}
    if wanted.method == "wallet":
        return {**answer, "redirect_url": await request_wallet(account, key, str(wanted.walletPhone))}
    return {**answer, "iframe_url": iframe_url(account, key)}
