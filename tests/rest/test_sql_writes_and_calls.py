"""The statement of a write or of a call, one example a feature: its text, and the parameters beside it."""

from typing import Any

import pytest

from tests.rest.planning import parameters, prepared
from tests.rest.statements import BYTES, FORM, FULL, joined, main, read, source

pytestmark = pytest.mark.req("P5")


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
