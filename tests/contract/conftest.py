"""The projects that the official clients talk to, each started once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import Server, copy_project, running_server

GIGWORK = Path(__file__).parent.parent.parent / "apps" / "gigwork"
ORCHESTRA = Path(__file__).parent / "projects" / "orchestra"


@pytest.fixture(scope="session")
def gigwork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The gig-work app, for all journeys."""
    project = copy_project(GIGWORK, tmp_path_factory.mktemp("gigwork") / "gigwork")
    with running_server(project) as server:
        yield server


@pytest.fixture(scope="session")
def orchestra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A database with every shape that a query can meet, for the query builders."""
    project = copy_project(ORCHESTRA, tmp_path_factory.mktemp("orchestra") / "orchestra")
    with running_server(project) as server:
        yield server
