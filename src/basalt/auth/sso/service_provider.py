"""The project as a SAML service provider: its name, its key, the metadata for identity providers, and its requests
(GoTrue saml.go, conf/saml.go)."""

import base64
import secrets
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from basalt.auth.sso.xml import DS, MD, SAML, SAMLP
from basalt.config import SamlSettings, parse_saml_key

POST_BINDING: Final = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
PERSISTENT: Final = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
EMAIL_ADDRESS: Final = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
ENTITY: Final = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
RSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
CERTIFICATE_END: Final = datetime(2170, 1, 1, tzinfo=UTC)
DOWNLOADED_LIFE: Final = timedelta(days=5 * 365)
LIFE: Final = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class ServiceProvider:
    """`keys` are the one in use and the one that follows it, if any; certificates carry them in the same order."""

    base_url: str
    keys: tuple[RSAPrivateKey, ...]
    certificates: tuple[x509.Certificate, ...]
    takes_encrypted: bool

    @property
    def entity_id(self) -> str:
        return f"{self.base_url}/auth/v1/sso/saml/metadata"

    @property
    def acs_url(self) -> str:
        return f"{self.base_url}/auth/v1/sso/saml/acs"

    @property
    def is_changing_keys(self) -> bool:
        return len(self.keys) > 1


def load_service_provider(settings: SamlSettings, base_url: str) -> ServiceProvider | None:
    """None where SAML is off."""
    if not settings.enabled:
        return None
    keys = [parse_saml_key(text) for text in (settings.private_key, settings.private_key_next) if text]
    certificates = [
        _self_signed(key, base_url, takes_encrypted=settings.allow_encrypted_assertions) for key in keys
    ]
    return ServiceProvider(base_url, tuple(keys), tuple(certificates), settings.allow_encrypted_assertions)


def render_metadata(provider: ServiceProvider, *, is_download: bool) -> bytes:
    """SAML Metadata §2.4.4. Downloaded, it is good for years, since somebody will upload it somewhere."""
    valid_until = datetime.now(UTC) + (DOWNLOADED_LIFE if is_download else LIFE)
    root = etree.Element(f"{{{MD}}}EntityDescriptor", nsmap={"md": MD, "ds": DS})
    root.set("entityID", provider.entity_id)
    root.set("validUntil", instant(valid_until))
    if provider.is_changing_keys:
        root.set("cacheDuration", "PT1H")
    role = etree.SubElement(root, f"{{{MD}}}SPSSODescriptor")
    role.set("protocolSupportEnumeration", SAMLP)
    role.set("WantAssertionsSigned", "true")
    for certificate in provider.certificates:
        for use in ("signing", "encryption") if provider.takes_encrypted else ("signing",):
            _add_key(role, use, certificate)
    for name_format in (EMAIL_ADDRESS, PERSISTENT):
        etree.SubElement(role, f"{{{MD}}}NameIDFormat").text = name_format
    consumer = etree.SubElement(role, f"{{{MD}}}AssertionConsumerService")
    consumer.set("Binding", POST_BINDING)
    consumer.set("Location", provider.acs_url)
    consumer.set("index", "1")
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))


def build_request(provider: ServiceProvider, sign_on_url: str, name_id_format: str) -> tuple[str, bytes]:
    """An AuthnRequest (SAML Core §3.4.1): its id, and the document."""
    request_id = f"id-{secrets.token_hex(20)}"
    root = etree.Element(f"{{{SAMLP}}}AuthnRequest", nsmap={"samlp": SAMLP, "saml": SAML})
    root.set("ID", request_id)
    root.set("Version", "2.0")
    root.set("IssueInstant", instant(datetime.now(UTC)))
    root.set("Destination", sign_on_url)
    root.set("AssertionConsumerServiceURL", provider.acs_url)
    root.set("ProtocolBinding", POST_BINDING)
    issuer = etree.SubElement(root, f"{{{SAML}}}Issuer")
    issuer.set("Format", ENTITY)
    issuer.text = provider.entity_id
    policy = etree.SubElement(root, f"{{{SAMLP}}}NameIDPolicy")
    policy.set("AllowCreate", "true")
    policy.set("Format", name_id_format)
    return request_id, bytes(etree.tostring(root))


def redirect_url(provider: ServiceProvider, sign_on_url: str, request: bytes, relay_state: str) -> str:
    """The request in the address, deflated and signed (SAML Bindings §3.4.4)."""
    compressor = zlib.compressobj(wbits=-15)
    deflated = compressor.compress(request) + compressor.flush()
    values = {
        "SAMLRequest": base64.b64encode(deflated).decode(),
        "RelayState": relay_state,
        "SigAlg": RSA_SHA256,
    }
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in values.items())
    signature = provider.keys[0].sign(query.encode(), PKCS1v15(), SHA256())
    query += f"&Signature={quote(base64.b64encode(signature).decode(), safe='')}"
    return f"{sign_on_url}{'&' if urlsplit(sign_on_url).query else '?'}{query}"


def instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _add_key(role: etree._Element, use: str, certificate: x509.Certificate) -> None:
    descriptor = etree.SubElement(role, f"{{{MD}}}KeyDescriptor", use=use)
    data = etree.SubElement(etree.SubElement(descriptor, f"{{{DS}}}KeyInfo"), f"{{{DS}}}X509Data")
    encoded = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
    etree.SubElement(data, f"{{{DS}}}X509Certificate").text = encoded


def _self_signed(key: RSAPrivateKey, base_url: str, *, takes_encrypted: bool) -> x509.Certificate:
    """The wrapping that SAML wants around a public key. It is the same at every start: identity providers keep it."""
    host = urlsplit(base_url).hostname or "localhost"
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"SAML 2.0 Certificate for {host}"[:64])])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=takes_encrypted,
        data_encipherment=takes_encrypted,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, EPOCH, CERTIFICATE_END)
    return builder.add_extension(usage, critical=True).sign(key, SHA256())
