"""Reads over HTTP beyond the plain ones: fields, conditions, windows, counts, media types, plans, schemas, hints."""

import re
from typing import Any

import httpx2
import psycopg
import pytest

from basalt.postgres import load_access
from tests.rest.asking import OBJECT, case, prefer, refused, rows, wait_until
from tests.server import Server

pytestmark = pytest.mark.req("P5")

PLAN = "application/vnd.pgrst.plan"


# Fields


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        case("cast", "/trains?id=eq.1&select=seats::text,speed::int", [{"seats": "100", "speed": 160}]),
        case("cast to two words", "/trains?id=eq.3&select=speed::double precision", [{"speed": 40.5}]),
        case("cast under an alias", "/trains?id=eq.1&select=s:seats::text", [{"s": "100"}]),
        case("a key", "/trains?id=eq.2&select=data->power", [{"power": 8}]),
        case("a key as text", "/trains?id=eq.2&select=data->>power", [{"power": "8"}]),
        case("an element", "/trains?id=eq.1&select=data->cars->0", [{"cars": {"no": 1}}]),
        case("an element from the end", "/trains?id=eq.1&select=data->cars->-1->no", [{"no": 2}]),
        case("a key with a space", "/trains?id=eq.1&select=data->a b->x", [{"x": None}]),
        case("a key in quotes", '/trains?id=eq.1&select=data->"a b"', [{"a b": {"x": None}}]),
        case("a path cast", "/trains?id=eq.2&select=data->>power::int", [{"power": 8}]),
        case("a path that leads nowhere", "/trains?id=eq.2&select=data->no->where", [{"where": None}]),
        case("an element of an array column", "/trains?id=eq.1&select=tags->0", [{"tags": "old"}]),
        case("one field twice", "/trains?id=eq.1&select=id,same:id", [{"id": 1, "same": 1}]),
        case(
            "everything and more",
            "/licences?crew_id=eq.1&select=*,kind:class",
            [{"crew_id": 1, "class": "A", "kind": "A"}],
        ),
        case("nothing said is everything", "/licences?crew_id=eq.1&select=", [{"crew_id": 1, "class": "A"}]),
        case("a column with a representation", "/tracks?id=eq.1", [{"id": 1, "width": "1435 mm"}]),
        case("such a column by what it is outside", "/tracks?width=eq.1000 mm&select=id", [{"id": 2}]),
        case(
            "several such values",
            "/tracks?width=in.(1000 mm,1435)&select=w:width&order=id",
            [{"w": "1435 mm"}, {"w": "1000 mm"}],
        ),
    ],
)
def test_fields(api: httpx2.Client, path: str, expected: Any) -> None:
    assert rows(api, path) == expected


# Conditions


@pytest.mark.parametrize(
    ("path", "ids"),
    [
        case("in JSON", "/trains?data->power=gt.1", [2]),
        case("in JSON as text", "/trains?data->>power=eq.1", [3]),
        case("in an element of JSON", "/trains?data->cars->0->no=eq.1", [1]),
        case("whether there is such a key", "/trains?data->power=is.null", [1, 4]),
        case("an array holds", "/trains?tags=cs.{old,red}", [1]),
        case("an array is within", "/trains?tags=cd.{old}", [3, 4]),
        case("arrays overlap", "/trains?tags=ov.{old,blue}", [1, 4]),
        case("one of", "/trains?id=eq(any).{1,3}", [1, 3]),
        case("all of", "/trains?seats=gt(all).{50,80}", [1, 2]),
        case("a pattern of several", "/trains?name=ilike(any).{*ET,s*}", [1, 3, 4]),
        case("quoted values", '/trains?name=in.("Comet","no, such")', [1]),
        case("nulls are not distinct", "/trains?speed=not.isdistinct.160", [1]),
        case("nulls are distinct", "/trains?speed=isdistinct.160", [2, 3, 4]),
        case("text is searched", "/trains?motto=fts.run", [1, 2]),
        case("text is searched in a language", "/trains?motto=wfts(german).zug", [3]),
        case("plain words", "/trains?motto=plfts(english).quick run", [1]),
        case("a phrase", "/trains?motto=phfts(english).quick trains", [1]),
        case("not found in the text", "/trains?motto=not.fts(english).run", [3]),
        case("in a tree", "/trains?or=(motto.fts(german).zug,and(id.gt.1,id.lt.3))", [2, 3]),
        case("a list in a tree", '/trains?and=(id.in.(1,2,3),name.not.in.(Comet,"Arrow"))', [3]),
        case("a quoted value in a tree", '/trains?or=(name.eq."Comet",motto.eq."a, (b)")', [1]),
        case("an array in a tree", "/trains?or=(tags.cs.{old,red},id.eq.3)", [1, 3]),
        case("two conditions on one column", "/trains?id=gt.1&id=lt.4", [2, 3]),
        case("dates", "/trains?built_at=gte.1990-01-01", [2]),
    ],
)
def test_conditions(api: httpx2.Client, path: str, ids: list[int]) -> None:
    assert [row["id"] for row in rows(api, f"{path}&select=id&order=id")] == ids


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/trains?id=eq.x", 400, "22P02"),
        ("/trains?nowhere=eq.1", 400, "42703"),
        ("/trains?order=nowhere", 400, "42703"),
        ("/trains?name=gt.5&motto=fts(klingon).x", 400, "42704"),
        ("/trains?motto=fts.a b", 400, "42601"),
        ("/trains?id=like.1*", 404, "42883"),
        ("/trains?name=match.(", 400, "2201B"),
        ("/trains?select=seats::nothing", 400, "42704"),
        ("/trains?id=equals.1", 400, "PGRST100"),
        ("/trains?or=(id.eq.1", 400, "PGRST100"),
        ("/trains?select=id,", 400, "PGRST100"),
        ("/trains/1", 404, "PGRST125"),
    ],
)
def test_what_cannot_be_asked(api: httpx2.Client, path: str, status: int, code: str) -> None:
    assert refused(api.get(path)) == (status, code)


def test_a_repeated_request_with_other_literals_finds_other_rows(api: httpx2.Client) -> None:
    """The second one is answered by the plan of the first."""
    for _ in range(2):
        for number, name in [(1, "Comet"), (2, "Arrow"), (3, "Snail")]:
            assert rows(api, f"/trains?id=eq.{number}&select=name") == [{"name": name}]
            assert rows(api, f"/trains?or=(id.eq.{number},name.in.(Nobody))&select=name") == [{"name": name}]
            assert rows(api, f"/trains?order=id&limit=1&offset={number - 1}&select=name") == [{"name": name}]
            assert rows(api, f"/rpc/train_of?p_id={number}&select=name") == {"name": name}


def test_what_looks_like_a_request_before_is_still_read_with_care(api: httpx2.Client) -> None:
    """A plan is only shared where the parser would have found the same."""
    assert len(rows(api, "/trains?limit=5&offset=1")) == 3
    assert refused(api.get("/trains?limit=0&offset=1")) == (416, "PGRST103")
    assert len(rows(api, "/trains?limit=5&offset=0")) == 4
    for number in (1, 3):  # what stands behind a whole tree is ignored
        assert rows(api, f"/trains?or=(name.fts.comet)(id.eq.{number})&select=id") == [{"id": 1}]


# Windows


@pytest.mark.parametrize(
    ("path", "header", "content_range"),
    [
        ("/trains", None, "0-3/*"),
        ("/trains?limit=2", None, "0-1/*"),
        ("/trains?limit=2&offset=1", None, "1-2/*"),
        ("/trains?offset=4", None, "*/*"),
        ("/trains?limit=0", None, "*/*"),
        ("/trains", "1-2", "1-2/*"),
        ("/trains", "2-", "2-3/*"),
        ("/trains", "0-99", "0-3/*"),
        ("/trains?limit=1", "0-2", "0-0/*"),
        ("/trains", "items=0-1", "0-3/*"),
        ("/numbers", None, "0-99/*"),
        ("/numbers?offset=250", None, "250-299/*"),
        ("/numbers?limit=200", None, "0-99/*"),
    ],
)
def test_a_window_says_which_rows_it_shows(
    api: httpx2.Client, path: str, header: str | None, content_range: str
) -> None:
    answer = api.get(path, headers={"range": header} if header else {})
    assert (answer.status_code, answer.headers["content-range"]) == (200, content_range)


@pytest.mark.parametrize(
    ("path", "header", "details"),
    [
        (
            "/trains",
            "3-1",
            "The lower boundary must be lower than or equal to the upper boundary in the Range header.",
        ),
        ("/trains?limit=-1", None, "Limit should be greater than or equal to zero."),
        ("/trains?limit=0&offset=2", None, "Limit should be greater than or equal to zero."),
    ],
)
def test_an_empty_window_is_refused(api: httpx2.Client, path: str, header: str | None, details: str) -> None:
    for _ in range(2):
        answer = api.get(path, headers={"range": header} if header else {})
        assert refused(answer) == (416, "PGRST103")
        assert answer.json()["details"] == details


# Counts


@pytest.mark.parametrize(
    ("path", "count", "status", "content_range"),
    [
        ("/numbers?n=gt.10", "exact", 206, "0-99/290"),
        ("/numbers?n=gt.290", "exact", 200, "0-9/10"),
        ("/numbers?n=gt.300", "exact", 200, "*/0"),
        ("/numbers?offset=300", "exact", 206, "*/300"),
        ("/numbers?limit=0", "exact", 206, "*/300"),
        # the planner knows the size of the table, and guesses that of a part
        ("/numbers?limit=1", "planned", 206, "0-0/300"),
        ("/numbers?n=gt.150", "planned", 206, "0-99/150"),
        # counted up to the most rows of an answer, and guessed beyond
        ("/numbers?limit=1", "estimated", 206, "0-0/300"),
        ("/numbers?n=lt.5&limit=1", "estimated", 206, "0-0/4"),
        ("/numbers?n=lt.5", "estimated", 200, "0-3/4"),
        ("/rpc/many?n=150", "exact", 206, "0-99/150"),
        ("/rpc/many?n=5&limit=2&offset=1", "exact", 206, "1-2/5"),
    ],
)
def test_counts(api: httpx2.Client, path: str, count: str, status: int, content_range: str) -> None:
    for ask in (api.get, api.head):
        answer = ask(path, headers=prefer(f"count={count}"))
        assert (answer.status_code, answer.headers["content-range"]) == (status, content_range)
        assert answer.headers["preference-applied"] == f"count={count}"


def test_an_offset_beyond_the_count_is_refused(api: httpx2.Client) -> None:
    answer = api.get("/numbers?offset=301", headers=prefer("count=exact"))
    assert refused(answer) == (416, "PGRST103")
    assert answer.headers["content-range"] == "*/300"


# Preferences and headers


def test_a_time_zone_is_that_of_the_transaction(api: httpx2.Client) -> None:
    answer = api.get("/trains?id=eq.1&select=built_at", headers=prefer("timezone=Asia/Tokyo"))
    assert answer.json() == [{"built_at": "1960-05-01T21:00:00+09:00"}]
    assert answer.headers["preference-applied"] == "timezone=Asia/Tokyo"
    assert rows(api, "/trains?id=eq.1&select=built_at") == [{"built_at": "1960-05-01T12:00:00+00:00"}]
    assert refused(api.get("/trains", headers=prefer("timezone=Nowhere/Land"))) == (400, "22023")


def test_strict_handling_refuses_unknown_preferences(api: httpx2.Client) -> None:
    answer = api.get("/trains", headers=prefer("handling=strict", "colour=red", "count=exact"))
    assert refused(answer) == (400, "PGRST122")
    assert answer.json()["details"] == "Invalid preferences: colour=red"
    lenient = api.get("/trains", headers=prefer("handling=lenient", "colour=red"))
    assert lenient.headers["preference-applied"] == "handling=lenient"


def test_an_answer_says_where_it_is_and_what_it_depends_on(api: httpx2.Client) -> None:
    answer = api.get("/trains?select=id&order=id&id=eq.1")
    assert answer.headers["content-location"] == "/trains?id=eq.1&order=id&select=id"
    assert answer.headers["vary"] == "Accept, Prefer, Range"


def test_steps_are_timed_where_that_is_enabled(api: httpx2.Client) -> None:
    timing = api.get("/trains?id=eq.1").headers["server-timing"]
    steps = (
        r"jwt;dur=\d+\.\d, parse;dur=\d+\.\d, plan;dur=\d+\.\d, transaction;dur=\d+\.\d, response;dur=\d+\.\d"
    )
    assert re.fullmatch(steps, timing)
    assert "server-timing" in api.get("/").headers


# Media types


@pytest.mark.parametrize(
    ("accept", "path", "text", "content_type"),
    [
        (
            "application/json",
            "/licences?crew_id=eq.1",
            '[{"crew_id":1,"class":"A"}]',
            "application/json; charset=utf-8",
        ),
        (
            "application/vnd.pgrst.array+json",
            "/licences?crew_id=eq.1",
            '[{"crew_id":1,"class":"A"}]',
            "application/json; charset=utf-8",
        ),
        (
            OBJECT["accept"],
            "/licences?crew_id=eq.1",
            '{"crew_id":1,"class":"A"}',
            "application/vnd.pgrst.object+json; charset=utf-8",
        ),
        (
            "application/vnd.pgrst.array+json;nulls=stripped",
            "/trains?id=eq.4&select=name,speed,lines(name)",
            '[{"name":"Spare"}]',
            "application/vnd.pgrst.array+json;nulls=stripped; charset=utf-8",
        ),
        (
            "application/vnd.pgrst.object+json;nulls=stripped",
            "/trains?id=eq.4&select=name,speed",
            '{"name":"Spare"}',
            "application/vnd.pgrst.object+json;nulls=stripped; charset=utf-8",
        ),
        (
            "text/csv",
            "/trains?id=lt.3&select=name,tags,motto&order=id",
            'name,tags,motto\nComet,"{old,red}","The quick trains are running"\n'
            'Arrow,{red},"Never late, always running"',
            "text/csv; charset=utf-8",
        ),
        ("text/csv", "/trains?id=eq.4&select=name,speed", "name,speed\nSpare,", "text/csv; charset=utf-8"),
        ("text/csv", "/rpc/pairs", "a,b\n1,x1\n2,x2", "text/csv; charset=utf-8"),
        ("text/x-timetable", "/trains?order=id&id=gt.2", "Snail 40.5\nSpare -\n", "text/x-timetable"),
        ("text/x-timetable", "/rpc/trains_over?speed_limit=200", "Arrow 250.0\n", "text/x-timetable"),
        ("text/x-timetable", "/trains?id=eq.99", "", "text/x-timetable"),
        ("text/x-tally", "/trains", "||||", "text/x-tally"),
        ("text/x-tally", "/lines?select=id&id=lt.3", "||", "text/x-tally"),
        ("image/png, text/x-tally;q=0.9, */*;q=0.1", "/lines", "||||", "text/x-tally"),
    ],
)
def test_media_types(api: httpx2.Client, accept: str, path: str, text: str, content_type: str) -> None:
    answer = api.get(path, headers={"accept": accept})
    assert (answer.status_code, answer.text) == (200, text)
    assert answer.headers["content-type"] == content_type


def test_a_function_that_returns_a_media_type_answers_with_its_bytes(api: httpx2.Client) -> None:
    answer = api.get("/rpc/dot?size=2", headers={"accept": "image/x-dot"})
    assert (answer.content, answer.headers["content-type"]) == (b"\0\1\xff..", "image/x-dot")
    posted = api.post("/rpc/dot", json={"size": 1}, headers={"accept": "image/x-dot"})
    assert posted.content == b"\0\1\xff."
    assert rows(api, "/rpc/dot") == "\\x0001ff2e"


def test_a_tables_handler_is_for_whole_rows_of_it(api: httpx2.Client) -> None:
    timetable = {"accept": "text/x-timetable"}
    for path in ("/trains?select=name", "/trains?select=*,lines(name)", "/lines", "/rpc/pairs"):
        assert refused(api.get(path, headers=timetable)) == (406, "PGRST107")
    changed = api.patch(
        "/trains?id=eq.1",
        json={"speed": 1},
        headers=prefer("return=representation", "tx=rollback", **timetable),
    )
    assert changed.text == "Comet 1.0\n"


@pytest.mark.parametrize(("path", "count"), [("/trains?id=gt.2", 2), ("/trains?id=eq.99", 0)])
def test_one_object_is_of_one_row(api: httpx2.Client, path: str, count: int) -> None:
    answer = api.get(path, headers=OBJECT)
    assert refused(answer) == (406, "PGRST116")
    assert answer.json()["details"] == f"The result contains {count} rows"


# Plans


def test_a_plan_is_text_or_json(api: httpx2.Client) -> None:
    text = api.get("/trains?id=eq.1", headers={"accept": PLAN})
    assert text.text.startswith("Aggregate  (cost=")
    assert text.headers["content-type"] == f'{PLAN}+text; for="application/json"; charset=utf-8'
    found = api.get("/trains?id=eq.1", headers={"accept": f"{PLAN}+json"})
    assert found.json()[0]["Plan"]["Node Type"] == "Aggregate"
    assert "Execution Time" not in found.json()[0]


def test_a_plan_has_the_options_and_the_media_type_that_are_asked_for(api: httpx2.Client) -> None:
    accept = f'{PLAN}+json; for="{OBJECT["accept"]}"; options=analyze|verbose|buffers'
    answer = api.get("/trains", headers={"accept": accept})
    [found] = answer.json()
    assert found["Execution Time"] > 0
    assert "->" in str(found["Plan"]["Output"])
    assert "Shared Hit Blocks" in found["Plan"]
    assert answer.headers["content-type"].startswith(
        f'{PLAN}+json; for="{OBJECT["accept"]}"; options=analyze|verbose|buffers'
    )


def test_a_plan_of_a_write_changes_nothing(api: httpx2.Client) -> None:
    answer = api.patch("/trains?id=eq.1", json={"seats": 1}, headers={"accept": PLAN})
    assert "Update on trains" in answer.text
    assert rows(api, "/trains?id=eq.1&select=seats") == [{"seats": 100}]
    assert "Function Scan" in api.post("/rpc/raise_seats", json={"by": 1}, headers={"accept": PLAN}).text


# Methods


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/trains", "OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE"),
        ("/notices", "OPTIONS,GET,HEAD,POST,PATCH,DELETE"),  # PUT needs a primary key
        ("/old_trains", "OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE"),
        ("/train_counts", "OPTIONS,GET,HEAD"),
        ("/city_sizes", "OPTIONS,GET,HEAD"),
        ("/tickets", "OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE"),
        ("/rpc/greet", "OPTIONS,GET,HEAD,POST"),
        ("/rpc/nothing", "OPTIONS,POST"),
        ("/", "OPTIONS,GET,HEAD"),
    ],
)
def test_options_says_what_may_be_done(api: httpx2.Client, path: str, allowed: str) -> None:
    answer = api.options(path)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (200, allowed, b"")


def test_options_of_what_is_not_there(api: httpx2.Client) -> None:
    assert refused(api.options("/nowhere")) == (404, "PGRST205")
    assert refused(api.options("/rpc/nowhere")) == (404, "PGRST202")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("TRACE", "/trains", "PGRST117"),
        ("POST", "/", "PGRST117"),
        ("DELETE", "/rpc/greet", "PGRST101"),
        ("PUT", "/rpc/greet", "PGRST101"),
    ],
)
def test_other_methods_are_refused(api: httpx2.Client, method: str, path: str, code: str) -> None:
    assert refused(api.request(method, path)) == (405, code)


def test_head_is_get_without_a_body(api: httpx2.Client) -> None:
    for path in ("/trains?select=id", "/rpc/greet", "/"):
        head, get = api.head(path), api.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == get.headers["content-type"]


# Schemas


def test_a_profile_chooses_the_schema(api: httpx2.Client) -> None:
    workshop = {"accept-profile": "workshop"}
    answer = api.get("/trains", headers=workshop)
    assert (answer.json(), answer.headers["content-profile"]) == ([{"id": 1, "fault": "squeaks"}], "workshop")
    assert rows(api, "/rpc/place", **workshop) == "workshop"
    assert api.get("/trains").headers["content-profile"] == "public"
    assert refused(api.get("/tools")) == (404, "PGRST205")


def test_a_write_has_a_profile_of_its_own(api: httpx2.Client) -> None:
    headers = prefer("return=representation", "tx=rollback", **{"content-profile": "workshop"})
    answer = api.post("/tools", json={"id": 2, "name": "saw"}, headers=headers)
    assert (answer.status_code, answer.json()) == (201, [{"id": 2, "name": "saw"}])
    assert refused(api.post("/tools", json={"id": 2}, headers={"accept-profile": "workshop"})) == (
        404,
        "PGRST205",
    )


def test_a_schema_that_is_not_exposed_is_refused(api: httpx2.Client) -> None:
    answer = api.get("/users", headers={"accept-profile": "auth"})
    assert refused(answer) == (406, "PGRST106")
    assert answer.json()["hint"] == "Only the following schemas are exposed: public, workshop"


# The root


def test_the_root_describes_what_the_caller_sees(api: httpx2.Client, railway: Server) -> None:
    public = api.get("/")
    assert public.headers["content-type"] == "application/openapi+json; charset=utf-8"
    paths = public.json()["paths"]
    assert {"/trains", "/fast_trains", "/rpc/greet"} <= paths.keys()
    assert not {"/salaries", "/rpc/salary_sum", "/tools", "/tickets_first"} & paths.keys()
    with railway.client(railway.secret_key) as service:
        found = service.get("/rest/v1/").json()["paths"]
    assert {"/salaries", "/rpc/salary_sum", "/trains"} <= found.keys()


def test_the_root_of_another_schema(api: httpx2.Client) -> None:
    answer = api.get("/", headers={"accept-profile": "workshop"})
    assert answer.json()["info"]["title"] == "Where trains are mended"
    assert {"/tools", "/trains", "/rpc/place"} <= answer.json()["paths"].keys()
    assert "/lines" not in answer.json()["paths"]


def test_the_root_is_json(api: httpx2.Client) -> None:
    assert refused(api.get("/", headers={"accept": "text/csv"})) == (406, "PGRST107")
    assert api.get("/", headers={"accept": "application/json"}).status_code == 200


# Hints


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/train", "Perhaps you meant the table 'public.trains'"),
        ("/salarie", None),
        ("/rpc/gret", "Perhaps you meant to call the function public.greet"),
        ("/rpc/salary_su", None),
        ("/rpc/salary_sum?year=1", None),
        ("/rpc/area?sid=1", "Perhaps you meant to call the function public.area(side)"),
        ("/crew?select=licence(class)", "Perhaps you meant 'licences' instead of 'licence'."),
        ("/crew?select=salarie(amount)", None),
    ],
)
def test_a_hint_names_nothing_that_the_role_cannot_see(
    api: httpx2.Client, path: str, hint: str | None
) -> None:
    assert api.get(path).json()["hint"] == hint


@pytest.mark.parametrize("path", ["/salarie", "/rpc/salary_su", "/crew?select=salarie(amount)"])
def test_it_names_that_to_a_role_that_can(railway: Server, path: str) -> None:
    with railway.client(railway.secret_key) as service:
        assert "salar" in service.get(f"/rest/v1{path}").json()["hint"]


def test_what_the_role_may_not_use_is_refused_by_the_database(api: httpx2.Client) -> None:
    for path in ("/salaries", "/rpc/salary_sum", "/crew?select=salaries(amount)"):
        answer = api.get(path)
        assert refused(answer) == (401, "42501")
        assert answer.headers["www-authenticate"] == "Bearer"


# Settings kept in the database


def test_errors_are_as_verbose_as_the_database_says(api: httpx2.Client, railway: Server) -> None:
    def has_hint() -> bool:
        return "hint" in api.get("/train").json()

    assert has_hint()
    access = load_access(railway.project_dir / ".basalt")
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as admin:
        admin.execute("alter role authenticator set pgrst.client_error_verbosity = 'minimal'")
        admin.execute("notify pgrst, 'reload config'")
        try:
            wait_until(lambda: not has_hint())
            assert api.get("/train").json() == {
                "code": "PGRST205",
                "message": "Could not find the table 'public.train' in the schema cache",
            }
        finally:
            admin.execute("alter role authenticator reset pgrst.client_error_verbosity")
            admin.execute("notify pgrst, 'reload config'")
            wait_until(has_hint)
