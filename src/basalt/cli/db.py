"""`basalt db`: migrations, a fresh start, and a prompt on the project's database."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Annotated

import orjson
import typer
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from basalt.cli.database import open_database
from basalt.cli.dump import dump, restore
from basalt.cli.options import AsJson, Directory, load_project
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from basalt.project import list_migrations, migrate, new_migration, reset

db = typer.Typer(help="Migrations and the project's database.", no_args_is_help=True)
db.command()(dump)
db.command()(restore)


@db.command()
def new(
    title: Annotated[str, typer.Argument(help="What the migration does: `add likes`.")],
    directory: Directory = Path(),
) -> None:
    """Make an empty migration file with the time as its version."""
    typer.echo(new_migration(load_project(directory).project_dir, title))


@db.command()
def up(directory: Directory = Path()) -> None:
    """Apply pending migrations and seeds that have not run yet."""
    settings = load_project(directory)
    with open_database(settings) as access:
        report = migrate(access, settings, on_progress=typer.echo)
    typer.echo(f"{len(report.applied)} applied." if report.applied else "Nothing to apply.")


@db.command("list")
def list_(directory: Directory = Path(), as_json: AsJson = False) -> None:
    """Show every migration and whether the database has it."""
    settings = load_project(directory)
    with open_database(settings) as access:
        found = list_migrations(access, settings.project_dir)
    if as_json:
        rows = [{"version": row.version, "name": row.name, "state": row.state} for row in found]
        typer.echo(orjson.dumps(rows).decode())
        return
    for row in found:
        typer.echo(f"{row.state:8}  {row.version}  {row.name}")


@db.command("reset")
def reset_(
    directory: Directory = Path(),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Drop everything in the database and build it anew from migrations and seeds."""
    settings = load_project(directory)
    if not yes:
        typer.confirm("All data of this project's database will be lost. Go on?", abort=True)
    with open_database(settings) as access:
        reset(access, settings, on_progress=typer.echo)
    typer.echo("Reset.")


@db.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context, directory: Directory = Path()) -> None:
    """Open psql on the running project's database, as postgres; what follows `--` goes to psql."""
    settings = load_project(directory)
    program = shutil.which("psql")
    if program is None:
        hint = "apt-get install postgresql-client"
        raise BasaltError("psql_missing", 500, "psql is not installed", hint=hint)
    with open_database(settings) as access:
        # The password goes by the environment, where other users cannot read it from the list of processes.
        environ = {**os.environ, "PGPASSWORD": access.passwords.get(access.login("postgres"), "")}
        command = [program, _conninfo_without_password(access), *context.args]
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in psql cancels a statement, not us
        code = subprocess.run(command, env=environ, check=False).returncode
    raise typer.Exit(code)


def _conninfo_without_password(access: DatabaseAccess) -> str:
    parts = conninfo_to_dict(access.conninfo("postgres"))
    parts.pop("password", None)
    return make_conninfo("", **parts)
