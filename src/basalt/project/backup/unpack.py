"""A copied cluster on disk again, in a state folder of its own, with the keys that belong to it."""

import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from basalt.config import Settings
from basalt.postgres import InstallError, PostgresInstall, ServerUser, ensure_home, find_postgres, server_user
from basalt.project.backup.errors import BackupError
from basalt.project.backup.files import Shelf
from basalt.project.backup.keys import unpack_keys
from basalt.project.backup.manifest import Manifest
from basalt.project.backup.progress import Progress, Tell
from basalt.project.backup.streams import ReadableStream

# Of the server that was copied: neither a restart nor an upgrade has to read them.
LEFTOVERS: Final = ("recovery.signal", "standby.signal", "postmaster.pid")


@dataclass(frozen=True)
class Unpacked:
    """`keys` is the tar of `keys.pack_keys`."""

    install: PostgresInstall
    user: ServerUser
    home: Path
    keys: bytes

    @property
    def data_dir(self) -> Path:
        return self.home / "data"

    @property
    def wal_dir(self) -> Path:
        return self.home / "restored-wal"

    def own(self) -> None:
        """All of it belongs to the server's user."""
        if self.user.drops_root:
            for folder, _, files in os.walk(self.home):
                os.chown(folder, self.user.uid, self.user.gid)
                for name in files:
                    os.chown(Path(folder, name), self.user.uid, self.user.gid, follow_symlinks=False)
        self.data_dir.chmod(0o700)


def unpack_cluster(settings: Settings, shelf: Shelf, manifest: Manifest, tell: Tell) -> Unpacked:
    """Into `settings.state_dir`, which is new. Every checksum is compared. Raises BackupError."""
    try:
        install = find_postgres(major=manifest.postgres_major)
    except InstallError as exc:
        hint = f"apt-get install postgresql-{manifest.postgres_major}"
        raise BackupError("backup_postgres_missing", major=manifest.postgres_major, hint=hint) from exc
    keys = b"".join(shelf.read_stream(manifest.files["keys"]))
    _write_state(settings.state_dir, keys)
    user = server_user()
    unpacked = Unpacked(install, user, ensure_home(settings.state_dir, user), keys)
    _write_cluster_keys(unpacked)
    _extract(shelf, manifest, unpacked, tell)
    return unpacked


def _write_state(state_dir: Path, keys: bytes) -> None:
    for name, data in unpack_keys(keys).items():
        if name.startswith("state/") and name.count("/") == 1:
            write_private(state_dir / name.removeprefix("state/"), data)


def _write_cluster_keys(unpacked: Unpacked) -> None:
    for name, data in unpack_keys(unpacked.keys).items():
        if name.startswith("cluster/") and name.count("/") == 1:
            path = unpacked.home / name.removeprefix("cluster/")
            write_private(path, data)
            unpacked.user.own(path, 0o600)


def _extract(shelf: Shelf, manifest: Manifest, unpacked: Unpacked, tell: Tell) -> None:
    progress = Progress(tell, "Database")
    unpacked.data_dir.mkdir(mode=0o700)
    stream = ReadableStream(shelf.read_stream(manifest.files["base"]), progress.add)
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            archive.extractall(unpacked.data_dir, filter="data")
    except tarfile.TarError as exc:
        raise BackupError("backup_damaged", file=manifest.id, reason=str(exc)) from exc
    progress.end()
    for name in LEFTOVERS:
        (unpacked.data_dir / name).unlink(missing_ok=True)
    unpacked.own()
    _verify(unpacked)


def _verify(unpacked: Unpacked) -> None:
    """By PostgreSQL's own manifest: every file with its checksum."""
    answer = subprocess.run(
        [unpacked.install.bin_dir / "pg_verifybackup", "--no-parse-wal", "--quiet", unpacked.data_dir],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
    )
    if answer.returncode != 0:
        reason = (answer.stderr.strip().splitlines() or ["pg_verifybackup failed"])[0]
        raise BackupError("backup_damaged", file=str(unpacked.data_dir), reason=reason)


def write_private(path: Path, data: bytes) -> None:
    """Readable by its owner only."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
