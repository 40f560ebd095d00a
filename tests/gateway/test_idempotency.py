"""Writes that come again with their `Idempotency-Key`, over HTTP against a running project."""

import asyncio
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
import jwt
import psycopg
import pytest

from basalt.access import Caller
from basalt.gateway.idempotency_key import hash_key, hash_request
from basalt.http import Headers, Request
from basalt.postgres import load_access
from tests.contract.conftest import run_steps
from tests.server import Server

ITEM = {"item": "tea"}
WANT = {"prefer": "return=representation"}


class Shop:
    """A user of her own, and a look into the database."""

    def __init__(
        self, server: Server, client: httpx2.Client, database: psycopg.Connection, user_id: str
    ) -> None:
        self.server = server
        self.client = client
        self.database = database
        self.user_id = user_id

    def send(
        self, path: str, body: Any = None, *, key: str, method: str = "POST", **headers: str
    ) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.request(method, path, json=body, headers={"idempotency-key": key, **named})

    def orders(self) -> int:
        return self.number("select count(*) from public.orders where owner = %s", self.user_id)

    def calls(self, name: str) -> int:
        return self.number("select count(*) from public.calls where name = %s", name)

    def number(self, query: str, *params: Any) -> int:
        row = self.database.execute(query.encode(), params).fetchone()
        assert row is not None
        return int(row[0])

    def end_leases(self) -> None:
        """As if the time since the first request were over."""
        self.database.execute("update basalt.idempotency_keys set lease_until = now()")

    @contextmanager
    def other(self) -> Iterator["Shop"]:
        with a_shop(self.server, self.database) as shop:
            yield shop


@contextmanager
def a_shop(server: Server, database: psycopg.Connection) -> Iterator[Shop]:
    user_id = str(uuid.uuid4())
    claims = {"sub": user_id, "role": "authenticated", "exp": int(time.time()) + 600}
    with server.client(token=jwt.encode(claims, server.jwt_secret, "HS256")) as client:
        yield Shop(server, client, database, user_id)


@pytest.fixture
def shop(orders: Server) -> Iterator[Shop]:
    admin = load_access(orders.project_dir / ".basalt").conninfo("supabase_admin")
    with psycopg.connect(admin, autocommit=True) as database, a_shop(orders, database) as one:
        yield one


@pytest.fixture
def key() -> str:
    return str(uuid.uuid4())


def same(first: httpx2.Response, again: httpx2.Response) -> None:
    """Equal in all that the service answered."""
    own = {"date", "x-request-id", "idempotency-replayed"}
    assert again.status_code == first.status_code
    assert again.content == first.content
    assert [pair for pair in again.headers.multi_items() if pair[0] not in own] == [
        pair for pair in first.headers.multi_items() if pair[0] not in own
    ]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


def code_of(answer: httpx2.Response) -> tuple[int, str]:
    body = answer.json()
    return answer.status_code, body.get("code") or body["error"]["code"]


def until(is_so: Callable[[], object], limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


# The first answer again


@pytest.mark.req("P23")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"prefer": "return=representation"},
        {"prefer": "return=representation", "accept": "application/vnd.pgrst.object+json"},
        {"prefer": "return=representation", "accept": "text/csv"},
        {"prefer": "return=headers-only,count=exact"},
    ],
    ids=str,
)
def test_an_insert_is_done_once_and_answered_alike(shop: Shop, key: str, headers: dict[str, str]) -> None:
    first = shop.send("/rest/v1/orders", ITEM, key=key, **headers)
    assert first.status_code == 201
    same(first, shop.send("/rest/v1/orders", ITEM, key=key, **headers))
    same(first, shop.send("/rest/v1/orders", ITEM, key=f'"{key}"', **headers))
    assert shop.orders() == 1


@pytest.mark.req("P23")
def test_updates_upserts_deletes_and_calls_are_writes_too(shop: Shop, key: str) -> None:
    order = shop.send("/rest/v1/orders", ITEM, key=key, **WANT).json()[0]["id"]
    one = f"/rest/v1/orders?id=eq.{order}"
    for method, path, body in (
        ("PATCH", one, {"quantity": 5}),
        ("POST", "/rest/v1/rpc/order_slowly", {"item": "x", "seconds": 0}),
        ("POST", "/rest/v1/rpc/now_and_then", {"n": 1}),
        ("DELETE", one, None),
        ("PUT", f"/rest/v1/countries?code=eq.{key}", {"code": key, "name": "x"}),
        ("PUT", "/functions/v1/count?name=put", {"n": 1}),
    ):
        first = shop.send(path, body, key=key, method=method, **WANT)
        assert first.is_success, first.text
        same(first, shop.send(path, body, key=key, method=method, **WANT))
    assert shop.calls("put") == 1


@pytest.mark.req("P23")
def test_an_error_that_the_caller_made_is_the_answer_too(shop: Shop, key: str) -> None:
    row = {"item": "x", "number": key}
    shop.send("/rest/v1/orders", row, key=key + "1")
    first = shop.send("/rest/v1/orders", row, key=key + "2")
    assert code_of(first) == (409, "23505")
    shop.database.execute("delete from public.orders where number = %s", [key])
    same(first, shop.send("/rest/v1/orders", row, key=key + "2"))
    first = shop.send("/rest/v1/orders", {"nothing": 1}, key=key + "3")
    assert first.status_code == 400
    same(first, shop.send("/rest/v1/orders", {"nothing": 1}, key=key + "3"))


@pytest.mark.req("P23")
def test_bytes_come_back_as_they_were(shop: Shop, key: str) -> None:
    accept = {"accept": "application/octet-stream"}
    first = shop.send("/rest/v1/rpc/bytes_of", ITEM, key=key, **accept)
    assert first.content == bytes.fromhex("00ff0a0d80")
    same(first, shop.send("/rest/v1/rpc/bytes_of", ITEM, key=key, **accept))
    sent = {"content": bytes(range(256)) * 3, "headers": {"idempotency-key": key}}
    path = f"/functions/v1/count?bytes=1&name={key}"
    first = shop.client.post(path, **sent)  # type: ignore[arg-type]
    assert first.status_code == 201
    assert first.content == bytes(range(256)) * 4
    same(first, shop.client.post(path, **sent))  # type: ignore[arg-type]
    assert shop.calls(key) == 1


@pytest.mark.req("P23")
def test_a_batch_is_done_once(shop: Shop, key: str) -> None:
    batch = [{"method": "POST", "path": "/orders", "body": {"item": f"{n}"}} for n in range(3)]
    first = shop.send("/rest/v1/rpc/basalt_batch", batch, key=key)
    assert first.status_code == 200, first.text
    same(first, shop.send("/rest/v1/rpc/basalt_batch", batch, key=key))
    assert shop.orders() == 3


@pytest.mark.req("P23")
def test_reads_know_no_keys(shop: Shop, key: str) -> None:
    for method in ("GET", "HEAD"):
        for _ in range(2):
            answer = shop.client.request(method, "/rest/v1/orders", headers={"idempotency-key": key})
            assert answer.status_code == 200
            assert "idempotency-replayed" not in answer.headers
    shop.send("/rest/v1/orders", ITEM, key=key)
    assert len(shop.client.get("/rest/v1/orders", headers={"idempotency-key": key}).json()) == 1
    assert shop.client.get("/rest/v1/orders", headers={"idempotency-key": "x" * 300}).status_code == 200


@pytest.mark.req("P23")
def test_pages_of_other_origins_may_send_the_key_and_see_the_replay(shop: Shop, key: str) -> None:
    origin = {"origin": "https://shop.example"}
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "idempotency-key"}
    preflight = shop.client.options("/rest/v1/orders", headers=origin | asked)
    assert "idempotency-key" in preflight.headers["access-control-allow-headers"]
    for _ in range(2):
        answer = shop.send("/rest/v1/orders", ITEM, key=key, **origin)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "Idempotency-Replayed" in answer.headers["access-control-expose-headers"]
        assert answer.headers.get_list("access-control-allow-origin") == ["*"]


@pytest.mark.req("P23")
def test_supabase_js_sends_keys_with_inserts_calls_and_functions(orders: Server) -> None:
    run_steps("idempotency.mjs", orders)


# Whose key it is, and for what


@pytest.mark.req("P23")
def test_a_key_of_one_user_is_nothing_to_another(shop: Shop, key: str) -> None:
    with shop.other() as other:
        mine = shop.send("/rest/v1/orders", ITEM, key=key, **WANT)
        hers = other.send("/rest/v1/orders", ITEM, key=key, **WANT)
        assert "idempotency-replayed" not in hers.headers
        assert mine.json()[0]["owner"] == shop.user_id
        assert hers.json()[0]["owner"] == other.user_id
        same(mine, shop.send("/rest/v1/orders", ITEM, key=key, **WANT))
    for api_key in (shop.server.publishable_key, shop.server.secret_key):
        with shop.server.client(api_key) as client:
            answer = client.post("/rest/v1/orders", json=ITEM, headers={"idempotency-key": key})
            assert answer.status_code == 201
            assert "idempotency-replayed" not in answer.headers


@pytest.mark.req("P23")
def test_a_refreshed_token_is_the_same_user(shop: Shop, key: str) -> None:
    first = shop.send("/rest/v1/orders", ITEM, key=key)
    claims = {"sub": shop.user_id, "role": "authenticated", "exp": int(time.time()) + 999}
    with shop.server.client(token=jwt.encode(claims, shop.server.jwt_secret, "HS256")) as client:
        same(first, client.post("/rest/v1/orders", json=ITEM, headers={"idempotency-key": key}))


@pytest.mark.req("P23")
def test_callers_whom_only_the_function_knows_are_told_apart_by_their_credentials(
    orders: Server, key: str
) -> None:
    numbers = []
    for secret in ("Bearer a", "Bearer b", "Bearer a"):
        headers = {"authorization": secret, "idempotency-key": key}
        answer = httpx2.post(f"{orders.url}/functions/v1/open?name=open", headers=headers)
        assert answer.status_code == 200
        numbers.append(answer.json()["number"])
    assert numbers[0] == numbers[2] != numbers[1]


@pytest.mark.req("P23")
def test_who_is_refused_leaves_no_key(shop: Shop, key: str) -> None:
    before = shop.number("select count(*) from basalt.idempotency_keys")
    headers = {"authorization": "Bearer nonsense", "idempotency-key": key}
    answer = httpx2.post(f"{shop.server.url}/rest/v1/orders", json=ITEM, headers=headers)
    assert answer.status_code == 401
    assert shop.number("select count(*) from basalt.idempotency_keys") == before


@pytest.mark.req("P23")
def test_another_request_with_the_key_is_refused(shop: Shop, key: str) -> None:
    shop.send("/rest/v1/orders", ITEM, key=key)
    for path, body, headers in (
        ("/rest/v1/orders", {"item": "coffee"}, {}),
        ("/rest/v1/orders?select=id", ITEM, {}),
        ("/rest/v1/orders", ITEM, WANT),
        ("/rest/v1/orders", ITEM, {"accept": "text/csv"}),
    ):
        answer = shop.send(path, body, key=key, **headers)
        assert code_of(answer) == (422, "idempotency_key_reused")
        assert set(answer.json()) == {"code", "details", "hint", "message"}  # as PostgREST's
    assert shop.orders() == 1
    shop.send("/functions/v1/count?name=reused", {}, key=key)
    answer = shop.send("/functions/v1/count?name=reused", {"other": 1}, key=key)
    assert code_of(answer) == (422, "idempotency_key_reused")
    assert shop.calls("reused") == 1


@pytest.mark.req("P23")
def test_another_path_or_method_may_have_the_same_key(shop: Shop, key: str) -> None:
    assert shop.send("/rest/v1/orders", ITEM, key=key).status_code == 201
    assert shop.send("/rest/v1/orders?item=eq.tea", ITEM, key=key, method="PATCH").status_code == 204
    assert shop.send("/rest/v1/countries", {"code": key}, key=key).status_code == 201


@pytest.mark.req("P23")
@pytest.mark.parametrize(
    "bad",
    ["", '""', "x" * 256, "tab\tin", "é", '"half', '"a";b=1'],
    ids=lambda key: repr(key[:9]),
)
def test_a_key_that_cannot_be_is_refused(shop: Shop, bad: str) -> None:
    headers = [(b"idempotency-key", bad.encode("latin-1"))]
    answer = shop.client.post("/rest/v1/orders", json=ITEM, headers=headers)  # type: ignore[arg-type]
    assert code_of(answer) == (400, "idempotency_key_invalid")
    assert shop.orders() == 0


@pytest.mark.req("P23")
def test_two_keys_at_once_are_refused(shop: Shop) -> None:
    headers = [("idempotency-key", "a"), ("idempotency-key", "b")]
    answer = shop.client.post("/functions/v1/count?name=two", json={}, headers=headers)
    assert code_of(answer) == (400, "idempotency_key_invalid")
    assert shop.calls("two") == 0


@pytest.mark.req("P23")
@pytest.mark.parametrize("good", ["a", "x" * 255, "with space;and:signs/\\", '"quoted \\" and \\\\"'])
def test_odd_keys_are_keys(shop: Shop, good: str) -> None:
    same(*(shop.send("/rest/v1/orders", ITEM, key=good) for _ in range(2)))


@pytest.mark.req("P23")
def test_a_key_whose_time_is_over_is_a_new_one(shop: Shop, key: str) -> None:
    shop.send("/rest/v1/orders", ITEM, key=key)
    shop.database.execute("update basalt.idempotency_keys set expires_at = now()")
    answer = shop.send("/rest/v1/orders", {"item": "coffee"}, key=key)
    assert answer.status_code == 201
    assert "idempotency-replayed" not in answer.headers
    assert shop.orders() == 2
    same(answer, shop.send("/rest/v1/orders", {"item": "coffee"}, key=key))


# Failures


@pytest.mark.req("P23")
@pytest.mark.parametrize(
    ("status", "tries"), [("503", 2), ("500", 2), ("429", 2), ("408", 2), ("404", 1), ("409", 1)]
)
def test_a_failure_frees_the_key_and_a_refusal_does_not(
    shop: Shop, key: str, status: str, tries: int
) -> None:
    before = shop.number("select last_value + is_called::int from public.failures")
    for _ in range(2):
        answer = shop.send("/rest/v1/rpc/fail", {"status": status}, key=key)
        assert answer.status_code == int(status)
    assert shop.number("select last_value + is_called::int from public.failures") - before == tries
    for _ in range(2):
        assert shop.send(f"/functions/v1/count?name={key}&fail={status}", {}, key=key).status_code == int(
            status
        )
    assert shop.calls(key) == tries
    assert shop.orders() == 0


@pytest.mark.req("P23")
def test_a_write_that_was_committed_with_a_failing_status_is_not_done_again(shop: Shop, key: str) -> None:
    body = {"status": "503"}
    assert shop.send("/rest/v1/rpc/order_and_say", body, key=key).status_code == 503
    answer = shop.send("/rest/v1/rpc/order_and_say", body, key=key)
    assert code_of(answer) == (409, "idempotency_outcome_unknown")
    assert shop.orders() == 1


@pytest.mark.req("P23")
def test_an_answer_too_large_to_be_kept_is_not_made_again(shop: Shop, key: str) -> None:
    first = shop.send("/rest/v1/rpc/much", {"n": 20_000}, key=key)
    assert len(first.json()) == 20_000
    assert code_of(shop.send("/rest/v1/rpc/much", {"n": 20_000}, key=key)) == (
        409,
        "idempotency_answer_not_kept",
    )
    assert code_of(shop.send("/rest/v1/rpc/much", {"n": 20_001}, key=key)) == (422, "idempotency_key_reused")
    assert shop.orders() == 1


# At the same time


@pytest.mark.req("P23")
@pytest.mark.parametrize(
    "path", ["/rest/v1/orders", "/functions/v1/count?sleep=0.1&name="], ids=["rest", "function"]
)
def test_of_fifty_at_once_one_is_carried_out(shop: Shop, key: str, path: str) -> None:
    path += key if path.endswith("name=") else ""
    with ThreadPoolExecutor(50) as pool:
        together = threading.Barrier(50)

        def send(_: int) -> httpx2.Response:
            together.wait()
            return shop.send(path, ITEM, key=key, **WANT)

        answers = list(pool.map(send, range(50)))
    assert len({answer.content for answer in answers}) == 1
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert shop.orders() + shop.calls(key) == 1


@pytest.mark.req("P23")
def test_a_repetition_waits_for_the_first_one_and_no_longer_than_set(shop: Shop, key: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        slow = {"item": "slow", "seconds": 3}
        first = pool.submit(shop.send, "/rest/v1/rpc/order_slowly", slow, key=key)
        until(lambda: sleepers(shop) == 1)
        began = time.monotonic()
        answer = shop.send("/rest/v1/rpc/order_slowly", slow, key=key)
        assert code_of(answer) == (409, "idempotency_in_progress")
        assert answer.headers["retry-after"] == "1"
        assert 1.5 < time.monotonic() - began < 3
        same(first.result(), shop.send("/rest/v1/rpc/order_slowly", slow, key=key))
    assert shop.orders() == 1


@pytest.mark.req("P23")
async def test_an_answer_that_another_gateway_finds_is_waited_for(shop: Shop, key: str) -> None:
    """The other gateway is played by its statements."""
    path = "/functions/v1/count?name=elsewhere"
    caller = Caller("authenticated", {"sub": shop.user_id}, "", token="t")
    request = Request(
        method="POST", path="/count", prefix="/functions/v1", query_string=b"name=elsewhere", receive=nothing,
        headers=Headers([(b"accept", b"*/*"), (b"content-type", b"application/json")]),
    )  # fmt: skip
    hashes = hash_key(key, request, caller), hash_request(request, b"{}")
    shop.database.execute("set role authenticator")
    holder = str(uuid.uuid4())
    shop.database.execute("select basalt.claim_idempotency_key(%s, %s, %s, false, 30, 60)", [*hashes, holder])
    waiting = asyncio.create_task(asyncio.to_thread(shop.send, path, {}, key=key))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    shop.database.execute(
        "select basalt.settle_idempotency_key(%s, %s, 202::smallint, '[[\"x-own\", \"1\"]]', 'hers', 60)",
        [hashes[0], holder],
    )
    answer = await waiting
    assert (answer.status_code, answer.content, answer.headers["x-own"]) == (202, b"hers", "1")
    shop.database.execute("reset role")
    assert shop.calls("elsewhere") == 0


async def nothing() -> dict[str, Any]:
    raise AssertionError


@pytest.mark.req("P23")
@pytest.mark.parametrize("kind", ["rest", "function"])
def test_a_client_that_leaves_finds_the_answer_when_it_returns(shop: Shop, key: str, kind: str) -> None:
    path, body = {
        "rest": ("/rest/v1/rpc/order_slowly", {"item": "slow", "seconds": 0.6}),
        "function": (f"/functions/v1/count?sleep=0.6&name={key}", ITEM),
    }[kind]
    with pytest.raises(httpx2.ReadTimeout):
        shop.client.post(path, json=body, headers={"idempotency-key": key}, timeout=0.3)
    answer = shop.send(path, body, key=key)
    assert answer.status_code == 200
    assert answer.headers["idempotency-replayed"] == "true"
    assert shop.orders() + shop.calls(key) == 1


# The gateway dies


def kill_gateway(server: Server) -> None:
    """`kill -9`, and wait until the supervisor has started another one."""
    listed = subprocess.run(["ps", "-axo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        pid, parent, command = line.split(None, 2)
        if int(parent) == server.process.pid and "basalt.gateway" in command:
            os.kill(int(pid), signal.SIGKILL)

    def is_ready() -> bool:
        try:
            return httpx2.get(f"{server.url}/ready", timeout=1).is_success
        except httpx2.TransportError:
            return False

    until(lambda: not is_ready())
    until(is_ready, 30)


@pytest.mark.long
@pytest.mark.req("P23")
def test_after_kill_9_of_the_gateway_nothing_is_done_twice(shop: Shop, key: str) -> None:
    """Three requests lose it in the middle: PostgreSQL commits the first one, undoes the second one, and nobody knows
    how far the third one came, a function."""
    slow = "/rest/v1/rpc/order_slowly"
    committed, undone = {"item": "committed", "seconds": 1.5}, {"item": "undone", "seconds": 30}
    function = f"/functions/v1/count?sleep=20&name={key}"
    with ThreadPoolExecutor(3) as pool:
        lost = [
            pool.submit(shop.send, slow, undone, key=key + "2"),
            pool.submit(shop.send, function, {}, key=key + "3"),
        ]
        # One after the other: of two at once the second may wait behind the first on the same lane.
        until(lambda: sleepers(shop) == 1 and shop.calls(key) == 1)
        lost.append(pool.submit(shop.send, slow, committed, key=key + "1"))
        until(lambda: sleepers(shop) == 2)
        kill_gateway(shop.server)
        for request in lost:
            with pytest.raises(httpx2.TransportError):
                request.result()
    until(lambda: shop.orders() == 1)
    end_sleepers(shop)
    until(lambda: sleepers(shop) == 0)
    assert code_of(shop.send(slow, committed, key=key + "1")) == (409, "idempotency_in_progress")

    shop.end_leases()
    assert code_of(shop.send(slow, committed, key=key + "1")) == (409, "idempotency_outcome_unknown")
    assert code_of(shop.send(function, {}, key=key + "3")) == (409, "idempotency_outcome_unknown")
    assert shop.orders() == shop.calls(key) == 1
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(shop.send, slow, undone, key=key + "2")
        until(lambda: sleepers(shop) == 1)
        end_sleepers(shop)
        assert again.result().status_code == 503
    short = {"item": "undone", "seconds": 0}  # the failure frees the key, a moment after its answer
    until(lambda: shop.send(slow, short, key=key + "2").status_code == 200)
    assert shop.orders() == 2


@pytest.mark.req("P23")
def test_who_has_lost_the_key_cannot_write(shop: Shop, key: str) -> None:
    """A gateway that was given up wakes after another one has taken over."""
    holders = [str(uuid.uuid4()) for _ in range(2)]
    shop.database.execute("set role authenticator")
    claim = "select outcome from basalt.claim_idempotency_key(%s, '', %s, true, 0, 60)"
    for holder in holders:
        assert shop.database.execute(claim, [key.encode(), holder]).fetchone() == ("claimed",)
    start = "select basalt.start_keyed_write(%s, %s)"
    with pytest.raises(psycopg.Error, match="has taken over"):
        shop.database.execute(start, [key.encode(), holders[0]])
    shop.database.execute(start, [key.encode(), holders[1]])
    with pytest.raises(psycopg.Error, match="has taken over"):
        shop.database.execute(start, [key.encode(), holders[1]])
    assert shop.database.execute(claim, [key.encode(), holders[0]]).fetchone() == ("unknown",)
    shop.database.execute("reset role")


def sleepers(shop: Shop) -> int:
    return shop.number("select count(*) from pg_stat_activity where wait_event = 'PgSleep'")


def end_sleepers(shop: Shop) -> int:
    return shop.number(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where wait_event = 'PgSleep'"
    )


# Outsiders


@pytest.mark.req("P23")
@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_users_reach_neither_the_keys_nor_their_routines(shop: Shop, role: str) -> None:
    with psycopg.connect(shop.server.database_url, autocommit=True) as connection:
        connection.execute(f"set role {role}".encode())
        for statement in (
            "select * from basalt.idempotency_keys",
            "select basalt.claim_idempotency_key('', '', gen_random_uuid(), true, 1, 1)",
            "select basalt.start_keyed_write('', gen_random_uuid())",
            "select basalt.extend_idempotency_key('', gen_random_uuid(), 1)",
            "select basalt.settle_idempotency_key('', gen_random_uuid(), null, null, null, 1)",
            "select basalt.free_idempotency_key('', gen_random_uuid(), false)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
