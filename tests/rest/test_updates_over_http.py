"""Updates and deletes over HTTP, what a write promises and how it ends. Most are rolled back by the request itself."""

from collections.abc import Iterator
from typing import Any

import httpx2
import psycopg
import pytest

from tests.rest.asking import FULL, OBJECT, TRY, UNDO, case, prefer, refused, rows, tried
from tests.server import Server

pytestmark = pytest.mark.req("P5")


# Updating and deleting


@pytest.mark.parametrize(
    ("path", "body", "expected", "content_range"),
    [
        pytest.param("/trains?id=eq.1&select=seats", {"seats": 5}, [{"seats": 5}], "0-0/*", id="one row"),
        pytest.param(
            "/trains?seats=lt.100&select=name,seats&order=name",
            {"seats": 5},
            [{"name": "Snail", "seats": 5}, {"name": "Spare", "seats": 5}],
            "0-1/*",
            id="several",
        ),
        pytest.param(
            "/trains?or=(id.eq.1,name.eq.Snail)&select=id&order=id",
            {"seats": 5},
            [{"id": 1}, {"id": 3}],
            "0-1/*",
            id="by a tree",
        ),
        pytest.param("/trains?id=eq.99", {"seats": 5}, [], "*/*", id="none"),
        pytest.param("/trains?id=eq.1", {}, [], "*/*", id="nothing"),
        pytest.param("/trains?id=eq.1", [], [], "*/*", id="nothing in a list"),
        pytest.param(
            "/trains?id=eq.1&select=seats",
            [{"seats": 5}, {"seats": 6}],
            [{"seats": 5}],
            "0-0/*",
            id="the first of a list",
        ),
        pytest.param(
            "/trains?name=eq.Comet&select=name",
            {"name": "Z"},
            [{"name": "Z"}],
            "0-0/*",
            id="the column of the condition",
        ),
        pytest.param(
            "/trains?id=eq.1&columns=seats&select=seats,name",
            {"seats": 5, "name": "Z"},
            [{"seats": 5, "name": "Comet"}],
            "0-0/*",
            id="only the named columns",
        ),
        pytest.param(
            "/trains?id=eq.1&select=name,tickets(id)&tickets.price=gt.40",
            {"name": "Z"},
            [{"name": "Z", "tickets": [{"id": 1}]}],
            "0-0/*",
            id="with an embed",
        ),
        pytest.param(
            "/trains?id=eq.1&select=name,lines(name)",
            {"line_id": 2},
            [{"name": "Comet", "lines": {"name": "West"}}],
            "0-0/*",
            id="with an embed by the new value",
        ),
        pytest.param(
            "/trains?id=eq.1&select=best_ticket(price)",
            {"name": "Z"},
            [{"best_ticket": {"price": 50.0}}],
            "0-0/*",
            id="with a computed relationship",
        ),
        pytest.param(
            "/tracks?width=eq.1435 mm",
            {"width": "1436 mm"},
            [{"id": 1, "width": "1436 mm"}],
            "0-0/*",
            id="through a representation",
        ),
        pytest.param(
            "/old_trains?id=eq.1",
            {"seats": 3},
            [{"id": 1, "name": "Comet", "seats": 3}],
            "0-0/*",
            id="through a view",
        ),
    ],
)
def test_updates(api: httpx2.Client, path: str, body: Any, expected: Any, content_range: str) -> None:
    answer = api.patch(path, json=body, headers=TRY)
    assert tried(answer, 200) == expected
    assert answer.headers["content-range"] == content_range


def test_an_update_puts_defaults_where_keys_are_missing_on_demand(api: httpx2.Client) -> None:
    headers = prefer("missing=default", FULL, UNDO)
    answer = api.patch(
        "/fares?columns=distance,kind&select=distance,kind", json={"kind": "x"}, headers=headers
    )
    assert tried(answer, 200) == [{"distance": 10, "kind": "x"}]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        case("one row", "/refunds?id=eq.1&select=id", [{"id": 1}]),
        case("none", "/refunds?id=eq.99", []),
        case("with an embed", "/refunds?id=eq.2&select=tickets(price)", [{"tickets": {"price": 90.0}}]),
        case("in partitions", "/tickets?price=lt.30&refunds=is.null&select=id", None),
        case("in an order", "/refunds?select=id&order=id.desc", [{"id": 2}, {"id": 1}]),
    ],
)
def test_deletes(api: httpx2.Client, path: str, expected: Any) -> None:
    answer = api.delete(path, headers=TRY)
    if expected is None:  # an embed is not there to be asked about before the rows are
        assert refused(answer) == (400, "42703")
        return
    assert tried(answer, 200) == expected
    assert api.delete(path, headers=prefer(UNDO)).status_code == 204


@pytest.mark.parametrize(
    ("method", "count", "content_range"),
    [
        ("POST", "exact", "*/1"),
        ("PATCH", "exact", "0-1/2"),
        ("DELETE", "exact", "*/2"),
        ("PATCH", "planned", "0-1/*"),
        ("DELETE", "estimated", "*/2"),
    ],
)
def test_a_write_counts_what_it_changed(
    api: httpx2.Client, method: str, count: str, content_range: str
) -> None:
    body = {"id": 77} if method == "POST" else {"ticket_id": None, "ticket_class": None}
    answer = api.request(method, "/refunds", json=body, headers=prefer(f"count={count}", UNDO))
    assert answer.headers["content-range"] == content_range


# Promises


@pytest.mark.parametrize(
    ("method", "most", "status"),
    [
        ("PATCH", 1, 400),
        ("PATCH", 2, 204),
        ("DELETE", 1, 400),
        ("DELETE", 3, 204),
        ("PATCH", 0, 400),
        ("POST", 0, 201),
    ],
)
def test_no_more_rows_than_promised(api: httpx2.Client, method: str, most: int, status: int) -> None:
    body = {"id": 77} if method == "POST" else {"ticket_id": None}
    answer = api.request(
        method, "/refunds", json=body, headers=prefer("handling=strict", f"max-affected={most}", UNDO)
    )
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["code"] == "PGRST124"
        assert answer.json()["details"] == "The query affects 2 rows"


def test_a_promise_counts_under_strict_handling_only(api: httpx2.Client) -> None:
    answer = api.delete("/refunds", headers=prefer("max-affected=1", UNDO))
    assert (answer.status_code, answer.headers["preference-applied"]) == (204, "tx=rollback")


def test_a_broken_promise_is_undone(api: httpx2.Client) -> None:
    assert (
        refused(api.delete("/refunds", headers=prefer("handling=strict", "max-affected=1")))[1] == "PGRST124"
    )
    assert refused(api.patch("/trains?id=lt.3", json={"seats": 1}, headers=OBJECT)) == (406, "PGRST116")
    assert refused(api.put("/cities?id=eq.1", json={"id": 9, "name": "x"}))[1] == "PGRST115"
    assert len(rows(api, "/refunds")) == 2
    assert rows(api, "/trains?seats=eq.1") == []
    assert rows(api, "/cities?id=eq.9") == []


@pytest.mark.parametrize(
    ("preferences", "applied"),
    [
        (["tx=rollback", "return=minimal", "count=exact"], "return=minimal, count=exact, tx=rollback"),
        (
            ["tx=rollback", "resolution=merge-duplicates", "missing=default"],
            "resolution=merge-duplicates, missing=default, tx=rollback",
        ),
        (
            ["tx=rollback", "handling=strict", "timezone=UTC", "max-affected=9"],
            "tx=rollback, handling=strict, timezone=UTC",
        ),
    ],
)
def test_preferences_that_had_a_meaning_are_said_to_be_applied(
    api: httpx2.Client, preferences: list[str], applied: str
) -> None:
    answer = api.post("/cities", json={"id": 1, "name": "B"}, headers=prefer(*preferences))
    if "resolution=merge-duplicates" not in preferences:
        answer = api.post("/cities", json={"id": 9, "name": "B"}, headers=prefer(*preferences))
    assert answer.headers["preference-applied"] == applied


# The end of a transaction


@pytest.fixture
def no_notices(railway: Server) -> Iterator[None]:
    yield
    with psycopg.connect(railway.database_url) as connection:
        connection.execute("delete from public.notices where body like 'kept%'")


@pytest.mark.usefixtures("no_notices")
def test_a_transaction_ends_as_the_request_says(api: httpx2.Client) -> None:
    def kept() -> list[str]:
        return [row["body"] for row in rows(api, "/notices?body=like.kept*&order=body")]

    undone = api.post("/notices", json={"body": "kept 0"}, headers=TRY)
    assert undone.json()[0]["body"] == "kept 0"
    assert undone.headers["preference-applied"] == "return=representation, tx=rollback"
    assert kept() == []
    api.post("/notices", json={"body": "kept 1"})
    committed = api.post("/notices", json={"body": "kept 2"}, headers=prefer("tx=commit"))
    assert committed.headers["preference-applied"] == "tx=commit"
    assert kept() == ["kept 1", "kept 2"]
    api.post("/rpc/post_notice", json={"body": "kept 3"}, headers=prefer(UNDO))
    assert kept() == ["kept 1", "kept 2"]
