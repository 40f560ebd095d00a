"""`basalt keys` speaks of the project that runs, whatever this shell's environment says of its ports."""

import fcntl
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from basalt.cli.main import app
from basalt.project import create_project

pytestmark = [pytest.mark.req("P1")]


def test_keys_come_with_the_address_of_the_running_project(tmp_path: Path) -> None:
    create_project(tmp_path, "shop")
    assert _keys(tmp_path)["api_url"] == "http://127.0.0.1:54321"
    running = {
        "pid": 1,
        "api_url": "http://127.0.0.1:9",
        "studio_url": None,
        "database_url": "",
        "started_at": 0.0,
    }
    (tmp_path / ".basalt/run").mkdir(parents=True, exist_ok=True)
    with (tmp_path / ".basalt/run/supervisor.json").open("w+") as state:
        json.dump(running, state)
        state.flush()
        fcntl.flock(state, fcntl.LOCK_EX)

        keys = _keys(tmp_path)

    assert keys["api_url"] == "http://127.0.0.1:9"
    assert keys["s3_url"] == "http://127.0.0.1:9/storage/v1/s3"


def _keys(project: Path) -> dict[str, str]:
    result = CliRunner().invoke(app, ["keys", str(project), "--json"], env={"SUPABASE_API_PORT": None})
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))
