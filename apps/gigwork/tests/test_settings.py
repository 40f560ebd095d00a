"""What the document asks of sign-in is what `config.toml` says; what each setting does is tested where it is done."""

import pytest

from basalt.config import load_settings

from .conftest import APP


@pytest.mark.req("G10")
def test_sign_in_is_by_phone_password_and_google_and_a_session_lasts_thirty_days() -> None:
    google = {"GOOGLE_CLIENT_ID": "id", "GOOGLE_CLIENT_SECRET": "secret"}
    auth = load_settings(APP, google).auth
    assert auth.jwt_expiry_s == 3600
    assert auth.sessions.timebox_s == 30 * 86400
    assert (auth.sms.enable_signup, auth.sms.enable_confirmations) == (True, True)
    assert auth.email.enable_signup
    assert auth.external["google"].client_id == "id"  # its operator switches it on
