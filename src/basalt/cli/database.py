"""The database of a project for as long as a command takes."""

from collections.abc import Iterator
from contextlib import contextmanager

from basalt.config import Settings
from basalt.postgres import DatabaseAccess, access_from_url, apply_bootstrap, load_access
from basalt.supervisor import find_running, hold_project, private_cluster


@contextmanager
def open_database(settings: Settings) -> Iterator[DatabaseAccess]:
    """The project's database with the contract in it: the external one, that of a running project, or the
    private cluster started for as long as the command takes."""
    if settings.db.url:
        access = access_from_url(settings.db.url, settings.state_dir)
        apply_bootstrap(access)
        yield access
    elif find_running(settings.state_dir) is not None:
        yield load_access(settings.state_dir)
    else:
        with hold_project(settings.state_dir):
            cluster = private_cluster(settings)
            access = cluster.ensure()
            try:
                apply_bootstrap(access)
                yield access
            finally:
                cluster.stop()
