"""The official Python client, unmodified, speaking to the service through the gateway's application."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from supabase_auth import AsyncGoTrueClient
from supabase_auth.errors import AuthApiError, AuthWeakPasswordError

from basalt.access import Authoriser
from basalt.gateway import Gateway
from basalt.gateway.limits import RequestLimits
from tests.auth.conftest import PASSWORD, AuthClient

pytestmark = pytest.mark.req("P6")

EMAIL = "ada@example.com"
URL = "http://basalt.test/auth/v1"


@pytest.fixture
async def http(strict_auth: AuthClient) -> AsyncIterator[httpx.AsyncClient]:
    settings = strict_auth.settings
    limits = RequestLimits(settings.basalt.rate_limit, Authoriser(strict_auth.keys), trusts_header=False)
    gateway = Gateway(
        {"/auth/v1": strict_auth.service},
        limits,
        base_url=settings.api_url,
        max_body_bytes=settings.basalt.max_body_bytes,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=gateway)) as client:
        yield client


def client(http: httpx.AsyncClient, key: str, **options: object) -> AsyncGoTrueClient:
    headers = {"apikey": key, "Authorization": f"Bearer {key}"}
    return AsyncGoTrueClient(url=URL, headers=headers, http_client=http, auto_refresh_token=False, **options)


async def test_a_user_goes_from_sign_up_to_sign_out(strict_auth: AuthClient, http: httpx.AsyncClient) -> None:
    auth = client(http, strict_auth.keys.publishable_key)
    with pytest.raises(AuthWeakPasswordError):
        await auth.sign_up({"email": EMAIL, "password": "short"})
    signed_up = await auth.sign_up(
        {"email": EMAIL, "password": PASSWORD, "options": {"data": {"full_name": "Ada"}}}
    )
    assert signed_up.session is None
    assert signed_up.user is not None
    with pytest.raises(AuthApiError) as refused:
        await auth.sign_in_with_password({"email": EMAIL, "password": PASSWORD})
    assert refused.value.code == "email_not_confirmed"
    code = strict_auth.code(EMAIL)
    verified = await auth.verify_otp({"type": "email", "email": EMAIL, "token": code})
    assert verified.session is not None
    user = await auth.get_user()
    assert user is not None
    assert user.user.user_metadata["full_name"] == "Ada"
    refreshed = await auth.refresh_session()
    assert refreshed.session is not None
    assert refreshed.session.refresh_token != verified.session.refresh_token
    updated = await auth.update_user({"data": {"city": "London"}, "password": "another password"})
    assert updated.user.user_metadata["city"] == "London"
    identities = await auth.get_user_identities()
    assert [identity.provider for identity in identities.identities] == ["email"]
    await auth.sign_out()
    assert await auth.get_session() is None
    assert strict_auth.rows("select 1 from auth.sessions") == []
    again = await auth.sign_in_with_password({"email": EMAIL, "password": "another password"})
    assert again.user is not None
    await auth.reset_password_for_email(EMAIL)
    assert strict_auth.inbox(EMAIL)[0]["kind"] == "recovery"
    await auth.resend({"type": "signup", "email": EMAIL})
    await auth.reauthenticate()
    assert strict_auth.inbox(EMAIL)[0]["kind"] == "reauthentication"


@pytest.mark.req("G10")
async def test_a_phone_signs_in_by_code(strict_auth: AuthClient, http: httpx.AsyncClient) -> None:
    auth = client(http, strict_auth.keys.anon_key)
    await auth.sign_in_with_otp({"phone": "+60123456789"})
    code = strict_auth.code("60123456789")
    with pytest.raises(AuthApiError) as refused:
        await auth.verify_otp({"type": "sms", "phone": "+60123456789", "token": "x"})
    assert (refused.value.status, refused.value.code) == (403, "otp_expired")
    verified = await auth.verify_otp({"type": "sms", "phone": "+60123456789", "token": code})
    assert verified.user is not None
    assert verified.user.phone == "60123456789"


async def test_a_pkce_link_is_exchanged_for_a_session(
    strict_auth: AuthClient, http: httpx.AsyncClient
) -> None:
    await strict_auth.a_user()
    auth = client(http, strict_auth.keys.publishable_key, flow_type="pkce")
    await auth.sign_in_with_otp(
        {"email": EMAIL, "options": {"email_redirect_to": "http://127.0.0.1:3000/callback"}}
    )
    link = urlsplit(strict_auth.inbox(EMAIL)[0]["data"]["confirmation_url"])
    answer = await http.get(f"{URL}/verify?{link.query}")
    assert answer.status_code == 303
    target = urlsplit(answer.headers["location"])
    assert target.path == "/callback"
    session = await auth.exchange_code_for_session({"auth_code": parse_qs(target.query)["code"][0]})
    assert session.user is not None
    assert session.user.email == EMAIL


@pytest.mark.req("P4")
@pytest.mark.parametrize("kind", ["service_role_key", "secret_key"])
async def test_an_administrator_manages_users(
    strict_auth: AuthClient, http: httpx.AsyncClient, kind: str
) -> None:
    admin = client(http, getattr(strict_auth.keys, kind)).admin
    created = await admin.create_user({"email": EMAIL, "password": PASSWORD, "email_confirm": True})
    assert created.user.email_confirmed_at is not None
    changed = await admin.update_user_by_id(created.user.id, {"app_metadata": {"plan": "pro"}})
    assert changed.user.app_metadata["plan"] == "pro"
    assert [user.id for user in await admin.list_users()] == [created.user.id]
    assert (await admin.get_user_by_id(created.user.id)).user.email == EMAIL
    link = await admin.generate_link({"type": "recovery", "email": EMAIL})
    assert link.properties.verification_type == "recovery"
    invited = await admin.invite_user_by_email("new@example.com")
    assert invited.user.invited_at is not None
    session = await strict_auth.sign_in()
    await admin.sign_out(session["access_token"])
    await admin.delete_user(created.user.id)
    with pytest.raises(AuthApiError) as missing:
        await admin.get_user_by_id(created.user.id)
    assert missing.value.code == "user_not_found"
