"""What a caller may have meant, among what its role can see."""

import pytest

from basalt.rest.errors import (
    UnknownNameError,
    UnknownRelationshipError,
    UnknownRoutineError,
    UnknownTableError,
)
from basalt.rest.hints import closest, find_hint
from tests.rest.planning import CACHE

pytestmark = pytest.mark.req("P5")

EVERYTHING = frozenset(
    [table.oid for table in CACHE.tables.values()]
    + [routine.oid for overloads in CACHE.routines.values() for routine in overloads]
)


def all_but(name: str) -> frozenset[int]:
    """Everything but a table, or the overloads of a routine."""
    key = ("public", name)
    hidden = {one.oid for one in CACHE.routines.get(key, ())}
    if key in CACHE.tables:
        hidden.add(CACHE.tables[key].oid)
    return EVERYTHING - hidden


def hint(error: UnknownNameError, visible: frozenset[int] = EVERYTHING) -> str | None:
    return find_hint(error, CACHE, visible)


def routine(name: str, *given: str, body: str | None = None) -> UnknownRoutineError:
    return UnknownRoutineError(("public", name), given, body=body)


@pytest.mark.parametrize(
    ("wanted", "names", "found"),
    [
        ("film", ["films", "actors"], "films"),
        ("FILMS", ["films"], "films"),
        ("films", ["films2", "film"], "films2"),
        ("fils", ["films", "fill"], "films"),
        ("fxxms", ["films"], None),
        ("", ["a"], None),
        ("films", [], None),
    ],
)
def test_the_closest_name_is_at_least_three_quarters_right(
    wanted: str, names: list[str], found: str | None
) -> None:
    assert closest(wanted, names, 0.75) == found


# Tables


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("film", "Perhaps you meant the table 'public.films'"),
        ("Directors", "Perhaps you meant the table 'public.directors'"),
        ("xyz", None),
        ("note", None),  # it is in another schema
    ],
)
def test_a_table(name: str, expected: str | None) -> None:
    assert hint(UnknownTableError("public", name)) == expected


def test_a_table_that_the_role_cannot_see_is_not_named() -> None:
    assert hint(UnknownTableError("public", "film"), all_but("films")) is None
    assert hint(UnknownTableError("public", "film"), frozenset()) is None
    assert hint(UnknownTableError("backstage", "note")) == "Perhaps you meant the table 'backstage.notes'"


# Relationships


@pytest.mark.parametrize(
    ("parent", "child", "expected"),
    [
        ("films", "award", "Perhaps you meant 'awards' instead of 'award'."),
        ("films", "director", "Perhaps you meant 'directors' instead of 'director'."),
        ("films", "actors", None),  # the name is right, the hint was wrong
        ("films", "xyz", None),
        ("film", "awards", "Perhaps you meant 'films' instead of 'film'."),
        ("xyz", "awards", None),
        ("logs", "films", None),  # it is there, and has no relationships
    ],
)
def test_a_relationship(parent: str, child: str, expected: str | None) -> None:
    assert hint(UnknownRelationshipError(("public", parent), child, None)) == expected


def test_a_relationship_to_what_the_role_cannot_see_is_not_named() -> None:
    child = UnknownRelationshipError(("public", "films"), "award", None)
    assert hint(child, all_but("awards")) == "Perhaps you meant 'actors' instead of 'award'."
    assert hint(child, frozenset()) is None
    assert hint(UnknownRelationshipError(("public", "film"), "awards", None), all_but("films")) is None


# Routines


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (routine("greets"), "Perhaps you meant to call the function public.greet"),
        (routine("xyz"), None),
        (
            routine("greet", "firs", "last"),
            "Perhaps you meant to call the function public.greet(first, last)",
        ),
        (routine("greet", "nam"), "Perhaps you meant to call the function public.greet(name)"),
        (routine("greet", "zzzzzzzzzzzzzzzz"), None),
        (routine("add", "c", "a", body="json"), "Perhaps you meant to call the function public.add(a, b)"),
        (routine("greets", body="text"), None),
        (routine("take_text", body="xml"), None),
        (routine("greets", body="form"), "Perhaps you meant to call the function public.greet"),
    ],
)
def test_a_routine(error: UnknownRoutineError, expected: str | None) -> None:
    assert hint(error) == expected


def test_a_routine_that_the_role_cannot_call_is_not_named() -> None:
    assert hint(routine("greets"), all_but("greet")) is None
    assert hint(routine("greet", "nam"), all_but("greet")) is None


def test_of_overloads_those_that_the_role_can_call_are_named() -> None:
    visible = EVERYTHING - {CACHE.routines["public", "greet"][1].oid}
    assert (
        hint(routine("greet", "nam"), visible) != "Perhaps you meant to call the function public.greet(name)"
    )
