"""Each check finds what it is for and nothing beside it, and the SQL that it proposes mends it."""

from collections.abc import Sequence

import psycopg
import pytest

from basalt.postgres import SCHEMA_CHECKS, USAGE_CHECKS, DatabaseAccess, Finding, run_checks

pytestmark = [pytest.mark.req("P17", "P21")]

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
    as 'update public.orders set kind = ''gold'' where user_id = who';
create function public.note() returns trigger language plpgsql security definer as 'begin return new; end';
create function public.pinned() returns int language sql security definer set search_path = '' as 'select 1';
create function public.plain() returns int language sql as 'select 1';

create schema back_office;
create table back_office.ledger (id bigint primary key, order_id bigint references public.orders (id));
"""

EXPECTED = {
    ("rls_disabled_in_public", "error", "public.open_notes"),
    ("rls_disabled_in_public", "error", "public.idle_policy"),
    ("rls_enabled_no_policy", "info", "public.shut"),
    ("security_definer_view", "error", "public.all_orders"),
    ("security_definer_view", "error", "public.people"),
    ("auth_users_exposed", "error", "public.people"),
    ("materialized_view_in_api", "warning", "public.totals"),
    ("function_search_path_mutable", "error", "public.promote(who uuid)"),
    ("function_search_path_mutable", "warning", "public.note()"),
    ("security_definer_executable", "info", "public.promote(who uuid)"),
    ("security_definer_executable", "info", "public.pinned()"),
    ("auth_rls_initplan", "warning", '"owners read their own" on public.orders'),
    ("rls_references_user_metadata", "error", '"staff read all" on public.orders'),
    ("rls_policy_always_true", "warning", '"anybody orders" on public.orders'),
    ("policy_column_without_index", "info", "public.orders"),
    ("multiple_permissive_policies", "info", "public.orders"),
    ("unindexed_foreign_keys", "info", "public.orders"),
    ("unindexed_foreign_keys", "info", "back_office.ledger"),
    ("duplicate_index", "warning", "public.items_name_again_idx"),
    ("no_primary_key", "error", "public.items"),
}


def look(database: DatabaseAccess) -> list[Finding]:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        runs = list(
            run_checks(connection, [*SCHEMA_CHECKS, *USAGE_CHECKS], schemas=["public", "graphql_public"])
        )
    assert [run.check.name for run in runs if run.unseen] == []
    return [finding for run in runs for finding in run.findings]


def facts(findings: Sequence[Finding]) -> set[tuple[str, str, str]]:
    return {(finding.check, finding.severity, finding.subject) for finding in findings}


def execute(database: DatabaseAccess, *statements: str) -> None:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_database_with_the_contract_alone_needs_no_advice(database: DatabaseAccess) -> None:
    assert look(database) == []


def test_every_check_finds_what_it_is_for_and_nothing_else(database: DatabaseAccess) -> None:
    execute(database, WRONG)
    found = look(database)
    assert facts(found) == EXPECTED
    assert len(found) == len(EXPECTED)
    assert all(finding.why and finding.what for finding in found)


def test_the_proposed_sql_mends_what_it_stands_beside(database: DatabaseAccess) -> None:
    execute(database, WRONG)
    for_people = {"rls_enabled_no_policy", "rls_references_user_metadata", "multiple_permissive_policies"}
    remedies = [finding.remedy for finding in look(database) if finding.check not in for_people]
    execute(database, *dict.fromkeys(remedies))  # a policy and a foreign key may ask for the same index
    left = {
        (finding.check, finding.severity) for finding in look(database) if finding.check not in for_people
    }
    assert left == {("no_primary_key", "info")}  # `replica identity full` lets its changes be published
    with psycopg.connect(database.conninfo("postgres")) as connection:
        row = connection.execute(
            "select qual from pg_policies where policyname = 'owners read their own'"
        ).fetchone()
    assert row is not None
    assert "( SELECT auth.uid() AS uid) = user_id" in row[0]


def test_names_with_odd_letters_come_quoted_in_the_sql(database: DatabaseAccess) -> None:
    execute(database, """create table public."Bad; drop table x --" ("Id" int primary key)""")
    [finding] = look(database)
    assert finding.remedy == 'alter table public."Bad; drop table x --" enable row level security;'
    execute(database, finding.remedy)
    assert {each.check for each in look(database)} == {"rls_enabled_no_policy"}


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
    found = facts(look(database))
    assert ("invalid_index", "error", "inside.codes_idx") in found
    assert ("dead_rows", "warning", "inside.codes") in found
    assert ("autovacuum_off", "warning", "inside.codes") in found


def test_an_outsider_is_told_what_could_not_be_seen(database: DatabaseAccess) -> None:
    execute(database, WRONG)
    with psycopg.connect(database.conninfo("authenticator"), autocommit=True) as connection:
        runs = list(run_checks(connection, [*SCHEMA_CHECKS, *USAGE_CHECKS], schemas=["public"]))
    assert facts([finding for run in runs for finding in run.findings]) >= {
        ("rls_disabled_in_public", "error", "public.open_notes")
    }
