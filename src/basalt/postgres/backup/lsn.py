"""Positions in PostgreSQL's log, and the names of its files."""

SEGMENT_BYTES = 16 * 1024 * 1024  # initdb's default, which the private cluster has


def parse_lsn(text: str) -> int:
    """
    >>> hex(parse_lsn("2/1A"))
    '0x20000001a'
    """
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def render_lsn(position: int) -> str:
    """
    >>> render_lsn(0x20000001A)
    '2/1A'
    """
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def segment_start(position: int) -> int:
    return position - position % SEGMENT_BYTES


def segment_name(timeline: int, position: int) -> str:
    """The file that holds the byte at `position`.

    >>> segment_name(1, 0x20300001A)
    '000000010000000200000003'
    """
    return f"{timeline:08X}{position >> 32:08X}{(position & 0xFFFFFFFF) // SEGMENT_BYTES:08X}"
