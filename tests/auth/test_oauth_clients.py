"""Clients of the OAuth server: registered by an administrator or by themselves, and what they may say of themselves."""

import base64
import hashlib
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from basalt.config import OAuthServerSettings
from tests.auth.conftest import AuthClient, StartAuth
from tests.auth.oauth_flow import REDIRECT_URI, an_app, oauth_error

pytestmark = pytest.mark.req("P6")

ON = OAuthServerSettings(enabled=True)
OPEN = replace(ON, allow_dynamic_registration=True)
CLIENTS = "/admin/oauth/clients"
REGISTER = "/oauth/clients/register"
SOMEBODY = str(uuid4())
ROUTES = [
    ("GET", CLIENTS),
    ("POST", CLIENTS),
    ("GET", f"{CLIENTS}/{SOMEBODY}"),
    ("PUT", f"{CLIENTS}/{SOMEBODY}"),
    ("DELETE", f"{CLIENTS}/{SOMEBODY}"),
    ("POST", f"{CLIENTS}/{SOMEBODY}/regenerate_secret"),
]


@pytest.fixture
async def server(start_auth: StartAuth) -> AuthClient:
    return await start_auth(oauth_server=OPEN)


async def test_an_administrator_makes_a_client_and_sees_its_secret_once(server: AuthClient) -> None:
    body = {
        "client_name": "Diary",
        "client_uri": "https://diary.example.com",
        "logo_uri": "https://diary.example.com/logo.png",
        "redirect_uris": [REDIRECT_URI],
    }
    answer = await server.admin("POST", CLIENTS, body)
    made = answer.json
    assert answer.status == 201
    assert answer.headers["cache-control"] == "no-store"
    assert len(made["client_secret"]) == 43
    assert made | body == made
    assert made["client_type"] == "confidential"
    assert made["registration_type"] == "manual"
    assert made["token_endpoint_auth_method"] == "client_secret_basic"
    assert made["grant_types"] == ["authorization_code", "refresh_token"]
    assert made["response_types"] == ["code"]
    [row] = server.rows("select client_secret_hash from auth.oauth_clients")
    digest = hashlib.sha256(made["client_secret"].encode()).digest()
    assert row["client_secret_hash"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    shown = (await server.admin("GET", f"{CLIENTS}/{made['client_id']}")).json
    assert shown == {name: value for name, value in made.items() if name != "client_secret"}


async def test_a_client_may_register_itself_where_that_is_allowed(server: AuthClient) -> None:
    body = {
        "client_name": "Inspector",
        "redirect_uris": ["http://localhost:6274/oauth/callback"],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "scope": "openid",
        "contacts": ["a@example.com"],
    }
    answer = await server.post(REGISTER, body)
    made = answer.json
    assert answer.status == 201
    assert made["registration_type"] == "dynamic"
    assert made["client_type"] == "public"
    assert made["client_id_issued_at"] > 0
    assert "client_secret" not in made
    assert "client_secret_expires_at" not in made
    assert server.rows("select client_secret_hash from auth.oauth_clients") == [{"client_secret_hash": None}]
    secret = (await server.post(REGISTER, {"redirect_uris": [REDIRECT_URI]})).json
    assert secret["client_secret"]
    assert secret["client_secret_expires_at"] == 0  # never, RFC 7591 §3.2.1


async def test_nobody_registers_where_that_is_not_allowed(start_auth: StartAuth) -> None:
    auth = await start_auth(oauth_server=ON)
    answer = await auth.post(REGISTER, {"redirect_uris": [REDIRECT_URI]})
    assert answer.error == (403, "oauth_dynamic_client_registration_disabled")
    assert auth.rows("select 1 from auth.oauth_clients") == []


async def test_registrations_of_one_address_are_limited(start_auth: StartAuth, base_settings: Any) -> None:
    auth = await start_auth(
        oauth_server=OPEN,
        rate_limit=replace(base_settings.auth.rate_limit, oauth_client_register=2),
        basalt={"client_address_header": "x-forwarded-for"},
    )
    headers = {"x-forwarded-for": "203.0.113.7"}
    for _ in range(2):
        answer = await auth.post(REGISTER, {"redirect_uris": [REDIRECT_URI]}, headers=headers)
        assert answer.status == 201
    answer = await auth.post(REGISTER, {"redirect_uris": [REDIRECT_URI]}, headers=headers)
    assert answer.error == (429, "over_request_rate_limit")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.req("P4")
async def test_clients_are_managed_by_administrators_alone(server: AuthClient) -> None:
    await server.a_user()
    token = (await server.sign_in())["access_token"]
    for method, path in ROUTES:
        assert (await server.send(method, path, {})).error == (401, "no_authorization")
        for key in (server.keys.anon_key, server.keys.publishable_key, token):
            assert (await server.send(method, path, {}, token=key)).error == (403, "not_admin")


async def test_a_server_that_is_off_has_no_clients(auth: AuthClient) -> None:
    for method, path in [*ROUTES, ("POST", REGISTER)]:
        assert (await auth.admin(method, path, {})).error == (404, "feature_disabled")
        assert auth.sent[-1].json["msg"] == "OAuth server is disabled"


async def test_a_client_that_is_not_there_is_told(server: AuthClient) -> None:
    for method, path in ROUTES[2:]:
        body = {"client_name": "Diary"}
        assert (await server.admin(method, path, body)).error == (404, "oauth_client_not_found")
        malformed = path.replace(SOMEBODY, "diary")
        assert (await server.admin(method, malformed, body)).error == (400, "validation_failed")
        assert server.sent[-1].json["msg"] == "invalid client_id format"


async def test_clients_are_listed_by_pages_the_newest_first(server: AuthClient) -> None:
    assert (await server.admin("GET", CLIENTS)).json == {"clients": []}
    for number in range(5):
        await an_app(server, client_name=f"App {number}")
    everything = await server.admin("GET", CLIENTS)
    assert [client["client_name"] for client in everything.json["clients"]] == [
        f"App {number}" for number in reversed(range(5))
    ]
    assert '"client_secret":' not in everything.body.decode()
    page = await server.admin("GET", f"{CLIENTS}?page=2&per_page=2")
    assert [client["client_name"] for client in page.json["clients"]] == ["App 2", "App 1"]
    assert page.headers["x-total-count"] == "5"
    assert page.headers["link"] == (
        '</admin/oauth/clients?page=3&per_page=2>; rel="next",'
        ' </admin/oauth/clients?page=3&per_page=2>; rel="last"'
    )
    assert (await server.admin("GET", f"{CLIENTS}?page=x")).error == (400, "validation_failed")


async def test_a_change_touches_only_what_it_names(server: AuthClient) -> None:
    app = await an_app(server, client_uri="https://diary.example.com")
    target = f"{CLIENTS}/{app.id}"
    answer = await server.admin("PUT", target, {"client_name": "Journal", "logo_uri": None})
    assert answer.status == 200
    assert answer.json["client_name"] == "Journal"
    assert answer.json["client_uri"] == "https://diary.example.com"
    changed = await server.admin(
        "PUT",
        target,
        {
            "redirect_uris": ["https://other.example.com/cb", "http://127.0.0.1:9/cb"],
            "grant_types": ["authorization_code"],
            "token_endpoint_auth_method": "client_secret_post",
            "client_uri": "",
        },
    )
    assert changed.json["redirect_uris"] == ["https://other.example.com/cb", "http://127.0.0.1:9/cb"]
    assert changed.json["grant_types"] == ["authorization_code"]
    assert changed.json["token_endpoint_auth_method"] == "client_secret_post"
    assert "client_uri" not in changed.json
    assert "client_secret" not in changed.json
    none = await server.admin("PUT", target, {"token_endpoint_auth_method": "none"})
    assert none.error == (400, "validation_failed")
    assert none.json["msg"] == (
        "token_endpoint_auth_method 'none' is not valid for client_type 'confidential';"
        " valid methods: [client_secret_basic client_secret_post]"
    )


async def test_a_new_secret_replaces_the_old_one(server: AuthClient) -> None:
    app = await an_app(server)
    answer = await server.admin("POST", f"{CLIENTS}/{app.id}/regenerate_secret")
    assert answer.status == 200
    assert answer.json["client_secret"] != app.secret
    assert oauth_error(await app.ask(grant_type="refresh_token")) == (401, "invalid_client")
    app.metadata["client_secret"] = answer.json["client_secret"]
    assert oauth_error(await app.ask(grant_type="refresh_token")) == (400, "invalid_request")
    public = await an_app(server, token_endpoint_auth_method="none")
    refused = await server.admin("POST", f"{CLIENTS}/{public.id}/regenerate_secret")
    assert refused.error == (400, "validation_failed")
    assert refused.json["msg"] == "Cannot regenerate secret for public client"


async def test_a_deleted_client_is_gone_with_all_that_it_was_allowed(server: AuthClient) -> None:
    await server.a_user()
    mine = await server.sign_in()
    app, other = await an_app(server), await an_app(server)
    issued = await app.tokens(mine["access_token"])
    kept = await other.tokens(mine["access_token"])
    code = await app.code(mine["access_token"])
    answer = await server.admin("DELETE", f"{CLIENTS}/{app.id}")
    assert (answer.status, answer.body) == (204, b"")
    assert (await server.admin("GET", f"{CLIENTS}/{app.id}")).error == (404, "oauth_client_not_found")
    assert [client["client_id"] for client in (await server.admin("GET", CLIENTS)).json["clients"]] == [
        other.id
    ]
    assert (await server.get("/user", token=issued["access_token"])).error == (403, "session_not_found")
    assert oauth_error(await app.refresh(issued["refresh_token"])) == (401, "invalid_client")
    assert oauth_error(await app.exchange(code)) == (401, "invalid_client")
    assert (await server.get(app.authorize_target())).error == (400, "oauth_client_not_found")
    grants = await server.get("/user/oauth/grants", token=mine["access_token"])
    assert [grant["client"]["id"] for grant in grants.json] == [other.id]
    assert (await other.refresh(kept["refresh_token"])).status == 200
    assert (await server.admin("DELETE", f"{CLIENTS}/{app.id}")).error == (404, "oauth_client_not_found")


async def test_a_redirect_uri_that_is_taken_away_takes_its_codes_along(server: AuthClient) -> None:
    await server.a_user()
    token = (await server.sign_in())["access_token"]
    app = await an_app(server)
    code, pending = await app.code(token), await app.authorize(scope="openid")
    moved = {"redirect_uris": ["https://other.example.com/cb"]}
    assert (await server.admin("PUT", f"{CLIENTS}/{app.id}", moved)).status == 200
    assert oauth_error(await app.exchange(code)) == (400, "invalid_grant")
    assert (await app.look(pending, token)).error == (404, "oauth_authorization_not_found")


GOOD_REDIRECTS = [
    "https://app.example.com/callback",
    "https://app.example.com:8443/callback?tenant=1",
    "http://localhost:3000/callback",
    "http://127.0.0.1/",
    "http://[::1]:8080/cb",
    "com.example.app:/oauth2redirect",
    "com.example.app://callback",
    "myapp://callback",
]
BAD_REDIRECTS = {
    "": "redirect URI cannot be empty",
    "/callback": "must have scheme and host",
    "app.example.com/callback": "must have scheme and host",
    "https:///callback": "must have scheme and host",
    "myapp:/callback": "must have scheme and host",
    "javascript:alert(1)": "must have scheme and host",
    "javascript://app.example.com/%0aalert(1)": "scheme 'javascript' is not allowed for security reasons",
    "DATA://text/html": "scheme 'data' is not allowed for security reasons",
    "http://app.example.com/callback": "HTTP scheme only allowed for localhost",
    "http://localhost.example.com/": "HTTP scheme only allowed for localhost",
    "http://2130706433/": "HTTP scheme only allowed for localhost",
    "https://app.example.com/callback#part": "fragment not allowed in redirect URI",
    "https://app.example.com/callback#": "fragment not allowed in redirect URI",
    "https://*.example.com/callback": "wildcard not allowed in redirect URI",
    "https://app.example.com@evil.example/": "user information not allowed in redirect URI",
    "https://app.example.com/a,javascript://x/%0aalert(1)": "invalid URL format",
    "https://app.example.com/a b": "invalid URL format",
    "https://app.example.com\\@evil.example/": "invalid URL format",
    "https://app.example.com/\r\nSet-Cookie: a=b": "invalid URL format",
    "https://äpp.example.com/callback": "invalid URL format",
    "https://app.example.com:port/": "invalid URL format",
    "https://[::1/": "invalid URL format",
    "https://app.example.com/" + "x" * 2048: "cannot exceed 2048 characters",
}


async def test_redirect_uris_are_https_the_machine_itself_or_the_apps_own(server: AuthClient) -> None:
    answer = await server.post(REGISTER, {"redirect_uris": GOOD_REDIRECTS})
    assert answer.status == 201, answer.body
    assert answer.json["redirect_uris"] == GOOD_REDIRECTS


async def test_other_redirect_uris_are_refused_with_the_reason(server: AuthClient) -> None:
    for uri, problem in BAD_REDIRECTS.items():
        for answer in (
            await server.post(REGISTER, {"redirect_uris": [REDIRECT_URI, uri]}),
            await server.admin("POST", CLIENTS, {"redirect_uris": [uri]}),
        ):
            assert answer.error == (400, "validation_failed")
            assert answer.json["msg"] == f"invalid redirect_uri '{uri[:200]}': {problem}"


# field values → message
MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"redirect_uris": None}, "redirect_uris is required"),
    ({"redirect_uris": []}, "redirect_uris is required"),
    (
        {"redirect_uris": [f"https://a.example.com/{n}" for n in range(11)]},
        "redirect_uris cannot exceed 10 items",
    ),
    (
        {"grant_types": ["password"]},
        "grant_types must only contain 'authorization_code' and/or 'refresh_token'",
    ),
    ({"response_types": ["token"]}, "response_types must contain 'code'"),
    ({"client_name": "x" * 1025}, "client_name cannot exceed 1024 characters"),
    ({"client_uri": "https://a.example.com/" + "x" * 2048}, "client_uri cannot exceed 2048 characters"),
    ({"client_uri": "diary"}, "client_uri must be a valid URL"),
    ({"client_uri": "javascript:alert(1)"}, "client_uri must be a valid URL"),
    ({"client_uri": "https://[::1/"}, "client_uri must be a valid URL"),
    ({"logo_uri": "https://a.example.com/" + "x" * 2048}, "logo_uri cannot exceed 2048 characters"),
    ({"logo_uri": "data:text/html,hello"}, "logo_uri must be a valid URL"),
    ({"client_type": "secret"}, "client_type must be 'public' or 'confidential'"),
    (
        {"token_endpoint_auth_method": "private_key_jwt"},
        "token_endpoint_auth_method must be one of: [none client_secret_basic client_secret_post]",
    ),
    (
        {"client_type": "public", "token_endpoint_auth_method": "client_secret_post"},
        "client_type 'public' is inconsistent with token_endpoint_auth_method 'client_secret_post'"
        " (expected client_type 'confidential')",
    ),
]
MALFORMED_CHANGES: list[tuple[dict[str, Any], str]] = [
    ({}, "No fields provided for update"),
    ({"client_name": None, "unknown": 1}, "No fields provided for update"),
    ({"redirect_uris": []}, "redirect_uris cannot be empty"),
    ({"grant_types": []}, "grant_types cannot be empty"),
    (
        {"grant_types": ["implicit"]},
        "grant_types must only contain 'authorization_code' and/or 'refresh_token'",
    ),
    ({"client_name": "x" * 1025}, "client_name cannot exceed 1024 characters"),
    ({"client_uri": "ftp://a.example.com"}, "client_uri must be a valid URL"),
    ({"logo_uri": "//a.example.com"}, "logo_uri must be a valid URL"),
    (
        {"token_endpoint_auth_method": "tls"},
        "invalid token_endpoint_auth_method: must be one of: [none client_secret_basic client_secret_post]",
    ),
]
UNREADABLE: dict[str, bytes] = {
    "empty": b"",
    "text": b"hello",
    "cut": b'{"redirect_uris": ["https://a',
    "array": b"[]",
    "uris are no list": b'{"redirect_uris": "https://a.example.com/"}',
    "uris are no texts": b'{"redirect_uris": [1]}',
    "name is no text": b'{"redirect_uris": ["https://a.example.com/"], "client_name": 7}',
}


async def test_a_malformed_registration_is_told(server: AuthClient) -> None:
    for fields, message in MALFORMED:
        body = {"redirect_uris": [REDIRECT_URI], "client_name": "Diary", **fields}
        for answer in (await server.post(REGISTER, body), await server.admin("POST", CLIENTS, body)):
            assert answer.error == (400, "validation_failed")
            assert answer.json["msg"] == message
    assert server.rows("select 1 from auth.oauth_clients") == []


async def test_a_malformed_change_is_told(server: AuthClient) -> None:
    app = await an_app(server)
    for fields, message in MALFORMED_CHANGES:
        answer = await server.admin("PUT", f"{CLIENTS}/{app.id}", fields)
        assert answer.error == (400, "validation_failed")
        assert answer.json["msg"] == message
    assert (await server.admin("GET", f"{CLIENTS}/{app.id}")).json["client_name"] == "Diary"


async def test_a_body_that_cannot_be_read_is_bad_json(server: AuthClient) -> None:
    app = await an_app(server)
    for name, body in UNREADABLE.items():
        assert (await server.post(REGISTER, body)).error == (400, "bad_json"), name
        assert (await server.admin("POST", CLIENTS, body)).error == (400, "bad_json"), name
        assert (await server.admin("PUT", f"{CLIENTS}/{app.id}", body)).error == (400, "bad_json"), name
    nul = {"redirect_uris": [REDIRECT_URI], "client_name": "a\x00b"}
    assert (await server.post(REGISTER, nul)).error == (400, "validation_failed")
    large = {"redirect_uris": [REDIRECT_URI], "unknown": "x" * 1024 * 1024}
    assert (await server.post(REGISTER, large)).error == (413, "request_entity_too_large")
    assert (await server.get(REGISTER)).error == (405, "method_not_allowed")


async def test_commas_of_old_rows_make_no_second_redirect(server: AuthClient) -> None:
    """Such rows could come from GoTrue; what is behind the comma must be whole to count."""
    app = await an_app(server)
    server.rows(
        "update auth.oauth_clients set redirect_uris = 'https://a.example.com/x,,https://b.example.com/'"
    )
    for uri, status in [("https://a.example.com/x", 302), ("", 400), ("https://a.example.com/x,", 400)]:
        assert (await server.get(app.authorize_target(redirect_uri=uri))).status == status
