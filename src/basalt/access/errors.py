"""Why a key or a token is refused. Services put it into their own shape by `reason`.

Reasons stand for what a caller can do about it; messages and details are those of PostgREST (`Error.hs: JwtError`), the
strictest of the contracts."""

from collections.abc import Mapping
from typing import Literal

from basalt.errors import BasaltError

Reason = Literal[
    "malformed",
    "signature",
    "unsupported_algorithm",
    "claims",
    "expired",
    "not_yet_valid",
    "issued_in_future",
    "audience",
    "unknown_key",
    "missing",
    "no_secret",
]
MESSAGES: Mapping[Reason, str] = {
    "malformed": "JWT cryptographic operation failed",
    "signature": "No suitable key or wrong key type",
    "unsupported_algorithm": "Wrong or unsupported encoding algorithm",
    "claims": "Parsing claims failed",
    "expired": "JWT expired",
    "not_yet_valid": "JWT not yet valid",
    "issued_in_future": "JWT issued at future",
    "audience": "JWT not in audience",
    "unknown_key": "Invalid API key",
    "missing": "Anonymous access is disabled",
    "no_secret": "Server lacks JWT secret",
}


class AccessError(BasaltError):
    """Neither key nor token can be accepted: 401, or 500 when there is nothing to verify a token with."""

    def __init__(
        self,
        reason: Reason,
        message: str | None = None,
        *,
        details: str | None = None,
        hint: str | None = None,
    ) -> None:
        status = 500 if reason == "no_secret" else 401
        super().__init__(f"access_{reason}", status, message or MESSAGES[reason], details=details, hint=hint)
        self.reason: Reason = reason
