"""Routine calls over HTTP: overloads, arguments, results, settings, and what a routine decides about its answer."""

from typing import Any

import httpx2
import pytest

from tests.rest.asking import OBJECT, case, prefer, refused, rows

pytestmark = pytest.mark.req("P5")

TEXT = {"content-type": "text/plain"}
BYTES = {"content-type": "application/octet-stream"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


# Which one, with which arguments


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        case("one overload", "/rpc/area?side=3", 9),
        case("another", "/rpc/area?b=5&a=2", 10),
        case("defaults", "/rpc/greet", "hello you"),
        case("some of the defaults", "/rpc/greet?loud=true", "HELLO YOU"),
        case("all arguments", "/rpc/greet?loud=true&name=Jo", "HELLO JO"),
        case("the last of a repeated argument", "/rpc/greet?name=A&name=B", "hello B"),
        case("a variadic one without values", "/rpc/total", 0),
        case("with one", "/rpc/total?numbers=4", 4),
        case("with several", "/rpc/total?numbers=4&numbers=5", 9),
        case("an empty text", "/rpc/greet?name=", "hello "),
        case("a text that looks like none", "/rpc/greet?name=equals", "hello equals"),
    ],
)
def test_arguments_of_a_get(api: httpx2.Client, path: str, expected: Any) -> None:
    assert rows(api, path) == expected


@pytest.mark.parametrize(
    ("path", "body_and_result"),
    [
        case("one overload", "/rpc/area", ({"side": 4}, 16)),
        case("another", "/rpc/area", ({"a": 2, "b": 3}, 6)),
        case("defaults", "/rpc/greet", ({}, "hello you")),
        case("the first of a list", "/rpc/area", ([{"side": 4}, {"side": 5}], 16)),
        case("a variadic one", "/rpc/total", ({"numbers": [1, 2, 3]}, 6)),
        case("null is an argument", "/rpc/greet", ({"name": None}, None)),
        case("only the named keys", "/rpc/greet?columns=name", ({"name": "Al", "junk": 1}, "hello Al")),
        case("an argument before the whole body", "/rpc/either", ({"a": 1}, "argument")),
        case("the whole body where no argument fits", "/rpc/either", ({"b": 1}, "whole body")),
        case("any JSON as the whole body", "/rpc/echo_json", ([1, {"a": None}], [1, {"a": None}])),
        case("one value as the whole body", "/rpc/echo_json", (7, 7)),
    ],
)
def test_arguments_of_a_post(api: httpx2.Client, path: str, body_and_result: tuple[Any, Any]) -> None:
    body, expected = body_and_result
    answer = api.post(path, json=body)
    assert (answer.status_code, answer.json()) == (200, expected)


def test_a_post_without_a_body_has_no_arguments(api: httpx2.Client) -> None:
    assert api.post("/rpc/greet").json() == "hello you"


@pytest.mark.parametrize(
    ("path", "body", "headers", "expected"),
    [
        ("/rpc/greet", b"name=x+y&loud=true", FORM, "HELLO X Y"),
        ("/rpc/total", b"numbers=1&numbers=5", FORM, 6),
        ("/rpc/total", b"", FORM, 0),
        ("/rpc/greet", b"name,loud\nCSV,true", {"content-type": "text/csv"}, "HELLO CSV"),
        ("/rpc/echo_text", "é<".encode(), TEXT, "<é<>"),
        ("/rpc/echo_bytes", b"\0\1\xff", BYTES, 3),
    ],
)
def test_bodies_need_not_be_json(
    api: httpx2.Client, path: str, body: bytes, headers: dict[str, str], expected: Any
) -> None:
    for _ in range(2):
        answer = api.post(path, content=body, headers=headers)
        assert (answer.status_code, answer.json()) == (200, expected)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/rpc/nowhere", 404, "PGRST202"),
        ("/rpc/area", 404, "PGRST202"),
        ("/rpc/area?side=1&a=2", 404, "PGRST202"),
        ("/rpc/same?a=1", 300, "PGRST203"),
        ("/rpc/area?side=x", 400, "22P02"),
        ("/rpc/echo_json?a=1", 404, "PGRST202"),
    ],
)
def test_calls_that_mean_nothing(api: httpx2.Client, path: str, status: int, code: str) -> None:
    assert refused(api.get(path)) == (status, code)


def test_a_body_of_another_kind_finds_no_routine(api: httpx2.Client) -> None:
    answer = api.post("/rpc/echo_text", content=b"x", headers=BYTES)
    assert refused(answer) == (404, "PGRST202")
    assert "with a single unnamed bytea parameter" in answer.json()["details"]


# What comes back


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        case("one value", "/rpc/area?side=2", 4),
        case("null", "/rpc/none_at_all", None),
        case("a set of values", "/rpc/countdown?start=3", [3, 2, 1]),
        case("a window of a set of values", "/rpc/countdown?start=5&limit=2&offset=1", [4, 3]),
        case("a table", "/rpc/pairs", [{"a": 1, "b": "x1"}, {"a": 2, "b": "x2"}]),
        case(
            "a table, selected, filtered and ordered",
            "/rpc/pairs?times=3&select=b&a=gt.1&order=a.desc",
            [{"b": "x3"}, {"b": "x2"}],
        ),
        case("out parameters", "/rpc/split?whole=7", {"half": 3, "rest": 1}),
        case("out parameters, selected", "/rpc/split?whole=7&select=rest", {"rest": 1}),
        case("a row of a table", "/rpc/train_of?p_id=1&select=name", {"name": "Comet"}),
        case(
            "a row with an embed",
            "/rpc/train_of?p_id=2&select=name,tickets(id)",
            {"name": "Arrow", "tickets": [{"id": 4}]},
        ),
        case("no row is one of nulls", "/rpc/train_of?p_id=99&select=id,name", {"id": None, "name": None}),
        case(
            "rows of a table",
            "/rpc/trains_over?speed_limit=100&select=name&order=name",
            [{"name": "Arrow"}, {"name": "Comet"}],
        ),
        case(
            "rows filtered by what is not selected",
            "/rpc/trains_over?speed_limit=0&seats=lt.100&select=name",
            [{"name": "Snail"}],
        ),
        case(
            "rows with embeds and their conditions",
            "/rpc/trains_over?speed_limit=0&select=name,lines!inner(name)&lines.name=eq.West",
            [{"name": "Snail", "lines": {"name": "West"}}],
        ),
        case(
            "rows without an embed's",
            "/rpc/trains_over?speed_limit=0&select=name,crew()&crew=is.null",
            [{"name": "Snail"}],
        ),
        case(
            "rows spread",
            "/rpc/trains_over?speed_limit=200&select=name,...lines(line:name)",
            [{"name": "Arrow", "line": "North"}],
        ),
        case(
            "rows with computed fields",
            "/rpc/trains_over?speed_limit=200&select=best_ticket(price)",
            [{"best_ticket": {"price": 90.0}}],
        ),
        case("rows counted", "/rpc/trains_over?speed_limit=0&select=count()", [{"count": 3}]),
        case("everything for nothing said", "/rpc/split?whole=7&select=", {"half": 3, "rest": 1}),
    ],
)
def test_results(api: httpx2.Client, path: str, expected: Any) -> None:
    assert rows(api, path) == expected


def test_nothing_is_204(api: httpx2.Client) -> None:
    for answer in (api.post("/rpc/nothing"), api.get("/rpc/nothing")):
        assert (answer.status_code, answer.content) == (204, b"")
        assert "content-type" not in answer.headers


def test_no_more_rows_than_the_setting_allows(api: httpx2.Client) -> None:
    assert len(rows(api, "/rpc/many?n=150")) == 100


@pytest.mark.parametrize(
    ("method", "path", "headers", "content_range"),
    [
        ("GET", "/rpc/countdown?start=3", {"range": "1-1"}, "1-1/3"),
        ("POST", "/rpc/countdown", {"range": "1-1"}, "0-2/3"),  # a header of GET alone
        ("POST", "/rpc/countdown?limit=1&offset=1", {}, "1-1/3"),
    ],
)
def test_a_window_of_a_call(
    api: httpx2.Client, method: str, path: str, headers: dict[str, str], content_range: str
) -> None:
    body = {"start": 3} if method == "POST" else None
    answer = api.request(method, path, json=body, headers={**headers, **prefer("count=exact")})
    assert answer.headers["content-range"] == content_range


def test_one_object_of_a_call(api: httpx2.Client) -> None:
    assert api.get("/rpc/trains_over?speed_limit=200&select=name", headers=OBJECT).json() == {"name": "Arrow"}
    assert refused(api.get("/rpc/trains_over?speed_limit=0", headers=OBJECT)) == (406, "PGRST116")
    assert api.get("/rpc/area?side=2", headers=OBJECT).json() == 4


# Writing


def test_a_get_cannot_write_whatever_the_routine_says(api: httpx2.Client) -> None:
    assert refused(api.get("/rpc/post_notice?body=x")) == (405, "25006")
    assert refused(api.get("/rpc/stable_writer")) == (400, "0A000")
    assert refused(api.post("/rpc/stable_writer")) == (400, "0A000")


def test_a_post_can(api: httpx2.Client) -> None:
    answer = api.post("/rpc/post_notice", json={"body": "hi"}, headers=prefer("tx=rollback"))
    assert answer.json() == {"body": "hi", "posted_on": "2026-01-02"}
    changed = api.post(
        "/rpc/raise_seats?name=eq.Comet&select=name,seats", json={"by": 5}, headers=prefer("tx=rollback")
    )
    assert changed.json() == [{"name": "Comet", "seats": 105}]


def test_no_more_rows_than_promised(api: httpx2.Client) -> None:
    strict = prefer("handling=strict", "max-affected=2")
    answer = api.post("/rpc/raise_seats", json={"by": 1}, headers=strict)
    assert refused(answer) == (400, "PGRST124")
    assert answer.json()["details"] == "The query affects 4 rows"
    assert rows(api, "/trains?id=eq.1&select=seats") == [{"seats": 100}]
    assert refused(api.post("/rpc/greet", headers=strict)) == (400, "PGRST128")
    kept = api.post(
        "/rpc/raise_seats?id=eq.1",
        json={"by": 1},
        headers=prefer("handling=strict", "max-affected=2", "tx=rollback"),
    )
    assert kept.headers["preference-applied"] == "tx=rollback, handling=strict, max-affected=2"


# Settings


def test_settings_of_a_routine_are_those_of_its_transaction(api: httpx2.Client) -> None:
    assert rows(api, "/rpc/patience") == "7s"
    assert refused(api.post("/rpc/impatient")) == (500, "57014")


def test_the_isolation_of_a_routine_is_that_of_its_transaction_alone(api: httpx2.Client) -> None:
    assert rows(api, "/rpc/isolated") == "serializable"
    assert rows(api, "/rpc/isolation") == "read committed"


def test_a_time_zone_is_that_of_the_call(api: httpx2.Client) -> None:
    assert rows(api, "/rpc/zone", **prefer("timezone=Asia/Tokyo")) == "Asia/Tokyo"
    assert rows(api, "/rpc/zone") == "UTC"


def test_a_statement_can_read_what_was_asked(api: httpx2.Client) -> None:
    found = rows(api, "/rpc/asked?select=", **{"x-own": "mine", "cookie": "a=1; b=x=y"})
    assert (found["role"], found["claims"]) == ("anon", {"role": "anon"})
    assert (found["method"], found["path"]) == ("GET", "/rpc/asked")
    assert found["headers"]["x-own"] == "mine"
    assert "cookie" not in found["headers"]
    assert found["cookies"] == {"a": "1", "b": "x=y"}
    assert found["tenant"] == "seven"
    assert found["search_path"] == '"public", "extensions"'
    assert found["read_only"] == "on"
    assert api.post("/rpc/asked").json()["method"] == "POST"


# What a routine decides


def test_a_routine_decides_status_and_headers(api: httpx2.Client) -> None:
    headers = '[{"X-Extra":"1"},{"Set-Cookie":"a=b"},{"Set-Cookie":"c=d"},{"Content-Type":"text/x-own"}]'
    answer = api.post("/rpc/answer", json={"status": "202", "headers": headers})
    assert (answer.status_code, answer.text) == (202, '"body"')
    assert answer.headers["x-extra"] == "1"
    assert answer.headers.get_list("set-cookie") == ["a=b", "c=d"]
    assert answer.headers["content-type"] == "text/x-own"
    plain = api.post("/rpc/answer", json={"status": "", "headers": ""})
    assert (plain.status_code, plain.headers["content-type"]) == (200, "application/json; charset=utf-8")


@pytest.mark.parametrize(
    ("status", "headers", "code"),
    [
        ("99", "", "PGRST112"),
        ("many", "", "PGRST112"),
        ("", "junk", "PGRST111"),
        ("", '{"a":"b"}', "PGRST111"),
        ("", '[{"a":1}]', "PGRST111"),
    ],
)
def test_what_is_no_status_or_header_is_an_error(
    api: httpx2.Client, status: str, headers: str, code: str
) -> None:
    assert refused(api.post("/rpc/answer", json={"status": status, "headers": headers})) == (500, code)


def test_a_status_without_content_sends_none(api: httpx2.Client) -> None:
    answer = api.post("/rpc/answer", json={"status": "204", "headers": ""})
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_routine_decides_the_whole_error(api: httpx2.Client) -> None:
    message = '{"code":"X1","message":"No","details":"d","hint":"h"}'
    detail = '{"status":419,"headers":{"X-Extra":"y"}}'
    answer = api.post("/rpc/refuse", json={"message": message, "detail": detail})
    assert answer.status_code == 419
    assert answer.json() == {"code": "X1", "message": "No", "details": "d", "hint": "h"}
    assert answer.headers["x-extra"] == "y"
    assert answer.headers["proxy-status"] == "PostgREST; error=X1"
    assert refused(api.post("/rpc/refuse", json={"message": "junk", "detail": detail})) == (500, "PGRST121")
