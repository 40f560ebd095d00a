"""`/admin/custom-providers`: OAuth 2 and OpenID Connect providers added over the API (GoTrue custom_oauth_admin.go).

Addresses are checked when they are given, for an early answer; what protects is the guarded client that later asks
them. An OpenID provider's discovery document is fetched before the provider is stored. The client secret is never
shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import psycopg

from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.oauth.custom import PREFIX, find_custom
from basalt.auth.oauth.issuers import IssuerError, is_web_address
from basalt.auth.render import render_time
from basalt.auth.users import as_jsonb
from basalt.http import OutgoingError, Response, json_response, resolve_public

TYPES: Final = ("oauth2", "oidc")
RESERVED_PARAMETERS: Final = frozenset((
    "client_id", "client_secret", "redirect_uri", "response_type", "state", "code_challenge",
    "code_challenge_method", "code_verifier", "nonce",
))  # fmt: skip
# What no provider may say of a user.
PROTECTED_CLAIMS: Final = frozenset((
    "id", "aud", "role", "app_metadata", "created_at", "updated_at", "confirmed_at", "email_confirmed_at",
    "phone_confirmed_at", "email_verified", "phone_verified", "banned_until", "is_super_admin",
))  # fmt: skip
REQUIRED_DISCOVERY: Final = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")
KEPT_DISCOVERY: Final = (
    *REQUIRED_DISCOVERY, "userinfo_endpoint", "scopes_supported", "response_types_supported",
    "grant_types_supported", "subject_types_supported",
)  # fmt: skip
SHOWN: Final = (
    "provider_type", "identifier", "name", "client_id", "acceptable_client_ids", "scopes", "pkce_enabled",
    "attribute_mapping", "custom_claims_allowlist", "authorization_params", "enabled", "email_optional",
    "skip_nonce_check",
)  # fmt: skip
SHOWN_IF_SET: Final = (
    "issuer", "discovery_url", "authorization_url", "token_url", "userinfo_url", "jwks_uri",
)  # fmt: skip

LIST: Final = """
select * from auth.custom_oauth_providers
where %(type)s::text is null or provider_type = %(type)s
order by created_at desc, id
"""
LOCK: Final = "lock table auth.custom_oauth_providers in share row exclusive mode"
COUNT: Final = "select count(*)::int as count from auth.custom_oauth_providers"
INSERT: Final = """
insert into auth.custom_oauth_providers (id, provider_type, identifier, name, client_id, client_secret,
    acceptable_client_ids, scopes, pkce_enabled, attribute_mapping, custom_claims_allowlist, authorization_params,
    enabled, email_optional, issuer, discovery_url, skip_nonce_check, cached_discovery, discovery_cached_at,
    authorization_url, token_url, userinfo_url, jwks_uri)
values (%(id)s, %(provider_type)s, %(identifier)s, %(name)s, %(client_id)s, %(client_secret)s,
    %(acceptable_client_ids)s, %(scopes)s, %(pkce_enabled)s, %(attribute_mapping)s, %(custom_claims_allowlist)s,
    %(authorization_params)s, %(enabled)s, %(email_optional)s, %(issuer)s, %(discovery_url)s,
    %(skip_nonce_check)s, %(cached_discovery)s,
    case when %(cached_discovery)s::jsonb is not null then now() end,
    %(authorization_url)s, %(token_url)s, %(userinfo_url)s, %(jwks_uri)s)
returning *
"""
UPDATE: Final = """
update auth.custom_oauth_providers set name = %(name)s, client_id = %(client_id)s,
    client_secret = %(client_secret)s, acceptable_client_ids = %(acceptable_client_ids)s, scopes = %(scopes)s,
    pkce_enabled = %(pkce_enabled)s, attribute_mapping = %(attribute_mapping)s,
    custom_claims_allowlist = %(custom_claims_allowlist)s, authorization_params = %(authorization_params)s,
    enabled = %(enabled)s, email_optional = %(email_optional)s, issuer = %(issuer)s,
    discovery_url = %(discovery_url)s, skip_nonce_check = %(skip_nonce_check)s,
    discovery_cached_at = case when cached_discovery is distinct from %(cached_discovery)s then now()
        else discovery_cached_at end,
    cached_discovery = %(cached_discovery)s, authorization_url = %(authorization_url)s,
    token_url = %(token_url)s, userinfo_url = %(userinfo_url)s, jwks_uri = %(jwks_uri)s, updated_at = now()
where id = %(id)s
returning *
"""
DELETE: Final = "delete from auth.custom_oauth_providers where identifier = %(identifier)s returning id"


class Parameters(msgspec.Struct):
    provider_type: str = ""
    identifier: str = ""
    name: str = ""
    client_id: str = ""
    client_secret: str = ""
    acceptable_client_ids: list[str] | None = None
    scopes: list[str] | None = None
    pkce_enabled: bool | None = None
    attribute_mapping: dict[str, Any] | None = None
    custom_claims_allowlist: list[str] | None = None
    authorization_params: dict[str, Any] | None = None
    enabled: bool | None = None
    email_optional: bool | None = None
    issuer: str = ""
    discovery_url: str | None = None
    skip_nonce_check: bool | None = None
    authorization_url: str = ""
    token_url: str = ""
    userinfo_url: str = ""
    jwks_uri: str | None = None


COMMON: Final = (
    "name", "client_id", "client_secret", "acceptable_client_ids", "scopes", "pkce_enabled", "attribute_mapping",
    "custom_claims_allowlist", "authorization_params", "enabled", "email_optional",
)  # fmt: skip
OF_TYPE: Final[Mapping[str, Sequence[str]]] = {
    "oidc": ("issuer", "discovery_url", "skip_nonce_check"),
    "oauth2": ("authorization_url", "token_url", "userinfo_url", "jwks_uri"),
}
URLS: Final = ("issuer", "discovery_url", "authorization_url", "token_url", "userinfo_url", "jwks_uri")
DEFAULTS: Final[Mapping[str, Any]] = {
    "acceptable_client_ids": [],
    "scopes": [],
    "pkce_enabled": True,
    "attribute_mapping": {},
    "custom_claims_allowlist": [],
    "authorization_params": {},
    "enabled": True,
    "email_optional": False,
    "issuer": None,
    "discovery_url": None,
    "skip_nonce_check": False,
    "cached_discovery": None,
    "authorization_url": None,
    "token_url": None,
    "userinfo_url": None,
    "jwks_uri": None,
}


async def list_providers(call: Call) -> Response:
    _check_enabled(call)
    wanted = call.query.get("type") or None
    if wanted is not None and wanted not in TYPES:
        raise AuthError("validation_failed", "type must be either 'oauth2' or 'oidc'")
    async with call.auth.transaction() as tx:
        rows = await (await tx.execute(LIST, {"type": wanted})).fetchall()
    return json_response({"providers": [_render(row) for row in rows]})


async def show(call: Call, identifier: str) -> Response:
    _check_enabled(call)
    _check_identifier(identifier)
    async with call.auth.transaction() as tx:
        row = await find_custom(tx, identifier)
    if row is None:
        raise AuthError("custom_provider_not_found")
    return json_response(_render(row))


async def create(call: Call) -> Response:
    """Raises AuthError validation_failed, conflict, over_custom_provider_quota."""
    _check_enabled(call)
    parameters = await call.parameters(Parameters)
    if parameters.provider_type not in TYPES:
        raise AuthError("validation_failed", "provider_type must be either 'oauth2' or 'oidc'")
    _check_required(parameters)
    _check_contents(parameters)
    row = {**DEFAULTS, "id": uuid4(), "identifier": parameters.identifier}
    row["provider_type"] = parameters.provider_type
    row |= _given(parameters, parameters.provider_type)
    row["scopes"] = _scopes(row)
    await _check_room(call, parameters.identifier)
    await _check_urls(call, row)
    if parameters.provider_type == "oidc":
        row["cached_discovery"] = await _discovery(call, row)
    async with call.auth.transaction() as tx:
        if call.settings.custom_providers.max_providers:
            await tx.execute(LOCK)
            await _check_quota(call, tx)
        try:
            stored = await (await tx.execute(INSERT, _stored(row))).fetchone()
        except psycopg.errors.UniqueViolation as exc:
            raise _taken() from exc
        except psycopg.errors.CheckViolation as exc:
            raise _unfit(exc) from exc
    assert stored is not None
    return json_response(_render(stored), 201)


async def update(call: Call, identifier: str) -> Response:
    """What is given is changed. Raises AuthError custom_provider_not_found, validation_failed."""
    _check_enabled(call)
    _check_identifier(identifier)
    parameters = await call.parameters(Parameters)
    _check_contents(parameters)
    async with call.auth.transaction() as tx:
        row = await find_custom(tx, identifier)
    if row is None:
        raise AuthError("custom_provider_not_found")
    given = _given(parameters, row["provider_type"])
    await _check_urls(call, given)
    changed = {**row, **given}
    changed["scopes"] = _scopes(changed)
    if row["provider_type"] == "oidc" and ("issuer" in given or "discovery_url" in given):
        changed["cached_discovery"] = await _discovery(call, changed)
    async with call.auth.transaction() as tx:
        try:
            stored = await (await tx.execute(UPDATE, _stored(changed))).fetchone()
        except psycopg.errors.CheckViolation as exc:
            raise _unfit(exc) from exc
    if stored is None:
        raise AuthError("custom_provider_not_found")
    return json_response(_render(stored))


async def delete(call: Call, identifier: str) -> Response:
    _check_enabled(call)
    _check_identifier(identifier)
    async with call.auth.transaction() as tx:
        if await (await tx.execute(DELETE, {"identifier": identifier})).fetchone() is None:
            raise AuthError("custom_provider_not_found")
    return Response(204)


def _given(parameters: Parameters, provider_type: str) -> dict[str, Any]:
    """The fields that were sent and belong to the type; empty texts count as not sent."""
    names = (*COMMON, *OF_TYPE[provider_type])
    values = {name: getattr(parameters, name) for name in names}
    return {name: value for name, value in values.items() if value is not None and value != ""}


def _scopes(row: Mapping[str, Any]) -> list[str]:
    """OpenID providers are always asked for `openid`."""
    scopes: list[str] = row["scopes"]
    return scopes if row["provider_type"] == "oauth2" or "openid" in scopes else ["openid", *scopes]


def _check_enabled(call: Call) -> None:
    if not call.settings.custom_providers.enabled:
        raise AuthError("feature_disabled", "Custom OAuth providers are disabled", status=404)


def _check_identifier(identifier: str) -> None:
    if not identifier.startswith(PREFIX):
        message = f"identifier must start with 'custom:' prefix, e.g. 'custom:{identifier[:50]}'"
        raise AuthError("validation_failed", message)


def _check_required(parameters: Parameters) -> None:
    if not parameters.identifier:
        raise AuthError("validation_failed", "identifier is required")
    _check_identifier(parameters.identifier)
    for name in ("name", "client_id", "client_secret"):
        if not getattr(parameters, name):
            raise AuthError("validation_failed", f"{name} is required")
    if parameters.provider_type == "oidc":
        if not parameters.issuer:
            raise AuthError("validation_failed", "issuer is required for OIDC providers")
        return
    for name in ("authorization_url", "token_url", "userinfo_url"):
        if not getattr(parameters, name):
            raise AuthError("validation_failed", f"{name} is required for OAuth2 providers")


def _check_contents(parameters: Parameters) -> None:
    for name, value in (parameters.authorization_params or {}).items():
        if name.lower() in RESERVED_PARAMETERS:
            raise AuthError("validation_failed", f"Cannot override reserved OAuth parameter: {name}")
        if not isinstance(value, str):
            raise AuthError("validation_failed", f'Authorization parameter "{name}" must be a string')
    for name in parameters.attribute_mapping or {}:
        if name in PROTECTED_CLAIMS:
            raise AuthError("validation_failed", f"Cannot map to protected system field: {name}")
    if any(not name.strip() for name in parameters.custom_claims_allowlist or []):
        raise AuthError("validation_failed", "custom_claims_allowlist entries must be non-empty strings")


async def _check_room(call: Call, identifier: str) -> None:
    """Before anything is fetched."""
    async with call.auth.transaction() as tx:
        await _check_quota(call, tx)
        if await find_custom(tx, identifier) is not None:
            raise _taken()


async def _check_quota(call: Call, tx: psycopg.AsyncConnection[dict[str, Any]]) -> None:
    limit = call.settings.custom_providers.max_providers
    if not limit:
        return
    row = await (await tx.execute(COUNT)).fetchone()
    assert row is not None
    if row["count"] >= limit:
        message = "Maximum number of custom OAuth/OIDC providers reached"
        raise AuthError("over_custom_provider_quota", message)


async def _check_urls(call: Call, fields: Mapping[str, Any]) -> None:
    for name in URLS:
        if fields.get(name):
            await _check_url(call, fields[name])


async def _check_url(call: Call, url: str) -> None:
    if not is_web_address(url):
        raise AuthError("validation_failed", "Invalid URL format")
    if call.settings.custom_providers.allow_private_addresses:
        return
    parts = urlsplit(url)
    if parts.scheme != "https":
        raise AuthError("validation_failed", "URL must use HTTPS")
    host = (parts.hostname or "").lower()
    if host == "localhost" or host.endswith(".localhost"):
        raise AuthError("validation_failed", "URL cannot point to localhost or loopback addresses")
    try:
        await resolve_public(host)
    except OutgoingError as exc:
        message = "URL cannot resolve to private network addresses"
        raise AuthError("validation_failed", message) from exc
    except (OSError, UnicodeError) as exc:
        raise AuthError("validation_failed", "Unable to resolve hostname") from exc


async def _discovery(call: Call, row: Mapping[str, Any]) -> dict[str, Any]:
    """The document as it is now, with what a sign-in will need."""
    issuers = call.auth.custom_issuers
    issuers.forget()
    try:
        found = await issuers.discover(row["issuer"], row["discovery_url"])
    except IssuerError as exc:
        raise AuthError("validation_failed", f"OIDC discovery failed: {exc}") from exc
    missing = [name for name in REQUIRED_DISCOVERY if not found.document.get(name)]
    if missing:
        message = f"OIDC discovery document is missing required fields: {', '.join(missing)}"
        raise AuthError("validation_failed", message)
    return {name: found.document[name] for name in KEPT_DISCOVERY if found.document.get(name)}


def _stored(row: Mapping[str, Any]) -> dict[str, Any]:
    stored = dict(row)
    for name in ("attribute_mapping", "authorization_params", "cached_discovery"):
        if stored[name] is not None:
            stored[name] = as_jsonb(stored[name])
    return stored


def _render(row: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": str(row["id"])} | {name: row[name] for name in SHOWN}
    shown |= {name: row[name] for name in SHOWN_IF_SET if row[name]}
    if row["cached_discovery"]:
        shown["discovery_document"] = row["cached_discovery"]
    shown["created_at"] = render_time(row["created_at"])
    shown["updated_at"] = render_time(row["updated_at"])
    return shown


def _taken() -> AuthError:
    message = "A custom OAuth provider with this identifier already exists"
    return AuthError("conflict", message, status=400)


def _unfit(error: psycopg.errors.CheckViolation) -> AuthError:
    """A constraint's name says which field is too long or malformed."""
    named = (error.diag.constraint_name or "").removeprefix("custom_oauth_providers_")
    return AuthError("validation_failed", f"A field is malformed or too long: {named}")
