"""The nearest peer, @supabase/lite, served by Node over the same PostgreSQL; left out where Node or npm is
missing.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.server import free_port

PACKAGES = ("@supabase/lite@0.10.0", "@hono/node-server@1", "postgres@3")
LEAST_NODE = 22
INSTALL_LIMIT_S = 300
STOP_LIMIT_S = 10


class PeerMissingError(Exception):
    """Why there is nothing to compare with."""


@contextmanager
def serving_lite(database_url: str, jwt_secret: str) -> Iterator[int]:
    """The port it listens on."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    node = find_node(path)
    with tempfile.TemporaryDirectory(prefix="basalt-bench-lite-") as folder:
        install_packages(folder, path)
        shutil.copy(Path(__file__).with_name("lite.mjs"), folder)
        port = free_port()
        environ = {
            **os.environ,
            "PATH": path,
            "LITE_URL": database_url,
            "LITE_PORT": str(port),
            "LITE_SECRET": jwt_secret,
            "LITE_TELEMETRY": "0",
            "DO_NOT_TRACK": "1",
        }
        log = Path(folder, "lite.log")
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [node, "lite.mjs"],
                cwd=folder,
                env=environ,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # `node` may be a script that starts the program
            )
        try:
            assert process.stdout is not None
            if not any("ready" in line for line in process.stdout):
                raise PeerMissingError(f"it did not start: {log.read_text()[-500:]}")
            yield port
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # it keeps nothing, and would wait for connections
            process.wait(STOP_LIMIT_S)


def find_node(path: str) -> str:
    node = shutil.which("node", path=path)
    if node is None:
        raise PeerMissingError("there is no node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    major = re.match(r"v(\d+)", version)
    if major is None or int(major[1]) < LEAST_NODE:
        raise PeerMissingError(f"node is {version.strip()} and not at least {LEAST_NODE}")
    return node


def install_packages(folder: str, path: str) -> None:
    npm = shutil.which("npm", path=path)
    if npm is None:
        raise PeerMissingError("there is no npm")
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--silent", *PACKAGES],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=INSTALL_LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise PeerMissingError(f"npm could not install it: {done.stderr.strip()[-300:]}")
