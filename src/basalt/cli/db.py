"""`basalt db`: migrations, a fresh start, and a prompt on the project's database."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typer.core import TyperCommand

from basalt.cli.database import open_database
from basalt.cli.dump import dump, restore
from basalt.cli.options import AsJson, Directory, load_project
from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess, MigrationStatus, plan_rollbacks, rollback_path
from basalt.project import check_migrations, list_migrations, migrate, new_migration, reset, undo


class PassingOn(TyperCommand):
    """A command whose own arguments end at `--`; what follows is another program's, its first word too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = args[: args.index("--")] if "--" in args else args
        ctx.args = [*super().parse_args(ctx, list(own)), *args[len(own) + 1 :]]
        return list(ctx.args)


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
    """Show every migration, whether the database has it, and whether it can go down: has a rollback file."""
    settings = load_project(directory)
    with open_database(settings) as access:
        found = list_migrations(access, settings.project_dir)
    if as_json:
        rows = [
            {
                "version": row.version,
                "name": row.name,
                "state": row.state,
                "has_rollback": can_go_down(settings, row),
            }
            for row in found
        ]
        typer.echo(orjson.dumps(rows).decode())
        return
    for row in found:
        typer.echo(
            f"{row.state:8}  {'down' if can_go_down(settings, row) else '    '}  {row.version}  {row.name}"
        )


def can_go_down(settings: Settings, row: MigrationStatus) -> bool:
    names = row.name.split(", ")
    return all(rollback_path(settings.project_dir, row.version, name).is_file() for name in names)


@db.command()
def down(
    count: Annotated[
        str, typer.Argument(metavar="[N]", help="How many migrations, the newest first.", show_default="1")
    ] = "1",
    directory: Directory = Path(),
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="VERSION", help="All that are newer than this one; 0 is all.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also migrations whose file has changed since they were applied.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Undo the newest migrations by their rollback files, each in one transaction."""
    number, directory = _read_count(count, directory)
    settings = load_project(directory)
    with open_database(settings) as access:
        planned = plan_rollbacks(
            access, settings.project_dir, count=number, to_version=to, ignores_changes=force
        )
        if not planned:
            typer.echo("Nothing to undo.")
            return
        for rollback in planned:
            typer.echo(f"{'Would undo' if dry_run else 'To undo:'} {rollback.version}_{rollback.name}")
            for loss in rollback.losses:
                typer.echo(f"    {loss}")
        if dry_run:
            return
        if any(rollback.losses for rollback in planned) and not yes:
            typer.confirm("Rows will be lost by the statements above. Go on?", abort=True)
        undo(access, settings, planned, on_progress=typer.echo)
    typer.echo(f"{len(planned)} undone.")


def _read_count(count: str, directory: Path) -> tuple[int, Path]:
    """`db down 2 DIR`, `db down 2`, `db down DIR`: where the first argument is no number, it is the folder."""
    if count.isdecimal() and int(count) > 0:
        return int(count), directory
    if directory != Path() or (count.isdecimal() and not Path(count).is_dir()):
        raise typer.BadParameter("give a number from 1", param_hint="N")
    return 1, Path(count)


@db.command()
def check(directory: Directory = Path()) -> None:
    """Take an empty throw-away database up, down and up again and compare what the migrations make of it. Exit code
    1 when it differs."""
    settings = load_project(directory)
    result = check_migrations(settings, on_progress=lambda text: typer.echo(f"{text} …", err=True))
    if result.left_over:
        typer.echo("Left over after going down:")
        for line in result.left_over:
            typer.echo(f"    {line}")
    if result.difference:
        typer.echo("Going down and up again made another schema:")
        for line in result.difference:
            typer.echo(f"    {line}")
        raise typer.Exit(1)
    typer.echo(f"{result.count} migrations go up, down and up again.")


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


@db.command(cls=PassingOn, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(
    context: typer.Context,
    directory: Directory = Path(),
    superuser: Annotated[
        bool, typer.Option("--superuser", help="As supabase_admin, who may change the server's own settings.")
    ] = False,
) -> None:
    """Open psql on the running project's database, as postgres; what follows `--` goes to psql."""
    settings = load_project(directory)
    program = shutil.which("psql")
    if program is None:
        hint = "apt-get install postgresql-client"
        raise BasaltError("psql_missing", 500, "psql is not installed", hint=hint)
    with open_database(settings) as access:
        # The password goes by the environment, where other users cannot read it from the list of processes.
        role = "supabase_admin" if superuser else "postgres"
        environ = {**os.environ, "PGPASSWORD": access.passwords.get(access.login(role), "")}
        command = [program, _conninfo_without_password(access, role), *context.args]
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in psql cancels a statement, not us
        code = subprocess.run(command, env=environ, check=False).returncode
    raise typer.Exit(code)


def _conninfo_without_password(access: DatabaseAccess, role: str) -> str:
    parts = conninfo_to_dict(access.conninfo(role))
    parts.pop("password", None)
    return make_conninfo("", **parts)
