"""How files are sealed: by age (age-encryption.org/v1), so that its own tools open them as well.

Files are sealed to public keys. With a passphrase the target has a key of its own, made with the first backup, whose
secret half lies beside the backups in `key.age`, sealed by the passphrase: opening it takes a second, and only once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyrage
from pyrage import passphrase as by_passphrase
from pyrage import x25519

from basalt.config import BackupSettings
from basalt.project.backup.errors import BackupError
from basalt.project.backup.target import Target

KEY_FILE: Final = "key.age"
SUFFIX: Final = ".age"


class Envelope:
    """Without recipients nothing is sealed; without identities nothing sealed is opened."""

    def __init__(self, recipients: Sequence[Any], identities: Sequence[Any], place: str) -> None:
        self._recipients = list(recipients)
        self._identities = list(identities)
        self._place = place

    @property
    def is_sealing(self) -> bool:
        return bool(self._recipients)

    @property
    def is_opening(self) -> bool:
        return bool(self._identities)

    @property
    def suffix(self) -> str:
        return SUFFIX if self._recipients else ""

    def seal(self, data: bytes) -> bytes:
        return bytes(pyrage.encrypt(data, self._recipients)) if self._recipients else data

    def open(self, name: str, data: bytes) -> bytes:
        """What `seal` was given; `name` says whether it is sealed. Raises BackupError."""
        if not name.endswith(SUFFIX):
            return data
        if not self._identities:
            raise BackupError("backup_sealed", place=self._place)
        try:
            return bytes(pyrage.decrypt(data, self._identities))
        except pyrage.DecryptError as exc:
            reason = "none of the keys opens it, or it was changed"
            raise BackupError("backup_damaged", file=name, reason=reason) from exc


def open_envelope(
    target: Target, settings: BackupSettings, *, identity_file: Path | None = None, may_write: bool
) -> Envelope:
    """By the settings and, for opening, the secret keys of a file. `may_write` makes the target's key where it has
    none yet. Raises BackupError."""
    identities = list(_read_identities(identity_file)) if identity_file else []
    recipients = [_parse_recipient(text) for text in settings.recipients]
    if settings.passphrase:
        own = _open_own_key(target, settings.passphrase, may_write=may_write)
        if own is not None:
            identities.append(own)
            recipients.append(own.to_public())
    if may_write and not recipients and target.place.startswith("s3://") and not settings.plain:
        raise BackupError("backup_unsealed")
    return Envelope(recipients, identities, target.place)


def _open_own_key(target: Target, passphrase: str, *, may_write: bool) -> Any:
    sealed = target.get(KEY_FILE)
    if sealed is None:
        if not may_write:
            return None
        identity = x25519.Identity.generate()
        target.put_first(KEY_FILE, bytes(by_passphrase.encrypt(str(identity).encode(), passphrase)))
        sealed = target.get(KEY_FILE) or b""  # another process's, if it was first
    try:
        return x25519.Identity.from_str(bytes(by_passphrase.decrypt(sealed, passphrase)).decode())
    except pyrage.DecryptError as exc:
        raise BackupError("backup_passphrase_wrong", place=target.place) from exc


def _parse_recipient(text: str) -> Any:
    try:
        return x25519.Recipient.from_str(text)
    except pyrage.RecipientError as exc:
        raise BackupError("backup_recipient_invalid", key=text[:80]) from exc


def _read_identities(path: Path) -> list[Any]:
    """A file as `age-keygen` writes it."""
    try:
        lines = path.read_text("ascii").split("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise BackupError("backup_recipient_invalid", key=str(path)) from exc
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    try:
        return [x25519.Identity.from_str(key) for key in keys]
    except pyrage.IdentityError as exc:
        raise BackupError("backup_recipient_invalid", key=str(path)) from exc
