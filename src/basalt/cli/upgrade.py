"""`basalt upgrade`: the private cluster moves to a later major version of PostgreSQL, and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from basalt.cli.options import Directory, load_project
from basalt.errors import BasaltError
from basalt.late import LateModule
from basalt.supervisor import hold_project, private_cluster

if TYPE_CHECKING:
    from basalt.postgres import upgrade as upgrades
else:
    upgrades = LateModule("basalt.postgres.upgrade")


def upgrade(
    directory: Directory = Path(),
    to: Annotated[
        int | None,
        typer.Option("--to", help="Major version; by default the newest installed.", show_default=False),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only tell whether it would work.")] = False,
    method: Annotated[
        str, typer.Option(help="pg_upgrade, or a dump: slower, needs nothing but both servers.")
    ] = "auto",
    undo: Annotated[bool, typer.Option("--undo", help="Go back to the data of before the upgrade.")] = False,
) -> None:
    """Move the stopped project's database to a later major version of PostgreSQL. The old data directory is kept."""
    settings = load_project(directory)
    if settings.db.url:
        raise BasaltError(
            "upgrade_not_ours",
            400,
            "The database is an external one; its provider upgrades it",
            hint="`basalt upgrade` is for the private cluster",
        )
    how = _parse_method(method)
    with hold_project(settings.state_dir):
        private_cluster(settings).stop()  # a supervisor that was killed may have left it running
        if undo:
            major, aside = upgrades.undo_upgrade(settings.state_dir)
            typer.echo(f"The database is PostgreSQL {major}'s again.")
            if aside is not None:
                typer.echo(f"What was written since is in {aside}.")
            return
        plan = upgrades.plan_upgrade(settings.state_dir, to=to, method=how, tell=_tell)
        if check:
            upgrades.check_upgrade(settings.state_dir, plan, _tell)
            typer.echo(f"PostgreSQL {plan.old.version} can become {plan.new.version}, by {plan.method}.")
            return
        aside = upgrades.upgrade_cluster(settings.state_dir, plan, _tell)
    typer.echo(f"The database is PostgreSQL {plan.new.version}'s. The old data directory is {aside}.")
    typer.echo(f"Start the project and make a backup. To go back: basalt upgrade {directory} --undo")
    typer.echo(f"When all is well: rm -r {aside}")


def _parse_method(text: str) -> Literal["pg_upgrade", "dump"] | None:
    match text:
        case "auto":
            return None
        case "pg_upgrade" | "dump":
            return text
    raise typer.BadParameter("expected auto, pg_upgrade or dump", param_hint="--method")


def _tell(text: str) -> None:
    typer.echo(f"{text} …", err=True)
