"""Each engine with its real server; where a server is not installed its tests are skipped."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from basalt.postgres import DatabaseAccess
from tests.bus.brokers import Broker, InProcess, Postgres, RemoteBroker, has_server, running_server
from tests.conftest import CloneDatabase

REMOTE = ("postgres", "redis", "nats")


@pytest.fixture(params=["memory", *REMOTE])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    if request.param == "memory":
        yield InProcess()
    else:
        yield from a_server(request, tmp_path)


@pytest.fixture(params=REMOTE)
def remote_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RemoteBroker]:
    yield from a_server(request, tmp_path)


def a_server(request: pytest.FixtureRequest, folder: Path) -> Iterator[RemoteBroker]:
    if request.param == "postgres":
        clone: CloneDatabase = request.getfixturevalue("clone_database")
        admin: DatabaseAccess = request.getfixturevalue("cluster_access")
        with clone("template1") as access:
            yield Postgres(access, admin)
    elif not has_server(request.param):
        pytest.skip(f"{request.param}-server is not installed (tools/install-test-brokers)")
    else:
        with ExitStack() as stack:
            yield stack.enter_context(running_server(request.param, folder))
