"""Access tokens, and the answer to every successful sign-in (GoTrue tokens/service.go)."""

import time
from datetime import datetime
from typing import Any, Final

from basalt.auth.call import Call
from basalt.auth.claims import check_claims
from basalt.auth.errors import AuthError
from basalt.auth.render import render_user
from basalt.auth.sessions import LIMIT_SESSION, Method, Session, create_session
from basalt.auth.users import Transaction, User, reload_user
from basalt.http import Response, json_response

NO_STORE: Final = (("cache-control", "no-store"),)  # RFC 6749 §5.1


async def issue_session(
    call: Call, tx: Transaction, user: User, method: Method, *, not_after: datetime | None = None
) -> dict[str, Any]:
    """Sign the user in: session, refresh token and access token as one AuthSession object. A banned or
    deleted user gets none, whatever way led here. `not_after` ends the session, whatever the settings allow."""
    if user.is_banned or user.is_deleted:
        raise AuthError("user_banned")
    session, refresh_token = await create_session(tx, user, method, call.device)
    if not_after is not None:
        await tx.execute(LIMIT_SESSION, {"id": session.id, "not_after": not_after})
    return await build_session(call, tx, await reload_user(tx, user), session, refresh_token, method)


async def build_session(
    call: Call, tx: Transaction | None, user: User, session: Session, refresh_token: str, method: Method
) -> dict[str, Any]:
    """`{"access_token", "token_type", "expires_in", "expires_at", "refresh_token", "user"}`. `method` is how the user
    came here, for the `custom_access_token` hook."""
    issued_at = int(time.time())
    expires_at = _expiry(call, user, session, issued_at)
    claims: dict[str, Any] = {
        "iss": call.auth.issuer,
        "sub": str(user.id),
        "aud": user.audience,
        "exp": expires_at,
        "iat": issued_at,
        "email": user.email,
        "phone": user.phone,
        "app_metadata": user.app_metadata,
        "user_metadata": user.user_metadata,
        "role": user.role,
        "aal": session.aal,
        "amr": list(session.methods),
        "session_id": str(session.id),
        "is_anonymous": user.is_anonymous,
    }
    if session.grant is not None:
        claims |= {"client_id": str(session.grant.client_id), "scope": session.grant.scopes}
    claims = await _customise(call, tx, user, claims, method)
    return {
        "access_token": call.auth.keys.sign(claims),
        "token_type": "bearer",
        "expires_in": expires_at - issued_at,
        "expires_at": expires_at,
        "refresh_token": refresh_token,
        "user": render_user(user),
    }


def _expiry(call: Call, user: User, session: Session, issued_at: int) -> int:
    """A session that lacks its second factor is not to outlast `allow_low_aal` (tokens/service.go)."""
    expires_at = issued_at + call.settings.jwt_expiry_s
    low_aal_s = call.settings.sessions.allow_low_aal_s
    if low_aal_s and session.aal == "aal1" and user.has_verified_factor:
        return min(expires_at, int(session.created_at.timestamp() + low_aal_s))
    return expires_at


async def _customise(
    call: Call, tx: Transaction | None, user: User, claims: dict[str, Any], method: Method
) -> dict[str, Any]:
    """What `custom_access_token` makes of the claims. Raises AuthError unexpected_failure when a claim that every
    token has is missing or of another type."""
    if not call.auth.hooks.is_enabled("custom_access_token"):
        return claims
    assert tx is not None  # only where nobody asks is there none
    payload = {"user_id": str(user.id), "claims": claims, "authentication_method": method}
    answer = await call.auth.hooks.run(call.request, tx, "custom_access_token", payload)
    if answer is None or "claims" not in answer:
        raise AuthError("unexpected_failure", "output claims field is missing")
    return check_claims(answer["claims"])


def session_response(session: dict[str, Any]) -> Response:
    """The session as an answer that nobody on the way may keep."""
    return json_response(session, headers=NO_STORE)
