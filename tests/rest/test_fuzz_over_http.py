"""Hostile requests to a running server: it answers each in time and in the contract's shape, and serves on.
`python -m tools.fuzz_rest --url …` sends more."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from tests.projects import write_project
from tests.rest.differential_project import FILES
from tests.rest.wire import Attacker
from tests.server import Server, running_server

pytestmark = pytest.mark.req("P5")

REQUESTS = 1500


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(write_project(tmp_path_factory.mktemp("target"), FILES)) as server:
        yield server


def test_hostile_requests_are_answered_in_time_and_in_the_shape_of_the_contract(target: Server) -> None:
    report = Attacker(f"{target.url}/rest/v1", target.publishable_key, Random(20260101)).attack(REQUESTS)
    assert report.wrong == []
    assert report.tally["2xx"] > REQUESTS / 10
    assert report.tally["PGRST100"] > REQUESTS / 50
    assert "request_crashed" not in target.log.read_text()
    with target.client() as client:
        assert client.get("/rest/v1/directors?select=id&limit=1").status_code == 200


def test_others_are_answered_while_a_large_body_is_read(target: Server) -> None:
    csv = b"name\n" + b"a\n" * 500_000
    headers = {"content-type": "text/csv"}
    with target.client() as sender, target.client() as other, ThreadPoolExecutor() as threads:
        sent = threads.submit(sender.post, "/rest/v1/directors", content=csv, headers=headers)
        answered = 0
        while not sent.done():
            assert other.get("/rest/v1/directors?select=id&limit=1").status_code == 200
            answered += 1
        assert sent.result().json()["code"] == "23502", "the column `id` was left out"
    assert answered > 20
