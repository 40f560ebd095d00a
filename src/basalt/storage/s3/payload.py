"""The body of a request, as its sender meant it: decoded, and checked against everything that was said about it."""

import hashlib
from collections.abc import AsyncIterator
from typing import Final

from basalt.http import Request
from basalt.storage.errors import StorageError
from basalt.storage.s3.checksums import Check, build_checks
from basalt.storage.s3.chunks import ChunkDecoder
from basalt.storage.s3.signature import ChunkSigner

UNSIGNED: Final = "UNSIGNED-PAYLOAD"
SIGNED_CHUNKS: Final = frozenset(
    {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"}
)
UNSIGNED_CHUNKS: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
MAX_DOCUMENT_BYTES: Final = 4 * 1024 * 1024  # ten thousand parts with their checksums
NO_LIMIT: Final = 2**63 - 1  # whoever takes the bytes has one


class Payload:
    """`kind` is the value of `x-amz-content-sha256`, `signer` what chunks are signed with, `body` what was read
    already. Raises StorageError InvalidRequest, MissingContentLength."""

    def __init__(
        self, request: Request, kind: str, signer: ChunkSigner | None = None, body: bytes | None = None
    ) -> None:
        self._request = request
        self._body = body
        self._kind = kind
        self._is_chunked = kind in SIGNED_CHUNKS or kind == UNSIGNED_CHUNKS
        self._signer = signer if kind in SIGNED_CHUNKS else None
        if not self._is_chunked and kind != UNSIGNED:
            check_digest(kind)
        self.size = self._announced_size()

    def _announced_size(self) -> int | None:
        """Of the decoded bytes; None where the client does not tell."""
        name = "x-amz-decoded-content-length" if self._is_chunked else "content-length"
        given = self._request.headers.get(name)
        if given is None and not self._is_chunked:
            return None
        if given is None or not (given.isascii() and given.isdecimal() and len(given) < 19):
            raise StorageError("MissingContentLength")
        return int(given)

    async def stream(self) -> AsyncIterator[bytes]:
        """The bytes; raises StorageError at the end, at the latest, unless all of them are as they should be."""
        headers = self._request.headers
        names = [
            name.strip().lower() for name in (headers.get("x-amz-trailer") or "").split(",") if name.strip()
        ]
        has_trailers = self._is_chunked and self._kind.endswith("-TRAILER")
        checks = build_checks(headers, names if has_trailers else ())
        if not self._is_chunked and self._kind != UNSIGNED:
            digest = bytes.fromhex(self._kind)
            checks.append(
                Check("x-amz-content-sha256", hashlib.sha256(), digest, "XAmzContentSHA256Mismatch")
            )
        decoder = ChunkDecoder(self._signer, names if has_trailers else None) if self._is_chunked else None
        received = 0
        async for piece in self._pieces(decoder):
            received += len(piece)
            if self.size is not None and received > self.size:
                raise StorageError("IncompleteBody", "The body is longer than announced")
            for check in checks:
                check.update(piece)
            yield piece
        if self.size is not None and received != self.size:
            raise StorageError("IncompleteBody")
        for check in checks:
            check.finish({} if decoder is None else decoder.trailers)

    async def read(self) -> bytes:
        """A document, whole. Raises StorageError EntityTooLarge."""
        if self.size is not None and self.size > MAX_DOCUMENT_BYTES:
            raise StorageError("EntityTooLarge", f"The document is larger than {MAX_DOCUMENT_BYTES} bytes")
        pieces, size = [], 0
        async for piece in self.stream():
            size += len(piece)
            if size > MAX_DOCUMENT_BYTES:
                raise StorageError(
                    "EntityTooLarge", f"The document is larger than {MAX_DOCUMENT_BYTES} bytes"
                )
            pieces.append(piece)
        return b"".join(pieces)

    async def _pieces(self, decoder: ChunkDecoder | None) -> AsyncIterator[bytes]:
        if self._body is not None:
            yield self._body
            return
        async for data in self._request.stream(NO_LIMIT):
            if decoder is None:
                yield data
                continue
            for piece in decoder.feed(data):
                yield piece
        if decoder is not None:
            decoder.finish()


def check_digest(kind: str) -> None:
    """Raises StorageError InvalidRequest for what is neither a SHA-256 nor known.

    >>> check_digest("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    """
    try:
        is_digest = len(bytes.fromhex(kind)) == 32 and len(kind) == 64
    except ValueError:
        is_digest = False
    if not is_digest:
        raise StorageError(
            "InvalidRequest", "x-amz-content-sha256 is not a SHA-256 and no known kind of body"
        )
