"""What bytes and parts are called in a back end: `VERSION`, and `NUMBER.SIZE.MD5` in the folder of an upload.

Whatever cannot have been made by the server names nothing: versions in rows may have been written by SQL, and ids of
uploads and ETags of parts come from clients.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from basalt.storage.names import check_version
from basalt.storage.stores.store import ContentMissingError, Part

PART_NAME: Final = re.compile(r"(\d{1,9})\.(\d{1,19})\.([0-9a-f]{32})")


def check_key(version: str) -> str:
    """A version or an upload's id as it names bytes. Raises ContentMissingError."""
    try:
        return check_version(version)
    except ValueError as exc:
        raise ContentMissingError(version) from exc


def is_key(name: str) -> bool:
    """Whether a name found in the back end is a version or an upload's id, and not somebody else's file."""
    try:
        return check_version(name) == name
    except ValueError:
        return False


def name_of_part(part: Part) -> str:
    """Raises ContentMissingError for what cannot be one.

    >>> name_of_part(Part(7, 3, "900150983cd24fb0d6963f7d28e17f72"))
    '00007.3.900150983cd24fb0d6963f7d28e17f72'
    """
    name = f"{part.number:05}.{part.size}.{part.etag}"
    if not PART_NAME.fullmatch(name):
        raise ContentMissingError(name)
    return name


def part_of_name(name: str) -> Part | None:
    """
    >>> part_of_name("00007.3.900150983cd24fb0d6963f7d28e17f72")
    Part(number=7, size=3, etag='900150983cd24fb0d6963f7d28e17f72')
    >>> part_of_name("notes.txt")
    """
    found = PART_NAME.fullmatch(name)
    return None if found is None else Part(int(found[1]), int(found[2]), found[3])


def sort_parts(names: Sequence[str]) -> list[Part]:
    """The parts among names, by number."""
    parts = [part for part in map(part_of_name, names) if part is not None]
    return sorted(parts, key=lambda part: (part.number, part.size, part.etag))


def etag_of_parts(parts: Sequence[Part]) -> str:
    """S3's for multipart uploads: MD5 of the binary MD5s, and their number."""
    whole = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False)
    return f"{whole.hexdigest()}-{len(parts)}"
