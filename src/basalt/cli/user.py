"""`basalt user`: everything about one user, handed out or erased."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer

from basalt import project
from basalt.cli.database import open_database
from basalt.cli.options import AsJson, Directory, load_project

user = typer.Typer(help="A user's data: export, erase.", no_args_is_help=True)

Who = Annotated[
    str, typer.Argument(metavar="USER", help="The user's id or e-mail address.", show_default=False)
]


@user.command()
def export(
    who: Who,
    directory: Directory = Path(),
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder to make; by default export-USER here.", show_default=False),
    ] = None,
    as_zip: Annotated[
        Path | None, typer.Option("--zip", help="Make this ZIP file instead.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write all of a user's rows and files into a folder or a ZIP file."""
    if to is not None and as_zip is not None:
        raise typer.BadParameter("either --to or --zip")
    settings = load_project(directory)
    place = as_zip or to or Path(f"export-{who.replace('/', '_')}")
    with open_database(settings) as access:
        done = project.export_user(settings, access, who, to=place, as_zip=as_zip is not None)
    if as_json:
        typer.echo(orjson.dumps(asdict(done)).decode())
        return
    for table, count in done.tables.items():
        typer.echo(f"{count:>10}  {table}")
    typer.echo(f"{done.file_count} files, {done.file_bytes} bytes; {done.missing} missing.")
    typer.echo(f"Written to {done.place}.")


@user.command()
def erase(
    who: Who,
    directory: Directory = Path(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would happen.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a user: rows by the rules of the settings and the foreign keys, sessions, files."""
    settings = load_project(directory)
    if not (yes or dry_run):
        typer.confirm(f"All data of {who} will be erased. Go on?", abort=True)
    with open_database(settings) as access:
        done = project.erase_user(settings, access, who, is_dry=dry_run)
    if as_json:
        typer.echo(orjson.dumps(asdict(done)).decode())
        return
    typer.echo(f"{'deleted':>10}{'changed':>10}{'kept':>10}  table")
    for table, counts in done.tables.items():
        typer.echo(f"{counts['deleted']:>10}{counts['changed']:>10}{counts['kept']:>10}  {table}")
    typer.echo(f"{done.file_count} files, {done.file_bytes} bytes.")
    if done.keeps_user:
        typer.echo("Rows that are kept refer to the user: an empty row stays in auth.users.")
    typer.echo("Nothing was changed." if dry_run else f"{done.user_id} is erased.")
