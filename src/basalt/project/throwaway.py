"""A database for as long as a command takes: a private cluster of its own with the project's migrations in it, made
in the folder for temporary files and removed with it."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from basalt.config import Settings
from basalt.postgres import DatabaseAccess, PrivateCluster, apply_bootstrap, list_wanted_extensions
from basalt.project.migration import Tell, migrate

Fill = Literal["nothing", "migrations", "seeds"]


@dataclass
class Throwaway:
    """`settings` are the project's with this database as their own. One that `is_kept` stays when its owner is done."""

    access: DatabaseAccess
    settings: Settings
    folder: Path
    cluster: PrivateCluster = field(repr=False)
    is_kept: bool = False


@contextmanager
def throwaway_database(settings: Settings, *, on_progress: Tell | None = None) -> Iterator[DatabaseAccess]:
    """With the project's migrations in it, without seeds and buckets; nothing of it stays. Raises MigrationError,
    ClusterError."""
    with throwaway_project(settings, on_progress=on_progress) as made:
        yield made.access


@contextmanager
def throwaway_project(
    settings: Settings, *, fill: Fill = "migrations", on_progress: Tell | None = None
) -> Iterator[Throwaway]:
    """With seeds come the buckets of the settings. Raises MigrationError, ClusterError."""
    folder = Path(tempfile.mkdtemp(prefix="basalt-throwaway-"))
    folder.chmod(0o711)  # PostgreSQL's own user passes through
    state_dir = folder / "state"
    port = free_port()
    wanted = list_wanted_extensions(settings.supabase_dir)
    cluster = PrivateCluster(state_dir, port=port, fsync=False, wanted_extensions=wanted)
    place = replace(settings, state_dir=state_dir, db=replace(settings.db, url=None, port=port))
    if fill != "seeds":
        place = replace(
            place,
            db=replace(place.db, seed=replace(place.db.seed, enabled=False)),
            storage=replace(place.storage, buckets={}),
        )
    made: Throwaway | None = None
    try:
        access = cluster.ensure()
        apply_bootstrap(access)
        if fill != "nothing":
            migrate(access, place, on_progress=on_progress)
        made = Throwaway(access, place, folder, cluster)
        yield made
    finally:
        if made is None or not made.is_kept:
            cluster.stop()
            home = cluster.home
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(home, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
