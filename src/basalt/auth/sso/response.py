"""An identity provider's answer, verified: SAML Core §3.2.2, and the rules of the Web Browser SSO Profile (§4.1.4.3).

What is not signed is not read, but for the envelope around a signed assertion, whose word only ever refuses. GoTrue
(crewjam/saml) is laxer in some things that no provider needs: an assertion without an audience, several assertions in
one answer, SHA-1 signatures, RSA 1.5 encryption, an answer to some request where none was asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.x509 import Certificate
from lxml import etree

from basalt.auth.sso.decryption import decrypt_assertion
from basalt.auth.sso.metadata import IdentityProvider
from basalt.auth.sso.service_provider import ServiceProvider
from basalt.auth.sso.signature import is_signed, verify_signed
from basalt.auth.sso.xml import (
    DS,
    SAML,
    SAMLP,
    SamlError,
    check_plain,
    children,
    count,
    instant_of,
    only_child,
    parse_fragment,
    parse_xml,
    text_of,
)

MAX_RESPONSE_BYTES: Final = 256 * 1024
MAX_DELAY: Final = timedelta(seconds=90)  # from making the answer to its arrival; crewjam/saml MaxIssueDelay
CLOCK_SKEW: Final = timedelta(seconds=180)  # crewjam/saml MaxClockSkew
SUCCESS: Final = "urn:oasis:names:tc:SAML:2.0:status:Success"
BEARER: Final = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
KNOWN_CONDITIONS: Final = frozenset(
    f"{{{SAML}}}{name}" for name in ("AudienceRestriction", "OneTimeUse", "ProxyRestriction")
)
IDENTIFIERS: Final = ("ID", "Id", "id", "{http://www.w3.org/XML/1998/namespace}id")


@dataclass(frozen=True, slots=True)
class Attribute:
    name: str
    friendly_name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Assertion:
    """Who the provider says it is. After `refused_after` the assertion is too old to be presented again."""

    id: str
    name_id: str
    name_id_format: str
    attributes: tuple[Attribute, ...]
    session_ends_at: datetime | None
    refused_after: datetime


def read_issuer(data: bytes) -> str:
    """Who claims to have made an answer that nobody asked for: only to find the keys to check that by."""
    root = _parse_response(data)
    issuers = children(root, SAML, "Issuer") or [
        issuer
        for assertion in children(root, SAML, "Assertion")
        for issuer in children(assertion, SAML, "Issuer")
    ]
    return text_of(issuers[0]).strip() if issuers else ""


def verify_response(
    data: bytes, idp: IdentityProvider, sp: ServiceProvider, *, request_id: str | None, now: datetime
) -> Assertion:
    """Raises SamlError. `request_id` is the request that is answered, None where the provider began."""
    response = _parse_response(data)
    has_signature = is_signed(response)
    if has_signature:
        response = verify_signed(response, idp.certificates)
    _check_response(response, idp, sp, request_id, now, is_authentic=has_signature)
    assertion = _signed_assertion(response, idp.certificates, sp, is_authentic=has_signature)
    return _read_assertion(assertion, idp, sp, request_id, now)


def _parse_response(data: bytes) -> etree._Element:
    if len(data) > MAX_RESPONSE_BYTES:
        raise SamlError(f"it is larger than {MAX_RESPONSE_BYTES} bytes")
    root = parse_xml(data)
    if root.tag != f"{{{SAMLP}}}Response":
        raise SamlError("it is no Response")
    _check_structure(root)
    return root


def _check_structure(root: etree._Element) -> None:
    """One assertion, ids that are unique, and signatures only where they are looked for: no room for wrapping."""
    check_plain(root)
    identifiers = [
        element.get(name) for element in root.iter() for name in IDENTIFIERS if name in element.attrib
    ]
    if len(identifiers) != len(set(identifiers)):
        raise SamlError("an ID stands in it twice")
    if count(root, SAML, "Assertion", "EncryptedAssertion") != 1 or count(root, SAMLP, "Response") > 1:
        raise SamlError("it does not hold exactly one assertion")
    signed = [root, *children(root, SAML, "Assertion")]
    if count(root, DS, "Signature") != sum(len(children(element, DS, "Signature")) for element in signed):
        raise SamlError("a signature stands where none belongs")


def _signed_assertion(
    response: etree._Element, certificates: Sequence[Certificate], sp: ServiceProvider, *, is_authentic: bool
) -> etree._Element:
    assertion = only_child(response, SAML, "Assertion", "EncryptedAssertion")
    if assertion.tag == f"{{{SAML}}}EncryptedAssertion":
        if not sp.takes_encrypted:
            raise SamlError("encrypted assertions are not accepted")
        plain = decrypt_assertion(assertion, sp.keys, is_authentic=is_authentic)
        assertion = parse_fragment(plain, assertion)
        if assertion.tag != f"{{{SAML}}}Assertion":
            raise SamlError("what is encrypted is no assertion")
        _check_structure(assertion)
    if is_signed(assertion):
        return verify_signed(assertion, certificates)
    if not is_authentic:
        raise SamlError("it is not signed")
    return assertion


def _check_response(
    response: etree._Element,
    idp: IdentityProvider,
    sp: ServiceProvider,
    request_id: str | None,
    now: datetime,
    *,
    is_authentic: bool,
) -> None:
    """The envelope; of an unsigned one the same is asked of the assertion again, where it matters."""
    _check_version(response)
    _check_age(response, now)
    destination = response.get("Destination", "")
    if destination != sp.acs_url and (destination or is_authentic):
        raise SamlError("it is for another destination")
    if response.get("InResponseTo", "") != (request_id or ""):
        raise SamlError("it answers another request")
    if any(text_of(issuer).strip() != idp.entity_id for issuer in children(response, SAML, "Issuer")):
        raise SamlError("it is of another identity provider")
    code = only_child(only_child(response, SAMLP, "Status"), SAMLP, "StatusCode")
    if code.get("Value") != SUCCESS:
        innermost = list(code.iter(code.tag))[-1]
        reason = innermost.get("Value", "").rpartition(":")[2]
        raise SamlError(f"the identity provider did not sign the user in ({reason})")


def _read_assertion(
    assertion: etree._Element,
    idp: IdentityProvider,
    sp: ServiceProvider,
    request_id: str | None,
    now: datetime,
) -> Assertion:
    _check_version(assertion)
    issued_at = _check_age(assertion, now)
    if text_of(only_child(assertion, SAML, "Issuer")).strip() != idp.entity_id:
        raise SamlError("it is of another identity provider")
    _check_conditions(only_child(assertion, SAML, "Conditions"), sp, now)
    subject = only_child(assertion, SAML, "Subject")
    _check_bearer(subject, sp, request_id, now)
    statements = children(assertion, SAML, "AuthnStatement")
    if not statements:
        raise SamlError("it does not say that the user was authenticated")
    ends = [end for end in (instant_of(statement, "SessionNotOnOrAfter") for statement in statements) if end]
    if ends and min(ends) <= now:
        raise SamlError("the session has ended already")
    name_ids = children(subject, SAML, "NameID")
    return Assertion(
        id=assertion.get("ID", ""),
        name_id=text_of(name_ids[0]) if name_ids else "",
        name_id_format=name_ids[0].get("Format", "") if name_ids else "",
        attributes=_read_attributes(assertion),
        session_ends_at=min(ends) if ends else None,
        refused_after=issued_at + MAX_DELAY,
    )


def _check_version(element: etree._Element) -> None:
    if element.get("Version") != "2.0" or not element.get("ID"):
        raise SamlError("it is not SAML 2.0")


def _check_age(element: etree._Element, now: datetime) -> datetime:
    issued_at = instant_of(element, "IssueInstant")
    if issued_at is None or now - issued_at > MAX_DELAY:
        raise SamlError("it was made too long ago")
    if issued_at - now > CLOCK_SKEW:
        raise SamlError("it was made in the future")
    return issued_at


def _check_conditions(conditions: etree._Element, sp: ServiceProvider, now: datetime) -> None:
    """SAML Core §2.5.1: a condition that is not understood makes the assertion worthless."""
    _check_window(conditions, now)
    if any(child.tag not in KNOWN_CONDITIONS for child in conditions):
        raise SamlError("it holds a condition that is not known")
    restrictions = children(conditions, SAML, "AudienceRestriction")
    audiences = [
        {text_of(audience).strip() for audience in children(restriction, SAML, "Audience")}
        for restriction in restrictions
    ]
    if not audiences or not all(sp.entity_id in allowed for allowed in audiences):
        raise SamlError("it is for another audience")


def _check_bearer(
    subject: etree._Element, sp: ServiceProvider, request_id: str | None, now: datetime
) -> None:
    """One confirmation that fits is enough. The reason of the last one that does not is told."""
    problem = SamlError("its subject is not confirmed")
    for confirmation in children(subject, SAML, "SubjectConfirmation"):
        if confirmation.get("Method") != BEARER:
            continue
        try:
            data = only_child(confirmation, SAML, "SubjectConfirmationData")
            if data.get("Recipient") != sp.acs_url:
                raise SamlError("it is for another recipient")
            if data.get("InResponseTo", "") != (request_id or ""):
                raise SamlError("it answers another request")
            if data.get("NotOnOrAfter") is None:
                raise SamlError("its confirmation has no end")
            _check_window(data, now)
        except SamlError as exc:
            problem = exc
        else:
            return
    raise problem


def _check_window(element: etree._Element, now: datetime) -> None:
    starts_at, ends_at = instant_of(element, "NotBefore"), instant_of(element, "NotOnOrAfter")
    if starts_at is not None and now + CLOCK_SKEW < starts_at:
        raise SamlError("it is not valid yet")
    if ends_at is not None and now - CLOCK_SKEW >= ends_at:
        raise SamlError("it has expired")


def _read_attributes(assertion: etree._Element) -> tuple[Attribute, ...]:
    return tuple(
        Attribute(
            name=attribute.get("Name", ""),
            friendly_name=attribute.get("FriendlyName", ""),
            # a value may hold elements, as eduPersonTargetedID does; it is no text then
            values=tuple(
                text_of(value) for value in children(attribute, SAML, "AttributeValue") if not len(value)
            ),
        )
        for statement in children(assertion, SAML, "AttributeStatement")
        for attribute in children(statement, SAML, "Attribute")
    )
