"""`basalt auth`: work around the Auth service that is done once, by hand."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from basalt.auth import build_bloom_file
from basalt.errors import BasaltError

auth = typer.Typer(help="The Auth service's own files.", no_args_is_help=True)

List = Annotated[
    Path, typer.Argument(help="File with one `SHA1:COUNT`, `SHA1` or password a line.", show_default=False)
]
Out = Annotated[Path, typer.Option("--out", help="The file to make.", show_default=False)]


@auth.command("breached-passwords")
def breached_passwords(source: List, out: Out) -> None:
    """Make the file for `auth.breached_passwords.file` from a list of breached passwords."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Reading the list", total=None)

        def report(done: int, entries: int) -> None:
            progress.update(task, description="Making the file", completed=done, total=entries)

        try:
            entries = build_bloom_file(source, out, report)
        except (OSError, ValueError) as error:
            raise BasaltError("list_unreadable", 400, f"The file cannot be made: {error}") from error
    typer.echo(f"{out}: {entries} passwords, {out.stat().st_size} bytes")
