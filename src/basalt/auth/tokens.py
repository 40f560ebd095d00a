"""Access tokens, and the answer to every successful sign-in (GoTrue tokens/service.go)."""

import time
from typing import Any, Final

from basalt.auth.call import Call
from basalt.auth.claims import check_claims
from basalt.auth.errors import AuthError
from basalt.auth.render import render_user
from basalt.auth.sessions import Method, Session, create_session
from basalt.auth.users import Transaction, User, reload_user
from basalt.http import Response, json_response

NO_STORE: Final = (("cache-control", "no-store"),)  # RFC 6749 §5.1


async def issue_session(call: Call, tx: Transaction, user: User, method: Method) -> dict[str, Any]:
    """Sign the user in: session, refresh token and access token as one AuthSession object. A banned or
    deleted user gets none, whatever way led here."""
    if user.is_banned or user.is_deleted:
        raise AuthError("user_banned")
    session, refresh_token = await create_session(tx, user, method, call.device)
    return await build_session(call, tx, await reload_user(tx, user), session, refresh_token, method)


async def build_session(
    call: Call, tx: Transaction, user: User, session: Session, refresh_token: str, method: Method
) -> dict[str, Any]:
    """`{"access_token", "token_type", "expires_in", "expires_at", "refresh_token", "user"}`. `method` is how the user
    came here, for the `custom_access_token` hook."""
    issued_at = int(time.time())
    expires_at = issued_at + call.settings.jwt_expiry_s
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
    claims = await _customise(call, tx, user, claims, method)
    return {
        "access_token": call.auth.keys.sign(claims),
        "token_type": "bearer",
        "expires_in": call.settings.jwt_expiry_s,
        "expires_at": expires_at,
        "refresh_token": refresh_token,
        "user": render_user(user),
    }


async def _customise(
    call: Call, tx: Transaction, user: User, claims: dict[str, Any], method: Method
) -> dict[str, Any]:
    """What `custom_access_token` makes of the claims. Raises AuthError unexpected_failure when a claim that every
    token has is missing or of another type."""
    payload = {"user_id": str(user.id), "claims": claims, "authentication_method": method}
    answer = await call.auth.hooks.run(call.request, tx, "custom_access_token", payload)
    if answer is None:
        return claims
    if "claims" not in answer:
        raise AuthError("unexpected_failure", "output claims field is missing")
    return check_claims(answer["claims"])


def session_response(session: dict[str, Any]) -> Response:
    """The session as an answer that nobody on the way may keep."""
    return json_response(session, headers=NO_STORE)
