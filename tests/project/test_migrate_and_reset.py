"""What a start does to the database, and what a reset does."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from basalt.postgres import DatabaseAccess
from basalt.project import migrate, reset
from basalt.project.fresh_start import platform_roles
from tests.projects import settings_of, write_project

pytestmark = [pytest.mark.req("P1", "P19")]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(
        tmp_path,
        {
            "1_a.sql": "create table public.a (id int); create role reset_reader nologin;"
            "alter role authenticator set pgrst.db_max_rows = '7';",
            "seed.sql": "insert into public.a values (1);",
        },
    )


@pytest.fixture(autouse=True)
def _no_role_left(cluster_access: DatabaseAccess) -> Iterator[None]:
    yield
    with psycopg.connect(cluster_access.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("drop role if exists reset_reader")
        connection.execute("alter role authenticator reset pgrst.db_max_rows")


def rows(database: DatabaseAccess) -> list[tuple[int]]:
    with psycopg.connect(database.conninfo("postgres")) as connection:
        return connection.execute("select id from public.a order by id").fetchall()


def test_migrations_and_seeds_apply_once_and_say_so(database: DatabaseAccess, project: Path) -> None:
    lines: list[str] = []

    migrate(database, settings_of(project), on_progress=lines.append)
    migrate(database, settings_of(project), on_progress=lines.append)

    assert lines == ["Applying supabase/migrations/1_a.sql", "Seeding from supabase/seed.sql"]
    assert rows(database) == [(1,)]


def test_a_reset_gives_the_database_of_the_first_day(database: DatabaseAccess, project: Path) -> None:
    settings = settings_of(project)
    migrate(database, settings)
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as other:
        other.execute("insert into public.a values (2); create table public.later ();")
        write_project(project, {"seed.sql": "insert into public.a values (3);"})

        report = reset(database, settings)

        with pytest.raises(psycopg.OperationalError):
            other.execute("select 1")
    assert [file.name for file in report.applied] == ["a"]
    assert rows(database) == [(3,)]
    with psycopg.connect(database.conninfo("postgres")) as connection:
        assert connection.execute("select to_regclass('public.later')").fetchone() == (None,)
        assert connection.execute("select auth.uid()").fetchone() == (None,)
        owner = "select pg_get_userbyid(datdba) from pg_database where datname = current_database()"
        assert connection.execute(owner).fetchone() == ("postgres",)


def test_the_platforms_roles_outlive_a_reset(database: DatabaseAccess, project: Path) -> None:
    reset(database, settings_of(project))

    assert {"anon", "authenticated", "service_role", "postgres", "supabase_admin"} <= platform_roles()
    with psycopg.connect(database.conninfo("authenticator")) as connection:
        assert connection.execute("show statement_timeout").fetchone() == ("8s",)
