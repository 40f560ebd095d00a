"""The migrations go up, down and up again; the seeds are quick, plausible and true to the app's invariants."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from basalt.config import load_settings
from basalt.postgres import DatabaseAccess, apply_migrations, apply_seeds
from basalt.project import apply_modules
from tests.conftest import CloneDatabase

from .acting import Connection
from .conftest import APP, without_seeds

MIGRATIONS = sorted((APP / "supabase" / "migrations").glob("*.sql"))
ROLLBACKS = APP / "supabase" / "rollbacks"

CONTENTS = """
select n.nspname || '.' || p.oid::regprocedure::text as name
from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
where n.nspname in ('public', 'private')
union all
select n.nspname || '.' || c.relname || ' ' || c.relkind::text
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where n.nspname in ('public', 'private')
union all
select 'policy ' || tablename || ' ' || policyname from pg_policies where schemaname = 'public'
union all
select 'trigger ' || tgname from pg_trigger as t join pg_class as c on c.oid = t.tgrelid
where not tgisinternal and c.relnamespace in ('public'::regnamespace, 'auth'::regnamespace)
order by name
"""


@pytest.fixture
def plain(template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[DatabaseAccess]:
    """A database with the platform and without the app."""
    with clone_database(template.dbname) as access:
        yield access


@pytest.fixture(scope="module")
def seeded_once(app_template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[DatabaseAccess]:
    """Nobody stays connected to it, so that it can be copied."""
    with clone_database(app_template.dbname) as access:
        apply_seeds(access, load_settings(APP, {}))
        yield access


@pytest.fixture
def seeded(seeded_once: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[Connection]:
    with (
        clone_database(seeded_once.dbname) as access,
        psycopg.connect(access.conninfo("postgres"), row_factory=dict_row, autocommit=True) as owner,
    ):
        yield owner


@pytest.mark.req("G1")
def test_every_migration_has_a_rollback_file() -> None:
    assert [path.name for path in MIGRATIONS] == sorted(path.name for path in ROLLBACKS.glob("*.sql"))


@pytest.mark.req("G1")
def test_migrations_go_up_down_and_up_again(plain: DatabaseAccess) -> None:
    apply_modules(plain, without_seeds())  # the notification engine's tables come before the project's
    with psycopg.connect(plain.conninfo("postgres"), autocommit=True) as owner:
        owner.execute("create extension if not exists pg_cron")  # extensions stay

        def contents() -> list[tuple[str]]:
            return owner.execute(CONTENTS).fetchall()

        before = contents()
        apply_migrations(plain, APP)
        after = contents()
        assert len(after) > len(before)
        below: dict[Path, list[tuple[str]]] = {}
        for migration in reversed(MIGRATIONS):
            run(owner, ROLLBACKS / migration.name)
            below[migration] = contents()
        assert contents() == before
        # One by one: the last rollback drops the schema `private`, in which another may leave things.
        for migration in MIGRATIONS:
            assert contents() == below[migration], migration.name
            run(owner, migration)
        assert contents() == after


@pytest.mark.req("G1")
def test_rollbacks_work_over_the_seeds(seeded: Connection) -> None:
    for migration in reversed(MIGRATIONS):
        run(seeded, ROLLBACKS / migration.name)
    assert value(seeded, "select count(*) from auth.users") == 81


def run(owner: psycopg.Connection, path: Path) -> None:
    with owner.transaction():
        owner.execute(path.read_text("utf-8"))


@pytest.mark.req("G1")
def test_seeds_bring_gigs_around_kuala_lumpur_and_singapore(seeded: Connection) -> None:
    near = """
        select count(*) from public.gigs
        where extensions.st_dwithin(location, extensions.st_makepoint({})::extensions.geography, 40000)
    """
    kuala_lumpur = value(seeded, near.format("101.6869, 3.139"))
    singapore = value(seeded, near.format("103.8198, 1.3521"))
    assert kuala_lumpur > 2000
    assert singapore > 1000
    assert kuala_lumpur + singapore == value(seeded, "select count(*) from public.gigs") == 4500


@pytest.mark.req("G1")
def test_seeds_are_the_same_every_time(
    app_template: DatabaseAccess, clone_database: CloneDatabase, seeded: Connection
) -> None:
    digest = "select md5(string_agg(concat(id, title, location::text, hourly_rate), ',' order by id)) from public.gigs"
    first = value(seeded, digest)
    with clone_database(app_template.dbname) as access:
        apply_seeds(access, load_settings(APP, {}))
        with psycopg.connect(access.conninfo("postgres"), row_factory=dict_row) as owner:
            assert value(owner, digest) == first


@pytest.mark.req("G8")
def test_seeds_keep_the_invariants(seeded: Connection) -> None:
    unbalanced = """
        select count(*) from public.users as u
        where total_points <> (select coalesce(sum(points), 0) from public.points_log as p where p.user_id = u.id)
    """
    miscounted = """
        select count(*) from public.gigs as g
        where filled_count <> (
            select count(*) from public.gig_applications as a where a.gig_id = g.id and a.status = 'accepted')
    """
    assert value(seeded, unbalanced) == 0
    assert value(seeded, miscounted) == 0
    assert value(seeded, "select count(*) from public.timesheets where clock_out is not null") > 100
    assert value(seeded, "select count(*) from public.user_achievements") > 50
    assert value(seeded, "select count(*) from public.weekly_leaderboard") > 10


def value(owner: Connection, sql: str) -> object:
    row = owner.execute(sql).fetchone()
    assert row is not None
    return next(iter(row.values()))
