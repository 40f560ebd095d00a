"""pgmq as an extension: created, dropped, dumped and restored, upgraded, and on a server that is not ours."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from basalt.postgres import DatabaseAccess, access_from_url, apply_bootstrap, apply_migrations, find_postgres
from tests.postgres.test_bootstrap import managed_url  # noqa: F401  a fixture

pytestmark = pytest.mark.req("P10", "P3")

Connection = psycopg.Connection[tuple[Any, ...]]
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "queues.md"

# What the dashboard of Supabase runs to expose queues, as it stands in many projects' migrations.
EXPOSED_BY_A_DASHBOARD = """
create schema if not exists "pgmq";
create extension if not exists "pgmq" with schema "pgmq" version '1.4.4';
grant delete on table "pgmq"."meta" to "service_role";

create schema if not exists pgmq_public;
grant usage on schema pgmq_public to postgres, anon, authenticated, service_role;

create or replace function pgmq_public.pop(queue_name text) returns setof pgmq.message_record
language plpgsql set search_path = ''
as $$ begin return query select * from pgmq.pop(queue_name := queue_name); end; $$;
comment on function pgmq_public.pop(queue_name text) is 'Retrieves and locks the next message.';

create or replace function pgmq_public.send(queue_name text, message jsonb, sleep_seconds integer default 0)
returns setof bigint language plpgsql set search_path = ''
as $$
begin
    return query select * from pgmq.send(queue_name := queue_name, msg := message, delay := sleep_seconds);
end;
$$;

create or replace function pgmq_public.send_batch(queue_name text, messages jsonb[], sleep_seconds integer default 0)
returns setof bigint language plpgsql set search_path = ''
as $$
begin
    return query select * from pgmq.send_batch(queue_name := queue_name, msgs := messages, delay := sleep_seconds);
end;
$$;

create or replace function pgmq_public.archive(queue_name text, message_id bigint) returns boolean
language plpgsql set search_path = ''
as $$ begin return pgmq.archive(queue_name := queue_name, msg_id := message_id); end; $$;

create or replace function pgmq_public.delete(queue_name text, message_id bigint) returns boolean
language plpgsql set search_path = ''
as $$ begin return pgmq.delete(queue_name := queue_name, msg_id := message_id); end; $$;

create or replace function pgmq_public.read(queue_name text, sleep_seconds integer, n integer)
returns setof pgmq.message_record language plpgsql set search_path = ''
as $$
begin
    return query
    select * from pgmq.read(queue_name := queue_name, vt := sleep_seconds, qty := n{condition});
end;
$$;

grant execute on function pgmq_public.pop(text) to postgres, service_role, anon, authenticated;
grant execute on function pgmq.pop(text) to postgres, service_role, anon, authenticated;
grant execute on function pgmq_public.send(text, jsonb, integer) to postgres, service_role, anon, authenticated;
grant execute on function pgmq.send(text, jsonb, integer) to postgres, service_role, anon, authenticated;
grant execute on function pgmq_public.send_batch(text, jsonb[], integer) to postgres, service_role, anon, authenticated;
grant execute on function pgmq.send_batch(text, jsonb[], integer) to postgres, service_role, anon, authenticated;
grant execute on function pgmq_public.archive(text, bigint) to postgres, service_role, anon, authenticated;
grant execute on function pgmq.archive(text, bigint) to postgres, service_role, anon, authenticated;
grant execute on function pgmq_public.delete(text, bigint) to postgres, service_role, anon, authenticated;
grant execute on function pgmq.delete(text, bigint) to postgres, service_role, anon, authenticated;
grant execute on function pgmq_public.read(text, integer, integer) to postgres, service_role, anon, authenticated;
grant execute on function pgmq.read(text, integer, integer{argument}) to postgres, service_role, anon, authenticated;

grant all privileges on all tables in schema pgmq to postgres, service_role;
alter default privileges in schema pgmq grant all privileges on tables to postgres, service_role;
grant usage on schema pgmq to postgres, anon, authenticated, service_role;
grant usage, select, update on all sequences in schema pgmq to anon, authenticated, service_role;
alter default privileges in schema pgmq grant usage, select, update on sequences to anon, authenticated, service_role;

select pgmq.create('todos');
alter table "pgmq"."q_todos" enable row level security;
"""


@pytest.fixture
def session(database: DatabaseAccess) -> Iterator[Connection]:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        yield connection


def fill(session: Connection) -> None:
    """A queue with a message, an archived one, a grant, a policy, a binding and listeners."""
    session.execute(
        """
        select pgmq.create('Work');
        alter table pgmq.q_work enable row level security;
        create policy "all" on pgmq.q_work to authenticated using (true);
        grant select, insert on pgmq.q_work to authenticated;
        select pgmq.send_batch('work', '{1,2}'::jsonb[]);
        select pgmq.archive('work', 1);
        select pgmq.bind_topic('logs.*', 'work');
        select pgmq.enable_notify_insert('work');
        """
    )


def check_filled(session: Connection) -> None:
    assert session.execute("select queue_name from pgmq.list_queues()").fetchall() == [("Work",)]
    assert session.execute("select queue_length, total_messages from pgmq.metrics('work')").fetchall() == [
        (1, 2)
    ]
    assert session.execute("select message from pgmq.a_work").fetchall() == [(1,)]
    session.execute('listen "pgmq.q_Work.INSERT"')
    assert session.execute("select pgmq.send_topic('logs.error', '3')").fetchall() == [(1,)]
    session.execute("set role authenticated")
    assert session.execute("select * from pgmq_public.send('work', '4')").fetchall() == [(4,)]
    session.execute("reset role")
    assert [notice.channel for notice in session.notifies(timeout=0)] == ["pgmq.q_Work.INSERT"]
    assert session.execute("select message from pgmq.read('work', 0, 9)").fetchall() == [(2,), (3,), (4,)]
    assert session.execute("select pgmq.drop_queue('work')").fetchall() == [(True,)]


@pytest.mark.parametrize(("condition", "argument"), [("", ""), (", conditional := '{}'::jsonb", ", jsonb")])
def test_a_dashboards_way_to_expose_queues_applies_as_a_migration(
    database: DatabaseAccess, session: Connection, tmp_path: Path, condition: str, argument: str
) -> None:
    folder = tmp_path / "supabase" / "migrations"
    folder.mkdir(parents=True)
    text = EXPOSED_BY_A_DASHBOARD.replace("{condition}", condition).replace("{argument}", argument)
    (folder / "1_queues.sql").write_text(text)
    (folder / "2_again.sql").write_text(text + "alter extension pgmq update to '1.5.1';")

    assert len(apply_migrations(database, tmp_path).applied) == 2
    session.execute("set role service_role")
    assert session.execute("select * from pgmq_public.send('todos', '1')").fetchall() == [(1,)]
    assert session.execute("select msg_id from pgmq_public.read('todos', 0, 1)").fetchall() == [(1,)]
    session.execute("reset role")
    session.execute("drop extension pgmq")


def test_the_sql_of_the_page_runs_from_top_to_bottom(session: Connection) -> None:
    for block in re.findall(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        session.execute(block.encode())
    session.execute("insert into public.orders values (7, 12.50)")
    newest = "select message from pgmq.q_orders order by msg_id desc limit 1"
    assert session.execute(newest).fetchall() == [({"id": 7},)]


def test_queues_outlive_the_extension(session: Connection) -> None:
    session.execute("create extension pgmq")
    session.execute("select pgmq.create('work'), pgmq.send('work', '1')")
    session.execute("drop extension pgmq")
    functions = "select count(*) from pg_proc where pronamespace in ('pgmq'::regnamespace, 'pgmq_public'::regnamespace)"
    assert session.execute(functions).fetchall() == [(0,)]
    session.execute("create extension pgmq")
    session.execute("select pgmq.create('work')")
    assert session.execute("select message from pgmq.read('work', 0, 1)").fetchall() == [(1,)]


def test_an_upgrade_of_basalt_leaves_queues_and_owners_as_they_are(
    database: DatabaseAccess, session: Connection
) -> None:
    session.execute("create extension pgmq")
    fill(session)
    routines = [name for name in apply_bootstrap(database).applied if name.startswith("pgmq/routines/")]
    assert "pgmq/routines/read.sql" in routines
    owners = (
        "select distinct proowner::regrole::text from pg_proc "
        "where pronamespace in ('pgmq'::regnamespace, 'pgmq_public'::regnamespace)"
    )
    assert session.execute(owners).fetchall() == [("postgres",)]
    check_filled(session)
    session.execute("drop extension pgmq")


@pytest.mark.parametrize("role", ["postgres", "supabase_admin"])
def test_queues_survive_a_dump(
    database: DatabaseAccess, session: Connection, cluster_access: DatabaseAccess, role: str
) -> None:
    """As `postgres` the queues alone, into a database with the contract; as superuser all of it, into an empty one."""
    session.execute("create extension pgmq")
    fill(session)
    target = cluster_access.with_dbname(f"{database.dbname}_restored")
    with psycopg.connect(cluster_access.conninfo("supabase_admin"), autocommit=True) as admin:
        name = sql.Identifier(target.dbname)
        admin.execute(sql.SQL("create database {} template template0 owner postgres").format(name))
        try:
            if role == "postgres":
                apply_bootstrap(target)
                with psycopg.connect(target.conninfo("postgres"), autocommit=True) as restored:
                    restored.execute("create extension pgmq")
                copy(database, target, role, "--schema=pgmq", "--extension=pgmq")
            else:
                copy(database, target, role)
            with psycopg.connect(target.conninfo("postgres"), autocommit=True) as restored:
                check_filled(restored)
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(name))


def copy(source: DatabaseAccess, target: DatabaseAccess, role: str, *options: str) -> None:
    """pg_dump into psql. What the target has already (the schema, the extension) is passed over; a superuser's copy
    of everything must be without errors."""
    programs = find_postgres().bin_dir
    environ = {**os.environ, "PGPASSWORD": source.passwords[role]}
    dump = subprocess.run(
        [programs / "pg_dump", source.conninfo(role), *options],
        capture_output=True,
        env=environ,
        timeout=60,
        check=True,
    )
    restore = subprocess.run(
        [programs / "psql", "-q", target.conninfo(role)],
        input=dump.stdout,
        capture_output=True,
        env=environ,
        timeout=60,
    )
    errors = [line for line in restore.stderr.decode().splitlines() if "ERROR" in line]
    assert all("already exists" in line for line in errors), restore.stderr.decode()
    assert restore.returncode == 0
    assert len(errors) <= bool(options)


def test_a_managed_server_has_queues_without_superuser(managed_url: str, tmp_path: Path) -> None:  # noqa: F811
    access = access_from_url(managed_url, tmp_path)
    apply_bootstrap(access)
    with psycopg.connect(access.conninfo("postgres"), autocommit=True) as session:
        fill(session)
        session.execute("select basalt.ensure_service_policies()")
        with psycopg.connect(access.conninfo("authenticator"), autocommit=True) as request:
            request.execute("set role service_role")
            assert request.execute("select msg_id from pgmq_public.read('work', 0, 9)").fetchall() == [(2,)]
            request.execute("set role anon")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                request.execute("select pgmq_public.pop('work')")
        session.execute("grant authenticated to owner")
        check_filled(session)
