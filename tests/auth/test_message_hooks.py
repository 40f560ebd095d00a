"""The project's hooks for mails and text messages stand in for the senders (GoTrue mail.go, phone.go)."""

from typing import Any

import pytest

from basalt.config import HookSettings, HooksSettings, NotificationSettings
from tests.auth.conftest import PASSWORD, AuthClient, StartAuth

pytest.importorskip("basalt.auth.hooks.postgres")

pytestmark = pytest.mark.req("P6")

EMAIL, NEW, PHONE = "ada@example.com", "new@example.com", "60123456789"
SETUP = """
create table public.told (id serial, event jsonb);
create function public.tell(event jsonb) returns jsonb language plpgsql security definer set search_path = '' as $$
begin
    insert into public.told (event) values (event);
    if event -> 'user' -> 'user_metadata' ? 'refuse' then
        return '{"error": {"http_code": 403, "message": "not by me"}}';
    end if;
    return '{}';
end $$;
grant execute on function public.tell to supabase_auth_admin;
"""
HOOK = HookSettings(uri="pg-functions://postgres/public/tell")
HOOKS = HooksSettings(send_email=HOOK, send_sms=HOOK)


async def start(start_auth: StartAuth, **options: Any) -> AuthClient:
    auth = await start_auth(hook=HOOKS, **options)
    auth.rows(SETUP)
    return auth


def told(auth: AuthClient) -> list[dict[str, Any]]:
    return [row["event"] for row in auth.rows("select event from public.told order by id")]


async def test_a_hook_gets_what_the_mail_would_hold_and_replaces_it(start_auth: StartAuth) -> None:
    auth = await start(start_auth, email={"enable_confirmations": True})
    await auth.post("/signup", {"email": EMAIL, "password": PASSWORD})
    [event] = told(auth)
    data = event["email_data"]
    assert event["user"]["email"] == EMAIL
    assert set(data) == {
        *(
            "token",
            "token_hash",
            "redirect_to",
            "email_action_type",
            "site_url",
            "token_new",
            "token_hash_new",
        ),
        *("old_email", "old_phone", "provider", "factor_type"),
    }
    assert data["email_action_type"] == "signup"
    assert data["site_url"].endswith("/auth/v1")
    assert data["redirect_to"] == "http://127.0.0.1:3000"
    assert auth.inbox() == []
    assert await auth.session("/verify", {"type": "signup", "token_hash": data["token_hash"]})


async def test_a_change_of_address_is_one_call_with_both_codes(start_auth: StartAuth) -> None:
    auth = await start(start_auth, email={"enable_confirmations": True, "double_confirm_changes": True})
    await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    await auth.send("PUT", "/user", {"email": NEW}, token=token)
    [event] = told(auth)
    assert event["user"]["new_email"] == NEW
    data = event["email_data"]
    assert data["email_action_type"] == "email_change"
    present = {"type": "email_change", "email": EMAIL, "token": data["token"]}
    assert (await auth.post("/verify", present)).json["code"] == "200"
    body = {"type": "email_change", "token_hash": data["token_hash"]}  # of the new address, as in GoTrue
    assert (await auth.session("/verify", body))["user"]["email"] == NEW


async def test_without_the_present_mailbox_there_is_one_code(start_auth: StartAuth) -> None:
    auth = await start(start_auth, email={"enable_confirmations": True, "double_confirm_changes": False})
    await auth.a_user()
    token = (await auth.sign_in())["access_token"]
    await auth.send("PUT", "/user", {"email": NEW}, token=token)
    data = told(auth)[0]["email_data"]
    assert (data["token_new"], data["token_hash_new"]) == ("", "")
    body = {"type": "email_change", "email": NEW, "token": data["token"]}
    assert (await auth.session("/verify", body))["user"]["email"] == NEW


async def test_notices_go_to_the_hook_too(start_auth: StartAuth) -> None:
    notices = {name: NotificationSettings(enabled=True) for name in ("password_changed", "phone_changed")}
    auth = await start(start_auth, email={"notification": notices}, sms={"enable_confirmations": False})
    await auth.a_user(phone="6591234567", phone_confirm=True)
    token = (await auth.sign_in())["access_token"]
    change = {"password": "another good password", "phone": PHONE}
    assert (await auth.send("PUT", "/user", change, token=token)).status == 200
    data = {event["email_data"]["email_action_type"]: event["email_data"] for event in told(auth)}
    assert set(data) == {"password_changed_notification", "phone_changed_notification"}
    assert data["phone_changed_notification"]["old_phone"] == "6591234567"


async def test_a_hook_for_texts_gets_number_and_code(start_auth: StartAuth) -> None:
    auth = await start(start_auth)
    assert (await auth.post("/otp", {"phone": PHONE, "channel": "carrier-pigeon"})).status == 200
    [event] = told(auth)
    assert event["sms"] == {"otp": event["sms"]["otp"], "phone": PHONE}
    assert auth.inbox() == []
    body = {"type": "sms", "phone": PHONE, "token": event["sms"]["otp"]}
    assert (await auth.session("/verify", body))["user"]["phone"] == PHONE


@pytest.mark.parametrize("address", [{"email": EMAIL}, {"phone": PHONE}])
async def test_a_hook_that_refuses_leaves_nobody_behind(
    start_auth: StartAuth, address: dict[str, str]
) -> None:
    auth = await start(start_auth)
    answer = await auth.post("/otp", {**address, "data": {"refuse": True}})
    assert answer.status == 403
    assert answer.json["msg"] == "not by me"
    assert auth.rows("select 1 from auth.users") == []


async def test_a_hook_that_refuses_a_notice_undoes_nothing(start_auth: StartAuth) -> None:
    notice = {"password_changed": NotificationSettings(enabled=True)}
    auth = await start(start_auth, email={"notification": notice})
    await auth.a_user(user_metadata={"refuse": True})
    token = (await auth.sign_in())["access_token"]
    answer = await auth.send("PUT", "/user", {"password": "another good password"}, token=token)
    assert answer.status == 200
    assert await auth.sign_in(password="another good password")
