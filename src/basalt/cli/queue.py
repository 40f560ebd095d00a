"""`basalt queue`: look at queues of jobs, and set right what went wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from basalt.cli.database import open_database
from basalt.cli.options import AsJson, Directory, load_project
from basalt.cli.tables import print_json, print_table
from basalt.jobs import (
    JobState,
    list_minutes,
    list_queues,
    pause_queue,
    peek_jobs,
    purge_queue,
    replay_dead,
)

queue = typer.Typer(help="Queues of jobs: look, replay, pause.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@queue.command("list")
def list_(directory: Directory = Path(), as_json: AsJson = False) -> None:
    """Every queue: how many jobs wait, run and are dead, and its limits."""
    with open_database(load_project(directory)) as access:
        rows = list_queues(access)
    if as_json:
        print_json(rows)
        return
    shown = [
        {
            "queue": row["queue"] + (" (paused)" if row["is_paused"] else ""),
            "ready": row["ready"],
            "scheduled": row["scheduled"],
            "running": row["running"],
            "dead": row["dead"],
            "oldest": _render_age(row["oldest_ready_age_s"]),
            "limits": _render_limits(row),
        }
        for row in rows
    ]
    print_table(shown)


@queue.command()
def stats(
    directory: Directory = Path(),
    name: Annotated[
        str | None, typer.Option("--queue", help="Of this queue only.", show_default=False)
    ] = None,
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=2880, help="How far back.")] = 10,
    as_json: AsJson = False,
) -> None:
    """How many attempts finished, are to be tried again, and died, by the minute."""
    with open_database(load_project(directory)) as access:
        rows = list_minutes(access, name, minutes)
    if as_json:
        print_json(rows)
        return
    print_table(rows)


@queue.command()
def peek(
    name: Name,
    directory: Directory = Path(),
    state: Annotated[JobState, typer.Option("--state", help="Which jobs.")] = "ready",
    most: Annotated[int, typer.Option("--limit", min=1, max=10000, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Jobs of a queue, without touching them: the next ones, or the last dead and finished ones."""
    with open_database(load_project(directory)) as access:
        rows = peek_jobs(access, name, state, most)
    if as_json:
        print_json(rows)
        return
    print_table(rows)


@queue.command()
def replay(
    name: Name,
    directory: Directory = Path(),
    job: Annotated[
        list[int] | None, typer.Option("--id", help="Only this job; may be repeated.", show_default=False)
    ] = None,
    handler: Annotated[
        str | None, typer.Option("--name", help="Only jobs of this name.", show_default=False)
    ] = None,
    most: Annotated[
        int | None, typer.Option("--limit", min=1, help="The oldest so many.", show_default=False)
    ] = None,
) -> None:
    """Make dead letters of a queue jobs again, with all their attempts."""
    with open_database(load_project(directory)) as access:
        count = replay_dead(access, name, handler, job or [], most)
    typer.echo(f"{count} replayed.")


@queue.command()
def purge(
    name: Name,
    directory: Directory = Path(),
    dead: Annotated[bool, typer.Option("--dead", help="The dead letters instead of what waits.")] = False,
    yes: Yes = False,
) -> None:
    """Delete the waiting jobs of a queue, or its dead letters. What runs goes on."""
    what = "dead letters" if dead else "waiting jobs"
    if not yes:
        typer.confirm(f"All {what} of {name} will be lost. Go on?", abort=True)
    with open_database(load_project(directory)) as access:
        count = purge_queue(access, name, "dead" if dead else "waiting")
    typer.echo(f"{count} {what} deleted.")


@queue.command()
def pause(name: Name, directory: Directory = Path()) -> None:
    """Let no job of a queue start until it is resumed. What runs goes on."""
    with open_database(load_project(directory)) as access:
        pause_queue(access, name, paused=True)
    typer.echo(f"{name} is paused.")


@queue.command()
def resume(name: Name, directory: Directory = Path()) -> None:
    """Let the jobs of a paused queue start again."""
    with open_database(load_project(directory)) as access:
        pause_queue(access, name, paused=False)
    typer.echo(f"{name} is at work.")


def _render_age(age_s: float | None) -> str:
    """
    >>> _render_age(None), _render_age(3.21), _render_age(7300)
    ('', '3.2 s', '2.0 h')
    """
    if age_s is None:
        return ""
    if age_s < 120:
        return f"{age_s:.1f} s"
    return f"{age_s / 60:.0f} min" if age_s < 7200 else f"{age_s / 3600:.1f} h"


def _render_limits(row: Mapping[str, Any]) -> str:
    limits = [
        f"{row['concurrency']} at once" if row["concurrency"] else "",
        f"{row['rate_per_s']:g}/s" if row["rate_per_s"] else "",
        f"{row['max_depth']} deep" if row["max_depth"] else "",
    ]
    return ", ".join(filter(None, limits))
