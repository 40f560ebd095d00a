"""Which account an identity of somebody else belongs to, and identities that users add and remove themselves."""

import asyncio
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import pytest

from tests.auth.browser import come_back, consent, own_settings, settings_for, sign_in_with, travel
from tests.auth.conftest import PASSWORD, AuthClient, StartAuth
from tests.fakes.oidc import FakeOidc, Issuer

pytestmark = pytest.mark.req("P6")

APP = "http://127.0.0.1:3000/account"


@pytest.fixture
def google(oidc: FakeOidc) -> Issuer:
    return oidc.issuer("google")


@pytest.fixture
def corp(oidc: FakeOidc) -> Issuer:
    """A second provider, with another user of the same address."""
    return oidc.issuer("corp", user={"sub": "c-1", "email": "ada@example.com", "email_verified": True})


@pytest.fixture
async def auth(start_auth: StartAuth, google: Issuer, corp: Issuer) -> AuthClient:
    return await start_auth(
        email={"enable_confirmations": True},
        enable_manual_linking=True,
        enable_anonymous_sign_ins=True,
        external={"google": settings_for(google), "corp": own_settings(corp)},
    )


def providers(user: dict[str, Any]) -> list[str]:
    assert user["app_metadata"]["providers"] == [identity["provider"] for identity in user["identities"]]
    return [identity["provider"] for identity in user["identities"]]


async def link(auth: AuthClient, token: str, provider: str, **query: str) -> Any:
    """The landing after linking in a browser."""
    query = {"provider": provider, "redirect_to": APP, "skip_http_redirect": "true", **query}
    answer = await auth.get(f"/user/identities/authorize?{urlencode(query)}", token=token)
    assert answer.status == 200, answer.body
    return await come_back(auth, *await consent(answer.json["url"]))


async def unlink(auth: AuthClient, token: str, identity_id: str) -> Any:
    return await auth.send("DELETE", f"/user/identities/{identity_id}", token=token)


def actions(auth: AuthClient) -> list[str]:
    rows = auth.rows("select payload from auth.audit_log_entries order by created_at")
    return [row["payload"]["action"] for row in rows]


async def test_a_verified_address_joins_the_account_that_has_it(auth: AuthClient, google: Issuer) -> None:
    google.user["email"] = "ADA@Example.com"
    made = await auth.a_user("ada@example.com", user_metadata={"team": "engines"})
    session = await sign_in_with(auth, "google")
    user = session["user"]
    assert user["id"] == made["id"]
    assert providers(user) == ["email", "google"]
    assert user["user_metadata"]["team"] == "engines"
    assert user["user_metadata"]["full_name"] == "Ada Lovelace"
    assert "identity_linked" in actions(auth)
    await auth.sign_in()  # the password of a confirmed account stays


async def test_two_providers_with_one_address_are_one_account(auth: AuthClient) -> None:
    first = await sign_in_with(auth, "google")
    second = await sign_in_with(auth, "corp")
    assert first["user"]["id"] == second["user"]["id"]
    assert providers(second["user"]) == ["google", "corp"]


async def test_an_unverified_address_never_joins_an_account(auth: AuthClient, google: Issuer) -> None:
    made = await auth.a_user("ada@example.com")
    google.user["email_verified"] = False
    end = await travel(auth, "google", redirect_to=APP)
    assert end.error == ("access_denied", "provider_email_needs_verification")
    assert (
        end.query["error_description"]
        == "Unverified email with google. Verify the email with google in order to sign in"
    )
    (stranger,) = auth.rows("select * from auth.users where id <> %s", made["id"])
    assert stranger["email"] is None
    assert auth.inbox() == []


async def test_an_unverified_address_of_nobody_is_confirmed_by_mail(auth: AuthClient, corp: Issuer) -> None:
    corp.user["email_verified"] = False
    for _ in range(2):
        end = await travel(auth, "corp", redirect_to=APP)
        assert end.error == ("access_denied", "provider_email_needs_verification")
    assert len(auth.rows("select * from auth.users")) == 1
    code = auth.code("ada@example.com")
    body = {"type": "signup", "email": "ada@example.com", "token": code}
    session = await auth.session("/verify", body)
    assert providers(session["user"]) == ["corp"]
    assert session["user"]["identities"][0]["identity_data"]["email_verified"] is True


async def test_unverified_addresses_may_be_let_in(start_auth: StartAuth, corp: Issuer) -> None:
    corp.user["email_verified"] = False
    auth = await start_auth(
        email={"enable_confirmations": True, "allow_unverified_sign_ins": True},
        external={"corp": own_settings(corp)},
    )
    session = await sign_in_with(auth, "corp")
    assert "email_confirmed_at" not in session["user"]
    assert len(auth.inbox("ada@example.com")) == 1


async def test_without_confirmations_every_address_counts(start_auth: StartAuth, google: Issuer) -> None:
    google.user["email_verified"] = False
    auth = await start_auth(external={"google": settings_for(google)})
    made = await auth.a_user("ada@example.com")
    assert (await sign_in_with(auth, "google"))["user"]["id"] == made["id"]


async def test_an_account_of_single_sign_on_is_never_joined(auth: AuthClient, google: Issuer) -> None:
    """Neither by the user's address nor by that of an identity it has linked."""
    for email, provider in (("ada@example.com", "sso:1"), ("other@example.com", "google")):
        user_id, data = uuid4(), '{"sub": "s", "email": "ada@example.com", "email_verified": true}'
        auth.rows(
            "insert into auth.users (instance_id, id, aud, role, email, email_confirmed_at, is_sso_user, "
            "created_at, updated_at) values ('00000000-0000-0000-0000-000000000000', %s, 'authenticated', "
            "'authenticated', %s, now(), true, now(), now())",
            user_id,
            email,
        )
        auth.rows(
            "insert into auth.identities (provider_id, user_id, identity_data, provider, created_at) "
            "values (%s, %s, %s, %s, now())",
            str(user_id),
            user_id,
            data,
            provider,
        )
    session = await sign_in_with(auth, "google")
    assert providers(session["user"]) == ["google"]
    assert len(auth.rows("select * from auth.users")) == 3


async def test_addresses_of_several_accounts_join_none(auth: AuthClient) -> None:
    for name in ("one", "two"):
        made = await auth.a_user(f"{name}@example.com")
        auth.rows(
            'update auth.identities set identity_data = identity_data || \'{"email": "ada@example.com"}\' '
            "where user_id = %s",
            made["id"],
        )
    end = await travel(auth, "google", redirect_to=APP)
    assert end.error == ("server_error", "unexpected_failure")
    assert "Multiple accounts" in end.query["error_description"]


async def test_users_of_seeds_without_identities_are_found(auth: AuthClient) -> None:
    auth.rows(
        "insert into auth.users (id, aud, role, email, email_confirmed_at, created_at, updated_at) "
        "values (%s, 'authenticated', 'authenticated', 'ada@example.com', now(), now(), now())",
        uuid4(),
    )
    session = await sign_in_with(auth, "google")
    assert len(auth.rows("select * from auth.users")) == 1
    assert providers(session["user"]) == ["google"]


async def test_an_account_laid_out_for_somebody_is_emptied_when_the_owner_comes(
    auth: AuthClient,
) -> None:
    """Pre-hijacking: the attacker signed up with the victim's address and waits."""
    body = {"email": "ada@example.com", "password": PASSWORD, "data": {"role": "admin", "note": "mine"}}
    signed_up = (await auth.post("/signup", body)).json
    session = await sign_in_with(auth, "google")
    user = session["user"]
    assert user["id"] == signed_up["id"]
    assert providers(user) == ["google"]
    assert "note" not in user["user_metadata"]
    assert user["email_confirmed_at"]
    refused = await auth.post(
        "/token?grant_type=password", {"email": "ada@example.com", "password": PASSWORD}
    )
    assert refused.error == (400, "invalid_credentials")
    code = auth.code("ada@example.com")
    stale = await auth.post("/verify", {"type": "signup", "email": "ada@example.com", "token": code})
    assert stale.error == (403, "otp_expired")


async def test_a_waiting_attackers_session_number_and_factors_go_too(
    auth: AuthClient, google: Issuer
) -> None:
    """An anonymous or phone account takes the victim's unproven address by linking, and keeps its session."""
    google.user["email"] = "attacker@example.com"
    attacker = await auth.session("/signup", {})
    token, attacker_id = attacker["access_token"], attacker["user"]["id"]
    google.user |= {"sub": "attacker", "email": "ada@example.com", "email_verified": False}
    end = await link(auth, token, "google")
    assert end.error == ("server_error", "email_not_confirmed")
    auth.rows("update auth.users set phone = '60111', phone_confirmed_at = now() where id = %s", attacker_id)
    auth.rows(
        "insert into auth.mfa_factors (id, user_id, factor_type, status, created_at, updated_at, secret) "
        "values (%s, %s, 'totp', 'verified', now(), now(), 'x')",
        uuid4(),
        attacker_id,
    )
    victim = await sign_in_with(auth, "corp")
    assert victim["user"]["id"] == attacker_id
    assert providers(victim["user"]) == ["corp"]
    assert victim["user"]["phone"] == ""
    assert victim["user"]["is_anonymous"] is False
    assert "factors" not in victim["user"]
    assert (await auth.get("/user", token=token)).error == (403, "session_not_found")
    refresh = await auth.post("/token?grant_type=refresh_token", {"refresh_token": attacker["refresh_token"]})
    assert refresh.status == 400


async def test_a_provider_does_not_confirm_an_address_that_is_not_its_users(
    auth: AuthClient, corp: Issuer
) -> None:
    """The attacker came with the victim's address unproven, then changes it at the provider and proves that one."""
    corp.user["email_verified"] = False
    await travel(auth, "corp", redirect_to=APP)
    corp.user |= {"email": "attacker@example.com", "email_verified": True}
    end = await travel(auth, "corp", redirect_to=APP)
    assert end.error == ("access_denied", "provider_email_needs_verification")
    (row,) = auth.rows("select email, email_confirmed_at from auth.users")
    assert row == {"email": "ada@example.com", "email_confirmed_at": None}


async def test_the_same_person_at_once_becomes_one_user(auth: AuthClient) -> None:
    urls = [
        (await auth.get(f"/authorize?provider={name}")).headers["location"] for name in ("google", "corp") * 3
    ]
    targets = [await consent(url) for url in urls]
    ends = await asyncio.gather(*(come_back(auth, *target) for target in targets))
    assert all("access_token" in end.fragment for end in ends)
    assert len(auth.rows("select * from auth.users")) == 1
    assert len(auth.rows("select * from auth.identities")) == 2


async def test_a_trigger_that_objects_is_told_without_its_row(auth: AuthClient) -> None:
    auth.rows(
        "create function public.object() returns trigger language plpgsql as "
        "$$ begin raise exception 'no more users'; end $$"
    )
    auth.rows(
        "create trigger object before insert on auth.users for each row execute function public.object()"
    )
    end = await travel(auth, "google", redirect_to=APP)
    assert end.error == ("server_error", "unexpected_failure")
    assert end.query["error_description"] == "Database error saving new user"


async def test_an_identity_is_linked_and_unlinked(auth: AuthClient, google: Issuer) -> None:
    await auth.a_user("grace@example.com")
    session = await auth.sign_in("grace@example.com")
    token = session["access_token"]
    end = await link(auth, token, "google")
    assert end.page == APP
    user = (await auth.get("/user", token=end.fragment["access_token"])).json
    assert user["id"] == session["user"]["id"]
    assert (user["email"], providers(user)) == ("grace@example.com", ["email", "google"])
    again = await link(auth, token, "google")
    assert again.error == ("server_error", "identity_already_exists")
    linked = user["identities"][1]
    answer = await unlink(auth, token, linked["identity_id"])
    assert (answer.status, answer.json) == (200, {})
    user = (await auth.get("/user", token=token)).json
    assert providers(user) == ["email"]
    assert [action for action in actions(auth) if "identity" in action] == [
        "identity_linked",
        "identity_unlinked",
    ]


async def test_an_identity_of_somebody_else_cannot_be_linked(auth: AuthClient) -> None:
    await sign_in_with(auth, "google")
    await auth.a_user("grace@example.com")
    session = await auth.sign_in("grace@example.com")
    end = await link(auth, session["access_token"], "google")
    assert end.error == ("server_error", "identity_already_exists")
    assert end.query["error_description"] == "Identity is already linked to another user"


async def test_linking_redirects_where_no_json_is_asked_for(auth: AuthClient) -> None:
    await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    answer = await auth.get("/user/identities/authorize?provider=google", token=token)
    assert answer.status == 302
    assert urlsplit(answer.headers["location"]).path == "/google/authorize"
    unknown = await auth.get("/user/identities/authorize?provider=nobody", token=token)
    assert unknown.error == (400, "validation_failed")
    assert (await auth.get("/user/identities/authorize?provider=google")).error == (401, "no_authorization")


async def test_an_anonymous_user_becomes_permanent_by_a_proven_address(auth: AuthClient) -> None:
    session = await auth.session("/signup", {"data": {"cart": 3}})
    end = await link(auth, session["access_token"], "google")
    user = (await auth.get("/user", token=end.fragment["access_token"])).json
    assert user["id"] == session["user"]["id"]
    assert user["is_anonymous"] is False
    assert user["email"] == "ada@example.com"
    assert user["email_confirmed_at"]


async def test_an_anonymous_user_does_not_take_somebodys_address(auth: AuthClient) -> None:
    await auth.a_user("ada@example.com")
    session = await auth.session("/signup", {})
    end = await link(auth, session["access_token"], "google")
    assert end.error == ("invalid_request", "email_exists")
    assert len(auth.rows("select * from auth.identities")) == 1


async def test_a_link_whose_user_is_gone_is_told(auth: AuthClient) -> None:
    made = await auth.a_user("grace@example.com")
    token = (await auth.sign_in("grace@example.com"))["access_token"]
    answer = await auth.get(f"/user/identities/authorize?provider=google&redirect_to={APP}", token=token)
    target = await consent(answer.headers["location"])
    await auth.admin("DELETE", f"/admin/users/{made['id']}")
    end = await come_back(auth, *target)
    assert end.error == ("server_error", "user_not_found")


async def test_a_banned_user_links_nothing(auth: AuthClient) -> None:
    made = await auth.a_user("grace@example.com")
    token = (await auth.sign_in("grace@example.com"))["access_token"]
    answer = await auth.get(f"/user/identities/authorize?provider=google&redirect_to={APP}", token=token)
    target = await consent(answer.headers["location"])
    await auth.admin("PUT", f"/admin/users/{made['id']}", {"ban_duration": "1h"})
    assert (await come_back(auth, *target)).error == ("access_denied", "user_banned")
    assert len(auth.rows("select * from auth.identities")) == 1


async def test_what_cannot_be_unlinked_is_named(auth: AuthClient) -> None:
    await auth.a_user("grace@example.com")
    session = await auth.sign_in("grace@example.com")
    token = session["access_token"]
    only = session["user"]["identities"][0]["identity_id"]
    assert (await unlink(auth, token, only)).error == (422, "single_identity_not_deletable")
    await link(auth, token, "google")
    assert (await unlink(auth, token, str(uuid4()))).error == (422, "identity_not_found")
    assert (await unlink(auth, token, "x")).error == (404, "validation_failed")
    other = await auth.send(
        "DELETE", f"/user/identities/{only}", token=token, headers={"x-jwt-aud": "somewhere"}
    )
    assert other.error == (403, "unexpected_audience")
    stranger = await auth.a_user("stranger@example.com")
    theirs = stranger["identities"][0]["identity_id"]
    assert (await unlink(auth, token, theirs)).error == (422, "identity_not_found")


async def test_of_two_unlinkings_at_once_one_identity_stays(auth: AuthClient) -> None:
    await auth.a_user("grace@example.com")
    token = (await auth.sign_in("grace@example.com"))["access_token"]
    await link(auth, token, "google")
    identities = (await auth.get("/user", token=token)).json["identities"]
    answers = await asyncio.gather(*(unlink(auth, token, identity["identity_id"]) for identity in identities))
    assert sorted(answer.status for answer in answers) == [200, 422]


async def test_the_address_follows_the_identities_that_are_left(auth: AuthClient, google: Issuer) -> None:
    await auth.a_user("grace@example.com")
    session = await auth.sign_in("grace@example.com")
    token, email_identity = session["access_token"], session["user"]["identities"][0]["identity_id"]
    await link(auth, token, "google")
    assert (await unlink(auth, token, email_identity)).status == 200
    user = (await auth.get("/user", token=token)).json
    assert user["email"] == "ada@example.com"
    assert user["email_confirmed_at"]
    assert providers(user) == ["google"]


async def test_an_unproven_address_that_follows_is_unconfirmed(auth: AuthClient, google: Issuer) -> None:
    await auth.a_user("grace@example.com")
    session = await auth.sign_in("grace@example.com")
    token, email_identity = session["access_token"], session["user"]["identities"][0]["identity_id"]
    google.user["email_verified"] = False
    await link(auth, token, "google")
    assert (await unlink(auth, token, email_identity)).status == 200
    user = (await auth.get("/user", token=token)).json
    assert user["email"] == "ada@example.com"
    assert "email_confirmed_at" not in user
    assert user["user_metadata"]["email_verified"] is False


async def test_an_address_that_is_somebody_elses_keeps_the_identity(auth: AuthClient, google: Issuer) -> None:
    await auth.a_user("grace@example.com")
    session = await auth.sign_in("grace@example.com")
    token, email_identity = session["access_token"], session["user"]["identities"][0]["identity_id"]
    await link(auth, token, "google")
    await auth.a_user("other@example.com")
    auth.rows("update auth.users set email = 'ada@example.com' where email = 'other@example.com'")
    refused = await unlink(auth, token, email_identity)
    assert refused.error == (422, "email_conflict_identity_not_deletable")
    assert len((await auth.get("/user", token=token)).json["identities"]) == 2


async def test_unlinking_the_phone_takes_the_number_away(auth: AuthClient) -> None:
    answer = await auth.admin(
        "POST",
        "/admin/users",
        {"email": "ada@example.com", "phone": "60123", "password": PASSWORD, "email_confirm": True},
    )
    phone = next(i for i in answer.json["identities"] if i["provider"] == "phone")
    token = (await auth.sign_in())["access_token"]
    assert (await unlink(auth, token, phone["identity_id"])).status == 200
    user = (await auth.get("/user", token=token)).json
    assert (user["phone"], providers(user)) == ("", ["email"])


async def test_linking_is_off_unless_switched_on(start_auth: StartAuth, google: Issuer) -> None:
    auth = await start_auth(external={"google": settings_for(google)})
    await auth.a_user()
    session = await auth.sign_in()
    token, identity = session["access_token"], session["user"]["identities"][0]["identity_id"]
    linked = await auth.get("/user/identities/authorize?provider=google", token=token)
    assert linked.error == (404, "manual_linking_disabled")
    assert (await unlink(auth, token, identity)).error == (404, "manual_linking_disabled")
