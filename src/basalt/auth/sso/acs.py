"""`POST /sso/saml/acs`: an identity provider's answer comes back with the browser (GoTrue samlacs.go).

`RelayState` is the id of a sign-on that began here, good for one answer; or it is empty or an address, when the
provider began. Verification runs in a thread, between two transactions. Whoever comes here is sent on in any case:
with a session, with a code for the PKCE exchange, or to the site with the error. GoTrue makes a session for a PKCE
flow at this point, too, that nobody ever gets; here it is made by the exchange.
"""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID

from basalt.auth.audit import record
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.external_identity import admit_external
from basalt.auth.parameters import MAX_BODY_BYTES
from basalt.auth.redirects import with_fragment, with_query
from basalt.auth.sso.claims import build_profile
from basalt.auth.sso.providers import SsoProvider, find_by_entity_id, find_by_id, store_metadata
from basalt.auth.sso.refresh import read_provider
from basalt.auth.sso.response import CLOCK_SKEW, Assertion, read_issuer, verify_response
from basalt.auth.sso.session_end import keep_session_end
from basalt.auth.sso.sign_on import require_saml
from basalt.auth.sso.xml import SamlError
from basalt.auth.tokens import issue_session
from basalt.auth.uris import parse_uri
from basalt.auth.used_proofs import use_proof
from basalt.auth.users import Transaction, User
from basalt.auth.verify import OAUTH_ERRORS
from basalt.http import Response

# GoTrue external.go getErrorQueryString
ACCESS_DENIED: Final = frozenset(("signup_disabled", "user_banned", "provider_email_needs_verification"))

USE_RELAY_STATE: Final = """
delete from auth.saml_relay_states where id = %(id)s
returning sso_provider_id, request_id, redirect_to, flow_state_id, created_at
"""
FINISH_FLOW: Final = """
update auth.flow_state set user_id = %(user_id)s, auth_code_issued_at = now(), updated_at = now()
where id = %(id)s and user_id is null
returning auth_code
"""


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-on, by whoever began it: `request_id` is None where the provider did."""

    provider: SsoProvider
    request_id: str | None
    redirect_to: str
    flow_id: UUID | None = None


async def consume_assertion(call: Call) -> Response:
    """Raises AuthError saml_provider_disabled, over_request_rate_limit; every other error goes with the browser."""
    require_saml(call)
    await call.auth.limits.check("saml_assertion", call.request)
    form = await _read_form(call)
    try:
        target, status = await _consume(call, form), HTTPStatus.FOUND
    except AuthError as error:
        target, status = _error_target(call.settings.site_url, error), HTTPStatus.SEE_OTHER
    return Response(status, [(b"location", target.encode()), (b"cache-control", b"no-store")])


async def _consume(call: Call, form: Mapping[str, str]) -> str:
    data = _decode(form)
    begun = await _find_begun(call, form, data)
    if begun.provider.disabled:
        message = "SSO Provider assigned for this domain is currently disabled"
        raise AuthError("sso_provider_disabled", message, status=404)
    provider, idp = await read_provider(call, begun.provider)
    try:
        assertion = await asyncio.to_thread(
            verify_response,
            _required(data),
            idp,
            require_saml(call),
            request_id=begun.request_id,
            now=datetime.now(UTC),
        )
    except SamlError as exc:
        raise AuthError("validation_failed", f"SAML Assertion is not valid: {exc}") from exc
    profile = build_profile(assertion, provider)
    redirect_to = call.auth.redirects.choose((begun.redirect_to,))
    async with call.auth.transaction() as tx:
        await _use_up(tx, assertion, provider)
        if provider.metadata_xml != begun.provider.metadata_xml:
            await store_metadata(tx, provider, provider.metadata_xml)
        user = await admit_external(call, tx, profile, provider.name)
        await record(tx, user, "login", {"provider": provider.name, "provider_type": "sso/saml"})
        if begun.flow_id is not None:
            code = await _finish_flow(tx, begun.flow_id, user, assertion)
            return with_query(redirect_to, {"code": code})
        session = await issue_session(call, tx, user, "sso/saml", not_after=assertion.session_ends_at)
    return with_fragment(redirect_to, _session_values(session))


async def _find_begun(call: Call, form: Mapping[str, str], data: bytes | None) -> Begun:
    relay_state = form.get("RelayState", "")
    state_id = _uuid(relay_state)
    if state_id is not None:
        async with call.auth.transaction() as tx:
            row = await (await tx.execute(USE_RELAY_STATE, {"id": state_id})).fetchone()
        return await _begun_here(call, row)
    if relay_state and parse_uri(relay_state) is None:
        raise AuthError("validation_failed", "SAML RelayState is not a valid UUID or URL")
    if form.get("SAMLart"):
        message = "SAML Artifact response can only be used with SP initiated flow"
        raise AuthError("validation_failed", message)
    try:
        issuer = await asyncio.to_thread(read_issuer, _required(data))
    except SamlError as exc:
        message = f"SAMLResponse is not a valid XML SAML assertion: {exc}"
        raise AuthError("validation_failed", message) from exc
    async with call.auth.transaction() as tx:
        provider = await find_by_entity_id(tx, issuer)
    if provider is None:
        message = "A SAML connection has not been established with this Identity Provider"
        raise AuthError("saml_idp_not_found", message)
    return Begun(provider, None, relay_state)


async def _begun_here(call: Call, row: Mapping[str, Any] | None) -> Begun:
    """A relay state that has just been used up."""
    if row is None:
        raise AuthError("saml_relay_state_not_found")
    life = timedelta(seconds=call.settings.saml.relay_state_validity_s)
    if datetime.now(UTC) - row["created_at"] >= life:
        message = "SAML RelayState has expired. Try logging in again?"
        raise AuthError("saml_relay_state_expired", message, status=422)
    async with call.auth.transaction() as tx:
        provider = await find_by_id(tx, row["sso_provider_id"])
    if provider is None:
        raise AuthError("saml_idp_not_found")
    return Begun(provider, row["request_id"], row["redirect_to"] or "", row["flow_state_id"])


async def _use_up(tx: Transaction, assertion: Assertion, provider: SsoProvider) -> None:
    expires_at = assertion.refused_after + CLOCK_SKEW
    if not await use_proof(tx, "saml", f"{provider.entity_id} {assertion.id}", expires_at=expires_at):
        raise AuthError("validation_failed", "SAML Assertion is not valid: it has been used already")


async def _finish_flow(tx: Transaction, flow_id: UUID, user: User, assertion: Assertion) -> str:
    row = await (await tx.execute(FINISH_FLOW, {"id": flow_id, "user_id": user.id})).fetchone()
    if row is None:
        raise AuthError("flow_state_already_used", "State has already been used", status=400)
    if assertion.session_ends_at is not None:
        await keep_session_end(tx, flow_id, assertion.session_ends_at)
    return str(row["auth_code"])


async def _read_form(call: Call) -> Mapping[str, str]:
    """The fields of the form that the provider made the browser send, none where it is no form."""
    body = await call.request.body(MAX_BODY_BYTES)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:
        return {}
    form: dict[str, str] = {}
    for name, value in pairs:
        form.setdefault(name, value.replace("\x00", ""))
    return form


def _decode(form: Mapping[str, str]) -> bytes | None:
    """The response's XML; line breaks in the Base64 do no harm."""
    text = form.get("SAMLResponse", "")
    if not text:
        return None
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise AuthError("validation_failed", "SAMLResponse is not a valid Base64 string") from None


def _required(data: bytes | None) -> bytes:
    if data is None:
        raise AuthError("validation_failed", "SAMLResponse is missing")
    return data


def _session_values(session: Mapping[str, Any]) -> dict[str, str]:
    names = ("access_token", "token_type", "expires_in", "expires_at", "refresh_token")
    return {name: str(session[name]) for name in names} | {"sb": ""}


def _error_target(site_url: str, error: AuthError) -> str:
    usual = OAUTH_ERRORS.get(error.status, "server_error")
    values = {
        "error": "access_denied" if error.code in ACCESS_DENIED else usual,
        "error_code": error.code,
        "error_description": error.message,
    }
    return with_query(site_url, values)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
