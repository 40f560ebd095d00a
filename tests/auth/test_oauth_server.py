"""The OAuth server up to the code: requests for consent, decisions, grants, and what it says of itself."""

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from basalt.config import OAuthServerSettings
from tests.auth.conftest import AuthClient, StartAuth
from tests.auth.oauth_flow import REDIRECT_URI, OAuthApp, an_app, answer_of, oauth_error

pytestmark = pytest.mark.req("P6")

ON = OAuthServerSettings(enabled=True)
ISSUER = "http://127.0.0.1:54321/auth/v1"
REQUEST = "/oauth/authorizations/abcdefgh"


@pytest.fixture
async def server(start_auth: StartAuth) -> AuthClient:
    return await start_auth(oauth_server=ON)


@pytest.fixture
async def app(server: AuthClient) -> OAuthApp:
    return await an_app(
        server, client_uri="https://diary.example.com", logo_uri="https://diary.example.com/l.png"
    )


@pytest.fixture
async def ada(server: AuthClient) -> str:
    """Ada's access token."""
    await server.a_user()
    token: str = (await server.sign_in())["access_token"]
    return token


@pytest.fixture
async def eve(server: AuthClient) -> str:
    """Somebody else's access token."""
    await server.a_user("eve@example.com")
    token: str = (await server.sign_in("eve@example.com"))["access_token"]
    return token


def statuses(server: AuthClient) -> list[str]:
    rows = server.rows("select status::text as status from auth.oauth_authorizations order by created_at")
    return [row["status"] for row in rows]


async def test_a_browser_is_sent_to_the_page_that_asks_for_consent(server: AuthClient, app: OAuthApp) -> None:
    answer = await server.get(
        app.authorize_target(scope="openid  email", nonce="n-1", resource="https://api.example.com/a")
    )
    assert answer.status == 302
    assert answer.headers["cache-control"] == "no-store"
    location = urlsplit(answer.headers["location"])
    assert f"{location.scheme}://{location.netloc}{location.path}" == "http://127.0.0.1:3000/oauth/consent"
    [(name, authorization_id)] = parse_qsl(location.query)
    assert name == "authorization_id"
    assert len(authorization_id) == 32
    [row] = server.rows("select *, (expires_at - created_at)::text as life from auth.oauth_authorizations")
    assert row["authorization_id"] == authorization_id
    assert (row["scope"], row["nonce"], row["state"]) == ("openid email", "n-1", "xyz")
    assert row["resource"] == "https://api.example.com/a"
    assert (row["code_challenge"], row["code_challenge_method"]) == (app.challenge, "s256")
    assert (row["user_id"], row["authorization_code"], row["status"]) == (None, None, "pending")
    assert row["life"] == "00:10:00"


async def test_what_is_not_said_is_the_default(start_auth: StartAuth) -> None:
    settings = replace(ON, default_scope="profile", authorization_url_path="ask", authorization_ttl_s=60.0)
    auth = await start_auth(oauth_server=settings, site_url="https://www.example.com/")
    app = await an_app(auth)
    answer = await auth.get(app.authorize_target(response_type=None, state=None, scope=None))
    assert answer.headers["location"].startswith("https://www.example.com/ask?authorization_id=")
    [row] = auth.rows(
        "select scope, state, (expires_at - created_at)::text as life from auth.oauth_authorizations"
    )
    assert row == {"scope": "profile", "state": None, "life": "00:01:00"}


# What is wrong while the redirect URI cannot be trusted: fields → code, message
UNTRUSTED: list[tuple[dict[str, str | None], str, str]] = [
    ({"client_id": None}, "validation_failed", "client_id is required"),
    ({"redirect_uri": None}, "validation_failed", "redirect_uri is required"),
    ({"client_id": "diary"}, "oauth_client_not_found", "invalid client_id format"),
    ({"client_id": "7c1f6a3e-58d1-4f0a-9b39-0f8f6d1c2b3a"}, "oauth_client_not_found", "invalid client_id"),
    ({"redirect_uri": "https://evil.example.com/"}, "validation_failed", "invalid redirect_uri"),
    ({"redirect_uri": REDIRECT_URI + "/"}, "validation_failed", "invalid redirect_uri"),
    ({"redirect_uri": REDIRECT_URI + "?a=b"}, "validation_failed", "invalid redirect_uri"),
    ({"redirect_uri": REDIRECT_URI.upper()}, "validation_failed", "invalid redirect_uri"),
    ({"redirect_uri": REDIRECT_URI + "\x00"}, "validation_failed", "The query string holds a NUL character"),
]
# What goes to the client: fields → description
TOLD: list[tuple[dict[str, str | None], str]] = [
    ({"response_type": "token"}, "only response_type=code is supported"),
    ({"scope": "openid admin"}, "unsupported scope: admin"),
    ({"scope": " "}, "scope parameter cannot be empty"),
    ({"scope": "openid " * 400}, "scope cannot exceed 2048 characters"),
    ({"state": "s" * 4097}, "state cannot exceed 4096 characters"),
    ({"nonce": "n" * 256}, "nonce cannot exceed 255 characters"),
    ({"resource": "https://a.example.com/" + "r" * 2048}, "resource cannot exceed 2048 characters"),
    ({"resource": "api"}, "resource must be an absolute URI"),
    ({"resource": "https://[::1/"}, "resource must be a valid URI"),
    ({"resource": "https://api.example.com/#a"}, "resource must not include a fragment component"),
    ({"resource": "https://api.example.com/?a"}, "resource must not include a query component"),
    ({"code_challenge": None}, "PKCE flow requires both code_challenge and code_challenge_method"),
    ({"code_challenge_method": None}, "PKCE flow requires both code_challenge and code_challenge_method"),
    ({"code_challenge_method": "plain"}, "code_challenge_method must be 'S256'"),
    ({"code_challenge": "short"}, "code_challenge must be between 43 and 128 characters"),
    ({"code_challenge": "c" * 129}, "code_challenge must be between 43 and 128 characters"),
    (
        {"code_challenge": "!" * 43},
        "code_challenge can only contain letters, digits, hyphens, periods, underscores and tildes",
    ),
]


async def test_nobody_is_redirected_to_an_address_that_is_not_the_clients(
    server: AuthClient, app: OAuthApp
) -> None:
    for fields, code, message in UNTRUSTED:
        answer = await server.get(app.authorize_target(**fields))
        assert answer.error == (400, code), fields
        assert answer.json["msg"] == message
        assert "location" not in answer.headers
    twice = app.authorize_target() + "&redirect_uri=https://evil.example.com/"
    assert (await server.get(twice)).error == (400, "validation_failed")
    assert statuses(server) == []


async def test_what_else_is_wrong_goes_to_the_client(server: AuthClient, app: OAuthApp) -> None:
    for fields, description in TOLD:
        answer = await server.get(app.authorize_target(**fields))
        assert answer.status == 302, fields
        told = answer_of(answer.headers["location"])
        assert told["error"] == "invalid_request"
        assert told["error_description"] == description
        assert told["iss"] == ISSUER
        assert told["state"] == fields.get("state", "xyz")
        assert "code" not in told
    twice = await server.get(app.authorize_target() + "&scope=openid&scope=phone")
    assert (
        answer_of(twice.headers["location"])["error_description"] == "scope must not be given more than once"
    )
    assert statuses(server) == []


async def test_without_a_page_of_consent_clients_are_told(start_auth: StartAuth) -> None:
    auth = await start_auth(oauth_server=replace(ON, authorization_url_path=""))
    answer = await auth.get((await an_app(auth)).authorize_target())
    told = answer_of(answer.headers["location"])
    assert told["error"] == "server_error"
    assert told["error_description"] == "oauth authorization path not configured"


async def test_a_user_sees_who_asks_for_what_and_approves(
    server: AuthClient, app: OAuthApp, ada: str
) -> None:
    authorization_id = await app.authorize(scope="openid email")
    shown = await app.look(authorization_id, ada)
    [user] = server.rows("select id::text from auth.users")
    assert shown.status == 200
    assert shown.json == {
        "authorization_id": authorization_id,
        "redirect_uri": REDIRECT_URI,
        "client": {
            "id": app.id,
            "name": "Diary",
            "uri": "https://diary.example.com",
            "logo_uri": "https://diary.example.com/l.png",
        },
        "user": {"id": user["id"], "email": "ada@example.com"},
        "scope": "openid email",
    }
    assert (await app.look(authorization_id, ada)).json == shown.json
    decided = await app.decide(authorization_id, ada)
    assert decided.status == 200
    assert list(decided.json) == ["redirect_url"]
    told = answer_of(decided.json["redirect_url"])
    assert told == {"code": told["code"], "state": "xyz", "iss": ISSUER}
    [row] = server.rows("select * from auth.oauth_authorizations")
    assert row["status"] == "approved"
    assert told["code"] not in str(row)  # stored as a hash
    [consent] = server.rows("select scopes, revoked_at from auth.oauth_consents")
    assert consent == {"scopes": "openid email", "revoked_at": None}


async def test_a_user_may_say_no(server: AuthClient, app: OAuthApp, ada: str) -> None:
    authorization_id = await app.authorize()
    await app.look(authorization_id, ada)
    told = answer_of((await app.decide(authorization_id, ada, "deny")).json["redirect_url"])
    assert told == {
        "error": "access_denied",
        "error_description": "User denied the request",
        "state": "xyz",
        "iss": ISSUER,
    }
    assert statuses(server) == ["denied"]
    assert server.rows("select 1 from auth.oauth_consents") == []
    again = await app.decide(authorization_id, ada)
    assert again.error == (400, "validation_failed")
    assert again.json["msg"] == "authorization request is no longer pending"
    assert (await app.look(authorization_id, ada)).json["msg"] == "authorization request cannot be processed"


async def test_who_allowed_as_much_before_is_not_asked_again(
    server: AuthClient, app: OAuthApp, ada: str
) -> None:
    await app.code(ada, scope="openid email profile")
    fewer = await app.look(await app.authorize(scope="email openid"), ada)
    assert list(fewer.json) == ["redirect_url"]
    assert answer_of(fewer.json["redirect_url"])["code"]
    more = await app.look(await app.authorize(scope="email phone"), ada)
    assert more.json["scope"] == "email phone"
    other = await an_app(server)
    assert "client" in (await other.look(await other.authorize(scope="email"), ada)).json


async def test_a_request_belongs_to_whoever_looked_first(
    server: AuthClient, app: OAuthApp, ada: str, eve: str
) -> None:
    authorization_id = await app.authorize()
    unseen = await app.decide(authorization_id, eve)
    assert unseen.error == (404, "oauth_authorization_not_found")
    assert (await app.look(authorization_id, ada)).status == 200
    assert (await app.look(authorization_id, eve)).error == (404, "oauth_authorization_not_found")
    assert (await app.decide(authorization_id, eve)).error == (404, "oauth_authorization_not_found")
    assert statuses(server) == ["pending"]
    assert (await app.decide(authorization_id, ada)).status == 200


async def test_of_many_users_one_gets_a_request(
    server: AuthClient, app: OAuthApp, ada: str, eve: str
) -> None:
    authorization_id = await app.authorize()
    answers = await asyncio.gather(*(app.look(authorization_id, token) for token in [ada, eve] * 5))
    assert sorted(answer.status for answer in answers) == [200] * 5 + [404] * 5


async def test_of_many_decisions_one_counts(server: AuthClient, app: OAuthApp, ada: str) -> None:
    authorization_id = await app.authorize()
    await app.look(authorization_id, ada)
    actions = ["approve", "deny"] * 5
    answers = await asyncio.gather(*(app.decide(authorization_id, ada, action) for action in actions))
    assert sorted(answer.status for answer in answers) == [200] + [400] * 9
    assert statuses(server) in (["approved"], ["denied"])


async def test_a_consent_that_covers_makes_one_code_of_many_looks(
    server: AuthClient, app: OAuthApp, ada: str
) -> None:
    await app.code(ada)
    authorization_id = await app.authorize()
    answers = await asyncio.gather(*(app.look(authorization_id, ada) for _ in range(8)))
    codes = [answer.json["redirect_url"] for answer in answers if answer.status == 200]
    assert len(codes) == 1
    assert {answer.status for answer in answers} == {200, 400}


async def test_a_request_that_is_too_old_is_gone(server: AuthClient, app: OAuthApp, ada: str) -> None:
    old, seen = await app.authorize(), await app.authorize()
    await app.look(seen, ada)
    server.rows(
        "update auth.oauth_authorizations set created_at = created_at - interval '1 day',"
        " expires_at = expires_at - interval '1 day'"
    )
    assert (await app.look(old, ada)).error == (404, "oauth_authorization_not_found")
    assert (await app.decide(seen, ada)).error == (404, "oauth_authorization_not_found")
    assert statuses(server) == ["expired", "expired"]
    assert (await app.look("x" * 500, ada)).error == (404, "oauth_authorization_not_found")


async def test_a_request_of_a_client_that_is_gone_is_gone(
    server: AuthClient, app: OAuthApp, ada: str
) -> None:
    authorization_id = await app.authorize()
    await app.look(authorization_id, ada)
    server.rows("update auth.oauth_clients set deleted_at = now()")
    assert (await app.look(authorization_id, ada)).error == (404, "oauth_authorization_not_found")
    assert (await app.decide(authorization_id, ada)).error == (404, "oauth_authorization_not_found")


async def test_pages_of_other_sites_cannot_decide(server: AuthClient, app: OAuthApp, ada: str) -> None:
    authorization_id = await app.authorize()
    target = f"/oauth/authorizations/{authorization_id}"
    elsewhere = {"origin": "https://evil.example.com"}
    for answer in (
        await server.get(target, token=ada, headers=elsewhere),
        await server.post(f"{target}/consent", {"action": "approve"}, token=ada, headers=elsewhere),
    ):
        assert answer.error == (400, "validation_failed")
        assert answer.json["msg"] == "unauthorized request origin"
    own = {"origin": "http://127.0.0.1:3000"}
    assert (await server.get(target, token=ada, headers=own)).status == 200


async def test_a_malformed_decision_is_told(server: AuthClient, app: OAuthApp, ada: str) -> None:
    authorization_id = await app.authorize()
    await app.look(authorization_id, ada)
    target = f"/oauth/authorizations/{authorization_id}/consent"
    for body in (b"", b"approve", b"[]", b'{"action": true}'):
        assert (await server.post(target, body, token=ada)).error == (400, "bad_json"), body
    for given in ({}, {"action": None}, {"action": "Approve"}, {"action": "x" * 10_000}):
        answer = await server.post(target, given, token=ada)
        assert answer.error == (400, "validation_failed")
        assert answer.json["msg"] == "action must be 'approve' or 'deny'"
    assert (await server.get(target, token=ada)).error == (405, "method_not_allowed")
    assert statuses(server) == ["pending"]


async def test_users_see_and_end_what_they_allowed(
    server: AuthClient, app: OAuthApp, ada: str, eve: str
) -> None:
    other = await an_app(server, client_name="Mail")
    issued = await app.tokens(ada, scope="openid email")
    kept = await other.tokens(ada, scope="phone")
    hers = await app.tokens(eve)
    code = await app.code(ada, scope="openid email")
    pending = await app.authorize(scope="openid email")
    grants = await server.get("/user/oauth/grants", token=ada)
    assert grants.status == 200
    assert [(grant["client"]["name"], grant["scopes"]) for grant in grants.json] == [
        ("Mail", ["phone"]),
        ("Diary", ["openid", "email"]),
    ]
    assert grants.json[1]["client"] == {
        "id": app.id,
        "name": "Diary",
        "uri": "https://diary.example.com",
        "logo_uri": "https://diary.example.com/l.png",
    }
    assert grants.json[0]["granted_at"].endswith("Z")
    revoked = await server.send("DELETE", f"/user/oauth/grants?client_id={app.id}", token=ada)
    assert (revoked.status, revoked.body) == (204, b"")
    assert (await server.get("/user", token=issued["access_token"])).error == (403, "session_not_found")
    assert oauth_error(await app.refresh(issued["refresh_token"])) == (400, "invalid_grant")
    assert oauth_error(await app.exchange(code)) == (400, "invalid_grant")
    assert "client" in (await app.look(pending, ada)).json  # to be asked again
    assert (await server.get("/user", token=ada)).status == 200
    assert (await other.refresh(kept["refresh_token"])).status == 200
    assert (await app.refresh(hers["refresh_token"])).status == 200
    grants = await server.get("/user/oauth/grants", token=ada)
    assert [grant["client"]["name"] for grant in grants.json] == ["Mail"]
    again = await server.send("DELETE", f"/user/oauth/grants?client_id={app.id}", token=ada)
    assert again.error == (404, "oauth_consent_not_found")
    entries = server.rows(
        "select payload from auth.audit_log_entries where payload ->> 'action' = 'token_revoked'"
    )
    assert {"oauth_client_id": app.id, "action": "revoke_oauth_grant"} in [
        entry["payload"].get("traits") for entry in entries
    ]
    assert (await app.tokens(ada))["access_token"]  # consent can be given anew


async def test_a_grant_to_end_must_be_named(server: AuthClient, ada: str) -> None:
    for query, message in [
        ("", "client_id query parameter is required"),
        ("?client_id=", "client_id query parameter is required"),
        ("?client_id=diary", "invalid client_id format"),
    ]:
        answer = await server.send("DELETE", f"/user/oauth/grants{query}", token=ada)
        assert answer.error == (400, "validation_failed")
        assert answer.json["msg"] == message
    assert (await server.get("/user/oauth/grants", token=ada)).json == []


@pytest.mark.req("P4")
async def test_users_endpoints_are_for_users(server: AuthClient, auth: AuthClient) -> None:
    routes = [
        ("GET", REQUEST),
        ("POST", f"{REQUEST}/consent"),
        ("GET", "/user/oauth/grants"),
        ("DELETE", "/user/oauth/grants"),
        ("GET", "/oauth/userinfo"),
    ]
    await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    for method, path in routes:
        assert (await server.send(method, path)).error == (401, "no_authorization")
        assert (await server.send(method, path, token=server.keys.anon_key)).error == (403, "bad_jwt")
        assert (await auth.send(method, path, token=token)).error == (404, "feature_disabled")
    for method, path in [
        ("GET", "/oauth/authorize"),
        ("POST", "/oauth/token"),
        ("GET", "/.well-known/oauth-authorization-server"),
    ]:
        assert (await auth.send(method, path)).error == (404, "feature_disabled")


async def test_a_client_cannot_consent_or_take_the_account_over(
    server: AuthClient, app: OAuthApp, ada: str
) -> None:
    token = (await app.tokens(ada))["access_token"]
    wider = await app.authorize(scope="openid email phone profile")
    forbidden = (403, "no_authorization")
    assert (await app.look(wider, token)).error == forbidden
    assert (await app.decide(wider, token)).error == forbidden
    assert (await server.get("/user/oauth/grants", token=token)).error == forbidden
    assert (
        await server.send("DELETE", f"/user/oauth/grants?client_id={app.id}", token=token)
    ).error == forbidden
    assert (await server.get("/reauthenticate", token=token)).error == forbidden
    for change in (
        {"password": "another password"},
        {"email": "eve@example.com"},
        {"phone": "+60123456789"},
    ):
        assert (await server.send("PUT", "/user", change, token=token)).error == forbidden, change
    changed = await server.send("PUT", "/user", {"data": {"city": "London"}}, token=token)
    assert changed.json["user_metadata"]["city"] == "London"
    assert (await server.get("/user", token=token)).status == 200


async def test_a_client_signs_out_of_its_own_sessions_only(
    server: AuthClient, app: OAuthApp, ada: str
) -> None:
    other = await an_app(server)
    first, second, third = [(await app.tokens(ada))["access_token"] for _ in range(3)]
    kept = (await other.tokens(ada))["access_token"]

    async def alive() -> list[bool]:
        tokens = (ada, kept, first, second, third)
        return [(await server.get("/user", token=token)).status == 200 for token in tokens]

    assert (await server.post("/logout?scope=local", token=third)).status == 204
    assert await alive() == [True, True, True, True, False]
    assert (await server.post("/logout?scope=others", token=second)).status == 204
    assert await alive() == [True, True, False, True, False]
    assert (await server.post("/logout", token=second)).status == 204
    assert await alive() == [True, True, False, False, False]
    assert (await server.post("/logout", token=ada)).status == 204
    assert await alive() == [False] * 5


async def test_programs_find_the_server_by_its_issuer(start_auth: StartAuth, auth: AuthClient) -> None:
    server = await start_auth(oauth_server=replace(ON, allow_dynamic_registration=True))
    found = await server.get("/.well-known/oauth-authorization-server")
    assert found.headers["cache-control"] == "public, max-age=600"
    assert found.json == (await server.get("/.well-known/openid-configuration")).json
    assert (
        found.json
        | {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/oauth/authorize",
            "token_endpoint": f"{ISSUER}/oauth/token",
            "userinfo_endpoint": f"{ISSUER}/oauth/userinfo",
            "jwks_uri": f"{ISSUER}/.well-known/jwks.json",
            "registration_endpoint": f"{ISSUER}/oauth/clients/register",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "scopes_supported": ["openid", "profile", "email", "phone", "offline_access"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "authorization_response_iss_parameter_supported": True,
        }
        == found.json
    )
    off = await auth.get("/.well-known/openid-configuration")
    assert off.status == 200  # verifiers of tokens find the keys by it
    assert "registration_endpoint" not in off.json


async def test_endpoints_follow_an_issuer_that_is_an_address(start_auth: StartAuth) -> None:
    async def document(issuer: str) -> Any:
        return (await (await start_auth(jwt_issuer=issuer)).get("/.well-known/openid-configuration")).json

    custom = await document("https://auth.example.com/auth/v1/")
    assert custom["issuer"] == "https://auth.example.com/auth/v1/"
    assert custom["token_endpoint"] == "https://auth.example.com/auth/v1/oauth/token"
    word = await document("supabase")
    assert (word["issuer"], word["token_endpoint"]) == ("supabase", f"{ISSUER}/oauth/token")
