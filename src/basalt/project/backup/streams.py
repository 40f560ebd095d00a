"""Blocks as a file that is read once."""

import io
from collections.abc import Callable, Iterator


class ReadableStream(io.RawIOBase):
    """Reads exactly what is asked for, as long as there is so much.

    >>> stream = ReadableStream(iter([b"abc", b"defg"]))
    >>> stream.read(5), stream.read(5), stream.read(5)
    (b'abcde', b'fg', b'')
    """

    def __init__(self, blocks: Iterator[bytes], on_bytes: Callable[[int], None] = lambda _: None) -> None:
        self._blocks = blocks
        self._on_bytes = on_bytes
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts: list[memoryview] = []
        wanted = size
        while wanted != 0:
            if not self._rest:
                block = next(self._blocks, None)
                if block is None:
                    break
                self._on_bytes(len(block))
                self._rest = memoryview(block)
            part = self._rest if wanted < 0 else self._rest[:wanted]
            self._rest = self._rest[len(part) :]
            wanted -= len(part) if wanted > 0 else 0
            parts.append(part)
        return b"".join(parts)
