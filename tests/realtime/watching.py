"""Subscribing to changes of tables, and waiting for them, as the tests of Realtime do it."""

from typing import Any

from tests.realtime.conftest import Harbour
from tests.realtime.phoenix import Phoenix, Vsn

MISSED = "Changes were missed: load the data anew"


def binding(table: str, room: str | None = None, **more: Any) -> dict[str, Any]:
    """All changes of a table, or of its rows of one room."""
    found = {"event": "*", "schema": "public", "table": table, **more}
    return found if room is None else {**found, "filter": f"room=eq.{room}"}


async def watch(
    harbour: Harbour, name: str, *bindings: dict[str, Any], vsn: Vsn = "2.0.0", token: str | None = None
) -> Phoenix:
    phx = await harbour.socket(vsn)
    await phx.subscribe(name, *bindings, token=token)
    return phx


async def only(phx: Phoenix) -> dict[str, Any]:
    """The data of the next message."""
    (data,) = await phx.changes(1)
    return dict(data)


def mark(harbour: Harbour, name: str) -> None:
    """A change that every subscriber to `markers` of this room gets: by then what came before it has come."""
    harbour.sql.execute("insert into markers (room) values (%s)", (name,))


async def until_marked(phx: Phoenix) -> list[dict[str, Any]]:
    """The data of what came before the marker."""
    found: list[dict[str, Any]] = []
    while (data := await only(phx))["table"] != "markers":
        found.append(data)
    return found
