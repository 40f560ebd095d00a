"""A private cluster moves to a later major version of PostgreSQL.

By pg_upgrade where the new version has it, else by a dump. Either way the new data directory is made beside the old one
and takes its place when every table has as many rows as before; the old one stays, as `data.pgMAJOR`.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from basalt.errors import BasaltError
from basalt.postgres.access import load_passwords
from basalt.postgres.backup.recovery import running_server
from basalt.postgres.backup.snapshot import digest_database
from basalt.postgres.cluster_folders import cluster_home, ensure_home
from basalt.postgres.extensions import OWN_EXTENSIONS, debian_package
from basalt.postgres.initdb import SETTINGS_FILE, SUPERUSER, create_data_dir
from basalt.postgres.install import PostgresInstall, list_postgres
from basalt.postgres.os_user import ServerUser, server_user
from basalt.postgres.postmaster import read_postmaster
from basalt.postgres.tree import ensure_tree

Method = Literal["pg_upgrade", "dump"]
Tell = Callable[[str], None]

LIST_DATABASES = "select datname from pg_database where datallowconn and not datistemplate order by datname"
LIST_EXTENSIONS = "select extname from pg_extension where extname <> 'plpgsql'"
HAS_TABLESPACES = "select exists (select from pg_tablespace where spcname not like 'pg\\_%')"
READ_SORTING = "select * from pg_database where datname = 'template1'"
FIND_STALE_COLLATION = """
select datcollversion is distinct from pg_database_collation_actual_version(oid)
from pg_database where datname = current_database()
"""
NOTE = """
insert into basalt.backups (id, kind, state, target, ended_at, error)
values (%s, 'wal_gap', 'failed', '', now(), %s) on conflict (id) do nothing
"""
HAS_BACKUPS = "select to_regclass('basalt.backups') is not null"


class UpgradeError(BasaltError):
    """Nothing was changed; the message says why, the hint what to do."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__("upgrade_failed", 500, message, hint=hint)


@dataclass(frozen=True)
class UpgradePlan:
    """`method` is how; `databases` and `extensions` are what the old cluster has."""

    old: PostgresInstall
    new: PostgresInstall
    method: Method
    databases: tuple[str, ...]
    extensions: tuple[str, ...]
    rows: dict[str, int]
    sorting: str
    may_dump: bool


def read_major(state_dir: Path) -> int | None:
    """The major version of the private cluster; None where there is none."""
    try:
        return int((cluster_home(state_dir) / "data" / "PG_VERSION").read_text("ascii").strip())
    except (OSError, ValueError):
        return None


def plan_upgrade(state_dir: Path, *, to: int | None, method: Method | None, tell: Tell) -> UpgradePlan:
    """Looks at the old cluster, which must not run, and at what is installed. Raises UpgradeError."""
    major = read_major(state_dir)
    if major is None:
        raise UpgradeError("This project has no private cluster yet", hint="The first start makes one")
    data_dir = cluster_home(state_dir) / "data"
    if read_postmaster(data_dir) is not None:
        raise UpgradeError("The database is running", hint="`basalt stop` first")
    old, new = _choose(list_postgres(), major, to)
    tell(f"Looking at the cluster of PostgreSQL {old.version}")
    with running_server(old, data_dir, server_user(), []) as conninfo:
        databases, extensions, rows = _look(conninfo)
        sorting = _read_sorting(conninfo)
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
    return UpgradePlan(
        old, new, chosen, databases, tuple(sorted(extensions)), rows, sorting, may_dump=method != "pg_upgrade"
    )


def check_upgrade(state_dir: Path, plan: UpgradePlan, tell: Tell) -> None:
    """A dry run: pg_upgrade's own checks on both clusters. Raises UpgradeError."""
    user, home, building = _make_new(state_dir, plan, tell)
    try:
        if plan.method == "pg_upgrade":
            _run_pg_upgrade(state_dir, plan, home / "data", building, user, ["--check"])
    finally:
        shutil.rmtree(building, ignore_errors=True)


def upgrade_cluster(state_dir: Path, plan: UpgradePlan, tell: Tell) -> Path:
    """Returns where the old data directory is now. Raises UpgradeError, with everything as it was."""
    user, home, building = _make_new(state_dir, plan, tell)
    data_dir = home / "data"
    try:
        updates = _fill(state_dir, plan, data_dir, building, user, tell)
        tell("Comparing the tables and gathering statistics")
        with running_server(plan.new, building, user, []) as conninfo:
            _finish(conninfo, plan, updates)
        aside = _free_name(home, f"data.pg{plan.old.major}")
        data_dir.rename(aside)
        building.rename(data_dir)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return aside


def _fill(
    state_dir: Path, plan: UpgradePlan, data_dir: Path, building: Path, user: ServerUser, tell: Tell
) -> Path | None:
    """The new cluster gets what the old one holds. Where pg_upgrade gives up, and was not asked for, a dump may still
    do: columns of PostgreSQL 15.20 carry an option that pg_upgrade of some builds of 18 passes on and refuses."""
    if plan.method == "pg_upgrade":
        tell("Upgrading by pg_upgrade")
        try:
            return _run_pg_upgrade(state_dir, plan, data_dir, building, user, [])
        except UpgradeError as error:
            if not plan.may_dump:
                raise
            tell(f"{error.message}. Upgrading by a dump instead")
            shutil.rmtree(building, ignore_errors=True)
            _make_new(state_dir, plan, tell)
    else:
        tell("Upgrading by a dump")
    _copy_by_dump(plan, data_dir, building, data_dir.parent, user)
    return None


def undo_upgrade(state_dir: Path) -> tuple[int, Path]:
    """The old data directory takes its place again; what was written since stays in the new one, aside. Returns the old
    major version and that place. Raises UpgradeError."""
    home = cluster_home(state_dir)
    kept = sorted(home.glob("data.pg*"), key=lambda path: path.stat().st_mtime)
    older = [path for path in kept if _major_of(path) < _major_of(home / "data")]
    if not older:
        raise UpgradeError("No data directory of an earlier version is kept here")
    if read_postmaster(home / "data") is not None:
        raise UpgradeError("The database is running", hint="`basalt stop` first")
    aside = _free_name(home, f"data.pg{_major_of(home / 'data')}")
    (home / "data").rename(aside)
    older[-1].rename(home / "data")
    return _major_of(home / "data"), aside


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


def _look(conninfo: str) -> tuple[tuple[str, ...], set[str], dict[str, int]]:
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


def _read_sorting(conninfo: str) -> str:
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


def _make_new(state_dir: Path, plan: UpgradePlan, tell: Tell) -> tuple[ServerUser, Path, Path]:
    """An empty cluster of the new version beside the old one, with its settings."""
    tell(f"Making a cluster of PostgreSQL {plan.new.version}")
    user = server_user()
    home = ensure_home(state_dir, user)
    building = home / "data.upgrading"
    shutil.rmtree(building, ignore_errors=True)
    create_data_dir(
        plan.new, building, user, _password(state_dir), options=_initdb_options(plan, home / "data")
    )
    shutil.copyfile(home / "data" / SETTINGS_FILE, building / SETTINGS_FILE)
    user.own(building / SETTINGS_FILE, 0o600)
    with running_server(plan.new, building, user, []) as conninfo:
        sorting = _read_sorting(conninfo)
    if sorting != plan.sorting:
        shutil.rmtree(building, ignore_errors=True)
        raise UpgradeError(
            f"PostgreSQL {plan.new.version} here sorts by {sorting}, the cluster by {plan.sorting}",
            hint="Install one that was built with ICU, as those of Debian and PGDG are",
        )
    return user, home, building


def _password(state_dir: Path) -> str:
    return load_passwords(state_dir, [SUPERUSER])[SUPERUSER]


def _initdb_options(plan: UpgradePlan, data_dir: Path) -> list[str]:
    """From PostgreSQL 18 on checksums are made unless one says otherwise; pg_upgrade wants both the same."""
    answer = subprocess.run(
        [plan.old.bin_dir / "pg_controldata", data_dir],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
    )
    has_checksums = re.search(r"Data page checksum version:\s+([1-9])", answer.stdout) is not None
    if has_checksums:
        return ["--data-checksums"]
    return ["--no-data-checksums"] if plan.new.major >= 18 else []


def _run_pg_upgrade(
    state_dir: Path, plan: UpgradePlan, old: Path, new: Path, user: ServerUser, options: list[str]
) -> Path | None:
    """Returns the script that updates extensions, where pg_upgrade wrote one."""
    work = new.with_name("upgrade")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    user.own(work, 0o700)
    sockets = Path(tempfile.mkdtemp(prefix="basalt-"))  # the project's path may be too long for a socket
    user.own(sockets, 0o700)
    answer = subprocess.run(
        [
            plan.new.bin_dir / "pg_upgrade",
            *_text("-b", plan.old.bin_dir, "-B", plan.new.bin_dir, "-d", old, "-D", new, "-U", SUPERUSER),
            *_text("-p", "50432", "-P", "50433", "-s", sockets, *options),
        ],
        capture_output=True,
        text=True,
        cwd=work,
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C.UTF-8",
            "PGPASSWORD": _password(state_dir),
        },
        check=False,
        **user.run_as(),
    )
    shutil.rmtree(sockets, ignore_errors=True)
    script = work / "update_extensions.sql"
    kept = script.read_text("utf-8") if script.exists() else None
    shutil.rmtree(work, ignore_errors=True)
    if answer.returncode != 0:
        raise UpgradeError(f"pg_upgrade refused: {_reason(answer.stdout + answer.stderr, new)}")
    if kept is None:
        return None
    script = new / "update_extensions.sql"
    script.write_text(kept, "utf-8")
    return script


def _text(*arguments: str | Path) -> list[str]:
    return [str(argument) for argument in arguments]


def _reason(output: str, new: Path) -> str:
    """What stands behind the failure: pg_upgrade's own lines, its reports, the errors in its logs."""
    told = [
        line.strip() for line in output.splitlines() if line.strip() and not line.rstrip().endswith(" ok")
    ]
    at = next((i for i, line in enumerate(told) if re.search("fatal|fail", line, re.IGNORECASE)), 0)
    found = told[at : at + 8]
    for report in sorted(new.glob("pg_upgrade_output.d/**/*.txt")):
        found += report.read_text("utf-8", "replace").splitlines()
    for log in sorted(new.glob("pg_upgrade_output.d/**/*.log")):
        lines = log.read_text("utf-8", "replace").splitlines()
        found += [line.strip() for line in lines if re.search(r"(?i)\b(error|fatal)\b:", line)]
    return " | ".join(dict.fromkeys(line for line in found if line))[:2000] or "it said nothing"


def _copy_by_dump(plan: UpgradePlan, old: Path, new: Path, home: Path, user: ServerUser) -> None:
    """Through a pipe; extensions of ours come from a tree of their own."""
    tree_dir = home / "tree.upgrading"
    server = ensure_tree(plan.new, tree_dir) or plan.new
    try:
        with (
            running_server(plan.old, old, user, []) as old_conninfo,
            running_server(server, new, user, []) as new_conninfo,
        ):
            _pipe(plan, old_conninfo, new_conninfo)
    finally:
        shutil.rmtree(tree_dir, ignore_errors=True)


def _pipe(plan: UpgradePlan, old_conninfo: str, new_conninfo: str) -> None:
    """The dump by the old version's own program, which knows all that this server writes."""
    environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(
            [plan.old.bin_dir / "pg_dumpall", "--dbname", old_conninfo],
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=environ,
        ) as dump:
            load = subprocess.run(
                [plan.new.bin_dir / "psql", "--quiet", "--no-psqlrc", "--dbname", new_conninfo],
                stdin=dump.stdout,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=environ,
                check=False,
            )
        complaints.seek(0)
        complaint = complaints.read().decode("utf-8", "replace").strip()
    if dump.returncode != 0:
        raise UpgradeError(
            f"pg_dumpall failed: {complaint.splitlines()[0] if complaint else 'it said nothing'}"
        )
    wrong = [line for line in load.stderr.splitlines() if "ERROR:" in line and "already exists" not in line]
    if load.returncode != 0 or wrong:
        raise UpgradeError(f"The dump could not be loaded: {(wrong or [load.stderr.strip()])[0]}")


def _finish(conninfo: str, plan: UpgradePlan, updates: Path | None) -> None:
    """Raises UpgradeError where rows are missing."""
    databases, _, rows = _look(conninfo)
    if set(databases) != set(plan.databases) or rows != plan.rows:
        differing = sorted(name for name in {*rows, *plan.rows} if rows.get(name) != plan.rows.get(name))
        raise UpgradeError(f"The new cluster does not hold the same rows: {', '.join(differing[:5])}")
    for database in databases:
        here = make_conninfo(conninfo, dbname=database)
        with psycopg.connect(here, autocommit=True) as connection:
            if connection.execute(FIND_STALE_COLLATION).fetchone() == (True,):
                name = sql.Identifier(database)
                connection.execute(sql.SQL("reindex database {}").format(name))
                connection.execute(sql.SQL("alter database {} refresh collation version").format(name))
            connection.execute("analyze")
            if connection.execute(HAS_BACKUPS).fetchone() == (True,):
                note = f"PostgreSQL was upgraded from {plan.old.major} to {plan.new.major}: earlier backups end there"
                connection.execute(NOTE, [f"upgrade-{plan.old.major}-{plan.new.major}", note])
    if updates is not None:
        environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        subprocess.run(
            [plan.new.bin_dir / "psql", "--quiet", "--no-psqlrc", "--dbname", conninfo, "--file", updates],
            check=True,
            capture_output=True,
            env=environ,
        )
        updates.unlink()


def _free_name(home: Path, name: str) -> Path:
    number, path = 1, home / name
    while path.exists():
        number += 1
        path = home / f"{name}.{number}"
    return path


def _major_of(data_dir: Path) -> int:
    try:
        return int((data_dir / "PG_VERSION").read_text("ascii").strip())
    except (OSError, ValueError):
        return 10_000
