"""Settings of backups: where they go, how they are sealed, when they are made and how long they are kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from basalt.config.cron_line import StartLine, parse_cron_line
from basalt.config.setting import section, setting


@dataclass(frozen=True, kw_only=True)
class BackupStoreSettings:
    """The S3-compatible store of `target = "s3://BUCKET/PREFIX"`."""

    endpoint: str | None = setting(None, "Its URL; by default Amazon's for the region.")
    region: str = setting("us-east-1", "Its region.")
    access_key_id: str | None = setting(
        None, "Access key; by default what the environment offers (`AWS_…`, instance roles)."
    )
    secret_access_key: str | None = setting(None, "Secret of the access key.", is_secret=True)
    session_token: str | None = setting(None, "Session token of temporary credentials.", is_secret=True)
    virtual_hosted: bool = setting(False, "Address the bucket as a part of the host name.")


@dataclass(frozen=True, kw_only=True)
class BackupSettings:
    target: str | None = setting(
        None, "Where backups go: a folder, relative to the project, or `s3://BUCKET/PREFIX`; none by default."
    )
    # No `str | None`: backups go unsealed without one, and not because a variable is missing.
    passphrase: str = setting(
        "", "What opens the backups; keep a copy of it where they are not.", is_secret=True
    )
    recipients: tuple[str, ...] = setting(
        (),
        "Public keys of age (`age1…`) whose owners open the backups, besides the passphrase or without one.",
    )
    plain: bool = setting(
        False, "Send backups to S3 unsealed where there is neither a passphrase nor a recipient."
    )
    schedule: str | None = setting(
        None, 'When a backup is made, as a cron expression in UTC, such as `"0 3 * * *"`.'
    )
    keep: int = setting(7, "Backups that are kept; older ones go after the next one.", low=1)
    archive_wal: bool = setting(
        True, "Send the log of the private cluster all the time, for a restore to any moment."
    )
    wal_interval_s: float = setting(
        10.0, "Longest time for which a committed write is only in the cluster.", low=0.1, high=3600
    )
    keep_wal_s: float = setting(
        7 * 86400.0, "How far back a restore to any moment reaches; 0 is as far as the oldest backup.", low=0
    )
    checksums: bool = setting(
        True, "Read every table for a backup and note its checksum, which `backup rehearse` compares."
    )
    s3: BackupStoreSettings = section(BackupStoreSettings)


def find_backup_problems(backup: BackupSettings) -> Iterator[tuple[str, str]]:
    """Keys of `[basalt.backup]` whose values will not do, with the reason."""
    if backup.target and "://" in backup.target:
        place = urlsplit(backup.target)
        if place.scheme != "s3" or not place.netloc:
            yield "target", "expected a folder or s3://BUCKET/PREFIX"
    if backup.schedule:
        try:
            if isinstance(parse_cron_line(backup.schedule), StartLine):
                yield "schedule", "a backup cannot be made by a start of PostgreSQL"
        except ValueError as exc:
            yield "schedule", str(exc)
    if any(not recipient.startswith("age1") for recipient in backup.recipients):
        yield "recipients", "expected public keys of age, which begin with age1"
