"""`POST /token?grant_type=refresh_token`: rotation, with GoTrue's rules for a token that comes again.

A used token is answered with the session's current one when it is that one's parent, because then the client
never saw the answer, or within the reuse interval, because then several tabs refresh at once. Otherwise
somebody else has it: the family is revoked. Where GoTrue makes a second live token within the interval, we
give the current one, so that a session never has two. Requests for one token wait for each other outside the
database, so as not to use up its connections (tokens/service.go).

The database does it in one statement (`basalt.refresh_session`) on a lane; only a `custom_access_token` hook needs a
transaction that stays open until it has answered.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec

from basalt.auth.audit import EVENTS
from basalt.auth.call import Call
from basalt.auth.errors import AuthError, OAuthError
from basalt.auth.queries import load_json, text_array
from basalt.auth.refresh_tokens import is_token, stored_form, stored_forms, successors
from basalt.auth.sessions import SELECT_SESSION, Session, session_of_json
from basalt.auth.tokens import build_session, session_response
from basalt.auth.users import SELECT_USER, Transaction, User, user_of_json
from basalt.errors import BasaltError
from basalt.http import Response
from basalt.postgres import Query

PATIENCE_S: Final = 5.0
LIKELY_SUCCESSORS: Final = 2
POSSIBLE_SUCCESSORS: Final = 2000  # more than anybody refreshes within the interval

REFRESH: Final = """
select outcome, issued
from basalt.refresh_session($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""
LOAD: Final = f"""
select (select row_to_json(found) from ({SELECT_USER} where u.id = t.user_id::uuid) as found),
    (select row_to_json(found) from ({SELECT_SESSION} where s.id = t.session_id) as found)
from auth.refresh_tokens as t where t.token in ($1, $2)
"""  # noqa: S608 - put together from constants


class Parameters(msgspec.Struct):
    refresh_token: str = ""


@dataclass(frozen=True, slots=True)
class Swap:
    """What came of an exchange; `issued` is the token that follows, as the client is to have it."""

    outcome: str
    issued: str = ""
    user: User | None = None
    session: Session | None = None


async def refresh(call: Call) -> Response:
    """Raises AuthError refresh_token_not_found, refresh_token_already_used, session_expired,
    session_not_found, user_banned, validation_failed, conflict."""
    await call.auth.limits.check("refresh", call.request)
    parameters = await call.parameters(Parameters)
    return session_response(await refresh_session(call, parameters.refresh_token))


async def refresh_session(call: Call, token: str, *, client_id: UUID | None = None) -> dict[str, Any]:
    """The session with its next tokens. A session of an OAuth client is refreshed by that client only. Raises
    OAuthError invalid_client, and AuthError as `refresh` does."""
    if not is_token(token):
        raise AuthError("validation_failed", "Refresh token is not valid")
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        outcome, session = await _try(call, token, client_id)
        if session is not None:
            EVENTS.add(1, "token_refreshed")  # its entry is written by the database
            return session
        if outcome != "locked":
            raise _refusal(outcome)
        await asyncio.sleep(random.uniform(0.01, 0.03))  # noqa: S311
    raise AuthError("conflict")


async def _try(call: Call, token: str, client_id: UUID | None) -> tuple[str, dict[str, Any] | None]:
    """The outcome, and the session when it is `refreshed`. What the database found out stays there, also when it
    refuses."""
    if not call.auth.hooks.is_enabled("custom_access_token"):
        swap = await _swap(call, None, token, client_id)
        return swap.outcome, await _build(call, None, swap)
    async with call.auth.transaction() as tx:
        swap = await _swap(call, tx, token, client_id)
        return swap.outcome, await _build(call, tx, swap)


async def _swap(call: Call, tx: Transaction | None, token: str, client_id: UUID | None) -> Swap:
    swap = await _exchange(call, tx, token, client_id, LIKELY_SUCCESSORS)
    if swap.outcome == "unknown_successor":
        swap = await _exchange(call, tx, token, client_id, POSSIBLE_SUCCESSORS)
    return swap


async def _exchange(
    call: Call, tx: Transaction | None, token: str, client_id: UUID | None, successor_count: int
) -> Swap:
    given = stored_forms(token)
    following = {
        stored_form(successor): successor
        for successor in successors(token, call.auth.keys.refresh_key, successor_count)
    }
    queries = [
        Query(REFRESH, _refresh_params(call, given, list(following), client_id)),
        # not an array, whose length PostgreSQL would have to guess: it would plan anew each time
        Query(LOAD, (given[0].encode(), given[-1].encode())),
    ]
    refreshed, loaded = await call.auth.run(queries, tx)
    outcome, issued = (value and value.decode() for value in refreshed[0])
    if outcome != "refreshed" or not issued:
        return Swap(outcome or "")
    user, session = loaded[0]
    return Swap(
        "refreshed",
        following.get(issued, issued),
        user_of_json(load_json(user)),
        session_of_json(load_json(session)),
    )


def _refresh_params(
    call: Call, given: Sequence[str], following: Sequence[str], client_id: UUID | None
) -> tuple[bytes | None, ...]:
    settings, device = call.settings, call.device
    sessions = settings.sessions
    return (
        text_array(given),
        text_array(following),
        None if client_id is None else str(client_id).encode(),
        None if device.user_agent is None else device.user_agent.encode(),
        None if device.ip is None else device.ip.encode(),
        b"%d" % settings.refresh_token_reuse_interval_s,
        b"t" if settings.enable_refresh_token_rotation else b"f",
        b"%f" % sessions.timebox_s,
        b"%f" % sessions.inactivity_timeout_s,
        b"%f" % sessions.allow_low_aal_s,
        b"t" if sessions.single_per_user else b"f",
        text_array(sessions.tags),
    )


async def _build(call: Call, tx: Transaction | None, swap: Swap) -> dict[str, Any] | None:
    if swap.user is None or swap.session is None:
        return None
    return await build_session(call, tx, swap.user, swap.session, swap.issued, "token_refresh")


def _refusal(outcome: str) -> BasaltError:
    match outcome:
        case "not_found":
            return AuthError("refresh_token_not_found")
        case "already_used" | "unknown_successor":
            return AuthError("refresh_token_already_used")
        case "banned":
            return AuthError("user_banned", "Invalid Refresh Token: User Banned", status=400)
        case "no_session":
            message = "Invalid Refresh Token: No Valid Session Found"
            return AuthError("session_not_found", message, status=400)
        case "expired" | "inactive" | "low_aal" | "superseded":
            return AuthError(
                "session_expired", f"Invalid Refresh Token: Session Expired{WHY_EXPIRED[outcome]}"
            )
        case _:
            return OAuthError("invalid_client", WRONG_CLIENT[outcome])


WHY_EXPIRED: Final = {
    "expired": "",
    "inactive": " (Inactivity)",
    "low_aal": " (Low AAL: User Needs MFA Verification)",
    "superseded": " (Revoked by Newer Login)",
}
WRONG_CLIENT: Final = {
    "client_required": "Client authentication required for OAuth session",
    "client_mismatch": "Client does not match the session's OAuth client",
    "client_not_allowed": "Client authentication not allowed for non-OAuth session",
}
