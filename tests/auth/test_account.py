"""What users see and change of themselves: metadata, password, address, number, sessions."""

import asyncio
import time
from typing import Any

import pytest

from tests.auth.conftest import PASSWORD, AuthClient, StartAuth

pytestmark = pytest.mark.req("P6")

EMAIL = "ada@example.com"
NEW_EMAIL = "lovelace@example.com"
PHONE = "60123456789"


async def signed_in(auth: AuthClient, **attributes: Any) -> str:
    await auth.a_user(**attributes)
    token: str = (await auth.sign_in())["access_token"]
    return token


async def change(auth: AuthClient, token: str, **body: Any) -> Any:
    return await auth.send("PUT", "/user", body, token=token)


@pytest.mark.req("P4")
async def test_an_api_key_alone_is_no_user(auth: AuthClient) -> None:
    without = await auth.get("/user")
    assert without.error == (401, "no_authorization")
    assert without.json["msg"] == "This endpoint requires a valid Bearer token"
    for key in (
        auth.keys.anon_key,
        auth.keys.publishable_key,
        auth.keys.service_role_key,
        auth.keys.secret_key,
    ):
        assert (await auth.get("/user", token=key)).error == (403, "bad_jwt")


async def test_a_token_must_be_true_current_and_of_a_living_session(auth: AuthClient) -> None:
    token = await signed_in(auth)
    [user] = auth.rows("select id from auth.users")
    claims = {
        "sub": str(user["id"]),
        "aud": "authenticated",
        "role": "authenticated",
        "exp": int(time.time()) + 60,
    }
    header, body, signature = token.split(".")
    for forged in (
        "garbage",
        f"{header}.{body}.",
        f"eyJhbGciOiJub25lIn0.{body}.",
        f"{header}.{body}.{signature[::-1]}",
        auth.keys.sign(claims | {"exp": int(time.time()) - 3600}),
    ):
        assert (await auth.get("/user", token=forged)).error == (403, "bad_jwt"), forged
    assert (await auth.get("/user", token=auth.keys.sign(claims | {"sub": "not-a-uuid"}))).error == (
        400,
        "bad_jwt",
    )
    stranger = claims | {"sub": "00000000-0000-4000-8000-000000000000"}
    assert (await auth.get("/user", token=auth.keys.sign(stranger))).error == (403, "user_not_found")
    assert (await auth.get("/user", token=auth.keys.sign(claims))).status == 200
    ended = claims | {"session_id": "00000000-0000-4000-8000-000000000000"}
    assert (await auth.get("/user", token=auth.keys.sign(ended))).error == (403, "session_not_found")
    assert (await auth.get("/user", token=token)).status == 200
    auth.rows("delete from auth.sessions")
    assert (await auth.get("/user", token=token)).error == (403, "session_not_found")


async def test_a_session_belongs_to_its_user_only(auth: AuthClient) -> None:
    await signed_in(auth)
    eve = await auth.a_user("eve@example.com")
    [session] = auth.rows("select id from auth.sessions")
    claims = {
        "sub": eve["id"],
        "aud": "authenticated",
        "role": "authenticated",
        "session_id": str(session["id"]),
    }
    assert (await auth.get("/user", token=auth.keys.sign(claims))).error == (403, "session_not_found")


async def test_metadata_is_merged_and_null_takes_a_key_away(auth: AuthClient) -> None:
    token = await signed_in(auth, user_metadata={"name": "Ada", "city": "London"})
    answer = await change(auth, token, data={"city": None, "tags": ["a", {"b": 1}]})
    assert answer.status == 200
    metadata = answer.json["user_metadata"]
    assert (metadata["name"], metadata["tags"]) == ("Ada", ["a", {"b": 1}])
    assert "city" not in metadata
    assert (await change(auth, token, app_metadata={"admin": True})).error == (403, "not_admin")


async def test_a_new_password_must_differ_and_ends_the_other_sessions(auth: AuthClient) -> None:
    token = await signed_in(auth)
    other = await auth.sign_in()
    await auth.post("/recover", {"email": EMAIL})
    assert (await change(auth, token, password=PASSWORD)).error == (422, "same_password")
    assert (await change(auth, token, password="short")).error == (422, "weak_password")
    assert (await change(auth, token, password="another password")).status == 200
    assert (await auth.get("/user", token=token)).status == 200
    assert (await auth.get("/user", token=other["access_token"])).error == (403, "session_not_found")
    assert await auth.sign_in(EMAIL, "another password")
    stale = {"type": "recovery", "email": EMAIL, "token": auth.code(EMAIL)}
    assert (await auth.post("/verify", stale)).error == (403, "otp_expired")


async def test_a_new_password_needs_a_nonce_when_the_sign_in_is_old(start_auth: StartAuth) -> None:
    auth = await start_auth(email={"secure_password_change": True})
    token = await signed_in(auth)
    assert (await change(auth, token, password="another password")).status == 200
    auth.rows("update auth.sessions set created_at = now() - interval '25 hours'")
    refused = await change(auth, token, password="a third password")
    assert refused.error == (400, "reauthentication_needed")
    assert (await auth.get("/reauthenticate", token=token)).json == {}
    nonce = auth.code(EMAIL)
    wrong = await change(auth, token, password="a third password", nonce=f"{int(nonce) ^ 1:06}")
    assert wrong.error == (422, "reauthentication_not_valid")
    assert (await change(auth, token, password="a third password", nonce=nonce)).status == 200
    again = await change(auth, token, password="a fourth password", nonce=nonce)
    assert again.error == (422, "reauthentication_not_valid")


async def test_a_nonce_can_be_tried_five_times(start_auth: StartAuth) -> None:
    auth = await start_auth(email={"secure_password_change": True})
    token = await signed_in(auth)
    auth.rows("update auth.sessions set created_at = now() - interval '25 hours'")
    await auth.get("/reauthenticate", token=token)
    nonce = auth.code(EMAIL)
    for _ in range(5):
        await change(auth, token, password="another password", nonce=f"{int(nonce) ^ 1:06}")
    spent = await change(auth, token, password="another password", nonce=nonce)
    assert spent.error == (422, "reauthentication_not_valid")


async def test_a_change_of_address_is_confirmed_from_both_mailboxes(strict_auth: AuthClient) -> None:
    auth = strict_auth
    token = await signed_in(auth)
    answer = await change(auth, token, email=NEW_EMAIL)
    assert answer.json["email"] == EMAIL
    assert answer.json["new_email"] == NEW_EMAIL
    first = await auth.post(
        "/verify", {"type": "email_change", "email": NEW_EMAIL, "token": auth.code(NEW_EMAIL)}
    )
    assert first.status == 200
    assert first.json["msg"].startswith("Confirmation link accepted")
    assert (await auth.get("/user", token=token)).json["email"] == EMAIL
    second = {"type": "email_change", "email": EMAIL, "token": auth.code(EMAIL)}
    session = await auth.session("/verify", second)
    assert session["user"]["email"] == NEW_EMAIL
    assert "new_email" not in session["user"]
    assert session["user"]["identities"][0]["email"] == NEW_EMAIL
    assert await auth.sign_in(NEW_EMAIL)


async def test_both_confirmations_at_once_change_the_address(strict_auth: AuthClient) -> None:
    auth = strict_auth
    token = await signed_in(auth)
    await change(auth, token, email=NEW_EMAIL)
    answers = await asyncio.gather(
        *(
            auth.post("/verify", {"type": "email_change", "email": to, "token": auth.code(to)})
            for to in (EMAIL, NEW_EMAIL)
        )
    )
    assert [answer.status for answer in answers] == [200, 200]
    assert (await auth.get("/user", token=token)).json["email"] == NEW_EMAIL


async def test_a_change_of_address_can_be_confirmed_by_the_new_mailbox_alone(start_auth: StartAuth) -> None:
    auth = await start_auth(email={"enable_confirmations": True, "double_confirm_changes": False})
    token = await signed_in(auth)
    await change(auth, token, email=NEW_EMAIL)
    assert auth.inbox(EMAIL) == []
    body = {"type": "email_change", "email": NEW_EMAIL, "token": auth.code(NEW_EMAIL)}
    assert (await auth.session("/verify", body))["user"]["email"] == NEW_EMAIL


async def test_an_address_taken_meanwhile_is_refused(strict_auth: AuthClient) -> None:
    auth = strict_auth
    token = await signed_in(auth)
    await change(auth, token, email=NEW_EMAIL)
    await auth.a_user(NEW_EMAIL)
    assert (await change(auth, token, email=NEW_EMAIL)).error == (422, "email_exists")
    await auth.post("/verify", {"type": "email_change", "email": NEW_EMAIL, "token": auth.code(NEW_EMAIL)})
    late = {"type": "email_change", "email": EMAIL, "token": auth.code(EMAIL)}
    assert (await auth.post("/verify", late)).error == (422, "email_exists")
    assert (await auth.get("/user", token=token)).json["email"] == EMAIL


async def test_a_change_of_number_is_confirmed_by_text_message(auth: AuthClient) -> None:
    token = await signed_in(auth)
    answer = await change(auth, token, phone=f"+{PHONE}")
    assert answer.json["new_phone"] == PHONE
    body = {"type": "phone_change", "phone": PHONE, "token": auth.code(PHONE)}
    session = await auth.session("/verify", body)
    assert session["user"]["phone"] == PHONE
    assert session["user"]["app_metadata"]["providers"] == ["email", "phone"]
    await auth.a_user("eve@example.com")
    eve = (await auth.sign_in("eve@example.com"))["access_token"]
    assert (await change(auth, eve, phone=PHONE)).error == (422, "phone_exists")


@pytest.mark.parametrize(
    ("scope", "ended"),
    [("", {0, 1, 2}), ("?scope=global", {0, 1, 2}), ("?scope=local", {0}), ("?scope=others", {1, 2})],
)
async def test_sign_out_ends_what_its_scope_says(auth: AuthClient, scope: str, ended: set[int]) -> None:
    await auth.a_user()
    tokens = [(await auth.sign_in())["access_token"] for _ in range(3)]
    answer = await auth.post(f"/logout{scope}", token=tokens[0])
    assert (answer.status, answer.body) == (204, b"")
    left = [(await auth.get("/user", token=token)).status for token in tokens]
    assert {index for index, status in enumerate(left) if status == 403} == ended


async def test_an_unknown_scope_is_refused(auth: AuthClient) -> None:
    token = await signed_in(auth)
    assert (await auth.post("/logout?scope=galaxy", token=token)).error == (400, "validation_failed")


async def test_what_happened_is_in_the_audit_log(auth: AuthClient) -> None:
    session = await auth.session("/signup", {"email": EMAIL, "password": PASSWORD})
    await auth.post("/token?grant_type=refresh_token", {"refresh_token": session["refresh_token"]})
    await auth.post("/logout", token=session["access_token"])
    entries = auth.rows(
        "select payload from auth.audit_log_entries order by created_at, payload ->> 'action'"
    )
    actions = [entry["payload"]["action"] for entry in entries]
    assert sorted(actions) == ["login", "logout", "token_refreshed", "token_revoked", "user_signedup"]
    assert entries[0]["payload"]["actor_id"] == session["user"]["id"]
    assert entries[0]["payload"]["actor_username"] == EMAIL
    assert entries[0]["payload"]["traits"] == {"provider": "email"}


async def test_a_new_password_needs_the_present_one_where_that_is_asked_for(start_auth: StartAuth) -> None:
    auth = await start_auth(email={"require_current_password": True})
    token = await signed_in(auth)
    answer = await change(auth, token, password="another password")
    assert answer.error == (400, "current_password_required")
    wrong = await change(auth, token, password="another password", current_password="wrong")
    assert wrong.error == (400, "current_password_invalid")
    right = await change(auth, token, password="another password", current_password=PASSWORD)
    assert right.status == 200
    await auth.post("/recover", {"email": EMAIL})
    recovered = await auth.session("/verify", {"type": "recovery", "email": EMAIL, "token": auth.code(EMAIL)})
    assert (await change(auth, recovered["access_token"], password="a third password")).status == 200
