"""Where the bytes of objects are: what every back end does.

Bytes are written once, under a version that the server made, and never changed. So a reader of the old row reads the
old bytes whole while a new row points to new ones, and an older copy of the rows still fits. Nothing here knows names
or callers. Versions come from `names.new_version`; whatever else is asked for is refused there.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Chunks = AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that are stored for good. `etag` is the MD5 of the bytes in hexadecimal, or for what was put together
    from several parts S3's `MD5 of the MD5s-count`; without quotes."""

    version: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What a list says of the bytes under a version."""

    version: str
    size: int


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of an upload that is under way. `etag` is the MD5 in hexadecimal, without quotes."""

    number: int
    size: int
    etag: str


class ContentMissingError(Exception):
    """There are no bytes under this version."""


class TooLargeError(Exception):
    """More bytes came than the limit allows; nothing of them is left."""


class StoreFullError(Exception):
    """The back end has no space left; nothing of the write is left."""


class StoreUnavailableError(Exception):
    """The back end cannot be reached or refuses to work; nothing of the write is left."""


class Store(Protocol):
    """A back end. What `put`, `put_part`, `assemble` and `copy` have returned for survives a crash; what they have
    not is either whole or absent, and swept away later. Limits and sizes are in bytes. All of it raises
    StoreUnavailableError where the back end fails."""

    async def open(self) -> None:
        """Get ready; raises BasaltError with what is wrong with the back end."""

    async def close(self) -> None:
        """Let go of it."""

    async def put(self, version: str, chunks: Chunks, *, limit: int) -> Content:
        """Store what comes. When `chunks` raises, nothing is left and the error goes on. Raises TooLargeError,
        StoreFullError."""

    async def read(self, version: str, start: int, stop: int) -> bytes | Chunks:
        """The bytes from `start` up to `stop` (exclusive), which lie within the content; at once where that is quick,
        or piece by piece. Raises ContentMissingError before the first byte."""

    async def size(self, version: str) -> int:
        """How many bytes there are under a version. Raises ContentMissingError."""

    async def copy(self, version: str, target: str) -> None:
        """The same bytes under another version, without passing through here. Raises ContentMissingError."""

    async def delete(self, versions: Sequence[str]) -> None:
        """Take bytes away; those that are missing already do not matter, nor what is no version."""

    def list_older(self, age_s: float) -> AsyncIterator[list[Stored]]:
        """All that was stored longer than `age_s` ago, ordered by version, a bounded batch at a time."""

    def list_uploads(self, age_s: float) -> AsyncIterator[list[str]]:
        """All uploads with parts, the last of which came longer than `age_s` ago, a bounded batch at a time."""

    async def discard_unfinished(self, age_s: float) -> None:
        """Take away what writes that did not end, and wrote nothing for `age_s`, have left."""

    async def put_part(self, upload_id: str, number: int, chunks: Chunks, *, limit: int) -> Part:
        """A part of an upload, whole or not at all; another one with the same number and content is replaced. Raises
        TooLargeError, StoreFullError."""

    async def list_parts(self, upload_id: str) -> list[Part]:
        """The parts that are there, by number."""

    async def assemble(self, upload_id: str, parts: Sequence[Part], version: str) -> Content:
        """Put parts together, in this order, as the bytes of a version. The parts stay until `discard_upload`. Raises
        ContentMissingError when one is not there, StoreFullError."""

    async def discard_upload(self, upload_id: str) -> None:
        """Take all parts of an upload away."""

    async def local_file(self, version: str) -> Path | None:
        """The file with the bytes, for work in other processes; None where they are not in a file."""

    async def presign(self, version: str, *, expires_s: float) -> str | None:
        """A URL at which the back end itself hands out the bytes; None where it has none."""
