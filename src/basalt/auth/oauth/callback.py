"""`/callback`: a browser comes back from a provider (GoTrue external.go, external_oauth.go).

Whatever happens, it is sent on to the application: with a session in the fragment, with a code for the PKCE exchange,
or with the error in query and fragment. A return whose state is not known has no application; it goes to the site.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
import psycopg
import psycopg_pool

from basalt import observe
from basalt.auth.call import Call
from basalt.auth.errors import AuthError, OAuthError, auth_error
from basalt.auth.external_identity import ExternalProfile, admit_external
from basalt.auth.oauth.authorize import redirect
from basalt.auth.oauth.choose import choose_provider
from basalt.auth.oauth.claims import text
from basalt.auth.oauth.engine import (
    Provider,
    ProviderFailedError,
    Tokens,
    accepts_issuer,
    exchange_code,
    fetch_profile,
    report_failure,
)
from basalt.auth.oauth.identities import link_identity
from basalt.auth.oauth.invitation import accept_invitation
from basalt.auth.oauth.state import Flow, complete_flow, take_flow, take_verifier
from basalt.auth.oauth.twitter import exchange_token, fetch_twitter_profile
from basalt.auth.redirects import with_fragment, with_query
from basalt.auth.tokens import issue_session
from basalt.auth.users import Transaction, User, load_user
from basalt.auth.verify import OAUTH_ERRORS
from basalt.errors import BasaltError
from basalt.http import Response

MAX_FORM_BYTES: Final = 64 * 1024
MAX_ERROR_LENGTH: Final = 1000
DENIED: Final = frozenset({"signup_disabled", "user_banned", "provider_email_needs_verification"})
UNAVAILABLE: Final = (psycopg.OperationalError, psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests)


async def return_from_provider(call: Call) -> Response:
    """GET, or POST for providers that send a form (Apple)."""
    try:
        values = await _values(call)
        async with call.auth.transaction() as tx:
            flow = await take_flow(tx, values.get("state", ""))
    except BasaltError as error:
        return redirect(with_query(call.settings.site_url, _error_values(auth_error(error))), 303)
    target = call.auth.redirects.choose((flow.redirect_to,))  # the allow-list may have changed since
    try:
        return redirect(await _complete(call, flow, values, target))
    except (BasaltError, psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests) as error:
        told = _error_values(_told(call, error))
        return redirect(with_fragment(with_query(target, told), told | {"sb": ""}))


async def _complete(call: Call, flow: Flow, values: Mapping[str, str], target: str) -> str:
    """Where the browser goes on to."""
    if values.get("error"):
        raise OAuthError(
            values["error"][:MAX_ERROR_LENGTH], values.get("error_description", "")[:MAX_ERROR_LENGTH]
        )
    provider = await _provider(call, flow)
    profile, tokens = await _identify(call, provider, flow, values)
    if not profile.emails and not flow.email_optional:
        raise AuthError("unexpected_failure", "Error getting user email from external provider")
    async with call.auth.transaction() as tx:
        user = await _admit(call, tx, flow, profile)
        if flow.is_pkce:
            code = await complete_flow(
                tx, flow, user, access_token=tokens.access_token, refresh_token=tokens.refresh_token
            )
            return with_query(target, {"code": code})
        session = await issue_session(call, tx, user, "oauth")
    return with_fragment(target, _session_values(session, tokens))


async def _identify(
    call: Call, provider: Provider, flow: Flow, values: Mapping[str, str]
) -> tuple[ExternalProfile, Tokens]:
    """Ask the provider who came. No connection is held meanwhile."""
    is_oauth1 = provider.description.oauth1
    if is_oauth1 and values.get("denied"):
        raise OAuthError("access_denied", "The user has denied access")
    code = values.get("code", "")
    if not code and not is_oauth1:
        raise AuthError("bad_oauth_callback", "OAuth callback with missing authorization code missing")
    _check_issuer(provider, values)
    async with call.auth.transaction() as tx:
        verifier = await take_verifier(tx, flow)
    if verifier is None and (provider.pkce or is_oauth1):
        raise AuthError("oauth_invalid_state", "OAuth PKCE code verifier missing")
    try:
        if is_oauth1:
            tokens = await exchange_token(provider, values, verifier or "")
        else:
            tokens = await exchange_code(provider, code, verifier)
    except ProviderFailedError as exc:
        report_failure(provider.name, exc)
        what = "Unable to retrieve access token" if is_oauth1 else "Unable to exchange external code"
        message = what if is_oauth1 else f"{what}: {code[:4]}"
        raise AuthError("unexpected_failure", message) from exc
    try:
        profile = await (fetch_twitter_profile if is_oauth1 else fetch_profile)(provider, tokens)
    except ProviderFailedError as exc:
        report_failure(provider.name, exc)
        message = "Error getting user profile from external provider"
        raise AuthError("unexpected_failure", message) from exc
    return _with_posted_name(provider, profile, values), tokens


async def _admit(call: Call, tx: Transaction, flow: Flow, profile: ExternalProfile) -> User:
    if flow.target_id is not None:
        target = await load_user(tx, flow.target_id)
        if target is None:
            raise AuthError("user_not_found", "Linking target user not found", status=422)
        return await link_identity(call, tx, target, profile, flow.provider)
    if flow.invite_token:
        return await accept_invitation(call, tx, profile, flow.provider, flow.invite_token)
    return await admit_external(call, tx, profile, flow.provider, email_optional=flow.email_optional)


async def _provider(call: Call, flow: Flow) -> Provider:
    """It may have been switched off since."""
    try:
        return await choose_provider(call, flow.provider)
    except AuthError as error:
        raise AuthError("oauth_provider_not_supported", error.message) from error


def _check_issuer(provider: Provider, values: Mapping[str, str]) -> None:
    """A return that names another issuer than the flow began with is a mix-up (RFC 9207 §2.4)."""
    named = values.get("iss")
    if named and provider.issuer and not accepts_issuer(provider, named):
        raise AuthError("oauth_invalid_state", "OAuth provider mismatch")


def _with_posted_name(
    provider: Provider, profile: ExternalProfile, values: Mapping[str, str]
) -> ExternalProfile:
    """Apple tells the name once, in a form field beside the code, and the browser could have written it: it is taken
    for nothing more than a name."""
    if provider.description.issuer_rule != "apple" or not values.get("user"):
        return profile
    try:
        posted = orjson.loads(values["user"])
    except orjson.JSONDecodeError as exc:
        raise AuthError("bad_oauth_callback", "OAuth callback with an unreadable user") from exc
    name = f"{text(posted, 'name', 'firstName')} {text(posted, 'name', 'lastName')}".strip()
    if not name:
        return profile
    return replace(profile, claims={**profile.claims, "name": name, "full_name": name})


async def _values(call: Call) -> Mapping[str, str]:
    """The query, or the form of a POST. The first of repeated values counts. Raises AuthError."""
    if call.request.method != "POST":
        return call.query
    body = await call.request.body(MAX_FORM_BYTES)
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as exc:
        raise AuthError("bad_oauth_callback", "OAuth callback with an unreadable form") from exc
    if any("\x00" in value for _, value in pairs):
        raise AuthError("bad_oauth_callback", "OAuth callback with an unreadable form")
    return dict(reversed(pairs))


def _told(call: Call, error: Exception) -> BasaltError:
    """The error in Auth's words; what is nobody's fault but ours is logged."""
    if isinstance(error, OAuthError):
        return error
    if isinstance(error, UNAVAILABLE):
        return AuthError("unavailable")
    told = auth_error(error) if isinstance(error, BasaltError) else AuthError("unexpected_failure")
    if told.status >= 500 and not isinstance(told.__cause__, ProviderFailedError):
        cause = error.__cause__ or error
        reason = cause.sqlstate if isinstance(cause, psycopg.Error) else type(cause).__name__
        observe.event("auth_failed", level="error", path=call.request.path, code=told.code, reason=reason)
    return told


def _error_values(error: BasaltError) -> dict[str, str]:
    if isinstance(error, OAuthError):
        return {"error": error.code, "error_description": error.message}
    kind = "access_denied" if error.code in DENIED else OAUTH_ERRORS.get(error.status, "server_error")
    return {"error": kind, "error_code": error.code, "error_description": error.message}


def _session_values(session: Mapping[str, Any], tokens: Tokens) -> dict[str, str]:
    values = {
        name: str(session[name])
        for name in ("access_token", "token_type", "expires_in", "expires_at", "refresh_token")
    }
    values |= {"provider_token": tokens.access_token, "sb": ""}
    if tokens.refresh_token:
        values["provider_refresh_token"] = tokens.refresh_token
    return values
