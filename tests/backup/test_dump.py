"""`basalt db dump` and `db restore`: definitions, rows and roles go from one project to another."""

import io
from pathlib import Path

import psycopg
import pytest

from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess, apply_module
from basalt.postgres.backup import DumpError
from basalt.project import DumpRequest, dump_database, restore_database
from tests.conftest import CloneDatabase

pytestmark = pytest.mark.req("P26")

SCHEMA = """
create schema shop;
create table shop.orders (id integer primary key, note text not null);
create table public.lines (id integer primary key, order_id integer not null references shop.orders);
alter table public.lines enable row level security;
create policy "anyone reads lines" on public.lines for select using (true);
create function public.total() returns bigint language sql stable as 'select count(*) from shop.orders';
"""
ROWS = """
insert into shop.orders select n, 'note ' || n from generate_series(1, 50) as n;
insert into public.lines select n, n from generate_series(1, 50) as n;
insert into auth.users (id, email) values ('00000000-0000-4000-8000-000000000001', 'a@example.org');
insert into storage.buckets (id, name) values ('box', 'box')
"""


def run(access: DatabaseAccess, statements: str) -> None:
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute(statements.encode())


def ask(access: DatabaseAccess, question: str) -> object:
    with psycopg.connect(access.conninfo("supabase_admin")) as connection:
        row = connection.execute(question.encode()).fetchone()
        assert row is not None
        return row[0]


def dump(access: DatabaseAccess, request: DumpRequest) -> bytes:
    out = io.BytesIO()
    dump_database(access, request, out)
    return out.getvalue()


@pytest.fixture
def filled(database: DatabaseAccess) -> DatabaseAccess:
    run(database, SCHEMA)
    run(database, ROWS)
    return database


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_definitions_and_rows_make_the_same_project_elsewhere(
    filled: DatabaseAccess, template: DatabaseAccess, clone_database: CloneDatabase, tmp_path: Path, form: str
) -> None:
    is_custom = form == "custom"
    for what in ("schema", "data"):
        request = DumpRequest(what=what, format="custom" if is_custom else "plain")  # type: ignore[arg-type]
        (tmp_path / what).write_bytes(dump(filled, request))
    with clone_database(template.dbname) as other:
        restore_database(other, tmp_path / "schema")
        restore_database(other, tmp_path / "data")
        assert ask(other, "select public.total()") == 50
        assert ask(other, "select count(*) from public.lines") == 50
        assert (
            ask(other, "select polname from pg_policy where polrelid = 'public.lines'::regclass")
            == "anyone reads lines"
        )
        assert ask(other, "select email from auth.users") == "a@example.org"
        assert ask(other, "select id from storage.buckets") == "box"


def test_the_platforms_own_schemas_are_in_no_dump_of_definitions(filled: DatabaseAccess) -> None:
    text = dump(filled, DumpRequest()).decode()
    assert "CREATE TABLE shop.orders" in text
    assert "CREATE SCHEMA auth" not in text
    assert "CREATE SCHEMA basalt" not in text
    assert "PUBLICATION" not in text
    assert "note 7" not in text


def test_one_schema_and_tables_to_leave_out_can_be_named(filled: DatabaseAccess) -> None:
    data = DumpRequest(what="data", schemas=("shop", "public"), excluded=("public.lines",))
    text = dump(filled, data).decode()
    assert "COPY shop.orders" in text
    assert "public.lines" not in text
    assert "auth.users" not in text


def test_roles_of_the_project_come_without_those_of_the_platform(filled: DatabaseAccess) -> None:
    run(filled, "create role till_clerk; grant authenticated to till_clerk")
    try:
        text = dump(filled, DumpRequest(what="roles")).decode()
    finally:
        run(filled, "drop role till_clerk")
    assert "CREATE ROLE till_clerk" in text
    assert "GRANT authenticated TO till_clerk" in text
    assert "CREATE ROLE anon" not in text
    assert "PASSWORD" not in text


def test_a_dump_that_fails_in_the_middle_leaves_nothing(
    filled: DatabaseAccess, template: DatabaseAccess, clone_database: CloneDatabase, tmp_path: Path
) -> None:
    (tmp_path / "broken.sql").write_text("create table public.first (id integer);\nselect 1 / 0;\n")
    with clone_database(template.dbname) as other:
        with pytest.raises(DumpError, match="division by zero"):
            restore_database(other, tmp_path / "broken.sql")
        assert ask(other, "select to_regclass('public.first')") is None
    with pytest.raises(BasaltError, match="cannot be read"):
        restore_database(filled, tmp_path / "missing.sql")


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_a_project_with_the_notification_engine_goes_where_it_is_too(
    filled: DatabaseAccess, template: DatabaseAccess, clone_database: CloneDatabase, tmp_path: Path, form: str
) -> None:
    apply_module(filled, "notify", {})
    run(filled, "select public.save_notification_template('gig.new', 'sms', 'Hello {{ name }}')")
    for what in ("schema", "data"):
        request = DumpRequest(what=what, format=form)  # type: ignore[arg-type]
        (tmp_path / what).write_bytes(dump(filled, request))
    with clone_database(template.dbname) as other:
        apply_module(other, "notify", {})
        restore_database(other, tmp_path / "schema")
        restore_database(other, tmp_path / "data")
        assert ask(other, "select body_template from public.notification_templates") == "Hello {{ name }}"
        assert ask(other, "select public.total()") == 50
