"""The operating-system user that PostgreSQL runs as: ourselves, or `postgres` when we are root (the server
refuses root)."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

PREFERRED_NAMES = ("postgres", "basalt")


class RunAs(TypedDict, total=False):
    """The arguments of `subprocess` that change the user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class ServerUser:
    """`drops_root` is False when we run PostgreSQL as ourselves."""

    uid: int
    gid: int
    drops_root: bool

    def run_as(self) -> RunAs:
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.drops_root else {}

    def can_enter(self, folder: Path) -> bool:
        """Whether this user may pass through every folder down to this one."""
        if not self.drops_root:
            return os.access(folder, os.X_OK)
        answer = subprocess.run(["test", "-x", folder], **self.run_as(), cwd="/", check=False, timeout=10)
        return answer.returncode == 0

    def own(self, path: Path, mode: int) -> None:
        """Gives `path` to this user with the mode."""
        if self.drops_root:
            os.chown(path, self.uid, self.gid)
        path.chmod(mode)


def server_user() -> ServerUser:
    """The user to run PostgreSQL as; creates a system user `basalt` when we are root and there is no
    `postgres`."""
    if os.geteuid() != 0:
        return ServerUser(os.geteuid(), os.getegid(), drops_root=False)
    for name in PREFERRED_NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerUser(entry.pw_uid, entry.pw_gid, drops_root=True)
    subprocess.run(
        ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "basalt"],
        check=True,
        timeout=30,
    )
    entry = pwd.getpwnam("basalt")
    return ServerUser(entry.pw_uid, entry.pw_gid, drops_root=True)
