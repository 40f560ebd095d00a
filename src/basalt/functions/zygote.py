"""A process that has imported everything a function needs and forks itself into function processes.

Importing takes a third of a second, forking a few milliseconds. It has no threads, no event loop and no connections,
so a fork is clean. It ends when the gateway does, and its children with it. What a function forks is its own to look
after; what outlives its function comes to us (we are its reaper) and is ended.
"""

import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
import time
from pathlib import Path

import msgspec
import pydantic  # noqa: F401  once for all that it forks

from basalt.functions.frames import SWEEP, ZYGOTE_REPLY_BYTES
from basalt.functions.runtime import WorkerConfig
from basalt.functions.worker import run_worker

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
MAX_MESSAGE_BYTES = 1024 * 1024
LAST_SWEEPS = 50
LAST_PAUSE_S = 0.02


def main(control_fd: int) -> None:
    """Fork one process per message, a `WorkerConfig` with the socket and the output pipe beside it, and answer with its
    number and a handle to it; or end what dead functions left behind, at the word `sweep`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: the kernel buries them
    _control_process(PR_SET_CHILD_SUBREAPER, 1)
    gc.freeze()  # what is shared after the fork stays shared
    functions: set[int] = set()
    with socket.socket(fileno=control_fd) as control:
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, 2)
            if not message:
                break
            if message == SWEEP:
                end_leftovers(functions)
                continue
            number = os.fork()
            if number == 0:
                control.close()
                _become_worker(message, descriptors)
            functions.add(number)
            for descriptor in descriptors:
                os.close(descriptor)
            _reply(control, number)
    _end_everything()


def end_leftovers(functions: set[int]) -> None:
    """Kill our children that are no functions, and forget functions that are no more."""
    children = _children()
    functions &= children
    for number in children - functions:
        _kill(number)


def _end_everything() -> None:
    """The functions, and then what they leave to us."""
    for _ in range(LAST_SWEEPS):
        if not (children := _children()):
            return
        for number in children:
            _kill(number)
        time.sleep(LAST_PAUSE_S)


def _children() -> set[int]:
    """Empty where the system does not tell; there the functions end by themselves when they lose the gateway."""
    try:
        return {int(number) for number in Path("/proc/thread-self/children").read_text().split()}
    except (OSError, ValueError):
        return set()


def _kill(number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def _reply(control: socket.socket, number: int) -> None:
    handle = os.pidfd_open(number) if sys.platform == "linux" else None
    try:
        socket.send_fds(
            control, [number.to_bytes(ZYGOTE_REPLY_BYTES, "big")], [] if handle is None else [handle]
        )
    finally:
        if handle is not None:
            os.close(handle)


def _become_worker(message: bytes, descriptors: list[int]) -> None:
    """Never returns: the child must not go on with the zygote's loop."""
    code = 1
    try:
        _control_process(PR_SET_PDEATHSIG, signal.SIGKILL)  # when the zygote dies, even in an endless loop
        _control_process(PR_SET_CHILD_SUBREAPER, 1)  # what it forks stays below it while it lives
        os.setsid()  # and can be killed with it
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        connection, output = descriptors
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        run_worker(msgspec.json.decode(message, type=WorkerConfig), socket.socket(fileno=connection))
        code = 0
    finally:
        os._exit(code)


def _control_process(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
