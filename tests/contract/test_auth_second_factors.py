"""Second factors and passkeys through the official clients: unmodified supabase-js in Node, and supabase-py."""

import time

import pyotp
import pytest
from supabase import Client, ClientOptions, create_client
from supabase_auth.errors import AuthApiError

from tests.contract.conftest import run_steps
from tests.server import Server

# supabase-py leaves the sockets of its HTTP clients to the garbage collector.
pytestmark = [
    pytest.mark.req("P6"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
PASSWORD = "correct horse battery"


def test_supabase_js_uses_every_method_of_factors_and_passkeys(club: Server) -> None:
    run_steps("auth/second_factors.mjs", club)


def test_supabase_py_uses_every_method_of_factors(club: Server) -> None:
    options = ClientOptions(auto_refresh_token=False, persist_session=False)
    user = create_client(club.url, club.anon_key, options)
    signed_up = user.auth.sign_up({"email": "py@example.com", "password": PASSWORD}).user
    assert signed_up is not None
    assert levels(user) == ("aal1", "aal1")

    app = user.auth.mfa.enroll({"factor_type": "totp", "friendly_name": "app", "issuer": "Factors"})
    assert app.totp is not None
    codes = pyotp.TOTP(app.totp.secret)
    challenge = user.auth.mfa.challenge({"factor_id": app.id})
    assert challenge.expires_at > time.time()
    wrong = {"factor_id": app.id, "challenge_id": challenge.id, "code": "000000"}
    with pytest.raises(AuthApiError) as refused:
        user.auth.mfa.verify(wrong)  # type: ignore[arg-type]
    assert (refused.value.status, refused.value.code) == (422, "mfa_verification_failed")
    user.auth.mfa.verify({"factor_id": app.id, "challenge_id": challenge.id, "code": codes.now()})
    assert levels(user) == ("aal2", "aal2")

    number = user.auth.mfa.enroll(
        {"factor_type": "phone", "friendly_name": "number", "phone": "+60121118888"}
    )
    begun = user.auth.mfa.challenge({"factor_id": number.id, "channel": "sms"})
    code = club.inbox("60121118888")[0]["data"]["token"]
    user.auth.mfa.verify({"factor_id": number.id, "challenge_id": begun.id, "code": code})
    listed = user.auth.mfa.list_factors()
    assert [factor.id for factor in listed.totp] == [app.id]
    assert [factor.phone for factor in listed.phone] == ["60121118888"]

    other = create_client(club.url, club.anon_key, options)
    other.auth.sign_in_with_password({"email": "py@example.com", "password": PASSWORD})
    assert levels(other) == ("aal1", "aal2")
    later = codes.at(int(time.time()), counter_offset=1)
    other.auth.mfa.challenge_and_verify({"factor_id": app.id, "code": later})
    assert levels(other) == ("aal2", "aal2")

    service = create_client(club.url, club.service_role_key, options)
    admin = service.auth.admin.mfa
    assert len(admin.list_factors({"user_id": signed_up.id})) == 2
    assert admin.delete_factor({"user_id": signed_up.id, "id": number.id}).id == number.id
    assert user.auth.mfa.unenroll({"factor_id": app.id}).id == app.id
    user.auth.refresh_session()
    assert levels(user) == ("aal1", "aal1")


def levels(client: Client) -> tuple[str | None, str | None]:
    told = client.auth.mfa.get_authenticator_assurance_level()
    return told.current_level, told.next_level
