"""Processes of one node: a gateway, a second one on the same port, a worker."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from basalt.observe import gather
from basalt.observe.sharing import metrics_dir

pytestmark = pytest.mark.req("P17")

PROCESS = """
import asyncio, sys
from pathlib import Path
from basalt import observe

async def main(name, count, folder):
    observe.configure(process=name)
    observe.Counter("basalt_test_shared_total", "Shared.").add(float(count))
    async with observe.offering(Path(folder)):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def process(name: str, count: int, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", PROCESS, name, str(count), str(folder)]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdin is not None
    try:
        assert started.stdout.readline() == "ready\n"
        yield started
        started.stdin.close()
        assert started.wait(10) in (0, -signal.SIGKILL)
    finally:
        started.kill()
        started.wait()
        started.stdout.close()


async def counts(folder: Path) -> dict[str, float]:
    families = await gather(folder)
    return {
        name: family.samples[0].value
        for name, told in families.items()
        for family in told
        if family.name == "basalt_test_shared_total"
    }


async def test_whoever_is_asked_tells_the_figures_of_all(tmp_path: Path) -> None:
    with process("gateway", 1, tmp_path), process("gateway", 2, tmp_path), process("worker", 3, tmp_path):
        assert await counts(tmp_path) == {"gateway": 1, "gateway-2": 2, "worker": 3}
    assert await counts(tmp_path) == {}


async def test_a_killed_process_is_not_there_and_its_name_is_free(tmp_path: Path) -> None:
    with process("gateway", 1, tmp_path) as first, process("worker", 2, tmp_path):
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert await counts(tmp_path) == {"worker": 2}
        with process("gateway", 5, tmp_path):
            assert await counts(tmp_path) == {"gateway": 5, "worker": 2}


async def test_a_process_that_hangs_costs_a_second_and_its_own_figures(tmp_path: Path) -> None:
    with process("gateway", 1, tmp_path) as first, process("worker", 2, tmp_path):
        os.kill(first.pid, signal.SIGSTOP)
        async with asyncio.timeout(5):
            assert await counts(tmp_path) == {"worker": 2}
        os.kill(first.pid, signal.SIGCONT)


async def test_nobody_else_may_look(tmp_path: Path) -> None:
    with process("gateway", 1, tmp_path):
        folder = metrics_dir(tmp_path)
        assert folder.stat().st_mode & 0o077 == 0
        assert (folder / "gateway.sock").stat().st_mode & 0o077 == 0


async def test_a_path_that_is_too_long_for_a_socket_is_no_hindrance(tmp_path: Path) -> None:
    deep = tmp_path / ("a-project-in-a-deep-folder/" * 5)
    deep.mkdir(parents=True)
    with process("gateway", 4, deep):
        assert await counts(deep) == {"gateway": 4}
