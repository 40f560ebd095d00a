"""The token endpoint of the OAuth server: codes and refresh tokens, who may bring them, and what clients then have."""

import asyncio
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import jwt
import pytest

from basalt.config import OAuthServerSettings
from tests.auth.conftest import Answer, AuthClient, StartAuth
from tests.auth.oauth_flow import FORM, OAuthApp, an_app, basic, oauth_error

pytestmark = pytest.mark.req("P6")

ON = OAuthServerSettings(enabled=True)
JSON = {"content-type": "application/json"}
SOMEBODY = "7c1f6a3e-58d1-4f0a-9b39-0f8f6d1c2b3a"


@pytest.fixture
async def server(start_auth: StartAuth) -> AuthClient:
    return await start_auth(oauth_server=ON)


@pytest.fixture
async def app(server: AuthClient) -> OAuthApp:
    return await an_app(server)


@pytest.fixture
async def ada(server: AuthClient) -> str:
    """Ada's access token."""
    await server.a_user(
        phone="+60123456789",
        phone_confirm=True,
        user_metadata={"name": "Ada", "avatar_url": "https://a.example.com/ada.png", "username": "countess"},
    )
    token: str = (await server.sign_in())["access_token"]
    return token


def claims_of(server: AuthClient, access_token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        access_token, server.keys.jwt_secret, algorithms=["HS256"], audience="authenticated"
    )
    return claims


def id_claims(server: AuthClient, id_token: str, audience: str) -> dict[str, Any]:
    """Verified as a client does it: by the JWKS."""
    keys = jwt.PyJWKSet.from_dict(server.keys.jwks())
    key = keys[jwt.get_unverified_header(id_token)["kid"]]
    claims: dict[str, Any] = jwt.decode(
        id_token, key, algorithms=["ES256"], audience=audience, issuer="http://127.0.0.1:54321/auth/v1"
    )
    return claims


def description(answer: Answer) -> str:
    text: str = answer.json["error_description"]
    return text


async def test_a_code_becomes_a_session_of_the_client(server: AuthClient, app: OAuthApp, ada: str) -> None:
    answer = await app.exchange(await app.code(ada, scope="email profile"))
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    issued = answer.json
    assert set(issued) == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert (issued["token_type"], issued["expires_in"], issued["scope"]) == ("bearer", 3600, "email profile")
    claims = claims_of(server, issued["access_token"])
    assert (claims["client_id"], claims["scope"]) == (app.id, "email profile")
    assert (claims["role"], claims["aal"]) == ("authenticated", "aal1")
    assert [entry["method"] for entry in claims["amr"]] == ["oauth_provider/authorization_code"]
    [row] = server.rows(
        "select user_id, oauth_client_id, scopes, aal::text from auth.sessions where oauth_client_id is not null"
    )
    assert row == {
        "user_id": UUID(claims["sub"]),
        "oauth_client_id": UUID(app.id),
        "scopes": "email profile",
        "aal": "aal1",
    }
    assert server.rows("select 1 from auth.oauth_authorizations") == []
    entries = server.rows("select payload from auth.audit_log_entries where payload ->> 'action' = 'login'")
    assert {"provider_type": "oauth_provider_authorization_code", "client_id": app.id} in [
        entry["payload"].get("traits") for entry in entries
    ]
    own = claims_of(server, ada)
    assert "client_id" not in own
    assert "scope" not in own


@pytest.mark.parametrize(
    "metadata",
    [
        {"token_endpoint_auth_method": "client_secret_basic"},
        {"token_endpoint_auth_method": "client_secret_post"},
        {"token_endpoint_auth_method": "none"},
    ],
)
async def test_every_kind_of_client_gets_and_refreshes_tokens(
    server: AuthClient, ada: str, metadata: dict[str, str]
) -> None:
    app = await an_app(server, **metadata)
    issued = await app.tokens(ada)
    again = await app.refresh(issued["refresh_token"])
    assert again.status == 200
    assert set(again.json) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert again.json["refresh_token"] != issued["refresh_token"]
    before, after = (claims_of(server, each["access_token"]) for each in (issued, again.json))
    assert before["session_id"] == after["session_id"]
    assert (after["client_id"], after["scope"]) == (app.id, "email")


async def test_a_request_may_be_json(server: AuthClient, app: OAuthApp, ada: str) -> None:
    body = {
        "grant_type": "authorization_code",
        "code": await app.code(ada),
        "code_verifier": app.verifier,
        "client_id": app.id,
        "unknown": [1],
    }
    headers = {**JSON, "authorization": basic(app.id, app.secret)}
    answer = await server.send("POST", "/oauth/token", body, headers=headers)
    assert answer.status == 200, answer.body


async def test_one_code_in_ten_requests_at_once_is_exchanged_once(
    server: AuthClient, app: OAuthApp, ada: str
) -> None:
    code = await app.code(ada)
    answers = await asyncio.gather(*(app.exchange(code) for _ in range(10)))
    good = [answer for answer in answers if answer.status == 200]
    assert len(good) == 1
    assert {oauth_error(answer) for answer in answers if answer.status != 200} == {(400, "invalid_grant")}
    # And as the others brought a used code, nobody keeps anything of it.
    assert server.rows("select 1 from auth.sessions where oauth_client_id is not null") == []


async def test_a_code_that_comes_again_ends_what_was_issued_for_it(
    server: AuthClient, app: OAuthApp, ada: str
) -> None:
    code = await app.code(ada)
    issued = (await app.exchange(code)).json
    kept = await app.tokens(ada)
    other = await an_app(server)
    assert oauth_error(await other.exchange(code)) == (400, "invalid_grant")  # not its business
    assert (await server.get("/user", token=issued["access_token"])).status == 200
    again = await app.exchange(code)
    assert oauth_error(again) == (400, "invalid_grant")
    assert description(again) == "Invalid authorization code"
    assert (await server.get("/user", token=issued["access_token"])).error == (403, "session_not_found")
    assert oauth_error(await app.refresh(issued["refresh_token"])) == (400, "invalid_grant")
    assert (await app.refresh(kept["refresh_token"])).status == 200
    assert (await server.get("/user", token=ada)).status == 200


async def test_a_wrong_exchange_is_refused_and_leaves_the_code(
    server: AuthClient, app: OAuthApp, ada: str
) -> None:
    code = await app.code(ada, resource="https://api.example.com/a")
    other = await an_app(server)
    verifier = app.verifier
    wrong = "PKCE verification failed: code challenge does not match previously saved code verifier"
    for fields, problem in [
        (
            {"code_verifier": None},
            "PKCE verification failed: code_verifier is required when PKCE challenge is present",
        ),
        ({"code_verifier": verifier[:-1]}, wrong),
        ({"code_verifier": app.challenge}, wrong),
        ({"redirect_uri": "https://app.example.com/other"}, "Invalid redirect_uri"),
        (
            {"resource": "https://api.example.com/b"},
            "Authorization code resource does not match the resource parameter",
        ),
        ({"code": "x" * 43}, "Invalid authorization code"),
        ({"code": code + " "}, "Invalid authorization code"),
    ]:
        answer = await app.exchange(code, **fields)
        assert oauth_error(answer) == (400, "invalid_grant"), fields
        assert description(answer) == problem
    stolen = await other.exchange(code, code_verifier=verifier)
    assert oauth_error(stolen) == (400, "invalid_grant")
    assert description(stolen) == "Authorization code was not issued for this client"
    good = await app.exchange(code, redirect_uri=None, resource="https://api.example.com/a")
    assert good.status == 200


async def test_a_code_lives_five_minutes_from_the_decision(
    server: AuthClient, app: OAuthApp, ada: str
) -> None:
    code = await app.code(ada)
    [row] = server.rows("select (expires_at - approved_at)::text as life from auth.oauth_authorizations")
    assert row["life"] == "00:05:00"
    server.rows(
        "update auth.oauth_authorizations set created_at = created_at - interval '1 hour',"
        " expires_at = now() - interval '1 second'"
    )
    answer = await app.exchange(code)
    assert oauth_error(answer) == (400, "invalid_grant")
    assert description(answer) == "Authorization code has expired"


async def test_a_banned_user_gives_nothing_to_clients(server: AuthClient, app: OAuthApp, ada: str) -> None:
    code, issued = await app.code(ada), await app.tokens(ada)
    server.rows("update auth.users set banned_until = now() + interval '1 day'")
    answer = await app.exchange(code)
    assert oauth_error(answer) == (400, "access_denied")
    assert description(answer) == "User is banned"
    refreshed = await app.refresh(issued["refresh_token"])
    assert oauth_error(refreshed) == (400, "invalid_grant")
    assert description(refreshed) == "Invalid Refresh Token: User Banned"


async def test_a_deleted_user_gives_nothing_to_clients(server: AuthClient, app: OAuthApp, ada: str) -> None:
    code = await app.code(ada)
    server.rows("update auth.users set deleted_at = now()")
    assert oauth_error(await app.exchange(code)) == (400, "invalid_grant")
    assert server.rows("select 1 from auth.sessions where oauth_client_id is not null") == []


async def test_a_refresh_token_is_for_its_client_alone(server: AuthClient, app: OAuthApp, ada: str) -> None:
    issued = await app.tokens(ada)
    other = await an_app(server)
    mine = await server.sign_in()
    for answer, problem in [
        (await other.refresh(issued["refresh_token"]), "Client does not match the session's OAuth client"),
        (
            await server.post("/token?grant_type=refresh_token", {"refresh_token": issued["refresh_token"]}),
            "Client authentication required for OAuth session",
        ),
        (
            await app.refresh(mine["refresh_token"]),
            "Client authentication not allowed for non-OAuth session",
        ),
    ]:
        assert oauth_error(answer) == (400, "invalid_client")
        assert description(answer) == problem
    assert (await app.refresh(issued["refresh_token"])).status == 200
    refreshed = await server.post("/token?grant_type=refresh_token", {"refresh_token": mine["refresh_token"]})
    assert refreshed.status == 200


async def test_a_refresh_token_that_comes_again_too_late_ends_its_family(
    server: AuthClient, app: OAuthApp, ada: str
) -> None:
    first = (await app.tokens(ada))["refresh_token"]
    second = (await app.refresh(first)).json["refresh_token"]
    third = (await app.refresh(second)).json["refresh_token"]
    server.rows("update auth.refresh_tokens set updated_at = updated_at - interval '1 hour'")
    late = await app.refresh(first)
    assert oauth_error(late) == (400, "invalid_grant")
    assert description(late) == "Invalid Refresh Token: Already Used"
    assert oauth_error(await app.refresh(third)) == (400, "invalid_grant")
    for unknown in ("aaaabbbbcccc", "x", "'; drop table auth.users; --"):
        assert oauth_error(await app.refresh(unknown)) == (400, "invalid_grant")


async def test_a_client_must_prove_who_it_is(server: AuthClient, app: OAuthApp) -> None:
    public = await an_app(server, token_endpoint_auth_method="none")
    fields = {"grant_type": "refresh_token", "refresh_token": "aaaabbbbcccc"}

    async def ask(authorization: str | None = None, **more: str) -> tuple[tuple[int, str], str]:
        headers = FORM | ({"authorization": authorization} if authorization else {})
        answer = await server.send("POST", "/oauth/token", urlencode(fields | more).encode(), headers=headers)
        assert ("www-authenticate" in answer.headers) == (answer.status == 401)
        return oauth_error(answer), description(answer)

    mismatch = "invalid authentication method: client is registered for '{}' but '{}' was used".format
    by_header, otherwise = (401, "invalid_client"), (400, "invalid_client")
    required = "Invalid client credentials: client_id is required"
    assert await ask() == (otherwise, required)
    assert await ask(client_id="diary") == (otherwise, "Invalid client_id format")
    assert await ask(client_id=SOMEBODY) == (otherwise, "Invalid client credentials")
    assert await ask(client_id=app.id) == (otherwise, mismatch("client_secret_basic", "none"))
    by_post = mismatch("client_secret_basic", "client_secret_post")
    assert await ask(client_id=app.id, client_secret=app.secret) == (otherwise, by_post)
    assert await ask(basic("", "")) == (by_header, required)
    assert await ask(basic(SOMEBODY, "x")) == (by_header, "Invalid client credentials")
    for secret in ("", "x", app.secret[:-1], app.secret + "x", "\N{SNOWMAN}", "a:b"):
        assert await ask(basic(app.id, secret)) == (by_header, "invalid client credentials"), secret
    assert await ask(basic(public.id, "")) == (by_header, mismatch("none", "client_secret_basic"))
    post = mismatch("none", "client_secret_post")
    assert await ask(client_id=public.id, client_secret="x") == (otherwise, post)
    assert await ask("Basic ?") == (by_header, "Invalid client credentials: invalid basic auth encoding")
    assert await ask("Basic aGVsbG8=") == (by_header, "Invalid client credentials: invalid basic auth format")
    twice = "Only one way of client authentication may be used"
    assert await ask(basic(app.id, app.secret), client_secret="x") == ((400, "invalid_request"), twice)
    assert await ask(basic(app.id, app.secret), client_id=public.id) == ((400, "invalid_request"), twice)
    assert (await ask(basic(app.id, app.secret).replace("Basic", "basic")))[0] == (400, "invalid_grant")


async def test_a_malformed_request_is_told(server: AuthClient, app: OAuthApp) -> None:
    proof = {"authorization": basic(app.id, app.secret)}

    async def ask(body: bytes, content_type: str = FORM["content-type"]) -> tuple[tuple[int, str], str]:
        headers = {"content-type": content_type, **proof}
        answer = await server.send("POST", "/oauth/token", body, headers=headers)
        return oauth_error(answer), description(answer)

    bad = (400, "invalid_request")
    grant, unsupported = "grant_type is required", (400, "unsupported_grant_type")
    for body in (b"", b"hello", b"grant_type=", b"grant_type"):
        assert await ask(body) == (bad, grant), body
    assert await ask(b'{"grant_type": "refresh_token"}', "text/plain") == (bad, grant)
    for body in (b"", b"[]", b"hello", b'{"grant_type": 1}', b'{"grant_type": "a\\u0000"}'):
        assert await ask(body, "application/json") == (bad, "Invalid JSON body"), body
    for body in (b"grant_type=%FF", b"grant_type=\xff", b"&".join([b"a=b"] * 101)):
        assert await ask(body) == (bad, "Failed to parse form data"), body
    assert await ask(b"grant_type=a%00") == (bad, "The form holds a NUL character")
    twice = b"grant_type=refresh_token&grant_type=authorization_code"
    assert await ask(twice) == (bad, "Parameters must not be given more than once")
    assert await ask(b"grant_type=password") == (
        unsupported,
        "Client is not allowed to use grant type: password",
    )
    code = "code is required for authorization_code grant"
    assert await ask(b"grant_type=authorization_code") == (bad, code)
    token = "refresh_token is required for refresh_token grant"
    assert await ask(b"grant_type=refresh_token") == (bad, token)
    for value in ("x" * 10_000, "' or 1=1; --", "\N{PILE OF POO}", "%00"):
        form = urlencode({"grant_type": "authorization_code", "code": value}).encode()
        assert (await ask(form))[0] == (400, "invalid_grant"), value
    # secrets in a URL end up in logs, and do not count
    query = urlencode({"grant_type": "refresh_token", "client_id": app.id, "client_secret": app.secret})
    answer = await server.send("POST", f"/oauth/token?{query}", b"", headers=FORM)
    assert oauth_error(answer) == (400, "invalid_client")
    large = await server.send("POST", "/oauth/token", b"a=" + b"x" * 1024 * 1024, headers=FORM)
    assert large.error == (413, "request_entity_too_large")
    assert (await server.get("/oauth/token")).error == (405, "method_not_allowed")


async def test_a_client_has_only_the_grants_that_it_registered(server: AuthClient, ada: str) -> None:
    app = await an_app(server, grant_types=["authorization_code"])
    issued = await app.tokens(ada)
    refused = await app.refresh(issued["refresh_token"])
    assert oauth_error(refused) == (400, "unsupported_grant_type")
    assert description(refused) == "Client is not allowed to use grant type: refresh_token"


async def test_an_id_token_tells_who_the_user_is_by_scope(
    server: AuthClient, app: OAuthApp, ada: str
) -> None:
    everything = await app.tokens(ada, scope="openid email phone profile", nonce="n-1")
    claims = id_claims(server, everything["id_token"], app.id)
    own = claims_of(server, ada)
    assert claims["sub"] == own["sub"]
    assert claims["exp"] - claims["iat"] == 3600
    assert abs(claims["auth_time"] - own["iat"]) <= 1
    assert claims["updated_at"] > 1_700_000_000
    assert (
        claims
        | {
            "client_id": app.id,
            "nonce": "n-1",
            "email": "ada@example.com",
            "email_verified": True,
            "phone_number": "60123456789",
            "phone_number_verified": True,
            "name": "Ada",
            "picture": "https://a.example.com/ada.png",
            "preferred_username": "countess",
        }
        == claims
    )
    least = id_claims(server, (await app.tokens(ada, scope="openid"))["id_token"], app.id)
    assert set(least) == {
        *("iss", "sub", "aud", "exp", "iat", "auth_time", "client_id"),
        *("email_verified", "phone_number_verified"),
    }
    assert (least["email_verified"], least["phone_number_verified"]) == (False, False)
    assert "id_token" not in await app.tokens(ada, scope="email profile")


async def test_an_id_token_opens_nothing(start_auth: StartAuth) -> None:
    """It is handed around to tell who somebody is: whoever has it must not be taken for them."""
    server = await start_auth(oauth_server=ON, jwt_algorithm="ES256")
    await server.a_user()
    app = await an_app(server)
    issued = await app.tokens((await server.sign_in())["access_token"], scope="openid")
    assert id_claims(server, issued["id_token"], app.id)
    for method, path in [
        ("GET", "/user"),
        ("GET", "/oauth/userinfo"),
        ("PUT", "/user"),
        ("GET", "/admin/users"),
    ]:
        answer = await server.send(method, path, {}, token=issued["id_token"])
        assert answer.error == (403, "bad_jwt"), path
        assert "invalid audience" in answer.json["msg"]
    assert (await server.get("/user", token=issued["access_token"])).status == 200


async def test_userinfo_tells_what_the_scopes_allow(server: AuthClient, app: OAuthApp, ada: str) -> None:
    async def userinfo(scope: str) -> dict[str, Any]:
        token = (await app.tokens(ada, scope=scope))["access_token"]
        answer = await server.get("/oauth/userinfo", token=token)
        assert answer.status == 200
        shown: dict[str, Any] = answer.json
        return shown

    subject = {"sub": claims_of(server, ada)["sub"]}
    assert await userinfo("openid") == subject
    assert await userinfo("email") == {**subject, "email": "ada@example.com", "email_verified": True}
    assert await userinfo("phone") == {
        **subject,
        "phone": "60123456789",
        "phone_verified": True,
        "phone_number": "60123456789",
        "phone_number_verified": True,
    }
    profile = await userinfo("openid profile")
    assert profile["updated_at"] > 1_700_000_000
    assert profile == {
        **subject,
        "name": "Ada",
        "picture": "https://a.example.com/ada.png",
        "preferred_username": "countess",
        "updated_at": profile["updated_at"],
        "user_metadata": profile["user_metadata"],
    }
    assert profile["user_metadata"]["username"] == "countess"
    # no client was given this token, so that it carries no scopes
    assert (await server.get("/oauth/userinfo", token=ada)).json == subject


async def test_a_new_password_ends_the_sessions_of_clients(
    server: AuthClient, app: OAuthApp, ada: str
) -> None:
    issued = await app.tokens(ada)
    assert (await server.send("PUT", "/user", {"password": "another password"}, token=ada)).status == 200
    assert oauth_error(await app.refresh(issued["refresh_token"])) == (400, "invalid_grant")
