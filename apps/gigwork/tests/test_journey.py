"""The app as its two sides live it, through unmodified supabase-js; and a thousand workers at once."""

import asyncio
from pathlib import Path

import pytest

from basalt.postgres import DatabaseAccess
from tests.journeys import check_types, run_journey
from tests.server import copy_project, running_server

from .conftest import APP
from .crowd import work_a_day
from .providers import Running

JOURNEY = APP / "tests" / "js" / "journey.mjs"


@pytest.mark.req("G3", "G4", "G5", "G6", "G8", "G9", "G10", "G12")
def test_a_worker_and_an_employer_go_from_the_code_to_the_payout(gigwork: Running) -> None:
    run_journey(JOURNEY, gigwork.server)


@pytest.mark.req("G1", "P27")
def test_the_journey_names_what_the_database_has(access: DatabaseAccess, tmp_path: Path) -> None:
    mistakes = {
        "select('amount, currency')": "select('amount, money')",  # read
        "category: 'food_service'": "kind: 'food_service'",  # written
        ".eq('timesheet_id'": ".eq('sheet_no'",  # compared
        "gig.status": "gig.state",  # heard
        "rpc('publish_gig'": "rpc('post_gig'",  # called
    }
    check_types([JOURNEY], APP, access.url("supabase_admin"), tmp_path / "typed", mistakes=mistakes)


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
