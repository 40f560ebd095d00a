"""Paymob Accept: an order, a payment key for it, where its buyer pays, and the signature of its callbacks.

https://docs.paymob.com/docs/accept-standard-redirect (authentication, order registration, payment key),
https://docs.paymob.com/docs/mobile-wallets and https://docs.paymob.com/docs/hmac-calculation.
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import httpx2
from _shared.errors import error

API_URL = "https://accept.paymob.com/api"
TIMEOUT_S = 12.0  # of each of four steps: all of them end before the function's own minute does
KEY_LIFE_S = 3600
MAX_ORDER_ID = 2**63 - 1
NOT_GIVEN = "NA"  # Paymob wants every field of billing_data

# The order of "HMAC Transaction Callback"; `order.id` is `obj["order"]["id"]`.
SIGNED = (
    "amount_cents", "created_at", "currency", "error_occured", "has_parent_transaction", "id", "integration_id",
    "is_3d_secure", "is_auth", "is_capture", "is_refunded", "is_standalone_payment", "is_voided", "order.id", "owner",
    "pending", "source_data.pan", "source_data.sub_type", "source_data.type", "success",
)  # fmt: skip
NUMBERS = ("amount_cents", "id", "integration_id", "order.id", "owner")
FLAGS = (
    "error_occured", "has_parent_transaction", "is_3d_secure", "is_auth", "is_capture", "is_refunded",
    "is_standalone_payment", "is_voided", "pending", "success",
)  # fmt: skip
INSTANT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d")

_http = httpx2.AsyncClient(timeout=httpx2.Timeout(None, connect=10))


class PaymobError(Exception):
    """Paymob did not do what it was asked; for the log."""


@dataclass(frozen=True)
class Account:
    """What `basalt secrets set PAYMOB_…` has stored."""

    api_key: str
    hmac_secret: str
    card_integration_id: int
    wallet_integration_id: int | None
    iframe_id: str
    api_url: str
    timeout_s: float = TIMEOUT_S

    @property
    def integration_ids(self) -> set[int]:
        return {
            self.card_integration_id,
            *([self.wallet_integration_id] if self.wallet_integration_id else []),
        }


@dataclass(frozen=True)
class Order:
    """One position, as `create_order` made it."""

    merchant_order_id: str
    name: str
    amount_cents: int
    currency: str


def read_account(env: Mapping[str, str]) -> Account:
    """Raises PAYMENTS_NOT_CONFIGURED; which secret is missing is for the log."""
    try:
        return Account(
            api_key=env["PAYMOB_API_KEY"],
            hmac_secret=env["PAYMOB_HMAC_SECRET"],
            card_integration_id=int(env["PAYMOB_INTEGRATION_ID"]),
            wallet_integration_id=int(env.get("PAYMOB_WALLET_INTEGRATION_ID") or 0) or None,
            iframe_id=env["PAYMOB_IFRAME_ID"],
            api_url=env.get("PAYMOB_API_URL", API_URL).rstrip("/"),
            timeout_s=float(env.get("PAYMOB_TIMEOUT_S", TIMEOUT_S)),
        )
    except (KeyError, ValueError) as exc:
        raise error("PAYMENTS_NOT_CONFIGURED") from exc


async def fetch_token(account: Account) -> str:
    """Step 1, authentication: a token for an hour."""
    answer = await _post(account, "/auth/tokens", {"api_key": account.api_key})
    return _read_text(answer, "token")


async def register_order(account: Account, token: str, order: Order) -> int:
    """Step 2: Paymob's id of the order. A second one with the same `merchant_order_id` is refused."""
    item = {
        "name": order.name,
        "description": order.name,
        "amount_cents": str(order.amount_cents),
        "quantity": "1",
    }
    answer = await _post(
        account,
        "/ecommerce/orders",
        {
            "auth_token": token,
            "delivery_needed": "false",
            "amount_cents": str(order.amount_cents),
            "currency": order.currency,
            "merchant_order_id": order.merchant_order_id,
            "items": [item],
        },
    )
    order_id = answer.get("id") if isinstance(answer, dict) else None
    if type(order_id) is not int or not 0 < order_id <= MAX_ORDER_ID:
        raise PaymobError("the answer has no id of an order")
    return order_id


async def fetch_payment_key(
    account: Account,
    token: str,
    order: Order,
    paymob_order_id: int,
    *,
    method: Literal["card", "wallet"],
    billing: Mapping[str, str | None],
) -> str:
    """Step 3: what one buyer pays one order with, for an hour."""
    integration_id = account.card_integration_id if method == "card" else account.wallet_integration_id
    fields = (
        "first_name", "last_name", "email", "phone_number", "apartment", "floor", "street", "building",
        "shipping_method", "postal_code", "city", "state", "country",
    )  # fmt: skip
    answer = await _post(
        account,
        "/acceptance/payment_keys",
        {
            "auth_token": token,
            "amount_cents": str(order.amount_cents),
            "expiration": KEY_LIFE_S,
            "order_id": str(paymob_order_id),
            "billing_data": {field: billing.get(field) or NOT_GIVEN for field in fields},
            "currency": order.currency,
            "integration_id": integration_id,
            "lock_order_when_paid": "true",
        },
    )
    return _read_text(answer, "token")


def iframe_url(account: Account, payment_key: str) -> str:
    """Step 4 for cards: the page that asks for the card."""
    return (
        f"{account.api_url}/acceptance/iframes/{quote(account.iframe_id, safe='')}"
        f"?payment_token={quote(payment_key, safe='')}"
    )


async def request_wallet(account: Account, payment_key: str, phone: str) -> str:
    """Step 4 for mobile wallets: where the buyer confirms."""
    answer = await _post(
        account,
        "/acceptance/payments/pay",
        {"source": {"identifier": phone, "subtype": "WALLET"}, "payment_token": payment_key},
    )
    url = _read_text(answer, "redirect_url")
    if not url.startswith(("https://", "http://")):
        raise PaymobError("no redirect_url")
    return url


async def _post(account: Account, path: str, body: Mapping[str, Any]) -> Any:
    """What Paymob answers, within the account's limit however slowly it comes. Raises PaymobError."""
    try:
        async with asyncio.timeout(account.timeout_s):
            answer = await _http.post(f"{account.api_url}{path}", json=body)
    except (TimeoutError, httpx2.HTTPError) as exc:
        raise PaymobError(f"{path}: {type(exc).__name__}") from exc
    if answer.status_code not in (200, 201):
        raise PaymobError(f"{path} answered {answer.status_code}: {answer.text[:200]}")
    try:
        return answer.json()
    except ValueError as exc:
        raise PaymobError(f"{path} answered no JSON") from exc


def _read_text(answer: Any, name: str) -> str:
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, str) or not value:
        raise PaymobError(f"the answer has no {name}")
    return value


def is_genuine(secret: str, obj: Mapping[str, Any], signature: str) -> bool:
    """Whether Paymob signed this transaction. Compared in constant time.

    The signed text has nothing between its values, so that `…12` and `34…` sign like `…1` and `234…`: only values of
    the kind that Paymob sends are taken.
    """
    values = {name: _value(obj, name) for name in SIGNED}
    if (
        any(type(values[name]) is not int for name in NUMBERS)
        or any(type(values[name]) is not bool for name in FLAGS)
        or not INSTANT.match(str(values["created_at"]))
    ):
        return False
    text = "".join(_text(values[name]) for name in SIGNED)
    expected = hmac.new(secret.encode(), text.encode("utf-8", "replace"), hashlib.sha512).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.lower().encode("utf-8", "replace"))


def _value(obj: Mapping[str, Any], name: str) -> Any:
    first, _, second = name.partition(".")
    value = obj.get(first)
    if second:
        return value.get(second) if isinstance(value, dict) else None
    return value


def _text(value: object) -> str:
    """As the documentation's example: `true`, `false`, digits, text; nothing for null."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
