"""Signing in with an ID token that an app got from the provider itself."""

import asyncio
import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from basalt.auth.oauth import issuers as issuers_module
from basalt.auth.oauth.engine import Provider, accepts_issuer
from basalt.auth.oauth.issuers import Issuers
from basalt.auth.oauth.providers import KNOWN
from basalt.http import OutgoingClient
from tests.auth.browser import own_settings, settings_for
from tests.auth.conftest import Answer, AuthClient, StartAuth
from tests.fakes.oidc import CLIENT_ID, DISCOVERY, JWKS, FakeOidc, Issuer, at_hash

pytestmark = pytest.mark.req("P6")

NONCE = "kept by the app"
NONCE_HASH = "26183d736ac1ac81993ddee6dda1ab5d69bf20f5b0f86e09855eea7aa454b940"  # its SHA-256
TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
OTHER_TENANT = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def google(oidc: FakeOidc) -> Issuer:
    return oidc.issuer("google")


@pytest.fixture
async def auth(start_auth: StartAuth, google: Issuer) -> AuthClient:
    return await start_auth(
        email={"enable_confirmations": True},
        enable_manual_linking=True,
        external={"google": settings_for(google, client_id=f"{CLIENT_ID}, ios-app ,,android-app")},
    )


async def bring(auth: AuthClient, token: str, provider: str = "google", **fields: Any) -> Answer:
    body = {"provider": provider, "id_token": token, **fields}
    return await auth.post("/token?grant_type=id_token", body)


def refusal(answer: Answer) -> tuple[int, str, str]:
    """An error of the OAuth protocol."""
    body = answer.json
    assert set(body) == {"error", "error_description"}, body
    return answer.status, body["error"], body["error_description"]


def hs256(claims: dict[str, Any], secret: bytes, **header: str) -> str:
    """Signed with a shared secret, which no library does with a public key."""
    parts = [json.dumps({"alg": "HS256", "typ": "JWT", **header}), json.dumps(claims)]
    signed = b".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=") for part in parts)
    signature = hmac.digest(secret, signed, "sha256")
    return b".".join([signed, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


BAD_TOKEN = (400, "invalid request", "Bad ID token")


async def test_a_token_signs_in_and_makes_the_user(auth: AuthClient, google: Issuer) -> None:
    answer = await bring(auth, google.id_token(hd="example.com"))
    assert answer.status == 200, answer.body
    session = answer.json
    assert "provider_token" not in session
    user = session["user"]
    assert (user["email"], user["app_metadata"]["providers"]) == ("ada@example.com", ["google"])
    (identity,) = user["identities"]
    assert identity["identity_data"] == {
        "iss": google.issuer,
        "sub": "user-1",
        "provider_id": "user-1",
        "name": "Ada Lovelace",
        "full_name": "Ada Lovelace",
        "picture": "https://pictures.example.com/ada.png",
        "avatar_url": "https://pictures.example.com/ada.png",
        "custom_claims": {"hd": "example.com"},
        "email": "ada@example.com",
        "email_verified": True,
        "phone_verified": False,
    }
    again = await bring(auth, google.id_token())
    assert again.json["user"]["id"] == user["id"]


async def test_all_algorithms_with_public_keys_are_taken(auth: AuthClient, google: Issuer) -> None:
    for algorithm in ("RS256", "RS512", "PS256", "ES256", "EdDSA"):
        google.algorithm = algorithm
        assert (await bring(auth, google.id_token())).status == 200, algorithm


async def test_a_token_without_a_key_id_is_tried_with_all_keys(auth: AuthClient, google: Issuer) -> None:
    assert (await bring(auth, google.id_token(headers={"kid": None}))).status == 200


async def test_forged_tokens_are_refused(auth: AuthClient, google: Issuer) -> None:
    """None of the usual ways around a signature."""
    good = google.id_token()
    claims = jwt.decode(good, options={"verify_signature": False})
    public = google.rsa.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head, body, signature = good.split(".")
    forged = {
        "none": jwt.encode(claims, None, algorithm="none"),
        "public key as secret": hs256(claims, public),
        "published shared key": hs256(claims, b"x" * 32, kid="shared"),
        "no signature": f"{head}.{body}.",
        "changed body": f"{head}.{jwt.encode({**claims, 'sub': 'x'}, b'x' * 32).split('.')[1]}.{signature}",
        "own key in the header": jwt.encode(
            claims, google.ec, algorithm="ES256", headers={"kid": "x", "jwk": {"kty": "EC"}}
        ),
        "key for encryption": google.id_token(headers={"kid": "for-encryption"}),
        "words": "not a token",
        "two parts": f"{head}.{body}",
        "too long": good + "A" * 40_000,
        "empty parts": "..",
    }
    for name, token in forged.items():
        assert refusal(await bring(auth, token)) == BAD_TOKEN, name
    assert auth.rows("select * from auth.users") == []


async def test_claims_must_be_right_and_there(auth: AuthClient, google: Issuer) -> None:
    now = int(time.time())
    wrong: list[dict[str, Any]] = [
        {"iss": "https://accounts.google.com"},
        {"iss": google.issuer + "/"},
        {"iss": [google.issuer]},
        {"iss": None},
        {"exp": now - 120},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": now + 3600},
        {"iat": None},
        {"nbf": now + 3600},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 2000},
    ]
    for claims in wrong:
        assert refusal(await bring(auth, google.id_token(**claims))) == BAD_TOKEN, claims


async def test_the_audience_is_one_of_the_projects_clients(auth: AuthClient, google: Issuer) -> None:
    for audience in ("ios-app", ["android-app"], ["ios-app", CLIENT_ID]):
        assert (await bring(auth, google.id_token(audience=audience))).status == 200, audience
    for audience in ("", "other", ["other"], [], f"{CLIENT_ID}x", [["ios-app"]]):
        status, error, message = refusal(await bring(auth, google.id_token(audience=audience)))
        assert (status, error) == (400, "invalid request")
        assert message.startswith("Unacceptable audience in id_token") or message == "Bad ID token"


async def test_of_several_audiences_the_authorized_party_is_ours(auth: AuthClient, google: Issuer) -> None:
    both = [CLIENT_ID, "other"]
    assert (await bring(auth, google.id_token(audience=both, azp=CLIENT_ID))).status == 200
    refused = await bring(auth, google.id_token(audience=both, azp="other"))
    assert refusal(refused)[2].startswith("Unacceptable audience")
    # On Android the party is the app's own client, the audience the project's.
    assert (await bring(auth, google.id_token(azp="an-android-client"))).status == 200


async def test_the_nonce_is_the_hash_of_what_the_app_kept(auth: AuthClient, google: Issuer) -> None:
    with_nonce = google.id_token(nonce=NONCE_HASH)
    assert (await bring(auth, with_nonce, nonce=NONCE)).status == 200
    wrong = await bring(auth, with_nonce, nonce="another")
    assert refusal(wrong) == (400, "invalid nonce", "Nonces mismatch")
    both = "Passed nonce and nonce in id_token should either both exist or not."
    assert refusal(await bring(auth, with_nonce)) == (400, "invalid request", both)
    assert refusal(await bring(auth, google.id_token(), nonce=NONCE)) == (400, "invalid request", both)
    plain = await bring(auth, google.id_token(nonce=NONCE), nonce=NONCE)
    assert refusal(plain) == (400, "invalid nonce", "Nonces mismatch")


async def test_the_nonce_may_be_left_unchecked(start_auth: StartAuth, google: Issuer) -> None:
    auth = await start_auth(external={"google": settings_for(google, skip_nonce_check=True)})
    assert (await bring(auth, google.id_token(nonce="plain"))).status == 200


async def test_an_access_token_belongs_to_its_id_token(auth: AuthClient, google: Issuer) -> None:
    token = google.id_token(at_hash=at_hash("the access token"))
    assert (await bring(auth, token, access_token="the access token")).status == 200
    assert refusal(await bring(auth, token, access_token="another")) == BAD_TOKEN
    assert (await bring(auth, token)).status == 200
    assert (await bring(auth, google.id_token(), access_token="any")).status == 200
    assert refusal(await bring(auth, google.id_token(at_hash=["x"]), access_token="x")) == BAD_TOKEN


async def test_a_token_of_one_provider_is_nobody_at_another(start_auth: StartAuth, oidc: FakeOidc) -> None:
    """CVE-2026-31813: the same client id everywhere, the same subject, good signatures."""
    made = {name: oidc.issuer(name) for name in ("google", "apple", "kakao", "keycloak", "snapchat", "corp")}
    azure = oidc.issuer("azure/v2.0")
    external = {name: settings_for(issuer) for name, issuer in made.items() if name != "corp"}
    external["corp"] = own_settings(made["corp"])
    external["azure"] = settings_for(azure, url=azure.url.removesuffix("/v2.0"))
    auth = await start_auth(external=external)
    made["azure"] = azure
    for provider, issuer in made.items():
        answer = await bring(auth, issuer.id_token(), provider)
        assert answer.status == 200, (provider, answer.body)
        for other in made:
            if other == provider:
                continue
            refused = await bring(auth, issuer.id_token(), other)
            assert refused.status == 400, (provider, other)
            claimed = await bring(auth, issuer.id_token(iss=made[other].issuer), other)
            assert claimed.status == 400, (provider, other)
    assert auth.rows("select count(distinct user_id)::int as n, count(*)::int as m from auth.identities") == [
        {"n": 1, "m": len(made)}
    ]


AZURE_V1 = f"https://sts.windows.net/{TENANT}/"
AZURE_V2 = f"https://login.microsoftonline.com/{TENANT}/v2.0"


@pytest.mark.parametrize(
    ("name", "url", "issuer", "accepted"),
    [
        ("apple", None, "https://appleid.apple.com", True),
        ("apple", None, "https://account.apple.com", True),
        ("apple", None, "https://appleid.apple.com.evil.example.com", False),
        ("apple", None, "https://evil.example.com/https://appleid.apple.com", False),
        ("apple", None, "", False),
        ("azure", None, AZURE_V2, True),
        ("azure", None, AZURE_V1, True),
        ("azure", "https://login.microsoftonline.com/common", AZURE_V2, True),
        ("azure", "https://login.microsoftonline.com/organizations/", AZURE_V2, True),
        ("azure", None, "https://login.microsoftonline.com/common/v2.0", False),
        ("azure", None, f"https://login.microsoftonline.com.evil.example.com/{TENANT}/v2.0", False),
        ("azure", None, f"https://login.microsoftonline.com/{TENANT}/../evil/v2.0", False),
        ("azure", None, f"https://login-microsoftonline.com/{TENANT}/v2.0", False),
        ("azure", None, f"https://login.microsoftonline.com/{TENANT}/v2.0\n", False),
        ("azure", f"https://login.microsoftonline.com/{TENANT}", AZURE_V2, True),
        ("azure", f"https://login.microsoftonline.com/{TENANT}", AZURE_V1, True),
        ("azure", f"https://login.microsoftonline.com/{OTHER_TENANT}", AZURE_V2, False),
        ("azure", f"https://login.microsoftonline.com/{OTHER_TENANT}", AZURE_V1, False),
        ("google", None, "https://accounts.google.com", True),
        ("google", None, "accounts.google.com", False),
        ("keycloak", "https://sso.example.com/realms/a/", "https://sso.example.com/realms/a", True),
        ("keycloak", "https://sso.example.com/realms/a/", "https://sso.example.com/realms/b", False),
        ("github", None, "https://github.com", False),
    ],
)
async def test_whose_tokens_are_a_providers(name: str, url: str | None, issuer: str, accepted: bool) -> None:
    http = OutgoingClient()
    provider = Provider(
        name=name,
        description=KNOWN[name],
        client_ids=("a",),
        secret="s",
        redirect_uri="r",
        issuers=Issuers(http),
        url=url,
    )
    assert accepts_issuer(provider, issuer) is accepted
    await http.close()


async def test_azure_and_apple_name_what_is_wrong(start_auth: StartAuth, oidc: FakeOidc) -> None:
    azure, apple = oidc.issuer("azure/v2.0"), oidc.issuer("apple")
    auth = await start_auth(
        external={
            "azure": settings_for(azure, url=azure.url.removesuffix("/v2.0")),
            "apple": settings_for(apple),
        }
    )
    for provider, token, fields, message in (
        ("azure", apple.id_token(), {}, "Detected ID token issuer is not an Azure ID token issuer"),
        ("apple", azure.id_token(), {}, "Detected ID token issuer is not an Apple ID token issuer"),
        ("apple", "x", {}, "Unable to detect issuer in ID token for Apple provider"),
        (
            "apple",
            apple.id_token(),
            {"issuer": "https://account.apple.com"},
            "Provided issuer does not match ID token issuer",
        ),
    ):
        answer = await bring(auth, token, provider, **fields)
        assert answer.error == (400, "validation_failed")
        assert answer.json["msg"] == message
    other_tenant = await bring(auth, azure.id_token(tid=OTHER_TENANT), "azure")
    assert refusal(other_tenant) == BAD_TOKEN
    unproven = azure.id_token(xms_edov="0", email="x@example.com", sub="another")
    user = (await bring(auth, unproven, "azure")).json["user"]
    assert user["user_metadata"]["email_verified"] is True  # without confirmations all addresses count
    assert user["identities"][0]["identity_data"]["email_verified"] is False


async def test_providers_that_are_not_enabled_or_not_openid_are_refused(
    start_auth: StartAuth, google: Issuer
) -> None:
    auth = await start_auth(
        external={"google": settings_for(google, enabled=False), "github": settings_for(google)}
    )
    token = google.id_token()
    for provider, code, message in (
        ("google", "provider_disabled", 'Provider (issuer "https://accounts.google.com") is not enabled'),
        ("kakao", "provider_disabled", 'Provider (issuer "https://kauth.kakao.com") is not enabled'),
        ("github", "validation_failed", 'Custom OIDC provider "github" not allowed'),
        ("linkedin_oidc", "validation_failed", 'Custom OIDC provider "linkedin_oidc" not allowed'),
        ("myspace", "validation_failed", 'Custom OIDC provider "myspace" not allowed'),
        ("custom:x", "validation_failed", 'Custom provider "custom:x" not found'),
    ):
        answer = await bring(auth, token, provider)
        assert answer.error == (400, code)
        assert answer.json["msg"] == message


async def test_a_client_may_name_the_issuer_instead(auth: AuthClient, google: Issuer) -> None:
    """As older clients do; the client id of the request decides nothing."""
    by_issuer = {"client_id": "whatever", "issuer": google.issuer}
    answer = await bring(auth, google.id_token(), "", **by_issuer)
    assert answer.json["user"]["app_metadata"]["provider"] == "google"
    evil = await bring(auth, google.id_token(), "", client_id=CLIENT_ID, issuer="https://evil.example.com")
    assert evil.error == (400, "validation_failed")
    foreign = google.id_token(audience="whatever")
    assert refusal(await bring(auth, foreign, "", **by_issuer))[2].startswith("Unacceptable audience")


async def test_malformed_bodies_are_named(auth: AuthClient, google: Issuer) -> None:
    token = google.id_token()
    missing = "provider or client_id and issuer required"
    for body, expected in (
        ({}, (400, "invalid request", "id_token required")),
        ({"provider": "google"}, (400, "invalid request", "id_token required")),
        ({"id_token": None, "provider": "google"}, (400, "invalid request", "id_token required")),
        ({"id_token": token}, (400, "invalid request", missing)),
        ({"id_token": token, "issuer": "x"}, (400, "invalid request", missing)),
        (
            {"id_token": token, "provider": "google", "link_identity": True},
            (400, "invalid request", "Linking requires a valid user access token in Authorization"),
        ),
    ):
        assert refusal(await auth.post("/token?grant_type=id_token", body)) == expected
    for raw, error in (
        (b"", (400, "bad_json")),
        (b"[1]", (400, "bad_json")),
        (b'{"id_token": 1}', (400, "bad_json")),
        (b'{"id_token": "a", "link_identity": "yes"}', (400, "bad_json")),
        (b'{"id_token": "a\\u0000", "provider": "google"}', (400, "validation_failed")),
        (b'{"id_token": "' + b"a" * 2_000_000 + b'"}', (413, "request_entity_too_large")),
    ):
        assert (await auth.post("/token?grant_type=id_token", raw)).error == error, raw[:40]
    extra = {"gotrue_meta_security": {"captcha_token": None}, "more": [1]}
    assert (await bring(auth, token, **extra)).status == 200


async def test_an_address_that_the_provider_does_not_prove_waits_for_confirmation(
    auth: AuthClient, google: Issuer
) -> None:
    answer = await bring(auth, google.id_token(email_verified=False))
    assert answer.error == (422, "provider_email_needs_verification")
    assert answer.json["msg"] == (
        "Unverified email with google. A confirmation email has been sent to your google email"
    )
    code = auth.code("ada@example.com")
    session = await auth.session("/verify", {"type": "signup", "email": "ada@example.com", "token": code})
    assert [identity["provider"] for identity in session["user"]["identities"]] == ["google"]
    assert (await bring(auth, google.id_token(email_verified=False))).status == 200
    nameless = await bring(auth, google.id_token(sub="other", email=None))
    assert nameless.error == (422, "provider_email_needs_verification")
    assert nameless.json["msg"] == (
        "Unverified email with google. Verify the email with google in order to sign in"
    )


async def test_keys_are_fetched_once_and_again_when_they_rotate(
    auth: AuthClient, google: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    google.delay_s = 0.05
    answers = await asyncio.gather(*(bring(auth, google.id_token(sub=f"u{i}", email=None)) for i in range(8)))
    assert {answer.status for answer in answers} == {422}
    assert (google.count(DISCOVERY), google.count(JWKS)) == (1, 1)
    google.delay_s = 0.0
    old = google.id_token()
    google.rotate()
    # Straight after a fetch an unknown key is not looked for: made-up key ids cost the provider nothing.
    assert refusal(await bring(auth, google.id_token())) == BAD_TOKEN
    assert google.count(JWKS) == 1
    monkeypatch.setattr(issuers_module, "REFRESH_EVERY_S", 0.0)
    assert (await bring(auth, google.id_token())).status == 200
    assert google.count(JWKS) == 2
    assert refusal(await bring(auth, old)) == BAD_TOKEN


async def test_a_provider_that_is_down_is_served_from_memory(
    auth: AuthClient, google: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    google.discovery_status = 500
    assert (await bring(auth, google.id_token())).error == (500, "unexpected_failure")
    google.discovery_status = 200
    assert (await bring(auth, google.id_token())).status == 200
    monkeypatch.setattr(issuers_module, "FRESH_S", 0.0)
    google.discovery_status = google.jwks_status = 500
    assert (await bring(auth, google.id_token())).status == 200


async def test_a_signed_in_user_links_an_identity_by_its_token(auth: AuthClient, google: Issuer) -> None:
    await auth.a_user("grace@example.com")
    session = await auth.sign_in("grace@example.com")
    body = {"provider": "google", "id_token": google.id_token(), "link_identity": True}
    target = "/token?grant_type=id_token"
    answer = await auth.post(target, body, token=session["access_token"])
    assert answer.status == 200, answer.body
    user = answer.json["user"]
    assert user["id"] == session["user"]["id"]
    assert user["email"] == "grace@example.com"
    assert user["app_metadata"]["providers"] == ["email", "google"]
    again = await auth.post(target, body, token=session["access_token"])
    assert again.error == (422, "identity_already_exists")
    assert again.json["msg"] == "Identity is already linked"
    bad = await auth.post(target, body, token="x")
    assert bad.error == (403, "bad_jwt")


async def test_linking_by_token_needs_linking_enabled(start_auth: StartAuth, google: Issuer) -> None:
    auth = await start_auth(external={"google": settings_for(google)})
    await auth.a_user()
    session = await auth.sign_in()
    body = {"provider": "google", "id_token": google.id_token(), "link_identity": True}
    answer = await auth.post("/token?grant_type=id_token", body, token=session["access_token"])
    assert answer.error == (404, "manual_linking_disabled")


async def test_sign_in_by_token_is_limited_like_any_other(start_auth: StartAuth, google: Issuer) -> None:
    auth = await start_auth(
        external={"google": settings_for(google)}, basalt={"client_address_header": "x-forwarded-for"}
    )
    headers = {"x-forwarded-for": "203.0.113.1"}
    statuses = [
        (await auth.post("/token?grant_type=id_token", {}, headers=headers)).status for _ in range(31)
    ]
    assert statuses == [400] * 30 + [429]
