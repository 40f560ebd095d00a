"""Who may read and write what: rows, columns and routines, and what is told as it happens."""

import uuid
from collections.abc import Callable

import psycopg
import pytest

from .conftest import App
from .test_credits import begin, finish
from .test_payments import a_payment, apply

Refused = Callable[..., psycopg.Error]

OWN = [
    "users",
    "credit_log",
    "credit_purchases",
    "credit_usage",
    "generations",
    "notifications",
    "subscriptions",
]
CONFIGURATION = ["plans", "credit_packs", "tools", "hairstyles", "colors"]


def a_customer(app: App) -> str:
    """A user with a row in every table."""
    user, key = app.a_user(), uuid.uuid4().hex * 2
    apply(app, a_payment(app.an_order(user, "plus", kind="plan")))
    begin(app, user, key)
    finish(app, user, key)
    return user


# Rows


@pytest.mark.req("S1")
def test_every_table_has_row_level_security(app: App) -> None:
    without = app.rows(
        """
        select oid::regclass from pg_class
        where relkind = 'r' and not relrowsecurity
            and relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'cache'::regnamespace)
        """
    )
    assert without == []


@pytest.mark.req("S1")
def test_users_see_their_own_rows_and_nobody_elses(app: App) -> None:
    customer, other = a_customer(app), app.a_user()
    for table in OWN:
        owner_column = "id" if table == "users" else "user_id"
        with app.acting_as(customer) as connection:
            seen = connection.execute(f"select {owner_column}::text as owner from public.{table}").fetchall()
        assert {row["owner"] for row in seen} == {customer}, table
        with app.acting_as(other) as connection:
            seen = connection.execute(f"select {owner_column}::text as owner from public.{table}").fetchall()
        assert customer not in {row["owner"] for row in seen}, table
    with app.acting_as(customer) as connection:
        assert len(connection.execute("select id from public.payments").fetchall()) == 1
    with app.acting_as(other) as connection:
        assert connection.execute("select id from public.payments").fetchall() == []


@pytest.mark.req("S1")
def test_visitors_see_what_is_for_sale_and_nothing_of_anybody(app: App, refused: Refused) -> None:
    a_customer(app)
    with app.acting_as(None) as connection:
        for table in CONFIGURATION:
            assert connection.execute(f"select * from public.{table}").fetchall(), table

    def read(table: str) -> None:
        with app.acting_as(None) as connection:
            connection.execute(f"select * from {table}")

    for table in [*(f"public.{name}" for name in (*OWN, "payments")), "cache.kv_store", "private.leases"]:
        refused("42501", read, table)


@pytest.mark.req("S9")
def test_what_is_switched_off_stays_visible_so_that_clients_hear_of_it(app: App) -> None:
    app.admin.execute("update public.tools set is_enabled = false where id = 'enhance'")
    with app.acting_as(None) as connection:
        row = connection.execute("select is_enabled from public.tools where id = 'enhance'").fetchone()
    assert row == {"is_enabled": False}


# Columns

WRITABLE = {
    ("users", "UPDATE"): {"display_name", "avatar_url"},
    ("notifications", "UPDATE"): {"read_at"},
    ("generations", "UPDATE"): {"is_favourite"},
}


@pytest.mark.req("S1")
def test_clients_write_these_columns_and_no_others(app: App) -> None:
    granted: dict[tuple[str, str], set[str]] = {}
    for row in app.rows(
        """
        select c.relname, verb, a.attname
        from pg_class as c
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        cross join unnest(array['INSERT', 'UPDATE']) as verb
        cross join unnest(array['anon', 'authenticated']) as caller
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
            and has_column_privilege(caller, c.oid, a.attname, verb)
        """
    ):
        granted.setdefault((row["relname"], row["verb"]), set()).add(row["attname"])
    assert granted == WRITABLE
    deletable = app.rows(
        """
        select c.relname from pg_class as c
        cross join unnest(array['anon', 'authenticated']) as caller
        cross join unnest(array['DELETE', 'TRUNCATE']) as verb
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and has_table_privilege(caller, c.oid, verb)
        """
    )
    assert {row["relname"] for row in deletable} <= {"generations"}, (
        "what they made themselves, and nothing else"
    )


@pytest.mark.req("S1", "S4")
def test_even_the_service_role_cannot_write_a_balance(app: App, refused: Refused) -> None:
    def update(table: str, column: str) -> None:
        with app.acting_as(None, "service_role") as connection:
            connection.execute(f"update public.{table} set {column} = null")

    for table, column in {
        "users": "credits", "credit_log": "credits", "credit_usage": "credits", "credit_purchases": "credits",
        "payments": "amount_cents", "subscriptions": "ended_at",
    }.items():  # fmt: skip
        refused("42501", update, table, column)


@pytest.mark.req("S1")
def test_nobody_marks_what_is_anothers(app: App) -> None:
    customer, other = a_customer(app), app.a_user()
    with app.acting_as(other) as connection:
        for change in (
            "update public.users set display_name = 'x'",
            "update public.notifications set read_at = now()",
            "update public.generations set is_favourite = true",
        ):
            connection.execute(change)
    assert app.one("select display_name from public.users where id = %s", customer) is None
    assert app.one("select count(read_at) from public.notifications where user_id = %s", customer) == 0
    assert (
        app.one("select bool_or(is_favourite) from public.generations where user_id = %s", customer) is False
    )


# Routines


@pytest.mark.req("S1", "S4", "S7")
def test_clients_call_these_routines_and_no_others(app: App) -> None:
    callable_ones = app.rows(
        """
        select distinct p.proname as name, n.nspname as schema from pg_proc as p
        join pg_namespace as n on n.oid = p.pronamespace
        cross join unnest(array['anon', 'authenticated']) as caller
        where n.nspname in ('public', 'private') and has_function_privilege(caller, p.oid, 'execute')
        order by p.proname
        """
    )
    assert [(row["schema"], row["name"]) for row in callable_ones] == [
        ("public", "cancel_subscription"), ("public", "create_order"), ("public", "resume_subscription"),
    ]  # fmt: skip
    assert (
        app.one("select has_function_privilege('anon', 'public.create_order(text, text)', 'execute')")
        is False
    )


@pytest.mark.req("S1")
def test_every_privileged_routine_pins_its_search_path(app: App) -> None:
    loose = app.rows(
        """
        select oid::regprocedure from pg_proc
        where pronamespace in ('public'::regnamespace, 'private'::regnamespace)
            and not coalesce(proconfig, '{}') && array['search_path=""']
        """
    )
    assert loose == []


@pytest.mark.req("S1")
def test_a_token_of_a_deleted_account_is_nobody(app: App, refused: Refused) -> None:
    user = app.a_user()
    app.admin.execute("delete from auth.users where id = %s", [user])
    error = refused("UNAUTHORIZED", app.call, user, "create_order", p_kind="pack", p_item_id="small")
    assert error.sqlstate == "PT401"


@pytest.mark.req("S1")
def test_a_deleted_account_takes_everything_but_the_books(app: App) -> None:
    customer = a_customer(app)
    app.admin.execute("delete from auth.users where id = %s", [customer])
    for table in (*(name for name in OWN if name != "users"), "payments"):
        assert app.one(f"select count(*) from public.{table} where user_id = %s", customer) == 0, table
    assert app.one("select count(*) from cache.kv_store where user_id = %s", customer) == 0
    assert app.one("select count(*) from public.credit_purchases where user_id is null") == 1
    assert app.one("select count(*) from public.payments where user_id is null") == 1


# Times


@pytest.mark.req("S1")
def test_times_are_kept_by_triggers(app: App) -> None:
    a_customer(app)
    for table in (*OWN, *CONFIGURATION, "payments"):
        if table != "credit_log":
            app.admin.execute(
                f"update public.{table} set created_at = '2000-01-01', updated_at = '2000-01-01'"
            )
        wrong = "created_at < '2020-01-01' or updated_at < '2020-01-01'"
        assert app.one(f"select count(*) filter (where {wrong}) from public.{table}") == 0, table


# What is told


@pytest.mark.req("S9")
def test_realtime_tells_of_these_tables(app: App) -> None:
    told = app.rows("select tablename from pg_publication_tables where pubname = 'supabase_realtime'")
    assert {row["tablename"] for row in told} == {"notifications", "users", *CONFIGURATION}


# Indexes


@pytest.mark.req("S1")
def test_every_foreign_key_and_policy_has_its_index(app: App) -> None:
    bare = app.rows(
        """
        select c.conrelid::regclass as "table", a.attname
        from pg_constraint as c
        join pg_attribute as a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
        where c.contype = 'f' and c.connamespace in ('public'::regnamespace, 'private'::regnamespace)
            and not exists (select from pg_index as i where i.indrelid = c.conrelid and i.indkey[0] = c.conkey[1])
        """
    )
    assert bare == []
