"""Migrations apply in order, each whole or not at all, and what goes wrong is said with its place."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from basalt.errors import BasaltError
from basalt.postgres import (
    DatabaseAccess,
    MigrationError,
    Progress,
    apply_migrations,
    list_migrations,
    list_wanted_extensions,
)
from basalt.postgres.migration_folder import compare, read_folder
from basalt.postgres.migrations import ADVISORY_LOCK
from tests.projects import write_project

pytestmark = [pytest.mark.req("P19", "P1")]

Query = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def query(database: DatabaseAccess) -> Query:
    def run(sql: str, *params: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
            return connection.execute(sql.encode(), params or None).fetchall()

    return run


def warnings_of(database: DatabaseAccess, project: Path) -> list[str]:
    told: list[Progress] = []
    apply_migrations(database, project, on_progress=told.append)
    return [step.detail for step in told if step.kind == "warning"]


def failure_of(database: DatabaseAccess, project: Path) -> MigrationError:
    with pytest.raises(MigrationError) as caught:
        apply_migrations(database, project)
    return caught.value


def test_pending_files_are_applied_in_order_and_recorded_as_the_supabase_cli_does(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    project = write_project(
        tmp_path,
        {
            "20240102000000_second.sql": "-- adds a row\ninsert into public.a values (1);\nselect 'x;y';\n",
            "20240101000000_first.sql": "create table public.a (id int);",
        },
    )

    told: list[Progress] = []
    report = apply_migrations(database, project, on_progress=told.append)

    assert [file.name for file in report.applied] == ["first", "second"]
    assert [(step.kind, step.file) for step in told][:2] == [
        ("applying", "supabase/migrations/20240101000000_first.sql"),
        ("applied", "supabase/migrations/20240101000000_first.sql"),
    ]
    assert query(
        "select version, name, statements from supabase_migrations.schema_migrations order by 1"
    ) == [
        ("20240101000000", "first", ["create table public.a (id int)"]),
        ("20240102000000", "second", ["-- adds a row\ninsert into public.a values (1)", "select 'x;y'"]),
    ]
    assert apply_migrations(database, project).applied == ()


def test_tables_belong_to_postgres(database: DatabaseAccess, tmp_path: Path, query: Query) -> None:
    apply_migrations(database, write_project(tmp_path, {"1_a.sql": "create table public.a (id int)"}))

    assert query("select tableowner from pg_tables where tablename = 'a'") == [("postgres",)]


def test_an_error_in_the_middle_leaves_nothing_of_its_file(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    project = write_project(
        tmp_path,
        {
            "1_good.sql": "create table public.good (id int primary key);",
            "2_bad.sql": (
                "create table public.bad (id int);\ninsert into public.good values (1);\n\n"
                "-- twice\ninsert into\n  public.good\nvalues (1);\ncreate table public.never ();"
            ),
            "3_later.sql": "create table public.later ();",
        },
    )

    error = failure_of(database, project)

    assert (error.file, error.line, error.sqlstate) == ("supabase/migrations/2_bad.sql", 5, "23505")
    assert "duplicate key" in error.reason
    assert error.statement == "insert into public.good values (1)"
    assert error.detail == "Key (id)=(1) already exists."
    assert "line 5" in error.message
    assert "Nothing of this file was kept." in error.message
    assert query("select tablename from pg_tables where schemaname = 'public'") == [("good",)]
    assert query("select count(*) from public.good") == [(0,)]
    assert query("select version from supabase_migrations.schema_migrations") == [("1",)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("select 1;\n\ncreate table public.t (\n  id int,\n  name texxt\n);", 5),
        ("select 1; select\n1 +\nnope;", 3),
        (
            "create table t ();\ncreate function public.f() returns int language plpgsql as $$\n"
            "begin\n  retrun 1;\nend\n$$;",
            4,
        ),
        ("create function public.f() returns int language sql as $f$\n  select\n    1 from nowhere\n$f$;", 3),
        ("\n\ndo\n$$\nbegin\n  perform 1;\n  raise exception 'CODE: no';\nend\n$$;", 7),
        ("do $$\ndeclare n int;\nbegin\n  execute 'select 1/0' into n;\nend $$", 4),
        ("select 1;\n\\i other.sql\n", 2),
        ("create table public.c (a int);\ncopy public.c from stdin;\n1\n2\nthree\n\\.\n", 5),
    ],
)
def test_an_error_names_its_line(database: DatabaseAccess, tmp_path: Path, text: str, line: int) -> None:
    assert failure_of(database, write_project(tmp_path, {"1_a.sql": text})).line == line


def test_an_error_shows_the_statement_shortened_and_postgresqls_hint(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    columns = ",\n".join(f"  column_{number} int" for number in range(200))
    project = write_project(tmp_path, {"1_a.sql": f"create table public.t (\n{columns},\n  last wrong\n);"})

    error = failure_of(database, project)

    assert error.line == 202
    assert ">  202 |   last wrong" in error.message
    assert "column_100" not in error.message
    assert len(error.statement) <= 200
    hint = failure_of(database, write_project(tmp_path, {"1_a.sql": "select upper(1)"})).hint
    assert hint is not None
    assert "explicit type casts" in hint


def test_an_error_at_commit_undoes_the_file(database: DatabaseAccess, tmp_path: Path, query: Query) -> None:
    text = (
        "create table public.a (id int primary key);\n"
        "create table public.b (a int references public.a deferrable initially deferred);\n"
        "insert into public.b values (7);"
    )

    error = failure_of(database, write_project(tmp_path, {"1_a.sql": text}))

    assert error.sqlstate == "23503"
    assert query("select 1 from pg_tables where schemaname = 'public'") == []
    assert query("select 1 from supabase_migrations.schema_migrations") == []


def test_a_file_that_is_not_utf_8_is_refused_in_words(database: DatabaseAccess, tmp_path: Path) -> None:
    project = write_project(tmp_path, {"1_a.sql": ""})
    (project / "supabase/migrations/1_a.sql").write_bytes(b"select '\xff';")

    assert "not valid UTF-8" in failure_of(database, project).reason


def test_a_nul_character_is_refused(database: DatabaseAccess, tmp_path: Path) -> None:
    assert (
        "NUL" in failure_of(database, write_project(tmp_path, {"1_a.sql": "select 1;\nselect '\0'"})).reason
    )


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    text = "\ufeffcreate table public.a (v text);\r\n-- note\r\n"
    text += "copy public.a from stdin;\r\nx\r\n\\.\r\nselect 1;\r\n"

    apply_migrations(database, write_project(tmp_path, {"1_a.sql": text}))

    assert query("select v from public.a") == [("x",)]


def test_an_index_can_be_made_concurrently(database: DatabaseAccess, tmp_path: Path, query: Query) -> None:
    project = write_project(
        tmp_path,
        {
            "1_a.sql": "create table public.a (id int);",
            "2_first.sql": "create index concurrently a_id on public.a (id);",
            "3_between.sql": (
                "alter table public.a add b int;\n"
                "create index concurrently a_b on public.a (b);\n"
                "alter table public.a add c int;\n"
                "create index concurrently a_c on public.a (c);"
            ),
        },
    )

    apply_migrations(database, project)

    assert len(query("select 1 from pg_indexes where tablename = 'a'")) == 3
    assert len(query("select 1 from supabase_migrations.schema_migrations")) == 3


def test_what_a_file_committed_itself_stays_and_is_said(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    text = "create table public.a (id int);\ncreate index concurrently on public.a (id);\n"
    text += "create table public.a ();"

    error = failure_of(database, write_project(tmp_path, {"1_a.sql": text}))

    assert (error.line, error.kept_line) == (3, 2)
    assert "up to line 2, stays" in error.message
    assert query("select 1 from pg_tables where tablename = 'a'") == [(1,)]
    assert query("select 1 from supabase_migrations.schema_migrations") == []


def test_a_files_own_begin_and_commit_are_its_transaction(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    project = write_project(
        tmp_path,
        {
            "1_a.sql": "begin;\ncreate table public.a (id int);\ncommit;\n-- done\n",
            "2_two.sql": "begin; create type public.mood as enum ('a'); commit;\n"
            "begin; alter type public.mood add value 'b'; end;\n"
            "create table public.m (v public.mood default 'b');",
        },
    )

    apply_migrations(database, project)

    assert query("select version from supabase_migrations.schema_migrations") == [("1",), ("2",)]
    assert query("select 1 from pg_tables where tablename = 'm'") == [(1,)]


def test_a_wrong_statement_in_a_files_own_transaction_leaves_nothing(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    text = "begin;\ncreate table public.a (id int);\nselect nonsense;\ncommit;"

    error = failure_of(database, write_project(tmp_path, {"1_a.sql": text}))

    assert (error.line, error.kept_line) == (3, None)
    assert query("select 1 from pg_tables where tablename = 'a'") == []


def test_a_begin_without_commit_is_committed_at_the_end(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    apply_migrations(database, write_project(tmp_path, {"1_a.sql": "begin; create table public.a (id int);"}))

    assert query("select 1 from pg_tables where tablename = 'a'") == [(1,)]


def test_a_files_own_rollback_undoes_only_what_precedes_it(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    text = "begin; create table public.a (); rollback; create table public.b ();"

    apply_migrations(database, write_project(tmp_path, {"1_a.sql": text}))

    assert query("select tablename from pg_tables where schemaname = 'public'") == [("b",)]


def test_a_comment_turns_the_transaction_off(database: DatabaseAccess, tmp_path: Path, query: Query) -> None:
    text = "-- basalt: no-transaction\ncreate table public.a ();\ncreate table public.a ();"

    error = failure_of(database, write_project(tmp_path, {"1_a.sql": text}))

    assert error.kept_line == 2
    assert query("select 1 from pg_tables where tablename = 'a'") == [(1,)]


def test_sessions_are_reset_between_files(database: DatabaseAccess, tmp_path: Path, query: Query) -> None:
    project = write_project(
        tmp_path,
        {
            "1_dump.sql": (
                "\\restrict token\nSET statement_timeout = 0;\nSET transaction_timeout = 0;\n"
                "SELECT pg_catalog.set_config('search_path', '', false);\n"
                "SET check_function_bodies = false;\n"
                "create temporary table leftover (); set role service_role;\n\\unrestrict token\n"
            ),
            "2_a.sql": "create table a (id uuid default uuid_generate_v4(), at text default current_user);",
            "3_b.sql": "insert into a default values; create table leftover ();",
        },
    )

    apply_migrations(database, project)

    assert query("select at from public.a") == [("postgres",)]


def test_files_with_other_names_are_passed_over_and_said(database: DatabaseAccess, tmp_path: Path) -> None:
    project = write_project(
        tmp_path,
        {
            "20210101000000_init.sql": "select nonsense;",
            "20240101000000_a.sql": "select 1;",
            "fix_policies.sql": "select nonsense;",
            "5b_more.sql": "select nonsense;",
            "README.md": "hello",
        },
    )

    told: list[Progress] = []
    report = apply_migrations(database, project, on_progress=told.append)

    assert [file.name for file in report.applied] == ["a"]
    assert sorted(step.file.rpartition("/")[2] for step in told if step.kind == "skipped") == [
        "20210101000000_init.sql",
        "5b_more.sql",
        "fix_policies.sql",
    ]


def test_two_files_of_one_version_are_both_applied(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    project = write_project(
        tmp_path, {"1_a.sql": "create table public.a ();", "1_b.sql": "create table public.b ();"}
    )

    warnings = warnings_of(database, project)

    assert warnings == ["supabase/migrations/1_b.sql: version 1 occurs twice; both files are applied"]
    assert query(
        "select version, name, cardinality(statements) from supabase_migrations.schema_migrations"
    ) == [("1", "a, b", 2)]
    write_project(tmp_path, {"1_c.sql": "create table public.c ();"})
    assert [file.name for file in apply_migrations(database, project).applied] == ["c"]
    assert {status.state for status in list_migrations(database, project)} == {"applied"}


def test_an_older_file_is_applied_with_a_warning(database: DatabaseAccess, tmp_path: Path) -> None:
    project = write_project(tmp_path, {"2_b.sql": "select 1;"})
    apply_migrations(database, project)

    warnings = warnings_of(database, write_project(tmp_path, {"1_a.sql": "select 1;"}))

    assert warnings == ["supabase/migrations/1_a.sql is older than 2, which is applied already"]


def test_the_list_shows_applied_pending_and_missing(database: DatabaseAccess, tmp_path: Path) -> None:
    project = write_project(tmp_path, {"1_a.sql": "select 1;", "2_b.sql": "select 1;"})
    assert [status.state for status in list_migrations(database, project)] == ["pending", "pending"]
    apply_migrations(database, project)
    (project / "supabase/migrations/1_a.sql").unlink()
    write_project(tmp_path, {"3_c.sql": "select 1;"})

    states = [(status.version, status.name, status.state) for status in list_migrations(database, project)]

    assert states == [("1", "a", "missing"), ("2", "b", "applied"), ("3", "c", "pending")]
    assert warnings_of(database, project) == ["Applied, but not in supabase/migrations: 1"]


def test_a_project_without_migrations_has_none(database: DatabaseAccess, tmp_path: Path) -> None:
    assert apply_migrations(database, tmp_path).applied == ()
    assert list_migrations(database, tmp_path) == []


def test_the_history_of_an_older_cli_is_understood(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    with psycopg.connect(database.conninfo("postgres")) as connection:
        connection.execute("create schema if not exists supabase_migrations")
        connection.execute("drop table if exists supabase_migrations.schema_migrations")
        connection.execute(
            "create table supabase_migrations.schema_migrations (version text not null primary key)"
        )
        connection.execute("insert into supabase_migrations.schema_migrations values ('1')")
    project = write_project(tmp_path, {"1_a.sql": "select nonsense;", "2_b.sql": "select 1;"})

    assert [status.state for status in list_migrations(database, project)] == ["applied", "pending"]
    assert [file.name for file in apply_migrations(database, project).applied] == ["b"]


def test_two_processes_apply_each_file_once(database: DatabaseAccess, tmp_path: Path, query: Query) -> None:
    files = {
        f"{number}_a.sql": "insert into public.log values (1); select pg_sleep(0.02);"
        for number in range(2, 8)
    }
    project = write_project(tmp_path, {"1_log.sql": "create table public.log (id int);", **files})
    errors: list[Exception] = []

    def run() -> None:
        try:
            apply_migrations(database, project)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert query("select count(*) from public.log") == [(6,)]
    assert (
        query("select 1 from pg_locks where locktype = 'advisory' and objid = %s::bit(32)::int", "0" * 32)
        == []
    )


def test_roles_come_before_the_first_migration_and_once(database: DatabaseAccess, tmp_path: Path) -> None:
    roles = "create role migration_reader nologin;"
    project = write_project(tmp_path, {"roles.sql": roles, "1_a.sql": "select nonsense;"})
    try:
        failure_of(database, project)
        write_project(tmp_path, {"1_a.sql": "grant usage on schema public to migration_reader;"})
        apply_migrations(database, project)
        write_project(tmp_path, {"2_b.sql": "select 1;"})
        apply_migrations(database, project)
    finally:
        with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
            connection.execute("drop owned by migration_reader")
            connection.execute("drop role migration_reader")


def test_extensions_that_are_installed_are_created_in_their_place(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    text = (
        "create schema geo;\n"
        'create extension if not exists "postgis" with schema geo;\n'
        "create extension citext schema extensions cascade;\n"
        'create extension "uuid-ossp";\n'
        "comment on extension citext is 'case';\n"
        "create table public.places (at geo.geography(point, 4326), name citext);\n"
        "drop extension if exists citext cascade;"
    )

    apply_migrations(database, write_project(tmp_path, {"1_a.sql": text}))

    assert query(
        "select nspname from pg_extension e join pg_namespace n on n.oid = extnamespace "
        "where extname = 'postgis'"
    ) == [("geo",)]
    assert query("select 1 from pg_extension where extname = 'citext'") == []


def test_an_extension_is_undone_with_its_file(database: DatabaseAccess, tmp_path: Path, query: Query) -> None:
    failure_of(database, write_project(tmp_path, {"1_a.sql": "create extension hstore;\nselect nonsense;"}))

    assert query("select 1 from pg_extension where extname = 'hstore'") == []


@pytest.mark.req("P3")
@pytest.mark.parametrize(
    "statement",
    [
        'create extension if not exists "pg_net" with schema "extensions"',
        "create extension pg_net",
        "create extension if not exists pg_cron with schema pg_catalog",
        "create extension pg_cron with schema extensions",
        "create extension if not exists supabase_vault with schema vault cascade",
        "create extension if not exists pg_graphql with schema graphql",
        "create extension if not exists pgjwt with schema extensions",
        "create extension if not exists pgmq",
        'create extension if not exists "pgmq" with schema "pgmq" version \'1.4.4\'',
        "create extension if not exists pg_net with schema extensions version '0.14.0'",
        "alter extension pgmq update to '1.5.1'",
        "create extension if not exists pgsodium with schema pgsodium",
        'create extension if not exists "pg_stat_statements" with schema "extensions"',
        "create extension if not exists plpgsql with schema pg_catalog",
        "drop extension if exists pg_net",
        "comment on extension pg_graphql is 'x'",
        "comment on extension plpgsql is 'x'",
    ],
)
def test_what_a_dump_of_supabase_says_of_its_extensions_is_accepted(
    database: DatabaseAccess, tmp_path: Path, statement: str
) -> None:
    project = write_project(tmp_path, {"1_a.sql": f"{statement};", "2_b.sql": f"{statement};"})

    assert len(apply_migrations(database, project).applied) == 2


@pytest.mark.req("P3", "P27")
def test_an_extension_of_the_project_moves_to_another_schema(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    text = "create extension citext with schema public; alter extension citext set schema extensions;"
    apply_migrations(database, write_project(tmp_path, {"1_a.sql": text}))

    assert query("select extnamespace::regnamespace::text from pg_extension where extname = 'citext'") == [
        ("extensions",)
    ]


@pytest.mark.req("P3")
def test_a_dispensable_extension_is_left_out_with_one_warning(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    text = (
        "create extension if not exists hypopg with schema extensions;\ncomment on extension hypopg is 'x';\n"
    )
    project = write_project(tmp_path, {"1_a.sql": text, "2_b.sql": text + "alter extension hypopg update;"})

    assert warnings_of(database, project) == [
        "supabase/migrations/1_a.sql, line 1: extension hypopg is not installed on this server "
        "and is left out; nothing else depends on it"
    ]


@pytest.mark.req("P3")
def test_a_missing_extension_is_an_error_before_anything_changes(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    project = write_project(
        tmp_path,
        {
            "1_a.sql": "create table public.a ();",
            "2_b.sql": "-- clusters\ncreate extension if not exists timescaledb;",
        },
    )

    error = failure_of(database, project)

    assert (error.file, error.line) == ("supabase/migrations/2_b.sql", 2)
    assert "timescaledb is not available" in error.reason
    assert error.hint is not None
    assert "apt-get install postgresql-" in error.hint
    assert query("select 1 from pg_tables where tablename = 'a'") == []


def test_wanted_extensions_are_those_that_a_server_must_offer(tmp_path: Path) -> None:
    project = write_project(
        tmp_path,
        {
            "1_a.sql": "create extension postgis; CREATE  EXTENSION pg_net; -- create extension nope;",
            "2_b.sql": "select 'create extension nope'; create extension hypopg;\ncreate\nextension vector;",
            "seed.sql": "create extension hstore;",
        },
    )

    assert list_wanted_extensions(project / "supabase") == {"postgis", "vector", "hstore"}


def test_versions_compare_as_text_like_the_cli(tmp_path: Path) -> None:
    project = write_project(tmp_path, {"0002_b.sql": "", "0010_c.sql": "", "00_a.sql": ""})

    folder = read_folder(project)

    assert [file.version for file in folder.files] == ["0002", "0010", "00"]
    assert {status.state for status in compare(folder.files, {"0002": "b"})} == {"applied", "pending"}
    assert ADVISORY_LOCK < 2**63


@pytest.mark.req("P3")
def test_triggers_on_users_and_policies_on_objects_can_be_made(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    text = """
        create table public.profiles (id uuid primary key references auth.users on delete cascade, name text);
        alter table public.profiles enable row level security;
        create policy "own" on public.profiles for select to authenticated using ((select auth.uid()) = id);
        create function public.handle_new_user() returns trigger language plpgsql security definer
        set search_path = '' as $$
        begin
            insert into public.profiles values (new.id, new.raw_user_meta_data ->> 'name');
            return new;
        end;
        $$;
        create trigger on_auth_user_created after insert on auth.users
            for each row execute function public.handle_new_user();
        insert into storage.buckets (id, name, public) values ('avatars', 'avatars', true);
        create policy "avatars are public" on storage.objects for select using (bucket_id = 'avatars');
        alter publication supabase_realtime add table public.profiles;
        alter role authenticator set pgrst.db_aggregates_enabled = 'true';
        alter role authenticator reset pgrst.db_aggregates_enabled;
        notify pgrst, 'reload config';
    """

    apply_migrations(database, write_project(tmp_path, {"1_a.sql": text}))

    assert query("select policyname from pg_policies where tablename = 'profiles'") == [("own",)]


def test_a_server_that_does_not_answer_is_one_sentence(database: DatabaseAccess, tmp_path: Path) -> None:
    with pytest.raises(BasaltError, match=r"Database nowhere on .* cannot be reached") as caught:
        list_migrations(database.with_dbname("nowhere"), tmp_path)

    assert caught.value.code == "database_unreachable"


def test_a_history_that_cannot_be_written_is_said_with_the_file(
    database: DatabaseAccess, tmp_path: Path, query: Query
) -> None:
    text = "create table public.a ();\ndrop table supabase_migrations.schema_migrations;"

    error = failure_of(database, write_project(tmp_path, {"1_a.sql": text}))

    assert (error.file, error.sqlstate) == ("supabase/migrations/1_a.sql", "42P01")
    assert query("select 1 from pg_tables where tablename = 'a'") == []
