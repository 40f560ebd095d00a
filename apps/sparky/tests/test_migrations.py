"""The migrations go up, down and up again, and bring what the product begins with; the seeds keep its invariants."""

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from basalt.config import load_settings
from basalt.postgres import DatabaseAccess, apply_migrations, apply_seeds
from tests.conftest import CloneDatabase

from .conftest import APP, App, Connection

MIGRATIONS = sorted((APP / "supabase" / "migrations").glob("*.sql"))
ROLLBACKS = APP / "supabase" / "rollbacks"
SEED_LIMIT_S = 5

CONTENTS = """
select n.nspname || '.' || p.oid::regprocedure::text as name
from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
where n.nspname in ('public', 'private', 'cache')
union all
select n.nspname || '.' || c.relname || ' ' || c.relkind::text
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where n.nspname in ('public', 'private', 'cache')
union all
select 'policy ' || tablename || ' ' || policyname from pg_policies where schemaname in ('public', 'storage')
union all
select 'bucket ' || id from storage.buckets
union all
select 'published ' || tablename from pg_publication_tables where pubname = 'supabase_realtime'
union all
select 'trigger ' || tgname || ' ' || tgrelid::regclass from pg_trigger
where not tgisinternal and tgrelid in (select oid from pg_class where relnamespace::regnamespace::text in
    ('public', 'private', 'cache', 'auth'))
order by name
"""


@pytest.fixture
def plain(template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[DatabaseAccess]:
    """A database with the platform and without the app."""
    with clone_database(template.dbname) as access:
        yield access


@pytest.fixture
def seeded(app_template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[Connection]:
    with clone_database(app_template.dbname) as access:
        started = time.monotonic()
        apply_seeds(access, load_settings(APP, {}))
        assert time.monotonic() - started < SEED_LIMIT_S
        with psycopg.connect(access.conninfo("postgres"), row_factory=dict_row, autocommit=True) as owner:
            yield owner


@pytest.mark.req("S1")
def test_every_migration_has_a_rollback_file() -> None:
    assert [path.name for path in MIGRATIONS] == sorted(path.name for path in ROLLBACKS.glob("*.sql"))


@pytest.mark.req("S1")
def test_migrations_go_up_down_and_up_again(plain: DatabaseAccess) -> None:
    with psycopg.connect(plain.conninfo("postgres"), autocommit=True) as owner:

        def contents() -> list[tuple[str]]:
            return owner.execute(CONTENTS).fetchall()

        before = contents()
        apply_migrations(plain, APP)
        after = contents()
        assert len(after) > len(before)
        for migration in reversed(MIGRATIONS):
            run(owner, ROLLBACKS / migration.name)
        assert contents() == before
        owner.execute("delete from supabase_migrations.schema_migrations")
        apply_migrations(plain, APP)
        assert contents() == after


@pytest.mark.req("S1")
def test_rollbacks_work_over_the_seeds(seeded: Connection) -> None:
    for migration in reversed(MIGRATIONS):
        run(seeded, ROLLBACKS / migration.name)
    assert value(seeded, "select count(*) from auth.users") == 2


def run(owner: psycopg.Connection, path: Path) -> None:
    with owner.transaction():
        owner.execute(path.read_text("utf-8"))


@pytest.mark.req("S1")
def test_the_static_data_comes_with_the_migrations(app: App) -> None:
    assert {row["id"] for row in app.rows("select id from public.plans")} >= {"free", "plus", "pro"}
    assert app.one("select count(*) from public.credit_packs where is_active") >= 3
    kinds = {row["kind"] for row in app.rows("select kind from public.tools where is_enabled")}
    assert kinds == {"image", "analysis"}
    assert app.one("select count(*) from public.hairstyles") >= 10
    assert app.one("select count(*) from public.colors") >= 10


@pytest.mark.req("S1")
def test_the_seeds_tell_a_story_and_keep_the_balance(seeded: Connection) -> None:
    balances = seeded.execute(
        """
        select u.email, u.credits, u.plan_id,
            (select coalesce(sum(l.credits), 0) from public.credit_log as l where l.user_id = u.id) as logged
        from public.users as u order by u.email
        """
    ).fetchall()
    assert [(row["email"], row["credits"], row["plan_id"]) for row in balances] == [
        ("demo@sparky.example", 10 + 3 * 100 + 20 - 37, "plus"),
        ("new@sparky.example", 10, "free"),
    ]
    assert all(row["credits"] == row["logged"] for row in balances)
    assert value(seeded, "select count(*) from public.notifications where kind = 'renewal'") == 2


def value(owner: Connection, sql: str) -> object:
    row = owner.execute(sql).fetchone()
    assert row is not None
    return next(iter(row.values()))
