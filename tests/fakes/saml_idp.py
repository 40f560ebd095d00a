"""A SAML identity provider with keys of its own: metadata, checked requests, and answers, right ones and wrong ones."""

import base64
import html
import secrets
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree
from signxml import XMLSigner
from signxml.algorithms import CanonicalizationMethod, SignatureConstructionMethod

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
MD = "urn:oasis:names:tc:SAML:2.0:metadata"
DS = "http://www.w3.org/2000/09/xmldsig#"
XENC = "http://www.w3.org/2001/04/xmlenc#"
XENC11 = "http://www.w3.org/2009/xmlenc11#"
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
EMAIL = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
NAMES = {"saml": SAML, "samlp": SAMLP, "ds": DS, "md": MD}

Change = Callable[[etree._Element], None]
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pkcs1_base64(key: rsa.RSAPrivateKey) -> str:
    der = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return base64.b64encode(der).decode()


def certificate_for(key: Key, *, days: int = 30) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "idp")])
    start = datetime.now(UTC) - timedelta(days=60)
    end = datetime.now(UTC) + timedelta(days=days)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), start, end)
    return builder.sign(key, hashes.SHA256())


def moment(offset_s: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=offset_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class SignOn:
    """A request as it came: checked, with its relay state."""

    request_id: str
    acs_url: str
    issuer: str
    name_id_format: str
    relay_state: str


@dataclass
class SamlIdp:
    entity_id: str = "https://idp.example.com/metadata"
    sign_on_url: str = "https://idp.example.com/sso"
    key: Key = field(default_factory=new_key)
    days: int = 30

    def __post_init__(self) -> None:
        self.certificate = certificate_for(self.key, days=self.days)

    def metadata(self, attributes: str = "", *, more_certificates: Sequence[x509.Certificate] = ()) -> str:
        keys = "".join(
            f'<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="{DS}"><ds:X509Data><ds:X509Certificate>\n'
            f"{base64.encodebytes(certificate.public_bytes(Encoding.DER)).decode()}"
            "</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
            for certificate in (self.certificate, *more_certificates)
        )
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><!-- by hand -->\n<md:EntityDescriptor xmlns:md="{MD}"'
            f' entityID="{self.entity_id}" {attributes}><md:IDPSSODescriptor protocolSupportEnumeration="{SAMLP}">'
            f'{keys}<md:SingleSignOnService Binding="{REDIRECT}" Location="{html.escape(self.sign_on_url)}"/>'
            "</md:IDPSSODescriptor></md:EntityDescriptor>"
        )

    def read_request(self, url: str, sp_metadata: bytes) -> SignOn:
        """Fails when the request is not signed by the service provider that the metadata are of."""
        sp = etree.fromstring(sp_metadata)
        assert url.startswith(self.sign_on_url)
        query = urlsplit(url).query.removeprefix(urlsplit(self.sign_on_url).query).lstrip("&")
        signed, _, signature = query.partition("&Signature=")
        values = dict(parse_qsl(query))
        assert list(values) == ["SAMLRequest", "RelayState", "SigAlg", "Signature"]
        assert values["SigAlg"].endswith("#rsa-sha256")
        encoded = sp.findtext(f".//{{{MD}}}KeyDescriptor[@use='signing']//{{{DS}}}X509Certificate")
        public_key = x509.load_der_x509_certificate(base64.b64decode(encoded)).public_key()
        assert isinstance(public_key, rsa.RSAPublicKey)
        assert signature
        given = base64.b64decode(values["Signature"])
        public_key.verify(given, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        request = etree.fromstring(zlib.decompress(base64.b64decode(values["SAMLRequest"]), wbits=-15))
        assert request.tag == f"{{{SAMLP}}}AuthnRequest"
        assert request.get("Destination") == self.sign_on_url
        acs_url = sp.find(f".//{{{MD}}}AssertionConsumerService").get("Location")
        assert request.get("AssertionConsumerServiceURL") == acs_url
        assert request.findtext(f"{{{SAML}}}Issuer") == sp.get("entityID")
        return SignOn(
            request_id=request.get("ID"),
            acs_url=acs_url,
            issuer=sp.get("entityID"),
            name_id_format=request.find(f"{{{SAMLP}}}NameIDPolicy").get("Format"),
            relay_state=values["RelayState"],
        )

    def answer(self, asked: SignOn, **options: Any) -> str:
        """An answer to a request, encoded for the form."""
        return encode(self.response(asked.acs_url, asked.issuer, request_id=asked.request_id, **options))

    def response(
        self,
        acs_url: str,
        audience: str,
        *,
        request_id: str | None = None,
        name_id: str = "ada-7",
        name_id_format: str = PERSISTENT,
        attributes: Mapping[str, Sequence[str]] | None = None,
        sign: Sequence[str] = ("assertion",),
        session_ends_in_s: float | None = None,
        key: Key | None = None,
        algorithm: str | None = None,
        change: Change | None = None,
        encrypt_for: rsa.RSAPublicKey | None = None,
        encryption: Mapping[str, str] | None = None,
        change_encrypted: Change | None = None,
    ) -> etree._Element:
        """`change` is made before anything is signed, `change_encrypted` after encryption."""
        given = {"mail": ["ada@company.example"]} if attributes is None else attributes
        answers = f'InResponseTo="{request_id}"' if request_id else ""
        ends = f'SessionNotOnOrAfter="{moment(session_ends_in_s)}"' if session_ends_in_s is not None else ""
        statements = "".join(
            f'<saml:Attribute Name="{html.escape(name)}">'
            + "".join(f"<saml:AttributeValue>{html.escape(value)}</saml:AttributeValue>" for value in values)
            + "</saml:Attribute>"
            for name, values in given.items()
        )
        root = etree.fromstring(f"""
<samlp:Response xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" ID="_{secrets.token_hex(16)}" Version="2.0"
    IssueInstant="{moment()}" Destination="{acs_url}" {answers}>
  <saml:Issuer>{self.entity_id}</saml:Issuer>
  <samlp:Status><samlp:StatusCode Value="{SUCCESS}"/></samlp:Status>
  <saml:Assertion xmlns:xs="http://www.w3.org/2001/XMLSchema" ID="_{secrets.token_hex(16)}" Version="2.0"
      IssueInstant="{moment()}">
    <saml:Issuer>{self.entity_id}</saml:Issuer>
    <saml:Subject>
      <saml:NameID Format="{name_id_format}">{html.escape(name_id)}</saml:NameID>
      <saml:SubjectConfirmation Method="{BEARER}">
        <saml:SubjectConfirmationData NotOnOrAfter="{moment(300)}" Recipient="{acs_url}" {answers}/>
      </saml:SubjectConfirmation>
    </saml:Subject>
    <saml:Conditions NotBefore="{moment(-60)}" NotOnOrAfter="{moment(300)}">
      <saml:AudienceRestriction><saml:Audience>{audience}</saml:Audience></saml:AudienceRestriction>
    </saml:Conditions>
    <saml:AuthnStatement AuthnInstant="{moment()}" {ends}>
      <saml:AuthnContext><saml:AuthnContextClassRef>urn:x</saml:AuthnContextClassRef></saml:AuthnContext>
    </saml:AuthnStatement>
    <saml:AttributeStatement>{statements}</saml:AttributeStatement>
  </saml:Assertion>
</samlp:Response>""")
        if change is not None:
            change(root)
        signer = key or self.key
        if "assertion" in sign:
            assertion = root.find(f"{{{SAML}}}Assertion")
            root.replace(assertion, self.sign(assertion, signer, algorithm))
        if encrypt_for is not None:
            encrypt_assertion(root, encrypt_for, dict(encryption or {}))
            if change_encrypted is not None:
                change_encrypted(root)
        if "response" in sign:
            root = self.sign(root, signer, algorithm)
        return root

    def sign(
        self, element: etree._Element, key: Key | None = None, algorithm: str | None = None
    ) -> etree._Element:
        """A signed copy, the signature after the issuer."""
        key = key or self.key
        usual = "rsa-sha256" if isinstance(key, rsa.RSAPrivateKey) else "ecdsa-sha256"
        copy = etree.fromstring(etree.tostring(element, with_tail=False))
        place = etree.Element(f"{{{DS}}}Signature", Id="placeholder", nsmap={"ds": DS})
        copy.insert(1, place)
        signer = _Signer(
            method=SignatureConstructionMethod.enveloped,
            signature_algorithm=algorithm or usual,
            digest_algorithm="sha1" if algorithm == "rsa-sha1" else "sha256",
            c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
        )
        certificate = self.certificate if key is self.key else certificate_for(key)
        return signer.sign(
            copy, key=key, cert=[certificate], reference_uri="#" + copy.get("ID"), id_attribute="ID"
        )


class _Signer(XMLSigner):
    """Signs with SHA-1, too: somebody has to send what is to be refused."""

    def check_deprecated_methods(self) -> None:
        pass


def encode(root: etree._Element | bytes) -> str:
    data = root if isinstance(root, bytes) else etree.tostring(root)
    return base64.b64encode(data).decode()


def one(root: etree._Element, path: str) -> etree._Element:
    found = root.xpath(path, namespaces=NAMES)
    assert len(found) == 1, (path, len(found))
    return found[0]


def setting(path: str, name: str, value: str | None) -> Change:
    """A change that sets, or takes away, an attribute."""

    def change(root: etree._Element) -> None:
        element = one(root, path)
        if value is None:
            del element.attrib[name]
        else:
            element.set(name, value)

    return change


def text(path: str, value: str) -> Change:
    def change(root: etree._Element) -> None:
        one(root, path).text = value

    return change


def removing(path: str) -> Change:
    def change(root: etree._Element) -> None:
        element = one(root, path)
        element.getparent().remove(element)

    return change


def adding(path: str, xml: str) -> Change:
    def change(root: etree._Element) -> None:
        one(root, path).append(etree.fromstring(xml))

    return change


# Signature wrapping (Somorovsky et al., "On Breaking SAML", 2012): a genuine signed part stays in the document, and a
# forged one stands where a careless reader looks. Each takes a genuine response and returns the forged one.


def _forged(element: etree._Element, *, keep_id: bool = False) -> etree._Element:
    """A copy that names the attacker, without the signature."""
    copy = deepcopy(element)
    for signature in copy.findall(f".//{{{DS}}}Signature"):
        signature.getparent().remove(signature)
    for name_id in copy.iter(f"{{{SAML}}}NameID"):
        name_id.text = "mallory"
    if not keep_id:
        copy.set("ID", "_forged")
    return copy


def _parts(response: etree._Element) -> tuple[etree._Element, etree._Element]:
    assertion = one(response, "saml:Assertion")
    return assertion, one(assertion, "ds:Signature")


def xsw1(response: etree._Element) -> etree._Element:
    """A signed response goes into the signature of a forged one."""
    forged = _forged(response)
    signature = one(response, "ds:Signature")
    response.remove(signature)
    forged.insert(1, signature)
    signature.append(response)
    return forged


def xsw2(response: etree._Element) -> etree._Element:
    """A signed response stands beside its signature, both in a forged one."""
    forged = _forged(response)
    signature = one(response, "ds:Signature")
    response.remove(signature)
    forged.insert(1, response)
    forged.insert(2, signature)
    return forged


def xsw3(response: etree._Element) -> etree._Element:
    """A forged assertion stands before the signed one."""
    assertion, _ = _parts(response)
    assertion.addprevious(_forged(assertion))
    return response


def xsw4(response: etree._Element) -> etree._Element:
    """The signed assertion becomes a child of the forged one."""
    assertion, _ = _parts(response)
    forged = _forged(assertion)
    response.replace(assertion, forged)
    forged.append(assertion)
    return response


def xsw5(response: etree._Element) -> etree._Element:
    """The forged assertion has the signature, the original follows without it."""
    assertion, signature = _parts(response)
    forged = _forged(assertion)
    assertion.remove(signature)
    forged.insert(1, signature)
    response.replace(assertion, forged)
    response.append(assertion)
    return response


def xsw6(response: etree._Element) -> etree._Element:
    """The original stands inside the signature of the forged assertion."""
    assertion, signature = _parts(response)
    forged = _forged(assertion)
    assertion.remove(signature)
    forged.insert(1, signature)
    response.replace(assertion, forged)
    signature.append(assertion)
    return response


def xsw7(response: etree._Element) -> etree._Element:
    """The forged assertion, with the same id, stands in the extensions."""
    assertion, _ = _parts(response)
    extensions = etree.Element(f"{{{SAMLP}}}Extensions")
    extensions.append(_forged(assertion, keep_id=True))
    response.insert(1, extensions)
    return response


def xsw8(response: etree._Element) -> etree._Element:
    """The forged assertion has the signature, and the original stands in an object of that."""
    assertion, signature = _parts(response)
    forged = _forged(assertion, keep_id=True)
    assertion.remove(signature)
    forged.insert(1, signature)
    response.replace(assertion, forged)
    etree.SubElement(signature, f"{{{DS}}}Object").append(assertion)
    return response


def encrypt_assertion(root: etree._Element, public_key: rsa.RSAPublicKey, names: dict[str, str]) -> None:
    """Replace the last element, the assertion, by its encryption (XML Encryption 1.1); `names` are of algorithms."""
    assertion = root[-1]
    plain = etree.tostring(assertion, with_tail=False, method="c14n", exclusive=True)
    method = names.get("data", f"{XENC11}aes256-gcm")
    key = secrets.token_bytes(int(names.get("key_bytes", "32")))
    if method.endswith("-gcm"):
        nonce = secrets.token_bytes(12)
        data = nonce + AESGCM(key).encrypt(nonce, plain, None)
    else:
        fill = 16 - len(plain) % 16
        iv = secrets.token_bytes(16)
        encryptor = Cipher(AES(key), CBC(iv)).encryptor()
        data = iv + encryptor.update(plain + bytes(fill - 1) + bytes([fill])) + encryptor.finalize()
    transport = names.get("transport", f"{XENC}rsa-oaep-mgf1p")
    digest, details = hashes.SHA1, ""
    if transport == f"{XENC11}rsa-oaep":
        digest = hashes.SHA256  # type: ignore[assignment]
        details = (
            f'<ds:DigestMethod xmlns:ds="{DS}" Algorithm="{XENC}sha256"/>'
            f'<xenc11:MGF xmlns:xenc11="{XENC11}" Algorithm="{XENC11}mgf1sha256"/>'
        )
    if transport.endswith("rsa-1_5"):
        wrapped = public_key.encrypt(key, padding.PKCS1v15())
    else:
        oaep = padding.OAEP(padding.MGF1(digest()), digest(), None)
        wrapped = public_key.encrypt(key, oaep)
    encrypted = etree.fromstring(f"""
<saml:EncryptedAssertion xmlns:saml="{SAML}"><xenc:EncryptedData xmlns:xenc="{XENC}"
    Type="{XENC}Element"><xenc:EncryptionMethod Algorithm="{method}"/>
  <ds:KeyInfo xmlns:ds="{DS}"><xenc:EncryptedKey><xenc:EncryptionMethod Algorithm="{transport}">{details}
    </xenc:EncryptionMethod><xenc:CipherData><xenc:CipherValue>{base64.b64encode(wrapped).decode()}</xenc:CipherValue>
    </xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo>
  <xenc:CipherData><xenc:CipherValue>{base64.b64encode(data).decode()}</xenc:CipherValue></xenc:CipherData>
</xenc:EncryptedData></saml:EncryptedAssertion>""")
    root.replace(assertion, encrypted)


@contextmanager
def idp_server(idp: SamlIdp, sp_metadata_url: Callable[[], bytes] | None = None) -> Iterator[str]:
    """The provider as a server: `/metadata`, and `/sso`, which signs everybody in as the `user` of its address and
    answers with the form that a browser would send."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if path == "/metadata":
                assert "application/xml" in self.headers["accept"]
                self._send(idp.metadata(server.metadata_attributes), "application/xml")  # type: ignore[attr-defined]
            elif path == "/sso" and sp_metadata_url is not None:
                asked = idp.read_request(f"{idp.sign_on_url}?{query}", sp_metadata_url())
                user = parse_qs(query).get("user", ["ada"])[0]
                attributes = {"mail": [f"{user}@company.example"], "displayName": ["Ada Lovelace"]}
                form = {
                    "SAMLResponse": idp.answer(asked, name_id=user, attributes=attributes),
                    "RelayState": asked.relay_state,
                }
                fields = "".join(
                    f'<input type="hidden" name="{n}" value="{html.escape(v)}"/>' for n, v in form.items()
                )
                page = f'<form method="post" action="{html.escape(asked.acs_url)}">{fields}</form>'
                self._send(page, "text/html")
            else:
                self.send_error(404)

        def _send(self, content: str, kind: str) -> None:
            body = content.encode()
            server.served.append(self.path)  # type: ignore[attr-defined]
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.served = []  # type: ignore[attr-defined]
        server.metadata_attributes = ""  # type: ignore[attr-defined]
        idp.server = server  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
