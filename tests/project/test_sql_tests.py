"""`basalt test` over files of SQL: assertions as pgTAP has them, people to act as, isolation, limits, what is told."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import psycopg
import pytest
from typer.testing import CliRunner

from basalt.cli.main import app
from basalt.postgres import DatabaseAccess
from basalt.project.testing import (
    FileResult,
    TestFile,
    TestReport,
    find_tests,
    install_assertions,
    parse_tap,
    render_json,
    render_junit,
    render_tap,
    run_sql_file,
)
from tests.conftest import CloneDatabase
from tests.projects import write_project

pytestmark = [pytest.mark.req("P27")]

PGTAP = Path(__file__).parent / "pgtap"
Run = Callable[..., FileResult]


@pytest.fixture(scope="module")
def prepared(template: DatabaseAccess, clone_database: CloneDatabase) -> DatabaseAccess:
    """A database with the assertions and a table with row-level security."""
    with clone_database(template.dbname) as access:
        install_assertions(access)
        with psycopg.connect(access.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(
                """
                create table public.notes (id int primary key, owner uuid references auth.users (id));
                alter table public.notes enable row level security;
                create policy "own" on public.notes to authenticated using ((select auth.uid()) = owner);
                grant select on public.notes to anon, authenticated;
                """
            )
        yield access  # type: ignore[misc]


@pytest.fixture
def run(prepared: DatabaseAccess, tmp_path: Path) -> Run:
    def run_text(text: str, *, limit_s: float = 20) -> FileResult:
        path = tmp_path / "one_test.sql"
        path.write_text(text)
        return run_sql_file(prepared, TestFile("sql", path, "one_test.sql"), limit_s=limit_s)

    return run_text


def test_every_assertion_answers_as_pgtap_does(prepared: DatabaseAccess) -> None:
    lines: list[str] = []
    with psycopg.connect(prepared.conninfo("postgres"), autocommit=True) as connection:
        for statement in (PGTAP / "assertions.sql").read_text("utf-8").split(";\n"):
            cursor = connection.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else []
            lines += [_show(cell) for row in rows for cell in row]
    assert "\n".join(lines).splitlines() == (PGTAP / "assertions.tap").read_text("utf-8").splitlines()


def _show(cell: object) -> str:
    return {True: "t", False: "f"}[cell] if isinstance(cell, bool) else str(cell)


def test_a_person_is_acted_as_without_any_installation(run: Run) -> None:
    result = run(
        """
        create extension if not exists pgtap with schema extensions;
        select dbdev.install('basejump-supabase_test_helpers');
        create extension if not exists "basejump-supabase_test_helpers" version '0.0.6';
        select plan(9);
        select tests.create_supabase_user('ada', 'ada@example.com', '123', '{"plan": "pro"}');
        insert into public.notes values (1, tests.get_supabase_uid('ada')), (2, null);
        select is(tests.get_supabase_user('ada') ->> 'email', 'ada@example.com');
        select throws_ok($$select tests.get_supabase_uid('eve')$$, 'User with identifier eve not found');
        select tests.authenticate_as('ada');
        select is(auth.uid(), tests.get_supabase_uid('ada'));
        select is(auth.jwt() -> 'user_metadata' ->> 'plan', 'pro');
        select results_eq('select id from public.notes', array[1], 'her own');
        select tests.clear_authentication();
        select is_empty('select id from public.notes', 'a visitor sees none');
        select tests.authenticate_as_service_role();
        select is(current_user::text, 'service_role');
        select tests.rls_enabled('public', 'notes');
        select tests.rls_enabled('public');
        select * from finish();
        """
    )
    assert result.has_passed, result
    assert len(result.cases) == 9


def test_time_stands_still_and_goes_on(run: Run) -> None:
    result = run(
        """
        select plan(2);
        select tests.freeze_time('2020-01-01 00:00:00+00');
        select is(now(), '2020-01-01 00:00:00+00'::timestamptz);
        select tests.unfreeze_time();
        select isnt(now(), '2020-01-01 00:00:00+00'::timestamptz);
        """
    )
    assert result.has_passed, result


def test_a_failure_says_what_it_had_and_wanted(run: Run) -> None:
    result = run(
        "select plan(2); select is(1, 2, 'one is two'); select pass('fine'); select * from finish();"
    )
    assert [(case.name, case.outcome) for case in result.cases] == [("one is two", "not ok"), ("fine", "ok")]
    assert result.cases[0].diagnostics == ("        have: 1", "        want: 2")
    assert not result.has_passed
    assert result.problems == ()


def test_a_wrong_statement_is_told_with_its_place(run: Run) -> None:
    result = run("select plan(1);\nselect pass('so far');\n\nselect\n  nope();\n")
    assert len(result.cases) == 1
    assert result.problems[0].startswith("line 5: function nope() does not exist (42883)\n")
    assert ">    5 |   nope()" in result.problems[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("select plan(2); select pass();", "planned 2 tests, ran 1"),
        ("select plan(1); select pass(); select pass();", "planned 1 test, ran 2"),
        ("select 1;", "it ran no test; one begins with `select plan(N);`"),
        ("select no_plan(); select pass();", "no plan: it ended too early"),
        ("select pass();", "line 1: A test ran before plan() or no_plan() (P0001)"),
        ("select plan(1); select pass(); commit;", "line 1: `commit` without `begin`"),
        ("\\copy x from y", "line 1: \\copy is a command to psql, not SQL"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(run: Run, text: str, problem: str) -> None:
    result = run(text)
    assert not result.has_passed
    assert result.problems[0].splitlines()[0].startswith(problem)


def test_todo_and_skip_do_not_fail(run: Run) -> None:
    result = run(
        "select plan(3); select todo('later', 1); select fail('not yet'); select skip('no server', 2); select finish();"
    )
    assert result.has_passed
    assert [(case.outcome, case.why) for case in result.cases] == [
        ("todo", "later"),
        ("skip", "no server"),
        ("skip", "no server"),
    ]


def test_a_file_leaves_nothing_behind(run: Run) -> None:
    run("create table public.left_over (); select plan(1); select pass();")
    result = run("begin; select plan(1); select hasnt_table('left_over'); select finish(); rollback;")
    assert result.has_passed, result


def test_what_comes_before_a_begin_is_kept_as_under_psql(run: Run) -> None:
    run(
        "create function public.setup() returns int language sql as 'select 7'; begin; select plan(1); rollback;"
    )
    result = run("select plan(1); select is(public.setup(), 7);")
    assert result.has_passed, result


def test_a_file_includes_another(run: Run, tmp_path: Path) -> None:
    (tmp_path / "_shared.sql").write_text("create table public.shared ();\nselect nope();")
    result = run("select plan(1);\n\\ir _shared.sql\n")
    assert result.problems[0].startswith("_shared.sql, line 2: function nope() does not exist")


def test_a_file_that_takes_too_long_is_stopped(run: Run) -> None:
    result = run("select plan(1); select pg_sleep(60);", limit_s=0.3)
    assert result.problems[0].startswith("did not end within 0.3 seconds; it was at\nline 1: ")
    assert result.duration_s < 20


def test_tests_are_found_by_place_and_name(tmp_path: Path) -> None:
    project = write_project(
        tmp_path,
        {
            "tests/a.sql": "", "tests/deep/b_test.sql": "", "tests/_shared.sql": "", "tests/test_c.py": "",
            "1_x_test.sql": "", "functions/f/f_test.sql": "",
        },
    )  # fmt: skip
    for name in (
        "tests/d.mjs",
        "tests/node_modules/e.mjs",
        "tests/e_test.sql",
        "tests/test_f.py",
        "tests/conftest.py",
    ):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).touch()
    assert [(test.kind, test.shown) for test in find_tests(project)] == [
        ("sql", "supabase/functions/f/f_test.sql"),
        ("sql", "supabase/tests/a.sql"),
        ("sql", "supabase/tests/deep/b_test.sql"),
        ("sql", "tests/e_test.sql"),
        ("python", "supabase/tests/test_c.py"),
        ("python", "tests/test_f.py"),
        ("client", "tests/d.mjs"),
    ]
    assert [test.shown for test in find_tests(project, [Path("supabase/tests/deep")])] == [
        "supabase/tests/deep/b_test.sql"
    ]
    assert [test.shown for test in find_tests(project, text="e_test")] == ["tests/e_test.sql"]


def test_a_report_is_read_by_machines() -> None:
    tap = parse_tap(["1..3", "not ok 1 - a <b>", "#   have: 1\x01", "ok 2 - b # TODO later", "ok 3"])
    report = TestReport(
        files=[
            FileResult(file="x.sql", kind="sql", cases=tap.cases),
            FileResult(file="y.mjs", kind="client", problems=("ended with 1\nmore",), output="boom"),
        ],
        left_out=["1 Python test file: pytest is not installed beside Basalt."],
    )
    again = parse_tap(render_tap(report).splitlines())
    assert [case.outcome for case in again.cases] == ["not ok", "todo", "ok", "not ok"]
    assert again.cases[-1].diagnostics[:2] == ("more", "boom")
    suites = ElementTree.fromstring(render_junit(report)).findall("testsuite")
    assert [(suite.get("name"), suite.get("failures")) for suite in suites] == [
        ("x.sql", "1"),
        ("y.mjs", "1"),
    ]
    assert json.loads(render_json(report))["files"][1]["problems"] == ["ended with 1\nmore"]


def test_a_path_without_tests_is_wrong_usage(tmp_path: Path) -> None:
    project = write_project(tmp_path, {"tests/a.sql": ""})
    for arguments in (["supabase/migrations"], ["nowhere.sql"], ["--filter", "zzz"]):
        result = CliRunner().invoke(app, ["test", str(project), *arguments])
        assert result.exit_code == 2, arguments


def test_a_project_is_tested_from_sql_to_client_and_stays_as_it_was(tmp_path: Path) -> None:
    project = write_project(
        tmp_path / "shop",
        {
            "1_a.sql": "create table public.a (id int primary key); grant all on public.a to service_role;",
            "seed.sql": "insert into public.a values (7);",
            "tests/a.sql": "select plan(1); select results_eq('select id from public.a', array[7]); "
            "insert into public.a values (8);",
            "tests/b.sql": "select plan(1); select fail('b');",
        },
    )
    (project / "tests").mkdir()
    (project / "tests" / "test_rest.py").write_text(
        "import os, json, urllib.request\n"
        "def test_rows(tmp_path):\n"
        "    assert not any(part.startswith('pytest-of-') for part in tmp_path.parts)  # shared with other runs\n"
        "    request = urllib.request.Request(os.environ['SUPABASE_URL'] + '/rest/v1/a', "
        "headers={'apikey': os.environ['SUPABASE_SECRET_KEY']})\n"
        "    with urllib.request.urlopen(request) as answer:\n"
        "        assert json.load(answer) == [{'id': 7}]\n"
    )
    (project / "tests" / "journey.mjs").write_text(
        "const headers = { apikey: process.env.SUPABASE_SECRET_KEY }\n"
        "const answer = await fetch(`${process.env.SUPABASE_URL}/rest/v1/a`, { headers })\n"
        "if ((await answer.json()).length !== 1) throw new Error('rows')\n"
    )
    before = {path for path in project.rglob("*") if "cache" not in path.as_posix()}
    result = CliRunner().invoke(app, ["test", str(project), "--format", "json"])
    report = json.loads(result.stdout)
    assert [(file["file"], file["ok"]) for file in report["files"]] == [
        ("supabase/tests/a.sql", True),
        ("supabase/tests/b.sql", False),
        ("tests/test_rest.py", True),
        ("tests/journey.mjs", True),
    ], report
    assert result.exit_code == 1
    assert {path for path in project.rglob("*") if "cache" not in path.as_posix()} == before
