"""Inside a function's process: loads `index.py`, serves calls side by side in one event loop, answers over the
socket."""

import asyncio
import logging
import os
import resource
import socket
import sys

import uvloop

from basalt.functions.calls import Calls
from basalt.functions.frames import Channel, Ready, ToWorker, to_worker
from basalt.functions.loading import Loaded, describe_boot_error, load_function
from basalt.functions.output import Tagged
from basalt.functions.runtime import Runtime, WorkerConfig
from basalt.waiting import wait_within

__all__ = ["WorkerConfig", "run_worker"]

# Shared libraries and thread stacks count as address space too.
ADDRESS_SPACE_SLACK_BYTES = 1024 * 1024 * 1024


def run_worker(config: WorkerConfig, connection: socket.socket) -> None:
    """Serve until the gateway closes the socket."""
    os.environ.clear()
    os.environ.update(config.env)
    limit = config.memory_mb * 1024 * 1024 + ADDRESS_SPACE_SLACK_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.chdir(config.functions_dir)
    sys.path[:0] = [config.functions_dir, *([config.packages] if config.packages else [])]
    sys.dont_write_bytecode = True
    sys.stdout, sys.stderr = Tagged(sys.__stdout__), Tagged(sys.__stderr__)  # type: ignore[arg-type]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr, force=True)
    os.register_at_fork(after_in_child=lambda: _part_with(connection.fileno()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, connection))


async def _serve(config: WorkerConfig, connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    born_as = os.getpid()
    problem: str | None = None
    loaded = Loaded(None, None)
    try:
        loaded = load_function(config)
    except BaseException as error:
        problem = describe_boot_error(error, config)
    lost = asyncio.Event()
    runtime = Runtime(config)
    calls = Calls(loaded, runtime)
    channel: Channel[ToWorker] = Channel(to_worker, calls.take, lost.set)
    calls.connect(channel)
    transport, _ = await loop.create_connection(lambda: channel, sock=connection)
    if problem is None:
        await runtime.open()
    channel.send(Ready(problem))
    if problem is None:
        await lost.wait()
        if os.getpid() != born_as:
            os._exit(1)  # a fork that came back here: what is open belongs to its parent
        await calls.stop()
        await runtime.close()
    transport.close()
    await wait_within(lost, 1)  # what was written leaves first


def _part_with(connection_fd: int) -> None:
    """A child that a function forks must not speak in its name: it keeps the number, with nobody at the other end."""
    if connection_fd >= 0:
        ours, theirs = socket.socketpair()
        theirs.close()
        os.dup2(ours.fileno(), connection_fd)
        ours.close()
