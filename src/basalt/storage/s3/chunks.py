"""Bodies in `aws-chunked` encoding: chunks with their size, each signed upon the one before, and trailers.

`ChunkDecoder` knows no network: encoded bytes go in, decoded ones come out. What it has let through may still turn out
to be forged when the chunk ends, so that nothing may be made of a body before `finish` has returned.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from basalt.storage.errors import StorageError
from basalt.storage.s3.signature import ChunkSigner

MAX_CHUNK_BYTES: Final = 8 * 1024 * 1024
MAX_LINE_BYTES: Final = 256
MAX_TRAILER_BYTES: Final = 8 * 1024
HEAD: Final = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?")
TRAILER_SIGNATURE: Final = "x-amz-trailer-signature"

State = Literal["head", "data", "data_end", "trailer", "done"]


class ChunkDecoder:
    """`signer` is None for bodies whose chunks are not signed, `trailer_names` for those without trailers. After
    `finish`, `trailers` are the lines after the last chunk, by lower-case name. Raises StorageError InvalidRequest,
    IncompleteBody, SignatureDoesNotMatch, EntityTooLarge."""

    def __init__(self, signer: ChunkSigner | None, trailer_names: Sequence[str] | None) -> None:
        self.trailers: dict[str, str] = {}
        self._signer = signer
        self._trailer_names = trailer_names
        self._state: State = "head"
        self._buffer = bytearray()
        self._left = 0
        self._is_last = False
        self._digest = hashlib.sha256()
        self._given = ""
        self._previous = "" if signer is None else signer.seed

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded bytes in what has come so far."""
        self._buffer += data
        while True:
            match self._state:
                case "head":
                    has_moved = self._take_head()
                case "data":
                    piece = bytes(self._buffer[: self._left])
                    has_moved = bool(piece)
                    if piece:
                        yield self._take_data(piece)
                case "data_end":
                    has_moved = self._take_data_end()
                case "trailer":
                    has_moved = self._take_trailer()
                case "done":
                    if self._buffer:
                        raise StorageError("InvalidRequest", "There is something after the last chunk")
                    return
            if not has_moved:
                return

    def finish(self) -> None:
        """To be called at the end of the body."""
        if self._state != "done":
            raise StorageError("IncompleteBody")

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n", 0, MAX_LINE_BYTES)
        if end < 0:
            if len(self._buffer) >= MAX_LINE_BYTES:
                raise StorageError("InvalidRequest", "The head of a chunk is too long")
            return False
        found = HEAD.fullmatch(self._buffer[:end])
        if found is None or (found[2] is None) != (self._signer is None):
            raise StorageError("InvalidRequest", "The head of a chunk is malformed")
        del self._buffer[: end + 2]
        self._begin_chunk(int(found[1], 16), (found[2] or b"").decode())
        return True

    def _begin_chunk(self, size: int, signature: str) -> None:
        if size > MAX_CHUNK_BYTES:
            raise StorageError("EntityTooLarge", f"A chunk has more than {MAX_CHUNK_BYTES} bytes")
        self._left = size
        self._is_last = size == 0
        self._given = signature
        self._digest = hashlib.sha256()
        if not self._is_last:
            self._state = "data"
            return
        self._check_chunk()
        self._state = "data_end" if self._trailer_names is None else "trailer"

    def _take_data(self, piece: bytes) -> bytes:
        del self._buffer[: len(piece)]
        if self._signer is not None:
            self._digest.update(piece)
        self._left -= len(piece)
        if self._left == 0:
            self._check_chunk()
            self._state = "data_end"
        return piece

    def _check_chunk(self) -> None:
        if self._signer is None:
            return
        expected = self._signer.sign_chunk(self._previous, self._digest.hexdigest())
        if not hmac.compare_digest(expected, self._given):
            raise StorageError("SignatureDoesNotMatch")
        self._previous = expected

    def _take_data_end(self) -> bool:
        if len(self._buffer) < 2:
            return False
        if self._buffer[:2] != b"\r\n":
            raise StorageError("InvalidRequest", "A chunk is longer than its head says")
        del self._buffer[:2]
        self._state = "done" if self._is_last else "head"
        return True

    def _take_trailer(self) -> bool:
        """Lines up to an empty one. Amazon's example ends the value of a signed trailer with a line feed of its own,
        so that any mixture of line ends is taken."""
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_TRAILER_BYTES)
        if end < 0:
            if len(self._buffer) >= MAX_TRAILER_BYTES:
                raise StorageError("InvalidRequest", "The trailer is too long")
            return False
        for line in self._buffer[:end].decode("latin-1").split("\n"):
            if line.strip():
                name, colon, value = line.partition(":")
                if not colon or name.strip().lower() in self.trailers:
                    raise StorageError("InvalidRequest", "The trailer is malformed")
                self.trailers[name.strip().lower()] = value.strip()
        del self._buffer[: end + 4]
        self._check_trailer()
        self._state = "done"
        return True

    def _check_trailer(self) -> None:
        given = self.trailers.pop(TRAILER_SIGNATURE, "")
        missing = [name for name in self._trailer_names or () if name not in self.trailers]
        if missing:
            raise StorageError("InvalidRequest", f"The trailer lacks {missing[0]}")
        if self._signer is None:
            return
        lines = "".join(f"{name}:{value}\n" for name, value in self.trailers.items())
        digest = hashlib.sha256(lines.encode("latin-1")).hexdigest()
        if not hmac.compare_digest(self._signer.sign_trailer(self._previous, digest), given):
            raise StorageError("SignatureDoesNotMatch")
