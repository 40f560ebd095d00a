"""A running project whose writes come with idempotency keys."""

from collections.abc import Iterator

import pytest

from tests.gateway.keyed_project import FILES
from tests.projects import write_project
from tests.server import Server, running_server


@pytest.fixture(scope="session")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(write_project(tmp_path_factory.mktemp("orders"), FILES)) as server:
        yield server
