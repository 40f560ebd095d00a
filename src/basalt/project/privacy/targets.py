"""Where an export goes: a folder, or a ZIP file. It is there whole or not at all, and for its owner's eyes only."""

import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from basalt.errors import BasaltError


class Target(Protocol):
    @contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """A new file, one at a time; what raises within leaves none."""

    def finish(self) -> None:
        """All is written: let it appear."""


class FolderTarget:
    """A folder beside the wanted one, which takes its name at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._building = path.with_name(f".{path.name}.{os.getpid()}.part")

    def __enter__(self) -> "FolderTarget":
        if self._path.exists() and (not self._path.is_dir() or any(self._path.iterdir())):
            raise _taken(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._building.mkdir(mode=0o700)
        return self

    def __exit__(self, *raised: object) -> None:
        shutil.rmtree(self._building, ignore_errors=True)

    @contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        place = self._building / path
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with place.open("xb") as file:
                place.chmod(0o600)
                yield file
        except BaseException:
            place.unlink(missing_ok=True)
            raise

    def finish(self) -> None:
        if self._path.exists():
            self._path.rmdir()  # empty: looked at in the beginning
        self._building.rename(self._path)


class ZipTarget:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._building = path.with_name(f".{path.name}.{os.getpid()}.part")

    def __enter__(self) -> "ZipTarget":
        if self._path.exists():
            raise _taken(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._building, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(handle, "w+b")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED)
        return self

    def __exit__(self, *raised: object) -> None:
        self._zip.close()
        self._file.close()
        self._building.unlink(missing_ok=True)

    @contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        with self._zip.open(path, "w", force_zip64=True) as file:
            yield file

    def finish(self) -> None:
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._building.rename(self._path)


def _taken(path: Path) -> BasaltError:
    return BasaltError(
        "export_exists", 409, f"{path} is there already.", hint="Name a place that is not there yet."
    )
