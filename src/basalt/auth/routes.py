"""The table of Auth: method, path, who may call, handler.

`public` is anybody, `user` a signed-in user's token with a living session, `admin` a token or key of
service_role. The service checks it before the handler runs.
"""

from collections.abc import Iterator
from typing import Final

from basalt.auth import (
    admin,
    admin_audit,
    admin_list,
    invite,
    logout,
    otp,
    recover,
    settings,
    sign_in,
    signup,
    user,
    verify,
)
from basalt.auth.generate_link import generate_link
from basalt.auth.mfa.routes import MFA_ROUTES
from basalt.auth.oauth.routes import OAUTH_ROUTES
from basalt.auth.oauth_server.routes import OAUTH_SERVER_ROUTES
from basalt.auth.passkeys.routes import PASSKEY_ROUTES
from basalt.auth.sso.routes import SSO_ROUTES
from basalt.config import AuthSettings
from basalt.http import Route, RouteTable

ROUTES: Final = RouteTable(
    [
        Route("GET", "/health", "public", settings.show_health),
        Route("GET", "/settings", "public", settings.show_settings),
        Route("GET", "/.well-known/jwks.json", "public", settings.show_jwks),
        Route("POST", "/signup", "public", signup.sign_up),
        Route("POST", "/token", "public", sign_in.grant_token),
        Route("POST", "/otp", "public", otp.send_otp),
        Route("POST", "/magiclink", "public", otp.send_magic_link),
        Route("POST", "/verify", "public", verify.verify),
        Route("GET", "/verify", "public", verify.follow_link),
        Route("POST", "/recover", "public", recover.send_recovery_mail),
        Route("POST", "/resend", "public", recover.resend),
        Route("GET", "/reauthenticate", "user", recover.reauthenticate),
        Route("GET", "/user", "user", user.get_user),
        Route("PUT", "/user", "user", user.update_user),
        Route("POST", "/logout", "user", logout.sign_out),
        Route("POST", "/invite", "admin", invite.invite),
        Route("GET", "/admin/audit", "admin", admin_audit.list_audit_log),
        Route("GET", "/admin/users", "admin", admin_list.list_users),
        Route("POST", "/admin/users", "admin", admin.create),
        Route("GET", "/admin/users/{user_id}", "admin", admin.get_user),
        Route("PUT", "/admin/users/{user_id}", "admin", admin.update),
        Route("DELETE", "/admin/users/{user_id}", "admin", admin.delete),
        Route("POST", "/admin/generate_link", "admin", generate_link),
        *OAUTH_ROUTES,
        *OAUTH_SERVER_ROUTES,
        *SSO_ROUTES,
        *MFA_ROUTES,
        *PASSKEY_ROUTES,
    ]
)


def modules_in_use(settings: AuthSettings) -> Iterator[str]:
    """Of the flows that are imported late those that the settings turn on."""
    factor = settings.mfa.web_authn
    if settings.saml.enabled:
        yield from (f"basalt.auth.sso.{name}" for name in ("acs", "admin", "sign_on"))
    if settings.passkey.enabled:
        yield from (f"basalt.auth.passkeys.{name}" for name in ("authenticate", "manage", "register"))
    if factor.enroll_enabled or factor.verify_enabled:
        yield "basalt.auth.mfa.security_key"
    if settings.web3.ethereum.enabled or settings.web3.solana.enabled:
        yield "basalt.auth.web3.grant"
