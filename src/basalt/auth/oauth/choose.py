"""Which provider a name stands for: a known one, one of the project's `[auth.external.NAME]`, or a `custom:…` of the
database."""

from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.oauth.custom import PREFIX, custom_provider, describe, find_custom
from basalt.auth.oauth.engine import Provider
from basalt.auth.oauth.providers import KNOWN, Description
from basalt.config import ExternalProviderSettings


async def choose_provider(call: Call, name: str) -> Provider:
    """To sign in with in a browser. Raises AuthError validation_failed with GoTrue's reasons."""
    name = name.lower()
    try:
        provider = await _find(call, name)
        _check_complete(call.settings.external.get(name), provider)
    except LookupError as exc:
        raise AuthError("validation_failed", f"Unsupported provider: {exc.args[0]}") from exc
    return provider


async def find_provider(call: Call, name: str) -> Provider:
    """The provider if it is enabled, with or without what a browser flow needs. Raises LookupError with the reason."""
    return await _find(call, name.lower())


async def _find(call: Call, name: str) -> Provider:
    if name.startswith(PREFIX):
        return await _find_custom(call, name)
    settings = call.settings.external.get(name)
    description = KNOWN.get(name)
    if description is None:
        description = _own_description(settings)
    if description is None:
        raise LookupError(f"Provider {name} could not be found")
    if settings is None or not settings.enabled:
        raise LookupError("provider is not enabled")
    return _configured(call, name, description, settings)


def redirect_uri(call: Call) -> str:
    return f"{call.auth.base_url}/auth/v1/callback"


async def _find_custom(call: Call, name: str) -> Provider:
    if not call.settings.custom_providers.enabled:
        raise LookupError("custom OAuth providers are disabled")
    async with call.auth.transaction() as tx:
        row = await find_custom(tx, name)
    if row is None:
        raise LookupError(f"custom provider {name} not found")
    if not row["enabled"]:
        raise LookupError(f"custom provider {name} is disabled")
    return custom_provider(row, call.auth.custom_issuers, redirect_uri(call))


def _configured(
    call: Call, name: str, description: Description, settings: ExternalProviderSettings
) -> Provider:
    is_own = name not in KNOWN
    return Provider(
        name=name,
        description=description,
        client_ids=tuple(part.strip() for part in settings.client_id.split(",") if part.strip()),
        secret=settings.secret or "",
        redirect_uri=settings.redirect_uri or redirect_uri(call),
        issuers=call.auth.issuers,
        url=settings.url or None,
        own_issuer=settings.issuer if is_own else None,
        scopes=settings.scopes if is_own else None,
        discovery_url=settings.discovery_url if is_own else None,
        jwks_uri=settings.jwks_uri if is_own else None,
        email_optional=settings.email_optional,
        checks_nonce=description.checks_nonce and not settings.skip_nonce_check,
        pkce=settings.pkce if is_own else description.pkce,
    )


def _own_description(settings: ExternalProviderSettings | None) -> Description | None:
    if settings is None:
        return None
    has_addresses = settings.authorization_url and settings.token_url and settings.userinfo_url
    if not settings.issuer and not has_addresses:
        return None
    return describe(
        settings.issuer,
        authorize=settings.authorization_url,
        token=settings.token_url,
        user=settings.userinfo_url,
    )


def _check_complete(settings: ExternalProviderSettings | None, provider: Provider) -> None:
    if not provider.client_ids:
        raise LookupError("missing OAuth client ID")
    if not provider.secret:
        raise LookupError("missing OAuth secret")
    if provider.description.needs_url and not (settings and settings.url):
        raise LookupError(f"unable to find URL for the {provider.name.capitalize()} provider")
