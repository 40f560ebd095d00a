"""XML in and out. What comes in may neither define entities nor name anything outside, and is of bounded size."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from lxml import etree

from basalt.http import Response
from basalt.storage.errors import StorageError

NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION: Final = b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
CONTENT_TYPE: Final = (b"content-type", b"application/xml; charset=utf-8")
# What XML 1.0 §2.2 has no place for; a name that was made by SQL may hold it.
NOT_IN_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Value: TypeAlias = "str | int | bool | Tree | None"
Tree: TypeAlias = Sequence[tuple[str, Value]]


def xml_response(root: str, content: Value, status: int = 200) -> Response:
    return Response(status, [CONTENT_TYPE], render_xml(root, content))


def render_xml(root: str, content: Value) -> bytes:
    """A document; what is None is left out.

    >>> render_xml("R", [("Key", "a&b"), ("Gone", None), ("IsTruncated", False)])[55:]
    b'<R xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Key>a&amp;b</Key><IsTruncated>false</IsTruncated></R>'
    """
    element = etree.Element(f"{{{NAMESPACE}}}{root}", nsmap={None: NAMESPACE})
    _fill(element, content)
    return DECLARATION + bytes(etree.tostring(element, encoding="UTF-8", xml_declaration=False))


def _fill(element: etree._Element, content: Value) -> None:
    match content:
        case bool():
            element.text = "true" if content else "false"
        case int():
            element.text = str(content)
        case str():
            element.text = NOT_IN_XML.sub("\ufffd", content)
        case None:
            pass
        case _:
            for name, value in content:
                if value is not None:
                    _fill(etree.SubElement(element, f"{{{NAMESPACE}}}{name}"), value)


async def parse_xml(body: bytes, root: str) -> etree._Element:
    """The root element. Raises StorageError MalformedXML."""
    element = await asyncio.to_thread(_parse, body)
    if _name(element) != root:
        raise StorageError("MalformedXML", f"Invalid XML payload: {root} is expected")
    return element


def _parse(body: bytes) -> etree._Element:
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        element = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise StorageError("MalformedXML", f"Invalid XML payload: {error}") from error
    if element.getroottree().docinfo.internalDTD is not None:
        raise StorageError("MalformedXML", "Invalid XML payload: a document type is not allowed")
    return element


def children(element: etree._Element, name: str) -> Iterator[etree._Element]:
    """In whatever namespace: many clients send none."""
    return (child for child in element if _name(child) == name)


def child_text(element: etree._Element, name: str) -> str | None:
    """The text of the first child of that name, as it is; None where there is none."""
    found = next(children(element, name), None)
    return None if found is None else "".join(found.itertext())


def _name(element: etree._Element) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""
