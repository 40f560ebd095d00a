"""Files at the target: streams cut into chunks, each compressed, sealed, and named by its SHA-256."""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from basalt.project.backup.envelope import Envelope
from basalt.project.backup.errors import BackupError
from basalt.project.backup.target import Target

CHUNK_BYTES: Final = 16 * 1024 * 1024
LEVEL: Final = 1
GZIP: Final = 31  # zlib's window bits for gzip
PACKED: Final = ".gz"


class FileEntry(msgspec.Struct, frozen=True):
    """`size` is that of the stored file."""

    name: str
    size: int


class Shelf:
    """One target with its envelope."""

    def __init__(self, target: Target, envelope: Envelope) -> None:
        self.target = target
        self.envelope = envelope

    @property
    def place(self) -> str:
        return self.target.place

    def put(self, stem: str, data: bytes, *, is_packed: bool = True) -> FileEntry:
        """`STEM.SHA256.gz.age`."""
        content = _pack(data) if is_packed else data
        sealed = self.envelope.seal(content)
        suffix = f"{PACKED if is_packed else ''}{self.envelope.suffix}"
        name = f"{stem}.{hashlib.sha256(sealed).hexdigest()}{suffix}"
        self.target.put(name, sealed)
        return FileEntry(name, len(sealed))

    def read(self, name: str) -> bytes:
        """What `put` was given. Raises BackupError backup_damaged for what is missing or is not what it was."""
        sealed = self.target.get(name)
        if sealed is None:
            raise BackupError("backup_damaged", file=name, reason="it is missing")
        check_digest(name, sealed)
        content = self.envelope.open(name, sealed)
        return _unpack(name, content) if PACKED in name.rpartition("/")[2] else content

    def put_stream(
        self, stem: str, blocks: Iterable[bytes], on_bytes: Callable[[int], None] = lambda _: None
    ) -> list[FileEntry]:
        """Chunks `STEM/00000.…`, in order."""
        entries: list[FileEntry] = []
        waiting = bytearray()
        for block in blocks:
            waiting += block
            while len(waiting) >= CHUNK_BYTES:
                entries.append(self.put(f"{stem}/{len(entries):05}", bytes(waiting[:CHUNK_BYTES])))
                del waiting[:CHUNK_BYTES]
                on_bytes(CHUNK_BYTES)
        if waiting or not entries:
            entries.append(self.put(f"{stem}/{len(entries):05}", bytes(waiting)))
            on_bytes(len(waiting))
        return entries

    def read_stream(self, entries: Sequence[FileEntry]) -> Iterator[bytes]:
        for entry in entries:
            yield self.read(entry.name)


def digest_of(name: str) -> str:
    """The SHA-256 in a file's name.

    >>> digest_of("backups/a/base/00000." + "0" * 64 + ".gz.age") == "0" * 64
    True
    """
    parts = name.rpartition("/")[2].split(".")
    return next((part for part in parts if len(part) == 64), "")


def check_digest(name: str, stored: bytes) -> None:
    """Raises BackupError backup_damaged."""
    if hashlib.sha256(stored).hexdigest() != digest_of(name):
        raise BackupError("backup_damaged", file=name, reason="its checksum differs")


def _pack(data: bytes) -> bytes:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
    return packer.compress(data) + packer.flush()


def _unpack(name: str, data: bytes) -> bytes:
    try:
        return zlib.decompress(data, GZIP)
    except zlib.error as exc:
        raise BackupError("backup_damaged", file=name, reason="it cannot be unpacked") from exc
