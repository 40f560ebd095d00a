"""Names of buckets and objects: the one place that says which ones there may be.

Every protocol passes its names through here before anything else happens. A name never becomes a path: bytes lie
under the object's version, a UUID that the server made (`check_version`). Limits: Supabase Storage
`storage/limits.ts`.
"""

import re
from uuid import uuid4

from basalt.storage.errors import StorageError

MAX_NAME_BYTES = 1024
BUCKET = re.compile(
    r"[A-Za-z0-9_!.*'()&$@=;:+,?-](?:[A-Za-z0-9_!.*'()&$@=;:+,? -]{0,98}[A-Za-z0-9_!.*'()&$@=;:+,?-])?"
)
OBJECT = re.compile(r"[A-Za-z0-9_/!.*'()&$@=;:+,? -]+")
VERSION = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
EMPTY_FOLDER = ".emptyFolderPlaceholder"


def check_bucket_name(name: str) -> str:
    """Raises StorageError InvalidBucketName.

    >>> check_bucket_name("my files")
    'my files'
    """
    if not BUCKET.fullmatch(name) or name in (".", ".."):
        raise StorageError("InvalidBucketName")
    return name


def check_object_name(name: str) -> str:
    """Raises StorageError InvalidKey for what is empty, too long, outside of the alphabet, or has a `.` or `..`
    segment.

    >>> check_object_name("a///b.txt")
    'a///b.txt'
    """
    is_fine = (
        OBJECT.fullmatch(name) is not None
        and len(name) <= MAX_NAME_BYTES
        and not any(segment in (".", "..") for segment in name.split("/"))
    )
    if not is_fine:
        raise StorageError("InvalidKey", f"Invalid key: {_shown(name)}")
    return name


def _shown(name: str) -> str:
    """A name as an error may repeat it: of bounded length, control characters visible."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name[:MAX_NAME_BYTES])
    return shown if len(name) <= MAX_NAME_BYTES else f"{shown}…"


def new_version() -> str:
    """A version for a write."""
    return str(uuid4())


def check_version(version: str | None) -> str:
    """The version in the form in which it names bytes. Whoever writes rows by SQL may have put anything there; raises
    ValueError for what `new_version` cannot have made."""
    if version is None or not VERSION.fullmatch(version):
        raise ValueError("not a version")
    return version
