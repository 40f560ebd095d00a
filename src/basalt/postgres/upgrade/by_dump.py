"""The way by a dump: slower, and needs nothing but both servers."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from basalt.postgres.backup import running_server
from basalt.postgres.os_user import ServerUser
from basalt.postgres.tree import ensure_tree
from basalt.postgres.upgrade.plan import UpgradeError, UpgradePlan


def copy_by_dump(plan: UpgradePlan, old: Path, new: Path, home: Path, user: ServerUser) -> None:
    """Through a pipe; extensions of ours come from a tree of their own."""
    tree_dir = home / "tree.upgrading"
    server = ensure_tree(plan.new, tree_dir) or plan.new
    try:
        with (
            running_server(plan.old, old, user) as old_conninfo,
            running_server(server, new, user) as new_conninfo,
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
