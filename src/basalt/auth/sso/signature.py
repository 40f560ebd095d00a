"""Which part of a document an identity provider has signed (XML Signature, by signxml).

An answer may hold a genuine signed assertion and beside it a forged one, put where a careless reader looks (signature
wrapping). So nobody reads the document that came: `verify_signed` gives back what the signature covers, and only that
is read.
"""

from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import Certificate
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, XMLVerifier

from basalt.auth.sso.xml import DS, SamlError, children, only_child, strict_parser

METHODS: Final = frozenset(
    (
        SignatureMethod.RSA_SHA256,
        SignatureMethod.RSA_SHA384,
        SignatureMethod.RSA_SHA512,
        SignatureMethod.SHA256_RSA_MGF1,
        SignatureMethod.SHA384_RSA_MGF1,
        SignatureMethod.SHA512_RSA_MGF1,
        SignatureMethod.ECDSA_SHA256,
        SignatureMethod.ECDSA_SHA384,
        SignatureMethod.ECDSA_SHA512,
    )
)
DIGESTS: Final = frozenset((DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512))
# SAML Core §5.4.4: these and no others, so that the digest is of the element as it stands.
TRANSFORMS: Final = frozenset(
    (
        "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
        "http://www.w3.org/2001/10/xml-exc-c14n#",
        "http://www.w3.org/2001/10/xml-exc-c14n#WithComments",
    )
)
CONFIGURATION: Final = SignatureConfiguration(
    location="./", expect_references=1, signature_methods=METHODS, digest_algorithms=DIGESTS
)
# What signxml and the libraries below it raise for what somebody made up.
REJECTIONS: Final = (
    SignXMLException,
    UnsupportedAlgorithm,
    etree.LxmlError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    NotImplementedError,
)


def is_signed(element: etree._Element) -> bool:
    return bool(children(element, DS, "Signature"))


def verify_signed(element: etree._Element, certificates: Sequence[Certificate]) -> etree._Element:
    """The element as one of the certificates' keys has signed it, without the signature: a tree of its own. Raises
    SamlError. Certificates inside the document count for nothing."""
    _check_reference(only_child(element, DS, "Signature"), element.get("ID", ""))
    data = etree.tostring(element, with_tail=False)
    problem: Exception | None = None
    for certificate in certificates:
        try:
            result = XMLVerifier().verify(
                data,
                x509_cert=certificate,
                id_attribute="ID",
                expect_config=CONFIGURATION,
                parser=strict_parser(),
            )
        except REJECTIONS as exc:
            problem = exc
            continue
        assert not isinstance(result, list)
        signed = result.signed_xml
        if signed is None or signed.tag != element.tag or signed.get("ID") != element.get("ID"):
            raise SamlError("its signature is of something else")
        return signed
    raise SamlError("its signature is not one of the identity provider's") from problem


def _check_reference(signature: etree._Element, identifier: str) -> None:
    """The signature is of its parent: SAML Core §5.4.2."""
    reference = only_child(only_child(signature, DS, "SignedInfo"), DS, "Reference")
    if not identifier or reference.get("URI") != f"#{identifier}":
        raise SamlError("its signature is of something else")
    transforms = [
        transform.get("Algorithm")
        for transform in children(only_child(reference, DS, "Transforms"), DS, "Transform")
    ]
    if not 1 <= len(transforms) <= 2 or not TRANSFORMS.issuperset(transforms):
        raise SamlError("its signature uses transforms that are not accepted")
