"""One PostgreSQL cluster per session, one bootstrapped template in it, one clone per test."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from basalt.postgres import DatabaseAccess, PrivateCluster, apply_bootstrap
from tests.memory import memory_folder
from tests.ports import free_port
from tests.server import Server, copy_project, running_server

CloneDatabase = Callable[[str], AbstractContextManager[DatabaseAccess]]

TEMPLATE = "basalt_template"
DEPOT = Path(__file__).parent / "storage" / "project"
SHARED_SERVERS = frozenset(
    {
        "chat",
        "club",
        "depot",
        "gigwork",
        "harbour_server",
        "library",
        "members",
        "notified",
        "orchestra",
        "orders",
        "railway",
        "server",
        "sparky",
    }
)

# A file is one worker's from beginning to end: these take minutes and must not be what everybody waits for at the end.
LONG_FILES = frozenset(
    {
        "test_supervisor.py",
        "test_realtime_gateways.py",
        "test_realtime_crowds.py",
        "test_rest_standalone.py",
        "test_external_database.py",
        "test_storage_crashes.py",
        "test_timing.py",
    }
)


# Measurements, fuzzing and crowds: `make test-long` runs them, so that `make test` ends within a quarter of an hour.
ASKED_FOR = frozenset(
    {
        "test_backup_campaign.py",
        "test_bounded_caches.py",
        "test_cache_page.py",
        "test_cron_crashes.py",
        "test_cron_runs.py",
        "test_deno.py",
        "test_differential.py",
        "test_external.py",
        "test_external_database.py",
        "test_fuzz.py",
        "test_fuzz_over_http.py",
        "test_isolation.py",
        "test_jobs_campaign.py",
        "test_jobs_faults.py",
        "test_net_faults.py",
        "test_net_outages.py",
        "test_net_projects.py",
        "test_notify_faults.py",
        "test_outage.py",
        "test_pgmq_life.py",
        "test_pgmq_readers.py",
        "test_operations_managed.py",
        "test_privacy_campaign.py",
        "test_realtime_clock.py",
        "test_realtime_convergence.py",
        "test_realtime_crowds.py",
        "test_realtime_gateways.py",
        "test_refresh_states.py",
        "test_schema_cache_size.py",
        "test_secrets_project.py",
        "test_storage_crashes.py",
        "test_timing.py",
        "test_upgrade.py",
        "test_upgrade_refusals.py",
        "test_visibility_property.py",
    }
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first. Files whose tests share a running project go to one worker, so that it is started once."""
    items.sort(key=lambda item: item.path.name not in LONG_FILES)
    shared: dict[Path, str] = {}
    for item in items:
        if server := shared_server(item):
            shared.setdefault(item.path, server)
    for item in items:
        if item.path.name in ASKED_FOR:
            item.add_marker("long")
        item.add_marker(pytest.mark.xdist_group(shared.get(item.path, str(item.path))))


def shared_server(item: pytest.Item) -> str | None:
    """Which project that runs for the whole session the test uses, by fixture and where that is."""
    known = getattr(item, "_fixtureinfo", None)
    for name in known.names_closure if known is not None else ():
        for fixture in known.name2fixturedefs.get(name, ())[-1:]:
            if name in SHARED_SERVERS and fixture.scope == "session":
                return f"{name} of {fixture.baseid}"
    return None


@pytest.fixture(scope="session")
def cluster_dir() -> Iterator[Path]:
    """A folder that the server's own user can enter, unlike pytest's, when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="basalt-tests-", dir=memory_folder()))
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


@pytest.fixture(scope="session")
def depot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`tests/storage/project`: the kind of a bucket, the first word of its name, says which policies it has."""
    project = copy_project(DEPOT, tmp_path_factory.mktemp("depot") / "depot")
    with running_server(project) as server:
        yield server


def create_database(connection: psycopg.Connection, name: str, template: str) -> None:
    """A copy of `template`, owned by `postgres` where that role exists already, as the bootstrap leaves
    it. Files are copied, which takes half the time of writing each block to the log."""
    names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
    by_files = sql.SQL(" strategy file_copy" if connection.info.server_version >= 150000 else "")
    connection.execute(sql.SQL("create database {name} template {template}").format(**names) + by_files)
    if connection.execute("select from pg_roles where rolname = 'postgres'").rowcount:
        connection.execute(sql.SQL("alter database {name} owner to postgres").format(**names))
