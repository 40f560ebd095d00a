"""Types and defaults of columns in the OpenAPI document."""

from typing import Any

import pytest

from basalt.rest.openapi import render_openapi
from tests.rest.openapi_documents import SERVER, SETTINGS, a_column, a_table, properties

pytestmark = pytest.mark.req("P5")


@pytest.mark.parametrize(
    ("type_name", "described"),
    [
        ("character varying", {"type": "string", "format": "character varying"}),
        ("character", {"type": "string", "format": "character"}),
        ("text", {"type": "string", "format": "text"}),
        ("boolean", {"type": "boolean", "format": "boolean"}),
        ("smallint", {"type": "integer", "format": "int32"}),
        ("integer", {"type": "integer", "format": "int32"}),
        ("bigint", {"type": "integer", "format": "int64"}),
        ("numeric", {"type": "number", "format": "numeric"}),
        ("real", {"type": "number", "format": "real"}),
        ("double precision", {"type": "number", "format": "double precision"}),
        ("json", {"format": "json"}),
        ("jsonb", {"format": "jsonb"}),
        ("uuid", {"type": "string", "format": "uuid"}),
        ("timestamp with time zone", {"type": "string", "format": "timestamp with time zone"}),
        ("text[]", {"type": "array", "format": "text[]", "items": {"type": "string"}}),
        ("bigint[]", {"type": "array", "format": "bigint[]", "items": {"type": "integer"}}),
        ("numeric[]", {"type": "array", "format": "numeric[]", "items": {"type": "number"}}),
        ("boolean[]", {"type": "array", "format": "boolean[]", "items": {"type": "boolean"}}),
        ("jsonb[]", {"type": "array", "format": "jsonb[]", "items": {}}),
        ("cinema.genre[]", {"type": "array", "format": "cinema.genre[]", "items": {"type": "string"}}),
    ],
)
def test_types_of_postgresql_have_a_type_in_json(type_name: str, described: dict[str, Any]) -> None:
    assert properties(a_column("one", type_name))["one"] == described


def test_a_domain_is_described_by_the_type_under_it() -> None:
    column = a_column("price", "cinema.money_amount", base_type="numeric")
    assert properties(column)["price"] == {"type": "number", "format": "numeric"}


def test_length_and_values_of_a_type_are_told() -> None:
    code = a_column("code", "character varying(8)", base_type="character varying", max_length=8)
    genre = a_column("genre", "cinema.genre", enum_values=("horror", "comedy"))
    assert properties(code, genre) == {
        "code": {"type": "string", "format": "character varying", "maxLength": 8},
        "genre": {"type": "string", "format": "cinema.genre", "enum": ["horror", "comedy"]},
    }


@pytest.mark.parametrize(
    ("type_name", "sql", "default"),
    [
        ("text", "'silent'::text", "silent"),
        ("text", "''::text", ""),
        ("text", "NULL::text", "NULL"),
        ("text", "lower('SILENT'::text)", "lower('SILENT'::text)"),
        ("character varying", "'silent'::character varying", "silent"),
        ("cinema.genre", "'horror'::cinema.genre", "horror"),
        ("date", "'1927-01-10'::date", "1927-01-10"),
        ("timestamp with time zone", "now()", "now()"),
        ("uuid", "gen_random_uuid()", "gen_random_uuid()"),
        ("boolean", "false", False),
        ("integer", "42", 42),
        ("numeric", "9.90", 9.9),
    ],
)
def test_a_default_is_told_in_json(type_name: str, sql: str, default: object) -> None:
    assert properties(a_column("one", type_name, default=sql))["one"]["default"] == default


@pytest.mark.parametrize(
    ("type_name", "sql"),
    [
        ("integer", "nextval('cinema.films_id_seq'::regclass)"),
        ("integer", "'-1'::integer"),
        ("boolean", "(1 > 2)"),
        ("jsonb", "'{}'::jsonb"),
        ("text[]", "'{}'::text[]"),
        ("text", "'say \"M\"'::text"),
        ("text", "'one\ntwo'::text"),
    ],
)
def test_a_default_that_is_no_json_is_left_out(type_name: str, sql: str) -> None:
    assert "default" not in properties(a_column("one", type_name, default=sql))["one"]


def test_a_numeric_default_keeps_all_its_digits() -> None:
    table = a_table("films", a_column("price", "numeric", default="12345678901234567890.123456789"))
    rendered = render_openapi(
        tables=[table],
        routines=[],
        relationships={},
        description=None,
        settings=SETTINGS,
        server=SERVER,
    )
    assert b'"default":12345678901234567890.123456789' in rendered
