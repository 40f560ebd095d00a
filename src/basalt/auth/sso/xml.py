"""XML from outside, read so that nothing in it acts: UTF-8 only, no document type, no entities, nothing fetched.

libxml2 itself bounds depth and sizes. Whoever calls bounds the bytes, and calls in a thread.
"""

import re
from datetime import datetime
from typing import Final

from lxml import etree

from basalt.auth.instants import parse_instant

SAML: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
SAMLP: Final = "urn:oasis:names:tc:SAML:2.0:protocol"
MD: Final = "urn:oasis:names:tc:SAML:2.0:metadata"
DS: Final = "http://www.w3.org/2000/09/xmldsig#"
XENC: Final = "http://www.w3.org/2001/04/xmlenc#"
XENC11: Final = "http://www.w3.org/2009/xmlenc11#"

ZONED: Final = re.compile(r".*(?:Z|[+-][0-9]{2}:[0-9]{2})")


class SamlError(Exception):
    """A document that cannot be taken. The text goes to the client: it tells what is wrong and nothing secret."""


def parse_xml(data: bytes) -> etree._Element:
    """Raises SamlError. The declared encoding counts for nothing, so that what is looked for in the text is what is
    parsed."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise SamlError("it is not UTF-8") from exc
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise SamlError("document types and entities are not accepted")
    try:
        root = etree.fromstring(text.encode(), strict_parser())
    except (etree.XMLSyntaxError, ValueError) as exc:
        raise SamlError("it is not well-formed XML") from exc
    information = root.getroottree().docinfo
    if information.internalDTD is not None or information.externalDTD is not None:
        raise SamlError("document types and entities are not accepted")
    return root


def parse_fragment(data: bytes, place: etree._Element) -> etree._Element:
    """An element that stood at `place`, where its namespaces may be declared (XML Encryption §4.3.3); as a tree of its
    own. Raises SamlError."""
    begin = etree.tostring(etree.Element("fragment", nsmap=place.nsmap)).removesuffix(b"/>")
    fragment = parse_xml(begin + b">" + data + b"</fragment>")
    check_plain(fragment)
    if len(fragment) != 1 or f"{fragment.text or ''}{fragment[0].tail or ''}".strip():
        raise SamlError("what is encrypted is not one element")
    return parse_xml(etree.tostring(fragment[0], with_tail=False))


def strict_parser() -> etree.XMLParser:
    """A parser for one document: parsers are not shared between threads."""
    return etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )


def check_plain(root: etree._Element) -> None:
    """Elements and text alone: a comment inside a name splits it for some readers and not for others."""
    if any(not isinstance(node.tag, str) for node in root.iter()):
        raise SamlError("comments, processing instructions and entities are not accepted")


def text_of(element: etree._Element) -> str:
    """The whole text of an element that holds nothing but text."""
    if len(element):
        raise SamlError(f"{etree.QName(element).localname} holds more than text")
    return str(element.text or "")


def children(element: etree._Element, namespace: str, *names: str) -> list[etree._Element]:
    """Direct children by their names."""
    return [child for name in names for child in element.findall(f"{{{namespace}}}{name}")]


def only_child(element: etree._Element, namespace: str, *names: str) -> etree._Element:
    found = children(element, namespace, *names)
    if len(found) != 1:
        raise SamlError(f"{etree.QName(element).localname} has {len(found)} elements {' or '.join(names)}")
    return found[0]


def count(root: etree._Element, namespace: str, *names: str) -> int:
    """How many elements of these names there are, anywhere."""
    tags = [f"{{{namespace}}}{name}" for name in names]
    return sum(1 for _ in root.iter(*tags))


def instant_of(element: etree._Element, name: str) -> datetime | None:
    """An attribute as an instant, without a zone in UTC; None when it is absent."""
    text = element.get(name)
    if text is None:
        return None
    plain = text.strip()
    moment = parse_instant(plain if ZONED.fullmatch(plain) else f"{plain}Z")
    if moment is None:
        raise SamlError(f"{name} is not an instant")
    return moment
