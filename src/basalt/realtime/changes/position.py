"""A place in the log that clients keep and come back with: the end of a commit and the number of a change in it."""

import re

POSITION = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})(?:\.([0-9]{1,9}))?")
WHOLE = 1 << 30  # behind every change of a transaction

Position = tuple[int, int]


def render_position(position: Position) -> str:
    """
    >>> render_position((0x16B374D848, 3)), render_position((0x16B374D848, WHOLE))
    ('16/B374D848.3', '16/B374D848')
    """
    lsn, number = position
    text = f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
    return text if number == WHOLE else f"{text}.{number}"


def parse_position(text: str) -> Position | None:
    """None for a text that is no position.

    >>> parse_position("16/B374D848.3"), parse_position("x")
    ((97500059720, 3), None)
    """
    found = POSITION.fullmatch(text)
    if found is None:
        return None
    lsn = int(found[1], 16) << 32 | int(found[2], 16)
    return lsn, WHOLE if found[3] is None else int(found[3])
