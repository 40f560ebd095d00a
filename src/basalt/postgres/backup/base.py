"""A physical copy of the running cluster as one tar stream, by the cluster's own pg_basebackup."""

import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from basalt.errors import BasaltError
from basalt.postgres.backup.lsn import parse_lsn
from basalt.postgres.install import PostgresInstall

READ_BYTES: Final = 1024 * 1024
BLOCK_BYTES: Final = 512
END_BLOCK: Final = bytes(BLOCK_BYTES)
MANIFEST: Final = "backup_manifest"


class BaseBackupError(BasaltError):
    """pg_basebackup failed; the message is its last line."""

    def __init__(self, message: str) -> None:
        super().__init__("base_backup_failed", 500, f"The cluster could not be copied: {message}")


@dataclass(frozen=True)
class BaseRange:
    """The part of the log that the copy needs."""

    timeline: int
    start: int
    stop: int


class BaseCopy:
    """`read` gives the tar; once it is over, `range` says which log belongs to it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._manifest = bytearray()

    def read(self) -> Iterator[bytes]:
        """The bytes of the tar as they come, at most `READ_BYTES` at once. Raises tarfile.TarError where it ends early.

        Its members are only passed on, but for the last one, `backup_manifest`: a table's file has up to 1 GB."""
        while header := self._pipe.read(BLOCK_BYTES):
            yield header
            if header == END_BLOCK:
                continue
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            for data in self._read_member(member.size):
                if member.name == MANIFEST:
                    self._manifest += data
                yield data

    def _read_member(self, size: int) -> Iterator[bytes]:
        """Filled up to whole blocks."""
        left = size + -size % BLOCK_BYTES
        while left:
            data = self._pipe.read(min(left, READ_BYTES))
            if not data:
                raise tarfile.ReadError("unexpected end of data")
            left -= len(data)
            yield data

    @property
    def range(self) -> BaseRange:
        """Raises BaseBackupError when the copy ended early."""
        try:
            manifest: Any = json.loads(self._manifest.rstrip(b"\0"))
            [wal] = manifest["WAL-Ranges"]
            return BaseRange(wal["Timeline"], parse_lsn(wal["Start-LSN"]), parse_lsn(wal["End-LSN"]))
        except (KeyError, ValueError) as exc:
            raise BaseBackupError("the copy ended before its manifest") from exc


@contextmanager
def copying_cluster(install: PostgresInstall, conninfo: str, label: str) -> Iterator[BaseCopy]:
    """Raises BaseBackupError, also at the end, when what came is not the whole copy."""
    parts = conninfo_to_dict(conninfo)
    password = str(parts.pop("password", "") or "")
    parts.pop("dbname", None)
    command = [
        str(install.bin_dir / "pg_basebackup"),
        *("-d", make_conninfo("", **parts)),
        *("-D", "-", "-F", "tar", "-X", "none", "-c", "fast", "-l", label, "--no-password"),
    ]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "PGPASSWORD": password},
        )
        assert process.stdout is not None
        try:
            yield BaseCopy(process.stdout)
            if process.wait() != 0:
                raise BaseBackupError(_last_line(errors))
        except tarfile.TarError as exc:
            process.wait()
            raise BaseBackupError(_last_line(errors)) from exc
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.kill()
                process.wait()


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = [
        line
        for line in errors.read().decode("utf-8", "replace").strip().splitlines()
        if line.strip() and "NOTICE" not in line and "WARNING" not in line
    ]
    return re.sub(r"^pg_basebackup: (error: )?", "", lines[-1]) if lines else "it said nothing"
