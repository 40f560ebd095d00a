"""`basalt retention`: which rows go when, and what the last runs did."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer

from basalt import project
from basalt.cli.database import open_database
from basalt.cli.options import AsJson, Directory, load_project

retention = typer.Typer(help="Policies that delete, move or mark old rows.", no_args_is_help=True)


@retention.command("list")
def list_(directory: Directory = Path(), as_json: AsJson = False) -> None:
    """Every policy: how many rows are due, and its last run. Exit code 1 when one does not fit its table."""
    settings = load_project(directory)
    with open_database(settings) as access:
        found = project.describe_policies(settings, access)
    if as_json:
        typer.echo(orjson.dumps([asdict(each) for each in found]).decode())
    else:
        for each in found:
            last = (
                f"last run {each.last_at:%Y-%m-%d %H:%MZ}: {each.last_rows} rows"
                if each.last_at
                else "never ran"
            )
            state = each.problem or each.last_error or last
            typer.echo(
                f"{each.name}: {each.action} {each.table}, {each.schedule}; {each.due} rows due; {state}"
            )
        if not found:
            typer.echo("Nothing.")
    if any(each.problem for each in found):
        raise typer.Exit(1)


@retention.command()
def run(
    name: Annotated[str, typer.Argument(help="The policy's name.", show_default=False)],
    directory: Directory = Path(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what is due.")] = False,
) -> None:
    """Run a policy now, to its end."""
    settings = load_project(directory)
    with open_database(settings) as access:
        count = project.run_policy(settings, access, name, is_dry=dry_run)
    typer.echo(f"{count} rows {'are due' if dry_run else 'done'}.")
