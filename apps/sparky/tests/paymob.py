"""A Paymob of our own: the API's four steps with its checks, a page to pay on, refunds and voids, and signed callbacks.

After https://docs.paymob.com/docs/accept-standard-redirect, …/mobile-wallets, …/refund-transaction,
…/void-transaction and …/hmac-calculation. The signature is computed here by itself, from the documentation's list.
"""

import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from tests.fakes.small_server import Received, Reply, small_server

CARD, WALLET, OWNER, IFRAME = 4097558, 4097559, 302852, "839"
BILLING = {
    "apartment", "email", "floor", "first_name", "street", "building", "phone_number", "shipping_method",
    "postal_code", "city", "country", "last_name", "state",
}  # fmt: skip


STEPS = ("/auth/tokens", "/ecommerce/orders", "/acceptance/payment_keys", "/acceptance/payments/pay")


@dataclass(frozen=True)
class Failure:
    """What a step answers instead. `is_late`: after it has done its work."""

    reply: Reply
    is_late: bool = False


@dataclass
class Paymob:
    """`callback_url` is where callbacks go; `failures` are of paths."""

    url: str = ""
    callback_url: str = ""
    api_key: str = "paymob-api-key"
    hmac_secret: str = "paymob-hmac-secret"
    timeout_s: float = 2
    failures: dict[str, Failure] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    orders: dict[int, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    transactions: dict[int, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    next_id: int = 217503754

    @property
    def secrets(self) -> dict[str, str]:
        return {
            "PAYMOB_API_KEY": self.api_key,
            "PAYMOB_HMAC_SECRET": self.hmac_secret,
            "PAYMOB_INTEGRATION_ID": str(CARD),
            "PAYMOB_WALLET_INTEGRATION_ID": str(WALLET),
            "PAYMOB_IFRAME_ID": IFRAME,
            "PAYMOB_API_URL": f"{self.url}/api",
            "PAYMOB_TIMEOUT_S": str(self.timeout_s),
        }

    # The API

    def answer(self, request: Received) -> Reply:
        path = urlsplit(request.path).path.removeprefix("/api")
        failure = self.failures.get(path)
        if failure is not None and not failure.is_late:
            return failure.reply
        reply = self._serve(path, request)
        return reply if failure is None else failure.reply

    @contextmanager
    def failing(self, step: str, failure: Failure) -> Iterator[None]:
        self.failures[step] = failure
        try:
            yield
        finally:
            del self.failures[step]

    def _serve(self, path: str, request: Received) -> Reply:
        if path.startswith("/acceptance/iframes/"):
            return self._page(request)
        body = json.loads(request.body)
        with self.lock:
            match path:
                case "/auth/tokens":
                    return self._authenticate(body)
                case "/ecommerce/orders":
                    return self._register(body)
                case "/acceptance/payment_keys":
                    return self._make_key(body)
                case "/acceptance/payments/pay":
                    return self._pay_by_wallet(body)
        return _json(404, {"detail": "Not found."})

    def _authenticate(self, body: dict[str, Any]) -> Reply:
        if body.get("api_key") != self.api_key:
            return _json(403, {"detail": "incorrect credentials"})
        token = secrets.token_urlsafe(24)
        self.tokens.add(token)
        return _json(201, {"profile": {"id": OWNER}, "token": token})

    def _register(self, body: dict[str, Any]) -> Reply:
        if body.get("auth_token") not in self.tokens:
            return _json(401, {"detail": "Authentication credentials were not provided."})
        wrong = [
            name
            for name in ("amount_cents", "currency", "merchant_order_id", "items", "delivery_needed")
            if name not in body
        ]
        if wrong or sum(int(i["amount_cents"]) * int(i["quantity"]) for i in body["items"]) != int(
            body["amount_cents"]
        ):
            return self._refuse(400, {"message": f"missing or wrong: {wrong}"})
        if any(order["merchant_order_id"] == body["merchant_order_id"] for order in self.orders.values()):
            return self._refuse(422, {"message": "duplicate"})
        order_id = self._take_id()
        self.orders[order_id] = {
            "id": order_id,
            "created_at": "2026-01-06T11:33:40.592345",
            "delivery_needed": False,
            "merchant": {"id": OWNER, "company_name": "Sparky"},
            "amount_cents": int(body["amount_cents"]),
            "currency": body["currency"],
            "merchant_order_id": body["merchant_order_id"],
            "paid_amount_cents": 0,
            "items": body["items"],
        }
        return _json(201, self.orders[order_id])

    def _make_key(self, body: dict[str, Any]) -> Reply:
        if body.get("auth_token") not in self.tokens:
            return _json(401, {"detail": "Authentication credentials were not provided."})
        order = self.orders.get(int(body.get("order_id", 0)))
        if (
            order is None
            or int(body["amount_cents"]) != order["amount_cents"]
            or body["currency"] != order["currency"]
        ):
            return self._refuse(400, {"message": "the order and the key do not agree"})
        if set(body.get("billing_data", ())) != BILLING or not all(body["billing_data"].values()):
            return self._refuse(400, {"billing_data": "every field is required"})
        if body.get("integration_id") not in (CARD, WALLET) or not 0 < body.get("expiration", 0) <= 36000:
            return self._refuse(404, {"detail": "no such integration"})
        key = secrets.token_urlsafe(48)
        self.keys[key] = {
            "order": order,
            "integration_id": body["integration_id"],
            "billing": body["billing_data"],
        }
        return _json(201, {"token": key})

    def _pay_by_wallet(self, body: dict[str, Any]) -> Reply:
        key = self.keys.get(body.get("payment_token", ""))
        source = body.get("source", {})
        if key is None or key["integration_id"] != WALLET or source.get("subtype") != "WALLET":
            return self._refuse(400, {"message": "not a payment by wallet"})
        return _json(
            200, {"pending": True, "redirect_url": f"{self.url}/wallet?phone={source['identifier']}"}
        )

    def _page(self, request: Received) -> Reply:
        """GET shows the form, POST pays as the card `success`, `declined` or `pending` in the body."""
        parts = urlsplit(request.path)
        key = parse_qs(parts.query).get("payment_token", [""])[0]
        if not parts.path.endswith(f"/{IFRAME}") or key not in self.keys:
            return Reply(404, b"no such payment")
        if request.method == "GET":
            return Reply(200, b"<form method=post>card</form>", {"content-type": "text/html"})
        return _json(
            200, {"answers": [a.status_code for a in self.pay(key, request.body.decode() or "success")]}
        )

    def _refuse(self, status: int, body: dict[str, Any]) -> Reply:
        self.problems.append(json.dumps(body))
        return _json(status, body)

    def _take_id(self) -> int:
        self.next_id += 7
        return self.next_id

    # What buyers and the merchant do

    def pay(self, key: str, how: str = "success") -> list[httpx2.Response]:
        """The buyer pays (`success`, `declined`, `pending`); the callback's answer."""
        return [self.send(self.transact(key, how))]

    def transact(self, key: str, how: str = "success") -> dict[str, Any]:
        """As `pay`, without the callback being sent."""
        with self.lock:
            wanted = self.keys[key]
            number = self._take_id()
            self.transactions[number] = self._transaction(
                number,
                wanted["order"],
                integration_id=wanted["integration_id"],
                success=how == "success",
                pending=how == "pending",
                error_occured=how == "declined",
            )
        return self.callback(number)

    def refund(
        self, transaction_id: int, amount_cents: int, *, is_void: bool = False
    ) -> list[dict[str, Any]]:
        """The merchant pays back: the callbacks of the refund and of its parent, in this order."""
        with self.lock:
            parent = self.transactions[transaction_id]
            number = self._take_id()
            self.transactions[number] = self._transaction(
                number,
                parent["order"],
                amount_cents=amount_cents,
                integration_id=parent["integration_id"],
                has_parent_transaction=True,
                parent_transaction=transaction_id,
                is_refund=not is_void,
                is_void=is_void,
                is_standalone_payment=False,
            )
            if is_void:
                parent["is_voided"] = True
            else:
                parent["is_refunded"] = True
                parent["refunded_amount_cents"] += amount_cents
        return [self.callback(number), self.callback(transaction_id)]

    def _transaction(self, number: int, order: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {
            "id": number, "pending": False, "amount_cents": order["amount_cents"], "success": True, "is_auth": False,
            "is_capture": False, "is_standalone_payment": True, "is_voided": False, "is_refunded": False,
            "is_3d_secure": True, "integration_id": CARD, "profile_id": OWNER, "has_parent_transaction": False,
            "order": order, "created_at": "2026-01-06T11:33:44.592345", "currency": order["currency"],
            "source_data": {"pan": "2346", "type": "card", "tenure": None, "sub_type": "MasterCard"},
            "api_source": "IFRAME", "is_void": False, "is_refund": False, "data": {"txn_response_code": "APPROVED"},
            "is_hidden": False, "error_occured": False, "is_live": False, "refunded_amount_cents": 0,
            "source_id": -1, "is_captured": False, "captured_amount": 0, "merchant_staff_tag": None,
            "owner": OWNER, "parent_transaction": None, **more,
        }  # fmt: skip

    # Callbacks

    def callback(self, transaction_id: int) -> dict[str, Any]:
        copied: dict[str, Any] = json.loads(json.dumps(self.transactions[transaction_id]))
        return {"type": "TRANSACTION", "obj": copied}

    def sign(self, callback: dict[str, Any]) -> str:
        return sign(self.hmac_secret, callback["obj"])

    def send(self, callback: dict[str, Any], *, signature: str | None = None) -> httpx2.Response:
        hmac_hex = self.sign(callback) if signature is None else signature
        return httpx2.post(
            self.callback_url, params={"hmac": hmac_hex}, json=callback, timeout=30, verify=False
        )


def sign(secret: str, obj: dict[str, Any]) -> str:
    return hmac.new(secret.encode(), signed_text(obj).encode(), hashlib.sha512).hexdigest()


def signed_text(obj: dict[str, Any]) -> str:
    values = [
        obj["amount_cents"], obj["created_at"], obj["currency"], obj["error_occured"], obj["has_parent_transaction"],
        obj["id"], obj["integration_id"], obj["is_3d_secure"], obj["is_auth"], obj["is_capture"], obj["is_refunded"],
        obj["is_standalone_payment"], obj["is_voided"], obj["order"]["id"], obj["owner"], obj["pending"],
        obj["source_data"]["pan"], obj["source_data"]["sub_type"], obj["source_data"]["type"], obj["success"],
    ]  # fmt: skip
    return "".join(json.dumps(value) if isinstance(value, bool) else str(value) for value in values)


def _json(status: int, body: object) -> Reply:
    return Reply(status, json.dumps(body).encode(), {"content-type": "application/json"})


@contextmanager
def running_paymob() -> Iterator[Paymob]:
    paymob = Paymob()
    with small_server(paymob.answer) as url:
        paymob.url = url
        yield paymob
