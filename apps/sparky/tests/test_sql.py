"""The app's SQL tests, which `basalt test apps/sparky` runs on a throw-away database, on a copy of this session's."""

import pytest

from basalt.postgres import DatabaseAccess
from basalt.project import lint_database
from basalt.project.testing import find_tests, install_assertions, run_sql_file

from .conftest import APP

TESTS = [test for test in find_tests(APP) if test.kind == "sql"]


@pytest.mark.req("S1", "S4", "S7", "P27")
@pytest.mark.parametrize("test", TESTS, ids=[test.path.stem for test in TESTS])
def test_a_file_of_sql_passes(access: DatabaseAccess, test: object) -> None:
    install_assertions(access)
    result = run_sql_file(access, test, limit_s=30)  # type: ignore[arg-type]
    assert result.cases
    assert result.has_passed, result


@pytest.mark.req("S1", "P19")
def test_the_schema_is_neither_unsafe_nor_slow(access: DatabaseAccess) -> None:
    report = lint_database(access.conninfo("supabase_admin"), api_schemas=["public"], level="warning")
    assert report.looked >= 20
    assert (report.findings, report.unseen) == ([], [])
