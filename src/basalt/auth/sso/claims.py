"""What an assertion says of its user, as claims (GoTrue samlassertion.go, and the end of samlacs.go)."""

from collections.abc import Mapping
from typing import Any, Final

from basalt.auth.addresses import normalise_email
from basalt.auth.errors import AuthError
from basalt.auth.external_identity import ExternalProfile, ProviderEmail
from basalt.auth.sso.providers import SsoProvider
from basalt.auth.sso.response import Assertion
from basalt.auth.sso.service_provider import EMAIL_ADDRESS

TRANSIENT: Final = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
SUBJECT_ID: Final = "urn:oasis:names:tc:SAML:attribute:subject-id"
EMAIL_ATTRIBUTES: Final = (
    "urn:oid:0.9.2342.19200300.100.1.3",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
    "http://schemas.xmlsoap.org/claims/EmailAddress",
    "mail",
    "email",
)
# GoTrue provider.Claims: these stand beside `custom_claims`, everything else in it.
TEXT_CLAIMS: Final = frozenset(
    """name family_name given_name middle_name nickname preferred_username profile picture website gender birthdate
    zoneinfo locale updated_at phone full_name avatar_url slug provider_id user_name""".split()  # noqa: SIM905
)
# Said by the assertion itself or by nobody, whatever a mapping says.
OWN_CLAIMS: Final = frozenset(
    ("iss", "sub", "aud", "iat", "exp", "email", "email_verified", "phone_verified")
)


def build_profile(assertion: Assertion, provider: SsoProvider) -> ExternalProfile:
    """Raises AuthError saml_assertion_no_user_id, saml_assertion_no_email, validation_failed, unexpected_failure."""
    subject = user_id_of(assertion)
    if not subject:
        raise AuthError("saml_assertion_no_user_id")
    mapped = map_attributes(assertion, provider.attribute_mapping)
    email = mapped.get("email")
    if not isinstance(email, str) or not email:
        email = email_of(assertion)
    if not email:
        raise AuthError("saml_assertion_no_email")
    claims = {name: value for name, value in mapped.items() if name in TEXT_CLAIMS}
    if not all(isinstance(value, str) for value in claims.values()):
        message = "Mapped claims from provider could not be deserialized from JSON"
        raise AuthError("unexpected_failure", message)
    custom = {name: value for name, value in mapped.items() if name not in TEXT_CLAIMS | OWN_CLAIMS}
    return ExternalProfile(
        subject=subject,
        claims={**claims, "iss": provider.entity_id, "custom_claims": custom},
        emails=(ProviderEmail(normalise_email(email.strip()), verified=True, primary=True),),
    )


def user_id_of(assertion: Assertion) -> str:
    """The subject-id attribute, else a NameID that stays the same; empty when there is neither."""
    subject_ids = attribute_values(assertion, SUBJECT_ID)
    if subject_ids:
        return subject_ids[0]
    if assertion.name_id_format == EMAIL_ADDRESS:
        return assertion.name_id.strip().lower()
    return "" if assertion.name_id_format == TRANSIENT else assertion.name_id


def email_of(assertion: Assertion) -> str:
    """The best guess where the mapping names no attribute."""
    for name in EMAIL_ATTRIBUTES:
        for value in attribute_values(assertion, name):
            if value:
                return value
    return assertion.name_id if assertion.name_id_format == EMAIL_ADDRESS else ""


def map_attributes(assertion: Assertion, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Each claim from the first of its names that the assertion has a value for, else its default."""
    claims: dict[str, Any] = {}
    for claim, rule in (mapping.get("keys") or {}).items():
        names = [name for name in (rule.get("name"), *(rule.get("names") or ())) if name]
        found = (attribute_values(assertion, name) for name in names)
        values = next((given for values in found if (given := [value for value in values if value])), [])
        if values:
            claims[claim] = values if rule.get("array") else values[0]
        elif rule.get("default") is not None:
            claims[claim] = rule["default"]
    return claims


def attribute_values(assertion: Assertion, name: str) -> list[str]:
    """By name or friendly name, whatever the case."""
    wanted = name.casefold()
    return [
        value
        for attribute in assertion.attributes
        if wanted in (attribute.name.casefold(), attribute.friendly_name.casefold())
        for value in attribute.values
    ]
