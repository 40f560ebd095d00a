"""Where a private cluster keeps its things: `.basalt/postgres/` in the project, or folders that the server's
user can get to when the project is out of its reach."""

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from basalt.postgres.access import read_state, write_state
from basalt.postgres.cluster_error import ClusterError
from basalt.postgres.os_user import ServerUser

SOCKET_PATH_LIMIT = 103  # sun_path holds 104 bytes on BSD and macOS, 108 on Linux


def ensure_state_dir(state_dir: Path) -> None:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=state_dir):
            pass
    except OSError as exc:
        raise ClusterError(
            f"{state_dir} cannot be written to ({exc.strerror}); Basalt keeps its data there."
        ) from exc


@contextmanager
def lock_start(path: Path) -> Iterator[None]:
    """One start at a time per project."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_home(state_dir: Path) -> Path | None:
    kept = read_state(state_dir).get("cluster_dir")
    return Path(kept) if isinstance(kept, str) else None


def cluster_home(state_dir: Path) -> Path:
    """Where the cluster of a project is, or will be unless PostgreSQL's user cannot get there."""
    return read_home(state_dir) or state_dir / "postgres"


def ensure_home(state_dir: Path, user: ServerUser) -> Path:
    """`.basalt/postgres`, or `/var/lib/basalt/NAME-HASH` where PostgreSQL's user cannot get there (a project
    below /root)."""
    home = read_home(state_dir)
    if home is None:
        if user.drops_root:
            os.chown(state_dir, 0, user.gid)
            state_dir.chmod(0o710)  # the server passes through; the secrets in it stay 0600
        home = state_dir / "postgres"
        if not user.can_enter(state_dir):
            digest = hashlib.sha256(str(state_dir).encode()).hexdigest()[:12]
            name = re.sub(r"[^A-Za-z0-9_.-]", "-", state_dir.parent.name) or "project"
            home = Path("/var/lib/basalt") / f"{name}-{digest}"
            home.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_state(state_dir, {**read_state(state_dir), "cluster_dir": str(home)})
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        user.own(home, 0o700)
    except OSError as exc:
        raise ClusterError(
            f"{home} cannot be written to ({exc.strerror}); PostgreSQL keeps its data there."
        ) from exc
    return home


def ensure_run_dir(home: Path, user: ServerUser) -> Path:
    """The folder of the private socket; a short one elsewhere when the project's path is too long for a
    socket."""
    run_dir = home / "run"
    if len(os.fsencode(run_dir / ".s.PGSQL.65535")) > SOCKET_PATH_LIMIT:
        digest = hashlib.sha256(str(home).encode()).hexdigest()[:12]
        run_dir = Path(tempfile.gettempdir()) / f"basalt-{digest}"
    run_dir.mkdir(mode=0o700, exist_ok=True)
    found = run_dir.lstat()
    if run_dir.is_symlink() or found.st_uid not in (os.geteuid(), user.uid):
        raise ClusterError(
            f"{run_dir} belongs to somebody else; remove it so that PostgreSQL's socket can be there."
        )
    user.own(run_dir, 0o700)
    return run_dir


def socket_files(home: Path, port: int) -> list[Path]:
    return [home / "run" / f".s.PGSQL.{port}{suffix}" for suffix in ("", ".lock")]
