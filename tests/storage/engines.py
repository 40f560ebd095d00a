"""The back ends under test, each with a look behind its interface."""

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx2
import psycopg
from psycopg.types.json import Jsonb

from basalt.config import ObjectStoreSettings
from basalt.postgres import DatabaseAccess, LanePool
from basalt.storage.database import StorageDatabase
from basalt.storage.names import new_version
from basalt.storage.stores import DiskStore, Store
from tests.ports import free_port
from tests.storage.contents import pieces

BUCKET = "basalt-tests"


@dataclass(frozen=True)
class Engine:
    """An open store; `names` tells everything that it keeps, hidden pieces of uploads included."""

    name: str
    store: Store
    names: Callable[[], set[str]]


@dataclass(frozen=True)
class ObjectStore:
    """An S3 of somebody else's making (moto) in a process of its own, with an empty bucket in it."""

    endpoint: str

    def settings(self, prefix: str = "", **given: Any) -> ObjectStoreSettings:
        values = {
            "endpoint": self.endpoint,
            "bucket": BUCKET,
            "access_key_id": "key",
            "secret_access_key": "secret",
        }
        return ObjectStoreSettings(prefix=prefix, **{**values, **given})

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )

    def names(self, prefix: str) -> set[str]:
        client = self.client()
        try:
            kept = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
            hidden = client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads", [])
            return {entry["Key"].removeprefix(prefix) for entry in [*kept, *hidden]}
        finally:
            client.close()


@contextmanager
def running_object_store() -> Iterator[ObjectStore]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        store = ObjectStore(f"http://127.0.0.1:{port}")
        wait_for(store.endpoint)
        client = store.client()
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield store
    finally:
        process.kill()
        process.wait()


def wait_for(url: str) -> None:
    for _ in range(600):
        try:
            httpx2.get(url)
            return
        except httpx2.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"nothing answers at {url}")


@dataclass(frozen=True)
class Depository:
    """Tables and a store without a server; `add` makes an object as an upload does."""

    db: StorageDatabase
    store: Store
    rows: psycopg.Connection[tuple[Any, ...]]
    folder: Path

    async def add(self, name: str, data: bytes = b"hello") -> str:
        """The version of a new or replaced object in bucket `box`."""
        content = await self.store.put(new_version(), pieces(data), limit=1 << 30)
        metadata = {"size": len(data), "eTag": f'"{content.etag}"', "mimetype": "text/plain"}
        self.rows.execute(
            "insert into storage.objects (bucket_id, name, version, metadata) values ('box', %s, %s, %s) "
            "on conflict (bucket_id, name) do update set version = excluded.version, metadata = excluded.metadata",
            [name, content.version, Jsonb(metadata)],
        )
        return content.version

    def remove(self, name: str) -> None:
        with self.rows.transaction():
            self.rows.execute("select set_config('storage.allow_delete_query', 'true', true)")
            self.rows.execute("delete from storage.objects where name = %s", [name])

    def garbage(self) -> set[str]:
        return {version for (version,) in self.rows.execute("select version from basalt.storage_garbage")}

    def kept(self) -> set[str]:
        """The versions whose bytes are there."""
        return {file.name for file in (self.folder / "objects").glob("*/*")}


@asynccontextmanager
async def open_depository(access: DatabaseAccess, folder: Path) -> AsyncIterator[Depository]:
    lanes = LanePool(access.conninfo("supabase_storage_admin"), size=1, name="storage")
    store = DiskStore(folder)
    await store.open()
    await lanes.open()
    try:
        with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as rows:
            rows.execute("insert into storage.buckets (id, name) values ('box', 'box')")
            yield Depository(StorageDatabase(lanes), store, rows, folder)
    finally:
        await lanes.close()
        await store.close()
