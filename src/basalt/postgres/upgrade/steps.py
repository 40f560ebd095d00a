"""The upgrade itself, its dry run, and the way back."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from basalt.postgres.access import load_passwords
from basalt.postgres.backup import running_server
from basalt.postgres.cluster_folders import cluster_home, ensure_home
from basalt.postgres.initdb import SETTINGS_FILE, SUPERUSER, create_data_dir, flush_data_dir
from basalt.postgres.os_user import ServerUser, server_user
from basalt.postgres.postmaster import read_postmaster
from basalt.postgres.upgrade.by_dump import copy_by_dump
from basalt.postgres.upgrade.by_program import run_pg_upgrade
from basalt.postgres.upgrade.plan import Tell, UpgradeError, UpgradePlan, look_at, read_major, read_sorting

FIND_STALE_COLLATION = """
select datcollversion is distinct from pg_database_collation_actual_version(oid)
from pg_database where datname = current_database()
"""
NOTE = """
insert into basalt.backups (id, kind, state, target, ended_at, error)
values (%s, 'wal_gap', 'failed', '', now(), %s) on conflict (id) do nothing
"""
HAS_BACKUPS = "select to_regclass('basalt.backups') is not null"


def check_upgrade(state_dir: Path, plan: UpgradePlan, tell: Tell) -> None:
    """A dry run: pg_upgrade's own checks on both clusters. Raises UpgradeError."""
    user, home, building = _make_new(state_dir, plan, tell)
    try:
        if plan.method == "pg_upgrade":
            run_pg_upgrade(plan, home / "data", building, user, _password(state_dir), ["--check"])
    finally:
        shutil.rmtree(building, ignore_errors=True)


def upgrade_cluster(state_dir: Path, plan: UpgradePlan, tell: Tell) -> Path:
    """Returns where the old data directory is now. Raises UpgradeError, with everything as it was."""
    user, home, building = _make_new(state_dir, plan, tell)
    data_dir = home / "data"
    try:
        updates = _fill(state_dir, plan, data_dir, building, user, tell)
        tell("Comparing the tables and gathering statistics")
        with running_server(plan.new, building, user) as conninfo:
            _finish(conninfo, plan, updates)
        if flush_data_dir(plan.new, building, user).wait() != 0:
            raise UpgradeError(f"The new data directory could not be written to disk below {home}")
        aside = _free_name(home, f"data.pg{plan.old.major}")
        data_dir.rename(aside)
        building.rename(data_dir)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return aside


def _fill(
    state_dir: Path, plan: UpgradePlan, data_dir: Path, building: Path, user: ServerUser, tell: Tell
) -> str | None:
    """The new cluster gets what the old one holds. Where pg_upgrade gives up, and was not asked for, a dump may still
    do: columns of PostgreSQL 15.20 carry an option, `pg_attver`, that neither 17.10 nor 18.6 knows."""
    if plan.method == "pg_upgrade":
        tell("Upgrading by pg_upgrade")
        try:
            return run_pg_upgrade(plan, data_dir, building, user, _password(state_dir), [])
        except UpgradeError as error:
            if not plan.may_dump:
                raise
            tell(f"{error.message}. Upgrading by a dump instead")
            shutil.rmtree(building, ignore_errors=True)
            _make_new(state_dir, plan, tell)
    else:
        tell("Upgrading by a dump")
    copy_by_dump(plan, data_dir, building, data_dir.parent, user)
    return None


def undo_upgrade(state_dir: Path) -> tuple[int, Path | None]:
    """The old data directory takes its place again; what was written since stays in the new one, aside. Returns the old
    major version and that place, None where an upgrade was killed before the new one was there. Raises
    UpgradeError."""
    home = cluster_home(state_dir)
    data_dir = home / "data"
    present = read_major(data_dir)
    kept = sorted(home.glob("data.pg*"), key=lambda path: path.stat().st_mtime)
    older = [
        (path, major)
        for path in kept
        if (major := read_major(path)) is not None and (present is None or major < present)
    ]
    if not older:
        raise UpgradeError("No data directory of an earlier version is kept here")
    if read_postmaster(data_dir) is not None:
        raise UpgradeError("The database is running", hint="`basalt stop` first")
    aside = None
    if present is not None:
        aside = _free_name(home, f"data.pg{present}")
        data_dir.rename(aside)
    path, major = older[-1]
    path.rename(data_dir)
    return major, aside


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
    with running_server(plan.new, building, user) as conninfo:
        sorting = read_sorting(conninfo)
    if sorting != plan.sorting:
        shutil.rmtree(building, ignore_errors=True)
        raise UpgradeError(
            f"PostgreSQL {plan.new.version} here sorts by {sorting}, the cluster by {plan.sorting}",
            hint="Install one that was built with ICU, as those of Debian and PGDG are",
        )
    return user, home, building


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


def _finish(conninfo: str, plan: UpgradePlan, updates: str | None) -> None:
    """`updates` are statements for extensions. Raises UpgradeError where rows are missing."""
    databases, _, rows = look_at(conninfo)
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
        subprocess.run(
            [plan.new.bin_dir / "psql", "--quiet", "--no-psqlrc", "--dbname", conninfo],
            input=updates,
            text=True,
            check=True,
            capture_output=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )


def _free_name(home: Path, name: str) -> Path:
    number, path = 1, home / name
    while path.exists():
        number += 1
        path = home / f"{name}.{number}"
    return path


def _password(state_dir: Path) -> str:
    return load_passwords(state_dir, [SUPERUSER])[SUPERUSER]
