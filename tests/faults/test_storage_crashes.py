"""Gateways are killed, PostgreSQL restarts, metadata is put back: what was acknowledged is there whole, nothing half is
seen, and nothing is left over."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import httpx2
import psycopg
import pytest

from basalt.config import Settings, load_settings
from basalt.postgres import DatabaseAccess, load_access
from basalt.storage import check_project, collect_project
from tests.faults.test_outage import postmaster_of
from tests.ports import free_port
from tests.projects import write_project
from tests.server import Server, running_server
from tests.storage.conftest import stored_files, unfinished_files

pytestmark = pytest.mark.req("P8")

CONFIG = """
project_id = "crashes"
[auth]
enabled = false
[realtime]
enabled = false
[studio]
enabled = false
[storage.buckets.seeded]
public = true
objects_path = "./files"
"""
BUCKET = "crashes"
WORKERS = 5
LEAST_KILLS, MOST_KILLS, LIMIT_S = 6, 16, 7.0
SIZES = (0, 10, 30_000, 400_000, 3_000_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    files = {"config.toml": CONFIG, "files/dir/hello.txt": "hello"}
    with running_server(write_project(tmp_path_factory.mktemp("crashes") / "project", files)) as running:
        yield running


@pytest.fixture(scope="module")
def settings(server: Server) -> Settings:
    return load_settings(server.project_dir, server.environ)


@pytest.fixture(scope="module")
def access(settings: Settings) -> DatabaseAccess:
    return load_access(settings.state_dir)


NURSERY = """
import os, signal, sys
from pathlib import Path
from basalt.gateway.serve import serve

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while port := sys.stdin.readline().strip():
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ["SUPABASE_API_PORT"] = port
        serve(Path(sys.argv[1]))
        os._exit(0)
    print(child, flush=True)
"""


class Nursery:
    """A process that has a gateway's modules in memory and makes gateways of itself: what would take seconds takes
    a moment, and there can be more kills."""

    def __init__(self, server: Server) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY, str(server.project_dir)],
            env=dict(server.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def make(self, port: int) -> int:
        """The process of a new gateway."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{port}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Gateway:
    """A further gateway of a running project, which nobody starts again but we."""

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._port = free_port()
        self._pid: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self, client: httpx2.AsyncClient) -> None:
        """Until it answers; it ends at once while PostgreSQL is away."""
        for _ in range(600):
            if not self._is_alive():
                self._pid = self._nursery.make(self._port)
            try:
                if (await client.get(f"{self.url}/health", timeout=2)).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.05)
        raise AssertionError("the gateway did not start")

    def kill(self) -> None:
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._pid = None

    def _is_alive(self) -> bool:
        return self._pid is not None and Path(f"/proc/{self._pid}").exists()


class Worker:
    """A client with names of its own. `known` has what was acknowledged, None after a delete; `open` what a request
    without an answer may have left under a name, which is not touched again."""

    def __init__(self, number: int, gateways: list[Gateway], client: httpx2.AsyncClient) -> None:
        self._number = number
        self._gateways = gateways
        self._client = client
        self._numbers = count()
        self.known: dict[str, bytes | None] = {}
        self.open: dict[str, set[bytes | None]] = {}
        self.acknowledged = 0

    async def work(self, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            step = random.choice([self.upload, self.upload, self.replace, self.copy, self.move, self.delete])
            await step()

    async def upload(self) -> None:
        await self._store(self._new_name())

    async def replace(self) -> None:
        if name := self._some():
            await self._store(name)

    async def copy(self) -> None:
        if source := self._some():
            name, body = self._new_name(), {"bucketId": BUCKET, "sourceKey": source}
            data = self.known[source]
            is_done = await self._send("POST", "/object/copy", json={**body, "destinationKey": name})
            self._note(name, data, is_done=is_done)

    async def move(self) -> None:
        if source := self._some():
            name, body = self._new_name(), {"bucketId": BUCKET, "sourceKey": source}
            data = self.known[source]
            is_done = await self._send("POST", "/object/move", json={**body, "destinationKey": name})
            self._note(name, data, is_done=is_done)
            self._note(source, None, is_done=is_done)

    async def delete(self) -> None:
        if name := self._some():
            is_done = await self._send("DELETE", f"/object/{BUCKET}/{name}")
            self._note(name, None, is_done=is_done)

    async def _store(self, name: str) -> None:
        data = os.urandom(random.choice(SIZES))
        is_done = await self._send("POST", f"/object/{BUCKET}/{name}", content=pieces(data))
        self._note(name, data, is_done=is_done)

    def _note(self, name: str, data: bytes | None, *, is_done: bool) -> None:
        if is_done:
            self.known[name] = data
            self.acknowledged += 1
        else:
            self.open[name] = {self.known.pop(name, None), data}

    def _some(self) -> str | None:
        names = [name for name, data in self.known.items() if data is not None]
        return random.choice(names) if names else None

    def _new_name(self) -> str:
        return f"worker{self._number}/{next(self._numbers)}.bin"

    async def _send(self, method: str, path: str, **request: object) -> bool:
        """Whether it was acknowledged; a refusal is not expected."""
        url = f"{random.choice(self._gateways).url}/storage/v1{path}"
        try:
            answer = await self._client.request(method, url, headers={"x-upsert": "true"}, **request)
        except httpx2.TransportError:
            await asyncio.sleep(0.02)
            return False
        assert answer.status_code in (200, 500, 503), answer.text
        return answer.status_code == 200


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 100_000):
        yield data[at : at + 100_000]
        await asyncio.sleep(0.001)  # the kill is to come in the middle of some


async def test_what_was_acknowledged_outlives_every_crash(
    server: Server, settings: Settings, access: DatabaseAccess
) -> None:
    nursery = Nursery(server)
    gateways = [Gateway(nursery) for _ in range(3)]
    storage = httpx2.AsyncClient(
        base_url=f"{server.url}/storage/v1",
        headers={"authorization": f"Bearer {server.service_role_key}"},
        timeout=30,
    )
    async with storage:
        (await storage.post("/bucket", json={"name": BUCKET})).raise_for_status()
        workers = [Worker(number, gateways, storage) for number in range(WORKERS)]
        is_over = asyncio.Event()
        try:
            await asyncio.gather(*(gateway.start(storage) for gateway in gateways))
            async with asyncio.TaskGroup() as group:
                for worker in workers:
                    group.create_task(worker.work(is_over))
                await disturb(server, gateways, storage)
                is_over.set()
        finally:
            for gateway in gateways:
                gateway.kill()
            nursery.close()
        assert sum(worker.acknowledged for worker in workers) > 30
        assert any(worker.open for worker in workers)
        for worker in workers:
            for name, data in worker.known.items():
                assert await read(storage, name) == data, name
            for name, possible in worker.open.items():
                assert await read(storage, name) in possible, name

    report = await asyncio.to_thread(check_project, settings, access, checksums=True)
    assert {found.kind for found in report.differences} <= {"row missing"}
    await asyncio.to_thread(collect_project, settings, access, age_s=0)
    assert stored_files(server) == versions(server)
    assert unfinished_files(server) == []
    assert (await asyncio.to_thread(check_project, settings, access)).differences == []


async def disturb(server: Server, gateways: list[Gateway], client: httpx2.AsyncClient) -> None:
    """Kill gateways in turn, at random moments, and once PostgreSQL; fewer times on a slow machine."""
    began, kills = time.monotonic(), 0
    while kills < LEAST_KILLS or (kills < MOST_KILLS and time.monotonic() - began < LIMIT_S):
        await asyncio.sleep(random.uniform(0.05, 0.4))
        gateway = gateways[kills % len(gateways)]
        gateway.kill()
        kills += 1
        if kills == LEAST_KILLS // 2:
            os.kill(postmaster_of(server), signal.SIGKILL)
        await gateway.start(client)


async def read(storage: httpx2.AsyncClient, name: str) -> bytes | None:
    answer = await storage.get(f"/object/authenticated/{BUCKET}/{name}")
    if answer.json().get("code") == "NoSuchKey" if answer.status_code == 400 else False:
        assert answer.json()["message"] == "Object not found"
        return None
    assert answer.status_code == 200, answer.text
    return answer.content


def versions(server: Server) -> set[str]:
    with psycopg.connect(server.database_url) as connection:
        return {version for (version,) in connection.execute("select version from storage.objects")}


COLUMNS = "id, bucket_id, name, version, metadata, user_metadata, created_at, updated_at"


def test_an_older_copy_of_the_rows_fits_the_bytes(
    server: Server, settings: Settings, access: DatabaseAccess
) -> None:
    with (
        httpx2.Client(
            base_url=f"{server.url}/storage/v1",
            headers={"authorization": f"Bearer {server.service_role_key}"},
        ) as storage,
        psycopg.connect(server.database_url, autocommit=True) as connection,
    ):
        storage.post("/bucket", json={"name": "restored"}).raise_for_status()
        old = {f"{number}.txt": os.urandom(1000 + number) for number in range(12)}
        for name, data in old.items():
            storage.post(f"/object/restored/{name}", content=data).raise_for_status()
        dump = [bytes(block) for block in dumped(connection)]

        for name in ("0.txt", "1.txt"):
            storage.put(f"/object/restored/{name}", content=b"new").raise_for_status()
        storage.request(
            "DELETE", "/object/restored", json={"prefixes": ["2.txt", "3.txt"]}
        ).raise_for_status()
        for source, target in (("4.txt", "moved.txt"), ("5.txt", "0.txt")):
            move = {"bucketId": "restored", "sourceKey": source, "destinationKey": target}
            storage.delete(f"/object/restored/{target}")
            storage.post("/object/move", json=move).raise_for_status()
        collect_project(settings, access)  # within the time for which deleted bytes are kept

        with connection.transaction():
            connection.execute("select set_config('storage.allow_delete_query', 'true', true)")
            connection.execute("delete from storage.objects where bucket_id = 'restored'")
            with connection.cursor().copy(f"copy storage.objects ({COLUMNS}) from stdin") as copy:
                for block in dump:
                    copy.write(block)
        for _ in range(2):
            for name, data in old.items():
                assert storage.get(f"/object/restored/{name}").content == data
            collect_project(settings, access, age_s=0)
        assert stored_files(server) == versions(server)


def dumped(connection: psycopg.Connection) -> Iterator[bytes]:
    query = f"copy (select {COLUMNS} from storage.objects where bucket_id = 'restored') to stdout"
    with connection.cursor().copy(query) as copy:
        yield from copy


def test_files_of_the_project_are_there_from_the_first_start(server: Server) -> None:
    got = httpx2.get(f"{server.url}/storage/v1/object/public/seeded/dir/hello.txt")
    assert (got.content, got.headers["content-type"]) == (b"hello", "text/plain")
