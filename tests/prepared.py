"""A bootstrapped cluster that tests copy instead of making one: `initdb` and the bootstrap cost two to three seconds of
processor time for each project that a test starts.

It is made once for each text of the bootstrap and kept in the folder for temporary files.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from basalt.postgres import BOOTSTRAP_DIR, PrivateCluster, apply_bootstrap, find_postgres
from tests.ports import free_port

SOURCES = (BOOTSTRAP_DIR, BOOTSTRAP_DIR.with_name("extensions"))


def copy_prepared_state(state_dir: Path) -> None:
    """A state folder as a first start leaves it, but for keys and migrations."""
    state_dir.mkdir(mode=0o700)
    subprocess.run(["cp", "-a", f"{_ensure_prepared()}/.", state_dir], check=True)


def _ensure_prepared() -> Path:
    folder = Path(tempfile.gettempdir()) / f"basalt-prepared-{os.geteuid()}-{_digest()}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _prepare(folder)
    return folder / ".basalt"


def _prepare(folder: Path) -> None:
    building = folder.with_suffix(".new")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(mode=0o711)
    cluster = PrivateCluster(building / ".basalt", port=free_port())
    try:
        apply_bootstrap(cluster.ensure())
    finally:
        cluster.stop()
    building.rename(folder)


def _digest() -> str:
    digest = hashlib.sha256(find_postgres().version.encode())
    for path in sorted(path for source in SOURCES for path in source.rglob("*") if path.is_file()):
        digest.update(path.name.encode() + path.read_bytes())
    for module in sorted(BOOTSTRAP_DIR.parent.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()[:16]
