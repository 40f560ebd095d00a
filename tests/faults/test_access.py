"""Every route with every kind of key and token: a second way in never forgets the first one's check."""

import time
import uuid

import httpx2
import jwt
import psycopg
import pytest

from basalt.auth.routes import ROUTES
from basalt.http import Route
from basalt.realtime.api import ROUTES as REALTIME_ROUTES
from basalt.storage.api import ROUTES as STORAGE_ROUTES
from tests.server import Server

pytestmark = pytest.mark.req("P4", "P6")
NOBODY = str(uuid.uuid4())


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.fixture(scope="module")
def credentials(server: Server) -> dict[str, dict[str, str]]:
    """Headers that must not open anything beyond what is public."""
    with server.client() as client:
        answer = client.post(
            "/auth/v1/signup", json={"email": "walker@example.com", "password": "long enough"}
        )
        session = answer.json()
    banned = {"role": "authenticated", "sub": NOBODY, "aud": "authenticated", "exp": int(time.time()) + 60}
    return {
        "nothing": {},
        "publishable key": {"apikey": server.publishable_key},
        "anon key": {"apikey": server.anon_key, "authorization": f"Bearer {server.anon_key}"},
        "user": {"apikey": server.anon_key, "authorization": f"Bearer {session['access_token']}"},
        "user who does not exist": {"authorization": f"Bearer {jwt.encode(banned, server.jwt_secret)}"},
        "forged service role": {"authorization": f"Bearer {jwt.encode({'role': 'service_role'}, 'x' * 40)}"},
        "unsigned service role": {
            "authorization": f"Bearer {jwt.encode({'role': 'service_role'}, None, 'none')}"
        },
        "wrong key": {"apikey": "sb_secret_guessed"},
    }


@pytest.mark.parametrize("route", [route for route in ROUTES.routes if route.access == "admin"], ids=name_of)
def test_no_other_key_opens_an_admin_route(
    server: Server, credentials: dict[str, dict[str, str]], route: Route
) -> None:
    path = "/auth/v1" + route.path.replace("{user_id}", NOBODY)
    with httpx2.Client(base_url=server.url) as client:
        for name, headers in credentials.items():
            answer = client.request(route.method, path, headers=headers, json={"email": "new@example.com"})
            assert answer.status_code in (401, 403), (name, answer.text)
        opened = client.request(route.method, path, headers={"apikey": server.secret_key}, json={})
        assert opened.status_code not in (401, 403), opened.text
    with psycopg.connect(server.database_url) as connection:
        assert connection.execute("select from auth.users where email = 'new@example.com'").fetchall() == []


@pytest.mark.parametrize("route", [route for route in ROUTES.routes if route.access == "user"], ids=name_of)
def test_only_a_users_token_opens_a_users_route(
    server: Server, credentials: dict[str, dict[str, str]], route: Route
) -> None:
    with httpx2.Client(base_url=server.url) as client:
        for name, headers in credentials.items():
            if name != "user":
                answer = client.request(route.method, f"/auth/v1{route.path}", headers=headers, json={})
                assert answer.status_code in (401, 403), (name, answer.text)


@pytest.mark.req("P7")
@pytest.mark.parametrize(
    "route", [route for route in REALTIME_ROUTES.routes if route.access == "key"], ids=name_of
)
def test_only_a_key_of_the_project_opens_a_route_of_realtime(
    server: Server, credentials: dict[str, dict[str, str]], route: Route
) -> None:
    path = "/realtime/v1" + route.path.replace("{topic}", "room").replace("{event}", "e")
    body = {"messages": [{"topic": "room", "event": "e", "payload": {}}]}
    opens = {"publishable key", "anon key", "user", "user who does not exist"}  # the last one's token is ours
    with httpx2.Client(base_url=server.url) as client:
        for name, headers in credentials.items():
            answer = client.request(route.method, path, headers=headers, json=body)
            assert answer.status_code == (202 if name in opens else 401), (name, answer.text)


@pytest.fixture(scope="module")
def vault(server: Server) -> str:
    """A private bucket without policies, holding `secret.txt`."""
    with server.client(server.secret_key) as client:
        client.post("/storage/v1/bucket", json={"name": "vault"}).raise_for_status()
        client.post("/storage/v1/object/vault/secret.txt", content=b"the secret").raise_for_status()
    return "vault"


@pytest.mark.req("P8")
@pytest.mark.parametrize("route", STORAGE_ROUTES.routes, ids=name_of)
def test_no_route_of_storage_opens_a_private_bucket(
    server: Server, credentials: dict[str, dict[str, str]], vault: str, route: Route
) -> None:
    names = {"{bucket}": vault, "{path*}": "secret.txt", "{version}": NOBODY}
    path = "/storage/v1" + route.path
    for name, value in names.items():
        path = path.replace(name, value)
    body = {
        "name": "vault2",
        "public": True,
        "prefixes": ["secret.txt"],
        "paths": ["secret.txt"],
        "prefix": "",
        "expiresIn": 60,
        "bucketId": vault,
        "sourceKey": "secret.txt",
        "destinationKey": "copy.txt",
    }
    with httpx2.Client(base_url=server.url) as client:
        for name, headers in credentials.items():
            answer = client.request(route.method, path, headers=headers, json=body)
            assert answer.status_code < 500, (name, answer.text)
            assert "the secret" not in answer.text, name
            assert "token=" not in answer.text, name
            is_known = name in ("publishable key", "anon key", "user", "user who does not exist")
            if route.access == "caller" and not is_known:
                assert answer.json()["code"] in ("AccessDenied", "InvalidRequest"), (name, answer.text)
    with server.client(server.secret_key) as client:
        assert client.get("/storage/v1/object/vault/secret.txt").content == b"the secret"
        buckets = client.get("/storage/v1/bucket", params={"search": "vault"}).json()
        assert [(bucket["name"], bucket["public"]) for bucket in buckets] == [(vault, False)]
        listed = client.post("/storage/v1/object/list/vault", json={"prefix": ""}).json()
        assert [entry["name"] for entry in listed] == ["secret.txt"]


@pytest.mark.parametrize(
    "path", ["/studio", "/studio/inbox", "/studio/inbox.json", "/studio/realtime", "/studio/realtime.json"]
)
def test_the_console_is_closed_to_other_origins_and_hosts(
    server: Server, credentials: dict[str, dict[str, str]], path: str
) -> None:
    outside = [
        {"origin": "https://evil.test"},
        {"host": "evil.test"},
        {"sec-fetch-site": "cross-site"},
        {"x-forwarded-for": "203.0.113.9"},
    ]
    with httpx2.Client(base_url=server.url) as client:
        assert client.get(path).status_code == 200
        for extra in outside:
            for name, headers in credentials.items():
                assert client.get(path, headers={**headers, **extra}).status_code == 403, (name, extra)
            assert client.get(path, headers={"apikey": server.secret_key, **extra}).status_code == 200


def test_secrets_stay_out_of_the_log(server: Server) -> None:
    with server.client() as client:
        body = {"email": "quiet@example.com", "password": "a very secret password"}
        token = client.post("/auth/v1/signup", json=body).json()["access_token"]
        client.get("/rest/v1/films?apikey=" + server.secret_key, headers={"authorization": f"Bearer {token}"})
        client.post(
            "/auth/v1/token?grant_type=password", json={**body, "password": "a wrong secret password"}
        )
    log = server.log.read_text()
    for secret in (
        "a very secret password",
        "a wrong secret password",
        token,
        server.secret_key,
        server.jwt_secret,
    ):
        assert secret not in log
