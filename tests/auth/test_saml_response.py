"""What is refused of an identity provider's answer: signatures that are missing, others' or moved, hostile XML, and
every rule of the Web Browser SSO Profile broken one by one."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from lxml import etree

from basalt.auth.sso import load_service_provider
from basalt.auth.sso.metadata import parse_metadata
from basalt.auth.sso.response import Assertion, read_issuer, verify_response
from basalt.auth.sso.service_provider import ServiceProvider
from basalt.auth.sso.xml import SamlError, parse_fragment
from basalt.config import SamlSettings
from tests.auth.saml import NEXT_KEY, SP_KEY
from tests.fakes.saml_idp import (
    DS,
    SAML,
    SAMLP,
    XENC,
    XENC11,
    Change,
    SamlIdp,
    adding,
    certificate_for,
    encrypt_assertion,
    moment,
    new_key,
    one,
    pkcs1_base64,
    removing,
    setting,
    text,
    xsw1,
    xsw2,
    xsw3,
    xsw4,
    xsw5,
    xsw6,
    xsw7,
    xsw8,
)

pytestmark = pytest.mark.req("P6")

IDP = SamlIdp()
STRANGER = new_key()
BASE = "https://api.example.com"
ACS, ENTITY = f"{BASE}/auth/v1/sso/saml/acs", f"{BASE}/auth/v1/sso/saml/metadata"
BOTH = ("assertion", "response")


def service_provider(*, encrypted: bool = False) -> ServiceProvider:
    settings = SamlSettings(
        enabled=True,
        private_key=pkcs1_base64(SP_KEY),
        private_key_next=pkcs1_base64(NEXT_KEY),
        allow_encrypted_assertions=encrypted,
    )
    provider = load_service_provider(settings, BASE)
    assert provider is not None
    return provider


SP, ENCRYPTED_SP = service_provider(), service_provider(encrypted=True)


def a_response(**options: Any) -> etree._Element:
    return IDP.response(ACS, ENTITY, **options)


def verified(
    response: etree._Element | bytes,
    request_id: str | None = None,
    *,
    idp: SamlIdp = IDP,
    sp: ServiceProvider = SP,
) -> Assertion:
    data = response if isinstance(response, bytes) else etree.tostring(response)
    provider = parse_metadata(idp.metadata())
    return verify_response(data, provider, sp, request_id=request_id, now=datetime.now(UTC))


def refusal(response: etree._Element | bytes, request_id: str | None = None, **options: Any) -> str:
    with pytest.raises(SamlError) as caught:
        verified(response, request_id, **options)
    return str(caught.value)


@pytest.mark.parametrize("sign", [("assertion",), ("response",), BOTH])
def test_what_is_signed_is_read(sign: tuple[str, ...]) -> None:
    assertion = verified(a_response(sign=sign, session_ends_in_s=600, attributes={"a": ["1", "2"], "b": []}))
    assert (assertion.name_id, len(assertion.attributes)) == ("ada-7", 2)
    assert assertion.attributes[0].values == ("1", "2")
    assert assertion.session_ends_at is not None


def test_a_key_on_a_curve_and_a_second_certificate_are_known() -> None:
    curve = SamlIdp(key=ec.generate_private_key(ec.SECP256R1()))
    assert verified(curve.response(ACS, ENTITY), idp=curve).name_id == "ada-7"
    metadata = IDP.metadata(more_certificates=[certificate_for(STRANGER)])
    data = etree.tostring(a_response(key=STRANGER))
    found = verify_response(data, parse_metadata(metadata), SP, request_id=None, now=datetime.now(UTC))
    assert found.name_id == "ada-7"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"sign": ()}, "it is not signed"),
        ({"key": STRANGER}, "its signature is not one of the identity provider's"),
        ({"key": STRANGER, "sign": ("response",)}, "its signature is not one of the identity provider's"),
        ({"key": STRANGER, "sign": BOTH}, "its signature is not one of the identity provider's"),
        ({"algorithm": "rsa-sha1"}, "its signature is not one of the identity provider's"),
    ],
)
def test_signatures_of_others_are_refused(options: dict[str, Any], reason: str) -> None:
    assert refusal(a_response(**options)) == reason


def test_a_certificate_that_has_expired_signs_nothing() -> None:
    expired = SamlIdp(days=-1)
    reason = refusal(expired.response(ACS, ENTITY), idp=expired)
    assert reason == "its signature is not one of the identity provider's"


def test_a_good_signature_around_a_bad_one_does_not_help() -> None:
    response = a_response(key=STRANGER)
    assert "not one of the identity provider's" in refusal(IDP.sign(response))
    good_inside = a_response()
    assert "not one of the identity provider's" in refusal(IDP.sign(good_inside, STRANGER))


NAME_ID = "//saml:NameID"


@pytest.mark.parametrize("sign", [("assertion",), ("response",), BOTH])
@pytest.mark.parametrize(
    "change",
    [
        text(NAME_ID, "mallory"),
        text("//saml:Audience", f"{ENTITY}?"),
        text("//saml:AttributeValue", "mallory@company.example"),
        setting(NAME_ID, "Format", "urn:other"),
        removing("//saml:Conditions"),
        adding("//saml:AttributeStatement", f'<a xmlns="{SAML}"/>'),
        lambda root: setattr(root.find(f".//{{{DS}}}DigestValue"), "text", "AAAA"),
    ],
)
def test_a_change_after_signing_is_noticed(sign: tuple[str, ...], change: Change) -> None:
    response = a_response(sign=sign)
    change(response)
    assert "signature" in refusal(response)


@pytest.mark.parametrize("wrap", [xsw3, xsw4, xsw5, xsw6, xsw7, xsw8])
@pytest.mark.parametrize("sign", [("assertion",), BOTH])
def test_wrapped_assertions_are_refused(
    wrap: Callable[[etree._Element], etree._Element], sign: tuple[str, ...]
) -> None:
    response = a_response(sign=sign)
    assert verified(response).name_id == "ada-7"
    assert refusal(wrap(response))


@pytest.mark.parametrize("wrap", [xsw1, xsw2])
@pytest.mark.parametrize("sign", [("response",), BOTH])
def test_wrapped_responses_are_refused(
    wrap: Callable[[etree._Element], etree._Element], sign: tuple[str, ...]
) -> None:
    response = a_response(sign=sign)
    assert verified(response).name_id == "ada-7"
    assert refusal(wrap(response))


def test_a_signature_of_something_else_is_refused() -> None:
    """The signature of one assertion on another one, by id, by an empty reference and by two references."""
    genuine, other = a_response(), a_response(name_id="mallory", sign=())
    signature = one(genuine, "//ds:Signature")
    forged = one(other, "saml:Assertion")
    forged.insert(1, signature)
    assert refusal(other) == "its signature is of something else"
    forged.set("ID", one(signature, ".//ds:Reference").get("URI")[1:])
    assert "not one of the identity provider's" in refusal(other)
    one(signature, ".//ds:Reference").set("URI", "")
    assert refusal(other) == "its signature is of something else"
    one(signature, "ds:SignedInfo").append(
        etree.fromstring(etree.tostring(one(signature, ".//ds:Reference")))
    )
    assert refusal(other) == "SignedInfo has 2 elements Reference"


def test_transforms_beyond_the_standard_are_refused() -> None:
    response = a_response()
    transforms = one(response, "//ds:Transforms")
    transform = etree.SubElement(transforms, f"{{{DS}}}Transform")
    transform.set("Algorithm", "http://www.w3.org/TR/1999/REC-xslt-19991116")
    assert refusal(response) == "its signature uses transforms that are not accepted"
    transforms.remove(transform)
    transforms[0].set("Algorithm", "http://www.w3.org/TR/1999/REC-xpath-19991116")
    assert refusal(response) == "its signature uses transforms that are not accepted"


def test_a_comment_does_not_split_a_name() -> None:
    """Duo Labs, 2018: readers that stop at the comment see `admin`, canonicalisation leaves it out."""
    response = a_response(name_id="admin@company.example.evil.example")
    data = etree.tostring(response).replace(b"admin@company.example.", b"admin@company.example<!-- -->.")
    assert "comments" in refusal(data)
    instruction = etree.tostring(response).replace(b"admin@company.example.", b"admin@company.example<?x?>.")
    assert "comments" in refusal(instruction)
    parts = etree.tostring(response).replace(b"admin@company.example.", b"admin@<![CDATA[company.example]]>.")
    assert verified(parts).name_id == "admin@company.example.evil.example"


def test_elements_inside_a_name_are_refused() -> None:
    response = a_response(change=adding(NAME_ID, "<x>more</x>"))
    assert refusal(response) == "NameID holds more than text"


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "head",
    [
        b"<!DOCTYPE r>",
        b'<!DOCTYPE r SYSTEM "file:///etc/passwd">',
        b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        b'<!DOCTYPE r [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x.dtd"> %x;]>',
        f'<!DOCTYPE r [<!ENTITY l0 "lol">{LAUGHS}]>'.encode(),
    ],
)
def test_document_types_are_refused(head: bytes) -> None:
    assert refusal(head + etree.tostring(a_response())) == "document types and entities are not accepted"
    hidden = b'<?xml version="1.0" encoding="ISO-8859-1"?>' + head + etree.tostring(a_response())
    assert refusal(hidden) == "document types and entities are not accepted"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "cp037"])
def test_other_encodings_hide_nothing(encoding: str) -> None:
    document = '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x "y">]><r>&x;</r>'.encode(encoding)
    assert refusal(document) in ("it is not UTF-8", "it is not well-formed XML")
    declared = b'<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE r+AD4-<r/>'
    assert refusal(declared) == "it is not well-formed XML"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"<r/>",
        b"<a><b></a>",
        f'<samlp:Response xmlns:samlp="{SAMLP}"/>'.encode(),
        pytest.param(
            f'<samlp:Response xmlns:samlp="{SAMLP}" Version="2.0" ID="_a" IssueInstant="{moment()}"/>'.encode(),
            id="nothing in it",
        ),
        b"<r>&undefined;</r>",
        b"<a>" * 5000,
        b"\xef\xbb\xbf\xff",
        b"<r>\x00</r>",
    ],
)
def test_other_documents_are_refused(data: bytes) -> None:
    assert refusal(data)


def test_sizes_are_limited() -> None:
    response = a_response(attributes={"mail": ["x" * 300_000]})
    assert refusal(response) == "it is larger than 262144 bytes"


RESPONSE, ASSERTION = "/samlp:Response", "//saml:Assertion"
CONFIRMATION, DATA = "//saml:SubjectConfirmation", "//saml:SubjectConfirmationData"
CONDITIONS, STATEMENT = "//saml:Conditions", "//saml:AuthnStatement"
OTHER = "https://other.example.com/"
SECOND_AUDIENCE = (
    f'<s:AudienceRestriction xmlns:s="{SAML}"><s:Audience>{OTHER}</s:Audience></s:AudienceRestriction>'
)
NESTED_STATUS = f'<p:StatusCode xmlns:p="{SAMLP}" Value="urn:oasis:names:tc:SAML:2.0:status:AuthnFailed"/>'


def both(*changes: Change) -> Change:
    def change(root: etree._Element) -> None:
        for single in changes:
            single(root)

    return change


@pytest.mark.parametrize("sign", [("assertion",), ("response",)])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (setting(RESPONSE, "Version", "1.1"), "it is not SAML 2.0"),
        (setting(ASSERTION, "Version", "1.1"), "it is not SAML 2.0"),
        (setting(RESPONSE, "IssueInstant", moment(-100)), "it was made too long ago"),
        (setting(ASSERTION, "IssueInstant", moment(-100)), "it was made too long ago"),
        (setting(ASSERTION, "IssueInstant", None), "it was made too long ago"),
        (setting(ASSERTION, "IssueInstant", moment(3600)), "it was made in the future"),
        (setting(RESPONSE, "IssueInstant", "9999-12-31T23:59:59Z"), "it was made in the future"),
        (setting(RESPONSE, "IssueInstant", "0001-01-01T00:00:00Z"), "it was made too long ago"),
        (setting(ASSERTION, "IssueInstant", "now"), "IssueInstant is not an instant"),
        (setting(RESPONSE, "Destination", OTHER), "it is for another destination"),
        (setting(RESPONSE, "InResponseTo", "id-1"), "it answers another request"),
        (setting(DATA, "InResponseTo", "id-1"), "it answers another request"),
        (text("/samlp:Response/saml:Issuer", OTHER), "it is of another identity provider"),
        (text("//saml:Assertion/saml:Issuer", OTHER), "it is of another identity provider"),
        (removing("//saml:Assertion/saml:Issuer"), "Assertion has 0 elements Issuer"),
        (
            setting("//samlp:StatusCode", "Value", "urn:oasis:names:tc:SAML:2.0:status:Requester"),
            "the identity provider did not sign the user in (Requester)",
        ),
        (
            both(
                setting("//samlp:StatusCode", "Value", "urn:oasis:names:tc:SAML:2.0:status:Responder"),
                adding("//samlp:StatusCode", NESTED_STATUS),
            ),
            "the identity provider did not sign the user in (AuthnFailed)",
        ),
        (removing("//samlp:Status"), "Response has 0 elements Status"),
        (text("//saml:Audience", OTHER), "it is for another audience"),
        (removing("//saml:AudienceRestriction"), "it is for another audience"),
        (adding(CONDITIONS, SECOND_AUDIENCE), "it is for another audience"),
        (removing(CONDITIONS), "Assertion has 0 elements Conditions"),
        (setting(CONDITIONS, "NotOnOrAfter", moment(-181)), "it has expired"),
        (setting(CONDITIONS, "NotBefore", moment(3600)), "it is not valid yet"),
        (adding(CONDITIONS, f'<Condition xmlns="{SAML}"/>'), "it holds a condition that is not known"),
        (setting(DATA, "Recipient", OTHER), "it is for another recipient"),
        (setting(DATA, "Recipient", None), "it is for another recipient"),
        (setting(DATA, "NotOnOrAfter", moment(-181)), "it has expired"),
        (setting(DATA, "NotOnOrAfter", None), "its confirmation has no end"),
        (setting(DATA, "NotBefore", moment(3600)), "it is not valid yet"),
        (
            setting(CONFIRMATION, "Method", "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"),
            "its subject is not confirmed",
        ),
        (removing(CONFIRMATION), "its subject is not confirmed"),
        (removing(DATA), "SubjectConfirmation has 0 elements SubjectConfirmationData"),
        (removing("//saml:Subject"), "Assertion has 0 elements Subject"),
        (removing(STATEMENT), "it does not say that the user was authenticated"),
        (setting(STATEMENT, "SessionNotOnOrAfter", moment(-1)), "the session has ended already"),
        (setting(ASSERTION, "ID", "_same"), None),
    ],
)
def test_the_rules_of_the_profile(sign: tuple[str, ...], change: Change, reason: str | None) -> None:
    response = a_response(sign=sign, change=change)
    if reason is None:
        assert verified(response).id == "_same"
    else:
        assert refusal(response) == reason


def test_an_id_stands_once() -> None:
    response = a_response(change=setting(ASSERTION, "ID", "_same"))
    for name in ("ID", "Id", "id"):
        one(response, "saml:Issuer").attrib.clear()
        one(response, "saml:Issuer").set(name, "_same")
        assert refusal(response) == "an ID stands in it twice"


def test_an_answer_without_an_assertion_is_refused() -> None:
    response = a_response(sign=("response",), change=removing(ASSERTION))
    assert refusal(response) == "it does not hold exactly one assertion"


def test_a_clock_may_be_a_little_wrong() -> None:
    changes = both(
        setting(CONDITIONS, "NotOnOrAfter", moment(-120)),
        setting(CONDITIONS, "NotBefore", moment(120)),
        setting(ASSERTION, "IssueInstant", moment(60).replace("Z", ".5")),
        setting(DATA, "NotOnOrAfter", moment(-120)),
    )
    assert verified(a_response(change=changes)).name_id == "ada-7"


def test_one_confirmation_that_fits_is_enough() -> None:
    other = f'<s:SubjectConfirmation xmlns:s="{SAML}" Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"/>'
    assert verified(a_response(change=adding("//saml:Subject", other))).name_id == "ada-7"


def test_an_answer_belongs_to_its_request() -> None:
    response = a_response(request_id="id-1")
    assert verified(response, "id-1").name_id == "ada-7"
    assert refusal(response, "id-2") == "it answers another request"
    assert refusal(response) == "it answers another request"
    assert refusal(a_response(), "id-1") == "it answers another request"
    # the envelope is not signed: whoever changes it does not change the assertion
    response.set("InResponseTo", "id-2")
    assert refusal(response, "id-2") == "it answers another request"


def test_only_a_signed_response_needs_a_destination() -> None:
    without = setting(RESPONSE, "Destination", None)
    assert verified(a_response(change=without)).name_id == "ada-7"
    assert refusal(a_response(change=without, sign=("response",))) == "it is for another destination"


def test_the_claimed_issuer_is_found() -> None:
    assert read_issuer(etree.tostring(a_response())) == IDP.entity_id
    only_inside = a_response(change=removing("/samlp:Response/saml:Issuer"))
    assert read_issuer(etree.tostring(only_inside)) == IDP.entity_id
    nobody = a_response(change=removing("/samlp:Response/saml:Issuer"), sign=("assertion",))
    nobody.remove(one(nobody, "saml:Assertion"))
    nobody.append(etree.fromstring(f'<Assertion xmlns="{SAML}"/>'))
    assert read_issuer(etree.tostring(nobody)) == ""


@pytest.mark.parametrize("sign", [("assertion",), ("response",), BOTH])
@pytest.mark.parametrize(
    "encryption",
    [
        {},
        {"data": f"{XENC11}aes128-gcm", "key_bytes": "16"},
        {"data": f"{XENC11}aes192-gcm", "key_bytes": "24", "transport": f"{XENC11}rsa-oaep"},
    ],
)
def test_encrypted_assertions_are_read(sign: tuple[str, ...], encryption: dict[str, str]) -> None:
    for key in (SP_KEY, NEXT_KEY):
        response = a_response(sign=sign, encrypt_for=key.public_key(), encryption=encryption)
        assert verified(response, sp=ENCRYPTED_SP).name_id == "ada-7"


def test_encryption_without_authentication_needs_a_signed_response() -> None:
    for size in (128, 192, 256):
        options = {
            "encrypt_for": SP_KEY.public_key(),
            "encryption": {"data": f"{XENC}aes{size}-cbc", "key_bytes": str(size // 8)},
        }
        assert verified(a_response(sign=BOTH, **options), sp=ENCRYPTED_SP).name_id == "ada-7"
        assert verified(a_response(sign=("response",), **options), sp=ENCRYPTED_SP).name_id == "ada-7"
        assert "AES-GCM" in refusal(a_response(**options), sp=ENCRYPTED_SP)


DATA_METHOD = "//*[local-name()='EncryptedData']/*[local-name()='EncryptionMethod']"


def cipher_value(which: int, value: str) -> Change:
    def change(root: etree._Element) -> None:
        root.findall(f".//{{{XENC}}}CipherValue")[which].text = value

    return change


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"sign": ()}, "it is not signed"),
        ({"key": STRANGER}, "its signature is not one of the identity provider's"),
        ({"encrypt_for": STRANGER.public_key()}, "it cannot be decrypted"),
        ({"encryption": {"transport": f"{XENC}rsa-1_5"}}, "its key is not encrypted by RSA-OAEP"),
        (
            {"change_encrypted": setting(DATA_METHOD, "Algorithm", f"{XENC}tripledes-cbc")},
            "its encryption is not accepted: use AES-GCM, or AES-CBC in a signed response",
        ),
        ({"encryption": {"key_bytes": "16"}}, "it cannot be decrypted"),
        ({"change_encrypted": cipher_value(0, "AAAA")}, "it cannot be decrypted"),
        ({"change_encrypted": cipher_value(0, "no base64!")}, "it cannot be decrypted"),
        ({"change_encrypted": cipher_value(1, "AAAA")}, "it cannot be decrypted"),
        ({"change_encrypted": cipher_value(1, "A" * 400)}, "it cannot be decrypted"),
        ({"change": setting(NAME_ID, "Format", "x"), "sign": ()}, "it is not signed"),
    ],
)
def test_encryption_that_is_refused(options: dict[str, Any], reason: str) -> None:
    given = {"encrypt_for": SP_KEY.public_key(), **options}
    assert refusal(a_response(**given), sp=ENCRYPTED_SP) == reason


def test_encrypted_assertions_are_taken_only_where_they_are_allowed() -> None:
    response = a_response(encrypt_for=SP_KEY.public_key())
    assert refusal(response) == "encrypted assertions are not accepted"


def test_something_else_may_be_encrypted_and_is_refused() -> None:
    """The encryption is by our public key, which everybody has: what comes out is as hostile as what came in."""

    def hide(xml: bytes) -> Change:
        def change(root: etree._Element) -> None:
            assertion = one(root, "saml:Assertion")
            root.replace(assertion, etree.fromstring(xml))

        return change

    for xml, reason in (
        (f'<Assertion xmlns="{SAML}"><x/></Assertion>'.encode(), "it is not signed"),
        (f'<Response xmlns="{SAMLP}"/>'.encode(), "what is encrypted is no assertion"),
        (
            f'<Assertion xmlns="{SAML}"><Assertion/></Assertion>'.encode(),
            "it does not hold exactly one assertion",
        ),
    ):
        root = a_response(sign=(), change=hide(xml))
        encrypt_assertion(root, SP_KEY.public_key(), {})
        assert refusal(root, sp=ENCRYPTED_SP) == reason


def test_an_encrypted_assertion_may_use_the_namespaces_around_it() -> None:
    """libxmlsec1 encrypts the element as it is written, without what is declared above it."""
    place = etree.fromstring(f'<saml:x xmlns:saml="{SAML}"/>')
    assertion = parse_fragment(b'\n<saml:Assertion ID="_1"><saml:Issuer/></saml:Assertion>', place)
    assert (assertion.tag, assertion.getparent()) == (f"{{{SAML}}}Assertion", None)
    for data in (
        b"<saml:a/><saml:a/>",
        b"text<saml:a/>",
        b"<saml:a/>text",
        b"",
        b"<!-- --><saml:a/>",
        b"<other:a/>",
        b"</fragment><fragment>",
        b"<saml:a/></fragment><!--",
        b'<!DOCTYPE x [<!ENTITY y "z">]><saml:a/>',
        b"\xff",
    ):
        with pytest.raises(SamlError):
            parse_fragment(data, place)
