"""`/admin/sso/providers`: identity providers as administrators add and change them (GoTrue ssoadmin.go)."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import psycopg

from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.sso.claims import TRANSIENT
from basalt.auth.sso.metadata import IdentityProvider, parse_metadata
from basalt.auth.sso.providers import (
    SsoProvider,
    create_provider,
    delete_provider,
    find_by_domain,
    find_by_entity_id,
    find_by_id,
    find_by_resource_id,
    list_providers,
    render_provider,
    save_provider,
)
from basalt.auth.sso.refresh import fetch_metadata
from basalt.auth.sso.service_provider import EMAIL_ADDRESS, PERSISTENT
from basalt.auth.users import Transaction
from basalt.http import Response, json_response

UNSPECIFIED: Final = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
NAME_ID_FORMATS: Final = (PERSISTENT, EMAIL_ADDRESS, TRANSIENT, UNSPECIFIED)
RESOURCE_PREFIX: Final = "resource_"
MAX_URL_LENGTH: Final = 2048
CONFLICT: Final = "Updating SSO provider failed, likely due to a conflict. Try again?"


class MappedAttribute(msgspec.Struct, omit_defaults=True):
    name: str | None = None
    names: list[str] | None = None
    default: Any = None
    array: bool | None = None


class AttributeMapping(msgspec.Struct):
    keys: dict[str, MappedAttribute] | None = None


class Parameters(msgspec.Struct):
    """A field that is not there stays as it is, but for `name_id_format`."""

    type: str = ""
    metadata_url: str = ""
    metadata_xml: str = ""
    domains: list[str] | None = None
    attribute_mapping: AttributeMapping | None = None
    name_id_format: str = ""
    resource_id: str | None = None
    disabled: bool | None = None


async def show_providers(call: Call) -> Response:
    """All of them, without their metadata; `?resource_id=` or `?resource_id_prefix=` chooses."""
    resource_id = call.query.get("resource_id") or None
    prefix = None if resource_id else call.query.get("resource_id_prefix") or None
    async with call.auth.transaction() as tx:
        found = await list_providers(tx, resource_id=resource_id, prefix=prefix)
    return json_response({"items": [render_provider(provider, with_metadata=False) for provider in found]})


async def add_provider(call: Call) -> Response:
    """Raises AuthError validation_failed, saml_metadata_fetch_failed, saml_idp_already_exists,
    sso_domain_already_exists, conflict."""
    parameters = await call.parameters(Parameters)
    if parameters.type != "saml":
        raise AuthError("validation_failed", "Only 'saml' supported for SSO provider type")
    _check(call, parameters)
    if not parameters.metadata_url and not parameters.metadata_xml:
        raise AuthError("validation_failed", "Either metadata_xml or metadata_url must be set")
    text, idp = await _metadata(call, parameters)
    domains = _domains(parameters.domains or ())
    try:
        async with call.auth.transaction() as tx:
            await _check_new(tx, idp, domains)
            provider = await create_provider(
                tx,
                entity_id=idp.entity_id,
                metadata_xml=text,
                metadata_url=parameters.metadata_url or None,
                attribute_mapping=_mapping(parameters.attribute_mapping),
                name_id_format=parameters.name_id_format or None,
                domains=domains,
                resource_id=parameters.resource_id or None,
                disabled=parameters.disabled,
            )
    except psycopg.errors.UniqueViolation as exc:
        message = "An SSO provider with this resource_id, domain or EntityID exists already"
        raise AuthError("conflict", message, status=422) from exc
    return json_response(render_provider(provider), 201)


async def show_provider(call: Call, provider_id: str) -> Response:
    async with call.auth.transaction() as tx:
        provider = await _load(tx, provider_id)
    return json_response(render_provider(provider))


async def update_provider(call: Call, provider_id: str) -> Response:
    """Raises AuthError sso_provider_not_found, saml_entity_id_mismatch and what `add_provider` raises."""
    async with call.auth.transaction() as tx:
        provider = await _load(tx, provider_id)
    parameters = await call.parameters(Parameters)
    _check(call, parameters)
    metadata_xml, metadata_url = provider.metadata_xml, provider.metadata_url
    if parameters.metadata_xml or parameters.metadata_url:
        metadata_xml, idp = await _metadata(call, parameters)
        metadata_url = parameters.metadata_url or metadata_url
        if idp.entity_id != provider.entity_id:
            raise AuthError(
                "saml_entity_id_mismatch",
                "SAML Metadata can be updated only if the EntityID matches for the provider; expected"
                f" '{provider.entity_id}' but got '{idp.entity_id}'",
            )
    try:
        async with call.auth.transaction() as tx:
            present = await _load(tx, provider_id)
            changed = replace(
                _changed(present, parameters), metadata_xml=metadata_xml, metadata_url=metadata_url
            )
            await _check_domains(tx, changed)
            if changed != present:
                changed = await save_provider(tx, changed)
    except psycopg.errors.UniqueViolation as exc:
        raise AuthError("conflict", CONFLICT, status=422) from exc
    return json_response(render_provider(changed))


async def remove_provider(call: Call, provider_id: str) -> Response:
    """Its users stay, and cannot sign in any more."""
    async with call.auth.transaction() as tx:
        provider = await _load(tx, provider_id)
        await delete_provider(tx, provider)
    return json_response(render_provider(provider))


async def _load(tx: Transaction, text: str) -> SsoProvider:
    """By id, or by `resource_ID`. Raises AuthError sso_provider_not_found."""
    found: SsoProvider | None = None
    if "\x00" not in text:
        if text.startswith(RESOURCE_PREFIX):
            found = await find_by_resource_id(tx, text.removeprefix(RESOURCE_PREFIX))
        else:
            with suppress(ValueError):
                found = await find_by_id(tx, UUID(text))
    if found is None:
        raise AuthError("sso_provider_not_found", "SSO Identity Provider not found")
    return found


def _check(call: Call, parameters: Parameters) -> None:
    if parameters.metadata_url and parameters.metadata_xml:
        message = "Only one of metadata_xml or metadata_url needs to be set"
        raise AuthError("validation_failed", message)
    if parameters.metadata_url:
        _check_url(call, parameters.metadata_url)
    if parameters.name_id_format not in ("", *NAME_ID_FORMATS):
        message = f"name_id_format must be unspecified or one of {', '.join(NAME_ID_FORMATS)}"
        raise AuthError("validation_failed", message)


def _check_url(call: Call, url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if not parts.scheme or not parts.hostname or len(url) > MAX_URL_LENGTH:
        raise AuthError("validation_failed", "metadata_url is not a valid URL")
    allows_plain = call.settings.saml.allow_private_addresses
    if parts.scheme != "https" and not (parts.scheme == "http" and allows_plain):
        raise AuthError("validation_failed", "metadata_url is not a HTTPS URL")


async def _metadata(call: Call, parameters: Parameters) -> tuple[str, IdentityProvider]:
    text = parameters.metadata_xml or await fetch_metadata(call, parameters.metadata_url)
    return text, await asyncio.to_thread(parse_metadata, text)


async def _check_new(tx: Transaction, idp: IdentityProvider, domains: Sequence[str]) -> None:
    if await find_by_entity_id(tx, idp.entity_id) is not None:
        message = f"SAML Identity Provider with this EntityID ({idp.entity_id}) already exists"
        raise AuthError("saml_idp_already_exists", message)
    for domain in domains:
        other = await find_by_domain(tx, domain)
        if other is not None:
            message = f"SSO Domain '{domain}' is already assigned to an SSO identity provider ({other.id})"
            raise AuthError("sso_domain_already_exists", message)


async def _check_domains(tx: Transaction, provider: SsoProvider) -> None:
    for domain in provider.domains:
        other = await find_by_domain(tx, domain)
        if other is not None and other.id != provider.id:
            message = f"SSO domain '{domain}' already assigned to another provider ({other.id})"
            raise AuthError("sso_domain_already_exists", message)


def _changed(provider: SsoProvider, parameters: Parameters) -> SsoProvider:
    """The provider with what the request names; metadata aside."""
    provider = replace(provider, name_id_format=parameters.name_id_format or None)
    if parameters.domains is not None:
        provider = replace(provider, domains=_merged(provider.domains, _domains(parameters.domains)))
    if parameters.attribute_mapping is not None and parameters.attribute_mapping.keys is not None:
        provider = replace(provider, attribute_mapping=_mapping(parameters.attribute_mapping))
    if parameters.resource_id is not None:
        provider = replace(provider, resource_id=parameters.resource_id or None)
    if parameters.disabled is not None:
        provider = replace(provider, disabled=parameters.disabled)
    return provider


def _domains(given: Sequence[str]) -> list[str]:
    """Each domain once, whatever its case; the index has them so."""
    if not all(given):
        raise AuthError("validation_failed", "A domain must not be empty")
    return list({domain.lower(): domain for domain in reversed(given)}.values())[::-1]


def _merged(present: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The domains that stay keep their spelling and place, new ones follow."""
    names = {domain.lower() for domain in wanted}
    kept = [domain for domain in present if domain.lower() in names]
    known = {domain.lower() for domain in kept}
    return kept + [domain for domain in wanted if domain.lower() not in known]


def _mapping(given: AttributeMapping | None) -> dict[str, Any]:
    if given is None or not given.keys:
        return {}
    mapping: dict[str, Any] = msgspec.to_builtins({"keys": given.keys})
    return mapping
