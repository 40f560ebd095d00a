"""Buying credits as buyers and Paymob do it: `create-payment` and `paymob-webhooks` against a Paymob of our own."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import psycopg
import pytest
from psycopg.rows import dict_row
from supabase import Client

from tests.server import Server

from .conftest import CLIENT_WARNINGS, START_CREDITS
from .paymob import Paymob, sign, signed_text

pytestmark = CLIENT_WARNINGS
SMALL, SMALL_CENTS = 20, 4900


def create_payment(client: Client, **body: Any) -> dict[str, Any]:
    answer = client.functions.invoke("create-payment", {"body": body, "responseType": "json"})
    assert isinstance(answer, dict)
    return answer


def credits_of(client: Client) -> int:
    profile: Any = client.table("users").select("credits").single().execute().data
    return int(profile["credits"])


def calling(server: Server, client: Client, body: dict[str, Any]) -> httpx2.Response:
    session = client.auth.get_session()
    assert session is not None
    with server.client(token=session.access_token) as http:
        return http.post("/functions/v1/create-payment", json=body)


@pytest.mark.req("S7")
def test_a_pack_is_paid_on_paymobs_page_and_its_credits_come(
    sparky: Server, paymob: Paymob, buyer: Client
) -> None:
    made = create_payment(buyer, kind="pack", itemId="medium", billing={"firstName": "Dina", "country": "EG"})
    assert (
        made["iframe_url"] == f"{paymob.url}/api/acceptance/iframes/839?payment_token={made['payment_token']}"
    )
    key = paymob.keys[made["payment_token"]]
    assert key["order"]["merchant_order_id"] == made["merchant_order_id"]
    assert key["order"]["amount_cents"] == made["amount_cents"] == 12900
    user = buyer.auth.get_user()
    assert user is not None
    assert key["billing"]["first_name"] == "Dina"
    assert key["billing"]["email"] == user.user.email
    assert key["billing"]["street"] == "NA"
    assert credits_of(buyer) == START_CREDITS
    assert httpx2.get(made["iframe_url"]).status_code == 200
    assert httpx2.post(made["iframe_url"], content=b"declined").json() == {"answers": [200]}
    assert credits_of(buyer) == START_CREDITS
    assert httpx2.post(made["iframe_url"]).json() == {"answers": [200]}
    assert credits_of(buyer) == START_CREDITS + 60
    payments = buyer.table("payments").select("outcome, amount_cents").order("created_at").execute().data
    assert payments == [
        {"outcome": "declined", "amount_cents": 12900},
        {"outcome": "granted", "amount_cents": 12900},
    ]
    assert paymob.problems == []


@pytest.mark.req("S7")
def test_a_wallet_is_sent_to_its_own_page(sparky: Server, paymob: Paymob, buyer: Client) -> None:
    made = create_payment(buyer, kind="plan", itemId="plus", method="wallet", walletPhone="01010101010")
    assert made["redirect_url"] == f"{paymob.url}/wallet?phone=01010101010"
    assert paymob.pay(made["payment_token"])[0].json()["outcome"] == "granted"
    profile = buyer.table("users").select("plan_id, credits").single().execute().data
    assert profile == {"plan_id": "plus", "credits": START_CREDITS + 100}


@pytest.mark.req("S7")
def test_a_refund_and_a_void_arrive_as_callbacks(sparky: Server, paymob: Paymob, buyer: Client) -> None:
    for is_void in (False, True):
        made = create_payment(buyer, kind="pack", itemId="small")
        paid = paymob.transact(made["payment_token"])
        assert paymob.send(paid).json()["outcome"] == "granted"
        for callback in paymob.refund(paid["obj"]["id"], SMALL_CENTS, is_void=is_void):
            assert paymob.send(callback).json()["outcome"] == "taken_back"
        assert credits_of(buyer) == START_CREDITS


@pytest.mark.req("S7")
def test_a_forged_callback_is_refused_and_leaves_no_trace(
    sparky: Server, paymob: Paymob, buyer: Client
) -> None:
    made = create_payment(buyer, kind="pack", itemId="small")
    declined = paymob.transact(made["payment_token"], "declined")
    signature = paymob.sign(declined)
    forged = copy.deepcopy(declined)
    forged["obj"] |= {"success": True, "error_occured": False}
    refusals = [
        paymob.send(forged, signature=signature),
        paymob.send(forged, signature=""),
        paymob.send(forged, signature="é" * 128),
        paymob.send(forged, signature=sign("another-secret", forged["obj"])),
        paymob.send(forged, signature=paymob.sign(forged)[:-1]),
        httpx2.post(paymob.callback_url, json=forged),
    ]
    for answer in refusals:
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "INVALID_SIGNATURE")
    assert buyer.table("payments").select("id").execute().data == []
    assert credits_of(buyer) == START_CREDITS
    assert paymob.send(declined, signature=signature.upper()).json()["outcome"] == "declined"


@pytest.mark.req("S7")
def test_digits_cannot_wander_between_signed_fields(sparky: Server, paymob: Paymob, buyer: Client) -> None:
    """The signed text has no separators: the same text can be read with other values."""
    made = create_payment(buyer, kind="pack", itemId="small")
    paid = paymob.transact(made["payment_token"])
    text, signature = signed_text(paid["obj"]), paymob.sign(paid)
    number, integration = str(paid["obj"]["id"]), str(paid["obj"]["integration_id"])
    cents, created = str(paid["obj"]["amount_cents"]), paid["obj"]["created_at"]
    readings: list[dict[str, Any]] = [
        {"id": int(number + integration[0]), "integration_id": integration[1:]},
        {"amount_cents": int(cents + created[0]), "created_at": created[1:]},
        {"success": "true"},
        {"id": number},
    ]
    for reading in readings:
        forged = copy.deepcopy(paid)
        forged["obj"] |= reading
        assert signed_text(forged["obj"]) == text
        assert paymob.send(forged, signature=signature).status_code == 401
    moved = copy.deepcopy(paid)
    moved["obj"] |= {"id": int(number[:-1]), "integration_id": int(number[-1] + integration)}
    assert paymob.send(moved, signature=signature).json() == {"outcome": "ignored"}
    assert paymob.send(paid).json()["outcome"] == "granted"


@pytest.mark.req("S7")
def test_callbacks_at_once_over_http_grant_once(sparky: Server, paymob: Paymob, buyer: Client) -> None:
    made = create_payment(buyer, kind="pack", itemId="small")
    paid = paymob.transact(made["payment_token"])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: paymob.send(paid), range(16)))
    assert [answer.status_code for answer in answers] == [200] * 16
    assert sorted(answer.json()["outcome"] for answer in answers) == ["granted"] + ["repeated"] * 15
    assert credits_of(buyer) == START_CREDITS + SMALL


@pytest.mark.req("S7")
def test_what_is_no_callback_is_refused_or_ignored(sparky: Server, paymob: Paymob) -> None:
    def post(**more: Any) -> httpx2.Response:
        return httpx2.post(paymob.callback_url, **more)

    assert httpx2.get(paymob.callback_url).status_code == 405
    assert post(content=b"{").status_code == 400
    bodies: list[Any] = [[], {}, {"type": "TRANSACTION"}, {"type": "TRANSACTION", "obj": 5}]
    for body in bodies:
        assert post(json=body).status_code == 400, body
    assert post(json={"type": "TRANSACTION", "obj": {}}).status_code == 401
    assert post(json={"type": "TOKEN", "obj": {"id": 1}}).json() == {"outcome": "ignored"}


@pytest.mark.req("S7")
@pytest.mark.parametrize("step", ["/auth/tokens", "/ecommerce/orders", "/acceptance/payment_keys"])
def test_a_provider_that_fails_is_no_order_to_pay(
    sparky: Server, paymob: Paymob, buyer: Client, step: str
) -> None:
    paymob.break_at = step
    try:
        answer = calling(sparky, buyer, {"kind": "pack", "itemId": "small"})
    finally:
        paymob.break_at = ""
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "PAYMENT_FAILED")
    assert "Server Error" not in answer.text, "the provider's words are for the log"
    assert credits_of(buyer) == START_CREDITS


@pytest.mark.req("S7")
def test_a_request_must_be_complete_and_signed_in(sparky: Server, buyer: Client) -> None:
    def code(body: dict[str, Any]) -> tuple[int, str]:
        answer = calling(sparky, buyer, body)
        return answer.status_code, answer.json()["error"]["code"]

    assert code({"kind": "gift", "itemId": "small"}) == (400, "VALIDATION_ERROR")
    assert code({"kind": "pack"}) == (400, "VALIDATION_ERROR")
    assert code({"kind": "pack", "itemId": "small", "method": "wallet"}) == (400, "VALIDATION_ERROR")
    assert code({"kind": "pack", "itemId": "gigantic"}) == (404, "ITEM_NOT_FOUND")
    with sparky.client() as http:
        answer = http.post("/functions/v1/create-payment", json={"kind": "pack", "itemId": "small"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")


@pytest.mark.req("S7")
def test_a_buyer_does_not_see_the_callback_itself(sparky: Server, paymob: Paymob, buyer: Client) -> None:
    made = create_payment(buyer, kind="pack", itemId="small")
    paymob.pay(made["payment_token"])
    session = buyer.auth.get_session()
    assert session is not None
    with sparky.client(token=session.access_token) as http:
        assert http.get("/rest/v1/payments", params={"select": "callback"}).status_code == 403
        assert len(http.get("/rest/v1/payments", params={"select": "outcome"}).json()) == 1
    with psycopg.connect(sparky.database_url, row_factory=dict_row) as owner:
        row = owner.execute(
            "select callback from public.payments where merchant_order_id = %s", [made["merchant_order_id"]]
        ).fetchone()
    assert row is not None
    assert row["callback"] == json.loads(json.dumps(paymob.callback(row["callback"]["obj"]["id"])))
