"""`POST /oauth/token`: a code, or a refresh token, for the client that it was issued to (RFC 6749 §4.1.3, §6; GoTrue
oauthserver/handlers.go).

A code works once: of many requests that bring it, the one whose `delete … returning` finds it gets tokens. When it
comes again somebody else has it too, and what was issued for it ends (RFC 6749 §4.1.2, RFC 9700 §4.5). For that the id
of the session is derived from the code, and nothing of a used code needs to be kept.
"""

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Any, Final
from uuid import UUID

from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError, OAuthError
from basalt.auth.oauth_server.client_auth import TokenRequest, authenticate_client, read_token_request
from basalt.auth.oauth_server.clients import Client
from basalt.auth.oauth_server.consent import hash_authorization_code
from basalt.auth.oauth_server.discovery import check_enabled, parse_scopes
from basalt.auth.oauth_server.profile import build_id_token
from basalt.auth.refresh import refresh_session
from basalt.auth.sessions import Grant, create_session
from basalt.auth.tokens import build_session, session_response
from basalt.auth.users import Transaction, User, load_user, reload_user
from basalt.http import Response

METHOD: Final = "oauth_provider/authorization_code"

FIND_AUTHORIZATION: Final = """
select id, client_id, user_id, redirect_uri, scope, resource, nonce, code_challenge,
    code_challenge_method::text as code_challenge_method, expires_at < now() as is_expired
from auth.oauth_authorizations where authorization_code = %(code_hash)s and status = 'approved'
"""
USE_CODE: Final = """
delete from auth.oauth_authorizations
where id = %(id)s and authorization_code = %(code_hash)s and status = 'approved'
returning id
"""
REVOKE_ISSUED: Final = """
delete from auth.sessions where id = %(session_id)s and oauth_client_id = %(client_id)s
"""
LAST_SIGN_IN: Final = """
select max(created_at) as signed_in_at from auth.sessions
where user_id = %(user_id)s and oauth_client_id is null
"""


async def issue_token(call: Call) -> Response:
    """Raises OAuthError invalid_request, invalid_client, invalid_grant, unsupported_grant_type, access_denied;
    AuthError feature_disabled, conflict."""
    check_enabled(call)
    given = await read_token_request(call.request)
    client = await authenticate_client(call, given)
    if not given.grant_type:
        raise OAuthError("invalid_request", "grant_type is required")
    if given.grant_type not in client.grant_types:
        message = f"Client is not allowed to use grant type: {given.grant_type[:100]}"
        raise OAuthError("unsupported_grant_type", message)
    if given.grant_type == "refresh_token":
        return await _refresh(call, client, given)
    return await _exchange(call, client, given)


async def _exchange(call: Call, client: Client, given: TokenRequest) -> Response:
    if not given.code:
        raise OAuthError("invalid_request", "code is required for authorization_code grant")
    async with call.auth.transaction() as tx:
        outcome = await _use_code(call, tx, client, given)
    if isinstance(outcome, OAuthError):  # what was revoked stays revoked
        raise outcome
    return session_response(outcome)


async def _refresh(call: Call, client: Client, given: TokenRequest) -> Response:
    if not given.refresh_token:
        raise OAuthError("invalid_request", "refresh_token is required for refresh_token grant")
    try:
        session = await refresh_session(call, given.refresh_token, client_id=client.id)
    except AuthError as exc:
        if exc.status != 400:
            raise
        raise OAuthError("invalid_grant", exc.message) from exc
    return session_response(_answer(session))


async def _use_code(
    call: Call, tx: Transaction, client: Client, given: TokenRequest
) -> dict[str, Any] | OAuthError:
    code = {"code_hash": hash_authorization_code(given.code)}
    found = await (await tx.execute(FIND_AUTHORIZATION, code)).fetchone()
    problem = None if found is None else _find_problem(found, client, given)
    if problem is not None:
        return OAuthError("invalid_grant", problem)
    used = found and await (await tx.execute(USE_CODE, {"id": found["id"], **code})).fetchone()
    if found is None or used is None:
        revoked = {"session_id": _session_id_of(given.code), "client_id": client.id}
        await tx.execute(REVOKE_ISSUED, revoked)
        return OAuthError("invalid_grant", "Invalid authorization code")
    user = await load_user(tx, found["user_id"])
    if user is None or user.is_deleted:
        return OAuthError("invalid_grant", "User not found for authorization code")
    if user.is_banned:
        return OAuthError("access_denied", "User is banned")
    return await _issue(call, tx, client, user, found, _session_id_of(given.code))


def _find_problem(found: Mapping[str, Any], client: Client, given: TokenRequest) -> str | None:
    """A request that is wrong does not use the code up, as in GoTrue: else whoever saw it could spoil it."""
    if found["is_expired"]:
        return "Authorization code has expired"
    if found["client_id"] != client.id:
        return "Authorization code was not issued for this client"
    if given.resource and given.resource != (found["resource"] or ""):
        return "Authorization code resource does not match the resource parameter"
    if given.redirect_uri and given.redirect_uri != found["redirect_uri"]:
        return "Invalid redirect_uri"
    if not given.code_verifier:
        return "PKCE verification failed: code_verifier is required when PKCE challenge is present"
    if not _verifies(found["code_challenge"] or "", found["code_challenge_method"], given.code_verifier):
        return "PKCE verification failed: code challenge does not match previously saved code verifier"
    return None


async def _issue(
    call: Call, tx: Transaction, client: Client, user: User, found: Mapping[str, Any], session_id: UUID
) -> dict[str, Any]:
    traits = {"provider_type": "oauth_provider_authorization_code", "client_id": str(client.id)}
    await record(tx, user, "login", traits)
    signed_in = await (await tx.execute(LAST_SIGN_IN, {"user_id": user.id})).fetchone()
    grant = Grant(client.id, found["scope"])
    session, refresh_token = await create_session(
        tx, user, METHOD, call.device, session_id=session_id, grant=grant
    )
    user = await reload_user(tx, user)
    answer = _answer(await build_session(call, tx, user, session, refresh_token, METHOD))
    answer["scope"] = grant.scopes
    scopes = parse_scopes(grant.scopes)
    if "openid" in scopes:
        signed_in_at = (signed_in and signed_in["signed_in_at"]) or datetime.now(UTC)
        answer["id_token"] = build_id_token(
            call.auth, user, client, scopes=scopes, nonce=found["nonce"] or "", signed_in_at=signed_in_at
        )
    return answer


def _answer(session: Mapping[str, Any]) -> dict[str, Any]:
    """What a client gets of a session: nothing of the user."""
    return {name: session[name] for name in ("access_token", "token_type", "expires_in", "refresh_token")}


def _session_id_of(code: str) -> UUID:
    digest = hashlib.sha256(b"session of " + code.encode("utf-8", "surrogatepass")).digest()
    return UUID(bytes=digest[:16], version=4)


def _verifies(challenge: str, method: str | None, verifier: str) -> bool:
    digest = hashlib.sha256(verifier.encode("utf-8", "surrogatepass")).digest()
    expected = base64.urlsafe_b64encode(digest).rstrip(b"=")
    return method == "s256" and compare_digest(challenge.encode(), expected)
