"""Finds an installed PostgreSQL server, 15 or later.

Looks where `pg_config` on the PATH points, in the folders of Debian, Ubuntu and the PGDG packages, and in
Homebrew's. Which server is taken: the first that offers every extension the project asks for; a missing one
is an error that names the package to install, raised before anything has been changed.
"""

import platform
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from basalt.errors import BasaltError
from basalt.postgres.extensions import debian_package, extension_policy

OLDEST_MAJOR = 15

INSTALL_FOLDERS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # PGDG on Red Hat and kin
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/pgsql/bin",
)


class InstallError(BasaltError):
    """No usable PostgreSQL server on this machine."""

    def __init__(self, message: str) -> None:
        super().__init__("postgres_not_found", 500, message)


@dataclass(frozen=True)
class PostgresInstall:
    """One installed server: its programs, its share folder and its loadable modules."""

    bin_dir: Path
    share_dir: Path
    lib_dir: Path
    version: str
    major: int

    def extensions(self) -> frozenset[str]:
        """Names of the extensions whose control files are installed."""
        return frozenset(path.name.removesuffix(".control") for path in self._control_dir().glob("*.control"))

    def has_library(self, name: str) -> bool:
        """Whether the server can load it."""
        return any(self.lib_dir.glob(f"{name}.*"))

    def _control_dir(self) -> Path:
        return self.share_dir / "extension"


def find_postgres(wanted_extensions: Collection[str] = (), *, major: int | None = None) -> PostgresInstall:
    """The installed server to use; with `major`, only one of that major version."""
    installs = [found for found in list_postgres() if major is None or found.major == major]
    if not installs:
        raise InstallError(_describe_none(major))
    missing: dict[int, list[str]] = {}
    for install in installs:
        available = install.extensions()
        lacking = [name for name in wanted_extensions if extension_policy(name, available) == "missing"]
        if not lacking:
            return install
        missing.setdefault(install.major, lacking)
    best = min(missing, key=lambda version: len(missing[version]))
    raise InstallError(_describe_missing(best, missing[best]))


def read_install(bin_dir: Path) -> PostgresInstall | None:
    """What is installed in `bin_dir`; None when it is not a complete server."""
    programs = [bin_dir / name for name in ("postgres", "initdb", "pg_config")]
    if not all(program.is_file() for program in programs):
        return None
    options = ["--version", "--sharedir", "--pkglibdir"]
    try:
        answer = subprocess.run(
            [bin_dir / "pg_config", *options], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version, share_dir, lib_dir = answer.stdout.splitlines()
    number = re.search(r"PostgreSQL (\d+)\S*", version)
    if number is None or not Path(share_dir, "postgres.bki").is_file():
        return None
    return PostgresInstall(
        bin_dir=bin_dir,
        share_dir=Path(share_dir),
        lib_dir=Path(lib_dir),
        version=number.group(0).removeprefix("PostgreSQL "),
        major=int(number.group(1)),
    )


def program_folders() -> list[Path]:
    """Where PostgreSQL's programs may be, also of a client without a server."""
    return list(_candidates())


def list_postgres() -> list[PostgresInstall]:
    """Every usable server: the one that `pg_config` names first, then the newest first."""
    found: dict[Path, PostgresInstall] = {}
    for bin_dir in _candidates():
        real = bin_dir.resolve()
        if real in found:
            continue
        install = read_install(real)
        if install is not None and install.major >= OLDEST_MAJOR:
            found[real] = install
    return list(found.values())


def _candidates() -> Iterator[Path]:
    pg_config = shutil.which("pg_config")
    if pg_config:
        answer = subprocess.run(
            [pg_config, "--bindir"], capture_output=True, text=True, timeout=10, check=False
        )
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())
    folders = [path for pattern in INSTALL_FOLDERS for path in Path("/").glob(pattern[1:])]
    yield from sorted(folders, key=_version_in_path, reverse=True)


def _version_in_path(path: Path) -> int:
    numbers = re.findall(r"\d+", str(path))
    return int(numbers[-1]) if numbers else 0


def _describe_none(major: int | None) -> str:
    wanted = f"PostgreSQL {major}" if major else f"PostgreSQL {OLDEST_MAJOR} or later"
    if platform.system() == "Darwin":
        command = f"brew install postgresql@{major or 17}"
    else:
        command = f"apt-get install postgresql-{major}" if major else "apt-get install postgresql"
    return (
        f"{wanted} is not installed here. Install it ({command}) or set DATABASE_URL to use an existing one."
    )


def _describe_missing(major: int, names: list[str]) -> str:
    listed = ", ".join(names)
    packages = sorted({package for name in names if (package := debian_package(name, major))})
    how = f" Install with: apt-get install {' '.join(packages)}" if packages else ""
    plural = "s" if len(names) > 1 else ""
    return f"PostgreSQL {major} on this machine does not offer the extension{plural} {listed}.{how}"
