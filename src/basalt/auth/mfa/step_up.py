"""Sessions that a second factor raises to `aal2`, and those that fall back when it goes.

GoTrue token.go `updateMFASessionAndClaims`, models/sessions.go, models/factor.go `DowngradeSessionsToAAL1`.
"""

from typing import Any, Final
from uuid import UUID, uuid4

from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.mfa.factors import Factor
from basalt.auth.sessions import AAL2_METHODS, ADD_METHOD, create_refresh_token, load_session
from basalt.auth.tokens import build_session
from basalt.auth.users import Transaction, User, reload_user

# In one order, so that two devices of a user that verify at once wait for each other instead of dying.
LOCK_SESSIONS: Final = "select id from auth.sessions where user_id = %(user_id)s order by id for update"
RAISE_SESSION: Final = """
update auth.sessions set aal = 'aal2', factor_id = %(factor_id)s, updated_at = now() where id = %(id)s
"""
DELETE_TOKENS: Final = "delete from auth.refresh_tokens where session_id = %(id)s"
DELETE_LOWER_SESSIONS: Final = """
delete from auth.sessions where user_id = %(user_id)s and id <> %(id)s and coalesce(aal, 'aal1') < 'aal2'
"""
# Also of sessions that used the factor before another one: GoTrue leaves those at aal2.
TAKE_METHOD_AWAY: Final = """
delete from auth.mfa_amr_claims as c using auth.sessions as s
where s.id = c.session_id and s.user_id = %(user_id)s and c.authentication_method = %(method)s
    and (s.factor_id = %(factor_id)s or not exists (
        select from auth.mfa_factors as f
        where f.user_id = s.user_id and f.factor_type::text = %(type)s and f.status = 'verified'
            and f.id <> %(factor_id)s))
"""
LOWER_SESSIONS: Final = """
update auth.sessions as s set updated_at = now(),
    factor_id = case when s.factor_id = %(factor_id)s then null else s.factor_id end,
    aal = case when exists (
        select from auth.mfa_amr_claims as c
        where c.session_id = s.id and c.authentication_method = any (%(aal2_methods)s)
    ) then 'aal2' else 'aal1' end::auth.aal_level
where s.user_id = %(user_id)s and (s.factor_id = %(factor_id)s or s.aal = 'aal2')
"""


async def lock_sessions(tx: Transaction, user: User) -> set[UUID]:
    """All sessions of the user, locked until the transaction ends. To be called before any other row is locked."""
    rows = await (await tx.execute(LOCK_SESSIONS, {"user_id": user.id})).fetchall()
    return {row["id"] for row in rows}


async def raise_session(call: Call, tx: Transaction, user: User, factor: Factor) -> dict[str, Any]:
    """The caller's session as a new AuthSession at `aal2`; sessions below that end. Refresh tokens that were issued
    before the factor was proven are worth nothing afterwards (GoTrue counts up by two for that)."""
    session_id = _session_id(call)
    await tx.execute(ADD_METHOD, {"id": uuid4(), "session_id": session_id, "method": factor.method})
    await tx.execute(RAISE_SESSION, {"id": session_id, "factor_id": factor.id})
    await tx.execute(DELETE_TOKENS, {"id": session_id})
    await record(tx, user, "token_revoked")
    refresh_token = await create_refresh_token(tx, user.id, session_id)
    await tx.execute(DELETE_LOWER_SESSIONS, {"id": session_id, "user_id": user.id})
    session = await load_session(tx, session_id)
    if session is None:
        raise AuthError("session_not_found")
    return await build_session(call, tx, await reload_user(tx, user), session, refresh_token, factor.method)


async def lower_sessions(tx: Transaction, user: User, factor: Factor) -> None:
    """To be called when the factor is gone: what it alone had raised is `aal1` again."""
    parameters = {
        "user_id": user.id,
        "factor_id": factor.id,
        "type": factor.type,
        "method": factor.method,
        "aal2_methods": sorted(AAL2_METHODS),
    }
    await tx.execute(TAKE_METHOD_AWAY, parameters)
    await tx.execute(LOWER_SESSIONS, parameters)


def _session_id(call: Call) -> UUID:
    if call.session is None:
        raise AuthError("session_not_found")
    return call.session.id
