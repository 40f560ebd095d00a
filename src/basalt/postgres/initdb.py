"""A new data directory: superuser, encoding, locale and who may connect."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from basalt.postgres.cluster_error import ClusterError
from basalt.postgres.install import PostgresInstall
from basalt.postgres.os_user import ServerUser

SUPERUSER = "supabase_admin"
SETTINGS_FILE = "basalt.conf"

# Supabase sorts text as English; a server built without ICU or without the C.UTF-8 locale sorts by code
# point.
LOCALES = (
    ("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"),
    ("--locale=C.UTF-8",),
    ("--locale=C",),
)

HBA = """\
# Every connection proves its password, on the socket as on TCP.
local  all          all                scram-sha-256
host   all          all  127.0.0.1/32  scram-sha-256
host   all          all  ::1/128       scram-sha-256
local  replication  all                scram-sha-256
host   replication  all  127.0.0.1/32  scram-sha-256
host   replication  all  ::1/128       scram-sha-256
"""


def create_data_dir(
    install: PostgresInstall, data_dir: Path, user: ServerUser, password: str, *, options: Sequence[str] = ()
) -> None:
    """Makes `data_dir`, complete or not at all; `options` are further ones of initdb. It is not flushed to disk:
    `flush_data_dir` does that meanwhile."""
    building = data_dir.with_name(f"{data_dir.name}.new")
    shutil.rmtree(building, ignore_errors=True)
    _run_initdb(install, building, user, password, options)
    (building / "pg_hba.conf").write_text(HBA, "utf-8")
    with (building / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write("\n# Settings of Basalt, written at every start; add your own below.\n")
        file.write(f"include '{SETTINGS_FILE}'\n")
    building.rename(data_dir)


def flush_data_dir(install: PostgresInstall, data_dir: Path, user: ServerUser) -> subprocess.Popen[bytes]:
    """Writes the directory through to disk in a process of its own; exit code 0 when that is done."""
    return subprocess.Popen(
        [install.bin_dir / "initdb", "--sync-only", "-D", data_dir],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        **user.run_as(),
    )


def _run_initdb(
    install: PostgresInstall, data_dir: Path, user: ServerUser, password: str, options: Sequence[str]
) -> None:
    handle, name = tempfile.mkstemp(prefix="basalt-")
    password_file = Path(name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(password)
        user.own(password_file, 0o400)
        for locale in LOCALES:
            answer = subprocess.run(
                [
                    install.bin_dir / "initdb",
                    *("-D", data_dir, "-U", SUPERUSER, "--pwfile", password_file),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", "--no-instructions"),
                    *locale,
                    *options,
                ],
                capture_output=True,
                text=True,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                timeout=300,
                check=False,
                **user.run_as(),
            )
            if answer.returncode == 0:
                return
    finally:
        password_file.unlink(missing_ok=True)
    reason = re.search(r"error: (.+)", answer.stderr)
    raise ClusterError(
        f"initdb could not make {data_dir}: {reason.group(1) if reason else answer.stderr.strip()}"
    )
