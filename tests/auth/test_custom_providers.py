"""Providers that are added over the API, and signing in through them."""

import asyncio
from typing import Any

import pytest

from basalt.config import CustomProviderSettings
from tests.auth.browser import leave, sign_in_with, travel
from tests.auth.conftest import Answer, AuthClient, StartAuth
from tests.fakes.oidc import AUTHORIZE, CLIENT_ID, CLIENT_SECRET, FakeOidc, Issuer

pytestmark = pytest.mark.req("P6")

PATH = "/admin/custom-providers"
PUBLIC = "https://93.184.215.14"  # no name has to be resolved for it


@pytest.fixture
def corp(oidc: FakeOidc) -> Issuer:
    user = {"sub": "c-1", "email": "ada@corp.example.com", "email_verified": True, "name": "Ada", "team": "x"}
    return oidc.issuer("corp", user=user)


@pytest.fixture
async def auth(start_auth: StartAuth) -> AuthClient:
    """Addresses on this machine are allowed."""
    return await start_auth(
        email={"enable_confirmations": True},
        custom_providers=CustomProviderSettings(allow_private_addresses=True),
    )


def openid(fake: Issuer, **fields: Any) -> dict[str, Any]:
    return {
        "provider_type": "oidc",
        "identifier": "custom:corp",
        "name": "Corp",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "issuer": fake.issuer,
        **fields,
    }


def plain(base: str = PUBLIC, **fields: Any) -> dict[str, Any]:
    return {
        "provider_type": "oauth2",
        "identifier": "custom:plain",
        "name": "Plain",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "authorization_url": f"{base}/authorize",
        "token_url": f"{base}/token",
        "userinfo_url": f"{base}/userinfo",
        **fields,
    }


def changed(body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The body with other fields; None takes one away."""
    return {name: value for name, value in {**body, **fields}.items() if value is not None}


async def add(auth: AuthClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = await auth.admin("POST", PATH, body)
    assert answer.status == 201, answer.body
    added: dict[str, Any] = answer.json
    return added


def message(answer: Answer) -> str:
    assert answer.error == (400, "validation_failed"), answer.body
    return str(answer.json["msg"])


async def test_providers_are_added_listed_changed_and_removed(auth: AuthClient, corp: Issuer) -> None:
    added = await add(auth, openid(corp, scopes=["email"], acceptable_client_ids=["ios"]))
    assert added["identifier"] == "custom:corp"
    assert added["scopes"] == ["openid", "email"]
    assert added["pkce_enabled"] is True
    assert added["discovery_document"]["token_endpoint"] == f"{corp.url}/token"
    other = await add(auth, plain(corp.url))
    assert "issuer" not in other
    assert other["scopes"] == []
    for shown in (added, other):
        assert not any("secret" in name for name in shown)
    listed = (await auth.admin("GET", PATH)).json["providers"]
    assert [provider["identifier"] for provider in listed] == ["custom:plain", "custom:corp"]
    only = (await auth.admin("GET", f"{PATH}?type=oidc")).json["providers"]
    assert only == [added]
    one = await auth.admin("GET", f"{PATH}/custom%3Acorp")
    assert one.json == added
    body = {
        "name": "New",
        "enabled": False,
        "scopes": ["profile"],
        "client_secret": "",
        "identifier": "custom:z",
    }
    updated = (await auth.admin("PUT", f"{PATH}/custom:corp", body)).json
    assert (updated["name"], updated["enabled"]) == ("New", False)
    assert updated["scopes"] == ["openid", "profile"]
    assert updated["identifier"] == "custom:corp"
    assert updated["acceptable_client_ids"] == ["ios"]
    (stored,) = auth.rows("select client_secret from auth.custom_oauth_providers where name = 'New'")
    assert stored["client_secret"] == CLIENT_SECRET
    removed = await auth.admin("DELETE", f"{PATH}/custom:corp")
    assert (removed.status, removed.body) == (204, b"")
    gone = await auth.admin("DELETE", f"{PATH}/custom:corp")
    assert gone.error == (404, "custom_provider_not_found")


async def test_people_sign_in_through_an_added_openid_provider(auth: AuthClient, corp: Issuer) -> None:
    await add(
        auth,
        openid(
            corp,
            scopes=["email", "groups"],
            authorization_params={"prompt": "login"},
            attribute_mapping={"nickname": "name", "website": "team"},
            custom_claims_allowlist=["team", "absent"],
        ),
    )
    session = await sign_in_with(auth, "custom:corp", prompt="none")
    query = corp.last(AUTHORIZE).query
    assert query["prompt"] == "login"
    assert query["scope"] == "openid email groups"
    assert query["code_challenge_method"] == "S256"
    (identity,) = session["user"]["identities"]
    data = identity["identity_data"]
    assert (identity["provider"], data["sub"]) == ("custom:corp", "c-1")
    assert (data["nickname"], data["website"]) == ("Ada", "x")
    assert data["custom_claims"] == {"team": "x"}
    assert data["email_verified"] is True
    assert session["user"]["app_metadata"]["providers"] == ["custom:corp"]


async def test_people_sign_in_through_an_added_oauth_provider(auth: AuthClient, corp: Issuer) -> None:
    corp.sends_id_token = False
    corp.user = {"id": 42, "login": "ada", "email": "ada@corp.example.com", "email_verified": True}
    mapping = {"sub": "id", "user_name": "login", "locale": 7}
    await add(auth, plain(corp.url, attribute_mapping=mapping, pkce_enabled=False, email_optional=True))
    session = await sign_in_with(auth, "custom:plain", scopes="read write")
    assert "code_challenge" not in corp.last(AUTHORIZE).query
    assert corp.last(AUTHORIZE).query["scope"] == "read write"
    (identity,) = session["user"]["identities"]
    assert identity["id"] == "42"
    assert identity["identity_data"]["user_name"] == "ada"


async def test_apps_bring_id_tokens_of_added_providers(auth: AuthClient, corp: Issuer) -> None:
    await add(auth, openid(corp, acceptable_client_ids=["ios"]))
    target = "/token?grant_type=id_token"
    body = {"provider": "custom:corp", "id_token": corp.id_token(audience="ios")}
    assert (await auth.post(target, body)).status == 200
    strange = await auth.post(target, {**body, "id_token": corp.id_token(audience="x")})
    assert strange.json["error"] == "invalid request"
    both = await auth.post(target, {**body, "id_token": corp.id_token(nonce="n")})
    assert "nonce" in both.json["error_description"]
    await auth.admin("PUT", f"{PATH}/custom:corp", {"skip_nonce_check": True})
    assert (await auth.post(target, {**body, "id_token": corp.id_token(nonce="n")})).status == 200
    await auth.admin("PUT", f"{PATH}/custom:corp", {"enabled": False})
    off = await auth.post(target, body)
    assert off.error == (400, "provider_disabled")
    refused = await auth.get("/authorize?provider=custom:corp")
    assert message(refused) == "Unsupported provider: custom provider custom:corp is disabled"
    await add(auth, plain(corp.url))
    no_openid = await auth.post(target, {**body, "provider": "custom:plain"})
    assert message(no_openid) == 'Provider "custom:plain" is not an OIDC provider'


async def test_a_switched_provider_ends_flows_under_way(auth: AuthClient, corp: Issuer) -> None:
    await add(auth, openid(corp))
    url = await leave(auth, "custom:corp")
    assert url.startswith(corp.url)
    await auth.admin("DELETE", f"{PATH}/custom:corp")
    assert (await auth.get("/authorize?provider=custom:corp")).error == (400, "validation_failed")


async def test_bodies_are_checked_in_gotrues_order(auth: AuthClient, corp: Issuer) -> None:
    body, flat = openid(corp), plain(corp.url)
    either = "provider_type must be either 'oauth2' or 'oidc'"
    prefix = "identifier must start with 'custom:' prefix, e.g. 'custom:corp'"
    table: list[tuple[dict[str, Any], str]] = [
        ({}, either),
        (changed(body, provider_type="saml"), either),
        (changed(body, identifier=None), "identifier is required"),
        (changed(body, identifier="corp"), prefix),
        (changed(body, name=None), "name is required"),
        (changed(body, client_id=None), "client_id is required"),
        (changed(body, client_secret=None), "client_secret is required"),
        (changed(body, issuer=None), "issuer is required for OIDC providers"),
        (changed(flat, authorization_url=None), "authorization_url is required for OAuth2 providers"),
        (changed(flat, token_url=None), "token_url is required for OAuth2 providers"),
        (changed(flat, userinfo_url=None), "userinfo_url is required for OAuth2 providers"),
        (
            changed(body, authorization_params={"State": "x"}),
            "Cannot override reserved OAuth parameter: State",
        ),
        (changed(body, authorization_params={"a": 1}), 'Authorization parameter "a" must be a string'),
        (
            changed(body, attribute_mapping={"role": "team"}),
            "Cannot map to protected system field: role",
        ),
        (
            changed(body, attribute_mapping={"email_verified": True}),
            "Cannot map to protected system field: email_verified",
        ),
        (
            changed(body, custom_claims_allowlist=[" "]),
            "custom_claims_allowlist entries must be non-empty strings",
        ),
        (changed(flat, token_url="not a url"), "Invalid URL format"),
        (changed(flat, token_url="ftp://example.com/"), "Invalid URL format"),
        (changed(flat, jwks_uri="https://u:p@example.com/"), "Invalid URL format"),
        (
            changed(body, identifier="custom:UPPER"),
            "A field is malformed or too long: identifier_format",
        ),
        (changed(body, name="x" * 101), "A field is malformed or too long: name_length"),
        (changed(body, client_id="x" * 513), "A field is malformed or too long: client_id_length"),
        (
            changed(flat, token_url=f"{corp.url}/{'x' * 2048}"),
            "A field is malformed or too long: token_url_length",
        ),
    ]
    for given, expected in table:
        assert message(await auth.admin("POST", PATH, given)) == expected, given
    for raw, error in (
        (b"", (400, "bad_json")),
        (b"[]", (400, "bad_json")),
        (b'{"scopes": "email"}', (400, "bad_json")),
        (b'{"enabled": "yes"}', (400, "bad_json")),
        (b'{"name": "\\u0000"}', (400, "validation_failed")),
    ):
        assert (await auth.admin("POST", PATH, raw)).error == error, raw
    assert auth.rows("select * from auth.custom_oauth_providers") == []
    await add(auth, {**body, "unknown": 1})
    assert (await auth.admin("POST", PATH, body)).error == (400, "conflict")


async def test_updates_are_checked_too(auth: AuthClient, corp: Issuer) -> None:
    await add(auth, openid(corp))
    path = f"{PATH}/custom:corp"
    for body, expected in (
        ({"authorization_params": {"state": "x"}}, "Cannot override reserved OAuth parameter: state"),
        ({"attribute_mapping": {"aud": "x"}}, "Cannot map to protected system field: aud"),
        ({"custom_claims_allowlist": [""]}, "custom_claims_allowlist entries must be non-empty strings"),
        ({"issuer": "ftp://x"}, "Invalid URL format"),
        ({"name": "x" * 101}, "A field is malformed or too long: name_length"),
    ):
        assert message(await auth.admin("PUT", path, body)) == expected
    assert "discovery failed" in message(await auth.admin("PUT", path, {"issuer": corp.issuer + "/other"}))
    assert (await auth.admin("PUT", path, {})).status == 200
    for method in ("GET", "PUT", "DELETE"):
        unknown = await auth.admin(method, f"{PATH}/custom:nobody", {} if method == "PUT" else None)
        assert unknown.error == (404, "custom_provider_not_found")
        bare = await auth.admin(method, f"{PATH}/nobody", {} if method == "PUT" else None)
        assert message(bare) == "identifier must start with 'custom:' prefix, e.g. 'custom:nobody'"
    assert message(await auth.admin("GET", f"{PATH}?type=saml")) == "type must be either 'oauth2' or 'oidc'"


async def test_the_issuer_must_publish_what_a_sign_in_needs(auth: AuthClient, corp: Issuer) -> None:
    for discovery, expected in (
        ({"issuer": "https://other.example.com"}, "issuer mismatch"),
        ({"jwks_uri": None}, "missing required fields: jwks_uri"),
        (
            {"token_endpoint": None, "authorization_endpoint": ""},
            "missing required fields: authorization_endpoint, token_endpoint",
        ),
        ({"token_endpoint": "file:///etc/passwd"}, "no usable address"),
    ):
        corp.discovery = discovery
        assert expected in message(await auth.admin("POST", PATH, openid(corp)))
    corp.discovery_status = 500
    assert "returned 500" in message(await auth.admin("POST", PATH, openid(corp)))
    corp.discovery_status, corp.discovery = 200, {}
    elsewhere = openid(corp, issuer=corp.issuer, discovery_url=f"{corp.url}/.well-known/openid-configuration")
    await add(auth, elsewhere)


async def test_addresses_must_be_public_and_https(start_auth: StartAuth, corp: Issuer) -> None:
    """SSRF: neither at once nor later, when a name may point elsewhere."""
    auth = await start_auth()
    for url, expected in (
        (corp.url, "URL must use HTTPS"),
        ("https://localhost/", "URL cannot point to localhost or loopback addresses"),
        ("https://app.localhost/", "URL cannot point to localhost or loopback addresses"),
        ("https://127.0.0.1/", "URL cannot resolve to private network addresses"),
        ("https://2130706433/", "URL cannot resolve to private network addresses"),
        ("https://[::1]/", "URL cannot resolve to private network addresses"),
        ("https://[::ffff:10.0.0.1]/", "URL cannot resolve to private network addresses"),
        ("https://10.1.2.3/", "URL cannot resolve to private network addresses"),
        ("https://169.254.169.254/latest/meta-data", "URL cannot resolve to private network addresses"),
        ("https://0.0.0.0/", "URL cannot resolve to private network addresses"),
        ("https://no-such-name.invalid/", "Unable to resolve hostname"),
    ):
        for field in ("authorization_url", "token_url", "userinfo_url", "jwks_uri"):
            refused = await auth.admin("POST", PATH, plain(**{field: url}))
            assert message(refused) == expected, (field, url)
        assert message(await auth.admin("POST", PATH, openid(corp, issuer=url))) == expected
    await add(auth, plain())
    # As if the name had pointed to a public address when it was added.
    auth.rows(
        "update auth.custom_oauth_providers set authorization_url = %s, token_url = %s, userinfo_url = %s",
        f"{corp.url}/authorize",
        f"{corp.url}/token",
        f"{corp.url}/userinfo",
    )
    end = await travel(auth, "custom:plain")
    assert end.error == ("server_error", "unexpected_failure")
    assert [asked.path for asked in corp.asked] == ["/corp/authorize"]  # which was the browser


async def test_there_may_be_a_limit(start_auth: StartAuth, corp: Issuer) -> None:
    auth = await start_auth(
        custom_providers=CustomProviderSettings(max_providers=2, allow_private_addresses=True)
    )
    bodies = [plain(corp.url, identifier=f"custom:p{number}") for number in range(6)]
    answers = await asyncio.gather(*(auth.admin("POST", PATH, body) for body in bodies))
    assert sorted(answer.status for answer in answers) == [201, 201, 400, 400, 400, 400]
    refused = next(answer for answer in answers if answer.status == 400)
    assert refused.error == (400, "over_custom_provider_quota")


async def test_they_may_be_switched_off(start_auth: StartAuth, corp: Issuer) -> None:
    auth = await start_auth(custom_providers=CustomProviderSettings(enabled=False))
    for method, path in (
        ("GET", PATH),
        ("POST", PATH),
        ("GET", f"{PATH}/custom:a"),
        ("PUT", f"{PATH}/custom:a"),
        ("DELETE", f"{PATH}/custom:a"),
    ):
        assert (await auth.admin(method, path, {})).error == (404, "feature_disabled")
    assert message(await auth.get("/authorize?provider=custom:a")) == (
        "Unsupported provider: custom OAuth providers are disabled"
    )
    body = {"provider": "custom:a", "id_token": "x"}
    token = await auth.post("/token?grant_type=id_token", body)
    assert message(token) == "Custom OAuth providers are disabled"


async def test_only_administrators_see_them(auth: AuthClient) -> None:
    await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    assert (await auth.get(PATH)).error == (401, "no_authorization")
    assert (await auth.get(PATH, token=token)).error == (403, "not_admin")
    assert (await auth.post(PATH, {}, token=token)).error == (403, "not_admin")
