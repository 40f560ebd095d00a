"""One running project for the tests of Storage, and factories for what they need in it."""

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import jwt
import psycopg
import pytest

from tests.server import Server
from tests.storage.engines import ObjectStore, running_object_store
from tests.storage.s3 import s3_client, service_credentials
from tests.storage.tus import wait_for

MakeBucket = Callable[..., str]
NUMBERS = count(1)


@pytest.fixture(scope="session")
def admin(depot: Server) -> Iterator[httpx2.Client]:
    """Storage as the service role; paths are relative to `/storage/v1`."""
    with storage_client(depot, depot.service_role_key) as client:
        yield client


@pytest.fixture(scope="session")
def anon(depot: Server) -> Iterator[httpx2.Client]:
    with storage_client(depot, depot.anon_key) as client:
        yield client


@pytest.fixture(scope="session")
def make_bucket(admin: httpx2.Client) -> MakeBucket:
    """`make_bucket("own", public=True)`: a new bucket of a kind; its id."""

    def make(kind: str = "private", **settings: Any) -> str:
        bucket_id = f"{kind}-{next(NUMBERS)}-{uuid4().hex[:6]}"
        admin.post("/bucket", json={"name": bucket_id, **settings}).raise_for_status()
        return bucket_id

    return make


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    with running_object_store() as store:
        yield store


@pytest.fixture
def rows(depot: Server) -> Iterator[psycopg.Connection]:
    """The database as its owner, to look at rows; commits by itself."""
    with psycopg.connect(depot.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def without_uploads(depot: Server, rows: psycopg.Connection) -> Iterator[None]:
    """What a test leaves half uploaded is taken away after it."""
    yield
    rows.execute("delete from basalt.resumable_uploads")
    wait_for(lambda: is_emptied(depot.project_dir / ".basalt" / "storage" / "uploads"))


def is_emptied(folder: Path) -> bool:
    """Whether nothing was left to take away, or came meanwhile: the server may just be writing its last bytes."""
    for inner in folder.iterdir():
        shutil.rmtree(inner, ignore_errors=True)
    return not any(folder.iterdir())


def storage_client(server: Server, token: str) -> httpx2.Client:
    """A client with this bearer token and no API key."""
    return httpx2.Client(
        base_url=f"{server.url}/storage/v1", headers={"authorization": f"Bearer {token}"}, timeout=60
    )


def token_of(server: Server, user_id: str | None = None, **claims: Any) -> str:
    """An access token of a user who need not have an account; `claims` are added."""
    payload = {
        "role": "authenticated",
        "aud": "authenticated",
        "sub": user_id or str(uuid4()),
        "exp": 2**31,
        **claims,
    }
    return jwt.encode(payload, server.jwt_secret, algorithm="HS256")


def stored_files(server: Server) -> set[str]:
    """The versions whose bytes are on the server's disk."""
    folder = server.project_dir / ".basalt" / "storage" / "objects"
    return {file.name for file in folder.glob("*/*")}


def unfinished_files(server: Server) -> list[Path]:
    """What half-finished writes and uploads have on the server's disk."""
    folder = server.project_dir / ".basalt" / "storage"
    return [file for part in ("incoming", "uploads") for file in (folder / part).rglob("*") if file.is_file()]


@pytest.fixture(scope="session")
def s3(depot: Server) -> Iterator[Any]:
    """boto3 with the project's own pair of S3 keys."""
    with s3_client(depot, service_credentials(depot)) as client:
        yield client
