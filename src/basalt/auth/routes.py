"""The table of Auth: method, path, who may call, handler.

`public` is anybody, `user` a signed-in user's token with a living session, `admin` a token or key of
service_role. The service checks it before the handler runs.
"""

from typing import Final

from basalt.auth import (
    admin,
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
from basalt.auth.mfa import admin as mfa_admin
from basalt.auth.mfa import challenge as mfa_challenge
from basalt.auth.mfa import enrol as mfa_enrol
from basalt.auth.mfa import verify as mfa_verify
from basalt.auth.passkeys import authenticate, manage, register
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
        Route("GET", "/admin/users", "admin", admin_list.list_users),
        Route("POST", "/admin/users", "admin", admin.create),
        Route("GET", "/admin/users/{user_id}", "admin", admin.get_user),
        Route("PUT", "/admin/users/{user_id}", "admin", admin.update),
        Route("DELETE", "/admin/users/{user_id}", "admin", admin.delete),
        Route("POST", "/admin/generate_link", "admin", generate_link),
        Route("POST", "/factors", "user", mfa_enrol.enrol),
        Route("DELETE", "/factors/{factor_id}", "user", mfa_enrol.unenrol),
        Route("POST", "/factors/{factor_id}/challenge", "user", mfa_challenge.challenge),
        Route("POST", "/factors/{factor_id}/verify", "user", mfa_verify.verify),
        Route("GET", "/admin/users/{user_id}/factors", "admin", mfa_admin.list_factors),
        Route("PUT", "/admin/users/{user_id}/factors/{factor_id}", "admin", mfa_admin.update_factor),
        Route("DELETE", "/admin/users/{user_id}/factors/{factor_id}", "admin", mfa_admin.delete_factor),
        Route("POST", "/passkeys/authentication/options", "public", authenticate.begin),
        Route("POST", "/passkeys/authentication/verify", "public", authenticate.finish),
        Route("POST", "/passkeys/registration/options", "user", register.begin),
        Route("POST", "/passkeys/registration/verify", "user", register.finish),
        Route("GET", "/passkeys", "user", manage.list_own),
        Route("PATCH", "/passkeys/{passkey_id}", "user", manage.rename),
        Route("DELETE", "/passkeys/{passkey_id}", "user", manage.delete_own),
        Route("GET", "/admin/users/{user_id}/passkeys", "admin", manage.list_of_user),
        Route("DELETE", "/admin/users/{user_id}/passkeys/{passkey_id}", "admin", manage.delete_of_user),
    ]
)
