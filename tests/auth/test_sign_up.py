"""Sign-up: by e-mail, by phone, anonymously; confirmed at once or by a code or link."""

import asyncio

import pytest

from tests.auth.conftest import PASSWORD, AuthClient, StartAuth

pytestmark = pytest.mark.req("P6")

EMAIL = "ada@example.com"
NEW = {"email": EMAIL, "password": PASSWORD}


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
    assert len(session["refresh_token"]) == 40
    user = session["user"]
    assert user["email"] == EMAIL
    assert user["aud"] == user["role"] == "authenticated"
    assert user["app_metadata"] == {"provider": "email", "providers": ["email"]}
    assert user["user_metadata"] == {
        "sub": user["id"],
        "email": EMAIL,
        "email_verified": True,
        "phone_verified": False,
        "full_name": "Ada",
    }
    assert user["email_confirmed_at"] == user["confirmed_at"]
    assert user["created_at"].endswith("Z")
    assert [identity["provider"] for identity in user["identities"]] == ["email"]
    assert user["identities"][0]["id"] == user["id"]
    assert answer.headers["cache-control"] == "no-store"


async def test_the_first_sight_of_a_new_user_in_a_trigger_is_its_own_data(auth: AuthClient) -> None:
    auth.rows(
        """create table public.profiles (id uuid primary key, name text, role text);
        grant all on public.profiles to supabase_auth_admin;
        create function public.handle_new_user() returns trigger language plpgsql security definer
        set search_path = '' as $$ begin
            insert into public.profiles values (new.id, new.raw_user_meta_data ->> 'full_name', new.role);
            return new; end $$;
        create trigger on_auth_user_created after insert on auth.users
        for each row execute function public.handle_new_user()"""
    )
    session = await auth.session("/signup", NEW | {"data": {"full_name": "Ada"}})
    [profile] = auth.rows("select * from public.profiles")
    assert (str(profile["id"]), profile["name"], profile["role"]) == (
        session["user"]["id"],
        "Ada",
        "authenticated",
    )


async def test_a_trigger_that_objects_is_told_as_postgresql_words_it(auth: AuthClient) -> None:
    auth.rows(
        """create function public.refuse() returns trigger language plpgsql as $$ begin
            raise exception 'Only staff may join' using hint = 'Ask for an invitation'; end $$;
        create trigger refuse before insert on auth.users for each row execute function public.refuse()"""
    )
    answer = await auth.post("/signup", NEW)
    assert answer.status == 500
    assert answer.json == {
        "code": "P0001",
        "message": "Only staff may join",
        "hint": "Ask for an invitation",
    }
    assert answer.headers["x-sb-error-code"] == "unexpected_failure"
    assert auth.rows("select 1 from auth.users") == []


async def test_a_sign_up_to_be_confirmed_answers_with_the_user_and_mails_a_code(
    strict_auth: AuthClient,
) -> None:
    answer = await strict_auth.post("/signup", NEW)
    user = answer.json
    assert answer.status == 200
    assert "access_token" not in user
    assert user["email"] == EMAIL
    assert user["confirmation_sent_at"]
    assert "email_confirmed_at" not in user
    [mail] = strict_auth.inbox(EMAIL)
    assert mail["kind"] == "confirmation"
    code = mail["data"]["token"]
    assert len(code) == 6
    assert code in mail["body_text"]
    assert f"{strict_auth.settings.api_url}/auth/v1/verify?token=" in mail["body_html"]
    refused = await strict_auth.post("/token?grant_type=password", NEW)
    assert refused.error == (400, "email_not_confirmed")
    session = await strict_auth.session("/verify", {"type": "signup", "email": EMAIL, "token": code})
    assert session["user"]["email_confirmed_at"]
    assert session["user"]["user_metadata"]["email_verified"] is True
    assert session["user"]["identities"][0]["identity_data"]["email_verified"] is True
    assert (await strict_auth.sign_in())["user"]["id"] == user["id"]


async def test_a_known_address_is_answered_like_a_new_one(strict_auth: AuthClient) -> None:
    await strict_auth.a_user()
    fresh = await strict_auth.post("/signup", {"email": "new@example.com", "password": PASSWORD})
    known = await strict_auth.post("/signup", NEW | {"data": {"full_name": "Mallory"}})
    assert known.status == fresh.status == 200
    assert set(known.json) == set(fresh.json)
    assert known.json["user_metadata"] == {"full_name": "Mallory"}
    assert known.json["identities"] == []
    assert known.json["id"] != str(
        strict_auth.rows("select id from auth.users where email = %s", EMAIL)[0]["id"]
    )
    assert strict_auth.inbox(EMAIL) == []
    assert (await strict_auth.sign_in())["user"]["user_metadata"].get("full_name") is None
    actions = [
        row["action"]
        for row in strict_auth.rows("select payload ->> 'action' as action from auth.audit_log_entries")
    ]
    assert "user_repeated_signup" in actions


async def test_a_known_address_is_refused_where_a_session_would_be_the_answer(auth: AuthClient) -> None:
    await auth.a_user()
    answer = await auth.post("/signup", NEW)
    assert answer.error == (422, "user_already_exists")
    assert answer.json["msg"] == "User already registered"


async def test_an_unconfirmed_address_is_sent_its_code_again_and_keeps_its_first_password(
    strict_auth: AuthClient,
) -> None:
    await strict_auth.post("/signup", NEW)
    await strict_auth.post("/signup", {"email": EMAIL, "password": "another password"})
    old, new = (mail["data"]["token"] for mail in reversed(strict_auth.inbox(EMAIL)))
    if old != new:
        stale = await strict_auth.post("/verify", {"type": "signup", "email": EMAIL, "token": old})
        assert stale.error == (403, "otp_expired")
    await strict_auth.session("/verify", {"type": "signup", "email": EMAIL, "token": new})
    assert (await strict_auth.sign_in())["user"]["email"] == EMAIL


async def test_mails_to_one_user_keep_their_distance(start_auth: StartAuth) -> None:
    auth = await start_auth(email={"enable_confirmations": True, "max_frequency_s": 60.0})
    await auth.post("/signup", NEW)
    again = await auth.post("/signup", NEW)
    assert again.error == (429, "over_email_send_rate_limit")
    assert again.json["msg"].startswith("For security purposes, you can only request this after 5")
    assert len(auth.inbox(EMAIL)) == 1


async def test_sign_ups_for_one_address_at_once_make_one_user(auth: AuthClient) -> None:
    answers = await asyncio.gather(*(auth.post("/signup", NEW) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [422] * 7
    assert {answer.json["error_code"] for answer in answers if answer.status == 422} == {
        "user_already_exists"
    }
    assert len(auth.rows("select 1 from auth.users")) == 1


@pytest.mark.parametrize(
    ("changes", "code", "status"),
    [
        ({"password": "short"}, "weak_password", 422),
        ({"password": ""}, "validation_failed", 400),
        ({"password": "x" * 73}, "validation_failed", 400),
        ({"email": "not an address"}, "validation_failed", 400),
        ({"email": "a" * 250 + "@example.com"}, "validation_failed", 400),
        ({"email": "аda@example.com"}, "validation_failed", 400),  # Cyrillic а
        ({"phone": "+60123456789"}, "validation_failed", 400),
        ({"code_challenge": "x"}, "validation_failed", 400),
        ({"code_challenge": "x", "code_challenge_method": "s256"}, "validation_failed", 400),
        ({"code_challenge": "x" * 43, "code_challenge_method": "md5"}, "validation_failed", 400),
        ({"email": None}, "anonymous_provider_disabled", 422),
    ],
)
async def test_a_sign_up_that_breaks_a_rule_is_refused(
    auth: AuthClient, changes: dict[str, object], code: str, status: int
) -> None:
    assert (await auth.post("/signup", NEW | changes)).error == (status, code)


async def test_a_weak_password_is_told_with_all_its_reasons(start_auth: StartAuth) -> None:
    auth = await start_auth(password_requirements="lower_upper_letters_digits", minimum_password_length=8)
    answer = await auth.post("/signup", {"email": EMAIL, "password": "short"})
    assert answer.json["weak_password"] == {"reasons": ["length", "characters"]}
    assert answer.json["msg"].startswith("Password should be at least 8 characters. Password should contain")
    named = await auth.post(
        "/signup",
        {"email": EMAIL, "password": "short"},
        headers={"x-supabase-api-version": "2024-01-01"},
    )
    assert named.json["code"] == "weak_password"
    assert named.json["weak_password"] == {"reasons": ["length", "characters"]}
    assert named.headers["x-supabase-api-version"] == "2024-01-01"


async def test_sign_up_can_be_closed(start_auth: StartAuth) -> None:
    auth = await start_auth(enable_signup=False, enable_anonymous_sign_ins=True)
    assert (await auth.post("/signup", NEW)).error == (422, "signup_disabled")
    assert (await auth.post("/signup", {})).error == (422, "signup_disabled")
    assert (await auth.post("/otp", {"email": EMAIL})).error == (422, "signup_disabled")
    by_mail = await start_auth(email={"enable_signup": False})
    assert (await by_mail.post("/signup", NEW)).error == (400, "email_provider_disabled")


async def test_an_anonymous_user_signs_up_with_nothing_and_becomes_permanent_with_an_address(
    start_auth: StartAuth,
) -> None:
    auth = await start_auth(enable_anonymous_sign_ins=True, email={"enable_confirmations": True})
    session = await auth.session("/signup", {"data": {"theme": "dark"}})
    assert session["user"]["is_anonymous"] is True
    assert session["user"]["email"] == ""
    assert session["user"]["user_metadata"] == {"theme": "dark"}
    token = session["access_token"]
    refused = await auth.send("PUT", "/user", {"password": PASSWORD}, token=token)
    assert refused.error == (422, "validation_failed")
    changed = await auth.send("PUT", "/user", {"email": EMAIL}, token=token)
    assert changed.json["new_email"] == EMAIL
    proven = await auth.session(
        "/verify", {"type": "email_change", "email": EMAIL, "token": auth.code(EMAIL)}
    )
    assert proven["user"]["is_anonymous"] is False
    assert proven["user"]["id"] == session["user"]["id"]
    assert proven["user"]["app_metadata"]["providers"] == ["email"]


async def test_a_phone_sign_up_is_confirmed_by_text_message(auth: AuthClient) -> None:
    answer = await auth.post("/signup", {"phone": "+60 12-345 6789", "password": PASSWORD})
    assert answer.json["phone"] == "60123456789"
    assert answer.json["app_metadata"]["provider"] == "phone"
    by_phone = {"phone": "60123456789", "password": PASSWORD}
    assert (await auth.post("/token?grant_type=password", by_phone)).error == (400, "phone_not_confirmed")
    code = auth.code("60123456789")
    session = await auth.session("/verify", {"type": "sms", "phone": "+60123456789", "token": code})
    assert session["user"]["phone_confirmed_at"]
    again = await auth.session("/token?grant_type=password", by_phone)
    assert again["user"]["id"] == session["user"]["id"]


async def test_an_invited_address_that_signs_up_learns_nothing_of_the_invitation(
    strict_auth: AuthClient,
) -> None:
    await strict_auth.admin("POST", "/invite", {"email": EMAIL, "data": {"team": "secret"}})
    answer = await strict_auth.post("/signup", NEW)
    assert answer.status == 200
    assert answer.json["user_metadata"] == {}
    assert answer.json["identities"] == []
