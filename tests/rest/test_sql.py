"""The statement of a request, one example a feature: its text, and the parameters beside it."""

import re
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pglast.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basalt.rest.errors import RestError
from basalt.rest.run import Prepared
from tests.rest.planning import AGGREGATES, SETTINGS, parameters, prepared

pytestmark = pytest.mark.req("P5")

FULL = {"prefer": "return=representation"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
BYTES = {"content-type": "application/octet-stream"}
COUNTED = replace(AGGREGATES, db_max_rows=10)


def joined(text: str) -> str:
    """In one line."""
    return re.sub(r"\s+", " ", text).strip()


def source(found: Prepared) -> str:
    """What stands in the first common table: for a read the rows themselves."""
    text = joined(found.statement.text)
    depth = 0
    for place, char in enumerate(text):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == ")" and depth == 0:
            return text[len("with pgrst_source as (") : place].strip()
    raise AssertionError(text)


def main(found: Prepared) -> str:
    """What is made of the first common table."""
    return joined(found.statement.text).removeprefix(f"with pgrst_source as ({source(found)})").strip()


def read(target: str, **kwargs: Any) -> Prepared:
    return prepared("GET", target, **kwargs)


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


# Writing


def test_insert() -> None:
    assert source(prepared("POST", "/films", {}, b'{"title":"a","year":1}')) == joined("""
        insert into "public"."films" as "films" ("title", "year") select pgrst_body."title", pgrst_body."year"
        from json_to_record($1::json) as pgrst_body("title" text, "year" integer) returning 1
    """)
    many = source(prepared("POST", "/films", {}, b'[{"title":"a"}]'))
    assert "from json_to_recordset($1::json) as pgrst_body" in many


@pytest.mark.parametrize(
    ("body", "rows"),
    [(b"{}", "(select $1::json) as pgrst_body"), (b"[]", "json_array_elements($1::json) as pgrst_body")],
)
def test_rows_of_nothing_but_defaults(body: bytes, rows: str) -> None:
    found = source(prepared("POST", "/films", {}, body))
    assert found == f'insert into "public"."films" as "films" select from {rows} returning 1'


@pytest.mark.parametrize(
    ("target", "resolution", "conflict"),
    [
        ("/films", "ignore-duplicates", 'on conflict ("id") do nothing'),
        ("/films?on_conflict=title,year", "ignore-duplicates", 'on conflict ("title", "year") do nothing'),
        (
            "/films?on_conflict=title",
            "merge-duplicates",
            'on conflict ("title") do update set "title" = excluded."title", "year" = excluded."year" where set_',
        ),
    ],
)
def test_upsert(target: str, resolution: str, conflict: str) -> None:
    found = prepared("POST", target, {"prefer": f"resolution={resolution}"}, b'[{"title":"a","year":1}]')
    assert conflict in source(found)


def test_an_upsert_tells_how_many_rows_are_new() -> None:
    merge = main(prepared("POST", "/films", {"prefer": "resolution=merge-duplicates"}, b'[{"id":1}]'))
    ignore = main(prepared("POST", "/films", {"prefer": "resolution=ignore-duplicates"}, b'[{"id":1}]'))
    inserted = "nullif(current_setting('basalt.inserted', true), '')::int"
    assert (inserted in merge, inserted in ignore) == (True, False)


def test_put_takes_the_row_of_the_url_alone() -> None:
    found = prepared("PUT", "/films?id=eq.1", {}, b'{"id":1,"title":"a"}')
    assert 'is not null and pgrst_body."id" = $2 on conflict ("id") do update set' in source(found)
    assert "case when (select count(*) from pgrst_source) <> 1 then cast(" in main(found)
    assert parameters(found) == (b'{"id":1,"title":"a"}', b"1")


def test_update() -> None:
    found = prepared("PATCH", "/films?id=eq.1&or=(year.eq.2,year.eq.3)", {}, b'{"title":"a"}')
    assert source(found) == joined("""
        update "public"."films" set "title" = pgrst_body."title"
        from json_to_record($1::json) as pgrst_body("title" text)
        where "films"."id" = $2 and ("films"."year" = $3 or "films"."year" = $4) returning 1
    """)
    assert source(prepared("PATCH", "/films", {}, b"{}")) == 'select 1 from "public"."films" where false'
    first = source(prepared("PATCH", "/films", {}, b'[{"title":"a"},{"title":"b"}]'))
    assert (
        'from (select * from json_to_recordset($1::json) as _("title" text) limit 1) as pgrst_body' in first
    )


def test_delete() -> None:
    found = prepared("DELETE", "/films?id=eq.1&select=title", FULL)
    assert source(found) == 'delete from "public"."films" where "films"."id" = $1 returning "films"."title"'
    assert main(found).endswith('from (select "films"."title" from pgrst_source as "films") as _postgrest_t')


def test_defaults_are_put_below_what_was_sent() -> None:
    prefer = {"prefer": "missing=default"}
    many = source(prepared("POST", "/films?columns=id,title,year", prefer, b'[{"title":"a"}]'))
    assert (
        joined("""
        from (select jsonb_agg(jsonb_build_object('id', nextval('films_id_seq'), 'year', 2000) || elem) as val
        from jsonb_array_elements($1::jsonb) as elem) as pgrst_defaults,
        lateral (select * from jsonb_to_recordset(pgrst_defaults.val) as _("id" integer, "title" text, "year" integer))
        as pgrst_body
    """)
        in many
    )
    one = source(prepared("PATCH", "/films?columns=year", prefer, b"{}"))
    assert "(select jsonb_build_object('year', 2000) || $1::jsonb as val) as pgrst_defaults" in one


def test_an_answer_is_read_from_the_changed_rows() -> None:
    found = main(prepared("POST", "/films?select=title,awards(name)", FULL, b'[{"title":"a"}]'))
    assert 'from (select "films"."title", coalesce(' in found
    assert 'from pgrst_source as "films" left join lateral' in found


def test_the_key_of_a_new_row_is_asked_for_where_it_is_wanted() -> None:
    found = main(prepared("POST", "/roles", {"prefer": "return=headers-only"}, b'{"part":"a"}'))
    assert "json_build_object('film_id', \"film_id\"::text, 'actor_id', \"actor_id\"::text)" in found
    assert "json_build_object" not in main(
        prepared("POST", "/logs", {"prefer": "return=headers-only"}, b"{}")
    )


@pytest.mark.parametrize(
    ("method", "headers", "guard"),
    [
        ("PATCH", {"accept": "application/vnd.pgrst.object+json"}, "<> 1 then cast('basalt rows not one: '"),
        ("DELETE", {"prefer": "handling=strict, max-affected=5"}, "> 5 then cast('basalt too many rows: '"),
        ("DELETE", {"prefer": "max-affected=5"}, None),
        ("POST", {"prefer": "handling=strict, max-affected=5"}, None),
    ],
)
def test_a_write_of_too_many_rows_undoes_itself(
    method: str, headers: dict[str, str], guard: str | None
) -> None:
    found = main(prepared(method, "/films", headers, b"{}" if method == "POST" else b'{"title":"a"}'))
    assert ("cast('basalt" in found) is (guard is not None)
    assert guard is None or guard in found


# Calling


@pytest.mark.parametrize(
    ("asked", "call", "bound"),
    [
        (
            ("GET", "/rpc/add?b=2&a=1"),
            '(select "public"."add"("a" := $1::integer, "b" := $2::integer) as pgrst_scalar) as pgrst_call',
            (b"1", b"2"),
        ),
        (
            ("POST", "/rpc/add", {}, b'{"a":1}'),
            'json_to_record($1::json) as pgrst_body("a" integer), '
            'lateral (select "public"."add"("a" := pgrst_body."a") as pgrst_scalar) as pgrst_call',
            (b'{"a":1}',),
        ),
        (
            ("POST", "/rpc/add", {}, b'[{"a":1},{"a":2}]'),
            '(select * from json_to_recordset($1::json) as _("a" integer) limit 1) as pgrst_body, '
            'lateral (select "public"."add"("a" := pgrst_body."a") as pgrst_scalar) as pgrst_call',
            (b'[{"a":1},{"a":2}]',),
        ),
        (
            ("POST", "/rpc/add", FORM, b"a=1"),
            '(select "public"."add"("a" := $1::integer) as pgrst_scalar) as pgrst_call',
            (b"1",),
        ),
        (
            ("GET", "/rpc/total?numbers=1&numbers=2"),
            '(select "public"."total"(variadic "numbers" := $1::integer[]) as pgrst_scalar) as pgrst_call',
            (b'{"1","2"}',),
        ),
        (
            ("POST", "/rpc/take_json", {}, b"[1]"),
            '(select "public"."take_json"($1::json) as pgrst_scalar) as pgrst_call',
            (b"[1]",),
        ),
        (
            ("POST", "/rpc/take_bytes", BYTES, b"\0a"),
            '(select "public"."take_bytes"($1::bytea) as pgrst_scalar) as pgrst_call',
            (b"\\x0061",),
        ),
        (("GET", "/rpc/numbers"), '(select "public"."numbers"() as pgrst_scalar) as pgrst_call', ()),
    ],
)
def test_calls(asked: Any, call: str, bound: tuple[bytes, ...]) -> None:
    found = prepared(*asked)
    assert source(found) == f"select pgrst_call.pgrst_scalar from {call}"
    assert parameters(found) == bound


def test_a_routines_rows_are_read_like_a_tables() -> None:
    found = read("/rpc/films_of?year=1&select=title&id=eq.3&order=title&limit=2")
    assert source(found) == (
        'select pgrst_call."id", pgrst_call."title" from "public"."films_of"("year" := $1::integer) as pgrst_call'
    )
    assert main(found).endswith(
        'from (select "films"."title" from pgrst_source as "films" where "films"."id" = $2 '
        'order by "films"."title" limit $3) as _postgrest_t'
    )
    assert parameters(found) == (b"1", b"3", b"2")


@pytest.mark.parametrize(
    ("target", "count", "body"),
    [
        ("/rpc/add?a=1", "1", "coalesce(json_agg(_postgrest_t.pgrst_scalar)->0, 'null')"),
        ("/rpc/numbers", "count(_postgrest_t)", "coalesce(json_agg(_postgrest_t.pgrst_scalar), '[]')"),
        ("/rpc/one_film?id=1", "1", "coalesce(json_agg(_postgrest_t)->0, 'null')"),
        ("/rpc/films_of?year=1", "count(_postgrest_t)", "coalesce(json_agg(_postgrest_t), '[]')"),
    ],
)
def test_a_routine_answers_as_it_returns(target: str, count: str, body: str) -> None:
    assert main(read(target)).startswith(f"select null::bigint, {count}, {body}, ")


# What no request can bring in


def test_names_are_quoted_whatever_they_hold() -> None:
    select = quote(r'"a\"b","x\"y":"C d","emb\"ed"->k')
    found = source(read(f"/we%22ird?select={select}&order=%22drop%20table%22"))
    assert '"we""ird"."a""b"' in found
    assert '"we""ird"."C d" as "x""y"' in found
    assert '"we""ird"."emb""ed"' in found
    assert found.endswith('order by "we""ird"."drop table"')


@pytest.mark.parametrize("cast", ["int4range", "double precision", "my_type", "_int4"])
def test_a_cast_is_words(cast: str) -> None:
    assert f'cast("films"."id" as {cast})' in source(read(f"/films?select=id::{cast.replace(' ', '%20')}"))


@pytest.mark.parametrize("cast", ["my$type", "größe"])
def test_a_cast_of_other_characters_is_refused(cast: str) -> None:
    with pytest.raises(RestError) as raised:
        read(f"/films?select=id::{quote(cast)}")
    assert raised.value.code == "PGRST100"


MARK = "Xy7Zq"
hostile = st.sampled_from(
    [f"'{MARK}", f"{MARK}$1", f"{MARK}--", f"{MARK};", f"{MARK}\\", f"{MARK}*", f"{MARK}é"]
)


@settings(max_examples=100)
@given(hostile, hostile, hostile)
def test_values_never_stand_in_the_text(one: str, two: str, three: str) -> None:
    one, two, three = quote(one), quote(two), quote(three)
    target = (
        f"/films?title=eq.{one}&id=in.({two},{three})&data->>{MARK}=eq.{one}&or=(title.like.{two},search.fts.{three})"
        f"&select=id,data->{MARK},awards(name)&awards.name=eq.{one}"
    )
    for found in (
        prepared("GET", target, {"prefer": "count=exact"}),
        prepared("PATCH", target, FULL, b'{"title":"' + MARK.encode() + b'"}'),
    ):
        text = found.statement.text
        assert MARK not in text.replace(f'as "{MARK}"', "")
        assert sum(MARK.encode() in (value or b"") for value in parameters(found)) >= 6


def test_one_text_serves_all_requests_of_a_shape() -> None:
    texts = {
        read(f"/films?id=in.({numbers})&title=eq.{title}&limit={limit}&offset=2").statement.text
        for numbers, title, limit in [("1", "a", 1), ("1,2,3", "b%27", 50), ("", "", 999)]
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    "asked",
    [
        ("GET", "/films?select=*,awards(*,films(*)),...directors!director_id(name)&or=(id.eq.1,title.is.null)&limit=1"),
        ("GET", "/films?select=count(),price.sum(),year,...directors!director_id(born.min())"),
        ("POST", "/films?columns=id,title", {"prefer": "resolution=merge-duplicates, missing=default"}, b"[]"),
        ("PUT", "/films?id=eq.1", {}, b'{"id":1}'),
        ("PATCH", "/films?id=eq.1", {"prefer": "handling=strict, max-affected=1"}, b'{"title":"a"}'),
        ("DELETE", "/films?select=id", FULL),
        ("POST", "/rpc/add", {"prefer": "count=exact"}, b'{"a":1}'),
    ],
)  # fmt: skip
def test_every_text_is_one_statement(asked: Any) -> None:
    found = prepared(*asked, settings=COUNTED)
    assert len(pglast.parser.split(found.statement.text)) == 1
