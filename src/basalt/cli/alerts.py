"""`basalt alerts`: what is wrong, what was, and the rules for Prometheus."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer

from basalt import project
from basalt.cli.database import open_database
from basalt.cli.options import AsJson, Directory, load_project

alerts = typer.Typer(help="Alerts: what is wrong, and what was.", no_args_is_help=True)

FIRING = 1


@alerts.command("list")
def list_(
    directory: Directory = Path(),
    all_: Annotated[bool, typer.Option("--all", help="What was resolved too.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Alerts that are watched and told. Exit code 1 while one is firing."""
    with open_database(load_project(directory)) as access:
        rows = project.list_alerts(access, with_resolved=all_, limit=limit)
    if as_json:
        typer.echo(orjson.dumps([asdict(row) for row in rows]).decode())
    else:
        for row in rows:
            since = row.resolved_at or row.fired_at or row.pending_since
            typer.echo(f"{row.state:8}  {row.severity:8}  {_render(since)}  {row.summary}")
        if not rows:
            typer.echo("Nothing.")
    if any(row.state == "firing" for row in rows):
        raise typer.Exit(FIRING)


@alerts.command()
def rules(directory: Directory = Path()) -> None:
    """Print the rules for Prometheus, with the project's own thresholds."""
    typer.echo(project.render_rules(load_project(directory).basalt.alerts), nl=False)


def _render(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
