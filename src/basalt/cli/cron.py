"""`basalt cron`: schedules, their history, and runs by hand."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from basalt.cli.database import open_database
from basalt.cli.options import AsJson, Directory, load_project
from basalt.cli.tables import print_columns, print_json
from basalt.jobs import RunRow, list_runs, list_schedules, run_schedule, set_active

cron = typer.Typer(help="Schedules: what runs when, and what became of it.", no_args_is_help=True)

FAILED = 1

Name = Annotated[str, typer.Argument(help="The schedule's name, or its number.", show_default=False)]


@cron.command("list")
def list_(directory: Directory = Path(), as_json: AsJson = False) -> None:
    """Every schedule: when it is due next, and how its last run ended."""
    with open_database(load_project(directory)) as access:
        schedules = asyncio.run(list_schedules(access))
    if as_json:
        print_json([asdict(schedule) for schedule in schedules])
        return
    print_columns(
        ["id", "name", "schedule", "zone", "next run", "last run"],
        [
            [
                str(each.jobid),
                each.jobname or "",
                each.schedule,
                each.timezone,
                _render_instant(each.next_at) if each.active else "paused",
                each.last_status or "",
            ]
            for each in schedules
        ],
    )


@cron.command()
def run(name: Name, directory: Directory = Path(), as_json: AsJson = False) -> None:
    """Run a schedule's command now, also a paused one's, and wait for its end. Exit code 1 when it fails."""
    with open_database(load_project(directory)) as access:
        ended = asyncio.run(run_schedule(access, name))
    if as_json:
        print_json(asdict(ended))
    else:
        typer.echo(f"{ended.status}: {ended.return_message or ''}")
    if ended.status != "succeeded":
        raise typer.Exit(FAILED)


@cron.command()
def history(
    name: Annotated[str, typer.Argument(help="Only this schedule's.", show_default="all")] = "",
    directory: Directory = Path(),
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The newest runs."""
    if name and directory == Path() and (Path(name) / "supabase").is_dir():  # basalt cron history DIR
        name, directory = "", Path(name)
    with open_database(load_project(directory)) as access:
        runs = asyncio.run(list_runs(access, name or None, limit=limit))
    if as_json:
        print_json([asdict(each) for each in runs])
        return
    print_columns(
        ["run", "schedule", "started", "seconds", "status", "message"], [_show(each) for each in runs]
    )


@cron.command()
def disable(name: Name, directory: Directory = Path()) -> None:
    """Pause a schedule; a run that is going on is cancelled."""
    _set_active(name, directory, active=False)
    typer.echo(f"{name} is paused.")


@cron.command()
def enable(name: Name, directory: Directory = Path()) -> None:
    """Let a paused schedule go on, from its next tick."""
    _set_active(name, directory, active=True)
    typer.echo(f"{name} goes on.")


def _set_active(name: str, directory: Path, *, active: bool) -> None:
    with open_database(load_project(directory)) as access:
        asyncio.run(set_active(access, name, active=active))


def _show(run: RunRow) -> list[str]:
    took = run.ended_at - run.started_at if run.ended_at and run.started_at else None
    return [
        str(run.runid),
        run.jobname or str(run.jobid),
        _render_instant(run.started_at),
        f"{took.total_seconds():.3f}" if took is not None else "",
        run.status,
        (run.return_message or "").split("\n")[0],
    ]


def _render_instant(instant: datetime | None) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if instant is not None else ""
