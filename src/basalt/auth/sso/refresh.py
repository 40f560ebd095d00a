"""Metadata by its address: fetched when a provider is added, and again when it is old, so that a provider may change
its certificates (GoTrue samlacs.go, ssoadmin.go)."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from basalt import observe
from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.sso.metadata import MAX_METADATA_BYTES, IdentityProvider, parse_metadata
from basalt.auth.sso.providers import SsoProvider
from basalt.http import OutgoingError
from basalt.kv import RateLimiter

TIMEOUT_S: Final = 10.0
USUAL_LIFE: Final = timedelta(hours=24)
RETRY_S: Final = 60.0

# One try a minute for each provider: anybody can make us look at an old one.
_tries: Final = RateLimiter()


async def fetch_metadata(call: Call, url: str) -> str:
    """Raises AuthError saml_metadata_fetch_failed."""
    headers = {"accept": "application/xml;charset=UTF-8", "accept-charset": "UTF-8"}
    try:
        answer = await call.auth.metadata_http.send(
            "GET", url, timeout_s=TIMEOUT_S, headers=headers, max_bytes=MAX_METADATA_BYTES
        )
    except OutgoingError as exc:
        raise AuthError("saml_metadata_fetch_failed", f"Unable to fetch SAML metadata: {exc}") from exc
    if answer.status != 200:
        message = f"HTTP {answer.status} error fetching SAML Metadata from URL '{url}'"
        raise AuthError("saml_metadata_fetch_failed", message)
    try:
        text = answer.body.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        message = "SAML Metadata XML contains invalid UTF-8 characters, which are not supported at this time"
        raise AuthError("validation_failed", message) from exc
    if "\x00" in text:
        raise AuthError("validation_failed", "SAML Metadata holds a NUL character")
    return text


async def read_provider(call: Call, provider: SsoProvider) -> tuple[SsoProvider, IdentityProvider]:
    """The provider and what it publishes, anew when that is old. Metadata that cannot be had again stay in use, as in
    GoTrue; the log tells."""
    idp = await asyncio.to_thread(parse_metadata, provider.metadata_xml)
    url = provider.metadata_url
    if not url or not is_stale(idp, provider.metadata_read_at, datetime.now(UTC)):
        return provider, idp
    if _tries.take(provider.name, 1, RETRY_S) is not None:
        return provider, idp
    try:
        text = await fetch_metadata(call, url)
        renewed = await asyncio.to_thread(parse_metadata, text)
        if renewed.entity_id != provider.entity_id:
            raise AuthError("saml_entity_id_mismatch")
    except AuthError as error:
        observe.event(
            "saml_metadata_not_refreshed",
            level="warning",
            provider=provider.name,
            code=error.code,
            reason=error.message,
        )
        return provider, idp
    return replace(provider, metadata_xml=text), renewed


def is_stale(idp: IdentityProvider, read_at: datetime, now: datetime) -> bool:
    """GoTrue IsSAMLMetadataStale: by the provider's own word, else after a day."""
    if idp.valid_until is not None and now > idp.valid_until:
        return True
    if idp.cache_duration:
        return now - read_at > idp.cache_duration
    return idp.valid_until is None and now - read_at > USUAL_LIFE
