"""`basalt lint` over a database, a project and its migrations: what it tells, in which shape, with which exit code."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from basalt.cli.main import app
from basalt.errors import BasaltError
from basalt.postgres import SCHEMA_CHECKS, UNUSED_INDEX, DatabaseAccess, Finding
from basalt.project import render_mends
from tests.projects import write_project

pytestmark = [pytest.mark.req("P19", "P27")]

ILL = """
create table public.notes (id int primary key, author uuid references auth.users (id));
create table public.replies (id int primary key, author uuid references auth.users (id));
alter table public.replies enable row level security;
create policy "own" on public.replies for select using (auth.uid() = author);
create schema api;
create table api.things (id int primary key);
"""


def lint(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["lint", *arguments])


def lint_json(*arguments: str) -> dict[str, Any]:
    result = lint(*arguments, "--format", "json")
    report: dict[str, Any] = json.loads(result.stdout)
    assert (result.exit_code == 0) is report["ok"]
    return report


def checks(report: dict[str, Any]) -> set[tuple[str, str]]:
    return {(finding["check"], finding["subject"]) for finding in report["findings"]}


def execute(database: DatabaseAccess, text: str) -> None:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(text.encode())


@pytest.fixture
def ill(database: DatabaseAccess) -> str:
    execute(database, ILL)
    return database.url("supabase_admin")


def test_a_database_is_looked_at_by_its_address_alone(ill: str, tmp_path: Path) -> None:
    report = lint_json(str(tmp_path), "--db-url", ill)
    assert checks(report) == {
        ("rls_disabled_in_public", "public.notes"),
        ("auth_rls_initplan", "own on public.replies"),
        ("policy_column_without_index", "public.replies"),
        ("unindexed_foreign_keys", "public.notes"),
        ("unindexed_foreign_keys", "public.replies"),
    }
    assert not report["ok"]
    assert report["unseen"] == []
    assert set(report["findings"][0]) == {"check", "severity", "subject", "what", "why", "remedy", "schema"}
    assert list(tmp_path.iterdir()) == []


def test_the_schemas_that_rest_serves_are_the_projects(ill: str, tmp_path: Path) -> None:
    write_project(tmp_path, {"config.toml": '[api]\nschemas = ["api"]'})
    execute_grants = "grant usage on schema api to anon; grant select on api.things to anon;"
    with psycopg.connect(ill, autocommit=True) as connection:
        connection.execute(execute_grants.encode())
    report = lint_json(str(tmp_path), "--db-url", ill, "--level", "error")
    assert checks(report) == {("rls_disabled_in_public", "api.things")}


def test_level_and_schema_choose_what_is_told(ill: str, tmp_path: Path) -> None:
    where = (str(tmp_path), "--db-url", ill)
    assert {each["severity"] for each in lint_json(*where, "--level", "warning")["findings"]} == {
        "error",
        "warning",
    }
    assert lint_json(*where, "--schema", "api") == {"ok": True, "findings": [], "unseen": []}
    refused = lint(*where, "--schema", "apl")
    assert isinstance(refused.exception, BasaltError)
    assert refused.exception.message == "There is no schema apl."


def test_people_read_what_is_wrong_why_and_what_mends_it(ill: str, tmp_path: Path) -> None:
    result = lint(str(tmp_path), "--db-url", ill)
    assert result.exit_code == 1
    assert "public.notes has no row-level security, and the API serves its schema." in result.stdout
    assert "→ alter table public.notes enable row level security;" in result.stdout
    assert result.stdout.endswith(": 1 error, 2 warnings, 2 remarks.\n")


def test_a_workflow_of_github_gets_annotations(ill: str, tmp_path: Path) -> None:
    lines = lint(str(tmp_path), "--db-url", ill, "--format", "github").stdout.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith(
        "::error title=rls_disabled_in_public::public.notes has no row-level security, and the API serves its schema. "
    )
    assert lines[0].endswith("%0Aalter table public.notes enable row level security;")
    assert {line.partition(" ")[0] for line in lines} == {"::error", "::warning", "::notice"}


def test_the_script_mends_all_of_it(database: DatabaseAccess, ill: str, tmp_path: Path) -> None:
    where = (str(tmp_path), "--db-url", ill)
    script = lint(*where, "--fix")
    assert script.exit_code == 1
    assert script.stdout.count("create index on public.replies (author);") == 1  # two findings ask for it
    execute(database, script.stdout)
    assert checks(lint_json(*where)) == {("rls_enabled_no_policy", "public.notes")}
    execute(database, lint(*where, "--fix").stdout)
    assert lint_json(*where) == {"ok": True, "findings": [], "unseen": []}


def test_a_name_with_a_lines_end_stays_within_its_comment() -> None:
    finding = Finding(
        check="no_primary_key",
        severity="info",
        subject='public."a\ndrop table b; --"',
        what="has no primary key",
        why="",
    )
    script = render_mends([finding])
    assert all(not line or line.startswith("--") for line in script.splitlines())


def test_a_database_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    away = lint(str(tmp_path), "--db-url", "postgresql://ada:not-to-be-shown@127.0.0.1:1/postgres")
    assert isinstance(away.exception, BasaltError)
    assert away.exception.message.startswith("The database does not answer: ")
    assert "Connection refused" in away.exception.message
    unreadable = lint(str(tmp_path), "--db-url", "postgresql//ada:not-to-be-shown@127.0.0.1")
    assert isinstance(unreadable.exception, BasaltError)
    assert "not-to-be-shown" not in unreadable.exception.message + away.exception.message


def test_the_guide_has_every_check() -> None:
    guide = (Path(__file__).parent.parent.parent / "docs" / "how-to" / "lint.md").read_text("utf-8")
    table = guide.partition("| check |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`(?=[^|]*\| (?:error|warning|info))", table)) == {
        check.name for check in (*SCHEMA_CHECKS, UNUSED_INDEX)
    }


def test_two_databases_at_once_are_wrong_usage(tmp_path: Path) -> None:
    assert lint(str(tmp_path), "--db-url", "postgresql://a@b/c", "--migrations").exit_code == 2


def test_migrations_are_looked_at_on_a_database_of_their_own(
    tmp_path: Path, cluster_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = Path(tempfile.mkdtemp(dir=cluster_dir))  # one that no other process makes databases in
    temporary.chmod(0o711)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    project = write_project(tmp_path, {"20300101000000_notes.sql": ILL, "seed.sql": "select 1 / 0;"})
    report = lint_json(str(project), "--level", "error")
    assert checks(report) == {("rls_disabled_in_public", "public.notes")}
    assert not (project / ".basalt").exists()
    assert list(temporary.iterdir()) == []
