"""The gig-work app, started once for all journeys."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import Server, copy_project, running_server

GIGWORK = Path(__file__).parent.parent.parent / "apps" / "gigwork"


@pytest.fixture(scope="session")
def gigwork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    project = copy_project(GIGWORK, tmp_path_factory.mktemp("gigwork") / "gigwork")
    with running_server(project) as server:
        yield server
