"""The database of a project for as long as a command takes."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from basalt import project
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


@contextmanager
def find_conninfo(settings: Settings | None, db_url: str | None, *, is_throwaway: bool) -> Iterator[str]:
    """A connection string to the database that shall be looked at: the one given, the project's where it runs, else
    one made from the migrations."""
    if db_url:
        yield db_url
        return
    assert settings is not None
    if not is_throwaway and settings.db.url:
        yield settings.db.url
    elif not is_throwaway and find_running(settings.state_dir) is not None:
        yield load_access(settings.state_dir).conninfo("supabase_admin")
    else:
        typer.echo("Making a throw-away database from the migrations …", err=True)
        with project.throwaway_database(settings) as access:
            yield access.conninfo("supabase_admin")
