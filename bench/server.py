"""The benchmark's project, copied to a temporary folder and served by `basalt start` in its own process."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

PROJECT = Path(__file__).parent / "project"
STOP_LIMIT_S = 30


@dataclass(frozen=True)
class Server:
    project_dir: Path
    host: str
    port: int
    anon_key: str
    jwt_secret: str
    gateway_pid: int
    supervisor_pid: int


@contextmanager
def serving_bench_project(
    project: Path = PROJECT, variables: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Server]:
    """Durable commits, no rate limit, logs of warnings only: what an operator would measure. `variables` set more."""
    folder = Path(tempfile.mkdtemp(prefix="basalt-bench-"))
    folder.chmod(0o711)
    project_dir = Path(shutil.copytree(project, folder / "bench"))
    environ = {
        **os.environ,
        "SUPABASE_API_PORT": str(free_port()),
        "SUPABASE_DB_PORT": str(free_port()),
        "BASALT_LOG_LEVEL": "warning",
        "NO_COLOR": "1",
        **variables,
    }
    log = folder / "basalt.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from basalt.cli import main; main()",
                "start",
                str(project_dir),
                "--json",
            ],
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env=environ,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"basalt start failed: {log.read_text()}")
        facts = json.loads(line)
        yield Server(
            project_dir=project_dir,
            host="127.0.0.1",
            port=int(environ["SUPABASE_API_PORT"]),
            anon_key=facts["anon_key"],
            jwt_secret=facts["jwt_secret"],
            gateway_pid=find_gateway(process.pid),
            supervisor_pid=process.pid,
        )
        if warnings := "\n".join(line for line in log.read_text().splitlines() if not line.endswith("…")):
            print(f"The server's log:\n{warnings[:2000]}", file=sys.stderr)
    finally:
        process.terminate()
        process.wait(STOP_LIMIT_S)
        shutil.rmtree(folder, ignore_errors=True)


def find_gateway(supervisor_pid: int) -> int:
    """The process id of the gateway that the supervisor has started."""
    return find_process(supervisor_pid, "basalt.gateway")


def find_process(supervisor_pid: int, module: str) -> int:
    """The process id of what the supervisor has started."""
    listed = subprocess.run(["ps", "-axo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        pid, parent, command = line.split(None, 2)
        if int(parent) == supervisor_pid and module in command:
            return int(pid)
    raise RuntimeError(f"the supervisor has no {module}")


def resident_bytes(pid: int) -> int:
    """What the process holds in memory."""
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(shown.stdout) * 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
