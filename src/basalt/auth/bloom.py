"""A file that tells whether a hash is in a large list, by a Bloom filter.

It never misses one that is; of those that are not it takes one in a thousand for known, for 14.4 bits each. The
file begins with 32 bytes, little-endian: magic `BASALTPW`, version (4 bytes), hash functions (4), bits (8), entries
(8); the bits follow. Bit i of an entry is h1 + i·h2 modulo bits, where h1 and h2 are the first two 64-bit words of
SHA-256 over the entry's SHA-1, h2 made odd (Kirsch and Mitzenmacher 2006).
"""

import hashlib
import math
import mmap
import os
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

HEADER: Final = struct.Struct("<8sIIQQ")
MAGIC: Final = b"BASALTPW"
VERSION: Final = 1
FALSE_POSITIVES: Final = 0.001
MAX_HASHES: Final = 32
HASH_LINE: Final = re.compile(rb"([0-9A-Fa-f]{40})(?::[0-9]*)?")
REPORT_EVERY: Final = 100_000


class BloomFile:
    """Mapped into memory: what is looked up stays in the page cache, shared by all processes. Raises ValueError for a
    file of another kind, OSError."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            header = file.read(HEADER.size)
            if len(header) < HEADER.size:
                raise ValueError("it is too short")
            magic, version, self._hashes, self._bits, _ = HEADER.unpack(header)
            if magic != MAGIC or version != VERSION:
                raise ValueError("it was not made by `basalt auth breached-passwords`, or by a newer one")
            size = HEADER.size + (self._bits + 7) // 8
            if not 0 < self._hashes <= MAX_HASHES or not self._bits or file.seek(0, os.SEEK_END) != size:
                raise ValueError("it is damaged")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __contains__(self, digest: bytes) -> bool:
        return all(
            self._map[HEADER.size + (bit >> 3)] & (1 << (bit & 7))
            for bit in _bits_of(digest, self._hashes, self._bits)
        )

    def close(self) -> None:
        self._map.close()


def build_bloom_file(source: Path, target: Path, report: Callable[[int, int], None]) -> int:
    """Write `target` from a list whose lines are `SHA1:COUNT`, `SHA1` or passwords; it appears when it is complete.
    `report` is told how many of how many lines are done. Returns the number of entries. Raises OSError, ValueError for
    an empty list."""
    entries = sum(1 for _ in _lines(source))
    if not entries:
        raise ValueError(f"{source} holds no line")
    bits = math.ceil(-entries * math.log(FALSE_POSITIVES) / math.log(2) ** 2)
    hashes = max(1, round(bits / entries * math.log(2)))
    partial = target.with_name(target.name + ".partial")
    try:
        with partial.open("wb+") as file:
            file.write(HEADER.pack(MAGIC, VERSION, hashes, bits, entries))
            file.truncate(HEADER.size + (bits + 7) // 8)
            with mmap.mmap(file.fileno(), 0) as bitmap:
                for done, line in enumerate(_lines(source), 1):
                    for bit in _bits_of(digest_of_line(line), hashes, bits):
                        bitmap[HEADER.size + (bit >> 3)] |= 1 << (bit & 7)
                    if done % REPORT_EVERY == 0:
                        report(done, entries)
                bitmap.flush()
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    report(entries, entries)
    return entries


def digest_of_line(line: bytes) -> bytes:
    """
    >>> digest_of_line(b"5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:3") == digest_of_line(b"password")
    True
    """
    found = HASH_LINE.fullmatch(line)
    if found is not None:
        return bytes.fromhex(found[1].decode())
    return hashlib.sha1(line, usedforsecurity=False).digest()


def _lines(source: Path) -> Iterator[bytes]:
    with source.open("rb", buffering=1024 * 1024) as file:
        for line in file:
            stripped = line.rstrip(b"\r\n")
            if stripped:
                yield stripped


def _bits_of(digest: bytes, hashes: int, bits: int) -> Iterator[int]:
    first, second = struct.unpack_from("<QQ", hashlib.sha256(digest).digest())
    return ((first + number * (second | 1)) % bits for number in range(hashes))
