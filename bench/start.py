"""How long a project takes to its first answer, and what it holds in memory when nothing happens:
`python -m bench.start [DIR] [--runs 3]`.

Each run copies the project, starts it for the first time and for the second, asks REST, Auth and Storage once, and
adds up the memory of Basalt's own processes (PostgreSQL's are not counted): resident (RSS, where a page that three
processes share counts three times), and in brackets proportional (PSS, where it counts once). Linux only: both are read
from /proc/PID/smaps_rollup.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.server import free_port

PROJECT = Path(__file__).parent.parent / "apps" / "gigwork"
FIRST_GOAL_S, SECOND_GOAL_S, MEMORY_GOAL_MIB = 10.0, 3.0, 250.0
PATHS = ("/rest/v1/", "/auth/v1/settings", "/storage/v1/bucket")
SETTLE_S = 3.0
STOP_LIMIT_S = 60


@dataclass(frozen=True)
class Start:
    """`ready_s` until it says so, `answers_ms` of the first request to each of PATHS, `memory` (RSS) and `shared_out`
    (PSS) in MiB by process."""

    ready_s: float
    cpu_s: float
    answers_ms: tuple[float, ...]
    memory: Mapping[str, float]
    shared_out: Mapping[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.start",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path, nargs="?", default=PROJECT, help="the project (apps/gigwork)")
    parser.add_argument("--runs", type=int, default=3, help="first and second starts each (3)")
    arguments = parser.parse_args()
    firsts, seconds = [], []
    print(
        "| start | ready, s | CPU, s | first answers, ms | memory, MiB | together |\n|---|--:|--:|--:|---|--:|"
    )
    for _ in range(arguments.runs):
        with copied(arguments.directory) as project:
            for name, starts in (("first", firsts), ("second", seconds)):
                starts.append(measure(project))
                print(render(name, starts[-1]), flush=True)
    print(render_verdict(firsts, seconds))


def measure(project: Path) -> Start:
    environ = {
        **os.environ,
        "SUPABASE_API_PORT": str(free_port()),
        "SUPABASE_DB_PORT": str(free_port()),
        "BASALT_LOG_LEVEL": "warning",
        "NO_COLOR": "1",
    }
    command = [sys.executable, "-c", "from basalt.cli import main; main()", "start", str(project), "--json"]
    before, started = os.times(), time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environ,
        text=True,
    )
    assert process.stdout is not None
    try:
        facts = json.loads(process.stdout.readline())
        ready_s = time.monotonic() - started
        answers_ms = tuple(first_answer_ms(facts["api_url"] + path, facts["secret_key"]) for path in PATHS)
        time.sleep(SETTLE_S)
        processes = own_processes(process.pid)
        memory = {name: memory_mib(pid, "Rss") for name, pid in processes.items()}
        shared_out = {name: memory_mib(pid, "Pss") for name, pid in processes.items()}
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_LIMIT_S)
        process.stdout.close()
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Start(ready_s, cpu_s, answers_ms, memory, shared_out)


@contextmanager
def copied(directory: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="basalt-bench-"))
    folder.chmod(0o711)
    try:
        yield Path(shutil.copytree(directory, folder / "project", ignore=shutil.ignore_patterns(".basalt")))
    finally:
        shutil.rmtree(folder)


def first_answer_ms(url: str, key: str) -> float:
    started = time.monotonic()
    with urllib.request.urlopen(urllib.request.Request(url, headers={"apikey": key}), timeout=30) as answer:
        answer.read()
    return (time.monotonic() - started) * 1000


def own_processes(supervisor: int) -> dict[str, int]:
    """By name; a child is started as `python -m basalt.NAME`."""
    found = {"supervisor": supervisor}
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    for pid in map(int, children):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        found |= {word.removeprefix("basalt."): pid for word in words if word.startswith("basalt.")}
    return found


def memory_mib(pid: int, kind: str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) / 1024


def render(name: str, start: Start) -> str:
    answers = ", ".join(f"{value:.0f}" for value in start.answers_ms)
    memory = ", ".join(f"{one} {start.memory[one]:.0f} ({start.shared_out[one]:.0f})" for one in start.memory)
    together = f"{sum(start.memory.values()):.0f} ({sum(start.shared_out.values()):.0f})"
    return f"| {name} | {start.ready_s:.2f} | {start.cpu_s:.1f} | {answers} | {memory} | {together} |"


def render_verdict(firsts: list[Start], seconds: list[Start]) -> str:
    """Medians against the goals."""
    figures = (
        ("first start", statistics.median(start.ready_s for start in firsts), FIRST_GOAL_S, "s"),
        ("second start", statistics.median(start.ready_s for start in seconds), SECOND_GOAL_S, "s"),
        (
            "memory",
            statistics.median(sum(start.memory.values()) for start in seconds),
            MEMORY_GOAL_MIB,
            "MiB",
        ),
    )
    return "; ".join(
        f"{name} {value:.1f} {unit}, goal < {goal:g}: {'met' if value < goal else 'MISSED'}"
        for name, value, goal, unit in figures
    )


if __name__ == "__main__":
    main()
