"""Whatever a client sends: a clear 4xx in the contract's shape, never a 500, never a hanging connection,
nothing half-written."""

import json
import socket
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx2
import jwt
import psycopg
import pytest

from tests.server import Server

JSON = {"content-type": "application/json"}
LIMIT_S = 10


class Bad(NamedTuple):
    """A request and the statuses that are right for it."""

    name: str
    method: str
    target: str
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})
    statuses: tuple[int, ...] = (400,)


def deep(open_: str, close: str, depth: int) -> str:
    return open_ * depth + close * depth


REST = [
    Bad("malformed JSON", "POST", "/rest/v1/films", b'{"title": ', JSON),
    Bad("JSON with trailing garbage", "POST", "/rest/v1/films", b'{"title": "a"} x', JSON),
    Bad("a number where an object belongs", "POST", "/rest/v1/films", b"7", JSON),
    Bad("an array of numbers", "POST", "/rest/v1/films", b"[1, 2]", JSON),
    Bad("deeply nested JSON", "POST", "/rest/v1/films", deep("[", "]", 100_000).encode(), JSON),
    Bad("uneven keys", "POST", "/rest/v1/films", b'[{"title": "a"}, {"year": 1990}]', JSON),
    Bad("invalid UTF-8 in the body", "POST", "/rest/v1/films", b'{"title": "\xff"}', JSON),
    Bad("NUL in a value", "POST", "/rest/v1/films", b'{"title": "a\\u0000b"}', JSON),
    Bad("raw NUL in the body", "POST", "/rest/v1/films", b'{"title": "a\0b"}', JSON),
    Bad("a lone surrogate", "POST", "/rest/v1/films", b'{"title": "\\ud800"}', JSON),
    Bad("an unknown column", "POST", "/rest/v1/films", b'{"title": "a", "nonsense": 1}', JSON),
    Bad("a wrong type", "POST", "/rest/v1/films", b'{"title": "a", "year": "soon"}', JSON),
    Bad("a number out of range", "POST", "/rest/v1/films", b'{"title": "a", "year": 99999999999999999999}', JSON),
    Bad("a missing value", "POST", "/rest/v1/films", b'{"year": 1990}', JSON),
    Bad("a failed check", "POST", "/rest/v1/films", b'{"title": "a", "year": 1}', JSON),
    Bad("a generated column", "POST", "/rest/v1/films", b'{"title": "a", "id": 1}', JSON),
    Bad("an unknown content type", "POST", "/rest/v1/films", b"a", {"content-type": "application/x-own"}, (400, 415)),
    Bad("malformed CSV", "POST", "/rest/v1/films", b'title,year\n"a', {"content-type": "text/csv"}),
    Bad("an unknown table", "GET", "/rest/v1/nothing", statuses=(404,)),
    Bad("an unknown routine", "GET", "/rest/v1/rpc/nothing", statuses=(404,)),
    Bad("a path too deep", "GET", "/rest/v1/films/1", statuses=(404,)),
    Bad("an unknown column in select", "GET", "/rest/v1/films?select=nonsense"),
    Bad("an unknown column in a filter", "GET", "/rest/v1/films?nonsense=eq.1"),
    Bad("an unknown operator", "GET", "/rest/v1/films?id=equals.1"),
    Bad("a filter without operator", "GET", "/rest/v1/films?id=1"),
    Bad("an empty filter", "GET", "/rest/v1/films?id="),
    Bad("a wrong type in a filter", "GET", "/rest/v1/films?id=eq.abc"),
    Bad("an unclosed list", "GET", "/rest/v1/films?id=in.(1,2"),
    Bad("an unclosed select", "GET", "/rest/v1/films?select=id,(title"),
    Bad("an unclosed logic tree", "GET", "/rest/v1/films?or=(id.eq.1"),
    Bad("deep logic", "GET", f"/rest/v1/films?or={'(and' * 2000}(id.eq.1,id.eq.2){')' * 2000}", statuses=(400, 414)),
    Bad("deep select", "GET", f"/rest/v1/films?select={'films(' * 2000}id{')' * 2000}", statuses=(400, 414)),
    Bad("a bad order", "GET", "/rest/v1/films?order=id.sideways"),
    Bad("a bad limit", "GET", "/rest/v1/films?limit=many"),
    Bad("a negative limit", "GET", "/rest/v1/films?limit=-1", statuses=(400, 416)),
    Bad("a huge limit", "GET", "/rest/v1/films?limit=99999999999999999999999", statuses=(400, 416)),
    Bad("a bad pattern", "GET", "/rest/v1/films?title=match.(((", statuses=(400,)),
    Bad("invalid UTF-8 in the query", "GET", "/rest/v1/films?title=eq.%ff"),
    Bad("NUL in the query", "GET", "/rest/v1/films?title=eq.%00"),
    Bad("NUL in a column name", "GET", "/rest/v1/films?select=a%00b"),
    Bad("an unknown schema", "GET", "/rest/v1/films", headers={"accept-profile": "secret"}, statuses=(406,)),
    Bad("two objects asked as one", "GET", "/rest/v1/films", headers={"accept": "application/vnd.pgrst.object+json"}, statuses=(406,)),
    Bad("an unknown method", "PROPFIND", "/rest/v1/films", statuses=(405,)),
    Bad("a routine with wrong arguments", "POST", "/rest/v1/rpc/add", b'{"a": 1}', JSON, (404,)),
    Bad("a routine with wrong types", "POST", "/rest/v1/rpc/add", b'{"a": "x", "b": 2}', JSON),
    Bad("a routine that raises", "POST", "/rest/v1/rpc/fail", b'{"message": "no"}', JSON),
    Bad("a write by GET", "GET", "/rest/v1/rpc/nap?seconds=x", statuses=(400, 405)),
    Bad("a table one may not read", "GET", "/rest/v1/users", headers={"accept-profile": "auth"}, statuses=(406,)),
    Bad("strict handling of nonsense", "GET", "/rest/v1/films", headers={"prefer": "handling=strict, nonsense=1"}),
]  # fmt: skip

AUTH = [
    Bad("malformed JSON", "POST", "/auth/v1/signup", b"{", JSON),
    Bad("an array for an object", "POST", "/auth/v1/signup", b"[]", JSON),
    Bad("no body", "POST", "/auth/v1/signup", b"", JSON, (400, 422)),
    Bad("wrong types", "POST", "/auth/v1/signup", b'{"email": 7, "password": []}', JSON),
    Bad("invalid UTF-8", "POST", "/auth/v1/signup", b'{"email": "\xff@x.test"}', JSON),
    Bad("NUL in an address", "POST", "/auth/v1/signup", b'{"email": "a\\u0000@example.com", "password": "secret123"}', JSON, (400, 422)),
    Bad("not an address", "POST", "/auth/v1/signup", b'{"email": "x", "password": "secret123"}', JSON, (400, 422)),
    Bad("a short password", "POST", "/auth/v1/signup", b'{"email": "a@example.com", "password": "x"}', JSON, (422,)),
    Bad("a wrong password", "POST", "/auth/v1/token?grant_type=password", b'{"email": "a@example.com", "password": "x"}', JSON),
    Bad("an unknown grant", "POST", "/auth/v1/token?grant_type=magic", b"{}", JSON),
    Bad("no grant", "POST", "/auth/v1/token", b"{}", JSON),
    Bad("a made-up refresh token", "POST", "/auth/v1/token?grant_type=refresh_token", b'{"refresh_token": "nope"}', JSON),
    Bad("a wrong code", "POST", "/auth/v1/verify", b'{"type": "sms", "phone": "+60123456789", "token": "000000"}', JSON, (403,)),
    Bad("an unknown verification", "POST", "/auth/v1/verify", b'{"type": "own", "token": "1"}', JSON),
    Bad("a bad phone number", "POST", "/auth/v1/otp", b'{"phone": "call me"}', JSON, (400, 422)),
    Bad("the user with a key for a token", "GET", "/auth/v1/user", statuses=(403,)),
    Bad("the users without rights", "GET", "/auth/v1/admin/users", statuses=(401, 403)),
    Bad("an unknown path", "GET", "/auth/v1/nothing", statuses=(404,)),
    Bad("an unknown method", "DELETE", "/auth/v1/signup", statuses=(404, 405)),
]  # fmt: skip

FUNCTIONS = [
    Bad("an unknown function", "POST", "/functions/v1/nothing", b"{}", statuses=(404,)),
    Bad("a path for a name", "POST", "/functions/v1/..%2f..%2fetc", b"{}", statuses=(400, 404)),
    Bad("no name", "POST", "/functions/v1/", b"{}", statuses=(400, 404)),
    Bad("malformed JSON", "POST", "/functions/v1/echo", b"{", JSON),
    Bad("invalid UTF-8", "POST", "/functions/v1/echo", b'"\xff"', JSON),
]

GATEWAY = [
    Bad("no service", "GET", "/nothing", statuses=(404,)),
    Bad("no path", "GET", "/", statuses=(404,)),
    Bad("invalid UTF-8 in the path", "GET", "/rest/v1/%ff"),
    Bad("NUL in the path", "GET", "/rest/v1/%00"),
    Bad(
        "a body over the limit",
        "POST",
        "/rest/v1/films",
        b'{"title": "' + b"x" * 11_000_000 + b'"}',
        JSON,
        (413,),
    ),
    Bad("an unknown API key", "GET", "/rest/v1/films", headers={"apikey": "nonsense"}, statuses=(401,)),
    Bad(
        "a malformed token",
        "GET",
        "/rest/v1/films",
        headers={"authorization": "Bearer x.y.z"},
        statuses=(401,),
    ),
]


def count_rows(server: Server) -> dict[str, int]:
    with psycopg.connect(server.database_url) as connection:
        return {
            table: connection.execute(f"select count(*) from {table}").fetchone()[0]  # type: ignore[index]
            for table in ("public.films", "auth.users", "auth.sessions", "basalt.inbox_messages")
        }


@pytest.mark.parametrize(
    "bad", [*REST, *AUTH, *FUNCTIONS, *GATEWAY], ids=lambda bad: f"{bad.target.split('?')[0][:30]} {bad.name}"
)
def test_bad_input_is_refused_clearly(server: Server, bad: Bad) -> None:
    before = count_rows(server)
    with httpx2.Client(base_url=server.url, timeout=LIMIT_S) as client:
        headers = {"apikey": server.anon_key, "authorization": f"Bearer {server.anon_key}", **bad.headers}
        answer = client.request(bad.method, bad.target, content=bad.body, headers=headers)
    assert answer.status_code in bad.statuses, answer.text[:500]
    check_shape(bad.target, answer)
    assert count_rows(server) == before


def check_shape(target: str, answer: httpx2.Response) -> None:
    """The error's shape is that of the service that was asked, or the gateway's."""
    body: dict[str, Any] = answer.json()
    if "error" in body and isinstance(body["error"], dict):
        assert {"code", "message", "timestamp", "requestId"} <= body["error"].keys()
    elif target.startswith("/rest/"):
        assert body.keys() == {"code", "message", "details", "hint"}
        assert body["code"]
        assert body["message"]
    elif target.startswith("/auth/"):
        assert body["code"] == answer.status_code
        assert body["error_code"]
        assert body["msg"]
    else:
        assert body["code"]
        assert body["message"]


INJECTIONS = [
    "'; drop table films; --",
    '"; drop table films; --',
    "1; select pg_sleep(10)",
    "1) or (1=1",
    "\\'; drop table films; --",
    "$$; drop table films; $$",
    "id from films; drop table films --",
    "title\" from pg_authid --",
]  # fmt: skip

PLACES = [
    "/rest/v1/{}",
    "/rest/v1/rpc/{}",
    "/rest/v1/films?select={}",
    "/rest/v1/films?select=title::{}",
    "/rest/v1/films?select=a:{}(id)",
    "/rest/v1/films?select=extra->>{}",
    "/rest/v1/films?{}=eq.1",
    "/rest/v1/films?title={}",
    "/rest/v1/films?title=eq.{}",
    "/rest/v1/films?title=in.({})",
    "/rest/v1/films?title=like(any).{}",
    "/rest/v1/films?tags=cs.{}",
    "/rest/v1/films?title=fts({}).a",
    "/rest/v1/films?or=({})",
    "/rest/v1/films?or=(title.eq.{})",
    "/rest/v1/films?order={}",
    "/rest/v1/films?limit={}",
    "/rest/v1/films?columns={}",
    "/rest/v1/films?on_conflict={}",
    "/rest/v1/rpc/add?a={}&b=1",
]
HEADERS = ["prefer", "range", "accept-profile", "content-profile", "accept", "x-request-id", "x-own"]


@pytest.mark.parametrize("injection", INJECTIONS)
def test_sql_in_any_parameter_stays_a_value(server: Server, injection: str) -> None:
    before = count_rows(server)
    started = time.monotonic()
    with server.client(server.service_role_key) as client:
        for place in PLACES:
            path, _, query = place.partition("?")
            quoted = httpx2.QueryParams({"q": injection}).__str__()[2:]
            answer = client.get(
                path.replace("{}", quoted) + ("?" + query.replace("{}", quoted) if query else "")
            )
            assert answer.status_code < 500, (place, answer.text)
        for header in HEADERS:
            answer = client.get("/rest/v1/films", headers={header: injection})
            assert answer.status_code < 500, (header, answer.text)
        for body in ({"title": injection}, {injection: 1}):
            answer = client.patch("/rest/v1/films?id=eq.-1", json=body)
            assert answer.status_code < 500, (body, answer.text)
    assert time.monotonic() - started < 30
    assert count_rows(server) == before


@pytest.mark.req("P4")
def test_no_forged_token_passes_any_service(server: Server) -> None:
    claims = {
        "role": "service_role",
        "sub": "00000000-0000-0000-0000-000000000001",
        "exp": int(time.time()) + 600,
    }
    forged = {
        "unsigned": jwt.encode(claims, None, algorithm="none"),
        "wrong secret": jwt.encode(claims, "x" * 40, algorithm="HS256"),
        "expired": jwt.encode({**claims, "exp": 1}, server.jwt_secret, algorithm="HS256"),
        "not yet valid": jwt.encode({**claims, "nbf": claims["exp"]}, server.jwt_secret, algorithm="HS256"),
        "cut": jwt.encode(claims, server.jwt_secret, algorithm="HS256")[:-4],
    }
    paths = [
        "/rest/v1/films",
        "/auth/v1/user",
        "/auth/v1/admin/users",
        "/functions/v1/echo",
        "/studio/inbox.json",
    ]
    for name, token in forged.items():
        with httpx2.Client(
            base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=LIMIT_S
        ) as client:
            for path in paths:
                answer = client.get(path, headers={"origin": "https://elsewhere.test"})
                assert answer.status_code in (401, 403), (name, path, answer.text)


def test_broken_http_neither_hangs_nor_hurts(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    for raw in [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET /rest/v1/films HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST /rest/v1/films HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /rest/v1/f\xff HTTP/1.1\r\nhost: a\r\n\r\n",
    ]:
        with socket.create_connection((host, int(port)), timeout=LIMIT_S) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer
    with server.client() as client:
        assert client.get("/rest/v1/films").status_code == 200


def test_errors_are_json_that_a_strict_parser_takes(server: Server) -> None:
    with server.client() as client:
        answer = client.get("/rest/v1/films?title=eq.a&nonsense=eq.\u2028<script>")
    assert json.loads(answer.content)["code"]
    assert "application/json" in answer.headers["content-type"]
