"""`basalt storage`: the bytes of objects, beside the rows that name them."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer

from basalt.cli.database import open_database
from basalt.cli.options import AsJson, Directory, load_project
from basalt.storage import check_project, collect_project

storage = typer.Typer(help="The bytes of objects: clean up, compare with the rows.", no_args_is_help=True)

FOUND_WRONG = 1

Age = Annotated[
    float | None,
    typer.Option(
        "--age",
        min=0,
        help="Seconds for which something was deleted or without a row, instead of the settings'. Below a minute, "
        "uploads that are under way may fail.",
        show_default=False,
    ),
]


@storage.command()
def collect(
    directory: Directory = Path(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    age: Age = None,
    as_json: AsJson = False,
) -> None:
    """Take away now what no object refers to any more, as the gateway does from time to time."""
    settings = load_project(directory)
    with open_database(settings) as access:
        collected = collect_project(settings, access, is_dry=dry_run, age_s=age)
    if as_json:
        typer.echo(orjson.dumps({"dry_run": dry_run, **asdict(collected)}).decode())
        return
    verb = "would be taken away" if dry_run else "taken away"
    typer.echo(f"Bytes of deleted and replaced objects: {collected.deleted} {verb}.")
    typer.echo(f"Bytes without a row: {collected.orphans} {'would be noted' if dry_run else 'noted'}.")
    typer.echo(f"Uploads that took too long: {collected.expired_uploads} {verb}.")
    typer.echo(f"Uploads that nobody knows: {collected.abandoned_uploads} {verb}.")


@storage.command()
def check(
    directory: Directory = Path(),
    checksums: Annotated[
        bool, typer.Option("--checksums", help="Read all bytes and compare their MD5 too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare rows and bytes: both must be there, and agree. Exit code 1 when something is wrong."""
    settings = load_project(directory)
    with open_database(settings) as access:
        report = check_project(settings, access, checksums=checksums)
    if as_json:
        typer.echo(orjson.dumps(asdict(report)).decode())
    else:
        for found in report.differences:
            place = f"{found.bucket_id}/{found.name}" if found.name is not None else "no object"
            typer.echo(" ".join(filter(None, [f"{found.kind}: {place}", found.version, found.detail])))
        typer.echo(
            f"{report.objects} objects, {report.stored} stored, {len(report.differences)} differences."
        )
    if report.differences:
        raise typer.Exit(FOUND_WRONG)
