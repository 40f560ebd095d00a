"""A process that has imported everything a function needs and forks itself into function processes.

Importing takes a quarter of a second, forking a few milliseconds. It has no threads, no event loop and no
connections, so a fork is clean.
It ends when the gateway does, and its children with it.
"""

import ctypes
import gc
import os
import signal
import socket
import sys

import msgspec

from basalt.functions.worker import WorkerConfig, run_worker

PR_SET_PDEATHSIG = 1
MAX_MESSAGE_BYTES = 1024 * 1024
REPLY_BYTES = 8


def main(control_fd: int) -> None:
    """Fork one process per message: a `WorkerConfig` with the socket and the output pipe beside it; answer
    with its number."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: the kernel buries them
    gc.freeze()  # what is shared after the fork stays shared
    with socket.socket(fileno=control_fd) as control:
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, 2)
            if not message:
                return
            number = os.fork()
            if number == 0:
                control.close()
                _become_worker(message, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            control.sendall(number.to_bytes(REPLY_BYTES, "big"))


def _become_worker(message: bytes, descriptors: list[int]) -> None:
    """Never returns: the child must not go on with the zygote's loop."""
    code = 1
    try:
        _die_with_parent()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        connection, output = descriptors
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        run_worker(msgspec.json.decode(message, type=WorkerConfig), socket.socket(fileno=connection))
        code = 0
    finally:
        os._exit(code)


def _die_with_parent() -> None:
    """Linux kills us when the zygote dies, even in the middle of an endless loop."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
