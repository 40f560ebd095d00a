"""Tables and views in the schema cache of a small project: one rule of PostgREST's after the other."""

import pytest

from basalt.postgres import (
    Column,
    SchemaCache,
)
from tests.postgres.schema_project import EXPOSED, OTHER

pytestmark = pytest.mark.req("P5")


def column(cache: SchemaCache, name: str) -> Column:
    return cache.tables["api", "everything"].columns[name]


def test_tables_of_exposed_schemas_are_known_by_their_columns_in_order(cache: SchemaCache) -> None:
    assert {schema for schema, _ in cache.tables} == set(EXPOSED)
    everything = cache.tables["api", "everything"]
    assert (everything.description, everything.primary_key, everything.is_view) == (
        "One of each",
        ("id",),
        False,
    )
    assert list(everything.columns)[:3] == ["id", "always_id", "serial_id"]
    assert "gone" not in everything.columns
    assert cache.tables[OTHER, "Näme, (odd)"].primary_key == ("A b",)
    assert cache.tables["api", "no_key"].primary_key == ()
    assert cache.version >= 150000


def test_a_partitioned_table_is_known_and_its_partitions_are_not(cache: SchemaCache) -> None:
    assert ("api", "measures") in cache.tables
    assert ("api", "measures_2025") not in cache.tables


def test_a_primary_key_is_in_the_order_of_its_names(cache: SchemaCache) -> None:
    assert cache.tables["api", "measures"].primary_key == ("a", "at", "z")


@pytest.mark.parametrize(
    ("name", "type_name", "base_type"),
    [
        ("id", "bigint", "bigint"),
        ("code", "character(4)", "character"),
        ("title", "character varying(10)", "character varying"),
        ("price", "numeric(10,2)", "numeric"),
        ("at", "timestamp(3) with time zone", "timestamp with time zone"),
        ("colour", "hidden.colour", "hidden.colour"),
        ("colours", "hidden.colour[]", "hidden.colour[]"),
        ("email", "hidden.email", "character varying"),
        ("work_email", "hidden.work_email", "character varying"),
        (
            "paint",
            "hidden.paint",
            "hidden.paint",
        ),  # PostgREST looks under a domain for PostgreSQL's own types only
        ("address", "hidden.address", "hidden.address"),
    ],
)
def test_types_are_as_declared_and_as_under_a_domain(
    cache: SchemaCache, name: str, type_name: str, base_type: str
) -> None:
    assert (column(cache, name).type, column(cache, name).base_type) == (type_name, base_type)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("id", "nextval('api.everything_id_seq')"),
        ("always_id", None),
        ("serial_id", "nextval('api.everything_serial_id_seq'::regclass)"),
        ("code", "upper('abcd'::text)"),
        ("title", None),
        ("price", "0"),
        ("doubled", None),
        ("colour", "'green'::hidden.colour"),
        ("email", "'nobody@example.org'::character varying"),
        ("own_email", "'me@example.org'::character varying"),
        ("work_email", "'nobody@example.org'::character varying"),
    ],
)
def test_a_default_is_the_columns_or_its_domains(cache: SchemaCache, name: str, default: str | None) -> None:
    assert column(cache, name).default == default


def test_lengths_labels_nulls_and_comments_of_columns(cache: SchemaCache) -> None:
    columns = cache.tables["api", "everything"].columns.values()
    assert {found.name for found in columns if not found.nullable} == {
        *("id", "always_id", "serial_id", "code", "colour", "work_email")
    }
    # that of the nearest domain only, as information_schema has it
    lengths = {"code": 4, "title": 10, "bits": 8, "email": 60, "own_email": 60}
    assert {found.name: found.max_length for found in columns if found.max_length} == lengths
    labels = ("red", "green", "blue")
    assert {found.name: found.enum_values for found in columns if found.enum_values} == {
        "colour": labels,
        "paint": labels,
    }
    assert {found.name: found.description for found in columns if found.description} == {
        "code": "Four letters"
    }


@pytest.mark.parametrize(
    ("name", "writes"),
    [
        ("everything", (True, True, True)),
        ("measures", (True, True, True)),
        ("plain_view", (True, True, True)),
        ("group_view", (False, False, False)),
        ("trigger_view", (True, False, True)),
        ("stored_view", (False, False, False)),
        ("abroad", (False, False, False)),
    ],
)
def test_what_can_be_written_to_a_table_or_view(
    cache: SchemaCache, name: str, writes: tuple[bool, bool, bool]
) -> None:
    table = cache.tables["api", name]
    assert (table.insertable, table.updatable, table.deletable) == writes


def test_a_view_has_the_primary_keys_that_it_shows_in_full(cache: SchemaCache) -> None:
    keys = {name: table.primary_key for (_, name), table in cache.tables.items() if table.is_view}
    assert keys["plain_view"] == ("id",)
    assert keys["stored_view"] == ("stored_id",)
    assert keys["odd_view"] == ("{x}",)
    assert keys["part_view"] == keys["group_view"] == ()
    assert keys["pair_view"] == ("z", "at", "a", "id")
    assert keys["far_books"] == ("id",)
