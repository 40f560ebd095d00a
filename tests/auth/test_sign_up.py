"""Sign-up: by e-mail, by phone, anonymously; confirmed at once or by a code or link."""

import asyncio

import pytest

from tests.auth.conftest import PASSWORD, AuthClient, StartAuth

pytestmark = pytest.mark.req("P6")


async def test_a_sign_up_that_needs_no_confirmation_answers_with_a_session(auth: AuthClient) -> None:
    answer = await auth.post(
        "/signup", {"email": "Ada@Example.com", "password": PASSWORD, "data": {"full_name": "Ada"}}
    )
    assert answer.status == 200, answer.body
    session = answer.json
    assert set(session) == {
        "access_token",
        "token_type",
        "expires_in",
        "expires_at",
        "refresh_token",
        "user",
    }
    assert session["token_type"] == "bearer"
    assert session["expires_in"] == 3600
    assert len(session["refresh_token"]) == 12
    user = session["user"]
    assert user["email"] == "ada@example.com"
    assert user["aud"] == user["role"] == "authenticated"
    assert user["app_metadata"] == {"provider": "email", "providers": ["email"]}
    assert user["user_metadata"] == {
        "sub": user["id"],
        "email": "ada@example.com",
        "email_verified": True,
        "phone_verified": False,
        "full_name": "Ada",
    }
    assert user["email_confirmed_at"] == user["confirmed_at"]
    assert user["created_at"].endswith("Z")
    assert [identity["provider"] for identity in user["identities"]] == ["email"]
    assert user["identities"][0]["id"] == user["id"]
    assert answer.headers["cache-control"] == "no-store"
