"""Buying credits as buyers and Paymob do it: `create-payment` and `paymob-webhooks` against a Paymob of our own."""

import copy
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from supabase import Client

from tests.fakes.small_server import Reply
from tests.server import Server

from .conftest import CLIENT_WARNINGS, START_CREDITS, owner
from .paymob import STEPS, Failure, Paymob, sign, signed_text
from .studio import Sitter, a_sitter, code_of

pytestmark = CLIENT_WARNINGS
SMALL, SMALL_CENTS = 20, 4900


def create_payment(client: Client, **body: Any) -> dict[str, Any]:
    answer = client.functions.invoke("create-payment", {"body": body, "responseType": "json"})
    assert isinstance(answer, dict)
    return answer


def credits_of(client: Client) -> int:
    profile: Any = client.table("users").select("credits").single().execute().data
    return int(profile["credits"])


@pytest.fixture
def customer(sparky: Server) -> Iterator[Sitter]:
    with a_sitter(sparky) as somebody:
        yield somebody


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
    assert httpx2.get(made["iframe_url"], verify=False).status_code == 200
    assert httpx2.post(made["iframe_url"], content=b"declined", verify=False).json() == {"answers": [200]}
    assert credits_of(buyer) == START_CREDITS
    assert httpx2.post(made["iframe_url"], verify=False).json() == {"answers": [200]}
    assert credits_of(buyer) == START_CREDITS + 60
    payments = buyer.table("payments").select("outcome, amount_cents").order("created_at").execute().data
    assert payments == [
        {"outcome": "declined", "amount_cents": 12900},
        {"outcome": "granted", "amount_cents": 12900},
    ]
    assert paymob.problems == []


@pytest.mark.req("S7")
def test_a_wallet_is_sent_to_its_own_page(sparky: Server, paymob: Paymob, customer: Sitter) -> None:
    made = create_payment(
        customer.client, kind="plan", itemId="plus", method="wallet", walletPhone="01010101010"
    )
    assert made["redirect_url"] == f"{paymob.url}/wallet?phone=01010101010"
    assert paymob.pay(made["payment_token"])[0].json()["outcome"] == "granted"
    profile = customer.client.table("users").select("plan_id, credits").single().execute().data
    assert profile == {"plan_id": "plus", "credits": START_CREDITS + 100}


@pytest.mark.req("S7")
def test_a_refund_and_a_void_arrive_as_callbacks(sparky: Server, paymob: Paymob, customer: Sitter) -> None:
    for is_void in (False, True):
        made = create_payment(customer.client, kind="pack", itemId="small")
        paid = paymob.transact(made["payment_token"])
        assert paymob.send(paid).json()["outcome"] == "granted"
        for callback in paymob.refund(paid["obj"]["id"], SMALL_CENTS, is_void=is_void):
            assert paymob.send(callback).json()["outcome"] == "taken_back"
        assert customer.credits() == START_CREDITS


@pytest.mark.req("S7")
def test_a_forged_callback_is_refused_and_leaves_no_trace(
    sparky: Server, paymob: Paymob, customer: Sitter
) -> None:
    made = create_payment(customer.client, kind="pack", itemId="small")
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
        httpx2.post(paymob.callback_url, json=forged, verify=False),
    ]
    for answer in refusals:
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "INVALID_SIGNATURE")
    assert customer.client.table("payments").select("id").execute().data == []
    assert customer.credits() == START_CREDITS
    assert paymob.send(declined, signature=signature.upper()).json()["outcome"] == "declined"


@pytest.mark.req("S7")
def test_digits_cannot_wander_between_signed_fields(sparky: Server, paymob: Paymob, customer: Sitter) -> None:
    """The signed text has no separators: the same text can be read with other values."""
    made = create_payment(customer.client, kind="pack", itemId="small")
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
def test_callbacks_at_once_over_http_grant_once(sparky: Server, paymob: Paymob, customer: Sitter) -> None:
    made = create_payment(customer.client, kind="pack", itemId="small")
    paid = paymob.transact(made["payment_token"])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: paymob.send(paid), range(16)))
    assert [answer.status_code for answer in answers] == [200] * 16
    assert sorted(answer.json()["outcome"] for answer in answers) == ["granted"] + ["repeated"] * 15
    assert customer.credits() == START_CREDITS + SMALL


@pytest.mark.req("S7")
def test_a_callback_that_the_database_could_not_take_is_not_acknowledged_and_counts_when_it_comes_again(
    sparky: Server, paymob: Paymob, customer: Sitter
) -> None:
    paid = paymob.transact(create_payment(customer.client, **CARD)["payment_token"])
    with owner(sparky) as admin:
        admin.execute(
            "alter table public.credit_log add constraint broken check (reason <> 'purchase') not valid"
        )
        try:
            assert paymob.send(paid).status_code >= 400
        finally:
            admin.execute("alter table public.credit_log drop constraint broken")
    assert customer.credits() == START_CREDITS
    assert [paymob.send(paid).json()["outcome"] for _ in range(2)] == ["granted", "repeated"]
    assert customer.credits() == START_CREDITS + SMALL


@pytest.mark.req("S7")
def test_what_is_no_callback_is_refused_or_ignored(sparky: Server, paymob: Paymob) -> None:
    def post(**more: Any) -> httpx2.Response:
        return httpx2.post(paymob.callback_url, **more, verify=False)

    assert httpx2.get(paymob.callback_url, verify=False).status_code == 405
    assert post(content=b"{").status_code == 400
    bodies: list[Any] = [[], {}, {"type": "TRANSACTION"}, {"type": "TRANSACTION", "obj": 5}]
    for body in bodies:
        assert post(json=body).status_code == 400, body
    assert post(json={"type": "TRANSACTION", "obj": {}}).status_code == 401
    assert post(json={"type": "TOKEN", "obj": {"id": 1}}).json() == {"outcome": "ignored"}


CARD = {"kind": "pack", "itemId": "small"}
WALLET = {**CARD, "method": "wallet", "walletPhone": "01010101010"}
FAILURES = {
    "server error": Failure(Reply(500, b"<h1>Server Error (500)</h1>")),
    "no capacity": Failure(Reply(503, b"<html>Service Unavailable</html>")),
    "garbage": Failure(Reply(200, b'{"token": ["7"], "id": "seven", "redirect_url": "javascript:alert(1)"}')),
    "no JSON": Failure(Reply(200, b"<html>")),
    "lost answer": Failure(Reply(is_cut=True), is_late=True),
}


@pytest.mark.req("S7")
@pytest.mark.parametrize("step", STEPS)
def test_an_order_that_paymob_does_not_take_costs_nothing_and_can_be_made_again(
    paymob: Paymob, customer: Sitter, step: str
) -> None:
    body = WALLET if step == STEPS[3] else CARD
    for name, failure in FAILURES.items():
        with paymob.failing(step, failure):
            answer = customer.call("create-payment", body)
        assert code_of(answer) == (502, "PAYMENT_FAILED"), name
        assert "Server Error" not in answer.text, "the provider's words are for the log"
        told = answer.json()["error"]["details"]["purchase_id"]
        assert purchases_of(customer)[-1] == {"id": told, "status": "failed"}
    again = customer.call("create-payment", body).json()
    assert paymob.pay(again["payment_token"])[0].json()["outcome"] == "granted"
    assert customer.credits() == START_CREDITS + SMALL
    statuses = [row["status"] for row in purchases_of(customer)]
    assert statuses == ["failed"] * len(FAILURES) + ["paid"]
    assert paymob.problems == [], "such as a second order of one name"


@pytest.mark.req("S7")
def test_a_paymob_that_does_not_answer_is_given_up(paymob: Paymob, customer: Sitter) -> None:
    with paymob.failing(STEPS[1], Failure(Reply(pause_s=paymob.timeout_s + 1), is_late=True)):
        answer = customer.call("create-payment", CARD)
    assert code_of(answer) == (502, "PAYMENT_FAILED")
    assert [row["status"] for row in purchases_of(customer)] == ["failed"]
    made = create_payment(customer.client, **CARD)
    assert paymob.pay(made["payment_token"])[0].json()["outcome"] == "granted"
    assert paymob.problems == []


@pytest.mark.req("S7")
def test_an_order_whose_failure_was_none_is_granted_when_it_is_paid(paymob: Paymob, customer: Sitter) -> None:
    """A wallet may ask its owner though the answer to us was lost."""
    with paymob.failing(STEPS[3], Failure(Reply(is_cut=True), is_late=True)):
        assert code_of(customer.call("create-payment", WALLET)) == (502, "PAYMENT_FAILED")
    key = list(paymob.keys)[-1]
    assert paymob.pay(key)[0].json() | {"payment_id": ""} == {
        "outcome": "granted", "payment_id": "", "purchase_id": purchases_of(customer)[0]["id"], "status": "paid",
    }  # fmt: skip
    assert customer.credits() == START_CREDITS + SMALL


@pytest.mark.req("S7")
def test_failed_orders_do_not_count_among_those_that_wait_for_payment(
    paymob: Paymob, customer: Sitter
) -> None:
    with owner(customer.server) as admin:
        for number in range(25):
            name = f"sparky-{customer.id}-{number}"
            admin.execute(
                """
                insert into public.credit_purchases
                    (user_id, kind, pack_id, credits, months, price_cents, currency, merchant_order_id)
                values (%s, 'pack', 'small', 20, 0, 4900, 'EGP', %s)
                """,
                [customer.id, name],
            )
            admin.execute("select public.fail_order(%s)", [name])
    assert customer.call("create-payment", CARD).status_code == 200


def purchases_of(customer: Sitter) -> list[dict[str, Any]]:
    """As their owner sees them, oldest first."""
    rows: list[Any] = (
        customer.client.table("credit_purchases").select("id, status").order("created_at").execute().data
    )
    return rows


@pytest.mark.req("S7")
def test_a_request_must_be_complete_and_signed_in(sparky: Server, customer: Sitter) -> None:
    def code(body: dict[str, Any]) -> tuple[int, str]:
        return code_of(customer.call("create-payment", body))

    assert code({"kind": "gift", "itemId": "small"}) == (400, "VALIDATION_ERROR")
    assert code({"kind": "pack"}) == (400, "VALIDATION_ERROR")
    assert code({"kind": "pack", "itemId": "small", "method": "wallet"}) == (400, "VALIDATION_ERROR")
    assert code({"kind": "pack", "itemId": "gigantic"}) == (404, "ITEM_NOT_FOUND")
    with sparky.client() as http:
        answer = http.post("/functions/v1/create-payment", json={"kind": "pack", "itemId": "small"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")


@pytest.mark.req("S7")
def test_a_buyer_does_not_see_the_callback_itself(sparky: Server, paymob: Paymob, customer: Sitter) -> None:
    made = create_payment(customer.client, kind="pack", itemId="small")
    paymob.pay(made["payment_token"])
    with sparky.client(token=customer.token) as http:
        assert http.get("/rest/v1/payments", params={"select": "callback"}).status_code == 403
        assert len(http.get("/rest/v1/payments", params={"select": "outcome"}).json()) == 1
    with owner(sparky) as admin:
        row = admin.execute(
            "select callback from public.payments where merchant_order_id = %s", [made["merchant_order_id"]]
        ).fetchone()
    assert row is not None
    assert row["callback"] == json.loads(json.dumps(paymob.callback(row["callback"]["obj"]["id"])))
