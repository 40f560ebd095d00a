"""What bytes are an image, and of which kind. Only the bytes are asked: what an upload declared may be a lie."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Literal, cast
from xml.parsers import expat

Kind = Literal["jpeg", "png", "gif", "webp", "avif", "tiff", "bmp", "ico", "svg"]

CONTENT_TYPES: Final[Mapping[str, str]] = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "ico": "image/vnd.microsoft.icon",
    "svg": "image/svg+xml",
}
MAGIC: Final = re.compile(
    rb"(?P<jpeg>\xff\xd8\xff)|(?P<png>\x89PNG\r\n\x1a\n)|(?P<gif>GIF8[79]a)|(?P<webp>RIFF.{4}WEBP)"
    rb"|(?P<tiff>II[*+]\0|MM\0[*+])|(?P<bmp>BM)|(?P<ico>\0\0\x01\0)"
    # ISO 14496-12: the first box names a major brand, four bytes of version, and brands that fit as well.
    rb"|(?P<avif>\0\0\0[\x10-\xff]ftyp(?:avi[fs]|.{8}(?:.{4}){0,56}?avi[fs]))",
    re.DOTALL,
)
HEAD_BYTES: Final = 64 * 1024  # an SVG's root is expected within them
MAX_WEBP_SIDE: Final = 16383


def find_kind(data: bytes) -> Kind | None:
    """None for what is no image that can be shown.

    >>> find_kind(b"GIF89a..."), find_kind(b"<?xml version='1.0'?><svg/>"), find_kind(b"<html><svg/></html>")
    ('gif', 'svg', None)
    """
    if found := MAGIC.match(data):
        return cast(Kind, found.lastgroup)
    return "svg" if _is_svg(data[:HEAD_BYTES]) else None


def fit_format(wanted: str, kind: str, width: int, height: int) -> str:
    """The format that can hold a result of this size: WebP's sides have 14 bits."""
    return kind if wanted == "webp" and max(width, height) > MAX_WEBP_SIDE else wanted


def _is_svg(head: bytes) -> bool:
    """Whether the first element is `svg`. The parser is stopped there: nothing of the picture itself is read, no entity
    is expanded."""
    parser = expat.ParserCreate(namespace_separator=" ")
    roots: list[str] = []

    def stop(name: str, _: object) -> None:
        roots.append(name)
        raise StopIteration

    parser.StartElementHandler = stop
    with suppress(expat.ExpatError, StopIteration, ValueError, LookupError):
        parser.Parse(head, False)
    return bool(roots) and roots[0].rpartition(" ")[2] == "svg"
