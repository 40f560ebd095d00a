"""`Upload-Metadata` (TUS 1.0.0, "Upload-Metadata"): what an upload will be, as pairs of a key and a Base64 value."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from basalt.storage.errors import StorageError
from basalt.storage.media import DEFAULT, parse_media_type
from basalt.storage.uploads import NewObject

KEY: Final = re.compile(r"[!-+\--~]+")  # visible ASCII without the comma
SECONDS: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Description:
    """The keys that Storage looks at; clients send others besides (`filename`, `filetype`), which are kept."""

    bucket_id: str
    name: str
    content_type: str
    cache_control: str
    user_metadata: dict[str, Any] | None

    def new_object(self, *, size: int | None, upsert: bool) -> NewObject:
        return NewObject(
            bucket_id=self.bucket_id,
            name=self.name,
            content_type=self.content_type,
            cache_control=self.cache_control,
            user_metadata=self.user_metadata,
            size=size,
            upsert=upsert,
        )


def describe(header: str | None) -> Description:
    """Raises StorageError InvalidRequest, InvalidMimeType, InvalidKey, NoSuchBucket; whether the names are good ones is
    not asked here.

    >>> describe("bucketName YQ==,objectName Yi50eHQ=,cacheControl NjA=")
    Description(bucket_id='a', name='b.txt', content_type='application/octet-stream', cache_control='max-age=60', \
user_metadata=None)
    """
    if not header:
        raise StorageError("InvalidRequest", "Metadata header is required")
    pairs = parse_metadata(header)
    seconds = _text(pairs, "cacheControl", "InvalidRequest")
    return Description(
        bucket_id=_bucket(pairs),
        name=_text(pairs, "objectName", "InvalidKey"),
        content_type=_content_type(_text(pairs, "contentType", "InvalidMimeType")),
        cache_control=f"max-age={seconds}" if SECONDS.fullmatch(seconds) else "no-cache",
        user_metadata=_user_metadata(pairs.get("metadata", b"")),
    )


def parse_metadata(header: str) -> dict[str, bytes]:
    """A value may be left out, and is then empty. Raises StorageError InvalidRequest.

    >>> parse_metadata("name Yi50eHQ=,is_confidential")
    {'name': b'b.txt', 'is_confidential': b''}
    """
    pairs: dict[str, bytes] = {}
    for pair in header.split(","):
        key, _, value = pair.strip(" ").partition(" ")
        if not KEY.fullmatch(key):
            raise _malformed("each pair needs a key of visible ASCII")
        if key in pairs:
            raise _malformed(f"the key {key} is there twice")
        pairs[key] = _decode(key, value)
    return pairs


def _decode(key: str, value: str) -> bytes:
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except ValueError as error:
        raise _malformed(f"the value of {key} is not Base64") from error


def _text(pairs: Mapping[str, bytes], key: str, code: str) -> str:
    try:
        return pairs.get(key, b"").decode("utf-8")
    except UnicodeDecodeError as error:
        raise StorageError(code, f"The {key} of Upload-Metadata is not UTF-8") from error


def _bucket(pairs: Mapping[str, bytes]) -> str:
    """No bucket has a NUL in its name, and PostgreSQL would read no further than to there."""
    bucket_id = _text(pairs, "bucketName", "NoSuchBucket")
    if "\0" in bucket_id:
        raise StorageError("NoSuchBucket")
    return bucket_id


def _content_type(given: str) -> str:
    """It will be a header of downloads: one line of ASCII."""
    if not given:
        return DEFAULT
    if not (given.isascii() and given.isprintable()):
        raise StorageError("InvalidMimeType")
    parse_media_type(given)
    return given


def _user_metadata(text: bytes) -> dict[str, Any] | None:
    """Rubbish is ignored, as in `x-metadata`."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _malformed(problem: str) -> StorageError:
    return StorageError("InvalidRequest", f"Upload-Metadata is invalid: {problem}")
