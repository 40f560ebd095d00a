"""Which relationship an embed means, by name and hint."""

import pytest

from basalt.postgres import Relationship, SchemaCache
from basalt.rest.errors import RestError, UnknownRelationshipError
from basalt.rest.grammar import parse_select
from basalt.rest.plan.relationships import find_relationship
from basalt.rest.query import SelectEmbed
from tests.rest.planning import CACHE, a_cache, a_key, a_table

pytestmark = pytest.mark.req("P5")


def find(parent: str, text: str, cache: SchemaCache = CACHE, schema: str = "public") -> Relationship:
    [item] = parse_select(text)
    assert isinstance(item, SelectEmbed)
    return find_relationship(cache, (schema, parent), item)


def refuse(parent: str, text: str, cache: SchemaCache = CACHE) -> RestError:
    with pytest.raises(RestError) as raised:
        find(parent, text, cache)
    return raised.value


@pytest.mark.parametrize(
    ("parent", "text", "cardinality", "constraint"),
    [
        ("awards", "films(*)", "many-to-one", "awards_film_id_fkey"),
        ("films", "awards(*)", "one-to-many", "awards_film_id_fkey"),
        ("films", "details(*)", "one-to-one", "details_film_id_fkey"),
        ("details", "films(*)", "one-to-one", "details_film_id_fkey"),
        # the key and its column stand for the table that they lead to
        ("films", "films_director_id_fkey(*)", "many-to-one", "films_director_id_fkey"),
        ("films", "director_id(*)", "many-to-one", "films_director_id_fkey"),
        ("directors", "films_writer_id_fkey(*)", "one-to-many", "films_writer_id_fkey"),
        # hints: the key, the column on this side, the column on the other
        ("films", "directors!films_writer_id_fkey(*)", "many-to-one", "films_writer_id_fkey"),
        ("films", "directors!writer_id(*)", "many-to-one", "films_writer_id_fkey"),
        ("directors", "films!writer_id(*)", "one-to-many", "films_writer_id_fkey"),
        ("directors", "films!films_director_id_fkey(*)", "one-to-many", "films_director_id_fkey"),
        ("awards", "films!id(*)", "many-to-one", "awards_film_id_fkey"),
    ],
)
def test_an_embed_is_named_by_table_key_or_column(
    parent: str, text: str, cardinality: str, constraint: str
) -> None:
    found = find(parent, text)
    assert (found.cardinality, found.constraint) == (cardinality, constraint)


@pytest.mark.parametrize("text", ["actors(*)", "actors!roles(*)"])
def test_a_junction_is_looked_through(text: str) -> None:
    found = find("films", text)
    assert found.junction is not None
    assert (found.cardinality, found.junction.table) == ("many-to-many", ("public", "roles"))


@pytest.mark.parametrize(
    ("text", "cardinality", "columns"),
    [
        ("people(*)", "one-to-many", ("id",)),
        ("children:people!parent_id(*)", "one-to-many", ("id",)),
        ("children:people!people_parent_id_fkey(*)", "one-to-many", ("id",)),
        ("parent_id(*)", "many-to-one", ("parent_id",)),
        ("parent:parent_id(*)", "many-to-one", ("parent_id",)),
    ],
)
def test_a_table_that_refers_to_itself_has_two_directions(
    text: str, cardinality: str, columns: tuple[str, ...]
) -> None:
    found = find("people", text)
    assert (found.cardinality, found.columns, found.junction) == (cardinality, columns, None)


@pytest.mark.parametrize(
    ("hint", "near"),
    [
        ("friendships_person_id_fkey", ("person_id",)),
        ("person_id", ("person_id",)),
        ("friendships_friend_id_fkey", ("friend_id",)),
        ("friend_id", ("friend_id",)),
    ],
)
def test_a_junction_from_a_table_to_itself_is_entered_by_a_key(hint: str, near: tuple[str, ...]) -> None:
    found = find("people", f"people!{hint}(*)")
    assert found.junction is not None
    assert found.junction.near_columns == near


def test_a_junction_from_a_table_to_itself_alone_does_not_say_by_which_key() -> None:
    error = refuse("people", "friends:people!friendships(*)")
    assert error.code == "PGRST201"
    assert error.hint is not None
    assert "'people!friendships_friend_id_fkey', 'people!friendships_person_id_fkey'" in error.hint


def test_several_relationships_are_all_named() -> None:
    error = refuse("films", "directors(*)")
    assert (error.code, error.status) == ("PGRST201", 300)
    assert error.message == (
        "Could not embed because more than one relationship was found for 'films' and 'directors'"
    )
    assert error.details == [
        {
            "cardinality": "many-to-one",
            "embedding": "films with directors",
            "relationship": "films_director_id_fkey using films(director_id) and directors(id)",
        },
        {
            "cardinality": "many-to-one",
            "embedding": "films with directors",
            "relationship": "films_writer_id_fkey using films(writer_id) and directors(id)",
        },
    ]
    assert error.hint == (
        "Try changing 'directors' to one of the following: 'directors!films_director_id_fkey', "
        "'directors!films_writer_id_fkey'. Find the desired relationship in the 'details' key."
    )


def test_a_junction_among_several_relationships_is_described_by_its_keys() -> None:
    cache = a_cache(
        [
            a_table("sites", "id integer, main_id integer"),
            a_table("projects", "id integer"),
            a_table("jobs", "site_id integer, project_id integer", key="project_id site_id"),
        ],
        [
            a_key("main", "sites(main_id)", "projects(id)"),
            a_key("jobs_site", "jobs(site_id)", "sites(id)"),
            a_key("jobs_project", "jobs(project_id)", "projects(id)"),
        ],
    )
    error = refuse("sites", "projects(*)", cache)
    assert isinstance(error.details, list)
    assert [entry["cardinality"] for entry in error.details] == ["many-to-one", "many-to-many"]
    assert error.details[1]["relationship"] == "jobs using jobs_site(site_id) and jobs_project(project_id)"
    assert find("sites", "projects!main(*)", cache).constraint == "main"
    assert find("sites", "projects!jobs(*)", cache).junction is not None


@pytest.mark.parametrize(
    ("parent", "text", "details"),
    [
        (
            "films",
            "logs(*)",
            "Searched for a foreign key relationship between 'films' and 'logs' in the schema 'public', but no "
            "matches were found.",
        ),
        (
            "films",
            "directors!born(*)",
            "Searched for a foreign key relationship between 'films' and 'directors' using the hint 'born' in the "
            "schema 'public', but no matches were found.",
        ),
        (
            "nowhere",
            "films(*)",
            "Searched for a foreign key relationship between 'nowhere' and 'films' in the schema 'public', but no "
            "matches were found.",
        ),
    ],
)
def test_what_is_not_related_is_refused(parent: str, text: str, details: str) -> None:
    error = refuse(parent, text)
    assert isinstance(error, UnknownRelationshipError)
    assert (error.code, error.status, error.details) == ("PGRST200", 400, details)


@pytest.mark.parametrize(
    ("parent", "text"),
    [
        ("awards", "id(*)"),  # the column on the other side is a hint, no name
        ("films", "roles_film_id_fkey!x(*)"),
        ("films", "director_id!films_director_id_fkey(*)"),
        ("people", "people!nonsense(*)"),
        ("people", "people!id(*)"),
        ("films", "actors!roles_film_id_fkey(*)"),
    ],
)
def test_a_hint_narrows_down_the_tables_name_and_nothing_else(parent: str, text: str) -> None:
    assert refuse(parent, text).code == "PGRST200"


def test_a_computed_relationship_is_named_by_its_function() -> None:
    found = find("films", "best_awards(*)")
    assert (found.routine, found.foreign) == (("public", "best_awards"), ("public", "awards"))
    # a hint is nothing to a function
    assert find("films", "best_awards!whatever(*)") == found


def test_relationships_to_other_schemas_are_not_found() -> None:
    cache = a_cache(
        [a_table("films", "id integer, note_id integer"), a_table("notes", "id integer", schema="backstage")],
        [a_key("films_note", "films(note_id)", "backstage.notes(id)")],
    )
    assert refuse("films", "notes(*)", cache).code == "PGRST200"


def test_a_key_or_column_never_leads_to_a_view() -> None:
    """A view may show what the table shows, so the name of the key would mean both."""
    table = Relationship(
        ("public", "films"), ("public", "directors"), "many-to-one", "fk", ("director_id",), ("id",)
    )
    view = Relationship(
        ("public", "films"),
        ("public", "living"),
        "many-to-one",
        "fk",
        ("director_id",),
        ("id",),
        is_foreign_view=True,
    )
    cache = SchemaCache(tables={}, relationships={("public", "films"): (table, view)}, routines={})
    assert find("films", "fk(*)", cache) == find("films", "director_id(*)", cache) == table
    assert find("films", "living(*)", cache) == find("films", "living!fk(*)", cache) == view
