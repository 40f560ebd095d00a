"""Paymob's "transaction processed" callback: checked by its HMAC, then applied in one transaction, exactly once.

Public: `verify_jwt = false`. What a callback earns or takes back is decided in public.apply_paymob_callback.
"""

import json

from _shared.callers import check_post
from _shared.errors import error
from _shared.paymob import is_genuine, read_account

from basalt.functions import Context, FunctionError, Request

APPLY = "select public.apply_paymob_callback(%(callback)s::jsonb)"
NEEDS_EYES = frozenset({"paid_twice", "amount_mismatch", "order_mismatch", "unknown_order", "no_user"})


async def handler(request: Request, context: Context) -> object:
    check_post(request)
    account = read_account(context.env)
    callback = request.json()
    if not isinstance(callback, dict) or not isinstance(callback.get("obj"), dict):
        raise FunctionError("VALIDATION_ERROR", "This is no callback of Paymob")
    if callback.get("type") != "TRANSACTION":  # saved cards and deliveries are not what Sparky deals in
        return {"outcome": "ignored"}
    obj = callback["obj"]
    if not is_genuine(account.hmac_secret, obj, request.query.get("hmac", "")):
        raise error("INVALID_SIGNATURE")
    if obj["integration_id"] not in account.integration_ids:  # another shop of the same account
        context.log.warning("a transaction of integration %s is not ours", obj["integration_id"])
        return {"outcome": "ignored"}
    applied = await context.service_db.fetch_value(APPLY, {"callback": json.dumps(callback)})
    if applied["outcome"] in NEEDS_EYES:
        context.log.warning("transaction %s of Paymob: %s", obj["id"], applied["outcome"])
    return applied
