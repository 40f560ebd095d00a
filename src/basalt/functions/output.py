"""A function's output: every line says which request wrote it."""

import io
from contextvars import ContextVar
from typing import BinaryIO, TextIO

TAG_END = "\x1f"  # separates the request id from the line in what the gateway reads of our output
MAX_PARTIAL_CHARS = 8192

request_id: ContextVar[str] = ContextVar("function_request_id", default="")


class Tagged(io.TextIOBase):
    """Output whose lines begin with the id of the request that wrote them. A line that does not end is cut."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._partial: dict[str, str] = {}

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def buffer(self) -> BinaryIO:
        """For bytes; what is written there belongs to no request."""
        return self._stream.buffer

    def write(self, text: str) -> int:
        current = request_id.get()
        *lines, rest = (self._partial.pop(current, "") + text).split("\n")
        while len(rest) > MAX_PARTIAL_CHARS:
            lines.append(rest[:MAX_PARTIAL_CHARS])
            rest = rest[MAX_PARTIAL_CHARS:]
        if rest:
            self._partial[current] = rest
        if lines:
            self._stream.write("".join(f"{current}{TAG_END}{line}\n" for line in lines))
            self._stream.flush()
        return len(text)


def read_tagged(line: str) -> tuple[str | None, str]:
    """The request id and the text of a line that `Tagged` wrote; other lines have no id."""
    tag, separator, text = line.partition(TAG_END)
    return (tag, text) if separator else (None, line)
