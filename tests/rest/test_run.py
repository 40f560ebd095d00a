"""From a plan to what is sent, and from what PostgreSQL refuses to what is answered."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from basalt.access import Caller
from basalt.postgres import Query, Result, RoleSettings
from basalt.rest.run import build_queries, prepare, read_outcome, translate
from basalt.rest.shape import values_of
from tests.rest.planning import CACHE, SETTINGS, ask, make_request, prepared

pytestmark = pytest.mark.req("P5")

ANONYMOUS = Caller("anon", {"role": "anon"}, '{"role":"anon"}')


@dataclass
class Refused:
    message: str
    sqlstate: str = "22P02"
    detail: str | None = None
    hint: str | None = None


def sent(target: str, *, method: str = "GET", caller: Caller = ANONYMOUS, **changes: Any) -> list[Query]:
    settings = replace(SETTINGS, **changes.pop("settings", {}))
    cache = replace(CACHE, **changes.pop("cache", {}))
    headers = changes.pop("headers", None)
    found = prepared(method, target, headers, b"{}", settings=settings, cache=cache)
    request = make_request(method, target, headers)
    values = values_of(found.api)
    return build_queries(
        found, values, caller, request, cache=cache, settings=settings, read_only=found.is_read_only
    )


# What is sent


def test_a_request_is_a_prelude_and_a_statement() -> None:
    [prelude, statement] = sent("/films?id=eq.1")
    assert prelude.params[:3] == (b'"public"', b"anon", b'{"role":"anon"}')
    assert prelude.params[3:8] == (b"GET", b"/films", b"{}", b"{}", b"on")
    assert statement.params == (b"1",)
    assert (prelude.scope, statement.scope) == ("", "anon")
    assert prelude.prepare
    assert statement.prepare


def test_the_prelude_of_a_write_allows_it() -> None:
    assert sent("/films", method="POST")[0].params[7] == b"off"
    assert sent("/rpc/nothing", method="POST")[0].params[7] == b"off"
    assert sent("/rpc/greet", method="POST")[0].params[7] == b"on"


def test_the_search_path_is_the_schema_and_those_of_the_settings() -> None:
    found = sent("/films", settings={"db_extra_search_path": ("extensions", 'o"dd')})
    assert found[0].params[0] == b'"public", "extensions", "o""dd"'
    [prelude, _] = sent("/notes", headers={"accept-profile": "backstage"})
    assert prelude.params[0] == b'"backstage"'


def test_a_role_brings_its_settings_before_it_is_taken_on() -> None:
    """Whether they may be set is asked of the login role."""
    cache = {"role_settings": {"anon": RoleSettings((("statement_timeout", "3s"),))}}
    prelude = sent("/films", cache=cache)[0]
    assert prelude.sql.index("set_config($9, $10, true)") < prelude.sql.index("set_config('role', $2, true)")
    assert prelude.params[8:] == (b"statement_timeout", b"3s")


def test_routine_request_and_project_bring_theirs_after_it() -> None:
    headers = {"prefer": "timezone=Asia/Tokyo"}
    prelude = sent(
        "/rpc/hoisting", method="POST", headers=headers, settings={"app_settings": {"tenant": "7"}}
    )[0]
    assert prelude.sql.index("set_config('role', $2, true)") < prelude.sql.index("set_config($9, $10, true)")
    assert prelude.params[8:] == (
        b"timezone", b"Asia/Tokyo", b"statement_timeout", b"10s", b"app.settings.tenant", b"7",
    )  # fmt: skip


def test_a_function_before_each_request_is_called_in_its_transaction() -> None:
    [_, call, statement] = sent("/films", settings={"db_pre_request": "private.check"})
    assert (call.sql, call.scope) == ('select "private"."check"()', "anon")
    assert "pgrst_source" in statement.sql
    assert sent("/films", settings={"db_pre_request": "check"})[1].sql == 'select "check"()'


def test_a_guess_of_the_count_goes_with_the_statement() -> None:
    [_, _, count] = sent("/films?id=gt.1", headers={"prefer": "count=planned"})
    assert count.sql.startswith("explain (format json) select 1")
    assert count.params == (b"1",)


def test_nothing_is_prepared_behind_a_pooler_that_cannot() -> None:
    assert not any(query.prepare for query in sent("/films", settings={"db_prepared_statements": False}))


# What comes back


def row(*values: bytes | None) -> Result:
    return Result([values], "SELECT 1")


def test_counts_are_taken_from_the_row() -> None:
    found = prepared("GET", "/films", {"prefer": "count=exact"})
    outcome = read_outcome([row(None), row(b"15", b"2", b"[1,2]", None, None)], found, SETTINGS)
    assert (outcome.total_count, outcome.page_count, outcome.body) == (15, 2, b"[1,2]")
    assert (outcome.media_type, outcome.response_status) == ("application/json", None)


@pytest.mark.parametrize(
    ("count", "counted", "planned", "max_rows", "total"),
    [
        ("planned", None, 500, 10, 500),
        ("estimated", 8, 500, 10, 8),  # counted to the end
        ("estimated", 11, 500, 10, 500),  # the counting was broken off
        ("estimated", 11, 5, 10, 11),
        ("estimated", 700, 500, None, 700),
    ],
)
def test_an_estimate_is_exact_as_far_as_was_counted(
    count: str, counted: int | None, planned: int, max_rows: int | None, total: int
) -> None:
    settings = replace(SETTINGS, db_max_rows=max_rows)
    found = prepared("GET", "/films", {"prefer": f"count={count}"}, settings=settings)
    plan = b'[{"Plan":{"Plan Rows":%d}}]' % planned
    counts = row(None if counted is None else b"%d" % counted, b"2", b"[]", None, None)
    assert read_outcome([row(None), counts, row(plan)], found, settings).total_count == total


def test_a_write_tells_more() -> None:
    found = prepared(
        "POST", "/films", {"prefer": "return=headers-only, resolution=merge-duplicates"}, b'{"id":1}'
    )
    result = row(None, b"1", b'{"id":"7","b":null}', b"", b"201", b"[]", b"1", None)
    outcome = read_outcome([row(None), result], found, SETTINGS)
    assert outcome.location == (("id", "7"), ("b", None))
    assert (outcome.inserted_count, outcome.has_conflict_target) == (1, True)
    assert (outcome.response_status, outcome.response_headers) == (b"201", b"[]")


def test_bytes_come_as_hexadecimals() -> None:
    found = prepared("GET", "/films", {"accept": "application/x-films"})
    outcome = read_outcome([row(None), row(None, b"1", b"\\x00ff", None, None)], found, SETTINGS)
    assert (outcome.body, outcome.media_type) == (b"\0\xff", "application/x-films")


def test_a_plan_is_all_of_its_lines() -> None:
    settings = replace(SETTINGS, db_plan_enabled=True)
    found = prepare(ask("GET", "/films", {"accept": "application/vnd.pgrst.plan"}), CACHE, settings)
    outcome = read_outcome(
        [row(None), Result([(b"Aggregate",), (b"  ->  Scan",)], "EXPLAIN")], found, settings
    )
    assert outcome.body == b"Aggregate\n  ->  Scan\n"


# What is refused


@pytest.mark.parametrize(
    ("message", "code", "details"),
    [
        (
            'invalid input syntax for type integer: "basalt rows not one: 2"',
            "PGRST116",
            "The result contains 2 rows",
        ),
        (
            'invalid input syntax for type integer: "basalt too many rows: 9"',
            "PGRST124",
            "The query affects 9 rows",
        ),
        ('invalid input syntax for type integer: "basalt row not the one of the URL: 0"', "PGRST115", None),
        (
            "ungültige Eingabesyntax für Typ integer: »basalt rows not one: 0«",
            "PGRST116",
            "The result contains 0 rows",
        ),
        ('invalid input syntax for type integer: "seven"', "22P02", None),
    ],
)
def test_a_broken_promise_is_told_from_other_errors(message: str, code: str, details: str | None) -> None:
    found = translate(Refused(message), ANONYMOUS, SETTINGS)
    assert (found.code, found.details) == (code, details)


def test_a_missing_privilege_is_a_question_of_who_asks() -> None:
    error = Refused("permission denied", sqlstate="42501")
    assert translate(error, ANONYMOUS, SETTINGS).status == 401
    assert translate(error, replace(ANONYMOUS, role="clerk"), SETTINGS).status == 403
