"""Which routine a call means, and where its arguments come from."""

from typing import Any

import pytest

from basalt.rest.errors import RestError, UnknownRoutineError
from basalt.rest.plan.call import CallPlan
from tests.rest.planning import prepared

pytestmark = pytest.mark.req("P5")

FORM = {"content-type": "application/x-www-form-urlencoded"}
TEXT = {"content-type": "text/plain"}
XML = {"content-type": "text/xml"}
BYTES = {"content-type": "application/octet-stream"}
CSV = {"content-type": "text/csv"}


def plan(
    method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> CallPlan:
    found = prepared(method, target, headers, body).plan
    assert isinstance(found, CallPlan)
    return found


def refuse(*args: Any, **kwargs: Any) -> RestError:
    with pytest.raises(RestError) as raised:
        plan(*args, **kwargs)
    return raised.value


def parameters(found: CallPlan) -> tuple[str, ...]:
    return tuple(one.name for one in found.routine.parameters)


# Overloads


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (("GET", "/rpc/greet"), ()),
        (("GET", "/rpc/greet?name=a"), ("name",)),
        (("GET", "/rpc/greet?first=a"), ("first", "last")),
        (("GET", "/rpc/greet?last=b&first=a"), ("first", "last")),
        (("POST", "/rpc/greet", b""), ()),
        (("POST", "/rpc/greet", b"{}"), ()),
        (("POST", "/rpc/greet", b'{"name":null}'), ("name",)),
        (("POST", "/rpc/greet", b'[{"first":1},{"first":2}]'), ("first", "last")),
        (("POST", "/rpc/greet?columns=name", b'{"other":1}'), ("name",)),
        (("POST", "/rpc/greet", b"first=a&last=b", FORM), ("first", "last")),
        (("POST", "/rpc/greet", b"name\na", CSV), ("name",)),
        (("GET", "/rpc/add?a=1"), ("a", "b")),
        (("GET", "/rpc/total"), ("numbers",)),
    ],
)
def test_the_overload_whose_parameters_are_given_is_called(asked: Any, chosen: tuple[str, ...]) -> None:
    assert parameters(plan(*asked)) == chosen


@pytest.mark.parametrize(
    ("asked", "shown", "searched"),
    [
        (("GET", "/rpc/nowhere"), " without parameters", " without parameters"),
        (("GET", "/rpc/add"), " without parameters", " without parameters"),
        (("GET", "/rpc/add?b=1"), "(b)", " with parameter b"),
        (("GET", "/rpc/add?c=1&a=1"), "(a, c)", " with parameters a, c"),
        (("GET", "/rpc/take_json?a=1"), "(a)", " with parameter a"),
        (
            ("POST", "/rpc/add", b"{}"),
            " without parameters",
            " without parameters or with a single unnamed json/jsonb parameter",
        ),
        (
            ("POST", "/rpc/add", b'{"c":1}'),
            "(c)",
            " with parameter c or with a single unnamed json/jsonb parameter",
        ),
        (("POST", "/rpc/add", b"c=1", FORM), "(c)", " with parameter c"),
        (("POST", "/rpc/add", b"a", TEXT), "", " with a single unnamed text parameter"),
        (("POST", "/rpc/add", b"<a/>", XML), "", " with a single unnamed xml parameter"),
        (("POST", "/rpc/add", b"\0", BYTES), "", " with a single unnamed bytea parameter"),
        (("POST", "/rpc/greet", b"a", TEXT), "", " with a single unnamed text parameter"),
    ],
)
def test_a_call_that_nothing_fits_says_what_was_looked_for(asked: Any, shown: str, searched: str) -> None:
    error = refuse(*asked)
    assert isinstance(error, UnknownRoutineError)
    assert (error.code, error.status) == ("PGRST202", 404)
    name = f"public.{asked[1].removeprefix('/rpc/').partition('?')[0]}"
    assert error.message == f"Could not find the function {name}{shown} in the schema cache"
    assert error.details == (
        f"Searched for the function {name}{searched}, but no matches were found in the schema cache."
    )


def test_a_call_that_several_fit_names_them() -> None:
    error = refuse("GET", "/rpc/same?a=1")
    assert (error.code, error.status) == ("PGRST203", 300)
    assert error.message == (
        "Could not choose the best candidate function between: public.same(a => integer), public.same(a => text)"
    )
    assert error.hint is not None
    assert error.hint.startswith("Try renaming the parameters")


# Bodies that are one argument


@pytest.mark.parametrize(
    ("name", "body", "headers"),
    [
        ("take_json", b'{"a":1}', {}),
        ("take_json", b"[1,2]", {}),
        ("take_json", b"7", {}),
        ("take_json", b'[{"a":1},{"b":2}]', {}),
        ("take_text", b"a", TEXT),
        ("take_xml", b"<a/>", XML),
        ("take_bytes", b"\0\xff", BYTES),
        ("take_any", b'{"b":1}', {}),
    ],
)
def test_a_single_parameter_without_a_name_takes_the_body(
    name: str, body: bytes, headers: dict[str, str]
) -> None:
    found = plan("POST", f"/rpc/{name}", body, headers)
    assert (found.source, parameters(found)) == ("body", ("",))
    assert found.arguments == found.routine.parameters


def test_named_parameters_go_before_the_whole_body() -> None:
    found = plan("POST", "/rpc/take_any", b'{"a":1}')
    assert (found.source, parameters(found)) == ("json", ("a",))


@pytest.mark.parametrize(
    ("name", "body", "headers"),
    [
        ("take_json", b"a", TEXT),
        ("take_text", b'"a"', {}),
        ("take_bytes", b"a", TEXT),
        ("take_json", b"a=1", FORM),
        ("take_json", b"a\n1", CSV),
    ],
)
def test_the_kind_of_the_body_must_be_that_of_the_parameter(
    name: str, body: bytes, headers: dict[str, str]
) -> None:
    assert refuse("POST", f"/rpc/{name}", body, headers).code == "PGRST202"


# Arguments


@pytest.mark.parametrize(
    ("asked", "source", "given"),
    [
        (("GET", "/rpc/add?b=1&a=2"), "query", ("a", "b")),
        (("HEAD", "/rpc/add?a=2"), "query", ("a",)),
        (("POST", "/rpc/add", b'{"b":1,"a":2}'), "json", ("a", "b")),
        (("POST", "/rpc/add", b"a=1", FORM), "form", ("a",)),
    ],
)
def test_arguments_stand_in_the_order_of_the_signature(
    asked: Any, source: str, given: tuple[str, ...]
) -> None:
    found = plan(*asked)
    assert (found.source, tuple(one.name for one in found.arguments)) == (source, given)


@pytest.mark.parametrize(
    ("target", "slots"),
    [
        ("/rpc/add?a=1&b=2", ((0,), (1,))),
        ("/rpc/add?b=1&a=2", ((1,), (0,))),
        ("/rpc/add?a=1&a=2&b=3", ((1,), (2,))),
        ("/rpc/add?a=1&id=eq.5&or=(x.eq.1)", ((2,),)),
        ("/rpc/total?numbers=1&numbers=2", ((0, 1),)),
        ("/rpc/total?numbers=1&x=eq.3", ((1,),)),
        ("/rpc/total", ()),
    ],
)
def test_arguments_know_their_literals(target: str, slots: tuple[tuple[int, ...], ...]) -> None:
    assert plan("GET", target).argument_slots == slots


@pytest.mark.parametrize(
    ("asked", "is_read_only"),
    [
        (("GET", "/rpc/add?a=1"), True),
        (("POST", "/rpc/add", b'{"a":1}'), True),
        (("GET", "/rpc/nothing"), True),
        (("POST", "/rpc/nothing", b""), False),
    ],
)
def test_only_a_post_to_a_volatile_routine_may_write(asked: Any, is_read_only: bool) -> None:
    assert plan(*asked).is_read_only is is_read_only


# Rows


@pytest.mark.parametrize(
    ("target", "columns"),
    [
        ("/rpc/films_of?year=1", ("*",)),
        ("/rpc/films_of?year=1&select=title", ("title",)),
        ("/rpc/films_of?year=1&select=title&id=eq.1", ("id", "title")),
        ("/rpc/films_of?year=1&select=title&or=(id.eq.1,full_title.eq.x)", ("full_title", "id", "title")),
        ("/rpc/films_of?year=1&select=title,awards(id)&awards=is.null&order=price", ("id", "price", "title")),
        ("/rpc/films_of?year=1&select=best_awards(id)", ("*",)),
        ("/rpc/films_of?year=1&select=", ()),
    ],
)
def test_of_a_routines_rows_only_what_is_needed_is_taken(target: str, columns: tuple[str, ...]) -> None:
    assert plan("GET", target).columns == columns


def test_a_routine_that_returns_rows_of_a_table_embeds_as_the_table_does() -> None:
    found = plan("GET", "/rpc/one_film?id=1&select=title,awards(id)")
    assert (found.read.table, found.read.from_result) == (("public", "films"), True)
    assert [one.lateral for one in found.read.embeds] == ["films_awards_1"]
    assert plan("GET", "/rpc/numbers").read.table == ("public", "numbers")


# Preferences and settings


@pytest.mark.parametrize(
    ("target", "prefer", "is_refused"),
    [
        ("/rpc/add?a=1", "handling=strict, max-affected=1", True),
        ("/rpc/one_film?id=1", "handling=strict, max-affected=1", True),
        ("/rpc/add?a=1", "max-affected=1", False),
        ("/rpc/films_of?year=1", "handling=strict, max-affected=1", False),
    ],
)
def test_what_is_no_set_cannot_have_too_many_rows(target: str, prefer: str, is_refused: bool) -> None:
    if not is_refused:
        assert plan("GET", target, headers={"prefer": prefer})
        return
    error = refuse("GET", target, headers={"prefer": prefer})
    assert (error.code, error.status) == ("PGRST128", 400)


def test_a_transaction_takes_over_settings_of_routine_and_request() -> None:
    found = prepared("POST", "/rpc/hoisting", {"prefer": "timezone=Asia/Tokyo"}, b"")
    assert found.isolation == "serializable"
    assert found.hoisted == (("timezone", "Asia/Tokyo"), ("statement_timeout", "10s"))
    assert prepared("GET", "/films").hoisted == ()
