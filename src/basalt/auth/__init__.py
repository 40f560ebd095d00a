"""Auth: GoTrue's contract under `/auth/v1`.

A request comes in at `service`, which finds it in `routes` and checks who calls (`call`). One module per flow
does the work (`signup`, `sign_in`, `otp`, `verify`, `recover`, `user`, `logout`, `admin`) out of the parts
that flows share: `users`, `sessions`, `tokens`, `refresh`, `one_time` codes and their way out (`issue`,
`messages`, put together by `delivery`), `pkce`, `passwords`, `redirects`. Second factors are in `mfa`, passkeys in
`passkeys`, sign-in through others in `oauth`, `sso` and `web3`, a project as an OAuth server in `oauth_server`, the
project's own code in `hooks`. What goes wrong is an `AuthError` from the table in `errors`.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from basalt.auth.addresses import phone_digits
    from basalt.auth.bloom import build_bloom_file
    from basalt.auth.delivery import check_message_settings
    from basalt.auth.errors import AuthError
    from basalt.auth.service import AuthService

__all__ = ["AuthError", "AuthService", "build_bloom_file", "check_message_settings", "phone_digits"]

_MODULES = {
    "AuthError": "basalt.auth.errors",
    "AuthService": "basalt.auth.service",
    "build_bloom_file": "basalt.auth.bloom",
    "check_message_settings": "basalt.auth.delivery",
    "phone_digits": "basalt.auth.addresses",
}


def __getattr__(name: str) -> object:
    # The service brings lxml, webauthn and the like: a second of imports that the supervisor and the command line,
    # which need the check of messages and the list of passwords only, do not wait for.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
