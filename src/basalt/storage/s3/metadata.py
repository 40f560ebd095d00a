"""What of an object travels in headers: `x-amz-meta-…` both ways, and what else an upload says about itself."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from basalt.http import Headers
from basalt.storage.downloads import Raw
from basalt.storage.errors import StorageError
from basalt.storage.media import DEFAULT, parse_media_type
from basalt.storage.uploads import NewObject

PREFIX: Final = "x-amz-meta-"
HEADER_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
HEADER_VALUE: Final = re.compile(r"[\x20-\x7e\t]*")
# Clients stop reading at a hundred headers or 64 KiB; the JSON API takes a megabyte of metadata.
MAX_HEADERS: Final = 64
MAX_BYTES: Final = 8 * 1024
# An object must not be stored in the open, or without its lock, by somebody who takes it for encrypted or locked.
REFUSED: Final = (
    "x-amz-server-side-encryption-customer-",
    "x-amz-copy-source-server-side-encryption-customer-",
    "x-amz-object-lock-",
    "x-amz-write-offset-bytes",
)


def build_new_object(
    bucket_id: str, name: str, fields: Mapping[str, str], *, size: int | None, upsert: bool = True
) -> NewObject:
    """What is to be stored, by the headers of an upload or the fields of a form. Raises StorageError InvalidMimeType,
    NotImplemented."""
    refused = [field for field in fields if field.startswith(REFUSED)]
    if refused:
        raise StorageError("NotImplemented", f"{refused[0]} is not supported")
    content_type = fields.get("content-type") or DEFAULT
    parse_media_type(content_type)
    return NewObject(
        bucket_id=bucket_id,
        name=name,
        content_type=content_type,
        cache_control=fields.get("cache-control") or "no-cache",
        user_metadata=user_metadata(fields),
        size=size,
        upsert=upsert,
        content_encoding=stored_encoding(fields.get("content-encoding")),
    )


def fields_of(headers: Headers, query: Mapping[str, str]) -> dict[str, str]:
    """The headers by name; those with metadata may be in a presigned URL instead, where the SDK for JavaScript puts
    them. Values that are UTF-8 are taken for that."""
    fields = {name.lower(): value for name, value in query.items() if name.lower().startswith(PREFIX)}
    for name, value in headers.raw:
        fields.setdefault(name.decode("latin-1"), _decode(value))
    return fields


def user_metadata(fields: Mapping[str, str]) -> dict[str, str]:
    """
    >>> user_metadata({"x-amz-meta-color": "blue", "host": "here"})
    {'color': 'blue'}
    """
    return {name[len(PREFIX) :]: value for name, value in fields.items() if name.startswith(PREFIX)}


def stored_encoding(header: str | None) -> str | None:
    """`Content-Encoding` without what it says about the transfer.

    >>> stored_encoding("gzip, aws-chunked"), stored_encoding("aws-chunked")
    ('gzip', None)
    """
    names = [name.strip() for name in (header or "").split(",")]
    return ", ".join(name for name in names if name and name.lower() != "aws-chunked") or None


def metadata_headers(metadata: Mapping[str, Any]) -> list[Raw]:
    """User metadata as headers; what does not go into one is counted.

    >>> metadata_headers({"Color": "blue", "size": 3})
    [(b'x-amz-meta-color', b'blue'), (b'x-amz-missing-meta', b'1')]
    """
    headers: list[Raw] = []
    size = 0
    for name, value in metadata.items():
        key = name.lower()
        if not isinstance(value, str) or not HEADER_NAME.fullmatch(key) or not HEADER_VALUE.fullmatch(value):
            continue
        if size + len(key) + len(value) <= MAX_BYTES and len(headers) < MAX_HEADERS:
            size += len(key) + len(value)
            headers.append(((PREFIX + key).encode(), value.encode()))
    missing = len(metadata) - len(headers)
    return [*headers, (b"x-amz-missing-meta", b"%d" % missing)] if missing else headers


def override_headers(query: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """What `response-…` parameters ask for; a value that is no header is passed over."""
    given = {name: query.get(f"response-{name}") for name in names}
    return {name: value for name, value in given.items() if value and HEADER_VALUE.fullmatch(value)}


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
