"""Relationships in the schema cache of a small project: one rule of PostgREST's after the other."""

import pytest

from basalt.postgres import (
    Junction,
    SchemaCache,
    load_schema_cache,
)
from tests.postgres.schema_project import EXPOSED, Connection

pytestmark = pytest.mark.req("P5")


def relationships(cache: SchemaCache, table: str) -> list[tuple[str, str, str]]:
    """The other table, the cardinality, and what makes the relationship."""
    return [
        (found.foreign[1], found.cardinality, found.junction.table[1] if found.junction else found.constraint)
        for found in cache.relationships.get(("api", table), ())
    ]


def test_relationships_of_a_table_in_the_order_of_postgrest(cache: SchemaCache) -> None:
    assert relationships(cache, "projects") == [
        # a function has taken the place of the one to clients, and the owner is not exposed
        ("details", "one-to-one", "detail"),
        ("members", "one-to-many", "project"),
        ("memberships", "one-to-many", "project"),
        ("tasks", "one-to-many", "project"),
        ("users", "many-to-many", "members"),
        ("users", "many-to-many", "memberships"),
        ("users", "many-to-one", "clients"),
        ("tasks", "many-to-one", "newest_task"),
        ("tasks", "one-to-many", "open_tasks"),
    ]


def test_a_foreign_key_is_followed_from_either_end(cache: SchemaCache) -> None:
    assert relationships(cache, "clients") == [("projects", "one-to-many", "client")]
    [there] = (found for found in cache.relationships["api", "tasks"] if found.foreign == ("api", "projects"))
    assert (there.cardinality, there.columns, there.foreign_columns) == (
        "many-to-one",
        ("project_id",),
        ("id",),
    )
    assert relationships(cache, "logs") == [("users", "many-to-one", "actor")]
    assert ("logs", "one-to-many", "actor") in relationships(cache, "users")


def test_a_unique_foreign_key_is_one_to_one_and_inverse_from_the_far_side(cache: SchemaCache) -> None:
    [there] = cache.relationships["api", "details"]
    [back] = (
        found for found in cache.relationships["api", "projects"] if found.foreign == ("api", "details")
    )
    assert (there.cardinality, there.is_inverse) == ("one-to-one", False)
    assert (back.cardinality, back.is_inverse) == ("one-to-one", True)


def test_a_table_may_refer_to_itself(cache: SchemaCache) -> None:
    found = cache.relationships["api", "people"]
    assert [(one.cardinality, one.columns, one.is_inverse) for one in found] == [
        ("one-to-many", ("id",), False),
        ("many-to-one", ("boss_id",), False),
        ("one-to-one", ("id",), True),
        ("one-to-one", ("twin_id",), False),
        ("many-to-one", (), False),
    ]
    assert all(one.is_self for one in found)
    assert found[-1].routine == ("api", "friend")
    tasks = [one for one in cache.relationships["api", "tasks"] if one.is_self]
    assert [one.columns for one in tasks] == [("number", "project_id"), ("parent_number", "project_id")]


def test_two_keys_within_the_primary_key_make_a_junction(cache: SchemaCache) -> None:
    through = [found for found in cache.relationships["api", "users"] if found.junction]
    assert [(found.foreign[1], found.columns, found.foreign_columns) for found in through] == [
        ("projects", ("id",), ("id",)),
        ("projects", ("id",), ("id",)),
    ]
    assert [found.junction for found in through] == [
        Junction(("api", "members"), "member", "project", ("user_id",), ("project_id",)),
        Junction(("api", "memberships"), "member", "project", ("u",), ("p",)),
    ]


def test_views_stand_in_for_their_tables_under_their_own_names(cache: SchemaCache) -> None:
    here = [
        (found.foreign[1], found.cardinality, found.columns, found.foreign_columns)
        for found in cache.relationships["api", "authors"]
    ]
    assert here == [
        ("books", "one-to-many", ("author_id",), ("author",)),
        ("books", "one-to-many", ("author_id",), ("writer",)),
        ("far_books", "one-to-many", ("author_id",), ("first_id",)),
    ]
    assert all(found.is_view and found.is_foreign_view for found in cache.relationships["api", "authors"])
    [member] = (found for found in cache.relationships["api", "memberships"] if found.constraint == "member")
    assert (member.is_view, member.is_foreign_view, member.columns) == (True, False, ("u",))
    assert ("api", "author_names") not in cache.relationships


def test_views_of_hidden_schemas_are_looked_through_on_the_search_path_only(
    schema_project: Connection,
) -> None:
    without = load_schema_cache(schema_project, EXPOSED)
    assert relationships(without, "far_books") == []
    assert without.tables["api", "far_books"].primary_key == ()
    assert relationships(without, "books") == [("authors", "many-to-one", "author")] * 2
