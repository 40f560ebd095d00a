"""What a write does to which rows, which columns it reads and returns, and which PUT is one."""

from dataclasses import replace
from typing import Any

import pytest

from basalt.rest.errors import RestError
from basalt.rest.plan.read import PlannedFilter
from basalt.rest.plan.write import PayloadColumn, WritePlan
from tests.rest.planning import SETTINGS, prepared

pytestmark = pytest.mark.req("P5")

FULL = {"prefer": "return=representation"}


def plan(
    method: str, target: str, body: bytes | None = b"{}", headers: dict[str, str] | None = None
) -> WritePlan:
    found = prepared(method, target, headers, body).plan
    assert isinstance(found, WritePlan)
    return found


def refuse(*args: Any, **kwargs: Any) -> RestError:
    with pytest.raises(RestError) as raised:
        plan(*args, **kwargs)
    return raised.value


# The body's columns


def test_the_keys_of_the_body_are_columns_in_their_order() -> None:
    found = plan("POST", "/films", b'[{"year":1,"title":"a"},{"title":"b","year":2}]').columns
    assert found == (
        PayloadColumn("title", "text", None, None),
        PayloadColumn("year", "integer", "2000", None),
    )


def test_a_column_with_a_representation_is_read_as_json() -> None:
    assert plan("POST", "/rooms", b'{"colour":"red"}').columns == (
        PayloadColumn("colour", "json", None, "public.colour_from_json"),
    )


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_key_that_is_no_column_is_refused(method: str) -> None:
    error = refuse(method, "/films", b'{"titel":"a"}')
    assert (error.code, error.status) == ("PGRST204", 400)
    assert error.message == "Could not find the 'titel' column of 'films' in the schema cache"
    assert refuse(method, "/films?columns=titel").code == "PGRST204"


def test_columns_says_which_keys_count() -> None:
    found = plan("POST", "/films?columns=title,year", b'[{"title":"a"},{"nonsense":1}]')
    assert [one.name for one in found.columns] == ["title", "year"]


def test_a_delete_reads_no_body() -> None:
    found = plan("DELETE", "/films?id=eq.1", b'{"titel":1}')
    assert (found.columns, len(found.where)) == ((), 1)


@pytest.mark.parametrize(
    ("method", "prefer", "applies"),
    [
        ("POST", "missing=default", True),
        ("PATCH", "missing=default", True),
        ("POST", "missing=null", False),
        ("POST", "return=minimal", False),
    ],
)
def test_defaults_stand_in_for_missing_keys_on_demand(method: str, prefer: str, applies: bool) -> None:
    assert plan(method, "/films", b"{}", {"prefer": prefer}).applies_defaults is applies


# The rows


def test_an_insert_has_no_conditions_and_others_have_those_of_the_root() -> None:
    target = "/films?select=awards(id)&id=eq.1&or=(year.eq.1,year.eq.2)&awards.id=eq.3"
    assert plan("POST", target, headers=FULL).where == ()
    for method in ("PATCH", "DELETE"):
        assert len(plan(method, target, headers=FULL).where) == 2


def test_a_condition_on_an_embeds_name_is_one_on_a_column() -> None:
    """What is embedded is only known of the rows that were changed."""
    [found] = plan("PATCH", "/films?select=awards(id)&awards=is.null", headers=FULL).where
    assert isinstance(found, PlannedFilter)


# Duplicates


@pytest.mark.parametrize(
    ("target", "prefer", "resolution", "conflict"),
    [
        ("/films", "", None, ("id",)),
        ("/films", "resolution=merge-duplicates", "merge", ("id",)),
        ("/films", "resolution=ignore-duplicates", "ignore", ("id",)),
        ("/films?on_conflict=title", "resolution=merge-duplicates", "merge", ("title",)),
        ("/films?on_conflict=title,year", "resolution=ignore-duplicates", "ignore", ("title", "year")),
        ("/roles", "resolution=merge-duplicates", "merge", ("actor_id", "film_id")),
        ("/logs", "resolution=merge-duplicates", "merge", ()),
    ],
)
def test_duplicates_are_told_by_the_primary_key_or_the_named_columns(
    target: str, prefer: str, resolution: str | None, conflict: tuple[str, ...]
) -> None:
    found = plan("POST", target, b"[]", {"prefer": prefer} if prefer else {})
    assert (found.resolution, found.conflict) == (resolution, conflict)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_only_inserts_have_duplicates(method: str) -> None:
    found = plan(method, "/films?id=eq.1", headers={"prefer": "resolution=merge-duplicates"})
    assert found.resolution is None


# PUT


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/films?id=eq.1", b'{"id":1,"title":"a"}'),
        ("/roles?film_id=eq.1&actor_id=eq.2", b'{"film_id":1,"actor_id":2}'),
        ("/roles?actor_id=eq.2&film_id=eq.1", b'[{"film_id":1,"actor_id":2}]'),
    ],
)
def test_put_names_its_row_by_the_whole_primary_key(target: str, body: bytes) -> None:
    found = plan("PUT", target, body)
    assert (found.action, found.resolution) == ("upsert_one", "merge")
    assert set(found.conflict) == {one.field.name for one in found.where if isinstance(one, PlannedFilter)}


@pytest.mark.parametrize(
    "target",
    [
        "/films",
        "/films?title=eq.a",
        "/films?id=gt.1",
        "/films?id=not.eq.1",
        "/films?id=in.(1)",
        "/films?id=eq(any).{1}",
        "/films?id=eq.1&title=eq.a",
        "/films?id->a=eq.1",
        "/films?and=(id.eq.1)",
        "/films?id=eq.1&or=(title.eq.a)",
        "/roles?film_id=eq.1",
        "/logs",
        "/logs?line=eq.a",
    ],
)
def test_put_by_anything_else_is_refused(target: str) -> None:
    error = refuse("PUT", target)
    assert (error.code, error.status) == ("PGRST105", 405)
    assert error.message == "Filters must include all and only primary key columns with 'eq' operators"


def test_put_reads_its_whole_body_and_ignores_on_conflict() -> None:
    found = plan("PUT", "/films?id=eq.1&columns=title&on_conflict=title", b'{"id":1,"title":"a","year":2}')
    assert [one.name for one in found.columns] == ["id", "title", "year"]
    assert found.conflict == ("id",)


# What is returned


@pytest.mark.parametrize(
    ("method", "target", "prefer", "returning"),
    [
        ("POST", "/films", "", ()),
        ("POST", "/films", "return=minimal", ()),
        ("POST", "/films", "return=headers-only", ("id",)),
        ("POST", "/roles", "return=headers-only", ("actor_id", "film_id")),
        ("POST", "/logs", "return=headers-only", ()),
        ("PATCH", "/films", "return=headers-only", ()),
        ("DELETE", "/films", "return=minimal", ()),
        ("POST", "/films", "return=representation", ("*",)),
        ("POST", "/films?select=title", "return=representation", ("id", "title")),
        ("PATCH", "/films?select=title", "return=representation", ("title",)),
        ("DELETE", "/films?select=title,*", "return=representation", ("*",)),
        ("PATCH", "/films?select=title&order=year,data->a", "return=representation", ("data", "title", "year")),
        ("PATCH", "/films?select=name:title::text", "return=representation", ("title",)),
        # what embeds are joined by
        ("PATCH", "/films?select=title,awards(name)", "return=representation", ("id", "title")),
        ("PATCH", "/films?select=directors!writer_id(name)", "return=representation", ("writer_id",)),
        ("PATCH", "/films?select=title,actors(name)", "return=representation", ("id", "title")),
        ("PATCH", "/films?select=title,best_awards(name)", "return=representation", ("*",)),
        ("PUT", "/films?id=eq.1&select=title", "return=representation", ("title",)),
    ],
)  # fmt: skip
def test_no_more_is_returned_than_the_answer_needs(
    method: str, target: str, prefer: str, returning: tuple[str, ...]
) -> None:
    found = plan(method, target, b"{}", {"prefer": prefer} if prefer else {})
    assert found.returning == returning


# Preferences


def test_strict_handling_refuses_preferences_that_nobody_knows() -> None:
    error = refuse("POST", "/films", headers={"prefer": "handling=strict, colour=red, wait=5"})
    assert (error.code, error.status) == ("PGRST122", 400)
    assert error.message == "Invalid preferences given with handling=strict"
    assert error.details == "Invalid preferences: colour=red, wait=5"
    assert plan("POST", "/films", headers={"prefer": "handling=lenient, colour=red"})


@pytest.mark.parametrize(
    ("method", "prefer", "tx_end", "rolls_back"),
    [
        ("POST", "", "commit", False),
        ("POST", "tx=rollback", "commit-allow-override", True),
        ("POST", "", "rollback", True),
        ("POST", "tx=commit", "rollback-allow-override", False),
        ("GET", "", "rollback", False),  # there is nothing to undo
    ],
)
def test_a_transaction_ends_as_settings_and_request_say(
    method: str, prefer: str, tx_end: Any, rolls_back: bool
) -> None:
    settings = replace(SETTINGS, db_tx_end=tx_end)
    found = prepared(method, "/films", {"prefer": prefer} if prefer else {}, b"{}", settings=settings)
    assert found.rolls_back is rolls_back
