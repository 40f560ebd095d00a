"""A customer's first hour and a photo's way through unmodified supabase-js: `js/journey.mjs`, `js/studio.mjs`."""

from pathlib import Path

import pytest

from basalt.postgres import DatabaseAccess
from tests.journeys import check_types, run_journey
from tests.server import Server

from .conftest import APP
from .paymob import Paymob
from .pictures import a_portrait, to_bytes

JOURNEY, STUDIO = APP / "tests" / "js" / "journey.mjs", APP / "tests" / "js" / "studio.mjs"


@pytest.mark.req("S1", "S2", "S3", "S7", "S9")
def test_a_customer_signs_up_buys_and_sees_it_happen(sparky: Server, paymob: Paymob) -> None:
    run_journey(JOURNEY, sparky, PAYMOB_API_URL=paymob.url)
    assert paymob.problems == []


@pytest.mark.req("S3", "S4", "S5", "S6", "S9")
def test_a_photo_is_made_into_another_and_shown_and_deleted(sparky: Server, tmp_path: Path) -> None:
    portrait = tmp_path / "portrait.png"
    portrait.write_bytes(to_bytes(a_portrait(), "PNG"))
    run_journey(STUDIO, sparky, PORTRAIT=str(portrait))


@pytest.mark.req("S1", "P27")
def test_the_journeys_name_what_the_database_has(access: DatabaseAccess, tmp_path: Path) -> None:
    mistakes = {
        "select('id, display_name, credits, plan_id')": "select('id, name, credits, plan_id')",  # read
        "payments(outcome)": "payments(result)",  # of another table
        "update({ is_enabled: false })": "update({ is_on: false })",  # written
        ".eq('id', order.purchase_id)": ".eq('purchase_id', order.purchase_id)",  # compared
        "rpc('cancel_subscription')": "rpc('stop_subscription')",  # called
    }
    url = access.url("supabase_admin")
    check_types([JOURNEY, STUDIO], APP, url, tmp_path / "typed", mistakes=mistakes)
