"""Writes over HTTP. Most of them are rolled back by the request itself."""

from collections.abc import Iterator
from typing import Any

import httpx2
import psycopg
import pytest

from tests.rest.asking import OBJECT, case, prefer, refused, rows
from tests.server import Server

pytestmark = pytest.mark.req("P5")

FULL = "return=representation"
UNDO = "tx=rollback"
TRY = prefer(FULL, UNDO)
"""Show what would be there, and leave everything as it was."""


def tried(answer: httpx2.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def post(api: httpx2.Client, path: str, body: Any, *preferences: str) -> Any:
    return tried(api.post(path, json=body, headers=prefer(FULL, UNDO, *preferences)), 201)


# Inserting


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        pytest.param(
            "/trains?select=name,seats",
            {"name": "New"},
            [{"name": "New", "seats": 100}],
            id="one row, and defaults",
        ),
        pytest.param(
            "/trains?select=name",
            [{"name": "A"}, {"name": "B"}],
            [{"name": "A"}, {"name": "B"}],
            id="several rows",
        ),
        pytest.param("/trains?select=name", [], [], id="no rows"),
        pytest.param(
            "/fares?select=distance,price,kind",
            {},
            [{"distance": 10, "price": 20, "kind": "plain"}],
            id="nothing but defaults",
        ),
        pytest.param(
            "/fares?select=distance",
            [{}, {}],
            [{"distance": 10}, {"distance": 10}],
            id="several rows of defaults",
        ),
        pytest.param(
            "/trains?select=tags,data",
            {"name": "N", "tags": ["a", "b"], "data": {"x": [1]}},
            [{"tags": ["a", "b"], "data": {"x": [1]}}],
            id="arrays and JSON",
        ),
        pytest.param(
            "/trains?select=speed", {"name": "N", "speed": None}, [{"speed": None}], id="null is no default"
        ),
        pytest.param(
            "/trains?select=name,lines(name)",
            {"name": "N", "line_id": 2},
            [{"name": "N", "lines": {"name": "West"}}],
            id="with an embed",
        ),
        pytest.param(
            "/trains?select=name,way:lines!inner()&way.name=eq.West",
            [{"name": "N", "line_id": 2}, {"name": "M", "line_id": 1}],
            [{"name": "N"}],
            id="with an inner embed",
        ),
        pytest.param(
            "/cities?select=label",
            {"id": 9, "name": "Rome"},
            [{"label": "Rome (?)"}],
            id="with a computed field",
        ),
        pytest.param(
            "/crew?select=name,partners(name)",
            {"id": 9, "name": "Ed"},
            [{"name": "Ed", "partners": []}],
            id="with a computed relationship",
        ),
        pytest.param(
            "/trains?select=name&order=name.desc",
            [{"name": "A"}, {"name": "B"}],
            [{"name": "B"}, {"name": "A"}],
            id="in an order",
        ),
        pytest.param(
            "/tracks",
            {"id": 3, "width": "750 mm"},
            [{"id": 3, "width": "750 mm"}],
            id="through a representation",
        ),
        pytest.param("/tickets?select=id", {"id": 9, "class": "second"}, [{"id": 9}], id="into a partition"),
        pytest.param(
            "/old_trains?select=id,seats",
            {"id": 50, "name": "V"},
            [{"id": 50, "seats": 100}],
            id="into a view",
        ),
        pytest.param(
            "/notices", {"body": "x"}, [{"body": "x", "posted_on": "2026-01-02"}], id="without a primary key"
        ),
    ],
)
def test_inserts(api: httpx2.Client, path: str, body: Any, expected: Any) -> None:
    assert post(api, path, body) == expected


def test_without_a_wish_nothing_comes_back(api: httpx2.Client) -> None:
    for preferences in ([], ["return=minimal"]):
        answer = api.post("/trains?select=nonsense", json={"name": "N"}, headers=prefer(UNDO, *preferences))
        assert (answer.status_code, answer.content) == (201, b"")
        assert "content-type" not in answer.headers


@pytest.mark.parametrize(
    ("path", "body", "location"),
    [
        ("/cities", {"id": 9, "name": "Rome"}, "/cities?id=eq.9"),
        ("/stops", {"line_id": 4, "city_id": 5, "place": 1}, "/stops?line_id=eq.4&city_id=eq.5"),
        ("/countries", {"code": "a&b é", "name": "x"}, "/countries?code=eq.a%26b%20%C3%A9"),
        ("/old_trains", {"id": 50, "name": "V"}, "/old_trains?id=eq.50"),
        ("/notices", {"body": "x"}, None),
        ("/cities", [{"id": 8, "name": "A"}, {"id": 9, "name": "B"}], None),
    ],
)
def test_headers_only_says_where_the_new_row_is(
    api: httpx2.Client, path: str, body: Any, location: str | None
) -> None:
    answer = api.post(path, json=body, headers=prefer("return=headers-only", UNDO))
    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers.get("location") == location
    assert answer.headers["preference-applied"] == "return=headers-only, tx=rollback"


def test_rows_must_have_the_same_keys_unless_columns_says_which_count(api: httpx2.Client) -> None:
    ragged = [{"name": "A", "seats": 1}, {"name": "B", "speed": 2}]
    answer = api.post("/trains", json=ragged, headers=TRY)
    assert refused(answer) == (400, "PGRST102")
    assert answer.json()["message"] == "All object keys must match"
    assert post(api, "/trains?columns=name,speed&select=name,speed", ragged) == [
        {"name": "A", "speed": None},
        {"name": "B", "speed": 2.0},
    ]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (
            "/trains?columns=name,seats&select=name,seats",
            [{"name": "A"}, {"name": "B", "seats": 7}],
            [{"name": "A", "seats": 100}, {"name": "B", "seats": 7}],
        ),
        ("/trains?columns=name,seats&select=seats", {"name": "A"}, [{"seats": 100}]),
        ("/trains?columns=name,speed&select=speed", [{"name": "A", "speed": None}], [{"speed": None}]),
        (
            "/fares?columns=distance,kind&select=distance,kind",
            [{}, {"kind": "x"}],
            [{"distance": 10, "kind": "plain"}, {"distance": 10, "kind": "x"}],
        ),
        ("/trains?columns=name,motto&select=name,motto", [{"name": "A"}], [{"name": "A", "motto": None}]),
        (
            "/trains?columns=id,name&select=name",
            [{"name": "A"}, {"name": "B"}],
            [{"name": "A"}, {"name": "B"}],
        ),
        ("/moods?columns=id,since&select=since", [{"id": 7}], [{"since": "2026-01-01T00:00:00"}]),
    ],
)
def test_missing_keys_are_defaults_on_demand(api: httpx2.Client, path: str, body: Any, expected: Any) -> None:
    assert post(api, path, body, "missing=default") == expected


def test_missing_keys_are_null_otherwise(api: httpx2.Client) -> None:
    path, body = (
        "/fares?columns=distance,kind&select=distance,kind",
        [{"distance": 1}, {"distance": 2, "kind": "x"}],
    )
    expected = [{"distance": 1, "kind": None}, {"distance": 2, "kind": "x"}]
    assert post(api, path, body) == expected
    assert post(api, path, body, "missing=null") == expected


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        (
            "text/csv",
            "name,seats,motto\nA,5,NULL\nB,6,",
            [{"name": "A", "seats": 5, "motto": None}, {"name": "B", "seats": 6, "motto": ""}],
        ),
        ("text/csv", 'name,seats,motto\n"A, ""b""",5,x\n', [{"name": 'A, "b"', "seats": 5, "motto": "x"}]),
        (
            "application/x-www-form-urlencoded",
            "name=A+b&seats=7&motto=%C3%A9",
            [{"name": "A b", "seats": 7, "motto": "é"}],
        ),
    ],
)
def test_bodies_need_not_be_json(api: httpx2.Client, content_type: str, body: str, expected: Any) -> None:
    headers = {**TRY, "content-type": content_type}
    assert (
        tried(api.post("/trains?select=name,seats,motto", content=body.encode(), headers=headers), 201)
        == expected
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/trains", b"", 400, "PGRST102"),
        ("/trains", b"{", 400, "PGRST102"),
        ("/trains", b"7", 400, "PGRST102"),
        ("/trains", b'{"nme":"x"}', 400, "PGRST204"),
        ("/trains?columns=nme", b"{}", 400, "PGRST204"),
        ("/trains", b'{"name":null}', 400, "23502"),
        ("/trains", b'{"name":"Comet"}', 409, "23505"),
        ("/trains", b'{"name":"x","line_id":99}', 409, "23503"),
        ("/trains", b'{"name":"x","seats":"many"}', 400, "22P02"),
        ("/trains?columns=name", b'[{"name":"x"},', 400, "22P02"),
        ("/tickets", b'{"id":9,"class":"third"}', 400, "23514"),
        ("/fares", b'{"price":1}', 400, "428C9"),
        ("/train_counts", b'{"line_id":1}', 500, "55000"),
        ("/nowhere", b"{}", 404, "PGRST205"),
        ("/salaries", b'{"id":1}', 401, "42501"),
    ],
)
def test_what_cannot_be_inserted(api: httpx2.Client, path: str, body: bytes, status: int, code: str) -> None:
    for _ in range(2):
        assert refused(api.post(path, content=body, headers=TRY)) == (status, code)


# Duplicates


@pytest.mark.parametrize(
    ("path", "resolution", "body", "status", "expected"),
    [
        pytest.param(
            "/cities?select=id,name",
            "merge",
            [{"id": 1, "name": "B"}],
            200,
            [{"id": 1, "name": "B"}],
            id="the primary key, nothing new",
        ),
        pytest.param(
            "/cities?select=id",
            "merge",
            [{"id": 1, "name": "B"}, {"id": 9, "name": "R"}],
            201,
            [{"id": 1}, {"id": 9}],
            id="something new",
        ),
        pytest.param(
            "/trains?on_conflict=name&select=id,seats",
            "merge",
            [{"name": "Comet", "seats": 5}],
            200,
            [{"id": 1, "seats": 5}],
            id="another unique column",
        ),
        pytest.param(
            "/cities?select=id",
            "ignore",
            [{"id": 1, "name": "B"}, {"id": 9, "name": "R"}],
            201,
            [{"id": 9}],
            id="left as they were",
        ),
        pytest.param(
            "/trains?on_conflict=name&select=seats",
            "ignore",
            [{"name": "Comet", "seats": 5}],
            201,
            [],
            id="all left as they were",
        ),
        pytest.param(
            "/stops?select=place",
            "merge",
            [{"line_id": 1, "city_id": 1, "place": 7}],
            200,
            [{"place": 7}],
            id="a key of two columns",
        ),
        pytest.param(
            "/tickets?select=id,price",
            "merge",
            [{"id": 1, "class": "first", "price": 1}, {"id": 9, "class": "first", "price": 2}],
            201,
            [{"id": 1, "price": 1.0}, {"id": 9, "price": 2.0}],
            id="in partitions",
        ),
        pytest.param(
            "/old_trains?select=id,name",
            "merge",
            [{"id": 1, "name": "B"}],
            200,
            [{"id": 1, "name": "B"}],
            id="through a view",
        ),
        pytest.param(
            "/notices?select=body", "merge", [{"body": "x"}], 201, [{"body": "x"}], id="without a key"
        ),
        pytest.param(
            "/cities?columns=id,name&select=name",
            "merge",
            [{"id": 1, "name": "B", "junk": 1}],
            200,
            [{"name": "B"}],
            id="of the named columns",
        ),
        pytest.param("/cities", "merge", [], 200, [], id="no rows"),
    ],
)
def test_duplicates(
    api: httpx2.Client, path: str, resolution: str, body: Any, status: int, expected: Any
) -> None:
    answer = api.post(path, json=body, headers=prefer(f"resolution={resolution}-duplicates", FULL, UNDO))
    assert tried(answer, status) == expected


def test_what_cannot_be_a_duplicate(api: httpx2.Client) -> None:
    merge = prefer("resolution=merge-duplicates", UNDO)
    assert refused(api.post("/trains?on_conflict=seats", json={"name": "x"}, headers=merge)) == (400, "42P10")
    assert refused(api.post("/trains?on_conflict=nowhere", json={"name": "x"}, headers=merge)) == (
        400,
        "42703",
    )


def test_an_upsert_in_a_batch_counts_for_itself(api: httpx2.Client) -> None:
    merge = {"prefer": "resolution=merge-duplicates"}
    city = {"id": 9, "name": "R"}
    requests = [
        {"method": "POST", "path": "/cities", "headers": merge, "body": [city]},
        {"method": "POST", "path": "/cities", "headers": merge, "body": [city]},
        {"method": "PUT", "path": "/cities?id=eq.9", "headers": {"prefer": FULL}, "body": city},
    ]
    answers = tried(api.post("/rpc/basalt_batch", json=requests, headers=prefer(UNDO)), 200)
    assert [answer["status"] for answer in answers] == [201, 200, 200]


# PUT


@pytest.mark.parametrize(
    ("path", "body", "status", "expected"),
    [
        ("/cities?id=eq.1&select=id,name", {"id": 1, "name": "B"}, 200, [{"id": 1, "name": "B"}]),
        ("/cities?id=eq.9&select=id,name", {"id": 9, "name": "R"}, 201, [{"id": 9, "name": "R"}]),
        ("/cities?id=eq.9&select=name", [{"id": 9, "name": "R"}], 201, [{"name": "R"}]),
        (
            "/stops?line_id=eq.1&city_id=eq.1&select=place",
            {"line_id": 1, "city_id": 1, "place": 5},
            200,
            [{"place": 5}],
        ),
        ("/old_trains?id=eq.1&select=name", {"id": 1, "name": "Q"}, 200, [{"name": "Q"}]),
    ],
)
def test_put_makes_or_replaces_the_row_of_its_url(
    api: httpx2.Client, path: str, body: Any, status: int, expected: Any
) -> None:
    assert tried(api.put(path, json=body, headers=TRY), status) == expected
    assert api.put(path, json=body, headers=prefer(UNDO)).status_code == 204


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/cities", {"id": 1}, 405, "PGRST105"),
        ("/cities?name=eq.Berlin", {"id": 1}, 405, "PGRST105"),
        ("/cities?id=in.(1)", {"id": 1}, 405, "PGRST105"),
        ("/cities?id=eq.1&name=eq.x", {"id": 1}, 405, "PGRST105"),
        ("/stops?line_id=eq.1", {"line_id": 1}, 405, "PGRST105"),
        ("/notices?body=eq.x", {"body": "x"}, 405, "PGRST105"),
        ("/cities?id=eq.1&limit=1", {"id": 1, "name": "x"}, 400, "PGRST114"),
        ("/cities?id=eq.1", {"id": 2, "name": "x"}, 400, "PGRST115"),
        ("/cities?id=eq.8", [{"id": 8, "name": "x"}, {"id": 9, "name": "y"}], None, None),
        ("/cities?id=eq.1", [], 400, "42703"),
        ("/cities?id=eq.1", {"id": 1, "nme": "x"}, 400, "PGRST204"),
    ],
)
def test_any_other_put_is_refused(
    api: httpx2.Client, path: str, body: Any, status: int | None, code: str | None
) -> None:
    answer = api.put(path, json=body, headers=prefer(UNDO))
    if status is None:  # only the row of the URL is taken
        assert answer.status_code == 204
    else:
        assert refused(answer) == (status, code)


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
