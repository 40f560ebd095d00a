"""The levels of an answer: what is selected, filtered, ordered and joined, and under which names."""

from dataclasses import replace
from typing import Any

import pytest

from basalt.config import RestSettings
from basalt.rest.errors import RestError, UnknownTableError
from basalt.rest.plan.read import (
    EmbedFilter,
    EmbedPlan,
    PlannedFilter,
    PlannedLogic,
    PlannedSelect,
    ReadPlan,
    SpreadField,
)
from basalt.rest.query import ALL_ROWS, RowRange
from tests.rest.planning import AGGREGATES, SETTINGS, prepared

pytestmark = pytest.mark.req("P5")


def plan(target: str, *, method: str = "GET", settings: RestSettings = SETTINGS, **kwargs: Any) -> ReadPlan:
    found = prepared(method, target, settings=settings, **kwargs).plan
    return found if isinstance(found, ReadPlan) else found.read


def embed(target: str, **kwargs: Any) -> EmbedPlan:
    [found] = plan(target, **kwargs).embeds
    return found


def refuse(target: str, **kwargs: Any) -> RestError:
    with pytest.raises(RestError) as raised:
        plan(target, **kwargs)
    return raised.value


def shown(found: ReadPlan) -> list[str | None]:
    """What the selected fields are called, None where they keep their own name."""
    return [one.alias for one in found.select]


# Select


@pytest.mark.parametrize(
    ("select", "alias"),
    [
        ("title", None),
        ("name:title", "name"),
        ("data->a", "a"),
        ("data->a->>b", "b"),
        ("data->a->0", "a"),
        ("data->0->1", "data"),
        ("data->0->a->>1", "a"),
        ("x:data->a->0", "x"),
        ("price::text", None),
        ("tags->0", "tags"),
    ],
)
def test_fields_are_called_by_alias_or_by_the_last_key(select: str, alias: str | None) -> None:
    assert shown(plan(f"/films?select={select}")) == [alias]


@pytest.mark.parametrize(
    ("name", "type_name", "to_json"),
    [("data", "jsonb", False), ("title", "text", True), ("tags", "text[]", True), ("unheard_of", None, True)],
)
def test_what_is_no_json_is_made_json_to_reach_into(name: str, type_name: str | None, to_json: bool) -> None:
    [found] = plan(f"/films?select={name}->a").select
    assert (found.field.type, found.field.to_json) == (type_name, to_json)


def test_everything_is_selected_by_default_and_nothing_by_an_empty_select() -> None:
    default = plan("/films")
    assert [one.field.name for one in default.select] == ["*"]
    assert default.selects_all
    assert plan("/films?select=").select == ()
    assert not plan("/films?select=*,awards(*)").selects_all


def test_a_column_with_a_representation_is_shown_through_it_under_its_own_name() -> None:
    star = plan("/rooms").select
    assert [(one.field.name, one.field.transform, one.alias) for one in star] == [
        ("id", None, None),
        ("colour", "public.colour_to_json", "colour"),
    ]
    [path] = plan("/rooms?select=colour->a").select
    assert path.field.transform is None


def test_a_table_that_is_not_there_is_told_from_a_column_that_is_not() -> None:
    error = refuse("/fims?select=id")
    assert isinstance(error, UnknownTableError)
    assert (error.code, error.table) == ("PGRST205", ("public", "fims"))
    assert error.message == "Could not find the table 'public.fims' in the schema cache"
    assert plan("/films?select=nothing").select[0].field.name == "nothing"  # PostgreSQL knows better


# Filters


def test_a_filter_knows_its_column_and_number() -> None:
    found = plan("/films?year=not.gt.1990&id=in.(1,2)").where
    assert [one.negated for one in found if isinstance(one, PlannedFilter)] == [True, False]
    first = found[0]
    assert isinstance(first, PlannedFilter)
    assert (first.field.name, first.field.type) == ("year", "integer")


@pytest.mark.parametrize(
    ("column", "is_document"), [("search", True), ("title", False), ("data", False), ("computed", True)]
)
def test_text_is_made_a_document_to_be_searched(column: str, is_document: bool) -> None:
    [found] = plan(f"/films?{column}=fts.x").where
    assert isinstance(found, PlannedFilter)
    assert found.is_document is is_document


def test_filters_go_through_the_columns_representation() -> None:
    [found] = plan("/rooms?colour=eq.red").where
    assert isinstance(found, PlannedFilter)
    assert found.field.transform == "public.colour_from_text"


@pytest.mark.parametrize(
    ("condition", "is_null"),
    [
        ("awards=is.null", True),
        ("awards=not.is.null", False),
        ("awards=is.not_null", False),
        ("awards=not.is.not_null", True),
    ],
)
def test_whether_an_embed_has_rows_can_be_asked(condition: str, is_null: bool) -> None:
    assert plan(f"/films?select=awards()&{condition}").where == (EmbedFilter("films_awards_1", is_null),)


def test_an_embed_is_asked_about_by_its_alias_and_within_trees() -> None:
    [tree] = plan(
        "/films?select=prizes:awards(id),actors(id)&or=(prizes.is.null,not.and(actors.is.null,id.eq.1))"
    ).where
    assert isinstance(tree, PlannedLogic)
    first, second = tree.children
    assert first == EmbedFilter("films_prizes_1", True)
    assert isinstance(second, PlannedLogic)
    assert (second.operator, second.negated) == ("and", True)
    assert second.children[0] == EmbedFilter("films_actors_1", True)
    assert isinstance(second.children[1], PlannedFilter)


@pytest.mark.parametrize(
    "condition", ["awards=eq.1", "awards->a=is.null", "awards=is.true", "actors=is.null"]
)
def test_other_conditions_on_such_a_name_are_left_to_postgresql(condition: str) -> None:
    [found] = plan(f"/films?select=awards()&{condition}").where
    assert isinstance(found, PlannedFilter)


def test_conditions_orders_and_ranges_go_to_the_embed_that_they_name() -> None:
    found = plan(
        "/directors?select=films!director_id(id,awards(id))&films.year=gt.1&films.awards.name=eq.x&films.or=(id.eq.1,id.eq.2)"
        "&films.order=year.desc&films.awards.limit=2&films.awards.offset=1"
    )
    [films] = found.embeds
    [awards] = films.read.embeds
    assert found.where == ()
    assert len(films.read.where) == 2
    assert [term.direction for term in films.read.order] == ["desc"]
    assert len(awards.read.where) == 1
    assert (films.read.range, awards.read.range) == (ALL_ROWS, RowRange(1, 2))


@pytest.mark.parametrize(
    "condition",
    ["awards.name=eq.x", "awards.order=id", "awards.limit=1", "awards.or=(id.eq.1)", "actors.awards.id=eq.1"],
)
def test_what_is_not_embedded_cannot_be_filtered_ordered_or_limited(condition: str) -> None:
    error = refuse(f"/films?select=id,actors(id)&{condition}")
    assert (error.code, error.status) == ("PGRST108", 400)
    assert error.message == "'awards' is not an embedded resource in this request"
    assert error.hint == "Verify that 'awards' is included in the 'select' query parameter."


def test_the_table_of_an_embed_with_an_alias_is_an_old_name_for_it() -> None:
    target = "/films?select=prizes:awards(id)&awards.id=eq.1"
    assert plan(target).legacy_targets == (("awards", "prizes"),)
    assert plan("/films?select=prizes:awards(id)&prizes.id=eq.1").legacy_targets == ()
    error = refuse(target, settings=replace(SETTINGS, url_use_legacy_target_names=False))
    assert (error.code, error.message) == ("PGRST108", "'awards' is not an embedded resource in this request")
    assert error.details == "Target names are not allowed in filters if they have an alias"
    assert error.hint == "Change 'awards' to 'prizes' in filters, orders or limits."


def test_without_old_names_an_alias_wins_over_a_table() -> None:
    target = "/films?select=actors:awards(id),cast:actors(id)&actors.id=eq.1"
    modern = plan(target, settings=replace(SETTINGS, url_use_legacy_target_names=False))
    assert [bool(one.read.where) for one in modern.embeds] == [True, False]


# Orders and ranges


def test_an_order_may_be_by_a_row_that_is_embedded() -> None:
    [first, second] = plan(
        "/films?select=director:directors!director_id(id)&order=director(born).desc.nullslast,id"
    ).order
    assert (first.embed, first.field.name, first.direction, first.nulls) == (
        "films_director_1",
        "born",
        "desc",
        "last",
    )
    assert (second.embed, second.field.name) == (None, "id")


def test_an_order_by_several_rows_is_refused() -> None:
    error = refuse("/films?select=awards(id)&order=awards(id)")
    assert (error.code, error.status) == ("PGRST118", 400)
    assert error.message == "A related order on 'awards' is not possible"
    assert error.details == "'films' and 'awards' do not form a many-to-one or one-to-one relationship"


def test_an_order_by_what_is_not_embedded_is_refused() -> None:
    assert refuse("/films?order=directors(id)").code == "PGRST108"


@pytest.mark.parametrize(
    ("window", "root", "below"),
    [
        ("", RowRange(0, 10), RowRange(0, 10)),
        ("&limit=3", RowRange(0, 3), RowRange(0, 10)),
        ("&limit=30&offset=2", RowRange(2, 10), RowRange(0, 10)),
        ("&awards.limit=3", RowRange(0, 10), RowRange(0, 3)),
        ("&awards.limit=30", RowRange(0, 10), RowRange(0, 10)),
    ],
)
def test_the_most_rows_hold_for_every_level(window: str, root: RowRange, below: RowRange) -> None:
    found = plan(f"/films?select=awards(id){window}", settings=replace(SETTINGS, db_max_rows=10))
    assert (found.range, found.embeds[0].read.range) == (root, below)


def test_what_a_write_changed_is_shown_whole() -> None:
    headers = {"prefer": "return=representation"}
    found = plan(
        "/films?select=awards(id)&id=eq.1&awards.id=eq.2&awards.limit=3",
        method="PATCH",
        settings=replace(SETTINGS, db_max_rows=10),
        headers=headers,
        body=b'{"year":1}',
    )
    [below] = found.embeds
    assert found.from_result
    assert (found.where, found.range) == ((), ALL_ROWS)
    assert (len(below.read.where), below.read.range) == (1, ALL_ROWS)


# Embeds


@pytest.mark.parametrize(
    ("target", "mode", "is_inner"),
    [
        ("/awards?select=films(id)", "object", False),
        ("/films?select=details(*)", "object", False),
        ("/films?select=awards!inner(id)", "array", True),
        ("/films?select=awards!left(id)", "array", False),
        ("/films?select=actors(id)", "array", False),
        ("/awards?select=...films(id)", "spread_one", False),
        ("/films?select=...awards!inner(id)", "spread_many", True),
    ],
)
def test_an_embed_is_one_row_or_many_nested_or_spread(target: str, mode: str, is_inner: bool) -> None:
    found = embed(target)
    assert (found.mode, found.is_inner) == (mode, is_inner)


def test_levels_are_named_by_table_label_and_depth() -> None:
    films = embed("/directors?select=made:films!director_id(prizes:awards(id))")
    assert (films.label, films.lateral, films.read.alias) == ("made", "directors_made_1", "films_1")
    [awards] = films.read.embeds
    assert (awards.lateral, awards.read.alias) == ("films_prizes_2", "awards_2")


def test_names_that_postgresql_would_cut_stay_apart() -> None:
    long = "x" * 70
    one, other = plan(f"/films?select={long}1:awards(id),{long}2:awards(id)").embeds
    assert one.lateral != other.lateral
    assert all(len(name.encode()) <= 63 for name in (one.lateral, other.lateral))
    umlauts = embed(f"/films?select={'%C3%BC' * 70}:awards(id)")
    assert len(umlauts.lateral.encode()) <= 63


@pytest.mark.parametrize(
    ("select", "is_empty"),
    [
        ("awards()", True),
        ("awards(id)", False),
        ("roles(actors())", True),
        ("roles(actors(films()))", True),
        ("roles(actors(id))", False),
        ("...awards()", False),
    ],
)
def test_an_embed_of_nothing_is_not_shown(select: str, is_empty: bool) -> None:
    assert embed(f"/films?select={select}").is_empty is is_empty


# Spreads


def test_a_spread_shows_the_fields_of_its_level() -> None:
    found = embed(
        "/awards?select=id,...films(title,made:year,data->a->>b,actors(id),roles(),...details(plot))"
    )
    assert [one.name for one in found.fields] == ["title", "made", "b", "actors", "plot"]


def test_everything_in_a_spread_of_one_row_stays_everything() -> None:
    assert embed("/awards?select=...films(*)").fields == (SpreadField("*"),)


def test_everything_in_a_spread_of_many_rows_is_each_column() -> None:
    found = embed("/films?select=...awards(*)")
    assert [one.name for one in found.fields] == ["id", "film_id", "name"]


def test_the_order_of_a_spread_of_many_rows_is_that_of_its_arrays() -> None:
    found = embed("/films?select=...awards(id)&awards.order=name.desc.nullslast,id")
    assert found.read.order == ()
    keys = [key.alias for _, key in found.read.sort_keys]
    assert keys == ["films_awards_1_name_1", "films_awards_1_id_2"]
    assert [(term.field.name, term.direction, term.nulls) for term in found.order] == [
        (keys[0], "desc", "last"),
        (keys[1], None, None),
    ]


def test_such_an_order_may_be_by_a_row_that_is_embedded_in_the_spread() -> None:
    found = embed("/films?select=...roles(part,actors(name))&roles.order=actors(name)")
    [(source, key)] = found.read.sort_keys
    assert (source, key.field.name) == ("roles_actors_2", "name")


def test_a_limited_spread_takes_the_first_rows_of_its_order() -> None:
    found = embed("/films?select=...awards(id)&awards.order=name&awards.limit=1")
    assert [term.field.name for term in found.read.order] == ["name"]
    assert len(found.order) == 1


# Aggregates


def test_aggregates_need_to_be_allowed() -> None:
    for select in ("count()", "id.max()", "awards(id.max())", "...directors!director_id(id.max())"):
        error = refuse(f"/films?select={select}")
        assert (error.code, error.status, error.message) == (
            "PGRST123",
            400,
            "Use of aggregate functions is not allowed",
        )


@pytest.mark.parametrize(
    ("target", "is_grouped"),
    [
        ("/films?select=count()", True),
        ("/films?select=year,price.sum()", True),
        ("/films?select=year", False),
        ("/films?select=awards(id.max())", False),
        ("/films?select=year,...directors!director_id(born.max())", True),
        ("/films?select=year,...directors!director_id(born)", False),
    ],
)
def test_a_level_with_aggregates_is_grouped(target: str, is_grouped: bool) -> None:
    assert plan(target, settings=AGGREGATES).is_grouped is is_grouped


def test_everything_beside_an_aggregate_is_each_column() -> None:
    found = plan("/awards?select=*,id.count()", settings=AGGREGATES)
    assert [(one.field.name, one.aggregate) for one in found.select] == [
        ("id", None),
        ("film_id", None),
        ("name", None),
        ("id", "count"),
    ]
    # also in the levels below, which are grouped by
    below = embed("/films?select=count(),awards(*)", settings=AGGREGATES)
    assert [one.field.name for one in below.read.select] == ["id", "film_id", "name"]


def test_an_aggregate_is_called_by_its_name_unless_it_has_an_alias() -> None:
    found = plan("/films?select=price.sum(),total:price::int.sum()::text", settings=AGGREGATES).select
    assert [(one.alias, one.cast, one.aggregate_cast) for one in found] == [
        (None, None, None),
        ("total", "int", "text"),
    ]


def test_an_aggregate_in_a_spread_of_one_row_is_that_of_the_level_above() -> None:
    found = plan(
        "/films?select=year,...directors!director_id(oldest:born.min()::text,name)", settings=AGGREGATES
    )
    [below] = found.embeds
    assert below.fields == (SpreadField("oldest", "min", "text", "oldest"), SpreadField("name"))
    assert all(one.aggregate is None for one in below.read.select)
    assert found.is_grouped


def test_an_aggregate_rises_through_all_spreads_of_one_row() -> None:
    found = plan(
        "/awards?select=name,...films(...directors!director_id(born.max(),count()))", settings=AGGREGATES
    )
    [films] = found.embeds
    assert films.fields == (
        SpreadField("max", "max", None, "max"),
        SpreadField("count", "count", None, "count"),
    )
    [directors] = films.read.embeds
    assert directors.fields == (SpreadField("max"), SpreadField("count"))
    counted = directors.read.select[1]
    assert (counted.aggregate, counted.field.is_row) == (
        None,
        True,
    )  # the rows of the level itself are counted


def test_an_aggregate_stops_at_the_first_level_that_is_no_spread() -> None:
    films = embed("/directors?select=films!director_id(year,...details(plot.count()))", settings=AGGREGATES)
    assert films.read.is_grouped
    assert not plan(
        "/directors?select=films!director_id(year,...details(plot.count()))", settings=AGGREGATES
    ).is_grouped


@pytest.mark.parametrize(
    "select", ["...awards(id.max())", "...actors(count())", "...awards(...films(year.max()))"]
)
def test_aggregates_in_spreads_of_many_rows_are_not_done(select: str) -> None:
    error = refuse(f"/films?select={select}", settings=AGGREGATES)
    assert (error.code, error.status, error.message) == ("PGRST127", 400, "Feature not implemented")
    assert error.details == "Aggregates are not implemented for one-to-many or many-to-many spreads."


def test_a_count_of_rows_at_the_root_stays_one() -> None:
    assert plan("/films?select=count()", settings=AGGREGATES).select == (
        PlannedSelect(plan("/films").select[0].field, None, None, "count", None),
    )
