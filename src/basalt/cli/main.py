"""The command tree, and how errors leave it: one message on standard error and an exit code that means
something.

0 done · 1 it failed · 2 wrong usage · 3 the project is not running · 130 interrupted.
"""

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Final

import typer

from basalt.errors import BasaltError
from basalt.late import LateModule

if TYPE_CHECKING:
    from basalt import start as terminal
else:
    terminal = LateModule("basalt.start")

# In the order of the help. A command is the function or the Typer of its name in `basalt.cli.MODULE`, or MODULE:NAME.
MODULES: Final = {
    **dict.fromkeys(("start", "status", "stop", "init"), "projects"),
    "test": "testing:run_project_tests",
    **{
        name: name.replace("-", "_")
        for name in (
            "keys",
            "doctor",
            "lint",
            "upgrade",
            "rest",
            "worker",
            "db",
            "gen",
            "backup",
            "secrets",
            "signing-keys",
            "auth",
            "storage",
            "functions",
            "cron",
            "queue",
            "notify",
            "flags",
            "alerts",
            "user",
            "retention",
        )
    },
}


def build_app(names: Iterable[str] = MODULES) -> typer.Typer:
    """The tree with these commands, which are imported for it."""
    app = typer.Typer(
        name="basalt",
        help="A complete app backend: the Supabase contract over a real PostgreSQL, by one command.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        module, _, attribute = MODULES[name].partition(":")
        command = getattr(import_module(f"basalt.cli.{module}"), attribute or name.replace("-", "_"))
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def _root() -> None:
    """Without it a tree of one command would not be one."""


def __getattr__(name: str) -> typer.Typer:
    """`app`, the whole tree."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return build_app()


def main() -> None:
    # The one that is run, so that it waits for no other's imports; `start` would keep them for as long as it runs.
    named = [name for name in sys.argv[1:2] if name in MODULES]
    try:
        build_app(named or MODULES)()
    except BasaltError as error:
        terminal.tell_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
