"""Checksums that a client sends along with a body: `Content-MD5` and `x-amz-checksum-…`, as header or trailer.

CRC-32C and CRC-64/NVME, which the AWS CLI sends by default, come from AWS's own library.
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from awscrt import checksums as crt

from basalt.http import Headers
from basalt.storage.errors import StorageError

PREFIX: Final = "x-amz-checksum-"


class Digest(Protocol):
    """As `hashlib` has them."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class Crc:
    """A CRC as a digest of `size` bytes, the highest first; `step` takes data and the CRC before it."""

    def __init__(self, step: Callable[[bytes, int], int], size: int) -> None:
        self._step = step
        self._size = size
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size)


ALGORITHMS: Final[dict[str, Callable[[], Digest]]] = {
    "crc32": lambda: Crc(zlib.crc32, 4),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "crc32c": lambda: Crc(crt.crc32c, 4),
    "crc64nvme": lambda: Crc(crt.crc64nvme, 8),
}


class Check:
    """One checksum that is computed as the body comes by. `expected` is None while a trailer is to bring it."""

    def __init__(self, name: str, digest: Digest, expected: bytes | None, code: str = "BadDigest") -> None:
        self._name = name
        self._digest = digest
        self._expected = expected
        self._code = code

    def update(self, data: bytes) -> None:
        self._digest.update(data)

    def finish(self, trailers: Mapping[str, str]) -> None:
        """Raises StorageError BadDigest, or the code that was given."""
        expected = self._expected
        if expected is None:
            expected = parse_checksum(self._name, trailers.get(self._name, ""), len(self._digest.digest()))
        if self._digest.digest() != expected:
            raise StorageError(self._code, f"The {self._name} does not match the content")


def build_checks(headers: Headers, trailer_names: Sequence[str]) -> list[Check]:
    """What the headers and the trailers to come ask for. Raises StorageError InvalidDigest."""
    checks = []
    if (given := headers.get("content-md5")) is not None:
        md5 = hashlib.md5(usedforsecurity=False)
        checks.append(Check("Content-MD5", md5, parse_checksum("Content-MD5", given, 16)))
    for algorithm, build in ALGORITHMS.items():
        name = PREFIX + algorithm
        digest = build()
        if (given := headers.get(name)) is not None:
            checks.append(Check(name, digest, parse_checksum(name, given, len(digest.digest()))))
        elif name in trailer_names:
            checks.append(Check(name, digest, None))
    return checks


def parse_checksum(name: str, text: str, size: int) -> bytes:
    """
    >>> parse_checksum("x-amz-checksum-crc32", "DUoRhQ==", 4).hex()
    '0d4a1185'
    """
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error:
        value = b""
    if len(value) != size:
        raise StorageError("InvalidDigest", f"The {name} is not the Base64 of {size} bytes")
    return value
