"""What is done to a running project from outside: its processes killed, its connections ended, its publication and its
tables altered."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import LiteralString

import httpx2
import psycopg

from basalt.postgres import load_access
from tests.server import Server

BACK_LIMIT_S = 40.0


def admin_conninfo(server: Server) -> str:
    return load_access(server.project_dir / ".basalt").conninfo("supabase_admin")


def gateway_of(server: Server) -> int:
    """The process that the supervisor has started last."""
    return max(pid for pid in children_of(server.process.pid) if b"basalt.gateway" in command_of(pid))


def children_of(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


async def execute(server: Server, *statements: LiteralString) -> None:
    """One transaction of somebody who may do anything."""
    async with await psycopg.AsyncConnection.connect(admin_conninfo(server)) as connection:
        for statement in statements:
            await connection.execute(statement)


async def kill_gateway(server: Server) -> None:
    """And wait until the supervisor has started another one."""
    killed = gateway_of(server)
    os.kill(killed, signal.SIGKILL)
    await until(lambda: any(pid != killed for pid in gateways_of(server)))
    await wait_ready(server)


def gateways_of(server: Server) -> list[int]:
    return [pid for pid in children_of(server.process.pid) if b"basalt.gateway" in command_of(pid)]


async def kill_postgres(server: Server) -> None:
    pid_files = list((server.project_dir / ".basalt").glob("**/postmaster.pid"))
    pid = int(pid_files[0].read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    await wait_database(server)


async def end_walsenders(server: Server) -> None:
    """Their temporary slots go with them."""
    await execute(
        server, "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'walsender'"
    )


async def end_lanes(server: Server) -> None:
    await execute(
        server,
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'basalt/realtime' and backend_type = 'client backend'",
    )


async def wait_ready(server: Server) -> None:
    async with httpx2.AsyncClient(base_url=server.url) as client, asyncio.timeout(BACK_LIMIT_S):
        while True:
            try:
                if (await client.get("/ready")).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.05)


async def wait_database(server: Server) -> None:
    async with asyncio.timeout(BACK_LIMIT_S):
        while True:
            try:
                await execute(server, "select 1")
            except psycopg.OperationalError:
                await asyncio.sleep(0.05)
            else:
                return


async def until(is_so: Callable[[], bool], limit_s: float = BACK_LIMIT_S) -> None:
    async with asyncio.timeout(limit_s):
        while not is_so():
            await asyncio.sleep(0.02)
