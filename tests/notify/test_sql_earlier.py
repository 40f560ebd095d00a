"""Where the engine's tables come from: before a project's migrations, beside its own older tables, on any server."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from basalt.postgres import (
    DatabaseAccess,
    ModuleError,
    access_from_url,
    apply_bootstrap,
    apply_module,
    module_tables,
)
from basalt.project import migrate, reset
from tests.notify.conftest import NOTIFY_SETTINGS, Connection, a_user
from tests.postgres.test_bootstrap import managed_url  # noqa: F401  a fixture
from tests.projects import settings_of, write_project

pytestmark = [pytest.mark.req("H20")]

OLDER = """
create table public.notifications (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references auth.users (id),
    title text, message varchar(500) not null default '', is_read boolean default false, channel text,
    created_at timestamptz default now());
create table public.notification_preferences (
    id uuid primary key default gen_random_uuid(), user_id uuid not null,
    email_enabled boolean default true, timezone text, quiet_hours_start time);
create table public.notification_templates (id uuid primary key, type text, body text);
"""


@pytest.fixture
def older(database: DatabaseAccess) -> Iterator[Connection]:
    """A project that has notifications of its own, with somebody in it."""
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(OLDER)
        user_id = a_user(connection, "ann@example.com")
        connection.execute("insert into public.notifications (user_id, title) values (%s, 'Old')", [user_id])
        connection.execute("insert into public.notification_preferences (user_id) values (%s)", [user_id])
        yield connection


def test_older_tables_get_the_columns_that_they_lack(database: DatabaseAccess, older: Connection) -> None:
    apply_module(database, "notify", NOTIFY_SETTINGS)

    assert older.execute(
        "select title, message, body, data, read_at from public.notifications"
    ).fetchall() == [("Old", "", "", {}, None)]
    older.execute(
        "insert into public.notification_preferences (user_id, digest_frequency) select id, 'daily' from auth.users"
        " on conflict (user_id) do update set digest_frequency = excluded.digest_frequency"
    )
    row = older.execute(
        "select email_enabled, digest_frequency, channel_settings, timezone from public.notification_preferences"
    ).fetchone()
    assert row == (True, "daily", {}, "UTC")
    older.execute(
        "insert into public.notifications (user_id, channel) select user_id, 'in_app' from public.notifications"
    )
    older.execute("select public.save_notification_template('gig.new', 'in_app', 'x')")
    with pytest.raises(psycopg.errors.CheckViolation):
        older.execute(
            "insert into public.notification_templates (event_type, channel, body_template) values ('a', 'x', 'y')"
        )


def test_an_older_table_keeps_the_privileges_that_the_project_gave(
    database: DatabaseAccess, older: Connection
) -> None:
    older.execute("revoke all on public.notifications from authenticated, anon")
    older.execute("grant select, update on public.notifications to authenticated")
    apply_module(database, "notify", NOTIFY_SETTINGS)
    privileges = older.execute(
        "select has_table_privilege('authenticated', 'public.notifications', 'update'),"
        " has_table_privilege('authenticated', 'public.notification_queue', 'update'),"
        " (select relrowsecurity from pg_class where oid = 'public.notifications'::regclass)"
    ).fetchone()
    assert privileges == (True, False, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "alter table public.notifications add column queue_id uuid",
            r"public\.notifications\.queue_id is of type uuid, and the module needs bigint",
        ),
        (
            "alter table public.notifications add column kind text; update public.notifications set kind = 'a';"
            " alter table public.notifications alter column kind set not null",
            r"public\.notifications\.kind must be given",
        ),
        (
            "create view public.notification_queue as select 1 as id",
            r"public\.notification_queue is a view",
        ),
        (
            "insert into public.notification_templates (id) values (gen_random_uuid())",
            r"public\.notification_templates\.event_type cannot be added.*null values",
        ),
        (
            "insert into public.notification_preferences (user_id) select user_id from public.notification_preferences",
            r"modules/notify/001_tables\.sql: could not create unique index",
        ),
    ],
    ids=["other type", "required", "view", "rows", "twice"],
)
def test_a_table_that_does_not_fit_is_named_and_nothing_is_changed(
    database: DatabaseAccess, older: Connection, change: str, message: str
) -> None:
    older.execute(change)
    with pytest.raises(ModuleError, match=f"(?s){message}"):
        apply_module(database, "notify", NOTIFY_SETTINGS)
    assert older.execute("select to_regclass('public.notification_events')").fetchone() == (None,)
    columns = older.execute(
        "select count(*) from pg_attribute where attrelid = 'public.notification_preferences'::regclass and attnum > 0"
    ).fetchone()
    assert columns == (5,)
    assert older.execute("select * from basalt.bootstrap_versions where name ~ '^modules'").rowcount == 0


def test_the_tables_come_before_the_projects_migrations(database: DatabaseAccess, tmp_path: Path) -> None:
    """After those that make a table of the same name; on a reset too."""
    project = write_project(
        tmp_path,
        {
            "config.toml": 'project_id = "p"\n[notify]\nenabled = true\nkeep = "10h"\n',
            "1_older.sql": "create table if not exists public.notifications (id uuid primary key, is_read boolean);",
            "2_more.sql": "alter table public.notification_channels add column note text;"
            "create index on public.notifications (is_read) where read_at is null;",
        },
    )
    lines: list[str] = []
    for act in (migrate, migrate, reset):
        report = act(database, settings_of(project), on_progress=lines.append)
    assert [file.name for file in report.applied] == ["older", "more"]
    steps = [
        "Applying supabase/migrations/1_older.sql",
        "Applied the SQL of notify",
        "Applying supabase/migrations/2_more.sql",
    ]
    assert lines == [*steps, f"Making database {database.dbname} anew", *steps]
    with psycopg.connect(database.conninfo("postgres")) as connection:
        kept = connection.execute("select value from basalt.notify_settings where name = 'keep_s'").fetchone()
    assert kept == (36000.0,)


def test_a_project_without_the_engine_has_none_of_it(database: DatabaseAccess, tmp_path: Path) -> None:
    migrate(database, settings_of(write_project(tmp_path, {"1_a.sql": "select 1;"})))
    with psycopg.connect(database.conninfo("postgres")) as connection:
        found = connection.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relname = any (%s)",
            [list(module_tables("notify"))],
        ).fetchall()
    assert found == []
    assert len(module_tables("notify")) == 7


@pytest.mark.req("P2")
def test_a_managed_server_gets_the_engine_without_superuser(managed_url: str, tmp_path: Path) -> None:  # noqa: F811
    access = access_from_url(managed_url, tmp_path)
    apply_bootstrap(access)
    assert apply_module(access, "notify", NOTIFY_SETTINGS)
    assert apply_module(access, "notify", NOTIFY_SETTINGS) == []
    with psycopg.connect(access.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("alter table public.notifications add column pinned boolean")
        ann = a_user(connection, "ann@example.com")
        connection.execute("select public.save_notification_template('gig.new', 'in_app', 'x')")
        connection.execute("select public.issue_notification('gig.new', %s)", [ann])
        connection.execute(
            "select a.* from auth.users as u, basalt.notification_addresses(u, array['email', 'push']) as a"
        )
        connection.execute("select basalt.archive_notifications(), basalt.delete_old_deliveries()")
    with psycopg.connect(access.conninfo("authenticator")) as connection:
        connection.execute("set local role service_role")
        assert connection.execute("select count(*) from public.notification_events").fetchone() == (1,)
        connection.execute("set local role authenticated")
        assert connection.execute("select count(*) from public.notification_events").fetchone() == (0,)
