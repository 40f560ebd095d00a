"""The endpoints of passkeys. What serves them is imported where passkeys are on, or asked for."""

from typing import Final

from basalt.http import Route
from basalt.late import LateFunction

AUTHENTICATE = "basalt.auth.passkeys.authenticate"
REGISTER = "basalt.auth.passkeys.register"
MANAGE = "basalt.auth.passkeys.manage"

PASSKEY_ROUTES: Final = (
    Route("POST", "/passkeys/authentication/options", "public", LateFunction(AUTHENTICATE, "begin")),
    Route("POST", "/passkeys/authentication/verify", "public", LateFunction(AUTHENTICATE, "finish")),
    Route("POST", "/passkeys/registration/options", "user", LateFunction(REGISTER, "begin")),
    Route("POST", "/passkeys/registration/verify", "user", LateFunction(REGISTER, "finish")),
    Route("GET", "/passkeys", "user", LateFunction(MANAGE, "list_own")),
    Route("PATCH", "/passkeys/{passkey_id}", "user", LateFunction(MANAGE, "rename")),
    Route("DELETE", "/passkeys/{passkey_id}", "user", LateFunction(MANAGE, "delete_own")),
    Route("GET", "/admin/users/{user_id}/passkeys", "admin", LateFunction(MANAGE, "list_of_user")),
    Route(
        "DELETE",
        "/admin/users/{user_id}/passkeys/{passkey_id}",
        "admin",
        LateFunction(MANAGE, "delete_of_user"),
    ),
)
