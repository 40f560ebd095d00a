"""Who is asking: the value that authorisation gives and everything else goes by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Caller:
    """`role` is the database role and `claims_json` what `request.jwt.claims` is set to. `token` is the
    bearer token as received, None when only an API key (or nothing) spoke; `is_key` tells that no
    user's token was sent. `expires_at` is in Unix seconds."""

    role: str
    claims: Mapping[str, Any]
    claims_json: str
    token: str | None = None
    expires_at: float | None = None
    is_key: bool = False

    @property
    def user_id(self) -> str | None:
        """The `sub` claim; not always a UUID with custom tokens."""
        subject = self.claims.get("sub")
        return subject if isinstance(subject, str) else None


def caller_of_key(role: str) -> Caller:
    """The caller behind an API key: a role without a user."""
    claims = {"role": role}
    return Caller(role, claims, orjson.dumps(claims).decode(), is_key=True)


def caller_of_claims(claims: Mapping[str, Any], token: str) -> Caller:
    """The caller behind a verified token; `role` in the claims is the one that was chosen."""
    expires_at = claims.get("exp")
    return Caller(
        role=claims["role"],
        claims=claims,
        claims_json=orjson.dumps(claims).decode(),
        token=token,
        expires_at=None if expires_at is None else float(expires_at),
    )
