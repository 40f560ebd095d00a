"""The keys of the SAML service provider, as GoTrue wants them (conf/saml.go): RSA, PKCS#1 in Base64."""

import base64
import binascii
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from basalt.config.auth_settings import SamlSettings


def parse_saml_key(text: str) -> RSAPrivateKey:
    """Raises ValueError for what cannot be used."""
    try:
        key = load_der_private_key(base64.b64decode(text, validate=True), password=None)
    except (ValueError, TypeError, binascii.Error):
        raise ValueError("must be an RSA key, its PKCS#1 form in Base64") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("must be an RSA key, its PKCS#1 form in Base64")
    if key.key_size < 2048 or key.public_key().public_numbers().e != 65537:
        raise ValueError("must have at least 2048 bits and the public exponent 65537")
    return key


def find_saml_problems(settings: SamlSettings) -> Iterator[tuple[str, str]]:
    """Key of `[auth.saml]` and reason."""
    if not settings.enabled:
        return
    if not settings.private_key:
        yield "private_key", "SAML that is enabled needs a key"
    for name in ("private_key", "private_key_next"):
        text = getattr(settings, name)
        if text:
            try:
                parse_saml_key(text)
            except ValueError as exc:
                yield name, str(exc)
