"""Pieces of the log as they were received, and the files that recovery reads, put together from them.

Pieces of one timeline follow each other and may overlap. A timeline above the first branches off another one; its first
file begins with the bytes of that one.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from basalt.postgres.backup.lsn import SEGMENT_BYTES, parse_lsn, segment_name, segment_start


@dataclass(frozen=True, order=True)
class Piece:
    """The log from `start` up to `end`, exclusive."""

    timeline: int
    start: int
    end: int


@dataclass(frozen=True)
class Gap:
    """What is missing of the log between two pieces."""

    timeline: int
    start: int
    end: int


def parse_history(text: bytes) -> list[tuple[int, int]]:
    """The timelines before one, each with the position at which it was left.

    >>> parse_history(b"1\\t0/3000110\\tno recovery target specified\\n")
    [(1, 50331920)]
    """
    return [
        (int(timeline), parse_lsn(lsn.decode())) for timeline, lsn in re.findall(rb"(?m)^(\d+)\t(\S+)", text)
    ]


def cut_at_branches(
    pieces: Iterable[Piece], timeline: int, ancestors: Sequence[tuple[int, int]], start: int
) -> list[tuple[Piece, Piece]]:
    """What of the pieces belongs to the history of `timeline` from `start` on: each with the part of it that does, in
    the order of the log."""
    limits = {**dict(ancestors), timeline: None}
    cut: list[tuple[Piece, Piece]] = []
    for piece in pieces:
        if piece.timeline not in limits or piece.end <= start:
            continue
        limit = limits[piece.timeline]
        end = piece.end if limit is None else min(piece.end, limit)
        if end > piece.start:
            cut.append((piece, Piece(piece.timeline, piece.start, end)))
    return sorted(cut, key=lambda one: (one[1].start, one[1].timeline, one[1].end))


def find_gap(parts: Iterable[Piece], start: int) -> Gap | None:
    """The first gap behind `start`; parts come in the order of the log.

    >>> find_gap([Piece(1, 0, 10), Piece(1, 8, 20), Piece(1, 30, 40)], 5)
    Gap(timeline=1, start=20, end=30)
    """
    reached = start
    for part in parts:
        if part.start > reached:
            return Gap(part.timeline, reached, part.start)
        reached = max(reached, part.end)
    return None


def reach_of(parts: Iterable[Piece], start: int) -> int:
    """How far the log goes without a gap.

    >>> reach_of([Piece(1, 0, 10), Piece(1, 8, 20), Piece(1, 30, 40)], 5)
    20
    """
    reached = start
    for part in parts:
        if part.start > reached:
            break
        reached = max(reached, part.end)
    return reached


class WalFolder:
    """The files that `restore_command` hands to PostgreSQL."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, part: Piece, data: bytes, *, branches: Sequence[tuple[int, int]]) -> None:
        """The bytes of a part in the files of its timeline, and in the first file of each later one: `branches` are
        the later timelines with the positions at which they begin."""
        at = 0
        while at < len(data):
            position = part.start + at
            room = SEGMENT_BYTES - position % SEGMENT_BYTES
            for timeline in [part.timeline, *_beginning_in(segment_start(position), part.timeline, branches)]:
                offset = position - segment_start(position)
                self._write(segment_name(timeline, position), offset, data[at : at + room])
            at += room

    def add_history(self, timeline: int, text: bytes) -> None:
        (self._folder / f"{timeline:08X}.history").write_bytes(text)

    def _write(self, name: str, offset: int, data: bytes) -> None:
        path = self._folder / name
        if not path.exists():
            with path.open("wb") as file:
                file.truncate(SEGMENT_BYTES)
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(data)


def _beginning_in(segment: int, timeline: int, branches: Sequence[tuple[int, int]]) -> list[int]:
    return [later for later, begin in branches if later > timeline and segment_start(begin) == segment]
