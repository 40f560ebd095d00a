"""What an identity provider publishes of itself (SAML Metadata): its name, its certificates, where to send people."""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from cryptography.x509 import Certificate, load_der_x509_certificate
from lxml import etree

from basalt.auth.errors import AuthError
from basalt.auth.sso.xml import DS, MD, SamlError, children, instant_of, parse_xml, text_of

MAX_METADATA_BYTES: Final = 512 * 1024
MAX_CERTIFICATES: Final = 10
REDIRECT_BINDING: Final = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
DURATION: Final = re.compile(
    r"P(?:([0-9]{1,4})Y)?(?:([0-9]{1,4})M)?(?:([0-9]{1,6})D)?"
    r"(?:T(?:([0-9]{1,6})H)?(?:([0-9]{1,6})M)?(?:([0-9]{1,9})(?:\.[0-9]+)?S)?)?"
)


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """`sign_on_url` takes requests by redirect; empty where the provider takes none."""

    entity_id: str
    sign_on_url: str
    certificates: tuple[Certificate, ...]
    valid_until: datetime | None
    cache_duration: timedelta | None


def parse_metadata(text: str) -> IdentityProvider:
    """Raises AuthError validation_failed, in GoTrue's words where it has some (ssoadmin.go parseSAMLMetadata)."""
    data = text.encode()
    if len(data) > MAX_METADATA_BYTES:
        raise _problem(f"is larger than {MAX_METADATA_BYTES} bytes")
    try:
        return _parse(data)
    except SamlError as exc:
        raise AuthError("validation_failed", f"SAML Metadata cannot be used: {exc}") from exc


def _parse(data: bytes) -> IdentityProvider:
    entity = _entity(parse_xml(data))
    entity_id = entity.get("entityID", "")
    if not entity_id:
        raise _problem("does not contain an EntityID")
    roles = children(entity, MD, "IDPSSODescriptor")
    if not roles:
        raise _problem("does not contain any IDPSSODescriptor")
    if len(roles) > 1:
        raise _problem("contains multiple IDPSSODescriptors")
    certificates = _certificates(roles[0])
    if not certificates:
        raise _problem("does not contain a certificate for signing")
    return IdentityProvider(
        entity_id=entity_id,
        sign_on_url=_sign_on_url(roles[0]),
        certificates=certificates,
        valid_until=instant_of(entity, "validUntil"),
        cache_duration=_duration(entity.get("cacheDuration")),
    )


def _entity(root: etree._Element) -> etree._Element:
    """The document's entity, or the first identity provider of a list."""
    if root.tag == f"{{{MD}}}EntityDescriptor":
        return root
    if root.tag == f"{{{MD}}}EntitiesDescriptor":
        for entity in children(root, MD, "EntityDescriptor"):
            if children(entity, MD, "IDPSSODescriptor"):
                return entity
    raise _problem("does not contain any IDPSSODescriptor")


def _sign_on_url(role: etree._Element) -> str:
    for service in children(role, MD, "SingleSignOnService"):
        if service.get("Binding") == REDIRECT_BINDING:
            location = service.get("Location", "").strip()
            try:
                parts = urlsplit(location)
            except ValueError:
                parts = urlsplit("")
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise _problem("names a SingleSignOnService that is not a web address")
            return str(location)
    return ""


def _certificates(role: etree._Element) -> tuple[Certificate, ...]:
    """The certificates for signing; a key of no stated use is for signing, too."""
    found = []
    for key in children(role, MD, "KeyDescriptor"):
        if key.get("use", "signing") == "signing":
            found += [_load(text_of(holder)) for holder in key.iter(f"{{{DS}}}X509Certificate")]
    if len(found) > MAX_CERTIFICATES:
        raise _problem(f"contains over {MAX_CERTIFICATES} certificates")
    return tuple(found)


def _load(text: str) -> Certificate:
    try:
        return load_der_x509_certificate(base64.b64decode("".join(text.split()), validate=True))
    except (ValueError, binascii.Error) as exc:
        raise _problem("contains a certificate that cannot be read") from exc


def _duration(text: str | None) -> timedelta | None:
    """XML Schema's duration; what cannot be read is as if it were not there.

    >>> _duration("PT1H30M"), _duration("P1D"), _duration("P"), _duration("soon")
    (datetime.timedelta(seconds=5400), datetime.timedelta(days=1), None, None)
    """
    found = DURATION.fullmatch((text or "").strip())
    if found is None or not any(found.groups()):
        return None
    years, months, days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=years * 365 + months * 30 + days, hours=hours, minutes=minutes, seconds=seconds)


def _problem(text: str) -> AuthError:
    return AuthError("validation_failed", f"SAML Metadata {text}")
