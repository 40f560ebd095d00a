"""Several requests in one transaction, and many rows by their primary key: Basalt's additions to the contract."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import jwt
import psycopg
import pytest

from tests.projects import write_project
from tests.rest.asking import rest_client
from tests.server import Server, running_server

pytestmark = pytest.mark.req("P5")

MIGRATION = """
create table public.directors (id int generated always as identity primary key, name text not null unique);
create table public.films (
    id int generated always as identity primary key,
    title text not null,
    price numeric not null default 9.90,
    director_id int references public.directors (id) deferrable initially deferred
);
create table public.notes (owner uuid default auth.uid(), number int, body text not null, primary key (owner, number));
alter table public.notes enable row level security;
create policy "owners do what they like" on public.notes using (owner = (select auth.uid()));
create table public.words (word text);
grant all on all tables in schema public to anon, authenticated;
insert into public.directors (name) values ('Lang'), ('Murnau');
insert into public.films (title, director_id) values ('M', 1), ('Metropolis', 1), ('Nosferatu', 2);

create function public.limit_time() returns text language sql set statement_timeout = '7s'
    as $$ select current_setting('statement_timeout') $$;
create function public.time_limit() returns text language sql stable
    as $$ select current_setting('statement_timeout') $$;
create function public.write_word(word text) returns void language sql
    as $$ insert into public.words values (word) $$;
"""

CONFIG = """
project_id = "batch"
[basalt.rest]
db_tx_end = "commit-allow-override"
server_timing_enabled = true
"""


@pytest.fixture(scope="module")
def cinema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    files = {"config.toml": CONFIG, "20260101000000_cinema.sql": MIGRATION}
    with running_server(write_project(tmp_path_factory.mktemp("batch"), files)) as server:
        yield server


@pytest.fixture
def rest(cinema: Server) -> Iterator[httpx2.Client]:
    with rest_client(cinema) as client:
        yield client


@pytest.fixture
def batch(rest: httpx2.Client) -> Any:
    def send(*requests: dict[str, Any], **headers: str) -> httpx2.Response:
        return rest.post("/rpc/basalt_batch", json=requests, headers=headers)

    return send


def count(cinema: Server, table: str) -> int:
    with psycopg.connect(cinema.database_url) as connection:
        row = connection.execute(f"select count(*) from public.{table}").fetchone()
        assert row is not None
        number: int = row[0]
        return number


REPRESENTATION = {"Prefer": "return=representation", "Accept": "application/vnd.pgrst.object+json"}


def test_requests_are_answered_in_order(batch: Any) -> None:
    answer = batch(
        {"path": "/films?select=title&id=eq.1"},
        {"method": "HEAD", "path": "/films", "headers": {"Prefer": "count=exact"}},
        {"method": "POST", "path": "/rpc/time_limit"},
    )
    assert answer.status_code == 200
    read, head, call = answer.json()
    assert (read["status"], read["body"]) == (200, [{"title": "M"}])
    assert head["body"] is None
    assert head["headers"]["content-range"].startswith("0-")
    assert isinstance(call["body"], str)


def test_later_request_uses_earlier_answers(batch: Any) -> None:
    name = f"Director {uuid.uuid4()}"
    answer = batch(
        {
            "method": "POST",
            "path": "/directors?select=id",
            "headers": REPRESENTATION,
            "body": {"name": name},
        },
        {
            "method": "POST",
            "path": "/films",
            "body": [{"title": "One"}, {"title": "Two"}],
            "refs": {"/body/0/director_id": "/0/body/id", "/body/1/director_id": "/0/body/id"},
        },
        {
            "path": "/films?select=title,directors(name)&order=title",
            "refs": {"/query/director_id": "/0/body/id"},
        },
    )
    assert [one["status"] for one in answer.json()] == [201, 201, 200]
    assert answer.json()[2]["body"] == [
        {"title": "One", "directors": {"name": name}},
        {"title": "Two", "directors": {"name": name}},
    ]


def test_reference_may_be_the_whole_body_or_null(batch: Any) -> None:
    answer = batch(
        {"path": "/films?select=title,price&id=eq.1", "headers": {"Accept": REPRESENTATION["Accept"]}},
        {"method": "POST", "path": "/films", "refs": {"/body": "/0/body"}},
        {"method": "HEAD", "path": "/films"},
        {"path": "/films?select=title&order=id.desc&limit=1", "refs": {"/query/director_id": "/2/body"}},
    )
    assert answer.json()[3]["body"] == [{"title": "M"}]


@pytest.mark.parametrize(
    ("refused", "status", "code"),
    [
        ({"path": "/nowhere"}, 404, "PGRST205"),
        ({"path": "/films?id=eq.x"}, 400, "22P02"),
        ({"path": "/films?nope=eq.1"}, 400, "42703"),
        ({"method": "POST", "path": "/directors", "body": {"name": "Lang"}}, 409, "23505"),
        ({"path": "/films", "headers": {"Accept": REPRESENTATION["Accept"]}}, 406, "PGRST116"),
        ({"path": "/rpc/basalt_batch", "method": "POST", "body": []}, 404, "PGRST125"),
        ({"path": "/"}, 404, "PGRST125"),
        ({"path": "/rpc/write_word?word=x"}, 405, "PGRST101"),
        ({"path": "/films", "refs": {"/query/id": "/0/body/7/id"}}, 400, "PGRST102"),
        ({"path": "/films", "refs": {"/query/id": "/5"}}, 400, "PGRST102"),
        ({"path": "/films", "refs": {"query": "/0"}}, 400, "PGRST102"),
        ({"path": "/films", "refs": {"/headers/x": "/0/status"}}, 400, "PGRST102"),
        ({"path": "/films", "refs": {"/query/id": "/0/headers"}}, 400, "PGRST102"),
    ],
)
def test_one_refused_request_undoes_all_and_is_named(
    cinema: Server, batch: Any, refused: dict[str, Any], status: int, code: str
) -> None:
    before = count(cinema, "words")
    answer = batch({"method": "POST", "path": "/words", "body": {"word": "never kept"}}, refused)
    error = answer.json()
    assert (answer.status_code, error["code"], error["index"]) == (status, code, 1)
    assert count(cinema, "words") == before


def test_constraint_that_was_put_off_is_checked_at_the_end(cinema: Server, batch: Any) -> None:
    before = count(cinema, "films")
    answer = batch(
        {"method": "POST", "path": "/films", "body": {"title": "Of nobody", "director_id": 9999}},
        {"path": "/films?limit=1"},
    )
    assert (answer.status_code, answer.json()["code"], answer.json()["index"]) == (409, "23503", 1)
    assert count(cinema, "films") == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"[1]",
        b'[{"method": "GET"}]',
        b'[{"path": "/films", "verb": "GET"}]',
        b'[{"path": "films"}]',
        b'[{"path": "/films?a=\xc3\xa4"}]',
        b'[{"path": "/films", "method": "TRACE"}]',
        b'[{"path": "/films", "headers": {"Authorization": "Bearer x"}}]',
        b'[{"path": "/films", "headers": {"Prefer": "a\\nb"}}]',
        b"[" + b",".join([b'{"path": "/films"}'] * 101) + b"]",
        b'[{"path": "/films", "body": ' + b"[" * 100_000,
    ],
)
def test_batch_that_cannot_be_read_is_pgrst102(rest: httpx2.Client, body: bytes) -> None:
    answer = rest.post("/rpc/basalt_batch", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "PGRST102")


def test_batch_is_for_post_alone(rest: httpx2.Client) -> None:
    assert rest.get("/rpc/basalt_batch").json()["code"] == "PGRST101"


def test_policies_hold_in_a_batch(cinema: Server) -> None:
    ada, ben = str(uuid.uuid4()), str(uuid.uuid4())
    for user in (ada, ben):
        token = jwt.encode({"sub": user, "role": "authenticated"}, cinema.jwt_secret)
        with cinema.client(token=token) as client:
            answer = client.post(
                "/rest/v1/rpc/basalt_batch",
                json=[
                    {"method": "POST", "path": "/notes", "body": {"number": 1, "body": f"of {user}"}},
                    {"path": "/notes?select=body"},
                ],
            )
            assert answer.json()[1]["body"] == [{"body": f"of {user}"}]


def test_settings_of_a_routine_end_with_its_request(batch: Any) -> None:
    before, inside, after = (
        one["body"]
        for one in batch(
            {"method": "POST", "path": "/rpc/time_limit"},
            {"method": "POST", "path": "/rpc/limit_time"},
            {"method": "POST", "path": "/rpc/time_limit"},
        ).json()
    )
    assert inside == "7s"
    assert after == before


def test_reads_alone_are_read_only(cinema: Server, batch: Any) -> None:
    answer = batch({"path": "/films?limit=1"}, {"path": "/rpc/write_word?word=never"})
    assert (answer.status_code, answer.json()["code"]) == (405, "25006")


@pytest.mark.parametrize("preference", ["tx=rollback", "handling=lenient, tx=rollback, tx=commit"])
def test_batch_can_be_rolled_back_where_allowed(cinema: Server, batch: Any, preference: str) -> None:
    before = count(cinema, "words")
    answer = batch(
        {"method": "POST", "path": "/words", "body": {"word": "tried"}},
        {"path": "/words?word=eq.tried"},
        Prefer=preference,
    )
    assert answer.json()[1]["body"] == [{"word": "tried"}]
    assert count(cinema, "words") == before
    assert "server-timing" in answer.headers


def test_text_and_csv_bodies_are_sent_as_they_are(batch: Any) -> None:
    answer = batch(
        {
            "method": "POST",
            "path": "/words",
            "headers": {"Content-Type": "text/csv", "Prefer": "return=representation", "Accept": "text/csv"},
            "body": "word\na\nb",
        }
    )
    assert answer.json()[0]["body"] == "word\na\nb"


# Many rows by their primary key


def test_rows_are_changed_where_their_key_says(rest: httpx2.Client) -> None:
    answer = rest.post(
        "/rpc/basalt_bulk_update/films?select=id,price&order=id",
        json=[{"id": 1, "price": 11}, {"id": 2, "price": 12}, {"id": 777, "price": 13}],
        headers={"Prefer": "return=representation, count=exact"},
    )
    assert answer.status_code == 200
    assert answer.json() == [{"id": 1, "price": 11}, {"id": 2, "price": 12}]
    assert answer.headers["content-range"] == "0-1/2"


def test_filters_narrow_what_is_changed(rest: httpx2.Client) -> None:
    answer = rest.post(
        "/rpc/basalt_bulk_update/films?select=id&title=eq.Nosferatu",
        json=[{"id": 2, "price": 1}, {"id": 3, "price": 1}],
        headers={"Prefer": "return=representation"},
    )
    assert answer.json() == [{"id": 3}]


def test_too_many_rows_are_undone_under_strict_handling(rest: httpx2.Client) -> None:
    answer = rest.post(
        "/rpc/basalt_bulk_update/films",
        json=[{"id": 1, "price": 99}, {"id": 2, "price": 99}],
        headers={"Prefer": "handling=strict, max-affected=1"},
    )
    assert answer.json()["code"] == "PGRST124"
    assert rest.get("/films?price=eq.99").json() == []


def test_policies_hold_for_rows_by_key(cinema: Server) -> None:
    ada, ben = str(uuid.uuid4()), str(uuid.uuid4())
    with cinema.client(cinema.service_role_key) as client:
        rows = [{"owner": one, "number": 1, "body": "before"} for one in (ada, ben)]
        assert client.post("/rest/v1/notes", json=rows).status_code == 201
    token = jwt.encode({"sub": ada, "role": "authenticated"}, cinema.jwt_secret)
    with cinema.client(token=token) as client:
        answer = client.post(
            "/rest/v1/rpc/basalt_bulk_update/notes",
            json=[{"owner": one, "number": 1, "body": "after"} for one in (ada, ben)],
            headers={"Prefer": "return=representation"},
        )
    assert [row["owner"] for row in answer.json()] == [ada]


@pytest.mark.parametrize(
    ("path", "rows", "status", "code"),
    [
        ("films", [{"price": 1}], 400, "PGRST102"),
        ("films", [{"id": 1, "price": 1}, {"id": 2}], 400, "PGRST102"),
        ("films", [{"id": 1, "cost": 1}], 400, "PGRST204"),
        ("words", [{"word": "x"}], 400, "PGRST127"),
        ("nowhere", [{"id": 1}], 404, "PGRST205"),
    ],
)
def test_rows_without_a_place_are_refused(
    rest: httpx2.Client, path: str, rows: list[dict[str, Any]], status: int, code: str
) -> None:
    answer = rest.post(f"/rpc/basalt_bulk_update/{path}", json=rows)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_keys_alone_change_nothing(rest: httpx2.Client) -> None:
    answer = rest.post(
        "/rpc/basalt_bulk_update/films", json=[{"id": 1}], headers={"Prefer": "return=representation"}
    )
    assert (answer.status_code, answer.json()) == (200, [])
