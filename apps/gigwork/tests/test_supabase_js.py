"""Journeys by unmodified supabase-js in Node."""

import pytest

from tests.contract.conftest import run_steps

from .providers import Running


@pytest.mark.req("G3", "G4", "G5", "G6", "G8", "G10", "G13", "G14", "P5", "P6", "P9")
def test_a_worker_and_an_employer_live_through_a_day(gigwork: Running) -> None:
    run_steps("journey.mjs", gigwork.server)


@pytest.mark.req("G1", "G3", "G4", "G7", "G8", "G9", "G10", "G13", "P5", "P6", "P9")
def test_visitors_employers_and_operators_have_their_sides(gigwork: Running) -> None:
    run_steps("operator.mjs", gigwork.server)


@pytest.mark.req("G12", "P7")
def test_gigs_and_notifications_arrive_as_they_happen(gigwork: Running) -> None:
    run_steps("gigs_as_they_happen.mjs", gigwork.server)
