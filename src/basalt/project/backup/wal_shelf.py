"""The archived log at the target: pieces `TIMELINE.START.END.SHA256`, and the history files of timelines.

A backup has a shelf of its own with the log that belongs to it, `backups/ID/wal/`; the archive is `wal/SYSTEM_ID/`,
with a note of how far it is known to be complete.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from basalt.postgres.backup import Piece, parse_history
from basalt.project.backup.files import FileEntry, Shelf

ARCHIVE: Final = "wal/"
POSITION: Final = "position.json"


class ArchivePosition(msgspec.Struct, frozen=True):
    """All that was committed before `at`, by the server's clock, is archived up to `position`."""

    timeline: int
    position: int
    at: datetime


@dataclass(frozen=True)
class StoredPiece:
    """`changed_at` is when it came to the target."""

    piece: Piece
    file: FileEntry
    changed_at: datetime


class WalShelf:
    """`folder` ends in a slash."""

    def __init__(self, shelf: Shelf, folder: str) -> None:
        self._shelf = shelf
        self._folder = folder

    @classmethod
    def of_system(cls, shelf: Shelf, system_id: str) -> "WalShelf":
        return cls(shelf, f"{ARCHIVE}{system_id}/")

    def put(self, piece: Piece, data: bytes) -> FileEntry:
        return self._shelf.put(
            f"{self._folder}{piece.timeline:08X}.{piece.start:016X}.{piece.end:016X}", data
        )

    def list(self) -> list[StoredPiece]:
        """In the order of timelines and positions."""
        found = []
        for file in self._shelf.target.list(self._folder):
            timeline, start, end, *_ = [*file.name.rpartition("/")[2].split("."), "", ""]
            if len(start) == 16 and len(end) == 16:
                piece = Piece(int(timeline, 16), int(start, 16), int(end, 16))
                found.append(StoredPiece(piece, FileEntry(file.name, file.size), file.changed_at))
        return sorted(found, key=lambda one: one.piece)

    def put_history(self, timeline: int, text: bytes) -> None:
        """Unless it is there. Whoever archives may have no key that opens it."""
        if not any(timeline == there for there, _ in self._list_histories()):
            self._shelf.put(f"{self._folder}{timeline:08X}.history", text)

    def read_histories(self) -> dict[int, bytes]:
        """History files by the timelines that they are of."""
        return {timeline: self._shelf.read(name) for timeline, name in self._list_histories()}

    def _list_histories(self) -> Iterator[tuple[int, str]]:
        for file in self._shelf.target.list(self._folder):
            if ".history." in file.name:
                yield int(file.name.rpartition("/")[2].split(".")[0], 16), file.name

    def put_position(self, noted: ArchivePosition) -> None:
        self._shelf.target.put(self._folder + POSITION, msgspec.json.encode(noted))

    def read_position(self) -> ArchivePosition | None:
        data = self._shelf.target.get(self._folder + POSITION)
        return None if data is None else msgspec.json.decode(data, type=ArchivePosition)


def ancestors_of(timeline: int, histories: dict[int, bytes]) -> list[tuple[int, int]]:
    """The timelines before this one, each with the position at which it was left."""
    return parse_history(histories[timeline]) if timeline in histories else []
