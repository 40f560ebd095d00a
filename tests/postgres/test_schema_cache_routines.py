"""Routines, casts and handlers in the schema cache of a small project: one rule of PostgREST's after the other."""

import pytest

from basalt.postgres import (
    MediaHandler,
    Parameter,
    Routine,
    SchemaCache,
    load_schema_cache,
)
from tests.postgres.schema_project import EXPOSED, Connection

pytestmark = pytest.mark.req("P5")


def routine(cache: SchemaCache, name: str) -> Routine:
    [found] = cache.routines["api", name]
    return found


def parameters(cache: SchemaCache, name: str) -> tuple[Parameter, ...]:
    return routine(cache, name).parameters


def test_parameters_are_those_that_a_caller_gives(cache: SchemaCache) -> None:
    assert parameters(cache, "add") == (
        Parameter("a", "integer", "integer", required=True, variadic=False),
        Parameter("b", "integer", "integer", required=False, variadic=False),
        Parameter("c", "numeric", "numeric", required=False, variadic=False),
    )
    assert [(p.name, p.type) for p in parameters(cache, "out_first")] == [
        ("wanted", "integer"),
        ("both_ways", "text"),
    ]
    assert [p.name for p in parameters(cache, "as_table")] == ["n"]
    [numbers] = parameters(cache, "total")
    assert (numbers.type, numbers.required, numbers.variadic) == ("bigint[]", True, True)
    assert routine(cache, "total").has_variadic
    assert [(p.type, p.cast_type) for p in parameters(cache, "wide")] == [
        ("character", "character varying"),
        ("bit", "bit varying"),
        ("character[]", "character varying[]"),
        ("bit[]", "bit varying[]"),
        ("hidden.colour", "hidden.colour"),
    ]


@pytest.mark.parametrize(
    ("name", "kind", "returns_set", "return_type"),
    [
        ("nothing", "void", False, ("pg_catalog", "void")),
        ("add", "scalar", False, ("pg_catalog", "int4")),
        ("wide", "scalar", False, ("pg_catalog", "text")),
        ("some_words", "scalar", True, ("pg_catalog", "text")),
        ("some_records", "scalar", True, ("pg_catalog", "record")),
        ("out_first", "composite", False, ("pg_catalog", "record")),
        ("as_table", "composite", True, ("pg_catalog", "record")),
        ("one_row", "composite", False, ("api", "everything")),
        ("all_rows", "composite", True, ("api", "everything")),
        ("one_domain_row", "composite", False, ("api", "everything")),
        ("addresses", "composite", True, ("hidden", "address")),
    ],
)
def test_what_a_routine_returns(
    cache: SchemaCache, name: str, kind: str, returns_set: bool, return_type: tuple[str, str]
) -> None:
    found = routine(cache, name)
    assert (found.kind, found.returns_set, found.return_type) == (kind, returns_set, return_type)


def test_volatility_and_comment_of_a_routine(cache: SchemaCache) -> None:
    assert [routine(cache, name).volatility for name in ("add", "total", "nothing")] == [
        *("immutable", "stable", "volatile")
    ]
    assert routine(cache, "nothing").description == "Does nothing"


def test_one_parameter_without_a_name_takes_a_whole_body(cache: SchemaCache) -> None:
    assert [[(p.name, p.type) for p in found.parameters] for found in cache.routines["api", "whole"]] == [
        [("", "bytea")],
        [("", "jsonb")],
    ]
    assert ("api", "unnamed") not in cache.routines
    assert [(p.name, p.required) for p in parameters(cache, "half_named")] == [("", False), ("b", False)]


def test_only_functions_of_exposed_schemas_that_can_be_called_are_routines(cache: SchemaCache) -> None:
    assert {schema for schema, _ in cache.routines} == {"api"}
    assert not {("api", name) for name in ("fire", "fire_event", "proceed", "sum_up")} & cache.routines.keys()


def test_overloads_are_ordered_by_the_number_of_their_parameters(cache: SchemaCache) -> None:
    overloads = cache.routines["api", "overloaded"]
    assert [[p.name for p in found.parameters] for found in overloads] == [[], ["a"], ["b"], ["a", "b", "c"]]


def test_settings_of_a_routine_are_hoisted_when_the_project_says_so(
    schema_project: Connection, cache: SchemaCache
) -> None:
    slow = routine(cache, "slow")
    assert (slow.settings, slow.isolation) == ((("statement_timeout", "4s"),), "repeatable read")
    assert (routine(cache, "add").settings, routine(cache, "add").isolation) == ((), None)
    other = load_schema_cache(schema_project, EXPOSED, hoisted_settings=["work_"])
    assert routine(other, "slow").settings == (("work_mem", "2MB"),)
    assert routine(other, "slow").isolation == "repeatable read"


def test_implicit_casts_between_domains_and_json_or_text_represent_data(cache: SchemaCache) -> None:
    assert cache.representations == {
        ("hidden.shade", "json"): "hidden.shade_json",
        ("json", "hidden.shade"): "hidden.shade",
    }


def test_domains_named_like_media_types_make_handlers(cache: SchemaCache) -> None:
    clients, picture = ("api", "clients"), ("api", "picture")
    assert cache.media_handlers == {
        (clients, "text/tab-separated"): MediaHandler(("api", "tabs"), clients, "Text/Tab-Separated"),
        (None, "*/*"): MediaHandler(("api", "any_rows"), None, "application/octet-stream", is_binary=True),
        (picture, "image/png"): MediaHandler(("hidden", "image/png"), picture, "image/png", is_binary=True),
    }
