"""Figures of the process itself: memory, processor time, files, and how late its event loop is."""

import asyncio
import os
import platform
import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from basalt.observe.metrics import Counter, Gauge, before_scrape

PULSE_S = 1.0
LAG_PULSES = 60  # told again and again for so long: by no scrape is it lost to another one
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
STARTED_AT = time.time()

BUILD = Gauge("basalt_build_info", "1, by what is running.", ["version", "python"])
START_TIME = Gauge("basalt_process_start_time_seconds", "When the process began, in Unix seconds.")
RESIDENT = Gauge("basalt_process_resident_bytes", "Memory of the process.")
CPU = Counter("basalt_process_cpu_seconds_total", "Processor time.")
OPEN_FDS = Gauge("basalt_process_open_fds", "Open files and sockets.")
MAX_FDS = Gauge("basalt_process_max_fds", "How many there may be.")
LAG = Gauge("basalt_event_loop_lag_seconds", "The longest that the event loop was late in the last minute.")


class ProcessFigures:
    """To be made in the event loop whose lateness is told; `close` it there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._late_s: deque[float] = deque([0.0], maxlen=LAG_PULSES)
        self._cpu_s = 0.0
        self._due_at = self._loop.time() + PULSE_S
        self._pulse = self._loop.call_at(self._due_at, self._beat)
        self._forget: Callable[[], None] = before_scrape(self._tell)
        BUILD.set(1, version("basalt"), platform.python_version())
        START_TIME.set(STARTED_AT)

    def close(self) -> None:
        self._pulse.cancel()
        self._forget()

    def _beat(self) -> None:
        now = self._loop.time()
        self._late_s.append(now - self._due_at)
        self._due_at = now + PULSE_S
        self._pulse = self._loop.call_at(self._due_at, self._beat)

    def _tell(self) -> None:
        times = os.times()
        cpu_s = times.user + times.system
        CPU.add(cpu_s - self._cpu_s)
        self._cpu_s = cpu_s
        RESIDENT.set(resident_bytes())
        MAX_FDS.set(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        if (count := _count_fds()) is not None:
            OPEN_FDS.set(count)
        LAG.set(max(*self._late_s, self._loop.time() - self._due_at))


def resident_bytes() -> int:
    """Resident memory; where /proc does not tell, the most there ever was."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _count_fds() -> int | None:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder))
        except OSError:
            continue
    return None
