"""Routines in the OpenAPI document."""

from typing import Any

import pytest

from basalt.config import RestSettings
from tests.rest.openapi_documents import a_parameter, a_routine, document, references

pytestmark = pytest.mark.req("P5")


def test_a_stable_routine_is_called_by_get_and_post() -> None:
    routine = a_routine(
        "films_of",
        a_parameter("born", "smallint"),
        a_parameter("tags", "text[]", required=False),
        a_parameter("data", "jsonb", required=False),
        description="Films of a year\n\nThe oldest come first",
    )
    about = {
        "tags": ["(rpc) films_of"],
        "summary": "Films of a year",
        "description": "The oldest come first",
        "produces": [
            "application/json",
            "application/vnd.pgrst.object+json;nulls=stripped",
            "application/vnd.pgrst.object+json",
        ],
        "responses": {"200": {"description": "OK"}},
    }
    query = {"in": "query", "required": False, "type": "string"}
    assert document(routine)["paths"]["/rpc/films_of"] == {
        "get": {
            **about,
            "parameters": [
                {"name": "born", "in": "query", "required": True, "type": "integer", "format": "int32"},
                {**query, "name": "tags", "format": "text[]"},
                {**query, "name": "data", "format": "jsonb"},
            ],
        },
        "post": {
            **about,
            "parameters": [
                {
                    "name": "args",
                    "in": "body",
                    "required": True,
                    "schema": {
                        "description": "Films of a year\n\nThe oldest come first",
                        "type": "object",
                        "required": ["born"],
                        "properties": {
                            "born": {"type": "integer", "format": "int32"},
                            "tags": {"type": "array", "format": "text[]", "items": {"type": "string"}},
                            "data": {"format": "jsonb"},
                        },
                    },
                },
                *references("preferParams"),
            ],
        },
    }


@pytest.mark.parametrize(
    ("volatility", "methods"),
    [("immutable", {"get", "post"}), ("stable", {"get", "post"}), ("volatile", {"post"})],
)
def test_only_a_routine_that_changes_nothing_is_called_by_get(volatility: str, methods: set[str]) -> None:
    assert document(a_routine("count", volatility=volatility))["paths"]["/rpc/count"].keys() == methods


def test_a_routine_without_parameters_takes_an_empty_object() -> None:
    path = document(a_routine("count"))["paths"]["/rpc/count"]
    assert "parameters" not in path["get"]
    assert path["post"]["parameters"][0]["schema"] == {"type": "object"}


def test_a_variadic_parameter_may_be_repeated() -> None:
    def shown(type_name: str) -> Any:
        parameter = a_parameter("tags", type_name, required=False, variadic=True)
        path = document(a_routine("tagged", parameter, has_variadic=True))["paths"]["/rpc/tagged"]
        (found,) = path["get"]["parameters"]
        return found

    assert shown("integer[]") == {
        "name": "tags",
        "in": "query",
        "required": False,
        "type": "array",
        "items": {"type": "integer", "format": "int32"},
        "collectionFormat": "multi",
    }
    assert shown("json[]")["items"] == {"format": "json"}


def test_of_routines_with_one_name_the_one_that_takes_most_is_shown() -> None:
    short, long = (a_parameter("a", "integer"),), (a_parameter("a", "integer"), a_parameter("b", "integer"))
    for routines in (
        [a_routine("add", *long), a_routine("add", *short)],
        [a_routine("add", *short), a_routine("add", *long)],
    ):
        found = document(*routines)["paths"]["/rpc/add"]["get"]["parameters"]
        assert [parameter["name"] for parameter in found] == ["a", "b"]


@pytest.mark.parametrize(
    ("type_name", "shown"),
    [
        ("cinema.genre", "genre"),
        ("extensions.citext[]", "citext[]"),
        ('"My types"."Genre"', '"Genre"'),
        ("archive.genre", "archive.genre"),
    ],
)
def test_types_in_the_search_path_go_without_their_schema(type_name: str, shown: str) -> None:
    settings = RestSettings(db_extra_search_path=("extensions", "My types"))
    routine = a_routine("films_of", a_parameter("one", type_name))
    path = document(routine, settings=settings)["paths"]["/rpc/films_of"]
    assert path["get"]["parameters"][0]["format"] == shown
    assert path["post"]["parameters"][0]["schema"]["properties"]["one"]["format"] == shown


def test_types_keep_their_schema_where_privileges_are_ignored() -> None:
    settings = RestSettings(openapi_mode="ignore-privileges")
    path = document(a_routine("f", a_parameter("one", "cinema.genre")), settings=settings)["paths"]["/rpc/f"]
    assert path["get"]["parameters"][0]["format"] == "cinema.genre"
