"""The project running on its throw-away database, for tests that are clients: `basalt start` in a process of its
own."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from basalt.errors import BasaltError
from basalt.project.throwaway import Throwaway, free_port

START_LIMIT_S: Final = 90.0
STOP_LIMIT_S: Final = 30.0
TOLD_CHARS: Final = 2000
# What `basalt start --json` says, under the names that tests find it by.
FACTS: Final = {
    "SUPABASE_URL": "api_url",
    "SUPABASE_PUBLISHABLE_KEY": "publishable_key",
    "SUPABASE_SECRET_KEY": "secret_key",
    "SUPABASE_ANON_KEY": "anon_key",
    "SUPABASE_SERVICE_ROLE_KEY": "service_role_key",
    "JWT_SECRET": "jwt_secret",
    "DB_URL": "database_url",
}


@contextmanager
def running_project(made: Throwaway) -> Iterator[Mapping[str, str]]:
    """The environment for tests: where it answers, and its keys. Raises BasaltError where it does not start."""
    made.cluster.stop()  # the project starts it again, as its own
    log = made.folder / "server.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from basalt.cli import main; main()",
                "start",
                str(made.settings.project_dir),
                "--json",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environ(made),
            start_new_session=True,  # Ctrl-C is for us; we stop it
        )
    try:
        facts = _await_facts(process)
        if facts is None:
            told = log.read_text("utf-8", "replace").strip()[-TOLD_CHARS:]
            raise BasaltError("test_server_failed", 500, f"The project did not start for its tests:\n{told}")
        yield {name: str(facts[fact]) for name, fact in FACTS.items()}
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _environ(made: Throwaway) -> dict[str, str]:
    seed = "true" if made.settings.db.seed.enabled else "false"
    return {
        **{name: value for name, value in os.environ.items() if name != "SUPABASE_DB_URL"},
        "DATABASE_URL": "",  # also that of a file `.env`
        "BASALT_STATE_DIR": str(made.settings.state_dir),
        "SUPABASE_API_PORT": str(free_port()),
        "SUPABASE_DB_PORT": str(made.settings.db.port),
        "SUPABASE_DB_SEED_ENABLED": seed,
    }


def _await_facts(process: "subprocess.Popen[bytes]") -> dict[str, object] | None:
    """Its first line, once all is ready; None where it ends before, or takes too long."""
    assert process.stdout is not None
    deadline = time.monotonic() + START_LIMIT_S
    while (left_s := deadline - time.monotonic()) > 0:
        readable, _, _ = select.select([process.stdout], [], [], left_s)
        if readable:
            line = process.stdout.readline()
            return dict(json.loads(line)) if line else None
    return None
