"""Signing in through a provider in a browser, there and back, against a real OpenID provider on this machine."""

import asyncio
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import pytest

from tests.auth.browser import (
    CHALLENGE,
    VERIFIER,
    come_back,
    consent,
    landing,
    leave,
    own_settings,
    settings_for,
    sign_in_with,
    travel,
)
from tests.auth.conftest import AuthClient, StartAuth
from tests.fakes.oidc import AUTHORIZE, CLIENT_ID, TOKEN, USERINFO, FakeOidc, Issuer

pytestmark = pytest.mark.req("P6")

APP = "http://127.0.0.1:3000/welcome"
PKCE = {"code_challenge": CHALLENGE, "code_challenge_method": "s256"}


@pytest.fixture
def google(oidc: FakeOidc) -> Issuer:
    return oidc.issuer("google")


@pytest.fixture
async def auth(start_auth: StartAuth, google: Issuer) -> AuthClient:
    """Addresses must be confirmed, Google is the fake."""
    return await start_auth(
        email={"enable_confirmations": True},
        enable_manual_linking=True,
        external={"google": settings_for(google)},
    )


async def test_the_browser_is_sent_to_the_provider_with_what_the_flow_needs(
    auth: AuthClient, google: Issuer
) -> None:
    url = await leave(auth, "google", redirect_to=APP, scopes="calendar,drive", prompt="consent", **PKCE)
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    assert url.startswith(f"{google.url}/authorize?")
    state = query.pop("state")
    assert query == {
        "client_id": CLIENT_ID,
        "redirect_uri": f"{auth.settings.api_url}/auth/v1/callback",
        "response_type": "code",
        "scope": "email profile calendar drive",
        "prompt": "consent",
    }
    (row,) = auth.rows("select * from auth.flow_state")
    assert str(row["id"]) == state
    assert (row["provider_type"], row["referrer"], row["user_id"]) == ("google", APP, None)


async def test_implicit_flow_ends_with_a_session_in_the_fragment(auth: AuthClient) -> None:
    end = await travel(auth, "google", redirect_to=APP)
    assert (end.page, end.query) == (APP, {})
    assert end.answer.status == 302
    assert set(end.fragment) == {
        "access_token",
        "token_type",
        "expires_in",
        "expires_at",
        "refresh_token",
        "provider_token",
        "provider_refresh_token",
        "sb",
    }
    user = (await auth.get("/user", token=end.fragment["access_token"])).json
    assert user["email"] == "ada@example.com"
    assert user["email_confirmed_at"]
    assert user["app_metadata"] == {"provider": "google", "providers": ["google"]}
    assert user["user_metadata"]["full_name"] == "Ada Lovelace"
    (identity,) = user["identities"]
    assert (identity["provider"], identity["id"]) == ("google", "user-1")
    assert identity["identity_data"]["email_verified"] is True
    assert auth.rows("select * from auth.flow_state") == []


async def test_pkce_flow_ends_with_a_code_that_gives_session_and_provider_tokens(
    auth: AuthClient, google: Issuer
) -> None:
    end = await travel(auth, "google", redirect_to=f"{APP}?tab=1", **PKCE)
    assert end.page == APP
    assert end.query["tab"] == "1"
    assert end.fragment == {}
    body = {"auth_code": end.query["code"], "code_verifier": VERIFIER}
    session = await auth.session("/token?grant_type=pkce", body)
    assert session["provider_token"] in google.access_tokens
    assert session["provider_refresh_token"] == f"refresh-{session['provider_token']}"
    assert auth.rows("select * from auth.flow_state") == []
    again = await auth.post("/token?grant_type=pkce", body)
    assert again.error == (404, "flow_state_not_found")
    methods = auth.rows("select authentication_method from auth.mfa_amr_claims")
    assert methods == [{"authentication_method": "oauth"}]


async def test_a_code_is_nothing_without_its_verifier(auth: AuthClient) -> None:
    end = await travel(auth, "google", **PKCE)
    body = {"auth_code": end.query["code"], "code_verifier": "w" * 43}
    assert (await auth.post("/token?grant_type=pkce", body)).error == (400, "bad_code_verifier")


async def test_a_second_sign_in_finds_the_same_user_and_what_has_changed(
    auth: AuthClient, google: Issuer
) -> None:
    first = await sign_in_with(auth, "google")
    google.user |= {"name": "Countess Lovelace", "email": "countess@example.com"}
    second = await sign_in_with(auth, "google")
    assert second["user"]["id"] == first["user"]["id"]
    assert second["user"]["email"] == "ada@example.com"
    assert second["user"]["user_metadata"]["full_name"] == "Countess Lovelace"
    assert [identity["email"] for identity in second["user"]["identities"]] == ["countess@example.com"]


@pytest.mark.parametrize("kind", ["implicit", "pkce"])
async def test_a_state_is_good_for_one_return(auth: AuthClient, kind: str) -> None:
    target, _ = await consent(
        await leave(auth, "google", redirect_to=APP, **(PKCE if kind == "pkce" else {}))
    )
    await come_back(auth, target)
    replayed = await come_back(auth, target)
    expected = "flow_state_already_used" if kind == "pkce" else "bad_oauth_state"
    assert replayed.answer.status == 303
    assert replayed.page == "http://127.0.0.1:3000"
    assert replayed.query["error_code"] == expected
    assert auth.rows("select count(*)::int as n from auth.sessions") == [{"n": 0 if kind == "pkce" else 1}]


async def test_of_ten_returns_at_once_one_signs_in(auth: AuthClient, google: Issuer) -> None:
    google.delay_s = 0.05
    target, _ = await consent(await leave(auth, "google"))
    ends = await asyncio.gather(*(come_back(auth, target) for _ in range(10)))
    assert sum("access_token" in end.fragment for end in ends) == 1
    assert google.count(TOKEN) == 1


async def test_a_state_is_bound_to_its_provider_and_expires(auth: AuthClient) -> None:
    target, _ = await consent(await leave(auth, "google", redirect_to=APP))
    auth.rows("update auth.flow_state set created_at = now() - interval '301 seconds'")
    late = await come_back(auth, target)
    assert late.query["error_description"] == "OAuth state has expired"
    auth.rows("update auth.flow_state set authentication_method = 'sso/saml', created_at = now()")
    other = await come_back(auth, target)
    assert other.query["error_code"] == "bad_oauth_state"


STRAY_RETURNS = [
    ("/callback", "bad_oauth_callback", "OAuth state parameter missing"),
    ("/callback?state=x", "bad_oauth_state", "OAuth state parameter is invalid"),
    (f"/callback?state={uuid4()}", "bad_oauth_state", "OAuth state not found or expired"),
    ("/callback?state=%00", "validation_failed", "The query string holds a NUL character"),
]


async def test_a_return_without_a_state_of_ours_goes_to_the_site(auth: AuthClient) -> None:
    for target, code, message in STRAY_RETURNS:
        end = await come_back(auth, target)
        assert end.answer.status == 303
        assert end.page == "http://127.0.0.1:3000"
        assert end.query == {"error": "invalid_request", "error_code": code, "error_description": message}


MALFORMED_FORMS = [b"\xff\xfe=%zz", b"state=%ff", b"a=" + b"&b=" * 200, b"state=%00"]


async def test_a_malformed_form_goes_to_the_site(auth: AuthClient) -> None:
    for form in MALFORMED_FORMS:
        end = await come_back(auth, "/callback", form)
        assert (end.page, end.query["error_code"]) == ("http://127.0.0.1:3000", "bad_oauth_callback"), form


async def test_an_endless_form_is_refused(auth: AuthClient) -> None:
    end = await come_back(auth, "/callback", b"state=" + b"x" * 100_000)
    assert end.query["error_code"] == "request_entity_too_large"


async def test_what_the_provider_refuses_reaches_the_application(auth: AuthClient, google: Issuer) -> None:
    google.refuses_with = "access_denied"
    end = await travel(auth, "google", redirect_to=APP, **PKCE)
    assert end.page == APP
    assert end.error == ("access_denied", "")
    assert end.query["error_description"] == "The user said no"
    assert google.count(TOKEN) == 0


async def test_a_return_without_a_code_is_told(auth: AuthClient) -> None:
    state = dict(parse_qsl(urlsplit(await leave(auth, "google", redirect_to=APP)).query))["state"]
    end = await come_back(auth, f"/callback?state={state}")
    assert (end.page, end.error) == (APP, ("invalid_request", "bad_oauth_callback"))


async def test_a_made_up_code_is_told(auth: AuthClient) -> None:
    state = dict(parse_qsl(urlsplit(await leave(auth, "google", redirect_to=APP)).query))["state"]
    end = await come_back(auth, f"/callback?state={state}&code=madeup123")
    assert end.error == ("server_error", "unexpected_failure")
    assert end.query["error_description"] == "Unable to exchange external code: made"


MISBEHAVIOURS = [
    ({"jwks_status": 500}, "Error getting user profile"),  # first: keys are kept
    ({"token_status": 500}, "Unable to exchange external code: "),
    ({"takes_basic": False, "takes_form": False}, "Unable to exchange external code: "),
    ({"claims": {"iss": "https://evil.example.com"}}, "Error getting user profile"),
    ({"claims": {"aud": "somebody-else"}}, "Error getting user profile"),
    ({"claims": {"exp": 1}}, "Error getting user profile"),
    ({"claims": {"sub": None}}, "Error getting user profile"),
    ({"claims": {"at_hash": "wrong"}}, "Error getting user profile"),
    ({"sends_id_token": False, "userinfo_status": 500}, "Error getting user profile"),
]


async def test_a_provider_that_misbehaves_signs_nobody_in(auth: AuthClient, google: Issuer) -> None:
    for change, message in MISBEHAVIOURS:
        usual = {name: getattr(google, name) for name in change}
        for name, value in change.items():
            setattr(google, name, value)
        end = await travel(auth, "google", redirect_to=APP)
        assert end.page == APP
        assert end.error == ("server_error", "unexpected_failure"), change
        assert end.query["error_description"].startswith(message), change
        for name, value in usual.items():
            setattr(google, name, value)
    assert auth.rows("select * from auth.users") == []
    assert "access_token" in (await travel(auth, "google")).fragment


async def test_a_token_of_another_issuers_key_is_refused(
    auth: AuthClient, oidc: FakeOidc, google: Issuer
) -> None:
    """Same claims, same key id, another key."""
    impostor = oidc.issuer("impostor")
    impostor.key_id, google.rsa, held = google.key_id, impostor.rsa, google.rsa
    target, _ = await consent(await leave(auth, "google"))
    published = google.jwks

    def jwks() -> dict[str, object]:
        google.rsa, forged = held, google.rsa
        try:
            return published()
        finally:
            google.rsa = forged

    google.jwks = jwks  # type: ignore[method-assign]
    end = await come_back(auth, target)
    assert end.error == ("server_error", "unexpected_failure")


async def test_a_mix_up_is_noticed(auth: AuthClient, google: Issuer) -> None:
    """RFC 9207: the return says which issuer it is from."""
    google.sends_iss = "https://evil.example.com"
    end = await travel(auth, "google", redirect_to=APP)
    assert end.error == ("invalid_request", "oauth_invalid_state")
    assert google.count(TOKEN) == 0
    google.sends_iss = google.issuer
    assert "access_token" in (await travel(auth, "google")).fragment


async def test_a_user_without_an_address_is_refused_unless_that_is_allowed(
    start_auth: StartAuth, google: Issuer
) -> None:
    google.user = {"sub": "user-2", "name": "Nobody"}
    auth = await start_auth(external={"google": settings_for(google)})
    end = await travel(auth, "google")
    assert end.error == ("server_error", "unexpected_failure")
    assert end.query["error_description"] == "Error getting user email from external provider"
    relaxed = await start_auth(external={"google": settings_for(google, email_optional=True)})
    session = await sign_in_with(relaxed, "google")
    assert session["user"]["email"] == ""
    assert session["user"]["user_metadata"]["name"] == "Nobody"


REFUSED_BEGINNINGS = [
    ("", 400, "validation_failed", "Unsupported provider: Provider  could not be found"),
    (
        "provider=myspace",
        400,
        "validation_failed",
        "Unsupported provider: Provider myspace could not be found",
    ),
    ("provider=github", 400, "validation_failed", "Unsupported provider: provider is not enabled"),
    ("provider=gitlab", 400, "validation_failed", "Unsupported provider: missing OAuth client ID"),
    ("provider=figma", 400, "validation_failed", "Unsupported provider: missing OAuth secret"),
    (
        "provider=keycloak",
        400,
        "validation_failed",
        "Unsupported provider: unable to find URL for the Keycloak provider",
    ),
    (
        "provider=custom:x",
        400,
        "validation_failed",
        "Unsupported provider: custom provider custom:x not found",
    ),
    (
        "provider=google&code_challenge=abc",
        400,
        "validation_failed",
        "PKCE flow requires code_challenge_method and code_challenge",
    ),
    (
        f"provider=google&code_challenge={'a' * 43}&code_challenge_method=md5",
        400,
        "validation_failed",
        "unsupported code_challenge method",
    ),
    (
        f"provider=google&code_challenge={'%2B' * 43}&code_challenge_method=plain",
        400,
        "validation_failed",
        "code challenge can only contain alphanumeric characters, hyphens, periods, underscores and tildes",
    ),
    ("provider=google&invite_token=x", 404, "user_not_found", "User identified by token not found"),
    ("provider=google%00", 400, "validation_failed", "The query string holds a NUL character"),
]


async def test_what_cannot_begin_is_refused(start_auth: StartAuth, google: Issuer) -> None:
    auth = await start_auth(
        external={
            "google": settings_for(google),
            "gitlab": settings_for(google, client_id=""),
            "figma": settings_for(google, secret=None),
            "keycloak": settings_for(google, url=None),
        }
    )
    for query, status, code, message in REFUSED_BEGINNINGS:
        answer = await auth.get(f"/authorize?{query}")
        assert answer.error == (status, code), query
        assert answer.json["msg"] == message
    assert auth.rows("select * from auth.flow_state") == []


async def test_a_provider_that_is_down_is_told(auth: AuthClient, google: Issuer) -> None:
    google.discovery_status = 503
    answer = await auth.get("/authorize?provider=google")
    assert answer.error == (500, "unexpected_failure")


async def test_a_discovery_document_of_somebody_else_is_refused(auth: AuthClient, google: Issuer) -> None:
    google.discovery = {"issuer": "https://accounts.google.com"}
    assert (await auth.get("/authorize?provider=google")).error == (500, "unexpected_failure")


NO_WEB_PAGES = ["javascript:alert(1)", "https://user@evil.example.com/", "//x", "ftp://a/"]


async def test_a_browser_is_not_sent_to_what_is_no_web_page(auth: AuthClient, google: Issuer) -> None:
    for endpoint in NO_WEB_PAGES:
        google.discovery = {"authorization_endpoint": endpoint}
        answer = await auth.get("/authorize?provider=google")
        assert answer.error == (500, "unexpected_failure"), endpoint


FOREIGN_PLACES = [
    "https://evil.example.com/",
    "https://evil.example.com@127.0.0.1:3000/",
    "http://127.0.0.1:3000@evil.example.com/",
    "//evil.example.com",
    "https:evil.example.com",
    "http://127.0.0.1:3000\\@evil.example.com",
    "javascript:alert(1)",
    "http://2130706433/",
    "http://127.0.0.1:3000\t.evil.example.com",
]


async def test_redirects_lead_to_allowed_places_only(auth: AuthClient) -> None:
    """auth #1974"""
    for place in FOREIGN_PLACES:
        end = await travel(auth, "google", redirect_to=place)
        assert urlsplit(end.page).netloc == "127.0.0.1:3000", place
        assert "access_token" in end.fragment
        answer = await auth.get(
            "/authorize?provider=google", headers={"redirect_to": place, "referer": place}
        )
        end = await come_back(auth, *await consent(answer.headers["location"]))
        assert urlsplit(end.page).netloc == "127.0.0.1:3000", place


async def test_a_redirect_that_is_no_longer_allowed_is_not_followed(auth: AuthClient) -> None:
    target, _ = await consent(await leave(auth, "google", redirect_to=APP))
    auth.rows("update auth.flow_state set referrer = 'https://evil.example.com/'")
    assert (await come_back(auth, target)).page == "http://127.0.0.1:3000"


async def test_parameters_of_the_flow_are_not_the_applications_to_set(auth: AuthClient) -> None:
    own = {
        "redirect_uri": "https://evil.example.com/",
        "State": "mine",
        "client_id": "other",
        "response_type": "token",
        "response_mode": "fragment",
        "request_uri": "https://evil.example.com/",
        "code_verifier": "x",
        "CODE_CHALLENGE": "y",
        "login_hint": "ada@example.com",
        "nonce": "n",
        "apikey": "key",
    }
    query = dict(parse_qsl(urlsplit(await leave(auth, "google", **own, redirect_to=APP)).query))
    assert set(query) == {
        "client_id",
        "redirect_uri",
        "response_type",
        "state",
        "scope",
        "login_hint",
        "nonce",
    }
    assert query["client_id"] == CLIENT_ID
    assert query["redirect_uri"].endswith("/auth/v1/callback")


async def test_a_provider_that_was_switched_off_meanwhile_signs_nobody_in(
    start_auth: StartAuth, auth: AuthClient
) -> None:
    target, _ = await consent(await leave(auth, "google", redirect_to=APP))
    other = await start_auth(external={})
    end = await come_back(other, target)
    assert end.error == ("invalid_request", "oauth_provider_not_supported")


async def test_without_sign_ups_nobody_new_comes_in(start_auth: StartAuth, google: Issuer) -> None:
    open_auth = await start_auth(external={"google": settings_for(google)})
    closed = await start_auth(external={"google": settings_for(google)}, enable_signup=False)
    end = await travel(closed, "google", redirect_to=APP)
    assert end.error == ("access_denied", "signup_disabled")
    assert closed.rows("select * from auth.users") == []
    await sign_in_with(open_auth, "google")
    await sign_in_with(closed, "google")


async def test_a_banned_user_is_refused_either_way(auth: AuthClient) -> None:
    session = await sign_in_with(auth, "google")
    await auth.admin("PUT", f"/admin/users/{session['user']['id']}", {"ban_duration": "1h"})
    for query in ({}, PKCE):
        end = await travel(auth, "google", redirect_to=APP, **query)
        assert end.error == ("access_denied", "user_banned")


async def test_an_own_provider_is_discovered_and_spoken_to_with_pkce(
    start_auth: StartAuth, oidc: FakeOidc
) -> None:
    corp = oidc.issuer("corp", user={"sub": "u", "email": "u@corp.example.com", "email_verified": True})
    auth = await start_auth(external={"corp": own_settings(corp, scopes=("email",))})
    session = await sign_in_with(auth, "corp")
    query = corp.last(AUTHORIZE).query
    assert query["scope"] == "openid email"
    assert query["code_challenge_method"] == "S256"
    assert "code_verifier" in corp.last(TOKEN).form
    assert session["user"]["app_metadata"]["provider"] == "corp"
    assert auth.rows("select * from auth.oauth_client_states") == []
    assert (await auth.get("/settings")).json["external"]["corp"] is True


async def test_an_own_provider_takes_either_way_of_showing_the_secret(
    start_auth: StartAuth, oidc: FakeOidc
) -> None:
    basic = oidc.issuer("basic", takes_form=False)
    form = oidc.issuer("form", takes_basic=False)
    by_hand = oidc.issuer("by-hand", takes_basic=False, sends_id_token=False)
    addresses = {
        "authorization_url": f"{by_hand.url}/authorize",
        "token_url": f"{by_hand.url}/token",
        "userinfo_url": f"{by_hand.url}/userinfo",
    }
    auth = await start_auth(
        external={
            "one": own_settings(basic),
            "two": own_settings(form),
            "three": settings_for(by_hand, url=None, **addresses),
        }
    )
    for name in ("one", "two"):
        await sign_in_with(auth, name)
    # Codes are used up by the first try, so the second way is only tried where the client itself was refused.
    await sign_in_with(auth, "three")
    assert by_hand.count(TOKEN) == 2
    assert by_hand.count(USERINFO) == 1


async def test_what_is_kept_for_the_providers_pkce_must_be_there(
    start_auth: StartAuth, oidc: FakeOidc
) -> None:
    auth = await start_auth(external={"corp": own_settings(oidc.issuer("corp"))})
    for statement, code in (
        ("delete from auth.oauth_client_states", "oauth_client_state_not_found"),
        ("update auth.oauth_client_states set provider_type = 'x'", "oauth_invalid_state"),
        (
            "update auth.oauth_client_states set created_at = now() - interval '1 hour'",
            "oauth_client_state_expired",
        ),
        ("update auth.flow_state set oauth_client_state_id = null", "oauth_invalid_state"),
    ):
        target, _ = await consent(await leave(auth, "corp", redirect_to=APP))
        auth.rows(statement)
        assert (await come_back(auth, target)).query["error_code"] == code


async def test_apple_posts_a_form_with_the_name(start_auth: StartAuth, oidc: FakeOidc) -> None:
    apple = oidc.issuer(
        "apple", user={"sub": "001", "email": "ada@privaterelay.appleid.com", "is_private_email": "true"}
    )
    auth = await start_auth(email={"enable_confirmations": True}, external={"apple": settings_for(apple)})
    url = await leave(auth, "apple", redirect_to=APP, scopes="more", prompt="x")
    query = dict(parse_qsl(urlsplit(url).query))
    assert query["response_mode"] == "form_post"
    assert query["scope"] == "email name"
    assert "prompt" not in query
    target, form = await consent(url)
    assert form is not None
    form += (
        b"&"
        + urlencode({"user": '{"name": {"firstName": "Ada", "lastName": "L"}, "email": "x@y.z"}'}).encode()
    )
    end = await come_back(auth, target, form)
    user = (await auth.get("/user", token=end.fragment["access_token"])).json
    assert user["email"] == "ada@privaterelay.appleid.com"
    assert user["user_metadata"]["full_name"] == "Ada L"
    assert user["user_metadata"]["custom_claims"] == {"is_private_email": True}
    target, form = await consent(await leave(auth, "apple", redirect_to=APP))
    bad = await come_back(auth, target, (form or b"") + b"&user=%7B")
    assert bad.error == ("invalid_request", "bad_oauth_callback")


async def test_an_invitation_is_accepted_with_a_provider(auth: AuthClient, google: Issuer) -> None:
    await auth.admin("POST", "/invite", {"email": "ada@example.com", "data": {"team": "engines"}})
    token = auth.inbox("ada@example.com")[0]["data"]["token_hash"]
    google.user["email"] = "somebody@example.com"
    wrong = await travel(auth, "google", redirect_to=APP, invite_token=token)
    assert wrong.error == ("invalid_request", "validation_failed")
    google.user["email"] = "Ada@Example.com"
    right = await travel(auth, "google", redirect_to=APP, invite_token=token)
    user = (await auth.get("/user", token=right.fragment["access_token"])).json
    assert user["email"] == "ada@example.com"
    assert user["email_confirmed_at"]
    assert [identity["provider"] for identity in user["identities"]] == ["google"]
    assert "invite_accepted" in [
        row["payload"]["action"] for row in auth.rows("select payload from auth.audit_log_entries")
    ]
    again = await auth.get(f"/authorize?provider=google&invite_token={token}")
    assert again.error == (404, "user_not_found")


async def test_an_invitation_is_accepted_once(auth: AuthClient) -> None:
    await auth.admin("POST", "/invite", {"email": "ada@example.com"})
    token = auth.inbox("ada@example.com")[0]["data"]["token_hash"]
    first, _ = await consent(await leave(auth, "google", redirect_to=APP, invite_token=token))
    second, _ = await consent(await leave(auth, "google", redirect_to=APP, invite_token=token))
    await come_back(auth, first)
    assert (await come_back(auth, second)).error == ("server_error", "invite_not_found")


async def test_only_get_and_post_come_back(auth: AuthClient) -> None:
    assert (await auth.send("PUT", "/callback")).error == (405, "method_not_allowed")
    assert (await auth.post("/authorize?provider=google", {})).error == (405, "method_not_allowed")


async def test_a_head_request_shows_the_redirect(auth: AuthClient) -> None:
    answer = await auth.send("HEAD", "/authorize?provider=google")
    assert answer.status == 302
    assert landing(answer).query["state"]
