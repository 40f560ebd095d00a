"""`POST /token?grant_type=id_token`: an app has signed its user in with the provider itself and brings the ID token
(GoTrue token_oidc.go).

The provider that the request names decides issuer, keys and audiences; the token only has to fit.
"""

import hashlib
from collections.abc import Mapping
from hmac import compare_digest
from typing import Any, Final

import msgspec

from basalt.auth.call import Call, require_user
from basalt.auth.errors import AuthError, OAuthError
from basalt.auth.external_identity import ExternalProfile, admit_external
from basalt.auth.oauth.authorize import check_linking_enabled
from basalt.auth.oauth.choose import find_provider
from basalt.auth.oauth.custom import PREFIX
from basalt.auth.oauth.engine import (
    APPLE_ISSUERS,
    AZURE_ISSUER,
    Provider,
    accepts_issuer,
    read_id_token,
    report_failure,
    verified_claims,
)
from basalt.auth.oauth.id_token import (
    IdTokenError,
    audiences_of,
    check_access_token,
    check_audience,
    issuer_of,
)
from basalt.auth.oauth.identities import link_identity
from basalt.auth.oauth.issuers import IssuerError
from basalt.auth.oauth.providers import KNOWN
from basalt.auth.tokens import issue_session, session_response
from basalt.auth.users import lock_user
from basalt.http import Response

INVALID: Final = "invalid request"
# Clients that name no provider but its issuer (GoTrue getProvider).
NAME_OF_ISSUER: Final[Mapping[str, str]] = {
    description.issuer.under(None): name
    for name, description in KNOWN.items()
    if description.takes_id_tokens and description.issuer is not None and not description.needs_url
} | dict.fromkeys(APPLE_ISSUERS, "apple")


class Parameters(msgspec.Struct):
    id_token: str = ""
    access_token: str = ""
    nonce: str = ""
    provider: str = ""
    client_id: str = ""
    issuer: str = ""
    link_identity: bool = False


async def sign_in_with_id_token(call: Call) -> Response:
    """Raises OAuthError `invalid request`, `invalid nonce`; AuthError validation_failed, provider_disabled, and what
    admission raises."""
    await call.auth.limits.check("sign_in", call.request)
    parameters = await call.parameters(Parameters)
    if not parameters.id_token:
        raise OAuthError(INVALID, "id_token required")
    if not parameters.provider and not (parameters.client_id and parameters.issuer):
        raise OAuthError(INVALID, "provider or client_id and issuer required")
    if parameters.link_identity:
        await _require_target(call)
    provider = await _provider(call, parameters)
    profile = await _prove(provider, parameters)
    async with call.auth.transaction() as tx:
        if parameters.link_identity:
            user = await lock_user(tx, call.user)
            user = await link_identity(call, tx, user, profile, provider.name)
        else:
            user = await admit_external(
                call, tx, profile, provider.name, email_optional=provider.email_optional
            )
        session = await issue_session(call, tx, user, "oauth")
    return session_response(session)


async def _require_target(call: Call) -> None:
    if not call.request.headers.get("authorization"):
        raise OAuthError(INVALID, "Linking requires a valid user access token in Authorization")
    await require_user(call)
    check_linking_enabled(call)


async def _provider(call: Call, parameters: Parameters) -> Provider:
    name = _name(call, parameters)
    try:
        provider = await find_provider(call, name)
    except LookupError as exc:
        raise _refusal(name, str(exc.args[0]), parameters) from exc
    if not provider.description.takes_id_tokens:
        if name.startswith(PREFIX):
            raise AuthError("validation_failed", f'Provider "{name}" is not an OIDC provider')
        raise _not_allowed(parameters)
    _check_issuer(provider, parameters)
    return provider


def _name(call: Call, parameters: Parameters) -> str:
    if parameters.provider:
        return parameters.provider
    if AZURE_ISSUER.fullmatch(parameters.issuer):
        return "azure"
    for name, settings in call.settings.external.items():
        if settings.enabled and parameters.issuer in (settings.issuer, settings.url):
            return name
    return NAME_OF_ISSUER.get(parameters.issuer, "")


def _check_issuer(provider: Provider, parameters: Parameters) -> None:
    """Before anything is fetched: for Apple and Azure, which go by several names, GoTrue has words of its own."""
    rule = provider.description.issuer_rule
    if rule == "exact":
        return
    title = provider.name.capitalize()
    try:
        detected = issuer_of(parameters.id_token)
    except IdTokenError as exc:
        message = f"Unable to detect issuer in ID token for {title} provider"
        raise AuthError("validation_failed", message) from exc
    if not accepts_issuer(provider, detected):
        article = "an"
        message = f"Detected ID token issuer is not {article} {title} ID token issuer"
        raise AuthError("validation_failed", message)
    if parameters.issuer and parameters.issuer != detected:
        raise AuthError("validation_failed", "Provided issuer does not match ID token issuer")


async def _prove(provider: Provider, parameters: Parameters) -> ExternalProfile:
    try:
        claims = await verified_claims(provider, parameters.id_token)
        if parameters.access_token:
            check_access_token(parameters.id_token, claims, parameters.access_token)
        profile = read_id_token(provider, claims)
    except IdTokenError as exc:
        report_failure(provider.name, exc)
        raise OAuthError(INVALID, "Bad ID token") from exc
    except IssuerError as exc:
        report_failure(provider.name, exc)
        message = f"The keys of provider {provider.name} cannot be loaded"
        raise AuthError("unexpected_failure", message) from exc
    try:
        check_audience(claims, provider.client_ids)
    except IdTokenError as exc:
        audiences = " ".join(audiences_of(claims))[:500]
        raise OAuthError(INVALID, f"Unacceptable audience in id_token: [{audiences}]") from exc
    if provider.checks_nonce:
        _check_nonce(claims, parameters.nonce)
    return profile


def _check_nonce(claims: Mapping[str, Any], nonce: str) -> None:
    """The token holds the SHA-256 of what the app kept, in hexadecimal digits."""
    expected = claims.get("nonce") or ""
    if bool(expected) != bool(nonce):
        message = "Passed nonce and nonce in id_token should either both exist or not."
        raise OAuthError(INVALID, message)
    if nonce:
        digest = hashlib.sha256(nonce.encode()).hexdigest()
        if not compare_digest(digest.encode(), str(expected).encode()):
            raise OAuthError("invalid nonce", "Nonces mismatch")


def _refusal(name: str, reason: str, parameters: Parameters) -> AuthError:
    if name.startswith(PREFIX):
        known = {
            "custom OAuth providers are disabled": (
                "validation_failed",
                "Custom OAuth providers are disabled",
            ),
            f"custom provider {name} is disabled": (
                "provider_disabled",
                f'Custom provider "{name}" is disabled',
            ),
        }
        code, message = known.get(reason, ("validation_failed", f'Custom provider "{name}" not found'))
        return AuthError(code, message)
    description = KNOWN.get(name)
    if reason == "provider is not enabled" and (description is None or description.takes_id_tokens):
        issuer = description.issuer.under(None) if description and description.issuer else name
        return AuthError("provider_disabled", f'Provider (issuer "{issuer}") is not enabled')
    return _not_allowed(parameters)


def _not_allowed(parameters: Parameters) -> AuthError:
    return AuthError("validation_failed", f'Custom OIDC provider "{parameters.provider}" not allowed')
