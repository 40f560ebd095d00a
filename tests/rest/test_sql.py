"""The statement of a read, one example a feature: its text, and the parameters beside it."""

import re
from dataclasses import replace

import pytest

from tests.rest.planning import AGGREGATES, SETTINGS, parameters, prepared
from tests.rest.statements import COUNTED, joined, main, read, source

pytestmark = pytest.mark.req("P5")


# Selecting


@pytest.mark.parametrize(
    ("select", "text", "bound"),
    [
        ("", '"films".*', ()),
        ("select=*", '"films".*', ()),
        ("select=id,name:title", '"films"."id", "films"."title" as "name"', ()),
        (
            "select=price::text,p:price::numeric",
            'cast("films"."price" as text), cast("films"."price" as numeric) as "p"',
            (),
        ),
        ("select=data->a->>0", '("films"."data"->$1->>$2::int) as "a"', (b"a", b"0")),
        ("select=tags->1", '(to_jsonb("films"."tags")->$1::int) as "tags"', (b"1",)),
        ("select=data->>a::int", 'cast(("films"."data"->>$1) as int) as "a"', (b"a",)),
        ("select=", '"films".*', ()),
    ],
)
def test_fields(select: str, text: str, bound: tuple[bytes, ...]) -> None:
    found = read(f"/films?{select}")
    assert source(found) == f'select {text} from "public"."films" as "films"'
    assert parameters(found) == bound


def test_a_representation_is_applied_on_the_way_out_and_in() -> None:
    assert source(read("/rooms?colour=eq.red&colour=in.(a,b)")) == joined("""
        select "rooms"."id", public.colour_to_json("rooms"."colour") as "colour" from "public"."rooms" as "rooms"
        where "rooms"."colour" = public.colour_from_text($1)
        and "rooms"."colour" = any((select public.colour_from_text(unnest($2::text[]))))
    """)
    assert source(prepared("POST", "/rooms", {}, b'{"colour":"a"}')) == joined("""
        insert into "public"."rooms" as "rooms" ("colour") select pgrst_body."colour"
        from (select public.colour_from_json("colour") as "colour" from json_to_record($1::json) as _("colour" json))
        as pgrst_body returning 1
    """)


# Filtering


@pytest.mark.parametrize(
    ("condition", "text", "bound"),
    [
        ("id=eq.1", '"films"."id" = $1', (b"1",)),
        ("id=not.neq.1", 'not "films"."id" <> $1', (b"1",)),
        ("id=gt.1&id=lte.5", '"films"."id" > $1 and "films"."id" <= $2', (b"1", b"5")),
        ("title=like.a*b%25", '"films"."title" like $1', (b"a%b%",)),
        ("title=ilike(any).{a*,b}", '"films"."title" ilike any($1)', (b"{a%,b}",)),
        ("title=match.^a*", '"films"."title" ~ $1', (b"^a*",)),
        ("id=gt(all).{1,2}", '"films"."id" > all($1)', (b"{1,2}",)),
        ("tags=cs.{a}&tags=cd.{b}", '"films"."tags" @> $1 and "films"."tags" <@ $2', (b"{a}", b"{b}")),
        ("year=adj.[1,2)", '"films"."year" -|- $1', (b"[1,2)",)),
        ("id=in.(1,2)", '"films"."id" = any($1)', (b'{"1","2"}',)),
        ("id=not.in.()", 'not "films"."id" = any($1)', (b"{}",)),
        ('title=in.("a""b","c\\\\d")', '"films"."title" = any($1)', (b'{"\\"a\\"\\"b\\"","c\\\\d"}',)),
        ("year=is.null", '"films"."year" is null', ()),
        ("year=not.is.not_null", 'not "films"."year" is not null', ()),
        ("year=isdistinct.5", '"films"."year" is distinct from $1', (b"5",)),
        ("search=fts.a", '"films"."search" @@ to_tsquery($1)', (b"a",)),
        (
            "title=not.plfts(english).a",
            'not to_tsvector($1::regconfig, "films"."title") @@ plainto_tsquery($1::regconfig, $2)',
            (b"english", b"a"),
        ),
        ("data->a->>b=eq.1", '("films"."data"->$1->>$2) = $3', (b"a", b"b", b"1")),
        (
            "or=(id.eq.1,not.and(year.gt.2,title.is.null))",
            '("films"."id" = $1 or not ("films"."year" > $2 and "films"."title" is null))',
            (b"1", b"2"),
        ),
    ],
)
def test_conditions(condition: str, text: str, bound: tuple[bytes, ...]) -> None:
    found = read(f"/films?select=id&{condition}")
    assert source(found) == f'select "films"."id" from "public"."films" as "films" where {text}'
    assert parameters(found) == bound


@pytest.mark.parametrize(
    ("asked", "text", "bound"),
    [
        ("order=id", ' order by "films"."id"', ()),
        (
            "order=year.desc.nullslast,title.asc.nullsfirst",
            ' order by "films"."year" desc nulls last, "films"."title" asc nulls first',
            (),
        ),
        ("order=data->a", ' order by ("films"."data"->$1)', (b"a",)),
        ("limit=2", " limit $1", (b"2",)),
        ("limit=2&offset=3", " limit $1 offset $2", (b"2", b"3")),
        ("offset=3", " offset $1", (b"3",)),
        ("offset=0", "", ()),
    ],
)
def test_order_and_window(asked: str, text: str, bound: tuple[bytes, ...]) -> None:
    found = read(f"/films?select=id&{asked}")
    assert source(found) == f'select "films"."id" from "public"."films" as "films"{text}'
    assert parameters(found) == bound


@pytest.mark.parametrize(("limit", "bound"), [("", b"10"), ("&limit=3", b"3"), ("&limit=30", b"10")])
def test_the_most_rows_are_a_limit(limit: str, bound: bytes) -> None:
    assert parameters(read(f"/films?select=id{limit}", settings=COUNTED)) == (bound,)


# Embedding


def test_to_one() -> None:
    assert source(read("/films?select=id,made_by:directors!director_id(name)")) == joined("""
        select "films"."id", row_to_json("films_made_by_1".*) as "made_by" from "public"."films" as "films"
        left join lateral (select "directors_1"."name" from "public"."directors" as "directors_1"
        where "directors_1"."id" = "films"."director_id") as "films_made_by_1" on true
    """)


def test_to_many_with_conditions_order_and_window_of_its_own() -> None:
    found = read(
        "/films?select=awards(name)&awards.name=eq.x&awards.order=name&awards.limit=2&awards.offset=1&id=eq.7"
    )
    assert source(found) == joined("""
        select coalesce("films_awards_1"."films_awards_1", '[]') as "awards" from "public"."films" as "films"
        left join lateral (select json_agg("films_awards_1") as "films_awards_1" from
        (select "awards_1"."name" from "public"."awards" as "awards_1"
        where "awards_1"."film_id" = "films"."id" and "awards_1"."name" = $1
        order by "awards_1"."name" limit $2 offset $3) as "films_awards_1") as "films_awards_1" on true
        where "films"."id" = $4
    """)
    assert parameters(found) == (b"x", b"2", b"1", b"7")


def test_through_a_junction() -> None:
    assert source(read("/films?select=actors(name)")) == joined("""
        select coalesce("films_actors_1"."films_actors_1", '[]') as "actors" from "public"."films" as "films"
        left join lateral (select json_agg("films_actors_1") as "films_actors_1" from
        (select "actors_1"."name" from "public"."actors" as "actors_1", "public"."roles" as "roles_actors_1"
        where "roles_actors_1"."actor_id" = "actors_1"."id" and "roles_actors_1"."film_id" = "films"."id")
        as "films_actors_1") as "films_actors_1" on true
    """)


def test_by_a_function() -> None:
    assert source(read("/films?select=best_awards(name)")) == joined("""
        select coalesce("films_best_awards_1"."films_best_awards_1", '[]') as "best_awards"
        from "public"."films" as "films"
        left join lateral (select json_agg("films_best_awards_1") as "films_best_awards_1" from
        (select "awards_1"."name" from "public"."best_awards"("films"::"public"."films") as "awards_1")
        as "films_best_awards_1") as "films_best_awards_1" on true
    """)


def test_inner_joins_and_conditions_on_whether_there_are_rows() -> None:
    assert source(read("/films?select=id,awards!inner(),actors()&or=(actors.is.null,id.eq.1)")) == joined("""
        select "films"."id" from "public"."films" as "films"
        inner join lateral (select json_agg("films_awards_1") as "films_awards_1" from
        (select "awards_1".* from "public"."awards" as "awards_1" where "awards_1"."film_id" = "films"."id")
        as "films_awards_1") as "films_awards_1" on "films_awards_1" is not null
        left join lateral (select json_agg("films_actors_1") as "films_actors_1" from
        (select "actors_1".* from "public"."actors" as "actors_1", "public"."roles" as "roles_actors_1"
        where "roles_actors_1"."actor_id" = "actors_1"."id" and "roles_actors_1"."film_id" = "films"."id")
        as "films_actors_1") as "films_actors_1" on true
        where ("films_actors_1" is not distinct from null or "films"."id" = $1)
    """)


def test_order_by_a_row_that_is_embedded() -> None:
    found = source(read("/films?select=d:directors!director_id(name)&order=d(name).desc"))
    assert found.endswith('as "films_d_1" on true order by "films_d_1"."name" desc')


def test_two_levels() -> None:
    found = source(read("/directors?select=films!director_id(awards(name))"))
    assert 'where "awards_2"."film_id" = "films_1"."id"' in found
    assert 'where "films_1"."director_id" = "directors"."id"' in found


def test_a_spread_of_one_row() -> None:
    assert source(read("/awards?select=id,...films(title,made:year)")) == joined("""
        select "awards"."id", "awards_films_1"."title", "awards_films_1"."made" from "public"."awards" as "awards"
        left join lateral (select "films_1"."title", "films_1"."year" as "made" from "public"."films" as "films_1"
        where "films_1"."id" = "awards"."film_id") as "awards_films_1" on true
    """)


def test_a_spread_of_many_rows() -> None:
    assert source(read("/films?select=id,...awards(name)&awards.order=id.desc")) == joined("""
        select "films"."id", "films_awards_1"."name" from "public"."films" as "films"
        left join lateral (select json_agg("films_awards_1") as "films_awards_1",
        coalesce(json_agg("films_awards_1"."name" order by "films_awards_1"."films_awards_1_id_1" desc), '[]')::jsonb
        as "name" from (select "awards_1"."name", "awards_1"."id" as "films_awards_1_id_1"
        from "public"."awards" as "awards_1" where "awards_1"."film_id" = "films"."id") as "films_awards_1")
        as "films_awards_1" on true
    """)


# Aggregates


@pytest.mark.parametrize(
    ("select", "text"),
    [
        ("count()", 'select count("films".*) from "public"."films" as "films"'),
        (
            "year,price.sum(),n:count()::text",
            'select "films"."year", sum("films"."price"), cast(count("films".*) as text) as "n" '
            'from "public"."films" as "films" group by "films"."year"',
        ),
        (
            "made:year,price::int.max()",
            'select "films"."year" as "made", max(cast("films"."price" as int)) '
            'from "public"."films" as "films" group by "films"."year"',
        ),
    ],
)
def test_aggregates(select: str, text: str) -> None:
    assert source(read(f"/films?select={select}", settings=AGGREGATES)) == text


def test_rows_are_grouped_by_embeds_which_have_to_be_comparable() -> None:
    found = source(
        read("/films?select=count(),awards(name),directors!director_id(name)", settings=AGGREGATES)
    )
    assert """coalesce("films_awards_1"."films_awards_1", '[]')::jsonb as "awards\"""" in found
    assert 'row_to_json("films_directors_1".*)::jsonb as "directors"' in found
    _, groups = found.split(" group by ")
    assert groups == (
        """coalesce("films_awards_1"."films_awards_1", '[]')::jsonb, row_to_json("films_directors_1".*)::jsonb"""
    )


def test_an_aggregate_in_a_spread_is_done_above_it() -> None:
    found = read(
        "/films?select=year,...directors!director_id(name,oldest:born.min()::text)", settings=AGGREGATES
    )
    assert source(found) == joined("""
        select "films"."year", "films_directors_1"."name",
        cast(min("films_directors_1"."oldest") as text) as "oldest" from "public"."films" as "films"
        left join lateral (select "directors_1"."name", "directors_1"."born" as "oldest"
        from "public"."directors" as "directors_1" where "directors_1"."id" = "films"."director_id")
        as "films_directors_1" on true group by "films"."year", "films_directors_1"."name"
    """)


# The answer


SETTINGS_READ = ", ".join(
    f"nullif(current_setting('response.{name}', true), '')" for name in ("status", "headers")
)


@pytest.mark.parametrize(
    ("accept", "body"),
    [
        ("application/json", "coalesce(json_agg(_postgrest_t), '[]')"),
        ("application/vnd.pgrst.object+json", "coalesce(json_agg(_postgrest_t)->0, 'null')"),
        (
            "application/vnd.pgrst.object+json;nulls=stripped",
            "coalesce(json_strip_nulls(json_agg(_postgrest_t)->0), 'null')",
        ),
        (
            "application/vnd.pgrst.array+json;nulls=stripped",
            "coalesce(json_strip_nulls(json_agg(_postgrest_t)), '[]')",
        ),
        (
            "application/geo+json",
            "json_build_object('type', 'FeatureCollection', 'features', "
            "coalesce(json_agg(st_asgeojson(_postgrest_t)::json), '[]'))",
        ),
        ("text/html", '"public"."page"(_postgrest_t)'),
        ("application/x-films", '"public"."film_list"(_postgrest_t::"public"."films")'),
    ],
)
def test_bodies(accept: str, body: str) -> None:
    assert main(read("/films", headers={"accept": accept})) == (
        f"select null::bigint, count(_postgrest_t), {body}, {SETTINGS_READ} "
        "from (select * from pgrst_source) as _postgrest_t"
    )


def test_csv_has_a_line_of_names_and_one_a_row() -> None:
    found = main(read("/films", headers={"accept": "text/csv"}))
    assert "json_object_keys" in found
    assert "string_agg(substring(_postgrest_t::text, 2, length(_postgrest_t::text) - 2), E'\\n')" in found


def test_without_rows_only_their_number_is_asked_for() -> None:
    assert "count(_postgrest_t), ''::text," in main(prepared("HEAD", "/films"))


def test_a_plan_is_the_same_statement_explained() -> None:
    accept = {"accept": "application/vnd.pgrst.plan+json; options=analyze|wal"}
    found = read("/films", headers=accept, settings=replace(SETTINGS, db_plan_enabled=True))
    assert found.statement.text == f"explain (format json, analyze, wal) {read('/films').statement.text}"


# Counting


@pytest.mark.parametrize(
    ("target", "counted"),
    [
        ("/films?id=gt.5&limit=3", 'select 1 from "public"."films" as "films" where "films"."id" > $2'),
        (
            "/films?select=awards!inner(id)&awards.name=eq.x&limit=3",
            'select 1 from "public"."films" as "films" where exists (select 1 from "public"."awards" as "awards_1" '
            'where "awards_1"."film_id" = "films"."id" and "awards_1"."name" = $2)',
        ),
        (
            "/films?select=awards()&awards=is.null&limit=3",
            'select 1 from "public"."films" as "films" where not exists (select 1 from "public"."awards" as '
            '"awards_1" where "awards_1"."film_id" = "films"."id")',
        ),
        (
            "/films?select=awards()&or=(id.eq.1,awards.not.is.null)&limit=3",
            'select 1 from "public"."films" as "films" where ("films"."id" = $2 or exists (select 1 from '
            '"public"."awards" as "awards_1" where "awards_1"."film_id" = "films"."id"))',
        ),
    ],
)
def test_counting_asks_no_more_than_whether_rows_are_there(target: str, counted: str) -> None:
    found = joined(main(read(target.replace("&limit", "&order=id&limit"), headers={"prefer": "count=exact"})))
    # the same literal is bound once more, behind those of the rows
    pattern = re.escape(counted).replace(r"\$2", r"\$\d+")
    assert re.search(rf"^, pgrst_source_count as \({pattern}\) select \(select count\(\*\) from", found), (
        found
    )


def test_without_a_window_the_rows_are_the_count() -> None:
    found = read("/films?id=gt.5", headers={"prefer": "count=exact"})
    assert main(found).startswith("select count(_postgrest_t), count(_postgrest_t),")


def test_an_estimate_counts_no_further_than_the_most_rows() -> None:
    found = read("/films", headers={"prefer": "count=estimated"}, settings=COUNTED)
    assert ', pgrst_source_count as (select 1 from "public"."films" as "films" limit 11)' in main(found)
    assert found.count_plan is not None
    assert found.count_plan.text == 'explain (format json) select 1 from "public"."films" as "films"'


def test_a_planned_count_is_asked_of_the_planner_alone() -> None:
    found = read("/films?id=gt.5", headers={"prefer": "count=planned"}, settings=COUNTED)
    assert "pgrst_source_count" not in main(found)
    assert found.count_plan is not None
    assert found.count_plan.text == (
        'explain (format json) select 1 from "public"."films" as "films" where "films"."id" > $1'
    )
    assert read("/films").count_plan is None
