"""`python -I -S exec_bounded.py PARENT DATA_BYTES COMMAND…`: becomes the command, which then dies with its parent and
cannot grow without limit. V8 keeps its heap small by itself, but not the buffers outside of it."""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, data_bytes: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
    if os.getppid() == parent:  # else it is gone already, and nobody would tell us
        os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
