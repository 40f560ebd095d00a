"""One PostgreSQL cluster per session, one bootstrapped template in it, one clone per test."""

import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from basalt.postgres import DatabaseAccess, PrivateCluster, apply_bootstrap

CloneDatabase = Callable[[str], AbstractContextManager[DatabaseAccess]]

TEMPLATE = "basalt_template"

# A file is one worker's from beginning to end: these take minutes and must not be what everybody waits for at the end.
LONG_FILES = frozenset(
    {"test_supervisor.py", "test_realtime_gateways.py", "test_realtime_crowds.py", "test_timing.py"}
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


@pytest.fixture(scope="session")
def cluster_dir() -> Iterator[Path]:
    """A folder that the server's own user can enter, unlike pytest's, when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="basalt-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(cluster_dir: Path) -> Iterator[PrivateCluster]:
    """A running private cluster without fsync."""
    running = PrivateCluster(cluster_dir / ".basalt", port=free_port(), max_connections=200, fsync=False)
    running.ensure()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def cluster_access(cluster: PrivateCluster) -> DatabaseAccess:
    """The cluster's own database `postgres`, which stays as initdb made it."""
    return cluster.ensure()


@pytest.fixture(scope="session")
def clone_database(cluster_access: DatabaseAccess) -> Iterator[CloneDatabase]:
    """`with clone_database("template_name") as access: …` makes a copy of any idle database and drops it at
    the end."""
    numbers = count(1)
    with psycopg.connect(cluster_access.conninfo("supabase_admin"), autocommit=True) as connection:

        @contextmanager
        def clone(template: str) -> Iterator[DatabaseAccess]:
            name = f"test_{next(numbers)}"
            create_database(connection, name, template)
            yield cluster_access.with_dbname(name)
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

        yield clone


@pytest.fixture(scope="session")
def template(cluster_access: DatabaseAccess) -> DatabaseAccess:
    """A database with the whole contract in it. Nobody stays connected to it, or it could not be copied."""
    with psycopg.connect(cluster_access.conninfo("supabase_admin"), autocommit=True) as connection:
        create_database(connection, TEMPLATE, "template1")
    apply_bootstrap(cluster_access, dbname=TEMPLATE)
    return cluster_access.with_dbname(TEMPLATE)


@pytest.fixture
def database(template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[DatabaseAccess]:
    """A fresh copy of the template, for this test alone."""
    with clone_database(template.dbname) as access:
        yield access


@pytest.fixture
def empty_database(clone_database: CloneDatabase) -> Iterator[DatabaseAccess]:
    """A database without the contract."""
    with clone_database("template1") as access:
        yield access


def create_database(connection: psycopg.Connection, name: str, template: str) -> None:
    """A copy of `template`, owned by `postgres` where that role exists already, as the bootstrap leaves
    it."""
    names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
    connection.execute(sql.SQL("create database {name} template {template}").format(**names))
    if connection.execute("select from pg_roles where rolname = 'postgres'").rowcount:
        connection.execute(sql.SQL("alter database {name} owner to postgres").format(**names))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
