"""`basalt start`, `status`, `stop` and `init`: a project as a whole."""

import asyncio
import os
import signal
import time
from pathlib import Path

import orjson
import typer
from rich.console import Console

from basalt import observe
from basalt.access import ProjectKeys, load_project_keys
from basalt.cli.options import AsJson, Directory, load_project
from basalt.config import Settings
from basalt.errors import BasaltError
from basalt.project import create_project
from basalt.supervisor import RunningProject, find_running, supervise

NOT_RUNNING = 3
STOP_LIMIT_S = 30.0


def start(directory: Directory = Path(), as_json: AsJson = False) -> None:
    """Start a project in the foreground: PostgreSQL, migrations, seeds, gateway. Ctrl-C stops it."""
    settings = load_project(directory)
    observe.configure(
        process="supervisor", level=settings.basalt.log_level, log_format=settings.basalt.log_format
    )
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    report_settings_without_effect(settings, console)

    def ready(running: RunningProject, keys: ProjectKeys) -> None:
        _print_project(running, keys, as_json=as_json)

    asyncio.run(
        supervise(settings, on_progress=lambda text: console.print(f"[dim]{text} …[/]"), on_ready=ready)
    )


def status(directory: Directory = Path(), as_json: AsJson = False) -> None:
    """Tell whether a project runs, and where. Exit code 3 when it does not."""
    settings = load_project(directory)
    running = find_running(settings.state_dir)
    if running is None:
        typer.echo(orjson.dumps({"running": False}).decode() if as_json else "Not running.")
        raise typer.Exit(NOT_RUNNING)
    _print_project(running, load_project_keys(settings.state_dir, settings), as_json=as_json)


def stop(directory: Directory = Path()) -> None:
    """Stop a running project and wait until it has ended. Exit code 3 when it does not run."""
    settings = load_project(directory)
    running = find_running(settings.state_dir)
    if running is None:
        typer.echo("Not running.")
        raise typer.Exit(NOT_RUNNING)
    stop_project(settings)
    typer.echo("Stopped.")


def stop_project(settings: Settings) -> None:
    """Ends a running project and waits until it has ended; nothing where it does not run."""
    running = find_running(settings.state_dir)
    if running is None:
        return
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_LIMIT_S
    while find_running(settings.state_dir) is not None:
        if time.monotonic() > deadline:
            raise BasaltError(
                "stop_timeout", 500, f"Process {running.pid} did not end within {STOP_LIMIT_S:.0f} seconds"
            )
        time.sleep(0.05)


def init(directory: Directory = Path()) -> None:
    """Make a new project: supabase/ with a documented config.toml, a seed file and a first function."""
    created = create_project(directory, directory.resolve().name)
    for path in created:
        typer.echo(f"  {path}")
    typer.echo(f"Run `basalt start {directory}`.")


def _print_project(running: RunningProject, keys: ProjectKeys, *, as_json: bool) -> None:
    facts = {
        "API URL": running.api_url,
        "REST": f"{running.api_url}/rest/v1",
        "Auth": f"{running.api_url}/auth/v1",
        "Realtime": f"{running.api_url}/realtime/v1",
        "Storage": f"{running.api_url}/storage/v1",
        "Functions": f"{running.api_url}/functions/v1",
        "Console": running.studio_url,
        "Database URL": running.database_url,
        "Publishable key": keys.publishable_key,
        "Secret key": keys.secret_key,
        "anon key": keys.anon_key,
        "service_role key": keys.service_role_key,
        "JWT secret": keys.jwt_secret,
    }
    if as_json:
        machine = {name.lower().replace(" ", "_"): value for name, value in facts.items()}
        typer.echo(orjson.dumps({"running": True, "pid": running.pid, **machine}).decode())
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        if value is not None:
            typer.echo(f"  {name:>{width}}  {value}")
    typer.echo("\nReady.")


def report_settings_without_effect(settings: Settings, console: Console) -> None:
    """Tell once what was set in vain."""
    if settings.unknown_keys:
        console.print(f"[yellow]Unknown settings: {', '.join(settings.unknown_keys)}[/]")
    if settings.idle_keys:
        console.print(f"[dim]Settings without effect in this version: {', '.join(settings.idle_keys)}[/]")
