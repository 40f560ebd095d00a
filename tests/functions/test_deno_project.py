"""A project whose functions are written for Deno, behind the gateway, with unmodified supabase-js as the caller."""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.contract.conftest import run_steps
from tests.functions.deno_processes import copy_functions, needs_deno
from tests.projects import write_project
from tests.server import Server, running_server

pytestmark = [pytest.mark.req("P9"), needs_deno]

CONFIG = """
project_id = "deno"
[auth.email]
enable_confirmations = false
[functions.go]
verify_jwt = false
[functions.renamed]
entrypoint = "functions/api/index.ts"
import_map = "functions/import_map.json"
"""
MIGRATION = """
create table public.notes (
    id bigint generated always as identity primary key,
    owner uuid default auth.uid(),
    body text not null
);
alter table public.notes enable row level security;
create policy "owners read their own" on public.notes for select to authenticated using (owner = (select auth.uid()));
create policy "owners write their own" on public.notes for insert to authenticated
with check (owner = (select auth.uid()));
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("project")
    files = {
        "config.toml": CONFIG,
        "20260101000000_notes.sql": MIGRATION,
        "functions/.env": "OWN_SECRET=abc\n",
    }
    project = write_project(folder, files)
    copy_functions(project / "supabase")
    with running_server(project, SECRET_OF_GATEWAY="not for functions") as running:
        yield running


def wait_for(condition: Callable[[], object], limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def test_supabase_js_finds_the_functions_it_knows(server: Server) -> None:
    run_steps("deno_functions.mjs", server)


def test_a_configured_entrypoint_and_import_map_count(server: Server) -> None:
    with server.client() as client:
        assert client.get("/functions/v1/renamed/x").status_code == 404
        assert client.get("/functions/v1/renamed/x").text == "404 Not Found"  # the router's own words


def test_lines_reach_the_log_with_the_id_of_their_request(server: Server) -> None:
    with server.client() as client:
        client.post("/functions/v1/greet", json={"name": "Grace"}, headers={"x-request-id": "logged-by-deno"})
    wait_for(lambda: "greeting Grace" in server.log.read_text())
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if "greeting Grace" in line]
    assert [(line["function"], line["request_id"]) for line in lines] == [("greet", "logged-by-deno")]


@pytest.mark.parametrize("file", ["_shared/cors.ts", "import_map.json"])
def test_a_changed_file_counts_from_the_next_request(server: Server, file: str) -> None:
    path = server.project_dir / "supabase" / "functions" / file
    original = path.read_text()
    with server.client() as client:
        before = client.post("/functions/v1/misbehave").json()["pid"]
        path.write_text(original + "\n")
        wait_for(lambda: client.post("/functions/v1/misbehave").json()["pid"] != before)
