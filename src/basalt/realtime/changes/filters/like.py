"""SQL's `like` in time linear in the value, so that no pattern of one subscriber holds up the others."""

from collections.abc import Callable
from dataclasses import dataclass


def compile_like(pattern: str) -> Callable[[str], bool] | None:
    r"""None for a `_` between two `%`, which cannot be searched for in linear time: PostgreSQL is asked then.

    >>> matches = compile_like(r"room\_%/_")
    >>> matches("room_1/a"), matches("rooms1/a"), matches("room_1/")
    (True, False, False)
    >>> compile_like("%a_b%")
    """
    head, *others = (_Segment.of(tokens) for tokens in _split_pattern(pattern))
    if not others:
        return lambda text: len(text) == head.length and head.fits(text, 0)
    *searched, tail = others
    if not all(segment.is_plain for segment in searched):
        return None
    if head.is_plain and others == [_Segment(0, ())]:  # `room:%`, by far the most common
        prefix = "".join(text for _, text in head.pieces)
        return lambda text: text.startswith(prefix)
    needles = [text for segment in searched for _, text in segment.pieces]
    return lambda text: _matches(text, head, needles, tail)


def ends_with_escape(pattern: str) -> bool:
    """PostgreSQL raises 22025 when it gets to the end of such a pattern."""
    return (len(pattern) - len(pattern.rstrip("\\"))) % 2 == 1


@dataclass(frozen=True, slots=True)
class _Segment:
    """What stands between two `%`: texts and where they begin; the rest are `_`."""

    length: int
    pieces: tuple[tuple[int, str], ...]

    @staticmethod
    def of(tokens: list[str | None]) -> "_Segment":
        pieces: list[tuple[int, str]] = []
        for offset, token in enumerate(tokens):
            if token is None:
                continue
            if offset and tokens[offset - 1] is not None:
                start, text = pieces[-1]
                pieces[-1] = (start, text + token)
            else:
                pieces.append((offset, token))
        return _Segment(len(tokens), tuple(pieces))

    @property
    def is_plain(self) -> bool:
        return sum(len(text) for _, text in self.pieces) == self.length

    def fits(self, text: str, start: int) -> bool:
        return all(text.startswith(piece, start + offset) for offset, piece in self.pieces)


def _matches(text: str, head: _Segment, needles: list[str], tail: _Segment) -> bool:
    position, end = head.length, len(text) - tail.length
    if position > end or not head.fits(text, 0) or not tail.fits(text, end):
        return False
    for needle in needles:  # the leftmost place leaves the most room for the rest
        found = text.find(needle, position, end)
        if found < 0:
            return False
        position = found + len(needle)
    return True


def _split_pattern(pattern: str) -> list[list[str | None]]:
    """The characters between the `%`; None stands for `_`."""
    segments: list[list[str | None]] = [[]]
    escaped = False
    for character in pattern:
        if escaped or character not in "\\%_":
            segments[-1].append(character)
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == "%":
            segments.append([])
        else:
            segments[-1].append(None)
    return segments
