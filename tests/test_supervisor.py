"""`basalt start`, `status` and `stop`, as processes: what a user and a crash can do to them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import psycopg
import pytest

from tests.projects import write_project
from tests.server import Server, launch, open_to_postgres, project_environ, running_server, start_server

CONFIG = """
project_id = "small"
[api]
schemas = ["public"]
"""
MIGRATION = """
create table public.notes (id bigint generated always as identity primary key, body text not null);
grant select, insert on public.notes to anon;
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project with one migration and one seed."""
    files = {
        "config.toml": CONFIG,
        "20260101000000_notes.sql": MIGRATION,
        "seed.sql": "insert into public.notes (body) values ('seeded');",
    }
    return open_to_postgres(write_project(tmp_path / "project", files))


@pytest.fixture
def environ() -> dict[str, str]:
    return project_environ()


def basalt(*words: str, environ: dict[str, str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from basalt.cli import main; main()", *words],
        capture_output=True,
        text=True,
        env=environ,
        cwd=cwd,
        timeout=60,
        check=False,
    )


def wait_for(condition: Callable[[], bool], limit_s: float = 30) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def bodies(server: Server) -> list[str]:
    with server.client() as client:
        answer = client.get("/rest/v1/notes", params={"select": "body", "order": "id"})
        assert answer.status_code == 200, answer.text
        return [row["body"] for row in answer.json()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def children(pid: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            yield int(path.parent.name)


@pytest.mark.long
@pytest.mark.req("P1")
def test_a_second_start_keeps_the_data_and_does_not_seed_again(project: Path) -> None:
    with running_server(project) as server, server.client() as client:
        assert bodies(server) == ["seeded"]
        assert client.post("/rest/v1/notes", json={"body": "mine"}).status_code == 201
    with running_server(project) as server:
        assert bodies(server) == ["seeded", "mine"]


@pytest.mark.req("P1")
def test_ctrl_c_stops_everything_and_exits_cleanly(project: Path) -> None:
    server = start_server(project)
    family = list(children(server.process.pid))
    assert family
    assert server.stop() == 0
    wait_for(lambda: not any(map(is_alive, family)))
    assert "running" in basalt("status", str(project), "--json", environ=dict(server.environ)).stdout


@pytest.mark.long
@pytest.mark.req("P1")
def test_status_keys_and_stop_speak_of_the_running_project(project: Path) -> None:
    server = start_server(project)
    environ = dict(server.environ)
    status = basalt("status", str(project), "--json", environ=environ)
    assert (status.returncode, json.loads(status.stdout)["api_url"]) == (0, server.url)
    keys = json.loads(basalt("keys", str(project), "--json", environ=environ).stdout)
    assert keys["anon_key"] == server.anon_key
    assert basalt("stop", str(project), environ=environ).returncode == 0
    assert server.process.wait(10) == 0
    server.close_output()
    assert basalt("status", str(project), environ=environ).returncode == 3
    assert basalt("stop", str(project), environ=environ).returncode == 3


@pytest.mark.long
@pytest.mark.req("P1")
def test_a_killed_supervisor_blocks_no_start(project: Path) -> None:
    first = start_server(project)
    with first.client() as client:
        client.post("/rest/v1/notes", json={"body": "before the kill"})
    first.process.kill()
    first.process.wait(10)
    first.close_output()
    ports = {name: first.environ[name] for name in ("SUPABASE_API_PORT", "SUPABASE_DB_PORT")}
    with running_server(project, **ports) as second:
        assert bodies(second) == ["seeded", "before the kill"]


@pytest.mark.long
@pytest.mark.req("P1")
def test_a_project_runs_once(project: Path) -> None:
    with running_server(project) as server:
        again = basalt("start", str(project), environ=project_environ())
        assert again.returncode == 1
        assert "already running" in again.stderr
        assert server.url in again.stderr


@pytest.mark.req("P1")
def test_a_busy_port_is_named(project: Path, environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        refused = basalt("start", str(project), environ={**environ, "SUPABASE_API_PORT": str(port)})
    assert refused.returncode == 1
    assert f"Port {port} on 127.0.0.1 is in use by another program" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.req("P1")
def test_a_busy_database_port_is_named(project: Path, environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        refused = basalt("start", str(project), environ={**environ, "SUPABASE_DB_PORT": str(port)})
    assert refused.returncode == 1
    assert str(port) in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.req("P1")
def test_a_folder_without_a_project_is_refused_with_a_hint(tmp_path: Path, environ: dict[str, str]) -> None:
    refused = basalt("start", str(tmp_path), environ=environ)
    assert refused.returncode == 1
    assert "holds no supabase/ folder" in refused.stderr
    assert "basalt init" in refused.stderr


@pytest.mark.req("P1")
def test_a_bad_setting_stops_the_start(project: Path, environ: dict[str, str]) -> None:
    (project / "supabase" / "config.toml").write_text("[api]\nport = 'x'")
    refused = basalt("start", str(project), environ={**environ, "SUPABASE_API_PORT": "x"})
    assert refused.returncode == 1
    assert "config.toml: api.port: expected a whole number" in refused.stderr


BAD_KEY = """
[notify]
enabled = true
environment = "production"
[notify.providers.fcm]
service_account = "no key"
"""


@pytest.mark.req("P1", "P13")
def test_a_providers_key_that_is_none_stops_the_start(project: Path, environ: dict[str, str]) -> None:
    """At once and in one line, not by a worker that dies again and again."""
    (project / "supabase" / "config.toml").write_text(BAD_KEY)
    refused = basalt("start", str(project), environ=environ)
    assert refused.returncode == 1
    assert "config.toml: notify.providers.fcm.service_account: this is no service account" in refused.stderr
    assert not {"Traceback", "PostgreSQL"} & set(refused.stderr.split())


@pytest.mark.req("P1")
def test_a_broken_migration_stops_the_start_and_leaves_nothing_running(
    project: Path, environ: dict[str, str]
) -> None:
    broken = project / "supabase" / "migrations" / "20260102000000_broken.sql"
    broken.write_text("create table public.half (id int);\nselect nonsense;\n")
    refused = basalt("start", str(project), environ=environ)
    assert refused.returncode == 1
    assert "20260102000000_broken.sql" in refused.stderr
    assert "nonsense" in refused.stderr
    with (
        pytest.raises(OSError, match="refused"),
        socket.create_connection(("127.0.0.1", int(environ["SUPABASE_DB_PORT"]))),
    ):
        pass
    broken.unlink()
    with running_server(project) as server:
        assert bodies(server) == ["seeded"]


@pytest.mark.long
@pytest.mark.req("P1")
def test_a_killed_gateway_is_started_again(project: Path) -> None:
    with running_server(project) as server:
        gateway = next(pid for pid in children(server.process.pid) if "basalt.gateway" in _command(pid))
        os.kill(gateway, signal.SIGKILL)
        wait_for(lambda: _answers(server))
        assert bodies(server) == ["seeded"]


@pytest.mark.req("P1")
def test_a_killed_postgresql_is_started_again_and_the_gateway_comes_back(project: Path) -> None:
    with running_server(project) as server:
        with psycopg.connect(server.database_url) as connection:
            row = connection.execute("select pg_backend_pid()").fetchone()
            assert row is not None
            postmaster = int(Path(f"/proc/{row[0]}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(postmaster, signal.SIGKILL)
        wait_for(lambda: _answers(server))
        assert bodies(server) == ["seeded"]


@pytest.mark.req("P1")
def test_a_stop_during_the_start_is_obeyed(project: Path, environ: dict[str, str]) -> None:
    process = launch(project, environ, project / "server.log")
    wait_for(lambda: "Starting PostgreSQL" in (project / "server.log").read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert process.stdout is not None
    process.stdout.close()
    assert basalt("status", str(project), environ=environ).returncode == 3


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def _answers(server: Server) -> bool:
    try:
        with server.client() as client:
            return client.get("/rest/v1/notes").status_code == 200
    except httpx2.HTTPError:
        return False


@pytest.mark.req("P1")
def test_a_new_project_starts_and_its_first_function_answers(tmp_path: Path, environ: dict[str, str]) -> None:
    folder = tmp_path / "mine"
    assert basalt("init", str(folder), environ=environ).returncode == 0
    again = basalt("init", str(folder), environ=environ)
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    with running_server(folder) as server, server.client() as client:
        answer = client.post("/functions/v1/hello", json={"name": "Ada"})
        assert (answer.status_code, "Ada" in answer.text) == (200, True), answer.text


@pytest.mark.long
@pytest.mark.req("P19")
def test_migrations_from_the_command_line(project: Path, environ: dict[str, str]) -> None:
    made = basalt("db", "new", "add likes", str(project), environ=environ)
    path = Path(made.stdout.strip().replace("\n", ""))
    assert path.name.endswith("_add_likes.sql")
    path.write_text("alter table public.notes add column likes int not null default 0;")
    assert "2 applied." in basalt("db", "up", str(project), environ=environ).stdout
    states = json.loads(basalt("db", "list", str(project), "--json", environ=environ).stdout)
    assert [row["state"] for row in states] == ["applied", "applied"]
    count = ["db", "psql", str(project), "--", "-Atc", "select count(*), sum(likes) from public.notes"]
    assert basalt(*count, environ=environ).stdout.strip() == "1|0"
    insert = ["db", "psql", str(project), "--", "-c", "insert into public.notes (body) values ('gone')"]
    assert basalt(*insert, environ=environ).returncode == 0
    here = basalt(
        "db", "psql", "--", "-Atc", "select count(*) from public.notes", environ=environ, cwd=project
    )
    assert here.stdout == "2\n"
    whoever = [*count[:3], "--superuser", "--", "-Atc", "alter system set log_min_messages = 'notice'"]
    assert basalt(*whoever, environ=environ).stdout.strip() == "ALTER SYSTEM"
    assert basalt("db", "reset", str(project), "--yes", environ=environ).returncode == 0
    assert basalt(*count, environ=environ).stdout.strip() == "1|0"
