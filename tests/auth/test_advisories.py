"""What went wrong in other people's sign-in services and must not here: design.md §6, one test each with its id."""

import asyncio
import json
import time
from typing import Any
from urllib.parse import quote, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.auth.conftest import PASSWORD, AuthClient, StartAuth

pytestmark = pytest.mark.req("P6")

GRANT = "/token?grant_type=password"
REFRESH = "/token?grant_type=refresh_token"
NEW_PASSWORD = "another battery staple"


async def test_ghsa_3529_5m8x_rpv3_links_do_not_follow_the_requests_host(start_auth: StartAuth) -> None:
    """supabase/auth GHSA-3529-5m8x-rpv3: X-Forwarded-Host and -Proto chose where the links in mails led."""
    auth = await start_auth(email={"enable_confirmations": True})
    headers = {
        "host": "evil.example",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
        "x-forwarded-port": "443",
        "forwarded": "host=evil.example;proto=https",
        "x-original-host": "evil.example",
        "origin": "https://evil.example",
        "referer": "https://evil.example/reset",
    }
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert (await auth.post("/signup", body, headers=headers)).status == 200
    auth.rows("update auth.users set email_confirmed_at = now()")
    for target in ("/recover", "/otp", "/magiclink"):
        assert (await auth.post(target, {"email": "ada@example.com"}, headers=headers)).status == 200
    invited = await auth.send(
        "POST", "/invite", {"email": "b@example.com"}, token=auth.keys.service_role_key, headers=headers
    )
    assert invited.status == 200
    sent = auth.inbox()
    assert len(sent) == 5
    for message in sent:
        assert "evil.example" not in json.dumps(message, default=str)
        assert message["data"]["confirmation_url"].startswith(f"{auth.settings.api_url}/auth/v1/verify?")


@pytest.mark.parametrize(
    "target",
    [
        "https://app.example.com.evil.example/",
        "https://evil.example/?https://app.example.com/",
        "https://evil.example#https://app.example.com/",
        "https://evil.example\\@app.example.com/",
        "https://app.example.com@evil.example/",
        "https://app.example.com:pw@evil.example/",
        "https://app.example.com\t.evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "https:evil.example",
        "javascript://app.example.com/%0aalert(1)",
        "https://app.example.com%2eevil.example/",
        "https://app.example.com%00.evil.example/",
        "http://2130706433/",
    ],
)
async def test_auth_1974_redirects_are_parsed_whole_before_they_are_matched(
    start_auth: StartAuth, target: str
) -> None:
    """supabase/auth #1974, as design.md has it: redirects match an allow-list after full parsing."""
    auth = await start_auth(additional_redirect_urls=("https://app.example.com/**",))
    await auth.a_user()
    answer = await auth.post(f"/recover?redirect_to={quote(target, safe='')}", {"email": "ada@example.com"})
    assert answer.status in (200, 400)
    for message in auth.inbox("ada@example.com"):
        assert message["data"]["redirect_to"] == auth.settings.auth.site_url
    followed = await auth.get(f"/verify?type=recovery&token=none&redirect_to={quote(target, safe='')}")
    if followed.status == 303:
        location = urlsplit(followed.headers["location"])
        assert location.hostname == urlsplit(auth.settings.auth.site_url).hostname


async def test_cve_2026_31813_a_token_names_neither_its_own_key_nor_its_algorithm(
    start_auth: StartAuth,
) -> None:
    """supabase/auth CVE-2026-31813: an ID token was checked by the keys of the issuer that it named itself. Here the
    same for access tokens; ID tokens are tested with their grant."""
    auth = await start_auth(jwt_algorithm="ES256")
    await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, options={"verify_signature": False})
    [key] = [k for k in (await auth.get("/.well-known/jwks.json")).json["keys"] if k["kid"] == header["kid"]]
    public: Any = jwt.PyJWK(key).key
    public_pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    other = "another secret that is long enough for HS256"
    forged = [
        jwt.encode(claims, None, algorithm="none"),
        jwt.encode(claims, None, algorithm="none", headers={"kid": header["kid"]}),
        _hs256(claims, public_pem, {"kid": header["kid"]}),
        _hs256(claims, public_pem, {}),
        _hs256(claims, json.dumps(key).encode(), {"kid": header["kid"]}),
        jwt.encode(claims, other, algorithm="HS256"),
        jwt.encode(claims, other, algorithm="HS256", headers={"jwk": {"kty": "oct", "k": "YQ"}}),
        jwt.encode(claims, other, algorithm="HS256", headers={"jku": "https://evil.example/jwks.json"}),
        auth.keys.sign({**claims, "exp": int(time.time()) - 60}),
        auth.keys.sign({**claims, "nbf": int(time.time()) + 600}),
        token[:-4] + ("AAAA" if not token.endswith("AAAA") else "BBBB"),
    ]
    assert (await auth.get("/user", token=token)).status == 200
    for forgery in forged:
        assert (await auth.get("/user", token=forgery)).error == (403, "bad_jwt")
        admin = jwt.decode(forgery, options={"verify_signature": False})
        assert admin["role"] == "authenticated"
    for secret in (public_pem, other.encode()):
        admin_token = _hs256({"role": "service_role", "exp": int(time.time()) + 600}, secret, {})
        assert (await auth.get("/admin/users", token=admin_token)).error == (403, "bad_jwt")


def _hs256(claims: dict[str, Any], secret: bytes, headers: dict[str, Any]) -> str:
    """PyJWT refuses to sign with a public key; whoever attacks does not ask it."""
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    encoded = [
        jwt.utils.base64url_encode(json.dumps(part).encode())
        for part in ({"alg": "HS256", "typ": "JWT", **headers}, claims)
    ]
    signed = b".".join(encoded)
    return b".".join([signed, jwt.utils.base64url_encode(algorithm.sign(signed, secret))]).decode()


async def test_auth_2612_a_one_time_token_is_good_for_one_of_many_requests_at_once(
    start_auth: StartAuth,
) -> None:
    """supabase/auth #2612, as design.md has it: one-time things are consumed by one statement."""
    auth = await start_auth(email={"enable_confirmations": True})
    await auth.a_user()
    for target, verify_as in (("/recover", "recovery"), ("/magiclink", "magiclink")):
        await auth.post(target, {"email": "ada@example.com"})
        token_hash = auth.inbox("ada@example.com")[0]["data"]["token_hash"]
        body = {"type": verify_as, "token_hash": token_hash}
        answers = await asyncio.gather(*[auth.post("/verify", body) for _ in range(8)])
        assert sorted(answer.status for answer in answers) == [200] + [403] * 7
    challenge = {"code_challenge": "a" * 43, "code_challenge_method": "plain"}
    await auth.post("/magiclink", {"email": "ada@example.com", **challenge})
    data = auth.inbox("ada@example.com")[0]["data"]
    link = await auth.get(f"/verify?type=magiclink&token={data['token_hash']}")
    code = dict(part.split("=") for part in urlsplit(link.headers["location"]).query.split("&"))["code"]
    body = {"auth_code": code, "code_verifier": "a" * 43}
    exchanged = await asyncio.gather(*[auth.post("/token?grant_type=pkce", body) for _ in range(8)])
    assert sorted(answer.status for answer in exchanged) == [200] + [404] * 7


async def test_auth_2757_a_change_by_an_admin_voids_what_was_outstanding(auth: AuthClient) -> None:
    """supabase/auth #2757: recovery links and codes outlived a change that an administrator made."""
    user = await auth.a_user()
    path = f"/admin/users/{user['id']}"
    changes: list[dict[str, Any]] = [{"password": NEW_PASSWORD}, {"email": "new@example.com"}]
    for change in changes:
        email = (await auth.admin("GET", path)).json["email"]
        await auth.post("/recover", {"email": email})
        data = auth.inbox(email)[0]["data"]
        assert (await auth.admin("PUT", path, change)).status == 200
        for proof in (
            {"type": "recovery", "token_hash": data["token_hash"]},
            {"type": "recovery", "email": email, "token": data["token"]},
            {"type": "recovery", "email": "new@example.com", "token": data["token"]},
        ):
            assert (await auth.post("/verify", proof)).error == (403, "otp_expired")


async def test_auth_1489_and_797_a_new_password_ends_other_sessions_and_outstanding_links(
    auth: AuthClient,
) -> None:
    """supabase/auth #1489, #797: who knew the old password kept a session, or a link to get one."""
    await auth.a_user()
    thief, own = await auth.sign_in(), await auth.sign_in()
    await auth.post("/recover", {"email": "ada@example.com"})
    token_hash = auth.inbox("ada@example.com")[0]["data"]["token_hash"]
    changed = await auth.send("PUT", "/user", {"password": NEW_PASSWORD}, token=own["access_token"])
    assert changed.status == 200
    late = await auth.post("/verify", {"type": "recovery", "token_hash": token_hash})
    assert late.error == (403, "otp_expired")
    assert (await auth.get("/user", token=thief["access_token"])).error == (403, "session_not_found")
    assert (await auth.post(REFRESH, {"refresh_token": thief["refresh_token"]})).status == 400
    assert (await auth.get("/user", token=own["access_token"])).status == 200


@pytest.mark.parametrize("how", ["ban", "delete", "soft delete"])
async def test_auth_2642_a_ban_or_deletion_ends_sessions_and_codes_at_once(
    auth: AuthClient, how: str
) -> None:
    """supabase/auth #2642: the access token of a banned user was good until it expired."""
    user = await auth.a_user()
    session = await auth.sign_in()
    await auth.post("/otp", {"email": "ada@example.com"})
    data = auth.inbox("ada@example.com")[0]["data"]
    path = f"/admin/users/{user['id']}"
    if how == "ban":
        done = await auth.admin("PUT", path, {"ban_duration": "24h"})
    else:
        done = await auth.admin("DELETE", path, {"should_soft_delete": how == "soft delete"})
    assert done.status == 200
    assert (await auth.get("/user", token=session["access_token"])).status == 403
    assert (await auth.post(REFRESH, {"refresh_token": session["refresh_token"]})).status == 400
    assert (await auth.post(GRANT, {"email": "ada@example.com", "password": PASSWORD})).status == 400
    late = await auth.post("/verify", {"type": "magiclink", "token_hash": data["token_hash"]})
    assert late.status == 403
    assert auth.rows("select id from auth.sessions") == []


@pytest.mark.parametrize(
    "query",
    [
        "sort=created_at;drop table auth.users",
        "sort=created_at desc, (select pg_sleep(5))",
        "sort=encrypted_password",
        'sort="created_at" asc',
        "filter=' or 1=1 --",
        "filter=%25' union select * from auth.users --",
        "page=1;select 1",
        "per_page=1 offset 1",
    ],
)
async def test_cve_2026_31840_no_identifier_or_value_of_a_request_becomes_sql(
    auth: AuthClient, query: str
) -> None:
    """Parse Server CVE-2026-31840: a sort field was pasted into a statement."""
    await auth.a_user()
    started = time.monotonic()
    answer = await auth.admin("GET", "/admin/users?" + quote(query, safe="=&%"))
    assert time.monotonic() - started < 4
    if answer.status == 200:
        assert answer.json["users"] == []
    else:
        assert answer.error == (400, "validation_failed")
    assert len(auth.rows("select id from auth.users")) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"email": {"$ne": ""}, "password": PASSWORD},
        {"email": ["ada@example.com"], "password": PASSWORD},
        {"email": "ada@example.com", "password": {"$gt": ""}},
        {"email": "ada@example.com' or '1'='1", "password": PASSWORD},
        {"email": "ada@example.com", "password": ""},
        {"email": "ada@example.com", "password": None},
    ],
)
async def test_cve_2026_31840_no_operator_in_a_credential_signs_in(
    auth: AuthClient, body: dict[str, Any]
) -> None:
    await auth.a_user()
    answer = await auth.post(GRANT, body)
    assert answer.error[0] == 400
    assert auth.rows("select id from auth.sessions") == []
