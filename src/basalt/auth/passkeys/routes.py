"""The endpoints of passkeys."""

from typing import Final

from basalt.auth.passkeys import authenticate, manage, register
from basalt.http import Route

PASSKEY_ROUTES: Final = (
    Route("POST", "/passkeys/authentication/options", "public", authenticate.begin),
    Route("POST", "/passkeys/authentication/verify", "public", authenticate.finish),
    Route("POST", "/passkeys/registration/options", "user", register.begin),
    Route("POST", "/passkeys/registration/verify", "user", register.finish),
    Route("GET", "/passkeys", "user", manage.list_own),
    Route("PATCH", "/passkeys/{passkey_id}", "user", manage.rename),
    Route("DELETE", "/passkeys/{passkey_id}", "user", manage.delete_own),
    Route("GET", "/admin/users/{user_id}/passkeys", "admin", manage.list_of_user),
    Route("DELETE", "/admin/users/{user_id}/passkeys/{passkey_id}", "admin", manage.delete_of_user),
)
