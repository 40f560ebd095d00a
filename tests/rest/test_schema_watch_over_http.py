"""The schema cache follows the database: at once when a name is new, after a notification otherwise, and while it is
loaded the old one serves."""

from collections.abc import Iterator
from typing import Any

import httpx2
import psycopg
import pytest

from basalt.postgres import load_access
from tests.rest.asking import refused, rows, wait_until
from tests.server import Server

pytestmark = pytest.mark.req("P5")

Connection = psycopg.Connection[Any]
RELOAD_LOCK = 4242  # whoever holds it makes loading wait, see `pre_config` of the railway


@pytest.fixture
def tool(api: httpx2.Client, railway: Server) -> Iterator[Connection]:
    """A connection whose DDL sets off no event trigger, so that nothing tells of it."""
    access = load_access(railway.project_dir / ".basalt")
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        yield connection
        connection.execute("drop table if exists public.quiet, public.quiet_child, public.noisy cascade")
        connection.execute("drop function if exists public.quiet_sum")
        connection.execute("notify pgrst")
        wait_until(lambda: api.options("/quiet").status_code == 404)


def make_table(tool: Connection, name: str = "quiet", columns: str = "id int primary key, body text") -> None:
    tool.execute(f"create table public.{name} ({columns})")
    tool.execute(f"grant all on public.{name} to anon")


def allowed(api: httpx2.Client) -> str:
    return str(api.options("/quiet").headers["allow"])


# Names that are new


def test_a_new_table_can_be_asked_about_at_once(api: httpx2.Client, tool: Connection) -> None:
    make_table(tool)
    assert "PUT" in allowed(api)


def test_a_new_table_is_there_for_the_next_request(api: httpx2.Client, tool: Connection) -> None:
    assert refused(api.get("/quiet")) == (404, "PGRST205")
    make_table(tool)
    assert rows(api, "/quiet") == []


def test_so_it_is_where_event_triggers_are_off(api: httpx2.Client, railway: Server) -> None:
    access = load_access(railway.project_dir / ".basalt")
    with psycopg.connect(access.conninfo("supabase_admin")) as connection:
        names = connection.execute("select evtname from pg_event_trigger where evtenabled <> 'D'").fetchall()
    assert names
    with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as connection:
        try:
            for (name,) in names:
                connection.execute(f'alter event trigger "{name}" disable')
            make_table(connection, "noisy")
            assert rows(api, "/noisy") == []
        finally:
            for (name,) in names:
                connection.execute(f'alter event trigger "{name}" enable')
            connection.execute("drop table if exists public.noisy")


def test_a_new_routine_is_there_for_the_next_request(api: httpx2.Client, tool: Connection) -> None:
    assert refused(api.get("/rpc/quiet_sum")) == (404, "PGRST202")
    tool.execute("create function public.quiet_sum() returns int language sql as 'select 7'")
    tool.execute("grant execute on function public.quiet_sum() to anon")
    assert rows(api, "/rpc/quiet_sum") == 7
    tool.execute("drop function public.quiet_sum()")
    tool.execute("create function public.quiet_sum(a int) returns int language sql as 'select a'")
    tool.execute("grant execute on function public.quiet_sum(int) to anon")
    assert rows(api, "/rpc/quiet_sum?a=8") == 8


def test_a_new_relationship_is_there_for_the_next_request(api: httpx2.Client, tool: Connection) -> None:
    make_table(tool)
    make_table(tool, "quiet_child", "id int primary key, quiet_id int")
    assert refused(api.get("/quiet?select=quiet_child(id)")) == (400, "PGRST200")
    tool.execute("alter table public.quiet_child add foreign key (quiet_id) references public.quiet")
    assert rows(api, "/quiet?select=quiet_child(id)") == []


def test_a_new_column_is_there_for_the_next_request(api: httpx2.Client, tool: Connection) -> None:
    make_table(tool)
    assert refused(api.post("/quiet", json={"id": 1, "extra": "x"})) == (400, "PGRST204")
    tool.execute("alter table public.quiet add column extra text")
    assert api.post("/quiet", json={"id": 1, "extra": "x"}).status_code == 201
    tool.execute("alter table public.quiet rename column extra to other")
    assert api.post("/quiet", json={"id": 2, "other": "x"}).status_code == 201


def test_a_name_that_is_still_wrong_is_refused_with_a_hint_from_now(
    api: httpx2.Client, tool: Connection
) -> None:
    make_table(tool)
    assert api.get("/quiett").json()["hint"] == "Perhaps you meant the table 'public.quiet'"


def test_a_table_that_is_gone_is_not_found(api: httpx2.Client, tool: Connection) -> None:
    make_table(tool)
    assert rows(api, "/quiet") == []
    tool.execute("drop table public.quiet")
    assert refused(api.get("/quiet")) == (404, "42P01")
    tool.execute("notify pgrst")
    wait_until(lambda: api.get("/quiet").json()["code"] == "PGRST205")


# Notifications


def test_what_is_no_new_name_is_seen_after_a_notification(api: httpx2.Client, tool: Connection) -> None:
    make_table(tool, columns="id int not null, body text")
    assert rows(api, "/quiet") == []
    tool.execute("alter table public.quiet add primary key (id)")
    assert "PUT" not in allowed(api)
    tool.execute("notify pgrst, 'reload schema'")
    wait_until(lambda: "PUT" in allowed(api))


def test_an_event_trigger_notifies_of_whatever_a_migration_changes(
    api: httpx2.Client, railway: Server, tool: Connection
) -> None:
    make_table(tool, columns="id int not null, body text")
    assert "PUT" not in allowed(api)
    tool.execute("alter table public.quiet owner to postgres")
    with psycopg.connect(railway.database_url) as migration:
        migration.execute("alter table public.quiet add primary key (id)")
    wait_until(lambda: "PUT" in allowed(api))


def test_many_notifications_are_followed_to_the_last(api: httpx2.Client, tool: Connection) -> None:
    make_table(tool, columns="id int not null, body text")
    assert rows(api, "/quiet") == []
    for number in range(200):
        if number == 199:
            tool.execute("alter table public.quiet add primary key (id)")
        tool.execute("notify pgrst")
        if number % 20 == 0:
            assert rows(api, "/trains?id=eq.1&select=name") == [{"name": "Comet"}]
    wait_until(lambda: "PUT" in allowed(api))


def test_a_statement_that_was_planned_before_a_change_of_type_is_planned_anew(
    api: httpx2.Client, tool: Connection
) -> None:
    make_table(tool)
    tool.execute("insert into public.quiet values (1, '007')")
    for _ in range(3):
        assert rows(api, "/quiet?body=eq.007&select=body") == [{"body": "007"}]
    tool.execute("alter table public.quiet alter column body type int using body::int")
    tool.execute("notify pgrst")
    wait_until(lambda: api.get("/quiet?body=eq.007&select=body").json() == [{"body": 7}])


# While it is loaded


def test_the_old_cache_serves_while_a_slow_one_is_loaded(api: httpx2.Client, tool: Connection) -> None:
    make_table(tool)
    assert rows(api, "/quiet") == []

    def is_loading() -> bool:
        found = tool.execute(
            "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        ).fetchone()
        return found == (1,)

    tool.execute("select pg_advisory_lock(%s)", [RELOAD_LOCK])
    try:
        tool.execute("alter table public.quiet drop constraint quiet_pkey")
        tool.execute("notify pgrst")
        wait_until(is_loading)
        for number in range(20):
            assert rows(api, f"/trains?id=eq.{number}&select=name", prefer="count=exact") is not None
            assert rows(api, "/lines?select=name,trains(name)&limit=1") != []
        assert "PUT" in allowed(api)
        assert is_loading()
    finally:
        tool.execute("select pg_advisory_unlock(%s)", [RELOAD_LOCK])
    wait_until(lambda: "PUT" not in allowed(api))


def test_settings_that_cannot_be_read_change_nothing(api: httpx2.Client, tool: Connection) -> None:
    make_table(tool, columns="id int not null, body text")
    assert "PUT" not in allowed(api)
    tool.execute("alter role authenticator set pgrst.db_max_rows = 'a few'")
    try:
        tool.execute("alter table public.quiet add primary key (id)")
        tool.execute("notify pgrst")
        wait_until(lambda: "PUT" in allowed(api))
        assert len(rows(api, "/numbers")) == 100
    finally:
        tool.execute("alter role authenticator reset pgrst.db_max_rows")
    make_table(tool, "quiet_child")
    assert rows(api, "/quiet_child") == []
