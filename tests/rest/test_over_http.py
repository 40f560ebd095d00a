"""REST over HTTP on a real database: reads, embeds, writes, calls, and what is refused."""

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import psycopg
import pytest

from tests.server import Server

pytestmark = pytest.mark.req("P5")

FULL = {"prefer": "return=representation"}
OBJECT = {"accept": "application/vnd.pgrst.object+json"}


@pytest.fixture
def restored(library: Server) -> Iterator[None]:
    """For writes: the films are afterwards as they were."""
    yield
    with psycopg.connect(library.database_url) as connection:
        connection.execute("delete from public.films where id > 5")
        connection.execute("update public.films set price = 9.90, rating = 'PG' where id = 1")


def titles(answer: httpx2.Response) -> list[str]:
    assert answer.status_code in (200, 206), answer.text
    return [row["title"] for row in answer.json()]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("year=eq.1927", ["Metropolis", "Sunrise"]),
        ("year=neq.1927&year=lt.1950", ["Nosferatu", "M"]),
        ("year=gte.1927&year=lte.1931", ["Metropolis", "M", "Sunrise"]),
        ("title=like.M*", ["Metropolis", "M", "Metropolis II"]),
        ("title=ilike.m", ["M"]),
        ("title=match.^(M|S)$", ["M"]),
        ("title=imatch.^m$", ["M"]),
        ("title=like(any).{N*,S*}", ["Nosferatu", "Sunrise"]),
        ("title=like(all).{M*,*s}", ["Metropolis"]),
        ("id=in.(1,3)", ["Metropolis", "M"]),
        ('title=in.("M","Sunrise")', ["M", "Sunrise"]),
        ("id=not.in.(1,2,3,4)", ["Metropolis II"]),
        ("rating=is.null", ["Sunrise", "Metropolis II"]),
        ("rating=not.is.null", ["Metropolis", "Nosferatu", "M"]),
        ("rating=isdistinct.R", ["Metropolis", "Sunrise", "Metropolis II"]),
        ("rating=eq.PG", ["Metropolis"]),
        ("tags=cs.{silent}", ["Metropolis", "Nosferatu", "Sunrise"]),
        ("tags=cd.{silent,horror}", ["Nosferatu", "Sunrise", "Metropolis II"]),
        ("tags=ov.{crime,horror}", ["Nosferatu", "M"]),
        ("search=fts.metropolis", ["Metropolis", "Metropolis II"]),
        ("search=wfts(english).sunrise", ["Sunrise"]),
        ("title=fts.sunrise", ["Sunrise"]),
        ("data->length=gt.100", ["Metropolis", "M"]),
        ("data->>length=eq.94", ["Nosferatu"]),
        ("data->cast->0->>n=eq.Helm", ["Metropolis"]),
        ("or=(id.eq.1,and(year.gt.1930,rating.eq.R))", ["Metropolis", "M"]),
        ("not.or=(id.eq.1,id.eq.2,id.eq.5)", ["M", "Sunrise"]),
        ("and=(id.gt.1,not.and(year.eq.1927,id.eq.4))", ["Nosferatu", "M", "Metropolis II"]),
    ],
)
def test_filters_choose_rows(rest: httpx2.Client, query: str, expected: list[str]) -> None:
    assert titles(rest.get(f"/films?select=title&order=id&{query}")) == expected


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("id,title", {"id": 1, "title": "Metropolis"}),
        ("name:title,when:year", {"name": "Metropolis", "when": 1927}),
        ("price,cost:price::text", {"price": 9.90, "cost": "9.90"}),
        ("data->length,data->>length", {"length": "153"}),
        ("minutes:data->length", {"minutes": 153}),
        ("data->cast->0->n", {"n": "Helm"}),
        ("tags->0", {"tags": "scifi"}),
    ],
)
def test_select_renames_casts_and_reaches_into_json(
    rest: httpx2.Client, select: str, expected: dict[str, Any]
) -> None:
    assert rest.get(f"/films?id=eq.1&select={select}").json() == [expected]


def test_order_limit_offset_and_range(rest: httpx2.Client) -> None:
    assert titles(rest.get("/films?order=year.desc,title.asc&limit=2")) == ["Metropolis II", "M"]
    assert titles(rest.get("/films?order=rating.desc.nullslast,id&limit=2&offset=1")) == ["M", "Metropolis"]
    answer = rest.get("/films?order=id", headers={"range": "1-2"})
    assert (titles(answer), answer.headers["content-range"]) == (["Nosferatu", "M"], "1-2/*")


def test_an_exact_count_is_of_all_that_match(rest: httpx2.Client) -> None:
    headers = {"prefer": "count=exact"}
    part = rest.get("/films?year=lt.1950&limit=2", headers=headers)
    assert (part.status_code, part.headers["content-range"]) == (206, "0-1/4")
    whole = rest.get("/films?year=lt.1950", headers=headers)
    assert (whole.status_code, whole.headers["content-range"]) == (200, "0-3/4")
    beyond = rest.get("/films?offset=99", headers=headers)
    assert (beyond.status_code, beyond.json()["code"]) == (416, "PGRST103")
    head = rest.head("/films?year=lt.1950", headers=headers)
    assert (head.content, head.headers["content-range"]) == (b"", "0-3/4")


# Embeds


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("id=eq.1&select=title,director:directors!director_id(name)", [{"title": "Metropolis", "director": {"name": "Lang"}}]),
        ("id=eq.1&select=directors!films_writer_id_fkey(name)", [{"directors": {"name": "Harbou"}}]),
        ("id=eq.1&select=director_id(name)", [{"director_id": {"name": "Lang"}}]),
        ("id=eq.1&select=awards(name)", [{"awards": [{"name": "World memory"}]}]),
        ("id=eq.2&select=awards(name)", [{"awards": []}]),
        ("id=eq.1&select=actors(name)&actors.order=name", [{"actors": [{"name": "Froehlich"}, {"name": "Helm"}]}]),
        ("id=eq.1&select=roles(part,actors(name))&roles.actor_id=eq.1", [{"roles": [{"part": "Maria", "actors": {"name": "Helm"}}]}]),
        ("select=id,awards!inner(name)&order=id", [{"id": 1, "awards": [{"name": "World memory"}]}, {"id": 4, "awards": [{"name": "Oscar"}]}]),
        ("select=id,awards!inner()&awards.name=eq.Oscar", [{"id": 4}]),
        ("select=id,actors!inner(name)&actors.name=eq.Lorre", [{"id": 3, "actors": [{"name": "Lorre"}]}]),
        ("select=id,awards()&awards=is.null&order=id", [{"id": 2}, {"id": 3}, {"id": 5}]),
        ("select=id,awards()&awards=not.is.null&order=id", [{"id": 1}, {"id": 4}]),
        ("select=id,directors!director_id(name)&order=directors(name).desc.nullslast,id&limit=1", [{"id": 2, "directors": {"name": "Murnau"}}]),
        ("id=eq.1&select=title,...directors!director_id(who:name)", [{"title": "Metropolis", "who": "Lang"}]),
        ("id=eq.1&select=actors(name)&actors.limit=1&actors.order=name.desc", [{"actors": [{"name": "Helm"}]}]),
    ],
)  # fmt: skip
def test_embeds(rest: httpx2.Client, query: str, expected: list[dict[str, Any]]) -> None:
    answer = rest.get(f"/films?{query}")
    assert (answer.status_code, answer.json()) == (200, expected)


def test_two_levels_from_the_other_side(rest: httpx2.Client) -> None:
    answer = rest.get("/directors?id=eq.1&select=name,films!director_id(title,awards(name))&films.order=id")
    films = [{"title": "Metropolis", "awards": [{"name": "World memory"}]}, {"title": "M", "awards": []}]
    assert answer.json() == [{"name": "Lang", "films": films}]


def test_an_ambiguous_embed_names_the_candidates(rest: httpx2.Client) -> None:
    answer = rest.get("/films?select=directors(name)")
    body = answer.json()
    assert (answer.status_code, body["code"]) == (300, "PGRST201")
    assert {entry["relationship"].split(" ")[0] for entry in body["details"]} == {
        "films_director_id_fkey",
        "films_writer_id_fkey",
    }
    assert "directors!films_director_id_fkey" in body["hint"]


# Writes


@pytest.mark.usefixtures("restored")
def test_inserts(rest: httpx2.Client) -> None:
    plain = rest.post("/films", json={"title": "A"})
    assert (plain.status_code, plain.content) == (201, b"")
    located = rest.post("/films", json={"title": "B"}, headers={"prefer": "return=headers-only"})
    assert titles(rest.get(located.headers["location"])) == ["B"]
    many = rest.post(
        "/films?select=title,year", json=[{"title": "C", "year": 1}, {"title": "D", "year": 2}], headers=FULL
    )
    assert (many.status_code, many.json()) == (201, [{"title": "C", "year": 1}, {"title": "D", "year": 2}])
    one = rest.post(
        "/films?select=title,directors!director_id(name)",
        json={"title": "E", "director_id": 1},
        headers={**FULL, **OBJECT},
    )
    assert one.json() == {"title": "E", "directors": {"name": "Lang"}}
    chosen = rest.post("/films?columns=title", json={"title": "F", "year": 7, "nonsense": 1}, headers=FULL)
    assert chosen.json()[0]["year"] == 2000
    assert rest.post("/films", json=[]).status_code == 201


@pytest.mark.usefixtures("restored")
def test_upserts(rest: httpx2.Client) -> None:
    merge = {"prefer": "resolution=merge-duplicates, return=representation"}
    by_key = rest.post(
        "/films?select=id,price", json={"id": 1, "title": "Metropolis", "price": 5}, headers=merge
    )
    assert (by_key.status_code, by_key.json()) == (200, [{"id": 1, "price": 5.00}])
    by_title = rest.post(
        "/films?on_conflict=title&select=id,price", json={"title": "Metropolis", "price": 6}, headers=merge
    )
    assert by_title.json() == [{"id": 1, "price": 6.00}]
    ignore = {"prefer": "resolution=ignore-duplicates, return=representation"}
    rows = [{"title": "Metropolis", "price": 7}, {"title": "New", "price": 7}]
    answer = rest.post("/films?on_conflict=title&select=title", json=rows, headers=ignore)
    assert (answer.status_code, answer.json()) == (201, [{"title": "New"}])


@pytest.mark.usefixtures("restored")
def test_updates_and_deletes(rest: httpx2.Client) -> None:
    rest.post("/films", json=[{"title": "X"}, {"title": "Y"}])
    assert rest.patch("/films?title=eq.X", json={"year": 1}).status_code == 204
    changed = rest.patch(
        "/films?title=in.(X,Y)&select=title,year&order=title", json={"year": 3}, headers=FULL
    )
    assert changed.json() == [{"title": "X", "year": 3}, {"title": "Y", "year": 3}]
    moved = rest.patch("/films?title=eq.X&select=title", json={"title": "Z"}, headers=FULL)
    assert moved.json() == [{"title": "Z"}]
    none = rest.patch(
        "/films?title=eq.X", json={"year": 3}, headers={"prefer": "return=representation, count=exact"}
    )
    assert (none.json(), none.headers["content-range"]) == ([], "*/0")
    gone = rest.delete("/films?title=in.(Y,Z)&select=title", headers=FULL)
    assert sorted(row["title"] for row in gone.json()) == ["Y", "Z"]
    assert rest.delete("/films?title=eq.Y").status_code == 204


@pytest.mark.usefixtures("restored")
def test_a_write_that_must_be_of_one_row_and_is_not_is_undone(rest: httpx2.Client) -> None:
    answer = rest.patch("/films?year=eq.1927", json={"price": 1}, headers={**FULL, **OBJECT})
    assert (answer.status_code, answer.json()["code"]) == (406, "PGRST116")
    assert answer.json()["details"] == "The result contains 2 rows"
    assert rest.get("/films?price=eq.1").json() == []


def test_single_and_maybe_single(rest: httpx2.Client) -> None:
    assert rest.get("/films?id=eq.1&select=id", headers=OBJECT).json() == {"id": 1}
    none = rest.get("/films?id=eq.99", headers=OBJECT)
    assert (none.status_code, none.json()["details"]) == (406, "The result contains 0 rows")


# Calls


def test_routines_by_get_and_post(rest: httpx2.Client) -> None:
    assert rest.get("/rpc/add?a=1&b=2").json() == 3
    assert rest.post("/rpc/add", json={"a": 1}).json() == 11
    assert rest.get("/rpc/films_of?p_year=1927&select=title&order=title.desc&limit=1").json() == [
        {"title": "Sunrise"}
    ]
    assert rest.post(
        "/rpc/films_of?title=like.M*&select=title,awards(name)", json={"p_year": 1927}
    ).json() == [{"title": "Metropolis", "awards": [{"name": "World memory"}]}]
    assert rest.get("/rpc/one_film?p_id=3&select=title").json() == {"title": "M"}
    assert rest.get("/rpc/pairs?a=gt.1").json() == [{"a": 2, "b": "y"}]
    assert rest.post("/rpc/total", json={"numbers": [1, 2, 3]}).json() == 6
    assert rest.get("/rpc/total?numbers=4&numbers=5").json() == 9
    assert rest.post("/rpc/echo", json={"any": ["thing"]}).json() == {"any": ["thing"]}
    void = rest.post("/rpc/nothing")
    assert (void.status_code, void.content) == (204, b"")


def test_a_call_by_get_cannot_write(rest: httpx2.Client) -> None:
    answer = rest.get("/rpc/touch")
    assert (answer.status_code, answer.json()["code"]) == (405, "25006")


def test_a_routine_decides_status_headers_and_errors(rest: httpx2.Client) -> None:
    tea = rest.post("/rpc/teapot")
    assert (tea.status_code, tea.headers["x-tea"], tea.json()) == (418, "green", "short and stout")
    pay = rest.post("/rpc/pay")
    assert (pay.status_code, pay.json()["message"], pay.json()["hint"]) == (402, "Pay first", "With money")


@pytest.mark.req("P16")
def test_a_statement_can_read_the_id_of_its_request(rest: httpx2.Client) -> None:
    given = rest.get("/rpc/request_id", headers={"x-request-id": "mine-7"})
    assert given.json() == given.headers["x-request-id"] == "mine-7"
    made = rest.get("/rpc/request_id")
    assert made.json() == made.headers["x-request-id"]


# Schemas, roles, errors


def test_another_exposed_schema_is_chosen_by_profile(rest: httpx2.Client) -> None:
    answer = rest.get("/notes", headers={"accept-profile": "hidden_api"})
    assert (answer.json(), answer.headers["content-profile"]) == (
        [{"id": 1, "body": "in another schema"}],
        "hidden_api",
    )
    assert rest.get("/notes").status_code == 404


def test_rows_are_bounded_by_the_setting(rest: httpx2.Client, library: Server) -> None:
    with psycopg.connect(library.database_url) as connection:
        connection.execute(
            "create table public.many as select n from generate_series(1, 200) as n; grant select on public.many to anon"
        )
    wait_until_found(rest, "/many")
    assert len(rest.get("/many").json()) == 50
    assert len(rest.get("/many?limit=100").json()) == 50


def wait_until_found(rest: httpx2.Client, path: str, limit_s: float = 1.0) -> None:
    deadline = time.monotonic() + limit_s
    while rest.get(path).status_code == 404:
        assert time.monotonic() < deadline, "the schema cache did not follow within a second"
        time.sleep(0.02)


def test_a_migration_of_any_tool_is_seen_within_a_second(rest: httpx2.Client, library: Server) -> None:
    with psycopg.connect(library.database_url) as connection:
        connection.execute(
            "create table public.fresh (id int primary key); grant all on public.fresh to anon"
        )
    wait_until_found(rest, "/fresh")
    with psycopg.connect(library.database_url) as connection:
        connection.execute("alter table public.fresh add column body text")
    deadline = time.monotonic() + 1
    while rest.get("/fresh?select=body").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with psycopg.connect(library.database_url) as connection:
        connection.execute("drop table public.fresh")
    deadline = time.monotonic() + 1
    while rest.get("/fresh").json().__class__ is list:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_missing_privilege_is_401_for_nobody_and_403_for_somebody(
    rest: httpx2.Client, library: Server
) -> None:
    assert (rest.get("/locked").status_code, rest.get("/locked").json()["code"]) == (401, "42501")
    with library.client(library.anon_key, token=None) as client:
        token = _user_token(library)
        answer = client.get("/rest/v1/locked", headers={"authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["code"]) == (403, "42501")


def _user_token(server: Server) -> str:
    with server.client() as client:
        answer = client.post(
            "/auth/v1/signup", json={"email": f"u{time.time_ns()}@example.com", "password": "long enough"}
        )
    token: str = answer.json()["access_token"]
    return token


def test_the_statement_timeout_of_the_role_applies(library: Server) -> None:
    with library.client(library.secret_key) as client:
        started = time.monotonic()
        answer = client.post("/rest/v1/rpc/nap", json={"seconds": 5})
    assert (answer.status_code, answer.json()["code"]) == (500, "57014")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/fims", 404, "PGRST205"),
        ("GET", "/films?select=titel", 400, "42703"),
        ("GET", "/films?select=studios(name)", 400, "PGRST200"),
        ("GET", "/films?awards.name=eq.x", 400, "PGRST108"),
        ("GET", "/films?select=*,awards(*)&awards=eq.x", 400, "42703"),
        ("GET", "/films?select=awards(*)&order=awards(name)", 400, "PGRST118"),
        ("GET", "/films?select=count()", 400, "PGRST123"),
        ("GET", "/rpc/ad?a=1", 404, "PGRST202"),
        ("GET", "/rpc/add?x=1", 404, "PGRST202"),
        ("DELETE", "/rpc/add", 405, "PGRST101"),
        ("POST", "/films", 400, "PGRST102"),
    ],
)
def test_errors_have_their_codes(rest: httpx2.Client, method: str, path: str, status: int, code: str) -> None:
    answer = rest.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_errors_of_constraints_are_conflicts(rest: httpx2.Client) -> None:
    twice = rest.post("/films", json={"title": "M"})
    assert (twice.status_code, twice.json()["code"]) == (409, "23505")
    dangling = rest.post("/films", json={"title": "Q", "director_id": 99})
    assert (dangling.status_code, dangling.json()["code"]) == (409, "23503")


def test_hints_name_what_was_probably_meant(rest: httpx2.Client) -> None:
    assert rest.get("/fims").json()["hint"] == "Perhaps you meant the table 'public.films'"
    assert (
        rest.get("/rpc/film_of?p_year=1").json()["hint"]
        == "Perhaps you meant to call the function public.films_of"
    )


# What is off by default


@pytest.mark.parametrize("select", ["count()", "awards(id.max())", "...directors!director_id(born.min())"])
def test_aggregates_are_refused(rest: httpx2.Client, select: str) -> None:
    answer = rest.get(f"/films?select={select}")
    assert (answer.status_code, answer.json()["code"]) == (400, "PGRST123")


def test_plans_are_refused(rest: httpx2.Client) -> None:
    answer = rest.get("/films", headers={"accept": "application/vnd.pgrst.plan"})
    assert (answer.status_code, answer.json()["code"]) == (406, "PGRST107")


def test_a_request_cannot_roll_back(rest: httpx2.Client) -> None:
    answer = rest.patch("/films?id=eq.-1", json={"year": 1}, headers={"prefer": "tx=rollback"})
    assert (answer.status_code, "preference-applied" in answer.headers) == (204, False)


def test_steps_are_not_timed(rest: httpx2.Client) -> None:
    assert "server-timing" not in rest.get("/films").headers
