"""`basalt notify`: how far notifications have come, and what to do about those that failed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from basalt.cli.database import open_database
from basalt.cli.options import AsJson, Directory, load_project
from basalt.cli.tables import print_json, print_table, render_cell
from basalt.late import LateModule

if TYPE_CHECKING:
    from basalt import notify as engine
else:
    engine = LateModule("basalt.notify")

notify = typer.Typer(help="Notifications: look, send again, cancel.", no_args_is_help=True)

EventStatus = Literal["pending", "expanding", "expanded", "failed", "cancelled"]
Id = Annotated[
    str, typer.Argument(metavar="ID", help="An event's id, or a message's number.", show_default=False)
]
Most = Annotated[int, typer.Option("--limit", min=1, max=10000, help="How many at most.")]


@notify.command()
def events(
    directory: Directory = Path(),
    event_type: Annotated[
        str | None, typer.Option("--type", help="Of this type only.", show_default=False)
    ] = None,
    status: Annotated[
        EventStatus | None, typer.Option("--status", help="With this status only.", show_default=False)
    ] = None,
    most: Most = 20,
    as_json: AsJson = False,
) -> None:
    """The newest events: how many people they concern, how many messages were made, what went wrong."""
    with open_database(load_project(directory)) as access:
        rows = engine.list_events(access, event_type=event_type, status=status, most=most)
    if as_json:
        print_json(rows)
    else:
        print_table(rows)


@notify.command()
def show(identity: Id, directory: Directory = Path(), most: Most = 20, as_json: AsJson = False) -> None:
    """How far an event has come and what failed of it; or one message, by its number, and its attempts."""
    with open_database(load_project(directory)) as access:
        if identity.isdecimal():
            found, part = engine.show_message(access, int(identity)), "deliveries"
        else:
            found, part = engine.show_event(access, identity, most=most), "failures"
    if as_json:
        print_json(found)
    else:
        _print_one(found, part)


@notify.command()
def resend(identity: Id, directory: Directory = Path()) -> None:
    """Send what failed of an event once more; or one message, by its number, whatever became of it."""
    with open_database(load_project(directory)) as access:
        if identity.isdecimal():
            typer.echo(f"Sent again as message {engine.resend_message(access, int(identity))}.")
        else:
            typer.echo(f"{engine.resend_event(access, identity)} sent again.")


@notify.command()
def cancel(identity: Id, directory: Directory = Path()) -> None:
    """Stop an event: who has not been told yet is not told. What a provider has in hand goes on."""
    with open_database(load_project(directory)) as access:
        count = engine.cancel_event(access, identity)
    typer.echo(f"Cancelled; {count} messages were stopped.")


@notify.command()
def stats(
    directory: Directory = Path(),
    hours: Annotated[int, typer.Option("--hours", min=1, max=8760, help="How far back.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Messages by provider and channel: what is due, waits, was sent, failed."""
    with open_database(load_project(directory)) as access:
        rows = engine.load_stats(access, hours)
    if as_json:
        print_json(rows)
    else:
        print_table(rows)


def _print_one(found: Mapping[str, Any], part: str) -> None:
    for name, value in found.items():
        if name != part and value is not None:
            typer.echo(f"{name:14}{render_cell(value)}")
    if found[part]:
        typer.echo(f"\n{part}")
        print_table(found[part])
