"""The query builder of unmodified supabase-js over every method of its documentation, against the orchestra's database.

Expected results are those that PostgREST documents, not those that Basalt happens to give."""

import pytest

from tests.contract.conftest import run_steps
from tests.server import Server


@pytest.mark.req("P5")
def test_columns_types_and_counts_are_read(orchestra: Server) -> None:
    run_steps("query_builder/reads.mjs", orchestra)


@pytest.mark.req("P5")
def test_related_rows_are_embedded(orchestra: Server) -> None:
    run_steps("query_builder/embeds.mjs", orchestra)


@pytest.mark.req("P5")
def test_rows_are_spread_and_aggregated(orchestra: Server) -> None:
    run_steps("query_builder/shapes.mjs", orchestra)


@pytest.mark.req("P5")
def test_every_filter_finds_its_rows(orchestra: Server) -> None:
    run_steps("query_builder/filters.mjs", orchestra)


@pytest.mark.req("P5")
def test_modifiers_order_limit_and_format_the_answer(orchestra: Server) -> None:
    run_steps("query_builder/modifiers.mjs", orchestra)


@pytest.mark.req("P5")
def test_rows_are_inserted_upserted_updated_and_deleted(orchestra: Server) -> None:
    run_steps("query_builder/writes.mjs", orchestra)


@pytest.mark.req("P5")
def test_routines_are_called(orchestra: Server) -> None:
    run_steps("query_builder/calls.mjs", orchestra)


@pytest.mark.req("P5")
def test_plans_are_explained(orchestra: Server) -> None:
    run_steps("query_builder/plans.mjs", orchestra)


@pytest.mark.req("P5")
def test_clients_choose_schemas_and_are_refused_what_is_not_theirs(orchestra: Server) -> None:
    run_steps("query_builder/clients.mjs", orchestra)


@pytest.mark.req("P5")
def test_no_method_of_the_builders_is_left_out(orchestra: Server) -> None:
    run_steps("query_builder/methods.mjs", orchestra)
