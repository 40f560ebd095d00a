"""The captcha that requests of strangers must bring where it is switched on (GoTrue security/captcha.go,
middleware.go verifyCaptcha): checked once in front of the flows, by hCaptcha or Turnstile."""

from typing import Any, Final

import msgspec

from basalt.auth.call import Call, require_admin
from basalt.auth.errors import AuthError
from basalt.config import CaptchaSettings
from basalt.http import OutgoingClient, OutgoingError, Route

# Those that GoTrue's api.go puts behind it.
ROUTES: Final = frozenset(
    {
        ("POST", "/signup"),
        ("POST", "/token"),
        ("POST", "/otp"),
        ("POST", "/magiclink"),
        ("POST", "/recover"),
        ("POST", "/resend"),
        ("POST", "/sso"),
        ("POST", "/passkeys/authentication/options"),
    }
)
# Grants of `/token` that rest on something which was given out earlier.
EXEMPT_GRANTS: Final = frozenset({"refresh_token", "pkce", "id_token"})
VERIFY_URLS: Final = {
    "hcaptcha": "https://hcaptcha.com/siteverify",
    "turnstile": "https://challenges.cloudflare.com/turnstile/v0/siteverify",
}


class Security(msgspec.Struct):
    captcha_token: str | None = None


class Parameters(msgspec.Struct):
    gotrue_meta_security: Security = msgspec.field(default_factory=Security)


class Captcha:
    """The check as one project has it."""

    def __init__(self, settings: CaptchaSettings, http: OutgoingClient) -> None:
        self._settings = settings
        self._url = settings.verify_url or VERIFY_URLS[settings.provider]
        self._http = http

    async def check(self, call: Call, route: Route) -> None:
        """Raises AuthError captcha_failed, bad_json, unexpected_failure."""
        if not self._settings.enabled or (route.method, route.path) not in ROUTES:
            return
        if route.path == "/token" and call.query.get("grant_type") in EXEMPT_GRANTS:
            return
        if await _is_admin(call):
            return
        parameters = await call.parameters(Parameters)
        token = (parameters.gotrue_meta_security.captcha_token or "").strip()
        if not token:
            message = "captcha protection: request disallowed (no captcha_token found)"
            raise AuthError("captcha_failed", message)
        answer = await self._verify(token, call.request.client_ip)
        if answer.get("success") is not True:
            reasons = ", ".join(map(str, answer.get("error-codes") or ()))
            raise AuthError("captcha_failed", f"captcha protection: request disallowed ({reasons})")

    async def _verify(self, token: str, client_ip: str) -> dict[str, Any]:
        form = {"secret": (self._settings.secret or "").strip(), "response": token, "remoteip": client_ip}
        try:
            answer = await self._http.send("POST", self._url, timeout_s=self._settings.timeout_s, form=form)
            verdict = answer.json()
        except (OutgoingError, ValueError) as error:
            raise AuthError("unexpected_failure", "captcha verification process failed") from error
        if not isinstance(verdict, dict):
            raise AuthError("unexpected_failure", "captcha verification process failed")
        return verdict


async def _is_admin(call: Call) -> bool:
    """Whether the project's own back end asks. A call of its own, so that the flow sees a stranger as before."""
    try:
        await require_admin(Call(call.auth, call.request))
    except AuthError:
        return False
    return True
