"""An account is confirmed by six digits, and a lost password is replaced by six digits. No mail has a link."""

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from supabase import Client
from supabase_auth.errors import AuthApiError

from tests.server import Server

from .conftest import APP, CLIENT_WARNINGS, START_CREDITS, App, a_client

pytestmark = CLIENT_WARNINGS
PASSWORD = "correct horse battery"


@pytest.fixture
def visitor(sparky: Server) -> Iterator[Client]:
    with a_client(sparky, sparky.anon_key) as client:
        yield client


@pytest.fixture
def address() -> str:
    return f"{uuid.uuid4()}@example.com"


def code_from(server: Server, address: str, *, after: int = 0) -> str:
    """The only code in the newest mail, which has no link."""
    mails = server.inbox(address)
    assert len(mails) == after + 1
    texts = readable(mails[0])
    for text in texts:
        assert not re.search(r"https?:|href|<a\b|token=", text), text
    codes = {code for text in texts for code in re.findall(r"(?<![\w#-])\d{6}(?![\w-])", text)}
    (code,) = codes
    return str(code)


def readable(mail: dict[str, Any]) -> list[str]:
    """Subject, text and HTML, wherever the Inbox keeps them."""
    kept = {**mail, **(mail.get("data") or {})}
    texts = [str(kept[name]) for name in ("subject", "text", "html", "body") if kept.get(name)]
    assert len(texts) >= 2
    return texts


@pytest.mark.req("S2")
def test_a_code_of_six_digits_confirms_the_sign_up(sparky: Server, visitor: Client, address: str) -> None:
    signed_up = visitor.auth.sign_up(
        {
            "email": address,
            "password": PASSWORD,
            "options": {"data": {"display_name": " Nadia ", "credits": 999}},
        }
    )
    assert signed_up.session is None
    with pytest.raises(AuthApiError) as refused:
        visitor.auth.sign_in_with_password({"email": address, "password": PASSWORD})
    assert refused.value.code == "email_not_confirmed"
    code = code_from(sparky, address)
    with pytest.raises(AuthApiError) as wrong:
        visitor.auth.verify_otp(
            {"email": address, "token": f"{(int(code) + 1) % 1_000_000:06}", "type": "signup"}
        )
    assert wrong.value.code == "otp_expired"
    verified = visitor.auth.verify_otp({"email": address, "token": code, "type": "signup"})
    assert verified.session is not None
    profile = visitor.table("users").select("display_name, email, credits, plan_id").single().execute().data
    assert profile == {
        "display_name": "Nadia", "email": address, "credits": START_CREDITS, "plan_id": "free",
    }  # fmt: skip
    with pytest.raises(AuthApiError):
        visitor.auth.verify_otp({"email": address, "token": code, "type": "signup"})


@pytest.mark.req("S2")
def test_a_lost_password_is_replaced_by_a_code(
    sparky: Server, service: Client, visitor: Client, address: str
) -> None:
    service.auth.admin.create_user({"email": address, "password": PASSWORD, "email_confirm": True})
    visitor.auth.reset_password_for_email(address)
    code = code_from(sparky, address)
    assert visitor.auth.verify_otp({"email": address, "token": code, "type": "recovery"}).session is not None
    visitor.auth.update_user({"password": "another horse battery"})
    with pytest.raises(AuthApiError):
        visitor.auth.sign_in_with_password({"email": address, "password": PASSWORD})
    assert visitor.auth.sign_in_with_password({"email": address, "password": "another horse battery"}).session


@pytest.mark.req("S2")
def test_invitations_sign_ins_and_confirmations_are_six_digits_too(
    sparky: Server, service: Client, visitor: Client, address: str
) -> None:
    service.auth.admin.invite_user_by_email(address)
    code = code_from(sparky, address)
    assert visitor.auth.verify_otp({"email": address, "token": code, "type": "invite"}).session is not None
    visitor.auth.sign_in_with_otp({"email": address, "options": {"should_create_user": False}})
    code = code_from(sparky, address, after=1)
    session = visitor.auth.verify_otp({"email": address, "token": code, "type": "email"}).session
    assert session is not None
    visitor.auth.reauthenticate()
    assert code_from(sparky, address, after=2)
    visitor.auth.sign_out()
    assert visitor.auth.get_session() is None
    with pytest.raises(AuthApiError):
        visitor.auth.refresh_session(session.refresh_token)


@pytest.mark.req("S2")
def test_no_mail_of_the_app_has_a_link(app: App) -> None:
    templates = list((APP / "supabase" / "templates").glob("*.html"))
    assert {path.stem for path in templates} == {"confirmation", "recovery", "email_change", "code", "invite"}
    for path in templates:
        text = path.read_text("utf-8")
        assert "{{ .Token }}" in text
        assert not re.search(r"ConfirmationURL|TokenHash|SiteURL|href|http", text), path.name
    config = (APP / "supabase" / "config.toml").read_text("utf-8")
    for flow in ("confirmation", "recovery", "email_change", "magic_link", "reauthentication", "invite"):
        assert f"[auth.email.template.{flow}]" in config


@pytest.mark.req("S2")
def test_a_new_address_is_confirmed_by_codes_and_the_profile_follows(
    sparky: Server, service: Client, visitor: Client, address: str
) -> None:
    new_address = f"new-{address}"
    service.auth.admin.create_user({"email": address, "password": PASSWORD, "email_confirm": True})
    visitor.auth.sign_in_with_password({"email": address, "password": PASSWORD})
    visitor.auth.update_user({"email": new_address})
    for mailbox in (address, new_address):
        code = code_from(sparky, mailbox)
        visitor.auth.verify_otp({"email": mailbox, "token": code, "type": "email_change"})
    assert visitor.table("users").select("email").single().execute().data == {"email": new_address}


@pytest.mark.req("S1")
def test_a_profile_follows_its_account(app: App) -> None:
    user = app.a_user()
    app.admin.execute("update auth.users set email = 'moved@example.com' where id = %s", [user])
    assert app.one("select email from public.users where id = %s", user) == "moved@example.com"
