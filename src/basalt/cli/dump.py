"""`basalt db dump` and `basalt db restore`: a database as a file of SQL, or of pg_dump's own format."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from basalt import project
from basalt.cli.database import open_database
from basalt.cli.options import Directory, load_project
from basalt.errors import BasaltError


def dump(
    directory: Directory = Path(),
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Where to write.", show_default="standard output")
    ] = None,
    data_only: Annotated[bool, typer.Option("--data-only", help="Rows instead of definitions.")] = False,
    role_only: Annotated[bool, typer.Option("--role-only", help="The project's own roles.")] = False,
    schema: Annotated[
        list[str] | None, typer.Option("--schema", "-s", help="Only this schema; may be repeated.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", "-x", help="Leave out this table, SCHEMA.NAME; may be repeated."),
    ] = None,
    custom: Annotated[
        bool, typer.Option("--custom", help="pg_dump's own format, for pg_restore, instead of SQL.")
    ] = False,
) -> None:
    """Write the project's database as SQL: definitions, rows (--data-only) or roles (--role-only), without what the
    platform itself provides."""
    if data_only and role_only:
        raise typer.BadParameter("--data-only and --role-only are two dumps")
    if role_only and (custom or schema or exclude):
        raise typer.BadParameter("--role-only goes with none of --custom, --schema and --exclude")
    request = project.DumpRequest(
        what="data" if data_only else "roles" if role_only else "schema",
        format="custom" if custom else "plain",
        schemas=tuple(schema or ()),
        excluded=tuple(exclude or ()),
    )
    with open_database(load_project(directory)) as access:
        if file is None:
            project.dump_database(access, request, sys.stdout.buffer)
            return
        building = file.with_name(f".{file.name}.part")
        try:
            # It may hold users with the hashes of their passwords.
            with os.fdopen(os.open(building, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                project.dump_database(access, request, out)
            building.replace(file)
        except OSError as exc:
            raise BasaltError("dump_unwritable", 400, f"{file} cannot be written: {exc.strerror}") from exc
        finally:
            building.unlink(missing_ok=True)


def restore(
    file: Annotated[Path, typer.Option("--file", "-f", help="A dump, SQL or pg_dump's own format.")],
    directory: Directory = Path(),
) -> None:
    """Load a dump into the project's database, all of it or nothing."""
    settings = load_project(directory)
    with open_database(settings) as access:
        project.apply_modules(access, settings)  # rows may be for their tables
        project.restore_database(access, file)
    typer.echo("Restored.")
