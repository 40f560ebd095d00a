"""pg_dump, pg_restore and psql of a version that fits the server: its major version or a later one."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from basalt.errors import BasaltError
from basalt.postgres.access import DatabaseAccess
from basalt.postgres.install import program_folders

READ_BYTES: Final = 1024 * 1024


class DumpError(BasaltError):
    """A program of PostgreSQL failed, or is not there; the message has its last line."""


def find_program(name: str, major: int) -> Path:
    """The program of this major version, or of the next later one. Raises DumpError."""
    found: dict[int, Path] = {}
    on_path = shutil.which(name)
    for path in [*(folder / name for folder in program_folders()), *([Path(on_path)] if on_path else [])]:
        version = _read_major(path)
        if version is not None:
            found.setdefault(version, path)
    later = sorted(version for version in found if version >= major)
    if not later:
        raise DumpError(
            "postgres_program_missing",
            500,
            f"{name} of PostgreSQL {major} or later is not installed here",
            hint=f"apt-get install postgresql-client-{major}",
        )
    return found[later[0]]


@contextmanager
def dumping(
    name: str, access: DatabaseAccess, major: int, arguments: Sequence[str], *, role: str = "supabase_admin"
) -> Iterator[Iterator[bytes]]:
    """What the program writes to its standard output. Raises DumpError, also at the end."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [find_program(name, major), *_connection_arguments(access, role), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environ(access, role),
        )
        assert process.stdout is not None
        try:
            yield _blocks(process.stdout)
            if process.wait() != 0:
                raise _failed(name, errors)
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.kill()
            process.wait()


def feed(
    name: str,
    access: DatabaseAccess,
    major: int,
    arguments: Sequence[str],
    blocks: Iterator[bytes],
    *,
    role: str = "supabase_admin",
    tolerated: re.Pattern[str] | None = None,
) -> None:
    """Gives the program blocks on its standard input. Raises DumpError; failures whose every message matches
    `tolerated` are none."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [find_program(name, major), *_connection_arguments(access, role), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=_environ(access, role),
        )
        assert process.stdin is not None
        try:
            for block in blocks:
                process.stdin.write(block)
            process.stdin.close()
        except BrokenPipeError:
            pass  # its exit code says why
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
        if process.returncode != 0 and not _is_tolerated(errors, tolerated):
            raise _failed(name, errors)


def list_archive(path: Path, major: int) -> list[str]:
    """The table of contents of a dump in pg_dump's own format, as pg_restore takes it back. Raises DumpError."""
    answer = subprocess.run(
        [find_program("pg_restore", major), "--list", path],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
    )
    if answer.returncode != 0:
        raise DumpError("postgres_program_failed", 500, f"{path} is no dump: {answer.stderr.strip()}")
    return answer.stdout.splitlines(keepends=True)


def _is_tolerated(errors: IO[bytes], tolerated: re.Pattern[str] | None) -> bool:
    errors.seek(0)
    found = [line for line in errors.read().decode("utf-8", "replace").splitlines() if "ERROR:" in line]
    return tolerated is not None and bool(found) and all(tolerated.search(line) for line in found)


def _blocks(pipe: IO[bytes]) -> Iterator[bytes]:
    while block := pipe.read(READ_BYTES):
        yield block


def _connection_arguments(access: DatabaseAccess, role: str) -> list[str]:
    parts = conninfo_to_dict(access.conninfo(role))
    parts.pop("password", None)
    return ["--no-password", "--dbname", make_conninfo("", **parts)]


def _environ(access: DatabaseAccess, role: str) -> dict[str, str]:
    """The password goes by the environment, where other users cannot read it from the list of processes."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "PGPASSFILE")}
    password = access.passwords.get(access.login(role))
    return {**kept, "LC_ALL": "C", **({"PGPASSWORD": password} if password else {})}


def _read_major(path: Path) -> int | None:
    if not path.is_file():
        return None
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    number = re.search(r"\b(\d+)(?:\.\d+|\w+)", answer.stdout)
    return int(number.group(1)) if number else None


def _failed(name: str, errors: IO[bytes]) -> DumpError:
    errors.seek(0)
    lines = [line for line in errors.read().decode("utf-8", "replace").strip().splitlines() if line.strip()]
    wrong = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    reason = (wrong or lines or ["it said nothing"])[0]
    return DumpError(
        "postgres_program_failed", 500, f"{name} failed: {re.sub(f'^{name}: (error: )?', '', reason)}"
    )
