"""Byte ranges, RFC 9110 §14."""

import re
from typing import Final

RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


class RangeError(ValueError):
    """A range that cannot be served: several ones, nonsense, or none of it within the content."""


def parse_range(header: str, size: int) -> tuple[int, int]:
    """Start and stop (exclusive) of the one range asked for, within `size` bytes. Raises RangeError.

    >>> parse_range("bytes=0-4", 11), parse_range("bytes=5-", 11), parse_range("bytes=-5", 11)
    ((0, 5), (5, 11), (6, 11))
    """
    found = RANGE.fullmatch(header.strip())
    if found is None or found[0] == "bytes=-":
        raise RangeError(header)
    first, last = found[1], found[2]
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
    if start >= stop:
        raise RangeError(header)
    return start, stop
