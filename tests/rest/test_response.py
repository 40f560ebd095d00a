"""From the outcome of a run to the HTTP answer."""

from dataclasses import replace
from typing import Any

import pytest

from basalt.http import Response
from basalt.postgres import Routine, Table
from basalt.rest.errors import RestError
from basalt.rest.query import (
    Action,
    ApiRequest,
    ParsedQuery,
    Preferences,
    RoutineTarget,
    TableTarget,
    Target,
)
from basalt.rest.response import (
    Outcome,
    render_allowed,
    render_options,
    render_response,
    render_timing,
    render_warning,
)

pytestmark = pytest.mark.req("P5")

METHODS: dict[str, str] = {
    "read": "GET", "insert": "POST", "upsert_one": "PUT", "update": "PATCH", "delete": "DELETE", "call": "POST",
}  # fmt: skip


def answer(
    action: Action,
    outcome: Outcome,
    preferences: Preferences | None = None,
    *,
    offset: int = 0,
    query_string: bytes = b"",
    is_singular: bool = False,
    **changes: Any,
) -> tuple[int, dict[str, str], bytes]:
    target: Target = RoutineTarget("add") if action == "call" else TableTarget("films")
    request = ApiRequest(
        METHODS[action], action, target, "public", ParsedQuery(), preferences or Preferences()
    )
    found = render_response(
        replace(request, **changes),
        outcome,
        offset=offset,
        query_string=query_string,
        is_singular=is_singular,
    )
    return found.status, read_headers(found), bytes(found.body)  # type: ignore[arg-type]


def read_headers(response: Response) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in response.headers}


FULL = Preferences(representation="full")
EXACT = Preferences(count="exact")
JSON = "application/json; charset=utf-8"


# Reads


def test_rows_are_passed_through() -> None:
    status, headers, body = answer("read", Outcome(b'[{"id":1}]', page_count=1))
    assert (status, body) == (200, b'[{"id":1}]')
    assert headers == {
        "content-range": "0-0/*",
        "content-location": "/films",
        "content-type": JSON,
        "vary": "Accept, Prefer, Range",
    }


@pytest.mark.parametrize(
    ("offset", "page", "total", "status", "content_range"),
    [
        (0, 0, None, 200, "*/*"),
        (0, 15, None, 200, "0-14/*"),
        (10, 5, None, 200, "10-14/*"),
        (0, 0, 0, 200, "*/0"),
        (0, 15, 15, 200, "0-14/15"),
        (0, 2, 15, 206, "0-1/15"),
        (10, 5, 15, 206, "10-14/15"),
        (15, 0, 15, 206, "*/15"),
    ],
)
def test_content_range_says_which_rows_of_how_many(
    offset: int, page: int, total: int | None, status: int, content_range: str
) -> None:
    found = answer("read", Outcome(b"[]", page_count=page, total_count=total), offset=offset)
    assert (found[0], found[1]["content-range"]) == (status, content_range)


@pytest.mark.parametrize("action", ["read", "call"])
def test_offset_past_the_end_cannot_be_satisfied(action: Action) -> None:
    with pytest.raises(RestError) as raised:
        answer(action, Outcome(b"[]", total_count=15), offset=100)
    error = raised.value
    assert (error.code, error.status) == ("PGRST103", 416)
    assert error.details == "An offset of 100 was requested, but there are only 15 rows."
    assert error.headers == (("Content-Range", "*/15"),)


@pytest.mark.parametrize(("rows", "fails"), [(0, True), (1, False), (2, True)])
def test_one_object_means_one_row(rows: int, fails: bool) -> None:
    outcome = Outcome(b"{}", "application/vnd.pgrst.object+json", page_count=rows)
    if not fails:
        assert answer("read", outcome, is_singular=True)[1]["content-type"] == (
            "application/vnd.pgrst.object+json; charset=utf-8"
        )
        return
    with pytest.raises(RestError, match="Cannot coerce the result to a single JSON object") as raised:
        answer("read", outcome, is_singular=True)
    assert raised.value.details == f"The result contains {rows} rows"


def test_head_has_headers_only() -> None:
    status, headers, body = answer(
        "read", Outcome(b"[1]", page_count=1), EXACT, method="HEAD", headers_only=True
    )
    assert (status, body) == (200, b"")
    assert headers["content-type"] == JSON


def test_content_location_has_the_sorted_query() -> None:
    headers = answer("read", Outcome(b"[]"), query_string=b"b=eq.1&a=eq.x+y")[1]
    assert headers["content-location"] == "/films?a=eq.x%20y&b=eq.1"


def test_profile_is_said_where_it_was_chosen() -> None:
    assert answer("read", Outcome(b"[]"), profile_sent=True)[1]["content-profile"] == "public"
    assert "content-profile" not in answer("delete", Outcome(), profile_sent=True)[1]


def test_plan_is_passed_through() -> None:
    media = 'application/vnd.pgrst.plan+text; for="application/json"'
    status, headers, body = answer("insert", Outcome(b"Aggregate", media))
    assert (status, body) == (200, b"Aggregate")
    assert headers == {"content-type": media + "; charset=utf-8", "vary": "Accept, Prefer, Range"}


# Calls


def test_result_of_a_routine_is_passed_through() -> None:
    status, headers, body = answer("call", Outcome(b"3", page_count=1))
    assert (status, body, headers["content-range"]) == (200, b"3", "0-0/*")
    assert "content-location" not in headers


def test_routine_that_returns_nothing_is_204() -> None:
    status, headers, body = answer("call", Outcome(b"", page_count=1, returns_void=True))
    assert (status, body) == (204, b"")
    assert "content-type" not in headers


# Writes


@pytest.mark.parametrize(
    ("action", "preferences", "outcome", "status", "content_range", "body"),
    [
        ("insert", Preferences(), Outcome(b"", page_count=2), 201, "*/*", b""),
        ("insert", FULL, Outcome(b"[1]", page_count=1), 201, "*/*", b"[1]"),
        ("insert", EXACT, Outcome(b"", page_count=2), 201, "*/2", b""),
        ("insert", Preferences(count="planned"), Outcome(b"", page_count=2), 201, "*/*", b""),
        ("update", Preferences(), Outcome(b"", page_count=2), 204, "0-1/*", b""),
        ("update", FULL, Outcome(b"[1]", page_count=1), 200, "0-0/*", b"[1]"),
        ("update", EXACT, Outcome(b"", page_count=0), 204, "*/0", b""),
        ("update", Preferences(), Outcome(b"", page_count=0), 204, "*/*", b""),
        ("delete", Preferences(), Outcome(b"", page_count=2), 204, "*/*", b""),
        ("delete", FULL, Outcome(b"[1]", page_count=1), 200, "*/*", b"[1]"),
        ("delete", EXACT, Outcome(b"", page_count=3), 204, "*/3", b""),
        ("upsert_one", Preferences(), Outcome(b"", page_count=1, inserted_count=1), 204, None, b""),
        ("upsert_one", FULL, Outcome(b"[1]", page_count=1, inserted_count=1), 201, None, b"[1]"),
        ("upsert_one", FULL, Outcome(b"[1]", page_count=1, inserted_count=0), 200, None, b"[1]"),
    ],
)
def test_writes_answer_by_what_they_did(
    action: Action,
    preferences: Preferences,
    outcome: Outcome,
    status: int,
    content_range: str | None,
    body: bytes,
) -> None:
    found, headers, content = answer(action, outcome, preferences)
    assert (found, headers.get("content-range"), content) == (status, content_range, body)
    assert ("content-type" in headers) is bool(body)


@pytest.mark.parametrize(
    ("resolution", "inserted", "rows", "status"),
    [
        ("merge-duplicates", 2, 2, 201),
        ("merge-duplicates", 0, 2, 200),
        ("merge-duplicates", None, 2, 201),
        ("merge-duplicates", None, 0, 200),
        ("ignore-duplicates", None, 0, 201),
        (None, None, 2, 201),
    ],
)
def test_upsert_that_inserted_nothing_is_200(
    resolution: Any, inserted: int | None, rows: int, status: int
) -> None:
    outcome = Outcome(page_count=rows, inserted_count=inserted, has_conflict_target=True)
    assert answer("insert", outcome, Preferences(resolution=resolution))[0] == status


def test_location_leads_to_the_inserted_row() -> None:
    outcome = Outcome(page_count=1, location=(("id", "5"), ("a b", "x&y=é"), ("c", None)))
    headers = answer("insert", outcome, Preferences(representation="headers-only"))[1]
    assert headers["location"] == "/films?id=eq.5&a%20b=eq.x%26y%3D%C3%A9&c=is.null"
    assert headers["preference-applied"] == "return=headers-only"


# What the statement sets


def test_routine_sets_status_and_headers() -> None:
    outcome = Outcome(
        b"1",
        page_count=1,
        response_status=b"418",
        response_headers=b'[{"Set-Cookie":"a=1"},{"Set-Cookie":"b=2"},{"Content-Type":"text/plain"}]',
    )
    request = ApiRequest("GET", "call", RoutineTarget("f"), "public", ParsedQuery(), Preferences())
    found = render_response(request, outcome, offset=0, query_string=b"", is_singular=False)
    assert found.status == 418
    assert [value for name, value in found.headers if name == b"set-cookie"] == [b"a=1", b"b=2"]
    assert [value for name, value in found.headers if name == b"content-type"] == [b"text/plain"]


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense",
        b'{"a":"b"}',
        b'[{"a":1}]',
        b'[{"a":"b","c":"d"}]',
        b"[{}]",
        b'["a"]',
        b'[{"a b":"c"}]',
        b'[{"a":"b\\r\\nc: d"}]',
    ],
)
def test_headers_that_are_none_are_pgrst111(raw: bytes) -> None:
    with pytest.raises(RestError, match="must be a JSON array") as raised:
        answer("call", Outcome(b"1", page_count=1, response_headers=raw))
    assert (raised.value.code, raised.value.status) == ("PGRST111", 500)


@pytest.mark.parametrize("raw", [b"-1", b"abc", b"99", b"600", b"99999"])
def test_status_that_is_none_is_pgrst112(raw: bytes) -> None:
    with pytest.raises(RestError) as raised:
        answer("call", Outcome(b"1", page_count=1, response_status=raw))
    assert (raised.value.code, raised.value.status) == ("PGRST112", 500)


def test_empty_settings_change_nothing() -> None:
    assert answer("call", Outcome(b"1", page_count=1, response_status=b"", response_headers=b""))[0] == 200


def test_status_without_content_sends_none() -> None:
    assert answer("call", Outcome(b"1", page_count=1, response_status=b"204"))[2] == b""


def test_options_names_what_is_allowed() -> None:
    found = render_options("OPTIONS,GET,HEAD")
    assert (found.status, found.body) == (200, b"")
    assert read_headers(found) == {"allow": "OPTIONS,GET,HEAD", "access-control-allow-origin": "*"}


@pytest.mark.parametrize(
    ("can", "key", "allowed"),
    [
        ("insert update delete", ("id",), "OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE"),
        ("insert update delete", (), "OPTIONS,GET,HEAD,POST,PATCH,DELETE"),
        ("insert", ("id",), "OPTIONS,GET,HEAD,POST"),
        ("update delete", ("id",), "OPTIONS,GET,HEAD,PATCH,DELETE"),
        ("", (), "OPTIONS,GET,HEAD"),
    ],
)
def test_a_view_allows_what_it_can_do(can: str, key: tuple[str, ...], allowed: str) -> None:
    view = Table(1, ("public", "v"), {}, key, True, "insert" in can, "update" in can, "delete" in can)
    assert render_allowed(view) == allowed


@pytest.mark.parametrize(
    ("volatility", "allowed"),
    [
        ("volatile", "OPTIONS,POST"),
        ("stable", "OPTIONS,GET,HEAD,POST"),
        ("immutable", "OPTIONS,GET,HEAD,POST"),
    ],
)
def test_a_routine_that_may_write_allows_no_reading_methods(volatility: Any, allowed: str) -> None:
    routine = Routine(1, ("public", "f"), (), volatility, False, "scalar", ("pg_catalog", "int4"))
    assert render_allowed(routine) == allowed
    assert render_allowed(None) == "OPTIONS,GET,HEAD"


def test_timing_lists_the_steps_in_their_order() -> None:
    took = {"transaction": 0.0123, "jwt": 0.0, "response": 0.00004, "plan": 0.001}
    assert render_timing(took) == (
        b"server-timing",
        b"jwt;dur=0.0, plan;dur=1.0, transaction;dur=12.3, response;dur=0.0",
    )


def test_the_old_way_to_name_an_embed_is_warned_of() -> None:
    name, text = render_warning([("films", "movies"), ("actors", "cast")])
    assert name == b"warning"
    assert text.startswith(b'299 Basalt "')
    assert b"Update `films` to `movies`, `actors` to `cast` in query string" in text
