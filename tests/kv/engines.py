"""The engines of the cache over real servers, and other processes that use the same cache."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from basalt.config import CacheSettings
from basalt.kv import Cache, open_cache
from basalt.postgres import DatabaseAccess
from tests.bus.brokers import Server

LEASE_S = 1.0
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class CacheServer:
    """Where the values are; `computations` in the database counts what was computed, whatever the engine."""

    settings: Mapping[str, Any]
    access: DatabaseAccess
    redis: Server | None = None

    @property
    def engine(self) -> str:
        return str(self.settings["engine"])

    async def open(self, *, lease_s: float = LEASE_S, **overrides: Any) -> Cache:
        return await open_cache(
            CacheSettings(**{**self.settings, **overrides}),
            conninfo=self.access.conninfo("authenticator"),
            project_id="shop",
            lease_s=lease_s,
        )

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.access.conninfo("supabase_admin"), autocommit=True)

    def connections(self, name: str) -> int:
        with self.connect() as connection:
            row = connection.execute(
                "select count(*) from pg_stat_activity where application_name = %s and datname = %s",
                [name, self.access.dbname],
            ).fetchone()
        assert row is not None
        return int(row[0])

    async def caller(
        self, key: str, *, callers: int = 1, work_s: float = 0.0, answer: Any = 1, rounds: int = 1
    ) -> "Caller":
        """Another process that asks for `key` once it is told to, with so many callers at once."""
        facts = {
            "settings": dict(self.settings),
            "conninfo": self.access.conninfo("authenticator"),
            "admin": self.access.conninfo("supabase_admin"),
            "lease_s": LEASE_S,
            "key": key,
            "callers": callers,
            "work_s": work_s,
            "answer": answer,
            "rounds": rounds,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.kv.caller",
            json.dumps(facts),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        caller = Caller(process)
        assert await caller.hear() == "ready"
        return caller


@dataclass(frozen=True)
class Caller:
    process: asyncio.subprocess.Process

    async def hear(self) -> Any:
        """The next thing that the process says."""
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            return json.loads(await self.process.stdout.readline())

    def start(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        await self.process.wait()

    async def end(self) -> None:
        await self.process.communicate()
