"""`basalt gen`: code that follows from the project's database."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from basalt import project
from basalt.cli.database import find_conninfo
from basalt.cli.options import Directory, load_project

gen = typer.Typer(no_args_is_help=True, help="Code that follows from the database: its types.")

PUBLIC: Final = ("public",)  # of a database without a project


class Language(StrEnum):
    TYPESCRIPT = "typescript"
    PYTHON = "python"


@gen.callback()
def group() -> None:
    """Code that follows from the database: its types."""


@gen.command()
def types(
    directory: Directory = Path(),
    lang: Annotated[Language, typer.Option(help="For supabase-js or supabase-py.")] = Language.TYPESCRIPT,
    schema: Annotated[
        list[str] | None,
        typer.Option(help="These schemas: a,b or repeated.", show_default="those that REST serves"),
    ] = None,
    db_url: Annotated[
        str | None,
        typer.Option(help="Of this database, with or without a project.", show_default=False),
    ] = None,
    migrations: Annotated[
        bool,
        typer.Option("--migrations", help="Of a throw-away database made from the migrations."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write to this file.", show_default="standard output"),
    ] = None,
) -> None:
    """Print the types of the database for programs that call it. The same schema gives the same text."""
    if db_url and migrations:
        raise typer.BadParameter("give --db-url or --migrations", param_hint="--migrations")
    has_project = (directory / "supabase").is_dir()
    settings = load_project(directory) if has_project or not db_url else None
    served = settings.basalt.rest.db_schemas if settings is not None else PUBLIC
    with find_conninfo(settings, db_url, is_throwaway=migrations) as conninfo:
        schemas = project.load_types(conninfo, _split(schema or ()) or list(served))
    render = project.render_typescript if lang is Language.TYPESCRIPT else project.render_python
    text = render(schemas)
    if output is None:
        typer.echo(text, nl=False)
        return
    # A file that says the same keeps its date, for build tools that go by it.
    if not output.is_file() or output.read_text("utf-8") != text:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, "utf-8")


def _split(given: Sequence[str]) -> list[str]:
    return [name for each in given for part in each.split(",") if (name := part.strip())]
