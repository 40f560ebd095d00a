"""From HTTP to `ApiRequest`: target, action, schema, ranges, what the statement may read."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.rest.errors import RestError
from basalt.rest.parameters import render_canonical, split_pairs
from basalt.rest.query import (
    ApiRequest,
    Compare,
    FieldRef,
    Filter,
    Logic,
    OrderTerm,
    RootTarget,
    RoutineTarget,
    RowRange,
    TableTarget,
)
from basalt.rest.request import parse_request, render_settings
from tests.rest.planning import make_request

pytestmark = pytest.mark.req("P5")

SCHEMAS = ("public", "other")
FORM = "application/x-www-form-urlencoded"


def ask(
    method: str = "GET",
    target: str = "/films",
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    schemas: tuple[str, ...] = SCHEMAS,
) -> ApiRequest:
    return parse_request(make_request(method, target, headers), body, schemas=schemas)


def refuse(code: str, *args: Any, **kwargs: Any) -> RestError:
    with pytest.raises(RestError) as raised:
        ask(*args, **kwargs)
    assert raised.value.code == code
    return raised.value


# Target and action


@pytest.mark.parametrize(
    ("method", "path", "target", "action"),
    [
        ("GET", "/films", TableTarget("films"), "read"),
        ("HEAD", "/films", TableTarget("films"), "read"),
        ("POST", "/films", TableTarget("films"), "insert"),
        ("PUT", "/films", TableTarget("films"), "upsert_one"),
        ("PATCH", "/films", TableTarget("films"), "update"),
        ("DELETE", "/films", TableTarget("films"), "delete"),
        ("OPTIONS", "/films", TableTarget("films"), "inspect"),
        ("GET", "/rpc", TableTarget("rpc"), "read"),
        ("GET", "/Caf%C3%A9%20%2F", TableTarget("Café /"), "read"),
        ("GET", "/rpc/add", RoutineTarget("add"), "call"),
        ("HEAD", "/rpc/add", RoutineTarget("add"), "call"),
        ("POST", "/rpc/add", RoutineTarget("add"), "call"),
        ("OPTIONS", "/rpc/add", RoutineTarget("add"), "inspect"),
        ("GET", "/", RootTarget(), "describe"),
        ("HEAD", "/", RootTarget(), "describe"),
        ("OPTIONS", "/", RootTarget(), "inspect"),
    ],
)
def test_path_and_method_say_what_is_wanted(method: str, path: str, target: object, action: str) -> None:
    found = ask(method, path, body=b"{}")
    assert (found.target, found.action, found.headers_only) == (target, action, method == "HEAD")


@pytest.mark.parametrize(
    ("code", "method", "path", "message"),
    [
        ("PGRST125", "GET", "/films/1", "Invalid path specified in request URL"),
        ("PGRST125", "GET", "/films/", "Invalid path specified in request URL"),
        ("PGRST125", "GET", "/rpc/", "Invalid path specified in request URL"),
        ("PGRST125", "GET", "/rpc/a/b", "Invalid path specified in request URL"),
        ("PGRST125", "GET", "/%ff", "Invalid path specified in request URL"),
        ("PGRST117", "TRACE", "/films", "Unsupported HTTP method: TRACE"),
        ("PGRST117", "POST", "/", "Unsupported HTTP method: POST"),
        ("PGRST101", "DELETE", "/rpc/add", "Cannot use the DELETE method on RPC"),
        ("PGRST101", "PUT", "/rpc/add", "Cannot use the PUT method on RPC"),
    ],
)
def test_other_paths_and_methods_are_refused(code: str, method: str, path: str, message: str) -> None:
    assert refuse(code, method, path).message == message


# Schema


@pytest.mark.parametrize(
    ("method", "headers", "schemas", "schema", "says_profile"),
    [
        ("GET", {}, ("public",), "public", False),
        ("GET", {}, SCHEMAS, "public", True),
        ("GET", {"accept-profile": "public"}, ("public",), "public", True),
        ("GET", {"accept-profile": "other"}, SCHEMAS, "other", True),
        ("GET", {"content-profile": "other"}, SCHEMAS, "public", True),
        ("POST", {"content-profile": "other", "accept-profile": "public"}, SCHEMAS, "other", True),
        ("DELETE", {"content-profile": "other"}, SCHEMAS, "other", True),
        ("GET", {"accept-profile": "تست".encode().decode("latin-1")}, ("public", "تست"), "تست", True),
    ],
)
def test_profile_chooses_the_schema(
    method: str, headers: dict[str, str], schemas: tuple[str, ...], schema: str, says_profile: bool
) -> None:
    found = ask(method, headers=headers, body=b"{}", schemas=schemas)
    assert (found.schema, found.profile_sent) == (schema, says_profile)


def test_schema_that_is_not_exposed_is_refused_with_those_that_are() -> None:
    error = refuse("PGRST106", headers={"accept-profile": "secret"})
    assert (error.status, error.message) == (406, "Invalid schema: secret")
    assert error.hint == "Only the following schemas are exposed: public, other"


# Ranges


LOWER_OVER_UPPER = "The lower boundary must be lower than or equal to the upper boundary in the Range header."


@pytest.mark.parametrize(
    ("target", "header", "expected"),
    [
        ("/films", None, RowRange()),
        ("/films?limit=5", None, RowRange(0, 5)),
        ("/films?offset=5", None, RowRange(5)),
        ("/films?limit=5&offset=10", None, RowRange(10, 5)),
        ("/films?limit=0", None, RowRange(0, 0)),
        ("/films?limit=1&limit=2", None, RowRange(0, 2)),
        ("/films?offset=-4", None, RowRange()),
        ("/films", "0-9", RowRange(0, 10)),
        ("/films", "5-", RowRange(5)),
        ("/films", "5-5", RowRange(5, 1)),
        ("/films?limit=3", "0-1", RowRange(0, 2)),
        ("/films?limit=3&offset=2", "0-3", RowRange(2, 2)),
        ("/films?limit=0", "0-9", RowRange(0, 0)),
        ("/films", "bytes=0-9", RowRange()),
        ("/films", "-5", RowRange()),
        ("/films", "0-1,4-5", RowRange()),
        ("/films", "a-b", RowRange()),
        ("/films", "0-99999999999999999999999", RowRange(0, 2**63 - 1)),
    ],
)
def test_rows_that_are_asked_for(target: str, header: str | None, expected: RowRange) -> None:
    assert ask("GET", target, {"range": header} if header else {}).top_range == expected


def test_range_header_is_for_get_only() -> None:
    assert ask("HEAD", "/films", {"range": "0-9"}).top_range == RowRange()
    assert ask("POST", "/rpc/f", {"range": "0-9"}, b"{}").top_range == RowRange()


@pytest.mark.parametrize(
    ("target", "header", "details"),
    [
        ("/films?limit=-1", None, "Limit should be greater than or equal to zero."),
        ("/films?limit=-1&offset=3", None, "Limit should be greater than or equal to zero."),
        ("/films?limit=0&offset=3", None, "Limit should be greater than or equal to zero."),
        ("/films?offset=9", "0-3", "Limit should be greater than or equal to zero."),
        ("/films", "9-3", LOWER_OVER_UPPER),
    ],
)
def test_ranges_that_hold_nothing_cannot_be_satisfied(target: str, header: str | None, details: str) -> None:
    error = refuse("PGRST103", "GET", target, {"range": header} if header else {})
    assert (error.status, error.message, error.details) == (416, "Requested range not satisfiable", details)


@pytest.mark.parametrize(
    "value", ["many", "1.5", "1e3", "", "0x10", "99999999999999999999999", "9223372036854775808"]
)
def test_limits_that_are_no_numbers_are_refused(value: str) -> None:
    assert refuse("PGRST100", "GET", f"/films?limit={value}").status == 400
    assert refuse("PGRST100", "GET", f"/films?actors.offset={value}").status == 400


def test_put_takes_no_range() -> None:
    assert refuse("PGRST114", "PUT", "/films?limit=1", body=b"{}").status == 400
    assert refuse("PGRST114", "PUT", "/films?offset=1", body=b"{}").status == 400


# The query string


def test_query_string_is_taken_apart() -> None:
    query = ask(
        target="/films?select=id,actors(name)&year=gt.1990&actors.name=eq.Ann&or=(a.eq.1,b.eq.2)"
        "&actors.not.and=(c.is.null)&order=year.desc&actors.order=name&actors.limit=3&actors.offset=1&on_conflict=id"
    ).query
    assert query.has_select
    assert query.where[0] == ((), Filter(FieldRef("year"), Compare("gt", "1990", slot=0)))
    assert query.where[1] == (("actors",), Filter(FieldRef("name"), Compare("eq", "Ann", slot=1)))
    assert isinstance(query.where[2][1], Logic)
    assert query.where[2][1].operator == "or"
    assert query.where[3][0] == ("actors",)
    assert query.where[3][1].negated
    assert dict(query.order) == {
        (): (OrderTerm(FieldRef("year"), "desc"),),
        ("actors",): (OrderTerm(FieldRef("name")),),
    }
    assert query.ranges == ((("actors",), RowRange(1, 3)),)
    assert query.on_conflict == ("id",)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a=eq.x+y", "x y"),
        ("a=eq.x%2By", "x+y"),
        ("a=eq.%E5%90%8D", "名"),
        ("a=eq.100%", "100%"),
        ("a=eq.%zz", "%zz"),
        ("a=eq.b=c", "b=c"),
        ("%61=eq.x", "x"),
    ],
)
def test_values_are_decoded(raw: str, expected: str) -> None:
    found = ask(target=f"/films?{raw}")
    assert found.query.where == (((), Filter(FieldRef("a"), Compare("eq", expected, slot=0))),)
    assert found.literals == (expected,)


@pytest.mark.parametrize("raw", ["a=eq.%ff", "%ff=eq.1", "a=eq.%00", "select=%c3%28"])
def test_values_that_are_no_text_are_refused(raw: str) -> None:
    assert refuse("PGRST100", target=f"/films?{raw}").status == 400


def test_first_and_last_mentions() -> None:
    query = ask(target="/films?select=a&select=b&order=a&order=b&columns=x&columns=y").query
    assert query.select == ask(target="/films?select=a").query.select
    assert query.order == (((), (OrderTerm(FieldRef("a")),)),)
    assert query.columns == ("x",)


def test_parameters_without_a_value_are_nothing() -> None:
    query = ask(target="/films?select&a&b=eq.1;c").query
    assert not query.has_select
    assert [tree.field.name for _, tree in query.where if isinstance(tree, Filter)] == ["b"]


def test_empty_select_selects_nothing() -> None:
    assert ask(target="/films?select=").query.select == ()


def test_api_key_in_the_query_string_is_no_filter() -> None:
    assert ask(target="/films?apikey=sb_publishable_x").query.where == ()
    assert len(ask(target="/films?apikey=eq.x").query.where) == 1


def test_arguments_of_a_call_are_told_from_filters() -> None:
    found = ask("GET", "/rpc/f?a=1&b=eq.2&c=x.y&c=z&d=not+a+filter&limit=2")
    query = found.query
    assert query.parameters == (("a", "1"), ("c", "x.y"), ("c", "z"), ("d", "not a filter"))
    assert query.where == (((), Filter(FieldRef("b"), Compare("eq", "2", slot=0))),)


def test_literals_are_those_of_filters_then_trees_then_arguments() -> None:
    found = ask("GET", "/rpc/f?or=(a.in.(1,2),b.not.eq.3)&x=4&c=fts.5&d=is.null&y=6")
    assert found.literals == ("5", ("1", "2"), "3", "4", "6")
    assert found.argument_slot == 3
    form = ask("POST", "/rpc/f?c=eq.1", {"content-type": FORM}, b"x=2&y=3")
    assert (form.literals, form.argument_slot) == (("1", "2", "3"), 1)


def test_a_call_by_post_has_filters_only() -> None:
    assert refuse("PGRST100", "POST", "/rpc/f?a=1", body=b"{}").details is not None


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        ("", ""),
        ("b=eq.1&a=eq.1", "a=eq.1&b=eq.1"),
        ("select=id,name&d", "d=&select=id%2Cname"),
        ("a=eq.1&a=eq.2", "a=eq.1,eq.2"),
        ("a=eq.x+y", "a=eq.x%20y"),
        ("a=eq.%E5%90%8D~-_.", "a=eq.%E5%90%8D~-_."),
    ],
)
def test_canonical_query_is_sorted(query: str, canonical: str) -> None:
    assert render_canonical(query.encode()) == canonical


@given(st.text(st.sampled_from("ab=&.,(*:~-%+2é;"), max_size=12))
def test_canonical_query_is_that_of_the_parsed_one(query: str) -> None:
    raw = query.encode()
    try:
        pairs = sorted(split_pairs(raw), key=lambda pair: pair[0].encode())
    except RestError:
        return
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(quote(name, safe=""), []).append(quote(value or "", safe=""))
    assert render_canonical(raw) == "&".join(f"{name}={','.join(found)}" for name, found in values.items())


def test_long_query_strings_are_refused() -> None:
    assert "longer than" in refuse("PGRST100", target=f"/films?a=eq.{'x' * 70_000}").message
    assert "more than" in refuse("PGRST100", target=f"/films?{'a=eq.1&' * 1001}").message


# Preferences, media types, settings


def test_preferences_and_media_types_are_read_from_the_headers() -> None:
    found = ask(headers={"prefer": "handling=strict, colour=red", "accept": "text/csv, */*"})
    assert (found.preferences.handling, found.preferences.invalid) == ("strict", ("colour=red",))
    assert [one.name for one in found.accept] == ["text/csv", "*/*"]
    assert [one.name for one in ask().accept] == ["*/*"]


def test_settings_hold_what_the_statement_may_read() -> None:
    headers = {"x-own": "größe".encode().decode("latin-1"), "cookie": "a=1; b=x=y; c"}
    settings = render_settings(make_request("GET", "/rpc/f%20g?a=1", headers))
    assert settings["request.method"] == b"GET"
    assert settings["request.path"] == b"/rpc/f%20g"
    assert json.loads(settings["request.headers"]) == {"x-own": "größe"}
    assert json.loads(settings["request.cookies"]) == {"a": "1", "b": "x=y", "c": ""}
    assert render_settings(make_request("GET", "/films"))["request.cookies"] == b"{}"


header_text = st.text(st.characters(max_codepoint=255), max_size=30)


@given(
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
    st.sampled_from(["/", "/films", "/rpc/f"]),
    st.dictionaries(
        st.sampled_from(
            ["accept", "content-type", "range", "prefer", "accept-profile", "content-profile", "cookie"]
        ),
        header_text | st.sampled_from(["text/csv", "application/x-www-form-urlencoded", "text/plain", "0-"]),
    ),
    st.binary(max_size=40) | st.sampled_from([b"{}", b"[]", b'[{"a":1}]', b"a,b\n1,2"]),
)
def test_any_request_is_understood_or_refused(
    method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    try:
        ask(method, path, headers, body)
    except RestError as error:
        status = error.status
    else:
        status = 400
    assert 400 <= status < 500
