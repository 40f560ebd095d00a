"""Inserts over HTTP, with duplicates and PUT. Most of them are rolled back by the request itself."""

from typing import Any

import httpx2
import pytest

from tests.rest.asking import FULL, TRY, UNDO, prefer, refused, tried

pytestmark = pytest.mark.req("P5")


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
