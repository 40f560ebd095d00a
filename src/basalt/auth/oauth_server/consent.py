"""`/oauth/authorizations/{authorization_id}`: what the consent page shows a signed-in user, and where the decision
goes (GoTrue oauthserver/authorize.go).

The first user who looks at a request owns it. One who allowed the client as much before is not asked again. The row is
locked while it is looked at, so that of two decisions the second finds the first. Of the code only a hash is kept.
"""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

import msgspec

from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.oauth_server.authorize import answer_url
from basalt.auth.oauth_server.clients import Client, load_client, render_client_briefly
from basalt.auth.oauth_server.discovery import check_enabled, parse_scopes
from basalt.auth.tokens import NO_STORE
from basalt.auth.users import Transaction
from basalt.http import Response, json_response

CODE_LIFE_S: Final = 300.0  # from the decision on; GoTrue's lives as long as the request does

LOCK_AUTHORIZATION: Final = """
select id, authorization_id, client_id, user_id, redirect_uri, scope, state, status::text as status,
    expires_at < now() as is_expired
from auth.oauth_authorizations where authorization_id = %(authorization_id)s
for update
"""
MARK_EXPIRED: Final = """
update auth.oauth_authorizations set status = 'expired' where id = %(id)s and status = 'pending'
"""
SET_USER: Final = "update auth.oauth_authorizations set user_id = %(user_id)s where id = %(id)s"
APPROVE: Final = """
update auth.oauth_authorizations set status = 'approved', approved_at = now(),
    authorization_code = %(code_hash)s, expires_at = now() + make_interval(secs => %(life_s)s)
where id = %(id)s and status = 'pending'
"""
DENY: Final = (
    "update auth.oauth_authorizations set status = 'denied' where id = %(id)s and status = 'pending'"
)
FIND_CONSENT: Final = """
select scopes from auth.oauth_consents
where user_id = %(user_id)s and client_id = %(client_id)s and revoked_at is null
"""
KEEP_CONSENT: Final = """
insert into auth.oauth_consents (id, user_id, client_id, scopes, granted_at)
values (%(id)s, %(user_id)s, %(client_id)s, %(scopes)s, now())
on conflict on constraint oauth_consents_user_client_unique
    do update set scopes = excluded.scopes, granted_at = excluded.granted_at, revoked_at = null
"""


class Decision(msgspec.Struct):
    action: str = ""


async def show_authorization(call: Call, authorization_id: str) -> Response:
    """Who asks for what; or `redirect_url` alone where the user need not be asked. Raises AuthError
    oauth_authorization_not_found, validation_failed, feature_disabled."""
    check_enabled(call)
    _check_origin(call)
    async with call.auth.transaction() as tx:
        outcome = await _look_at(call, tx, authorization_id)
    if isinstance(outcome, AuthError):  # what was marked stays marked
        raise outcome
    return json_response(outcome, headers=NO_STORE)


async def decide(call: Call, authorization_id: str) -> Response:
    """Raises AuthError oauth_authorization_not_found, validation_failed, bad_json, feature_disabled."""
    check_enabled(call)
    _check_origin(call)
    decision = await call.parameters(Decision)
    if decision.action not in ("approve", "deny"):
        raise AuthError("validation_failed", "action must be 'approve' or 'deny'")
    async with call.auth.transaction() as tx:
        outcome = await _carry_out(call, tx, authorization_id, decision.action)
    if isinstance(outcome, AuthError):
        raise outcome
    return json_response({"redirect_url": outcome}, headers=NO_STORE)


def hash_authorization_code(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


async def _look_at(call: Call, tx: Transaction, authorization_id: str) -> dict[str, Any] | AuthError:
    found = await _pending(tx, authorization_id, "authorization request cannot be processed")
    if isinstance(found, AuthError):
        return found
    client = await load_client(tx, found["client_id"])
    if client is None or found["user_id"] not in (None, call.user.id):
        return AuthError("oauth_authorization_not_found")
    if found["user_id"] is None:
        await tx.execute(SET_USER, {"id": found["id"], "user_id": call.user.id})
        if await _has_consented(call, tx, client, found["scope"]):
            return {"redirect_url": await _approve(call, tx, found)}
    user = {"id": str(call.user.id)} | ({"email": call.user.email} if call.user.email else {})
    return {
        "authorization_id": found["authorization_id"],
        "redirect_uri": found["redirect_uri"],
        "client": render_client_briefly(client),
        "user": user,
        "scope": found["scope"],
    }


async def _carry_out(call: Call, tx: Transaction, authorization_id: str, action: str) -> str | AuthError:
    """Where the browser goes now."""
    found = await _pending(tx, authorization_id, "authorization request is no longer pending")
    if isinstance(found, AuthError):
        return found
    client = await load_client(tx, found["client_id"])
    if client is None or found["user_id"] != call.user.id:
        return AuthError("oauth_authorization_not_found")
    if action == "approve":
        url = await _approve(call, tx, found)
        scopes = " ".join(parse_scopes(found["scope"]))
        parameters = {"id": uuid4(), "user_id": call.user.id, "client_id": client.id, "scopes": scopes}
        await tx.execute(KEEP_CONSENT, parameters)
        return url
    await tx.execute(DENY, {"id": found["id"]})
    values = {
        "error": "access_denied",
        "error_description": "User denied the request",
        "state": found["state"] or "",
    }
    return answer_url(call.auth, found["redirect_uri"], values)


async def _pending(tx: Transaction, authorization_id: str, complaint: str) -> Mapping[str, Any] | AuthError:
    """The request, locked, while it can still be decided."""
    cursor = await tx.execute(LOCK_AUTHORIZATION, {"authorization_id": authorization_id})
    found = await cursor.fetchone()
    if found is None:
        return AuthError("oauth_authorization_not_found")
    if found["is_expired"]:
        await tx.execute(MARK_EXPIRED, {"id": found["id"]})
        return AuthError("oauth_authorization_not_found")
    if found["status"] != "pending":
        return AuthError("validation_failed", complaint)
    return found


async def _has_consented(call: Call, tx: Transaction, client: Client, scope: str) -> bool:
    parameters = {"user_id": call.user.id, "client_id": client.id}
    row = await (await tx.execute(FIND_CONSENT, parameters)).fetchone()
    return row is not None and set(parse_scopes(scope)) <= set(parse_scopes(row["scopes"]))


async def _approve(call: Call, tx: Transaction, found: Mapping[str, Any]) -> str:
    """The client's redirect URI with a code in it."""
    code = secrets.token_urlsafe(32)
    life_s = min(CODE_LIFE_S, call.settings.oauth_server.authorization_ttl_s)
    parameters = {"id": found["id"], "code_hash": hash_authorization_code(code), "life_s": life_s}
    await tx.execute(APPROVE, parameters)
    return answer_url(call.auth, found["redirect_uri"], {"code": code, "state": found["state"] or ""})


def _check_origin(call: Call) -> None:
    """Browsers tell from where a page asks. Programs do not, and need a user's token like everybody."""
    origin = call.request.headers.get("origin")
    if origin and not call.auth.redirects.is_allowed(origin):
        raise AuthError("validation_failed", "unauthorized request origin")
