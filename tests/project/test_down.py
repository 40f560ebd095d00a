"""`basalt db down`: rollback files newest first, each with its row of the history; what stands in the way is said
before."""

import json
from pathlib import Path

import psycopg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from basalt.cli.main import app
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess, MigrationError, RollbackError, list_migrations, plan_rollbacks
from basalt.project import migrate, undo
from tests.projects import settings_of, write_project

pytestmark = [pytest.mark.req("P19")]

FILES = {
    "1_a.sql": "create table public.a (id int);",
    "2_b.sql": "-- why\ncreate table public.b (id int);",
    "3_c.sql": "create view public.c as select id from public.b;",
    "rollbacks/1_a.sql": "drop table public.a;",
    "rollbacks/2_b.sql": "drop table public.b;",
    "rollbacks/3_c.sql": "drop view public.c;",
}


@pytest.fixture
def project(database: DatabaseAccess, tmp_path: Path) -> Path:
    folder = write_project(tmp_path, FILES)
    migrate(database, settings_of(folder))
    return folder


def applied(database: DatabaseAccess, project: Path) -> list[str]:
    return [row.version for row in list_migrations(database, project) if row.state == "applied"]


def relations(database: DatabaseAccess) -> list[str]:
    query = """
        select relname from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'v') order by 1
    """
    with psycopg.connect(database.conninfo("postgres")) as connection:
        return [name for (name,) in connection.execute(query)]


def go_down(database: DatabaseAccess, project: Path, **how: object) -> None:
    undo(database, settings_of(project), plan_rollbacks(database, project, **how))  # type: ignore[arg-type]


def test_the_newest_goes_first_and_its_row_with_it(database: DatabaseAccess, project: Path) -> None:
    go_down(database, project)
    assert (applied(database, project), relations(database)) == (["1", "2"], ["a", "b"])
    go_down(database, project, count=5)
    assert (applied(database, project), relations(database)) == ([], [])
    go_down(database, project)
    migrate(database, settings_of(project))
    assert relations(database) == ["a", "b", "c"]


def test_a_version_is_gone_back_to(database: DatabaseAccess, project: Path) -> None:
    go_down(database, project, to_version="1")
    assert applied(database, project) == ["1"]
    with pytest.raises(RollbackError, match="Version 9 is not applied"):
        plan_rollbacks(database, project, to_version="9")
    go_down(database, project, to_version="0")
    assert applied(database, project) == []


def test_everything_in_the_way_is_said_and_nothing_changes(database: DatabaseAccess, project: Path) -> None:
    (project / "supabase/rollbacks/2_b.sql").unlink()
    write_project(project, {"1_a.sql": "create table public.a (id bigint);"})
    with pytest.raises(RollbackError) as refused:
        go_down(database, project, count=3)
    assert refused.value.message.splitlines() == [
        "2_b cannot go: there is no supabase/rollbacks/2_b.sql.",
        "supabase/migrations/1_a.sql has changed since it was applied; its rollback may undo something else.",
        "Nothing was changed.",
    ]
    assert applied(database, project) == ["1", "2", "3"]


def test_comments_and_white_space_are_no_change(database: DatabaseAccess, project: Path) -> None:
    write_project(
        project, {"3_c.sql": "-- said better\ncreate view public.c as\n    select id from public.b ;\n"}
    )
    assert [rollback.version for rollback in plan_rollbacks(database, project)] == ["3"]
    write_project(project, {"3_c.sql": "create view public.c as select 1 as id;"})
    with pytest.raises(RollbackError, match="has changed"):
        plan_rollbacks(database, project)
    assert plan_rollbacks(database, project, ignores_changes=True)


def test_a_rollback_that_fails_leaves_its_migration(database: DatabaseAccess, project: Path) -> None:
    write_project(project, {"rollbacks/2_b.sql": "drop table public.b;\ndrop table public.nope;"})
    with pytest.raises(MigrationError, match=r"supabase/rollbacks/2_b.sql, line 2: .*nope.* does not exist"):
        go_down(database, project, count=3)
    assert (applied(database, project), relations(database)) == (["1", "2"], ["a", "b"])


def test_two_files_of_one_version_go_one_after_the_other(database: DatabaseAccess, tmp_path: Path) -> None:
    project = write_project(
        tmp_path,
        {
            "1_a.sql": "create table public.a ();", "1_b.sql": "create table public.b ();",
            "rollbacks/1_a.sql": "drop table public.a;", "rollbacks/1_b.sql": "drop table public.b;",
        },
    )  # fmt: skip
    migrate(database, settings_of(project))
    planned = plan_rollbacks(database, project)
    assert [(rollback.name, rollback.rest) for rollback in planned] == [("b", "a"), ("a", None)]
    undo(database, settings_of(project), planned)
    assert (applied(database, project), relations(database)) == ([], [])


@pytest.mark.parametrize(
    ("rollback", "losses"),
    [
        ("drop table public.a;", ("drop table public.a",)),
        ("alter table a drop column b; alter table a drop constraint c;", ("alter table a drop column b",)),
        (
            "drop function f(); drop policy p on t; create function g() returns void as $$ delete from x $$;",
            (),
        ),
        ("truncate a; delete from b;", ("truncate a", "delete from b")),
    ],
)
def test_what_takes_rows_away_is_told(
    database: DatabaseAccess, project: Path, rollback: str, losses: tuple[str, ...]
) -> None:
    write_project(project, {"rollbacks/3_c.sql": rollback})
    assert plan_rollbacks(database, project)[0].losses == losses


def db(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["db", *arguments], input=answer)


@pytest.mark.usefixtures("by_url")
def test_the_command_asks_before_rows_are_lost(database: DatabaseAccess, project: Path) -> None:
    where = str(project)
    listed = json.loads(db("list", where, "--json").stdout)
    assert [row["has_rollback"] for row in listed] == [True, True, True]
    dry = db("down", "2", where, "--dry-run")
    assert dry.stdout.splitlines() == ["Would undo 3_c", "Would undo 2_b", "    drop table public.b"]
    assert applied(database, project) == ["1", "2", "3"]
    assert db("down", where).stdout.endswith("1 undone.\n")  # a view holds no rows
    refused = db("down", where, answer="n\n")
    assert refused.exit_code == 1
    assert applied(database, project) == ["1", "2"]
    assert db("down", where, "--yes").exit_code == 0
    (project / "supabase/rollbacks/1_a.sql").unlink()
    missing = db("down", where, "--yes")
    assert isinstance(missing.exception, BasaltError)
    for none in (db("down", "none", where), db("down", "0", where), db("down", "0")):
        assert none.exit_code == 2
    assert relations(database) == ["a"]


def test_a_check_goes_up_down_and_up(tmp_path: Path) -> None:
    project = write_project(
        tmp_path,
        {
            "1_a.sql": "create table public.a (id int); create schema if not exists kept;",
            "2_b.sql": "create table if not exists kept.b (id int); alter table kept.b add column if not exists c int;",
            "rollbacks/1_a.sql": "drop table public.a;",
            "rollbacks/2_b.sql": "alter table kept.b drop column id;",
        },
    )
    result = CliRunner().invoke(app, ["db", "check", str(project)])
    assert result.exit_code == 1
    assert "Going down and up again made another schema:" in result.stdout
    assert "+CREATE SCHEMA kept;" in result.stdout
    assert "-    id integer," in result.stdout
