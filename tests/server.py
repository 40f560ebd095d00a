"""A real server for tests: `basalt start` in its own process, over a copy of a project, on free ports."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.ports import free_port
from tests.prepared import copy_prepared_state

START_LIMIT_S = 60
STOP_LIMIT_S = 30


@dataclass
class Server:
    """A running project. `keys` and the URLs are what `basalt start --json` printed."""

    project_dir: Path
    process: subprocess.Popen[str]
    url: str
    database_url: str
    publishable_key: str
    secret_key: str
    anon_key: str
    service_role_key: str
    jwt_secret: str
    environ: Mapping[str, str]
    log: Path

    def client(self, key: str | None = None, token: str | None = None) -> httpx2.Client:
        """An HTTP client that sends `key` (by default the publishable one) and a user's token."""
        headers = {"apikey": key or self.publishable_key}
        if token:
            headers["authorization"] = f"Bearer {token}"
        # Reading the system's certificates takes 30 ms of processor time, and the server speaks plain HTTP.
        return httpx2.Client(base_url=self.url, headers=headers, timeout=30, verify=False)

    def inbox(self, to: str | None = None) -> list[dict[str, Any]]:
        """What the project sent, newest first."""
        with self.client(self.secret_key) as client:
            answer = client.get("/studio/inbox.json", params={"to": to} if to else {})
            answer.raise_for_status()
            messages: list[dict[str, Any]] = answer.json()["messages"]
            return messages

    def stop(self) -> int:
        """Stop as Ctrl-C does; the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(STOP_LIMIT_S)
        self.close_output()
        return code

    def close_output(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()


def copy_project(source: Path, target: Path) -> Path:
    """A project without its state."""
    shutil.copytree(
        source, target, ignore=shutil.ignore_patterns(".basalt", "__pycache__", "tests", "node_modules")
    )
    return target


def project_environ(**overrides: str) -> dict[str, str]:
    """The environment of a server under test: free ports, JSON logs, and no worker unless `BASALT_WORKER_MODE` asks for
    one, because most tests have no use for its process."""
    return {
        **os.environ,
        "SUPABASE_API_PORT": str(free_port()),
        "SUPABASE_DB_PORT": str(free_port()),
        "BASALT_LOG_FORMAT": "json",
        "BASALT_WORKER_MODE": "off",
        "NO_COLOR": "1",
        **overrides,
    }


def open_to_postgres(folder: Path) -> Path:
    """Let other users pass through pytest's private folders: when the tests run as root, PostgreSQL runs as somebody
    else, and a project that it cannot reach would leave its database below /var/lib."""
    for part in (folder, *folder.parents):
        if part.is_relative_to(tempfile.gettempdir()) and part != Path(tempfile.gettempdir()):
            part.chmod(part.stat().st_mode | 0o011)
    return folder


def launch(project_dir: Path, environ: Mapping[str, str], log: Path) -> subprocess.Popen[str]:
    """`basalt start --json`, not waited for; its standard error goes to `log`."""
    open_to_postgres(project_dir)
    with log.open("ab") as errors:
        return subprocess.Popen(
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
            env=dict(environ),
            text=True,
        )


def start_server(project_dir: Path, **overrides: str) -> Server:
    """A started server; raises with its log when it does not come up. A new project begins with a copy of a prepared
    cluster, unless it has a database of its own."""
    environ = project_environ(**overrides)
    if not ({"DATABASE_URL", "BASALT_STATE_DIR"} & set(environ) or (project_dir / ".basalt").exists()):
        copy_prepared_state(project_dir / ".basalt")
    log = project_dir / "server.log"
    process = launch(project_dir, environ, log)
    assert process.stdout is not None
    started = time.monotonic()
    line = process.stdout.readline()
    if not line:
        process.wait(START_LIMIT_S)
        raise AssertionError(f"the server did not start:\n{log.read_text()}")
    assert time.monotonic() - started < START_LIMIT_S
    facts = json.loads(line)
    return Server(
        project_dir=project_dir,
        process=process,
        url=facts["api_url"],
        environ=environ,
        log=log,
        **{
            name: facts[name]
            for name in (
                "database_url",
                "publishable_key",
                "secret_key",
                "anon_key",
                "service_role_key",
                "jwt_secret",
            )
        },
    )


@contextmanager
def running_server(project_dir: Path, **overrides: str) -> Iterator[Server]:
    server = start_server(project_dir, **overrides)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
        server.close_output()
