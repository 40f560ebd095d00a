"""The way by pg_upgrade, the program of the new version."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from basalt.postgres.initdb import SUPERUSER
from basalt.postgres.os_user import ServerUser
from basalt.postgres.upgrade.plan import UpgradeError, UpgradePlan


def run_pg_upgrade(
    plan: UpgradePlan, old: Path, new: Path, user: ServerUser, password: str, options: list[str]
) -> str | None:
    """From one data directory into the other. Returns the statements that update extensions, where it wrote some.
    Raises UpgradeError."""
    work = new.with_name("upgrade")
    shutil.rmtree(work, ignore_errors=True)
    sockets = Path(tempfile.mkdtemp(prefix="basalt-"))  # the project's path may be too long for a socket
    try:
        work.mkdir(mode=0o700)
        for folder in (work, sockets):
            user.own(folder, 0o700)
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
                "PGPASSWORD": password,
            },
            check=False,
            **user.run_as(),
        )
        if answer.returncode != 0:
            raise UpgradeError(f"pg_upgrade refused: {_reason(answer.stdout + answer.stderr, new)}")
        script = work / "update_extensions.sql"
        return script.read_text("utf-8") if script.exists() else None
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)


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
