"""Media types (RFC 9110 §8.3) as far as Storage looks at them."""

import re
from collections.abc import Sequence
from typing import Final

from basalt.storage.errors import StorageError

NAME: Final = r"[A-Za-z0-9!#$&^_.+'*-]+"
MEDIA_TYPE: Final = re.compile(rf"\s*({NAME}/{NAME})\s*(;.*)?", re.DOTALL)
PATTERN: Final = re.compile(rf"{NAME}/({NAME}|\*)")
DEFAULT: Final = "application/octet-stream"


def parse_media_type(header: str) -> str:
    """Type and subtype in lower case, without parameters. Raises StorageError InvalidMimeType.

    >>> parse_media_type("Text/Plain; charset=UTF-8")
    'text/plain'
    """
    found = MEDIA_TYPE.fullmatch(header)
    if found is None:
        raise StorageError("InvalidMimeType")
    return found[1].lower()


def check_pattern(pattern: str) -> None:
    """An entry of a bucket's allow-list: `image/png`, `image/*`. Raises StorageError InvalidMimeType."""
    if not PATTERN.fullmatch(pattern):
        raise StorageError("InvalidMimeType", f"mime type {pattern} is not supported")


def is_allowed(media_type: str, patterns: Sequence[str]) -> bool:
    """Whether a bucket with this allow-list takes the type; an empty list takes everything.

    >>> is_allowed("image/png", ["image/*"]), is_allowed("image/png", ["text/plain"]), is_allowed("a/b", ["*/*"])
    (True, False, True)
    """
    kind = media_type.partition("/")[0]
    return not patterns or any(pattern.lower() in (media_type, f"{kind}/*", "*/*") for pattern in patterns)
