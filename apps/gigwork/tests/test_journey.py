"""The app as its two sides live it, through unmodified supabase-js; and a thousand workers at once."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.contract.conftest import SCRIPTS, run_node
from tests.server import Server, copy_project, running_server

from .conftest import APP
from .crowd import work_a_day

JOURNEY = APP / "tests" / "js" / "journey.mjs"


@pytest.fixture(scope="session")
def gigwork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(copy_project(APP, tmp_path_factory.mktemp("gigwork") / "gigwork")) as server:
        yield server


@pytest.mark.req("G3", "G4", "G5", "G6", "G8", "G9", "G10", "G12")
def test_a_worker_and_an_employer_go_from_the_code_to_the_payout(gigwork: Server) -> None:
    printed = run_node([str(JOURNEY)], gigwork, BASALT_STEPS=(SCRIPTS / "steps.mjs").as_uri())
    results = [json.loads(line) for line in printed.splitlines()]
    assert [result for result in results if not result["ok"]] == []
    assert len(results) == JOURNEY.read_text("utf-8").count("await step('")


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.req("G8", "G14")
def test_a_thousand_workers_clock_in_within_a_minute_and_no_point_is_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    project = copy_project(APP, tmp_path_factory.mktemp("crowd") / "gigwork")
    limits = {"BASALT_RATE_LIMIT_ENABLED": "false", "SUPABASE_DB_SEED_ENABLED": "false"}
    with running_server(project, **limits) as server:
        day = asyncio.run(
            work_a_day(server.url, server.publishable_key, server.jwt_secret, server.database_url)
        )
    assert day.clock_in.took_s < 60
    assert (day.clock_in.statuses, day.clock_out.statuses) == ({200: 1000, 409: 100}, {200: 1100})
    assert day.wrong_balances == 0
