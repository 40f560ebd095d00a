"""Whether an upgrade would work, and how: said before anything is changed."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from basalt.errors import BasaltError
from basalt.postgres.backup import digest_database, running_server
from basalt.postgres.cluster_folders import cluster_home
from basalt.postgres.extensions import OWN_EXTENSIONS, debian_package
from basalt.postgres.install import PostgresInstall, list_postgres
from basalt.postgres.os_user import server_user
from basalt.postgres.postmaster import read_postmaster

Method = Literal["pg_upgrade", "dump"]
Tell = Callable[[str], None]

LIST_DATABASES = "select datname from pg_database where datallowconn and not datistemplate order by datname"
LIST_EXTENSIONS = "select extname from pg_extension where extname <> 'plpgsql'"
HAS_TABLESPACES = "select exists (select from pg_tablespace where spcname not like 'pg\\_%')"
READ_SORTING = "select * from pg_database where datname = 'template1'"


class UpgradeError(BasaltError):
    """Nothing was changed; the message says why, the hint what to do."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__("upgrade_failed", 500, message, hint=hint)


@dataclass(frozen=True)
class UpgradePlan:
    """`databases` and `rows` (by `DATABASE.SCHEMA.TABLE`) are what the old cluster has, `sorting` is what its text is
    sorted by. `may_dump` when pg_upgrade gives up."""

    old: PostgresInstall
    new: PostgresInstall
    method: Method
    databases: tuple[str, ...]
    rows: dict[str, int]
    sorting: str
    may_dump: bool


def plan_upgrade(state_dir: Path, *, to: int | None, method: Method | None, tell: Tell) -> UpgradePlan:
    """Looks at the old cluster, which must not run, and at what is installed. Raises UpgradeError."""
    data_dir = cluster_home(state_dir) / "data"
    major = read_major(data_dir)
    if major is None:
        raise UpgradeError("This project has no private cluster yet", hint="The first start makes one")
    if read_postmaster(data_dir) is not None:
        raise UpgradeError("The database is running", hint="`basalt stop` first")
    old, new = _choose(list_postgres(), major, to)
    tell(f"Looking at the cluster of PostgreSQL {old.version}")
    with running_server(old, data_dir, server_user()) as conninfo:
        databases, extensions, rows = look_at(conninfo)
        sorting = read_sorting(conninfo)
    available = new.extensions() | set(OWN_EXTENSIONS)
    if missing := sorted(extensions - available):
        raise UpgradeError(
            f"PostgreSQL {new.version} does not offer the extensions in use: {', '.join(missing)}",
            hint=_packages(missing, new.major),
        )
    has_program = (new.bin_dir / "pg_upgrade").is_file()
    if method == "pg_upgrade" and not has_program:
        raise UpgradeError(f"pg_upgrade is not among the programs of PostgreSQL {new.version}")
    chosen: Method = method or ("pg_upgrade" if has_program else "dump")
    return UpgradePlan(old, new, chosen, databases, rows, sorting, may_dump=method != "pg_upgrade")


def _choose(
    installs: Collection[PostgresInstall], major: int, to: int | None
) -> tuple[PostgresInstall, PostgresInstall]:
    old = next((install for install in installs if install.major == major), None)
    later = [install for install in installs if install.major > major and to in (None, install.major)]
    if not later:
        wanted = f"PostgreSQL {to}" if to else f"A PostgreSQL later than {major}"
        raise UpgradeError(
            f"{wanted} is not installed here; the cluster is of {major}",
            hint=f"apt-get install postgresql-{to or major + 1}",
        )
    if old is None:
        raise UpgradeError(
            f"PostgreSQL {major}, which made the cluster, is not installed here; an upgrade needs both versions",
            hint=f"apt-get install postgresql-{major}",
        )
    return old, max(later, key=lambda install: install.major)


def look_at(conninfo: str) -> tuple[tuple[str, ...], set[str], dict[str, int]]:
    extensions: set[str] = set()
    rows: dict[str, int] = {}
    with psycopg.connect(conninfo) as connection:
        if connection.execute(HAS_TABLESPACES).fetchone() == (True,):
            raise UpgradeError(
                "The cluster has tablespaces of its own, which are not upgraded by this command"
            )
        databases = tuple(name for (name,) in connection.execute(LIST_DATABASES))
    for database in databases:
        here = make_conninfo(conninfo, dbname=database)
        with psycopg.connect(here) as connection:
            extensions |= {name for (name,) in connection.execute(LIST_EXTENSIONS)}
        rows |= {f"{database}.{table.name}": table.rows for table in digest_database(here, checksums=False)}
    return databases, extensions, rows


def read_sorting(conninfo: str) -> str:
    """By which library and locale text is sorted. The columns' names differ between versions."""
    with psycopg.connect(conninfo, row_factory=dict_row) as connection:
        row = connection.execute(READ_SORTING).fetchone()
    assert row is not None
    if row["datlocprovider"] == "i":
        return f"ICU ({row.get('datlocale') or row.get('daticulocale')})"
    return f"the operating system ({row['datcollate']})"


def _packages(extensions: list[str], major: int) -> str:
    packages = sorted({package for name in extensions if (package := debian_package(name, major))})
    return f"apt-get install {' '.join(packages)}" if packages else "Drop them, or stay with this version"


def read_major(data_dir: Path) -> int | None:
    """The major version that made a data directory; None where there is none."""
    try:
        return int((data_dir / "PG_VERSION").read_text("ascii").strip())
    except (OSError, ValueError):
        return None
