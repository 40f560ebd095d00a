"""Where a project's work is done: the worker's process, its port, and the gateway that works too."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from tests.functions.deno_processes import needs_deno
from tests.ports import free_port
from tests.projects import write_project
from tests.server import Server, running_server
from tests.test_supervisor import children

FILES = {
    "config.toml": """
project_id = "worker"
[functions.open]
verify_jwt = false
[functions.measure]
queue = "kept"
[basalt.queues.kept]
keep_finished = "1h"
""",
    "20260101000000_steps.sql": "create table public.steps (name text, attempt integer, at timestamptz default now());",
    "functions/open/index.py": """
async def handler(request, context):
    return {"path": request.path}
""",
    "functions/measure/index.ts": """
Deno.serve(async (request) => {
  const { words } = await request.json();
  if (words.length === 0) return new Response("nothing to measure", { status: 422 });
  return Response.json({ count: words.length, attempt: request.headers.get("x-job-attempt") });
});
""",
    "functions/ask/index.py": """
async def handler(request, context):
    wanted = request.json()
    if "cancel" in wanted:
        return await context.queue.cancel(wanted["cancel"])
    if "job" in wanted:
        return await context.queue.status(wanted["job"])
    return await context.queue.enqueue("measure", wanted, delay_s=wanted.get("delay_s", 0))
""",
    "functions/note/index.py": """
async def perform(job, context):
    await context.service_db.execute(
        "insert into steps (name, attempt) values (%(name)s, %(attempt)s)",
        {"name": job.payload["name"], "attempt": job.attempt},
    )
""",
}


def wait_for(condition: Callable[[], Any], limit_s: float = 30) -> Any:
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
    return found


def steps(server: Server, name: str) -> list[int]:
    with psycopg.connect(server.database_url) as connection:
        rows = connection.execute("select attempt from steps where name = %s", [name]).fetchall()
        return [attempt for (attempt,) in rows]


def enqueue(server: Server, name: str) -> None:
    with psycopg.connect(server.database_url) as connection:
        connection.execute("select basalt.enqueue('note', jsonb_build_object('name', %s::text))", [name])


def worker_pid(server: Server) -> int | None:
    for pid in children(server.process.pid):
        if b"basalt.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return None


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("worker") / "worker", FILES)


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[Server]:
    with running_server(
        project, BASALT_WORKER_MODE="process", BASALT_WORKER_PORT=str(free_port())
    ) as running:
        yield running


@pytest.mark.req("M2")
def test_the_worker_serves_functions_on_its_own_port(server: Server) -> None:
    url = f"http://127.0.0.1:{server.environ['BASALT_WORKER_PORT']}"
    wait_for(lambda: worker_pid(server))
    for path, seen in (("/open/sms/send-otp", "/open/sms/send-otp"), ("/functions/v1/open", "/open")):
        answer = wait_for(lambda path=path: try_post(url + path))
        assert answer.json() == {"path": seen}
    assert httpx2.post(f"{url}/note").status_code == 401
    assert httpx2.get(f"{url}/rest/v1/steps").status_code == 404


def try_post(url: str) -> httpx2.Response | None:
    try:
        return httpx2.post(url)
    except httpx2.ConnectError:
        return None


@pytest.mark.req("P10")
def test_a_killed_worker_is_started_again_and_performs_what_waited(server: Server) -> None:
    enqueue(server, "before")
    wait_for(lambda: steps(server, "before"))
    killed = wait_for(lambda: worker_pid(server))
    os.kill(killed, signal.SIGKILL)
    enqueue(server, "meanwhile")
    wait_for(lambda: worker_pid(server) not in (None, killed))
    assert wait_for(lambda: steps(server, "meanwhile")) == [1]


@pytest.mark.req("P9")
@pytest.mark.req("P10")
@needs_deno
def test_a_function_written_for_deno_performs_jobs(server: Server) -> None:
    with server.client(server.secret_key) as client:

        def ask(**wanted: Any) -> Any:
            return client.post("/functions/v1/ask", json=wanted).raise_for_status().json()

        job = ask(words=["a", "b"])
        done = wait_for(lambda: (found := ask(job=job))["state"] == "finished" and found)
        assert done["result"] == {"count": 2, "attempt": "1"}
        failing = ask(words=[])
        tried = wait_for(lambda: (found := ask(job=failing)).get("last_error") and found)
        assert "measure answered 422: nothing to measure" in tried["last_error"]
        later = ask(words=["c"], delay_s=600)
        assert ask(job=later)["state"] == "scheduled"
        assert ask(cancel=later) is True
        assert ask(job=later)["state"] == "cancelled"


@pytest.mark.req("M2")
def test_the_gateway_can_do_the_work_too(project: Path, server: Server) -> None:
    server.stop()
    with running_server(project, BASALT_WORKER_MODE="gateway") as running:
        assert len(list(children(running.process.pid))) - 1 <= 1  # beside PostgreSQL
        enqueue(running, "together")
        assert wait_for(lambda: steps(running, "together")) == [1]
        with running.client() as client:
            assert client.get("/rest/v1/steps", params={"name": "eq.together"}).json()[0]["attempt"] == 1
