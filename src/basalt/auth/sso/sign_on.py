"""`POST /sso` sends somebody to the company's identity provider; `GET /sso/saml/metadata` is what that provider has to
know of us (GoTrue sso.go, saml.go)."""

import asyncio
from http import HTTPStatus
from typing import Final
from uuid import UUID, uuid4

import msgspec

from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.pkce import INSERT_FLOW, check_challenge
from basalt.auth.sso.metadata import parse_metadata
from basalt.auth.sso.providers import SsoProvider, find_by_domain, find_by_id
from basalt.auth.sso.service_provider import (
    PERSISTENT,
    ServiceProvider,
    build_request,
    redirect_url,
    render_metadata,
)
from basalt.auth.users import Transaction
from basalt.http import Response, json_response

METADATA_MAX_AGE_S: Final = 600
CHANGING_MAX_AGE_S: Final = 60  # so that providers see the next key in time

# Sign-ons that nobody finished go the same way as the others, when there is occasion.
INSERT_RELAY_STATE: Final = """
with forgotten as (
    delete from auth.saml_relay_states where id in (
        select id from auth.saml_relay_states where created_at < now() - interval '1 day'
        order by created_at limit 100 for update skip locked)
)
insert into auth.saml_relay_states (id, sso_provider_id, request_id, redirect_to, flow_state_id, created_at, updated_at)
values (%(id)s, %(sso_provider_id)s, %(request_id)s, %(redirect_to)s, %(flow_state_id)s, now(), now())
"""


class Parameters(msgspec.Struct):
    provider_id: UUID = UUID(int=0)
    domain: str = ""
    redirect_to: str = ""
    skip_http_redirect: bool = False
    code_challenge: str = ""
    code_challenge_method: str = ""


async def sign_on(call: Call) -> Response:
    """Raises AuthError saml_provider_disabled, sso_provider_not_found, sso_provider_disabled, validation_failed."""
    sp = require_saml(call)
    await call.auth.limits.check("sso", call.request)
    parameters = await call.parameters(Parameters)
    async with call.auth.transaction() as tx:
        provider = await _find(tx, parameters)
    if provider.disabled:
        raise AuthError("sso_provider_disabled", "SSO Provider is currently disabled", status=404)
    is_pkce = check_challenge(parameters.code_challenge, parameters.code_challenge_method)
    idp = await asyncio.to_thread(parse_metadata, provider.metadata_xml)
    if not idp.sign_on_url:
        message = (
            "The identity provider takes no sign-on requests by HTTP-Redirect; sign-on has to begin there"
        )
        raise AuthError("validation_failed", message)
    request_id, request = build_request(sp, idp.sign_on_url, provider.name_id_format or PERSISTENT)
    async with call.auth.transaction() as tx:
        flow_id = await _keep_flow(tx, parameters) if is_pkce else None
        relay_state = await _keep_relay_state(tx, provider, request_id, parameters.redirect_to, flow_id)
    url = redirect_url(sp, idp.sign_on_url, request, relay_state)
    if parameters.skip_http_redirect:
        return json_response({"url": url})
    return Response(HTTPStatus.SEE_OTHER, [(b"location", url.encode()), (b"cache-control", b"no-store")])


async def show_metadata(call: Call) -> Response:
    """`?download=true` gives a file to hand on. Raises AuthError saml_provider_disabled."""
    sp = require_saml(call)
    is_download = call.query.get("download") == "true"
    max_age_s = CHANGING_MAX_AGE_S if sp.is_changing_keys else METADATA_MAX_AGE_S
    headers = [
        (b"content-type", b"application/xml"),
        (b"cache-control", b"public, max-age=%d" % max_age_s),
    ]
    if is_download:
        headers.append((b"content-disposition", b'attachment; filename="metadata.xml"'))
    return Response(HTTPStatus.OK, headers, render_metadata(sp, is_download=is_download))


def require_saml(call: Call) -> ServiceProvider:
    if call.auth.saml is None:
        raise AuthError("saml_provider_disabled")
    return call.auth.saml


async def _find(tx: Transaction, parameters: Parameters) -> SsoProvider:
    has_id, has_domain = parameters.provider_id.int != 0, bool(parameters.domain)
    if has_id and has_domain:
        raise AuthError("validation_failed", "Only one of provider_id or domain supported")
    if has_id:
        found = await find_by_id(tx, parameters.provider_id)
    elif has_domain:
        found = await find_by_domain(tx, parameters.domain)
    else:
        raise AuthError("validation_failed", "A provider_id or domain needs to be provided")
    if found is None:
        message = "No such SSO provider" if has_id else "No SSO provider assigned for this domain"
        raise AuthError("sso_provider_not_found", message)
    return found


async def _keep_flow(tx: Transaction, parameters: Parameters) -> UUID:
    """The challenge, until the provider has told who it is."""
    flow_id = uuid4()
    row = {
        "id": flow_id,
        "user_id": None,
        "auth_code": str(uuid4()),
        "challenge": parameters.code_challenge,
        "challenge_method": parameters.code_challenge_method.lower(),
        "provider_type": "sso/saml",
        "method": "sso/saml",
    }
    await tx.execute(INSERT_FLOW, row)
    return flow_id


async def _keep_relay_state(
    tx: Transaction, provider: SsoProvider, request_id: str, redirect_to: str, flow_id: UUID | None
) -> str:
    relay_state = uuid4()
    row = {
        "id": relay_state,
        "sso_provider_id": provider.id,
        "request_id": request_id,
        "redirect_to": redirect_to,
        "flow_state_id": flow_id,
    }
    await tx.execute(INSERT_RELAY_STATE, row)
    return str(relay_state)
