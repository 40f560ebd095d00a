"""The clock is set while sockets are open: the server runs with a `time.time` that a file moves."""

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from websockets.asyncio.client import ClientConnection

from tests.faults.realtime_client import is_system, join, open_socket, receive_until, send
from tests.projects import write_project
from tests.server import Server, running_server

MOVED_CLOCK = """
import os
import time

real = time.time


def moved() -> float:
    with open(os.environ["MOVED_CLOCK"]) as file:
        return real() + float(file.read() or 0)


time.time = moved
"""


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """A file with the seconds that the server's clock is ahead."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    return clock


@pytest.fixture
def server(tmp_path: Path, clock: Path) -> Iterator[Server]:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(MOVED_CLOCK)
    path = os.pathsep.join(filter(None, (str(tmp_path / "site"), os.environ.get("PYTHONPATH"))))
    project = write_project(tmp_path / "project", {"config.toml": 'project_id = "clock"\n'})
    with running_server(project, PYTHONPATH=path, MOVED_CLOCK=str(clock)) as running:
        yield running


def set_clock(clock: Path, ahead_s: int) -> None:
    clock.with_suffix(".new").write_text(str(ahead_s))
    clock.with_suffix(".new").replace(clock)


def a_token(server: Server, life_s: int) -> str:
    claims = {"role": "authenticated", "sub": str(uuid.uuid4()), "exp": int(time.time()) + life_s}
    return jwt.encode(claims, server.jwt_secret, "HS256")


async def check_served(socket: ClientConnection, ref: str) -> None:
    """The channel that joined with `ref` still sends and receives."""
    await send(socket, ref, "broadcast", {"type": "broadcast", "event": ref}, "9", ref)
    await receive_until(socket, lambda message: message[3] == "broadcast" and message[2] == f"realtime:{ref}")


@pytest.mark.req("P7")
async def test_a_clock_that_is_set_ends_what_has_expired_and_nothing_else(
    server: Server, clock: Path
) -> None:
    loud = {"broadcast": {"self": True}}
    async with await open_socket(server.url, server.anon_key) as socket:
        await join(socket, "day", loud, a_token(server, 86_400), ref="day")
        await join(socket, "hour", loud, a_token(server, 3600), ref="hour")
        set_clock(clock, 7200)
        told, _ = await receive_until(socket, is_system("Token has expired"), 15)
        assert (told[2], told[4]["status"]) == ("realtime:hour", "error")
        await receive_until(
            socket, lambda message: message[3] == "phx_close" and message[2] == "realtime:hour"
        )
        await check_served(socket, "day")

        set_clock(clock, 0)
        reply = await join(socket, "short", loud, a_token(server, 3), ref="short")
        assert reply[4]["status"] == "ok"
        set_clock(clock, -7200)  # by this clock the token lives for two hours
        told, _ = await receive_until(socket, is_system("Token has expired"), 15)
        assert told[2] == "realtime:short"
        await check_served(socket, "day")
        await send(socket, "x", "nothing", {}, "10", "10")
        await receive_until(
            socket, lambda message: message[4].get("response") == {"reason": "unmatched topic"}
        )
