"""GoTrue's rate limits per client address, for each kind of request.

They act on the configured client-address header alone: without one every client of a development machine
would share an address, so they do not apply (GoTrue middleware.go performRateLimitingWithHeader).
"""

import math
from typing import Final, Literal

from basalt.auth.errors import AuthError
from basalt.config import AuthSettings
from basalt.http import Request
from basalt.kv import RateLimiter

Kind = Literal[
    "anonymous",
    "sign_in",
    "refresh",
    "otp",
    "verify",
    "web3",
    "sso",
    "saml_assertion",
    "passkey",
    "factor",
    "oauth_client_register",
]

MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0
FIVE_MINUTES_S: Final = 300.0


class Limits:
    def __init__(self, settings: AuthSettings, *, header: str | None) -> None:
        limit = settings.rate_limit
        self._header = header
        self._limiter = RateLimiter()
        self._rates: dict[Kind, tuple[int, float]] = {
            "anonymous": (limit.anonymous_users, HOUR_S),
            "sign_in": (limit.sign_in_sign_ups, FIVE_MINUTES_S),
            "refresh": (limit.token_refresh, FIVE_MINUTES_S),
            "otp": (limit.sign_in_sign_ups, FIVE_MINUTES_S),
            "verify": (limit.token_verifications, FIVE_MINUTES_S),
            "web3": (limit.web3, FIVE_MINUTES_S),
            "sso": (limit.sso, FIVE_MINUTES_S),
            "saml_assertion": (limit.saml_assertion, FIVE_MINUTES_S),
            "passkey": (limit.passkey, FIVE_MINUTES_S),
            "factor": (limit.factor, MINUTE_S),
            "oauth_client_register": (limit.oauth_client_register, HOUR_S),
        }

    def check(self, kind: Kind, request: Request) -> None:
        """Raises AuthError over_request_rate_limit with `Retry-After` in seconds."""
        if self._header is None or request.headers.get(self._header.lower()) is None:
            return
        limit, per_s = self._rates[kind]
        key = f"{kind}:{request.prefix}{request.path}:{request.client_ip}"
        wait_s = self._limiter.take(key, limit, per_s) if limit else per_s
        if wait_s is not None:
            raise AuthError("over_request_rate_limit", headers=[("Retry-After", str(math.ceil(wait_s)))])
