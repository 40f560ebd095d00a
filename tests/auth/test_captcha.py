"""The captcha: on which requests it is asked for, and what its service's verdict does."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from basalt.auth.captcha import VERIFY_URLS
from basalt.config import CaptchaSettings, ConfigError, load_settings
from tests.auth.conftest import PASSWORD, AuthClient, StartAuth
from tests.fakes.captcha import SECRET, CaptchaService, captcha_service
from tests.fakes.small_server import Reply

pytestmark = pytest.mark.req("P6")

GRANT = "/token?grant_type=password"
# Requests that GoTrue's api.go puts behind the captcha, complete but for it.
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/signup", {"email": "new@example.com", "password": PASSWORD}),
    ("/signup", {}),
    (GRANT, {"email": "ada@example.com", "password": PASSWORD}),
    ("/token?grant_type=web3", {}),
    ("/token", {}),
    ("/otp", {"email": "ada@example.com"}),
    ("/magiclink", {"email": "ada@example.com"}),
    ("/recover", {"email": "ada@example.com"}),
    ("/resend", {"type": "signup", "email": "ada@example.com"}),
]
NOT_ASKED: list[tuple[str, dict[str, Any], tuple[int, str]]] = [
    ("/token?grant_type=refresh_token", {"refresh_token": "aaaaaaaaaaaa"}, (400, "refresh_token_not_found")),
    ("/token?grant_type=pkce", {"auth_code": "a", "code_verifier": "b"}, (404, "flow_state_not_found")),
    ("/verify", {"type": "email", "email": "ada@example.com", "token": "123456"}, (403, "otp_expired")),
]


@pytest.fixture
def service() -> Iterator[tuple[CaptchaService, CaptchaSettings]]:
    """The provider, and the settings that lead to it."""
    provider = CaptchaService()
    with captcha_service(provider) as url:
        yield provider, CaptchaSettings(enabled=True, secret=f" {SECRET} ", verify_url=url, timeout_s=1.0)


def solved(body: dict[str, Any], token: object) -> dict[str, Any]:
    return {**body, "gotrue_meta_security": {"captcha_token": token}}


async def test_strangers_bring_a_captcha(
    start_auth: StartAuth, service: tuple[CaptchaService, CaptchaSettings]
) -> None:
    provider, settings = service
    auth = await start_auth(captcha=settings, enable_anonymous_sign_ins=True)
    await auth.a_user()
    for target, body in ASKED:
        for given in (body, solved(body, "  "), solved(body, None), {**body, "gotrue_meta_security": {}}):
            refused = await auth.post(target, given)
            assert refused.error == (400, "captcha_failed"), target
            message = "captcha protection: request disallowed (no captcha_token found)"
            assert refused.json["msg"] == message
        refused = await auth.post(target, solved(body, "made up"))
        assert refused.error == (400, "captcha_failed")
        assert refused.json["msg"] == "captcha protection: request disallowed (invalid-input-response)"
        provider.solved.add("solved")
        passed = await auth.post(target, solved(body, " solved "), client_ip="192.0.2.7")
        assert passed.status == 200 or passed.json["error_code"] != "captcha_failed", target
        assert provider.asked[-1] == {"secret": SECRET, "response": "solved", "remoteip": "192.0.2.7"}
        again = await auth.post(target, solved(body, "solved"))
        assert again.error == (400, "captcha_failed")


async def test_what_rests_on_an_earlier_sign_in_and_admins_bring_none(
    start_auth: StartAuth, service: tuple[CaptchaService, CaptchaSettings]
) -> None:
    provider, settings = service
    auth = await start_auth(captcha=settings)
    await auth.a_user()
    for target, body, error in NOT_ASKED:
        assert (await auth.post(target, body)).error == error
    by_admin = await auth.admin("POST", GRANT, {"email": "ada@example.com", "password": PASSWORD})
    assert by_admin.status == 200
    secret = await auth.post(
        "/recover", {"email": "ada@example.com"}, headers={"apikey": auth.keys.secret_key}
    )
    assert secret.status == 200
    user = by_admin.json["access_token"]
    refused = await auth.post("/recover", {"email": "ada@example.com"}, token=user)
    assert refused.error == (400, "captcha_failed")
    assert (await auth.send("PUT", "/user", {"data": {"a": 1}}, token=user)).status == 200
    assert provider.asked == []


async def test_without_the_setting_a_token_is_passed_over(auth: AuthClient) -> None:
    await auth.a_user()
    body = solved({"email": "ada@example.com", "password": PASSWORD}, "whatever")
    assert (await auth.post(GRANT, body)).status == 200


async def test_a_service_that_fails_lets_nobody_in(
    start_auth: StartAuth, service: tuple[CaptchaService, CaptchaSettings]
) -> None:
    provider, settings = service
    auth = await start_auth(captcha=settings)
    await auth.a_user()
    body = solved({"email": "ada@example.com", "password": PASSWORD}, "solved")
    for reply in (Reply(200, b"<html>"), Reply(200, b"[]"), Reply(500)):
        provider.reply = reply
        failed = await auth.post(GRANT, body)
        assert failed.error == (500, "unexpected_failure")
        assert failed.json["msg"] == "captcha verification process failed"
    for verdict in (b"{}", b'{"success": "true"}', b'{"success": 1}'):
        provider.reply = Reply(200, verdict)
        refused = await auth.post(GRANT, body)
        assert refused.error == (400, "captcha_failed")
        assert refused.json["msg"] == "captcha protection: request disallowed ()"
    gone = await start_auth(captcha=replace(settings, verify_url="http://127.0.0.1:9/"))
    assert (await gone.post(GRANT, body)).error == (500, "unexpected_failure")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "bad_json"),
        (b"[]", "bad_json"),
        (b'{"gotrue_meta_security": 1}', "bad_json"),
        (b'{"gotrue_meta_security": {"captcha_token": 1}}', "bad_json"),
        (b'{"gotrue_meta_security": {"captcha_token": "a\\u0000b"}}', "validation_failed"),
        (b'{"gotrue_meta_security": null}', "captcha_failed"),
        (b"", "bad_json"),
    ],
)
async def test_what_holds_no_token_is_refused(
    start_auth: StartAuth,
    service: tuple[CaptchaService, CaptchaSettings],
    body: bytes,
    code: str,
) -> None:
    auth = await start_auth(captcha=service[1])
    assert (await auth.post("/recover", body)).error == (400, code)


def test_the_addresses_are_the_providers_own() -> None:
    assert VERIFY_URLS == {
        "hcaptcha": "https://hcaptcha.com/siteverify",
        "turnstile": "https://challenges.cloudflare.com/turnstile/v0/siteverify",
    }


def test_a_captcha_without_its_secret_prevents_the_start(tmp_path: Path) -> None:
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase/config.toml").write_text("[auth.captcha]\nenabled = true\n")
    with pytest.raises(ConfigError, match=r"auth\.captcha\.secret"):
        load_settings(tmp_path, {})
