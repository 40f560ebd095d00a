"""What the other suites build on: the cluster, the template and its copies."""

import time

import psycopg
import pytest

from basalt.postgres import DatabaseAccess


def tables(access: DatabaseAccess) -> list[str]:
    with psycopg.connect(access.conninfo("supabase_admin")) as connection:
        rows = connection.execute("select tablename from pg_tables where schemaname = 'auth'").fetchall()
    return [name for (name,) in rows]


@pytest.mark.req("P3")
def test_a_copy_of_the_template_has_the_contract(database: DatabaseAccess) -> None:
    assert "users" in tables(database)


def test_the_empty_database_is_empty(empty_database: DatabaseAccess) -> None:
    assert tables(empty_database) == []


@pytest.mark.parametrize("number", range(5))
def test_copies_do_not_see_each_other(database: DatabaseAccess, number: int) -> None:
    with psycopg.connect(database.conninfo("postgres")) as connection:
        connection.execute("create table public.only_here (id int)")


def test_a_copy_is_made_in_a_moment(template: DatabaseAccess, clone_database) -> None:
    started = time.monotonic()
    with clone_database(template.dbname):
        took_s = time.monotonic() - started
    assert took_s < 1  # usually below 0.1; the limit leaves room for a busy machine
