"""Real servers for the engines of the bus, and how each is taken away for a while."""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg import sql

from basalt.bus import Bus, Hub, MemoryBus, build_bus
from basalt.config import BusSettings
from basalt.postgres import DatabaseAccess
from tests.ports import free_port

PASSWORD = "not-a-secret"


class Broker(Protocol):
    def bus(self, project_id: str = "shop") -> Bus: ...


class RemoteBroker(Broker, Protocol):
    async def cut(self) -> None:
        """End all connections and let nobody in."""

    async def restore(self) -> None: ...


class InProcess:
    def __init__(self) -> None:
        self.hubs: dict[str, Hub] = {}

    def bus(self, project_id: str = "shop") -> Bus:
        return MemoryBus(self.hubs.setdefault(project_id, Hub()))


class Postgres:
    """One database of the shared cluster: it is closed to connections, the server goes on."""

    def __init__(self, access: DatabaseAccess, admin: DatabaseAccess) -> None:
        self.access = access
        self.admin = admin

    def bus(self, project_id: str = "shop") -> Bus:
        conninfo = self.access.conninfo("supabase_admin")
        return build_bus(BusSettings(engine="postgres"), project_id=project_id, conninfo=conninfo)

    async def cut(self) -> None:
        self._allow("false")
        self._admin("select pg_terminate_backend(pid) from pg_stat_activity where datname = {}", literal=True)

    async def restore(self) -> None:
        self._allow("true")

    def _allow(self, value: str) -> None:
        self._admin("alter database {} with allow_connections " + value)

    def _admin(self, statement: str, *, literal: bool = False) -> None:
        name = sql.Literal(self.access.dbname) if literal else sql.Identifier(self.access.dbname)
        with psycopg.connect(self.admin.conninfo("supabase_admin"), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(name))  # type: ignore[arg-type]


class Server:
    """A process of the broker's own, with a password, killed and started again on the same port."""

    def __init__(self, engine: str, command: list[str], url: str, port: int) -> None:
        self.engine = engine
        self.command = command
        self.url = url
        self.port = port
        self.start()

    def bus(self, project_id: str = "shop") -> Bus:
        settings = BusSettings(engine=self.engine, url=self.url)  # type: ignore[arg-type]
        return build_bus(settings, project_id=project_id, conninfo="")

    async def cut(self) -> None:
        self.stop()

    async def restore(self) -> None:
        await asyncio.to_thread(self.start)

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(self.port, self.process)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def has_server(engine: str) -> bool:
    return server_path(engine) is not None


def server_path(engine: str) -> str | None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    names = {"redis": ("valkey-server", "redis-server"), "nats": ("nats-server",)}[engine]
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


@contextmanager
def running_server(engine: str, folder: Path) -> Iterator[Server]:
    port = free_port()
    path = server_path(engine)
    assert path is not None
    if engine == "redis":
        options = f"--port {port} --bind 127.0.0.1 --save '' --appendonly no --requirepass {PASSWORD}"
        command = [path, *options.replace("''", "").split(" "), "--dir", str(folder)]
        server = Server(engine, command, f"redis://:{PASSWORD}@127.0.0.1:{port}/0", port)
    else:
        command = [path, *f"-a 127.0.0.1 -p {port} --user bus --pass {PASSWORD}".split()]
        server = Server(engine, command, f"nats://bus:{PASSWORD}@127.0.0.1:{port}", port)
    try:
        yield server
    finally:
        server.stop()


def wait_for_port(port: int, process: subprocess.Popen[bytes], limit_s: float = 20) -> None:
    """Until the server takes connections."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended at once"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nobody listens on {port}")
