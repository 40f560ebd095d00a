"""The target of a project, opened: the shelf that everything else works with."""

from dataclasses import dataclass
from pathlib import Path

from basalt.config import Settings
from basalt.project.backup.envelope import open_envelope
from basalt.project.backup.files import Shelf
from basalt.project.backup.target import build_target


@dataclass(frozen=True)
class Place:
    """Where to look instead of at `basalt.backup.target`, and the secret keys of recipients."""

    target: str | None = None
    identity_file: Path | None = None


def open_place(settings: Settings, place: Place | None = None, *, may_write: bool = False) -> Shelf:
    """`may_write`: to make backups there. Raises BackupError."""
    where = place or Place()
    target = build_target(settings, where.target)
    target.open(may_write=may_write)
    envelope = open_envelope(
        target, settings.basalt.backup, identity_file=where.identity_file, may_write=may_write
    )
    return Shelf(target, envelope)
