"""`POST /token?grant_type=refresh_token`: rotation, with GoTrue's rules for a token that comes again.

A used token is answered with the session's current one when it is that one's parent, because then the client
never saw the answer, or within the reuse interval, because then several tabs refresh at once. Otherwise
somebody else has it: the family is revoked. Where GoTrue makes a second live token within the interval, we
give the current one, so that a session never has two. Requests for one token wait for each other outside the
database, so as not to use up its connections (tokens/service.go).
"""

import asyncio
import random
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError, OAuthError
from basalt.auth.sessions import Session, create_refresh_token, load_session, why_ended
from basalt.auth.tokens import build_session, session_response
from basalt.auth.users import Transaction, User, load_user
from basalt.errors import BasaltError
from basalt.http import Response

TOKEN: Final = re.compile(r"[a-z0-9]{12}")
PATIENCE_S: Final = 5.0

FIND: Final = "select 1 from auth.refresh_tokens where token = %(token)s"
LOCK: Final = """
select id, token, user_id::uuid as user_id, coalesce(revoked, false) as revoked, session_id, updated_at
from auth.refresh_tokens where token = %(token)s
for update skip locked
"""
LOCK_SESSION: Final = "select 1 from auth.sessions where id = %(id)s for update skip locked"
FIND_ACTIVE: Final = """
select token, parent from auth.refresh_tokens
where session_id = %(session_id)s and revoked is false
order by id desc limit 1
"""
REVOKE: Final = "update auth.refresh_tokens set revoked = true, updated_at = now() where id = %(id)s"
REVOKE_FAMILY: Final = """
update auth.refresh_tokens set revoked = true, updated_at = now() where session_id = %(session_id)s
    and revoked is false
"""
DELETE_ORPHAN: Final = "delete from auth.refresh_tokens where id = %(id)s"
TOUCH_SESSION: Final = """
update auth.sessions set refreshed_at = now() at time zone 'utc', user_agent = %(user_agent)s,
    ip = %(ip)s where id = %(id)s
"""


class Parameters(msgspec.Struct):
    refresh_token: str = ""


class LockedError(Exception):
    """Another request holds the token or its session; try again in a moment."""


async def refresh(call: Call) -> Response:
    """Raises AuthError refresh_token_not_found, refresh_token_already_used, session_expired,
    session_not_found, user_banned, validation_failed, conflict; OAuthError for the token of an OAuth client."""
    call.auth.limits.check("refresh", call.request)
    parameters = await call.parameters(Parameters)
    return session_response(await swap_token(call, parameters.refresh_token, client_id=None))


async def swap_token(call: Call, given: str, *, client_id: UUID | None) -> dict[str, Any]:
    """The session behind a refresh token with its next one. One of an OAuth client is for that client alone, which has
    authenticated as `client_id`, and it for no other. Raises as `refresh`, and OAuthError invalid_client."""
    if TOKEN.fullmatch(given) is None:
        raise AuthError("validation_failed", "Refresh token is not valid")
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        try:
            async with call.auth.transaction() as tx:
                outcome = await _swap(call, tx, given, client_id)
        except LockedError:
            await asyncio.sleep(random.uniform(0.01, 0.03))  # noqa: S311
            continue
        if isinstance(outcome, BasaltError):  # what it found out stays in the database
            raise outcome
        return outcome
    raise AuthError("conflict")


async def _swap(
    call: Call, tx: Transaction, given: str, client_id: UUID | None
) -> dict[str, Any] | AuthError | OAuthError:
    token = await _lock_token(tx, given)
    if token is None:
        return AuthError("refresh_token_not_found")
    user = await load_user(tx, token["user_id"])
    if user is None:
        return AuthError("refresh_token_not_found")
    if user.is_banned:
        return AuthError("user_banned", "Invalid Refresh Token: User Banned", status=400)
    if token["session_id"] is None:
        await tx.execute(DELETE_ORPHAN, {"id": token["id"]})
        return AuthError("session_not_found", "Invalid Refresh Token: No Valid Session Found", status=400)
    session = await _lock_session(tx, token["session_id"])
    match why_ended(session, call.settings, token_updated_at=token["updated_at"]):
        case "expired":
            return AuthError("session_expired")
        case "inactive":
            return AuthError("session_expired", "Invalid Refresh Token: Session Expired (Inactivity)")
        case None:
            pass
    mismatch = _client_mismatch(session, client_id)
    if mismatch is not None:
        return mismatch
    issued = await _next_token(call, tx, user, session, token)
    if issued is None:
        return AuthError("refresh_token_already_used")
    device = call.device
    await tx.execute(TOUCH_SESSION, {"id": session.id, "user_agent": device.user_agent, "ip": device.ip})
    return await build_session(call, tx, user, session, issued, "token_refresh")


async def _next_token(
    call: Call, tx: Transaction, user: User, session: Session, token: dict[str, Any]
) -> str | None:
    """The token to answer with; None when the given one must not be used again."""
    if token["revoked"]:
        active = await (await tx.execute(FIND_ACTIVE, {"session_id": session.id})).fetchone()
        if active is not None and (active["parent"] == token["token"] or _is_reusable(call, token)):
            await record(tx, user, "token_refreshed")
            return str(active["token"])
        if call.settings.enable_refresh_token_rotation:
            await tx.execute(REVOKE_FAMILY, {"session_id": session.id})
        return None
    await record(tx, user, "token_refreshed")
    await record(tx, user, "token_revoked")
    await tx.execute(REVOKE, {"id": token["id"]})
    return await create_refresh_token(tx, user.id, session.id, token["token"])


def _client_mismatch(session: Session, client_id: UUID | None) -> OAuthError | None:
    owner = session.grant.client_id if session.grant else None
    if owner == client_id:
        return None
    if owner is None:
        return OAuthError("invalid_client", "Client authentication not allowed for non-OAuth session")
    if client_id is None:
        return OAuthError("invalid_client", "Client authentication required for OAuth session")
    return OAuthError("invalid_client", "Client does not match the session's OAuth client")


def _is_reusable(call: Call, token: dict[str, Any]) -> bool:
    interval = timedelta(seconds=call.settings.refresh_token_reuse_interval_s)
    return bool(datetime.now(UTC) <= token["updated_at"] + interval)


async def _lock_token(tx: Transaction, given: str) -> dict[str, Any] | None:
    row = await (await tx.execute(LOCK, {"token": given})).fetchone()
    if row is None and await (await tx.execute(FIND, {"token": given})).fetchone() is not None:
        raise LockedError
    return row


async def _lock_session(tx: Transaction, session_id: Any) -> Session:
    if await (await tx.execute(LOCK_SESSION, {"id": session_id})).fetchone() is None:
        raise LockedError
    session = await load_session(tx, session_id)
    if session is None:
        raise LockedError
    return session
