"""`basalt functions`."""

import json
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from basalt.cli.main import app
from tests.functions.calling import call, wait_for
from tests.projects import write_project
from tests.server import Server, project_environ

pytestmark = pytest.mark.req("P9")


def basalt(*arguments: str, environ: Mapping[str, str]) -> Result:
    return CliRunner().invoke(app, ["functions", *arguments], env=environ)


def test_a_new_function_loads_and_overwrites_nothing(tmp_path: Path) -> None:
    project = str(write_project(tmp_path, {"functions/bad/index.py": "import nothing_there\n"}))
    environ = project_environ()
    made = basalt("new", "greet-all", project, environ=environ)
    assert (made.exit_code, made.stdout.strip()) == (0, f"{project}/supabase/functions/greet-all/index.py")
    assert "exists already" in str(basalt("new", "greet-all", project, environ=environ).exception)
    assert "is no name" in str(basalt("new", "../greet", project, environ=environ).exception)
    listed = basalt("list", project, "--json", environ=environ)
    assert listed.exit_code == 1
    bad, greet = json.loads(listed.stdout)
    assert bad["problem"] == "bad/index.py, line 1: ModuleNotFoundError: No module named 'nothing_there'"
    assert (greet["name"], greet["kind"], greet["verify_jwt"], greet["problem"]) == (
        "greet-all", "python", True, None,
    )  # fmt: skip


def test_a_function_is_called_as_whoever(server: Server) -> None:
    project, user = str(server.project_dir), str(uuid.uuid4())
    for caller, role in (("anon", "anon"), ("service", "service_role"), (user, "authenticated")):
        called = basalt("invoke", "echo", project, "--as", caller, "-d", "{}", environ=server.environ)
        assert (called.exit_code, json.loads(called.stdout)["role"]) == (0, role)
        assert called.stderr.startswith("200 application/json")
    arguments = ("-X", "put", "-H", "x-own: yes", "-d", f"@{server.project_dir}/supabase/config.toml")
    mirrored = json.loads(
        basalt("invoke", "answers/mirror", project, *arguments, environ=server.environ).stdout
    )
    assert (mirrored["method"], mirrored["headers"]) == ("PUT", {"x-own": "yes"})
    assert "[functions.open]" in mirrored["text"]
    failed = basalt("invoke", "crash", project, environ=server.environ)
    assert (failed.exit_code, json.loads(failed.stdout)["error"]["code"]) == (1, "SERVER_ERROR")


def test_a_function_of_a_project_that_does_not_run_cannot_be_called(tmp_path: Path) -> None:
    project = str(write_project(tmp_path, {}))
    assert basalt("invoke", "echo", project, environ=project_environ()).exit_code == 3


def test_the_log_tells_calls_lines_and_exceptions(server: Server) -> None:
    project, request_id = str(server.project_dir), f"log-{uuid.uuid4().hex}"
    headers = {"x-request-id": request_id}
    call(server, "hello", json={"name": "Ada", "age": 36}, headers=headers)
    call(server, "crash", headers=headers)

    def lines(name: str) -> list[str]:
        shown = basalt(
            "logs", name, project, "--request", request_id, "--limit", "10", environ=server.environ
        )
        return shown.stdout.splitlines()

    wait_for(lambda: len(lines("hello")) == 3)
    shown = "\n".join(lines("hello"))
    assert f"{request_id} greeting Ada" in shown
    assert f"{request_id} INFO greeted Ada" in shown
    assert f"{request_id} POST /hello → 201 in " in shown
    wait_for(lambda: any("hunter2" in line for line in lines("crash")))
    as_json = basalt("logs", "hello", project, "--json", "--limit", "1", environ=server.environ)
    assert set(json.loads(as_json.stdout)) >= {"time", "kind", "request_id"}


def test_the_log_is_followed(server: Server) -> None:
    command = [sys.executable, "-c", "from basalt.cli import main; main()", "functions", "logs", "hello"]
    command += [str(server.project_dir), "--follow", "--limit", "1"]
    call(server, "hello", json={"name": "Bob", "age": 36})
    wait_for(lambda: (server.project_dir / ".basalt/logs/functions/hello.jsonl").exists())
    with subprocess.Popen(command, env=dict(server.environ), stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        following.stdout.readline()
        call(server, "hello", json={"name": "Zoe", "age": 36})
        assert any("greeting Zoe" in following.stdout.readline() for _ in range(8))
        following.kill()
