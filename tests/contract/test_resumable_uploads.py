"""Resumable uploads by the unmodified tus-js-client: over connections that break, and while the gateway dies. And what
they cost in memory."""

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest

from tests.contract.conftest import run_node, run_steps
from tests.contract.cutting_proxy import cutting_proxy
from tests.server import Server, copy_project, running_server
from tests.storage.conftest import storage_client, token_of
from tests.storage.tus import append, begin, wait_for

pytestmark = pytest.mark.req("P8", "P6")

HARBOUR = Path(__file__).parent / "projects" / "harbour"
MIB = 1024 * 1024
SEGMENT = 16 * MIB


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A bucket for large things, and a folder in it for each member."""
    with running_server(copy_project(HARBOUR, tmp_path_factory.mktemp("harbour") / "harbour")) as server:
        yield server


@pytest.fixture
def admin(harbour: Server) -> Iterator[httpx2.Client]:
    with storage_client(harbour, harbour.service_role_key) as client:
        yield client


def test_tus_js_client_uploads(harbour: Server) -> None:
    ids = [str(uuid4()), str(uuid4())]
    members = [{"id": user_id, "token": token_of(harbour, user_id)} for user_id in ids]
    with cutting_proxy(port_of(harbour), cut_after=3 * MIB) as proxy:
        run_steps("storage/resumable.mjs", harbour, PROXY_URL=proxy.url, MEMBERS=json.dumps(members))


@pytest.mark.long
def test_an_upload_goes_on_after_the_gateway_was_killed(harbour: Server, admin: httpx2.Client) -> None:
    """And no byte of a part that was stored is sent again."""
    size = 2 * SEGMENT
    with (
        cutting_proxy(port_of(harbour), halt_after=SEGMENT + 4 * MIB) as proxy,
        ThreadPoolExecutor(1) as thread,
    ):
        client = thread.submit(
            run_node, ["storage/restart.mjs"], harbour, PROXY_URL=proxy.url, SIZE=str(size)
        )
        wait_for(lambda: client.done() or SEGMENT in stored_parts(harbour))
        assert not client.done()
        os.kill(gateway_of(harbour), signal.SIGKILL)
        told = json.loads(client.result(timeout=60))
    assert f"HEAD 200 {SEGMENT}" in told["requests"]
    assert told["requests"][-1] == f"PATCH 204 {size}"
    stored = admin.get("/object/authenticated/cargo/restart.bin")
    assert hashlib.sha256(stored.content).hexdigest() == told["sha256"]
    assert stored_parts(harbour) == []


@pytest.mark.long
def test_a_large_upload_does_not_grow_the_gateway(harbour: Server, admin: httpx2.Client) -> None:
    size = 200 * MIB
    block = os.urandom(MIB)
    gateway = gateway_of(harbour)
    url = begin(admin, "cargo", "large.bin", size)
    before = memory_kb(gateway, "VmRSS")
    Path(f"/proc/{gateway}/clear_refs").write_text("5")  # the peak counts from now on
    sent = append(admin, url, 0, (block for _ in range(size // MIB)))
    assert sent.headers["tus-complete"] == "1"
    assert memory_kb(gateway, "VmHWM") - before < 60 * 1024
    assert admin.get("/object/info/cargo/large.bin").json()["size"] == size
    admin.delete("/object/cargo/large.bin").raise_for_status()


def port_of(server: Server) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port


def stored_parts(server: Server) -> list[int]:
    """The sizes of all parts of uploads that are under way."""
    folder = server.project_dir / ".basalt" / "storage" / "uploads"
    return [part.stat().st_size for part in folder.rglob("*") if part.is_file()]


def gateway_of(server: Server) -> int:
    """The process that answers."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
            is_gateway = b"basalt.gateway" in (place / "cmdline").read_bytes()
        except OSError:  # gone since
            continue
        if parent == server.process.pid and is_gateway:
            return int(place.name)
    raise AssertionError("there is no gateway")


def memory_kb(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0])
