"""Where backups lie: a folder, or a bucket of an S3-compatible store. Files are written once and whole."""

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import obstore
from obstore import exceptions

from basalt.config import BackupSettings, ObjectStoreSettings, Settings
from basalt.project.backup.errors import BackupError
from basalt.storage import connect_object_store

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FULL_MARKS: Final = ("507 Insufficient Storage", "XMinioStorageFull", "QuotaExceeded")
REFUSED: Final = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
FAILURES: Final = (exceptions.BaseError, ValueError, OSError)
DELETE_AT_ONCE: Final = 500
TEMPORARY: Final = ".basalt-"
TEMPORARY_S: Final = 86400.0


@dataclass(frozen=True)
class StoredFile:
    """`changed_at` by the clock of the target."""

    name: str
    size: int
    changed_at: datetime


class Target(Protocol):
    """All of it raises BackupError backup_target_unusable or backup_target_full."""

    @property
    def place(self) -> str:
        """For people."""

    def open(self, *, may_write: bool) -> None:
        """Whether it can be used at all. What is only read is neither made nor changed: it may be a copy on a disk that
        cannot be written."""

    def put(self, name: str, data: bytes) -> None:
        """Whole or not at all; what is there is replaced."""

    def put_first(self, name: str, data: bytes) -> None:
        """Unless there is such a file already; of several at once one wins."""

    def get(self, name: str) -> bytes | None:
        """None where there is no such file."""

    def list(self, prefix: str) -> Iterator[StoredFile]:
        """Everything below a folder, in the order of the names; `prefix` is empty or ends in a slash."""

    def delete(self, names: Iterable[str]) -> None:
        """What is missing already does not matter."""


def build_target(settings: Settings, place: str | None = None) -> Target:
    """The target of the settings, or `place` instead. Raises BackupError."""
    backup = settings.basalt.backup
    where = place or backup.target
    if where is None:
        raise BackupError("backup_target_missing")
    if where.startswith("s3://"):
        return S3Target(where, backup)
    return FolderTarget(settings.project_dir / where)


class FolderTarget:
    """A folder that only its owner reads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def place(self) -> str:
        return str(self._folder)

    def open(self, *, may_write: bool) -> None:
        with self._failing():
            if not may_write:
                os.scandir(self._folder).close()
                return
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
            probe = self._temporary()
            probe.touch()
            probe.unlink()

    def put(self, name: str, data: bytes) -> None:
        self._put(name, data, Path.replace)

    def put_first(self, name: str, data: bytes) -> None:
        self._put(name, data, _link_unless_there)

    def _put(self, name: str, data: bytes, give_name: Callable[[Path, Path], object]) -> None:
        path, temporary = self._folder / name, self._temporary()
        with self._failing():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                give_name(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)

    def get(self, name: str) -> bytes | None:
        with self._failing():
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:
                return None

    def list(self, prefix: str) -> Iterator[StoredFile]:
        with self._failing():
            yield from self._walk(self._folder / prefix, prefix)

    def delete(self, names: Iterable[str]) -> None:
        with self._failing():
            for name in names:
                path = self._folder / name
                path.unlink(missing_ok=True)
                self._prune(path.parent)

    def _temporary(self) -> Path:
        return self._folder / f"{TEMPORARY}{uuid4().hex}"

    def _sweep(self) -> None:
        """What a killed process has left."""
        before = time.time() - TEMPORARY_S
        for path in self._folder.glob(f"{TEMPORARY}*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    def _walk(self, folder: Path, prefix: str) -> Iterator[StoredFile]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path), f"{prefix}{entry.name}/")
            elif not entry.name.startswith("."):
                status = entry.stat()
                changed_at = datetime.fromtimestamp(status.st_mtime, UTC)
                yield StoredFile(prefix + entry.name, status.st_size, changed_at)

    def _prune(self, folder: Path) -> None:
        """Folders that have become empty."""
        while folder != self._folder:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            if exc.errno in NO_SPACE:
                raise BackupError("backup_target_full", place=self.place) from exc
            raise BackupError("backup_target_unusable", place=self.place, reason=exc.strerror or exc) from exc


class S3Target:
    """`s3://BUCKET/PREFIX`."""

    def __init__(self, url: str, backup: BackupSettings) -> None:
        parts = urlsplit(url)
        self._place = url
        self._prefix = f"{parts.path.strip('/')}/" if parts.path.strip("/") else ""
        own = backup.s3
        self._client: Any = connect_object_store(
            ObjectStoreSettings(
                endpoint=own.endpoint,
                region=own.region,
                bucket=parts.netloc,
                access_key_id=own.access_key_id,
                secret_access_key=own.secret_access_key,
                session_token=own.session_token,
                virtual_hosted=own.virtual_hosted,
            )
        )

    @property
    def place(self) -> str:
        return self._place

    def open(self, *, may_write: bool) -> None:
        with self._failing():
            for _ in obstore.list(self._client, self._prefix or None, chunk_size=1):
                break

    def put(self, name: str, data: bytes) -> None:
        with self._failing():
            obstore.put(self._client, self._prefix + name, data, use_multipart=False)

    def put_first(self, name: str, data: bytes) -> None:
        with self._failing(), suppress(exceptions.AlreadyExistsError):
            obstore.put(self._client, self._prefix + name, data, use_multipart=False, mode="create")

    def get(self, name: str) -> bytes | None:
        with self._failing():
            try:
                return bytes(obstore.get(self._client, self._prefix + name).bytes())
            except FileNotFoundError:
                return None

    def list(self, prefix: str) -> Iterator[StoredFile]:
        whole = self._prefix + prefix
        with self._failing():
            for page in obstore.list(self._client, whole.rstrip("/") or None):
                for meta in page:
                    if meta["path"].startswith(whole):
                        name = meta["path"].removeprefix(self._prefix)
                        yield StoredFile(name, meta["size"], meta["last_modified"])

    def delete(self, names: Iterable[str]) -> None:
        keys = [self._prefix + name for name in names]
        with self._failing():
            for start in range(0, len(keys), DELETE_AT_ONCE):
                obstore.delete(self._client, keys[start : start + DELETE_AT_ONCE])

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except REFUSED as exc:
            reason = "it does not accept the access key"
            raise BackupError("backup_target_unusable", place=self.place, reason=reason) from exc
        except FAILURES as exc:
            if any(mark in str(exc) for mark in FULL_MARKS):
                raise BackupError("backup_target_full", place=self.place) from exc
            raise BackupError("backup_target_unusable", place=self.place, reason=_reason(exc)) from exc


def _reason(error: Exception) -> str:
    text = str(error)
    if "NoSuchBucket" in text:
        return "there is no such bucket"
    if "403 Forbidden" in text or "401 Unauthorized" in text:
        return "it does not accept the access key"
    return (
        "it cannot be reached"
        if "HTTP error" in text or "error sending request" in text
        else "it answered with an error"
    )


def _link_unless_there(temporary: Path, path: Path) -> None:
    with suppress(FileExistsError):
        os.link(temporary, path)
    temporary.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
