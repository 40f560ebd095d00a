"""`python -m basalt.start DIR`: what `basalt start` becomes once its arguments are read, so that the process that stays
does not keep the command line's libraries in memory. And what commands tell people beside their answers."""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from basalt import observe
from basalt.children import launch_children
from basalt.config import Settings, load_settings
from basalt.errors import BasaltError
from basalt.late import LateModule

if TYPE_CHECKING:
    from basalt import supervisor
    from basalt.access import ProjectKeys
else:
    supervisor = LateModule("basalt.supervisor")


def start(project_dir: Path, *, as_json: bool) -> None:
    """Run the project until it is stopped. Raises BasaltError."""
    settings = load_settings(project_dir, os.environ)
    observe.configure(
        process="supervisor", level=settings.basalt.log_level, log_format=settings.basalt.log_format
    )
    report_settings_without_effect(settings)

    asyncio.run(_run(settings, as_json=as_json))


async def _run(settings: Settings, *, as_json: bool) -> None:
    def ready(running: "supervisor.RunningProject", keys: "ProjectKeys") -> None:
        print_project(running, keys, as_json=as_json)

    children = await launch_children(settings)  # they import while the supervisor is imported here
    await supervisor.supervise(settings, children, on_progress=lambda text: tell(f"{text} …"), on_ready=ready)


def print_project(running: "supervisor.RunningProject", keys: "ProjectKeys", *, as_json: bool) -> None:
    """Where it runs and what opens it."""
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
        text = orjson.dumps({"running": True, "pid": running.pid, **machine}).decode()
    else:
        width = max(map(len, facts))
        lines = [f"  {name:>{width}}  {value}" for name, value in facts.items() if value is not None]
        text = "\n".join([*lines, "\nReady."])
    print(text, flush=True)


def report_settings_without_effect(settings: Settings) -> None:
    """Tell once what was set in vain."""
    if settings.unknown_keys:
        tell(f"Unknown settings: {', '.join(settings.unknown_keys)}", style="33")
    if settings.idle_keys:
        tell(f"Settings without effect in this version: {', '.join(settings.idle_keys)}")


def tell_error(error: BasaltError) -> None:
    tell(error.message, title="Error:")
    if error.hint:
        tell(error.hint)


def tell(text: str, *, title: str = "", style: str = "2") -> None:
    """A line on standard error; on a terminal in a style (ECMA-48 §8.3.117: 2 is faint, 33 yellow)."""
    if not sys.stderr.isatty() or os.environ.get("NO_COLOR"):
        line = f"{title} {text}" if title else text
    else:
        line = f"\x1b[1;31m{title}\x1b[0m {text}" if title else f"\x1b[{style}m{text}\x1b[0m"
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="basalt.start", description="Run one Basalt project.")
    parser.add_argument("directory", type=Path, help="the project's folder")
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")
    arguments = parser.parse_args()
    try:
        start(arguments.directory, as_json=arguments.json)
    except BasaltError as problem:
        tell_error(problem)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
