"""Each check finds what it is for and nothing beside it, and the SQL that it proposes mends it."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from basalt.postgres import (
    SCHEMA_CHECKS,
    UNUSED_INDEX,
    USAGE_CHECKS,
    DatabaseAccess,
    Finding,
    SqlCheck,
    apply_module,
    run_checks,
)
from basalt.postgres.advice import sql_check

pytestmark = [pytest.mark.req("P17", "P19", "P21")]

WRONG = """
create table public.open_notes (id bigint primary key, body text);
create table public.shut (id bigint primary key);
alter table public.shut enable row level security;
create table public.idle_policy (id bigint primary key, owner_id uuid);
create policy "owners" on public.idle_policy using ((select auth.uid()) = owner_id);
create index on public.idle_policy (owner_id);

create table public.orders (
    id bigint primary key, user_id uuid not null references auth.users (id) on delete cascade, kind text, total int);
alter table public.orders enable row level security;
create policy "owners read their own" on public.orders for select to authenticated using (auth.uid() = user_id);
create policy "staff read all" on public.orders for select to authenticated
    using ((select auth.jwt()) -> 'user_metadata' ->> 'role' = 'staff');
create policy "anybody orders" on public.orders for insert to anon, authenticated with check (true);

create table public.items (
    order_id bigint references public.orders (id), place int, name text, unique (order_id, place));
alter table public.items enable row level security;
create policy "with the order" on public.items for select to authenticated
    using (exists (select from public.orders as o where o.id = order_id and o.user_id = (select auth.uid())));
create index items_name_idx on public.items (name);
create index items_name_again_idx on public.items (name);
alter publication supabase_realtime add table public.items;

create view public.all_orders as select * from public.orders;
create view public.orders_of_caller with (security_invoker = true) as select * from public.orders;
create view public.people as select id, email from auth.users;
create materialized view public.totals as select user_id, sum(total) from public.orders group by user_id;

create function public.promote(who uuid) returns void language sql security definer
    as 'update orders set kind = ''gold'' where user_id = who';
create function public.note() returns trigger language plpgsql security definer as 'begin return new; end';
create function public.pinned() returns int language sql security definer set search_path = '' as 'select 1';
create function public.plain() returns int language sql as 'select 1';

create schema back_office;
create table back_office.ledger (id bigint primary key, order_id bigint references public.orders (id));
"""

EXPECTED = {
    ("rls_disabled_in_public", "error", "public.open_notes"),
    ("policy_exists_rls_disabled", "error", "public.idle_policy"),
    ("rls_enabled_no_policy", "info", "public.shut"),
    ("security_definer_view", "error", "public.all_orders"),
    ("security_definer_view", "error", "public.people"),
    ("auth_users_exposed", "error", "public.people"),
    ("materialized_view_in_api", "warning", "public.totals"),
    ("function_search_path_mutable", "error", "public.promote(who uuid)"),
    ("function_search_path_mutable", "warning", "public.note()"),
    ("security_definer_executable", "warning", "public.promote(who uuid)"),
    ("security_definer_executable", "warning", "public.pinned()"),
    ("auth_rls_initplan", "warning", '"owners read their own" on public.orders'),
    ("rls_references_user_metadata", "error", '"staff read all" on public.orders'),
    ("rls_policy_always_true", "warning", '"anybody orders" on public.orders'),
    ("policy_column_without_index", "warning", "public.orders"),
    ("multiple_permissive_policies", "info", "public.orders"),
    ("unindexed_foreign_keys", "info", "public.orders"),
    ("unindexed_foreign_keys", "info", "back_office.ledger"),
    ("duplicate_index", "warning", "public.items_name_again_idx"),
    ("no_primary_key", "error", "public.items"),
}


# Whether two policies can be one is for a person to tell.
WITHOUT_SQL = "multiple_permissive_policies"

# Every name is as bad as a name can be.
HOSTILE = """
create table {table} ({id} int, {owner} uuid references auth.users (id), {other} int);
alter table {table} enable row level security;
create policy {policy} on {table} using (auth.uid() = {owner} and {other} = 1) with check (true);
create policy {second} on {table} to authenticated using (auth.jwt() #>> '{{user_metadata,role}}' = 'staff');
create index {index} on {table} ({other});
create index {twin} on {table} ({other});
alter publication supabase_realtime add table {table};
create table {open} ({id} int primary key);
create table {shut} ({id} int primary key);
alter table {shut} enable row level security;
create table {idle} ({id} int primary key);
create policy {policy} on {idle} for insert with check (true);
create view {view} as select * from {table};
create view {people} as select email from auth.users;
create materialized view {totals} as select 1 as one;
grant select on {totals}, {people} to public;
create function {routine}({id} int) returns int language sql security definer as 'select 1';
"""
NAMES = (
    *("table", "open", "shut", "idle", "id", "owner", "other", "policy", "second", "index", "twin", "view"),
    *("people", "totals", "routine"),
)


def look(database: DatabaseAccess) -> list[Finding]:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        runs = list(
            run_checks(connection, [*SCHEMA_CHECKS, *USAGE_CHECKS], schemas=["public", "graphql_public"])
        )
    assert [(run.check.name, run.unseen) for run in runs if run.unseen] == []
    return [finding for run in runs for finding in run.findings]


def facts(findings: Sequence[Finding]) -> set[tuple[str, str, str]]:
    return {(finding.check, finding.severity, finding.subject) for finding in findings}


def found(database: DatabaseAccess, check: str) -> list[str]:
    return [finding.subject for finding in look(database) if finding.check == check]


def execute(database: DatabaseAccess, *statements: str) -> None:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def mend(database: DatabaseAccess) -> None:
    """A policy and a foreign key may ask for the same index, two findings of a policy for the same change."""
    execute(database, *dict.fromkeys(finding.remedy for finding in look(database) if finding.remedy))


def test_a_database_with_the_contract_alone_needs_no_advice(database: DatabaseAccess) -> None:
    assert look(database) == []


def test_extensions_need_no_advice(database: DatabaseAccess) -> None:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        for name in ("pg_cron", "pg_net", "pgmq"):
            connection.execute(f"create extension if not exists {name}".encode())
        connection.execute("create extension if not exists hstore with schema extensions")
        connection.execute("create extension if not exists pgjwt with schema extensions")
        connection.execute("select pgmq.create('orders')")
    assert look(database) == []


def test_tables_of_a_module_are_no_errors(database: DatabaseAccess) -> None:
    """They are in `public`, where an app extends them: what is true of them is told as of any other."""
    apply_module(database, "notify", {})
    assert facts(look(database)) <= {
        ("rls_enabled_no_policy", "info", "public.notification_templates"),
        ("security_definer_executable", "info", "public.mark_queue_item_read(queue_id bigint)"),
        (
            "security_definer_executable",
            "info",
            "public.register_notification_channel(channel text, address text, provider text, label text)",
        ),
        ("policy_column_without_index", "warning", "public.notification_events"),
        ("unindexed_foreign_keys", "info", "public.notification_queue"),
    }


def test_every_check_finds_what_it_is_for_and_nothing_else(database: DatabaseAccess) -> None:
    execute(database, WRONG)
    findings = look(database)
    assert facts(findings) == EXPECTED
    assert len(findings) == len(EXPECTED)
    assert all(finding.why and finding.what for finding in findings)
    assert {finding.schema for finding in findings} == {"public", "back_office"}


def test_the_proposed_sql_mends_what_it_stands_beside(database: DatabaseAccess) -> None:
    execute(database, WRONG)
    before = facts(look(database))
    mend(database)
    left = facts(look(database))
    assert {check for check, _, _ in left & before} == {WITHOUT_SQL}
    assert left - before == {("rls_enabled_no_policy", "info", "public.open_notes")}  # that is the next step
    mend(database)
    assert {check for check, _, _ in facts(look(database))} == {WITHOUT_SQL}
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        policies = dict(connection.execute("select policyname, qual from pg_policies").fetchall())
        assert "( SELECT auth.uid() AS uid) = user_id" in policies["owners read their own"]
        assert "'app_metadata'" in policies["staff read all"]
        connection.execute("select public.promote(gen_random_uuid())")  # finds its table as before


def test_names_with_odd_letters_come_quoted_in_the_sql(database: DatabaseAccess) -> None:
    names = {name: sql.Identifier(f"{name[:8]} \"B; --'%s\n$$)(drop") for name in NAMES}
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL(HOSTILE).format(**names))
    checks = {finding.check for finding in look(database)}
    assert checks == {check for check, _, _ in EXPECTED}
    for _ in range(3):  # row-level security wants policies, and a policy that lets everybody in goes
        mend(database)
    assert {finding.check for finding in look(database)} == {WITHOUT_SQL}


def test_a_call_is_bare_where_it_runs_for_every_row(database: DatabaseAccess) -> None:
    execute(
        database,
        """
        create function public.is_member(uuid, int) returns boolean language sql as 'select true';
        create table public.teams (id int primary key, tenant_id uuid, name text);
        alter table public.teams enable row level security;
        create policy "once" on public.teams for select
            using (tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
        create policy "once, in a call" on public.teams for update
            using ((select coalesce(auth.uid(), '0b2e6f0e-6b4e-4b0e-8b0e-0b2e6f0e6b4e')) = tenant_id);
        create policy "for each row" on public.teams for delete
            using ((select public.is_member(auth.uid(), id)) and name <> 'auth.uid()');
        create index on public.teams (tenant_id);
        """,
    )
    [finding] = [each for each in look(database) if each.check == "auth_rls_initplan"]
    assert finding.subject == '"for each row" on public.teams'
    execute(database, finding.remedy)
    assert found(database, "auth_rls_initplan") == []
    with psycopg.connect(database.conninfo("postgres")) as connection:
        row = connection.execute("select qual from pg_policies where policyname = 'for each row'").fetchone()
    assert row is not None
    assert "name <> 'auth.uid()'::text" in row[0]


def test_an_index_lacks_where_one_would_serve(database: DatabaseAccess) -> None:
    execute(
        database,
        """
        create table public.members (team_id int, "userId" uuid, primary key (team_id, "userId"));
        create table public.notes (id int primary key, team_id int, author uuid, is_public boolean,
            owner_email varchar(100), serial int);
        alter table public.members enable row level security;
        alter table public.notes enable row level security;
        create policy "members" on public.members for select using ("userId" = (select auth.uid()));
        create policy "of their teams" on public.notes for select using (team_id in
            (select m.team_id from public.members as m where m."userId" = (select auth.uid())));
        create policy "public or own" on public.notes for update using (is_public or author = (select auth.uid()));
        create policy "by address" on public.notes for delete using (owner_email = (select auth.email()));
        create policy "cast" on public.notes as restrictive for delete
            using (serial::text = (select auth.jwt() ->> 'serial'));
        """,
    )
    findings = [each for each in look(database) if each.check == "policy_column_without_index"]
    assert {(each.subject, each.remedy) for each in findings} == {
        ("public.members", 'create index on public.members ("userId");'),
        ("public.notes", "create index on public.notes (owner_email);"),
    }


def test_policies_on_tables_of_the_platform_are_the_projects(database: DatabaseAccess) -> None:
    execute(
        database,
        'create policy "avatars" on storage.objects for insert with check (true)',
        'create policy "topics" on realtime.messages for select using (auth.uid() is not null)',
    )
    assert facts(look(database)) == {
        ("rls_policy_always_true", "warning", "avatars on storage.objects"),
        ("auth_rls_initplan", "warning", "topics on realtime.messages"),
    }
    mend(database)
    assert look(database) == []


def test_a_policy_that_is_half_true_is_mended_by_its_other_half(database: DatabaseAccess) -> None:
    execute(
        database,
        """
        create table public.notes (id int primary key, owner uuid);
        create index on public.notes (owner);
        alter table public.notes enable row level security;
        create policy "read all, write own" on public.notes to authenticated
            using (true) with check (owner = (select auth.uid()));
        create table public.gifts (id int primary key, owner uuid);
        create index on public.gifts (owner);
        alter table public.gifts enable row level security;
        create policy "give away" on public.gifts for update to authenticated
            using (owner = (select auth.uid())) with check (true);
        """,
    )
    told = {each.subject: each.what for each in look(database) if each.check == "rls_policy_always_true"}
    assert told == {
        '"read all, write own" on public.notes': "lets authenticated update or delete any row",
        '"give away" on public.gifts': "lets authenticated write rows that are anybody's",
    }
    mend(database)
    assert found(database, "rls_policy_always_true") == []
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("insert into public.notes values (1, gen_random_uuid())")
        connection.execute("set role authenticated")
        assert connection.execute("select count(*) from public.notes").fetchone() == (1,)
        assert connection.execute("delete from public.notes").rowcount == 0


def test_what_only_looks_wrong_is_left_alone(database: DatabaseAccess) -> None:
    execute(
        database,
        """
        create table public.orders (id int primary key, user_id uuid references auth.users (id), user_metadata jsonb,
            a int, b int, unique (a, b), kind text);
        create index on public.orders (user_id) where user_id is not null;
        create unique index on public.orders (a) include (b);
        alter table public.orders enable row level security;
        create policy "staff" on public.orders for select using (user_metadata ->> 'kind' = 'open');
        create view public.mine with (security_invoker = 1) as select * from public.orders;
        create view public.also_mine with (security_invoker = yes) as select * from public.mine;
        create table public.log (at timestamptz, kind text) partition by range (at);
        create table public.log_1 partition of public.log for values from ('2030-01-01') to ('2031-01-01');
        create index on public.log (kind);
        alter table public.log add primary key (at);
        alter table public.log enable row level security;
        alter table public.log_1 enable row level security;
        create policy "read" on public.log for select using (true);
        """,
    )
    assert look(database) == []


def test_a_grant_of_one_column_and_one_to_public_expose_a_relation(database: DatabaseAccess) -> None:
    execute(
        database,
        """
        create table public.people (id int primary key, name text);
        revoke all on public.people from anon, authenticated;
        create materialized view public.names as select name from public.people;
        revoke all on public.names from anon, authenticated;
        """,
    )
    assert look(database) == []
    execute(
        database, "grant select (name) on public.people to anon", "grant select on public.names to public"
    )
    assert facts(look(database)) == {
        ("rls_disabled_in_public", "error", "public.people"),
        ("materialized_view_in_api", "warning", "public.names"),
    }
    mend(database)
    assert found(database, "materialized_view_in_api") == []


def test_a_routine_that_asks_who_calls_is_a_remark(database: DatabaseAccess) -> None:
    execute(
        database,
        "create function public.mine() returns uuid language sql security definer set search_path = '' "
        "begin atomic select auth.uid(); end",
        "create schema inside",
        "create function inside.caller() returns uuid language sql as 'select auth.uid()'",
        "create function public.own() returns uuid language plpgsql security definer set search_path = '' "
        "as 'begin return inside.caller(); end'",
        "create function public.all_of_it() returns int language sql security definer set search_path = '' "
        "as 'select 1'",
    )
    assert facts(look(database)) == {
        ("security_definer_executable", "info", "public.mine()"),
        ("security_definer_executable", "info", "public.own()"),
        ("security_definer_executable", "warning", "public.all_of_it()"),
    }


def test_an_extension_in_public_moves_out(database: DatabaseAccess) -> None:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("create extension citext with schema public")
        [finding] = look(database)
        assert (finding.check, finding.subject) == ("extension_in_public", "citext")
        connection.execute(finding.remedy.encode())
    assert look(database) == []


def test_an_extension_of_the_projects_own_moves_out_too(database: DatabaseAccess) -> None:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("create extension citext with schema public")
        connection.execute("create table public.people (id int primary key, name citext)")
        connection.execute("alter table public.people enable row level security")
        [finding] = [each for each in look(database) if each.check == "extension_in_public"]
        connection.execute(finding.remedy.encode())
    assert [each for each in look(database) if each.check == "extension_in_public"] == []


def test_an_extension_is_moved_for_its_owner_and_to_where_postgres_may_create(
    database: DatabaseAccess,
) -> None:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("create extension citext with schema public")
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="owner of extension citext"):
            connection.execute("select basalt.move_extension('citext')")
        connection.execute("create extension hstore with schema public")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="schema pg_catalog"):
            connection.execute("select basalt.move_extension('hstore', 'pg_catalog')")
        with pytest.raises(psycopg.errors.UndefinedObject):
            connection.execute("select basalt.move_extension('unheard_of')")
        connection.execute("set role service_role")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select basalt.move_extension('hstore')")


@pytest.mark.parametrize(
    ("columns", "remedy"),
    [
        ("id int, name text", "add column row_id bigint generated always as identity primary key"),
        ("name text", "add column id bigint generated always as identity primary key"),
        ("id int not null unique", "add primary key (id)"),
    ],
    ids=["id-is-taken", "id-is-free", "key-is-there"],
)
def test_a_table_without_a_key_gets_one(database: DatabaseAccess, columns: str, remedy: str) -> None:
    execute(
        database,
        f"create schema inside; create table inside.rows ({columns})",
        "alter table inside.rows replica identity nothing",
        "alter publication supabase_realtime add table inside.rows",
    )
    [finding] = look(database)
    assert (finding.check, finding.severity) == ("no_primary_key", "error")
    assert remedy in finding.remedy
    execute(database, finding.remedy)
    assert found(database, "no_primary_key") == []
    execute(database, "delete from inside.rows")


def test_the_index_of_a_partition_goes_with_its_parents(database: DatabaseAccess) -> None:
    execute(
        database,
        """
        create schema inside;
        create table inside.log (at int primary key, kind text) partition by range (at);
        create table inside.log_1 partition of inside.log for values from (1) to (9);
        create index log_kind on inside.log (kind);
        create index log_kind_again on inside.log (kind);
        create index log_1_alone on inside.log_1 (kind);
        """,
    )
    assert found(database, "duplicate_index") == ["inside.log_1_alone", "inside.log_kind_again"]
    mend(database)
    assert look(database) == []


def test_a_sequence_near_its_end_grows_with_its_column(database: DatabaseAccess) -> None:
    execute(
        database,
        "create schema inside",
        "create table inside.serials (id serial primary key)",
        "create table inside.identities (id int generated always as identity primary key)",
        "select setval('inside.serials_id_seq', 2147483640), setval('inside.identities_id_seq', 2147483640)",
    )
    assert len(found(database, "sequence_exhausted")) == 2
    mend(database)
    assert look(database) == []
    execute(
        database,
        "insert into inside.serials select from generate_series(1, 20)",
        "insert into inside.identities select from generate_series(1, 20)",
    )


def test_an_index_that_nothing_uses_may_go_and_one_of_a_foreign_key_stays(database: DatabaseAccess) -> None:
    at_once = replace(
        UNUSED_INDEX, statement=UNUSED_INDEX.statement.replace("interval '7 days'", "interval '0'")
    )
    execute(
        database,
        "create schema inside",
        "create table inside.shelves (id int primary key)",
        "create table inside.books (id int primary key, shelf int references inside.shelves, title text, page int)",
        "insert into inside.books select n, null, 'title ' || n, n from generate_series(1, 50000) as n",
        "create index on inside.books (shelf)",
        "create index on inside.books (title)",
        "create unique index on inside.books (page)",
    )
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        [run] = run_checks(connection, [at_once], schemas=[])
        assert [finding.remedy for finding in run.findings] == ["drop index inside.books_title_idx;"]
        connection.execute(run.findings[0].remedy.encode())
        [run] = run_checks(connection, [at_once], schemas=[])
        assert run.findings == []


def test_a_check_that_fails_hides_no_other(database: DatabaseAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_check, "STATEMENT_LIMIT_S", 1)
    execute(
        database,
        "create table public.locked (id int primary key); create table public.own (id int primary key)",
    )
    failing = {
        "divides": "select 1 / 0",
        "misses": "select status from public.own",
        "reads": "select pg_sleep(0.1) from no.where",
        "writes": "insert into public.own values (1)",
        "waits": "select id from public.locked",
        "takes long": "select pg_sleep(20)",
    }
    checks = [
        SqlCheck(name=name, group="", severity="info", title="", why="", statement=statement)  # type: ignore[arg-type]
        for name, statement in failing.items()
    ]
    with (
        psycopg.connect(database.conninfo("postgres")) as holder,
        psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection,
    ):
        holder.execute("lock table public.locked")
        runs = list(run_checks(connection, [*checks, *SCHEMA_CHECKS], schemas=["public"]))
    assert [run.check.name for run in runs if run.unseen] == list(failing)
    told = {run.check.name: run.unseen for run in runs}
    assert told["takes long"] == "took longer than 1 s"
    assert told["divides"] == "division by zero"
    assert ("rls_disabled_in_public", "error", "public.own") in facts(
        [finding for run in runs for finding in run.findings]
    )


def test_a_server_that_falls_silent_is_not_waited_for(
    database: DatabaseAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_check, "STATEMENT_LIMIT_S", 0.5)
    monkeypatch.setattr(sql_check, "SILENCE_LIMIT_S", 0.5)
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(psycopg.OperationalError, match="did not answer within 1 s"):
                list(run_checks(connection, SCHEMA_CHECKS, schemas=["public"]))
            assert time.monotonic() - began < 10
        finally:
            os.kill(backend, signal.SIGCONT)


@pytest.mark.long
def test_a_thousand_tables_are_looked_at_in_seconds(database: DatabaseAccess) -> None:
    script = """
        set session_replication_role = replica;  -- without the event triggers, which would take most of the time
        set role postgres;
        do $$ begin
            for n in 1 .. 1000 loop
                execute format('create table public.t%s (id int primary key, owner uuid, parent int references '
                    'public.t%s (id))', n, greatest(n - 1, 1));
                execute format('alter table public.t%s enable row level security', n);
                execute format('create policy own on public.t%s using (owner = auth.uid())', n);
                execute format('create view public.v%s as select * from public.t%s', n, n);
            end loop;
        end $$
    """
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute(script.encode())
    began = time.monotonic()
    findings = look(database)
    took_s = time.monotonic() - began
    assert len(findings) == 4000
    assert took_s < 20


def test_a_schema_that_is_not_exposed_needs_no_policies(database: DatabaseAccess) -> None:
    execute(database, "create schema inside; create table inside.things (id int primary key);")
    assert look(database) == []


def test_a_broken_index_and_dead_rows_are_told(database: DatabaseAccess) -> None:
    execute(
        database,
        "create schema inside; create table inside.codes (code int)",
        "alter table inside.codes set (autovacuum_enabled = off)",
        "insert into inside.codes select 1 from generate_series(1, 60000)",
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        execute(database, "create unique index concurrently codes_idx on inside.codes (code)")
    execute(database, "delete from inside.codes", "select pg_stat_force_next_flush()")
    told = facts(look(database))
    assert ("invalid_index", "error", "inside.codes_idx") in told
    assert ("dead_rows", "warning", "inside.codes") in told
    assert ("autovacuum_off", "warning", "inside.codes") in told
    mend(database)
    assert facts(look(database)) & told == set()


def test_an_outsider_is_told_what_could_not_be_seen(database: DatabaseAccess) -> None:
    execute(database, WRONG)
    with psycopg.connect(database.conninfo("authenticator"), autocommit=True) as connection:
        runs = list(run_checks(connection, [*SCHEMA_CHECKS, *USAGE_CHECKS], schemas=["public"]))
    assert facts([finding for run in runs for finding in run.findings]) >= {
        ("rls_disabled_in_public", "error", "public.open_notes")
    }
