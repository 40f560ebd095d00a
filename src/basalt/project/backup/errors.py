"""What can go wrong with backups: one catalogue of codes."""

from datetime import UTC, datetime
from typing import Final

from basalt.errors import BasaltError

MESSAGES: Final = {
    "backup_target_missing": "There is no place for backups",
    "backup_target_unusable": "{place} cannot be used for backups: {reason}",
    "backup_target_full": "{place} has no space left",
    "backup_unsealed": "Backups hold keys and passwords; nothing is sent to S3 unsealed",
    "backup_sealed": "The backups at {place} are sealed, and nothing that opens them was given",
    "backup_passphrase_wrong": "The passphrase does not open the backups at {place}",
    "backup_recipient_invalid": "{key} is not a key of age",
    "backup_running": "Another backup of this project is being made",
    "backup_interrupted": "The project was stopped while its backup was made",
    "backup_log_late": "The log that belongs to the copy of the cluster did not come in time",
    "backup_objects_unusable": "The bytes of objects cannot be copied: {reason}",
    "backup_unknown": "There is no backup {backup} at {place}",
    "backup_none": "There is no complete backup at {place}",
    "backup_none_before": "No backup at {place} was complete at {time}; the oldest is of {oldest}",
    "backup_damaged": "{file} is damaged: {reason}",
    "backup_too_new": "Backup {backup} was made by a later version of Basalt ({version})",
    "backup_of_another_project": "The backups at {place} are of project {project}, not of {own}",
    "backup_postgres_missing": "The backup was made by PostgreSQL {major}, which is not installed here",
    "wal_gap": "The archived log lacks {start} to {end}, behind which nothing can be restored",
    "wal_ends_early": "The archived log ends at {end}, before {time}",
    "restore_refused": "{place} holds a project; nothing was changed",
    "restore_not_possible": "{reason}",
}
HINTS: Final = {
    "backup_target_missing": "Set basalt.backup.target in supabase/config.toml, or give --target",
    "backup_target_full": "Make room there, or lower basalt.backup.keep",
    "backup_unsealed": "Set basalt.backup.passphrase or basalt.backup.recipients, or basalt.backup.plain = true",
    "backup_sealed": "Set BASALT_BACKUP_PASSPHRASE, or give --identity FILE with a secret key of age",
    "backup_passphrase_wrong": "It is basalt.backup.passphrase of the project that made the first backup there",
    "backup_running": "`basalt backup list` shows it when it is complete",
    "backup_of_another_project": "Each project needs a target or a prefix of its own",
    "wal_gap": "Restore with `--to backup`, or make a new backup",
    "wal_ends_early": "Restore with `--to latest`, which is that moment",
    "restore_refused": "With --force it is stopped, and moved aside",
}


class BackupError(BasaltError):
    """By its code; the message is filled with what is known."""

    def __init__(self, code: str, *, hint: str | None = None, **known: object) -> None:
        super().__init__(code, 500, MESSAGES[code].format_map(known), hint=hint or HINTS.get(code))


def render_time(moment: datetime) -> str:
    """
    >>> render_time(datetime(2026, 11, 26, 12, tzinfo=UTC))
    '2026-11-26T12:00:00Z'
    """
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
