"""The command tree, and how errors leave it: one message on standard error and an exit code that means
something.

0 done · 1 it failed · 2 wrong usage · 3 the project is not running · 130 interrupted.
"""

import sys

import typer
from rich.console import Console

from basalt.cli.alerts import alerts
from basalt.cli.auth import auth
from basalt.cli.backup import backup
from basalt.cli.cron import cron
from basalt.cli.db import db
from basalt.cli.doctor import doctor
from basalt.cli.flags import flags
from basalt.cli.functions import functions
from basalt.cli.gen import gen
from basalt.cli.keys import keys
from basalt.cli.lint import lint
from basalt.cli.notify import notify
from basalt.cli.projects import init, start, status, stop
from basalt.cli.queue import queue
from basalt.cli.rest import rest
from basalt.cli.retention import retention
from basalt.cli.secrets import secrets
from basalt.cli.signing_keys import signing_keys
from basalt.cli.storage import storage
from basalt.cli.upgrade import upgrade
from basalt.cli.user import user
from basalt.cli.worker import worker
from basalt.errors import BasaltError

app = typer.Typer(
    name="basalt",
    help="A complete app backend: the Supabase contract over a real PostgreSQL, by one command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(start)
app.command()(status)
app.command()(stop)
app.command()(init)
app.command()(keys)
app.command()(doctor)
app.command()(lint)
app.command()(upgrade)
app.command()(rest)
app.command()(worker)
app.add_typer(db, name="db")
app.add_typer(backup, name="backup")
app.add_typer(secrets, name="secrets")
app.add_typer(signing_keys, name="signing-keys")
app.add_typer(auth, name="auth")
app.add_typer(storage, name="storage")
app.add_typer(functions, name="functions")
app.add_typer(cron, name="cron")
app.add_typer(queue, name="queue")
app.add_typer(notify, name="notify")
app.add_typer(flags, name="flags")
app.add_typer(gen, name="gen")
app.add_typer(alerts, name="alerts")
app.add_typer(user, name="user")
app.add_typer(retention, name="retention")


def main() -> None:
    try:
        app()
    except BasaltError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"[bold red]Error:[/] {_escape(error.message)}")
        if error.hint:
            console.print(f"[dim]{_escape(error.hint)}[/]")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _escape(text: str) -> str:
    return text.replace("[", "\\[")
