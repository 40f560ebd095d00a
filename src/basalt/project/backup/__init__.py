"""Backups of a whole project: database, objects, keys and settings, to a folder or to S3, and back.

`create` copies: the cluster physically with the log that belongs to it (`create_physical`), an external database by
pg_dump (`create_logical`); objects once each (`objects`). `archiver` sends the log all the time, and the bytes of
objects before the part of the log that names them. Everything lies at a `target` in files that are written once, whose
names end in their SHA-256, sealed by an `envelope` (age); a backup exists once its `manifest` is there. `restore` and
`rehearse` make a database of it in a folder of its own (`building`); `verify` reads everything and compares.
"""

from basalt.project.backup.archiver import WalArchiver
from basalt.project.backup.create import create_backup
from basalt.project.backup.envelope import Envelope
from basalt.project.backup.errors import BackupError
from basalt.project.backup.logical import restore_dump
from basalt.project.backup.manifest import Manifest, list_backups
from basalt.project.backup.place import Place, open_place
from basalt.project.backup.rehearse import Rehearsal, rehearse_backup
from basalt.project.backup.restore import (
    Restored,
    RestoreRequest,
    choose_backup,
    is_in_use,
    restore_backup,
)
from basalt.project.backup.scheduler import BackupScheduler
from basalt.project.backup.verify import Verified, verify_backup

__all__ = [
    "BackupError",
    "BackupScheduler",
    "Envelope",
    "Manifest",
    "Place",
    "Rehearsal",
    "RestoreRequest",
    "Restored",
    "Verified",
    "WalArchiver",
    "choose_backup",
    "create_backup",
    "is_in_use",
    "list_backups",
    "open_place",
    "rehearse_backup",
    "restore_backup",
    "restore_dump",
    "verify_backup",
]
