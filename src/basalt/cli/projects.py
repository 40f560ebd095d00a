"""`basalt start`, `status`, `stop` and `init`: a project as a whole."""

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import typer

from basalt.cli.options import AsJson, Directory, check_project, load_project
from basalt.cli.starting import become_supervisor
from basalt.errors import BasaltError
from basalt.late import LateModule

if TYPE_CHECKING:
    from basalt import access, project, supervisor
    from basalt import start as terminal
    from basalt.config import Settings
else:  # `start` has no use for them: another process takes its place
    access, project, supervisor = (
        LateModule(f"basalt.{name}") for name in ("access", "project", "supervisor")
    )
    terminal = LateModule("basalt.start")

NOT_RUNNING = 3
STOP_LIMIT_S = 30.0


def start(directory: Directory = Path(), as_json: AsJson = False) -> None:
    """Start a project in the foreground: PostgreSQL, migrations, seeds, gateway. Ctrl-C stops it."""
    check_project(directory)
    become_supervisor(directory, as_json=as_json)


def status(directory: Directory = Path(), as_json: AsJson = False) -> None:
    """Tell whether a project runs, and where. Exit code 3 when it does not."""
    settings = load_project(directory)
    running = supervisor.find_running(settings.state_dir)
    if running is None:
        typer.echo(orjson.dumps({"running": False}).decode() if as_json else "Not running.")
        raise typer.Exit(NOT_RUNNING)
    terminal.print_project(running, access.load_project_keys(settings.state_dir, settings), as_json=as_json)


def stop(directory: Directory = Path()) -> None:
    """Stop a running project and wait until it has ended. Exit code 3 when it does not run."""
    settings = load_project(directory)
    running = supervisor.find_running(settings.state_dir)
    if running is None:
        typer.echo("Not running.")
        raise typer.Exit(NOT_RUNNING)
    stop_project(settings)
    typer.echo("Stopped.")


def stop_project(settings: "Settings") -> None:
    """Ends a running project and waits until it has ended; nothing where it does not run."""
    running = supervisor.find_running(settings.state_dir)
    if running is None:
        return
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_LIMIT_S
    while supervisor.find_running(settings.state_dir) is not None:
        if time.monotonic() > deadline:
            raise BasaltError(
                "stop_timeout", 500, f"Process {running.pid} did not end within {STOP_LIMIT_S:.0f} seconds"
            )
        time.sleep(0.05)


def init(directory: Directory = Path()) -> None:
    """Make a new project: supabase/ with a documented config.toml, a seed file and a first function."""
    created = project.create_project(directory, directory.resolve().name)
    for path in created:
        typer.echo(f"  {path}")
    typer.echo(f"Run `basalt start {directory}`.")
