"""AWS Signature Version 4 as pure functions: canonical request, string to sign, keys, signatures.

Sources: "Authenticating Requests (AWS Signature Version 4)" of the S3 API reference, and its pages on chunked uploads
and on trailing checksums. The canonical path is the one that the client sent, not encoded again.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from basalt.http import Headers
from basalt.storage.errors import StorageError

ALGORITHM: Final = "AWS4-HMAC-SHA256"
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()
UNRESERVED: Final = "-_.~"
AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=([^,\s]+) *, *SignedHeaders=([^,\s]+) *, *Signature=([0-9a-fA-F]{64})",
    re.ASCII,
)
# Proxies change or drop these, so that what they were is nothing to go by.
NEVER_SIGNED: Final = frozenset(
    {
        "authorization",
        "connection",
        "expect",
        "from",
        "keep-alive",
        "max-forwards",
        "pragma",
        "referer",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    }
)


@dataclass(frozen=True, slots=True)
class Credential:
    """`KEY/20260101/REGION/s3/aws4_request`: whose key it is, and for what it was derived."""

    access_key: str
    date: str
    region: str
    service: str

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def parse_credential(text: str) -> Credential:
    """Raises StorageError InvalidSignature.

    >>> parse_credential("key/20260101/local/s3/aws4_request").scope
    '20260101/local/s3/aws4_request'
    """
    parts = text.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request":
        raise StorageError("InvalidSignature", "The credential is malformed")
    return Credential(*parts[:4])


@lru_cache(256)
def derive_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The signing key of a day, a region and a service."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def build_string_to_sign(time: str, scope: str, canonical_request: str) -> str:
    # Headers are Latin-1 here, so that these are the bytes that came; everything else is ASCII.
    digest = hashlib.sha256(canonical_request.encode("latin-1", "replace")).hexdigest()
    return f"{ALGORITHM}\n{time}\n{scope}\n{digest}"


def build_canonical_request(
    method: str,
    path: str,
    query: Iterable[tuple[str, str]],
    headers: Headers,
    signed_headers: Sequence[str],
    payload_hash: str,
    *,
    host: str | None = None,
) -> str:
    """`path` as sent, `query` decoded and without the signature itself. `host` replaces the header of that name."""
    names = sorted(signed_headers)
    lines = [
        method,
        path,
        canonical_query(query),
        canonical_headers(headers, names, host=host),
        ";".join(names),
        payload_hash,
    ]
    return "\n".join(lines)


def canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    """
    >>> canonical_query([("prefix", "a b/"), ("delete", "")])
    'delete=&prefix=a%20b%2F'
    """
    encoded = sorted((quote(name, safe=UNRESERVED), quote(value, safe=UNRESERVED)) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def canonical_headers(headers: Headers, names: Iterable[str], *, host: str | None = None) -> str:
    """One line for each, ended; what is not there or is never signed is left out.

    >>> canonical_headers(Headers([(b"b", b"  x   y ")]), ["a", "b", "content-length"])
    'b:x y\\ncontent-length:0\\n'
    """
    lines = []
    for name in names:
        values = [host] if name == "host" and host is not None else headers.get_all(name)
        if not values and name == "content-length":
            values = ["0"]
        if values and name not in NEVER_SIGNED:
            lines.append(f"{name}:{','.join(' '.join(value.split()) for value in values)}\n")
    return "".join(lines)


@dataclass(frozen=True, slots=True)
class ChunkSigner:
    """What the signatures of a chunked body are computed from; `seed` is the signature of the request."""

    key: bytes
    time: str
    scope: str
    seed: str

    def sign_chunk(self, previous: str, digest: str) -> str:
        """`digest` is the SHA-256 of the chunk's bytes."""
        head = f"AWS4-HMAC-SHA256-PAYLOAD\n{self.time}\n{self.scope}"
        return sign(self.key, f"{head}\n{previous}\n{EMPTY_SHA256}\n{digest}")

    def sign_trailer(self, previous: str, digest: str) -> str:
        """`digest` is the SHA-256 of the trailer's `name:value` lines."""
        return sign(self.key, f"AWS4-HMAC-SHA256-TRAILER\n{self.time}\n{self.scope}\n{previous}\n{digest}")
