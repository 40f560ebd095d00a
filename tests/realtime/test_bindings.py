"""The entries of `postgres_changes` in a join."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.realtime.changes.filters.bindings import describe_binding, not_published, parse_bindings, refuse

pytestmark = pytest.mark.req("P7")

NO_PARAMS = "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: "
TODOS = {"schema": "public", "table": "todos"}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)


def one(params: dict[str, Any]) -> Any:
    (binding,) = parse_bindings([params])
    return binding


def test_an_entry_is_echoed_as_it_came() -> None:
    params = {"filter": "id=eq.1", "event": "insert", "table": "todos", "extra": [1]}
    binding = one(params)
    assert binding.params is params
    assert list(binding.params) == ["filter", "event", "table", "extra"]
    assert (binding.event, binding.schema, binding.table) == ("INSERT", "public", "todos")


@pytest.mark.parametrize("asked", [None, {}, "todos", 1, [], [None, None], ["todos", 3, []]])
def test_what_is_no_list_of_objects_asks_for_nothing(asked: object) -> None:
    assert parse_bindings(asked) == ()


@pytest.mark.parametrize(
    ("event", "meant"),
    [("update", "UPDATE"), ("Delete", "DELETE"), ("*", "*"), ("TRUNCATE", "*"), (None, "*"), (3, "*")],
)
def test_an_event_that_is_none_of_the_three_means_all(event: object, meant: str) -> None:
    assert one(TODOS | {"event": event}).event == meant


def test_a_schema_alone_means_all_its_tables_and_a_table_alone_is_public() -> None:
    assert (one({"schema": "app"}).schema, one({"schema": "app"}).table) == ("app", "*")
    assert (one({"table": "todos"}).schema, one({"table": "todos"}).table) == ("public", "todos")
    assert one(TODOS | {"filter": None}).problem is None


def test_the_same_parameters_have_the_same_id_whatever_their_order() -> None:
    params = TODOS | {"event": "*", "filter": "id=eq.1", "select": ["id"]}
    backwards = dict(reversed(params.items()))
    assert one(params).id == one(backwards).id == one(params | {"replay": {"since": 1}}).id
    others = [params | {"select": ["id", "title"]}, params | {"filter": "id=eq.2"}, TODOS]
    assert len({one(other).id for other in [params, *others]}) == 4


def test_the_replay_of_an_entry_is_kept_apart() -> None:
    assert one(TODOS | {"replay": {"since": 1}}).replay == {"since": 1}


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, NO_PARAMS + "%{}"),
        ({"event": "*"}, NO_PARAMS + '%{"event" => "*"}'),
        (
            {"schema": "public", "filter": "id=eq.1"},
            NO_PARAMS + '%{"filter" => "id=eq.1", "schema" => "public"}',
        ),
        (
            {"schema": "public", "table": "images", "filter": [123]},
            NO_PARAMS + '%{"filter" => [123], "schema" => "public", "table" => "images"}',
        ),
        ({"table": {"a": None, "b": True}}, NO_PARAMS + '%{"table" => %{"a" => nil, "b" => true}}'),
        ({"event": "*", "user_token": "eyJ"}, NO_PARAMS + "<redacted>"),
        (TODOS | {"filter": "subject=foo.hey"}, 'Error parsing `filter` params: ["foo", "hey"]'),
        (
            TODOS | {"filter": "id=in.1"},
            "Error parsing `filter` params: `in` filter value must be wrapped by parentheses",
        ),
        (
            TODOS | {"select": "id"},
            "Error parsing `select` params: expected a list of column name strings, "
            'e.g. select: ["col1", "col2"]',
        ),
        (
            {"schema": "public", "select": ["id"]},
            "Column selection is not supported for wildcard subscriptions. "
            "Provide an explicit schema and table name.",
        ),
    ],
)
def test_a_bad_entry_carries_its_message_and_an_id(params: dict[str, Any], problem: str) -> None:
    binding = one(params)
    assert binding.problem == problem
    assert binding.id


def test_a_selection_without_names_selects_everything() -> None:
    assert one(TODOS | {"select": [1, None]}).select is None
    assert one(TODOS | {"select": ["id", 1]}).select == ("id",)


def test_messages_name_the_parameters_as_supabase_does() -> None:
    binding = one(TODOS | {"filter": 'title=eq."a,\\"b",id=not.in.(1,2)', "select": ["id", "title"]})
    assert describe_binding(binding) == (
        '[event: *, schema: public, table: todos, filters: [{"title", "eq", "a,\\"b", false}, '
        '{"id", "in", "{1,2}", true}], select: ["id", "title"]]'
    )
    assert str(not_published(one({"table": "nope"}))) == (
        "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given "
        "connect parameters: [event: *, schema: public, table: nope, filters: [], select: nil]"
    )
    assert str(refuse(one({"table": "t"}), "it's no use", "22P02")) == (
        "Unable to subscribe to changes with given parameters. An exception happened so please check your connect "
        "parameters: [event: *, schema: public, table: t, filters: [], select: nil]. "
        "Exception: ERROR 22P02 (invalid_text_representation) it's no use"
    )


@given(
    st.lists(JSON | st.dictionaries(st.sampled_from(["schema", "table", "filter", "select", "event"]), JSON))
)
def test_whatever_is_asked_for_is_answered_with_an_id(asked: list[Any]) -> None:
    bindings = parse_bindings(asked)
    assert [binding.params for binding in bindings] == [entry for entry in asked if isinstance(entry, dict)]
    assert all(0 < binding.id < 2**31 for binding in bindings)


def test_deep_nesting_is_no_danger() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    assert one({"table": deep}).problem.startswith(NO_PARAMS)
    while isinstance(deep, list):  # or its end would be recursive
        deep = deep.pop()
