"""`net.http_get`, `http_post`, `http_delete` in SQL: pg_net's signatures, tables and errors."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from basalt.postgres import DatabaseAccess
from tests.conftest import CloneDatabase

pytestmark = pytest.mark.req("P12")

Connection = psycopg.Connection[tuple[Any, ...]]


RESET = """
truncate net.http_request_queue restart identity;
truncate net._http_response;
update basalt.outgoing_state set max_waiting = 1000000, wants_wakeup = false;
"""


@pytest.fixture(scope="module")
def net_database(template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[DatabaseAccess]:
    """One for all of these tests, in which `postgres` has created the extension."""
    with clone_database(template.dbname) as access:
        with psycopg.connect(access.conninfo("postgres"), autocommit=True) as connection:
            connection.execute("create extension pg_net with schema extensions")
        yield access


@pytest.fixture
def sql(net_database: DatabaseAccess) -> Iterator[Connection]:
    """Connected as `postgres`, nothing queued."""
    with psycopg.connect(net_database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute(RESET)
    with psycopg.connect(net_database.conninfo("postgres"), autocommit=True) as connection:
        yield connection


def queued(sql: Connection) -> tuple[Any, ...]:
    row = sql.execute(
        "select method, url, headers, convert_from(body, 'UTF8'), timeout_milliseconds "
        "from net.http_request_queue order by id desc limit 1"
    ).fetchone()
    assert row is not None
    return row


JSON_TYPE = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("call", "row"),
    [
        ("net.http_get('http://a/')", ("GET", "http://a/", {}, None, 5000)),
        ("net.http_get('http://a/?x=1')", ("GET", "http://a/?x=1", {}, None, 5000)),
        (
            'net.http_get(\'http://a/get\', \'{"foo1": "bar1", "foo2": "bar2", "encoded": "!"}\'::JSONB)',
            ("GET", "http://a/get?foo1=bar1&foo2=bar2&encoded=%21", {}, None, 5000),
        ),
        (
            "net.http_get('http://a/?x=1#part', '{\"y\": \"ä &=/\"}')",
            ("GET", "http://a/?x=1&y=%C3%A4%20%26%3D%2F#part", {}, None, 5000),
        ),
        (
            'net.http_get(\'http://a/\', \'{"n": 1, "none": null, "deep": [1]}\')',
            ("GET", "http://a/?n=1&deep=%5B1%5D", {}, None, 5000),
        ),
        (
            "net.http_get('http://a/', headers := '{\"API-KEY-HEADER\": \"<API KEY>\"}'::JSONB)",
            ("GET", "http://a/", {"API-KEY-HEADER": "<API KEY>"}, None, 5000),
        ),
        ("net.http_get(url := 'http://a/', timeout_milliseconds := 1)", ("GET", "http://a/", {}, None, 1)),
        ("net.http_post('http://a/')", ("POST", "http://a/", JSON_TYPE, "{}", 5000)),
        (
            'net.http_post(\'http://a/\', \'{"key": "value", "key": 5}\'::jsonb, headers := \'{"X": "1"}\')',
            ("POST", "http://a/", {"X": "1", **JSON_TYPE}, '{"key": 5}', 5000),
        ),
        (
            "net.http_post('http://a/', params := '{\"p\": \"1\"}', "
            'headers := \'{"content-type": "application/json"}\')',
            ("POST", "http://a/?p=1", {"content-type": "application/json"}, "{}", 5000),
        ),
        ("net.http_post('http://a/', body := null)", ("POST", "http://a/", JSON_TYPE, None, 5000)),
        ("net.http_delete('http://a/1')", ("DELETE", "http://a/1", {}, None, 5000)),
        (
            'net.http_delete(\'http://a/\', \'{"p": "1"}\', \'{"X": "1"}\', 7, \'{"key": "val"}\')',
            ("DELETE", "http://a/?p=1", {"X": "1"}, '{"key": "val"}', 7),
        ),
        (
            "net.http_delete('http://a/'::TEXT, format('{\"id\": \"%s\"}', 5)::JSONB)",
            ("DELETE", "http://a/?id=5", {}, None, 5000),
        ),
    ],
)
def test_a_call_queues_one_request(sql: Connection, call: str, row: tuple[Any, ...]) -> None:
    assert sql.execute(f"select {call}".encode()).fetchone() == (1,)
    assert queued(sql) == row


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("net.http_get('localhost:6666')", "Unsupported URL scheme"),
        ("net.http_get('ftp://a/')", "Unsupported URL scheme"),
        ("net.http_get('file:///etc/passwd')", "Unsupported URL scheme"),
        ("net.http_get('/malformed_url')", 'invalid URL "/malformed_url"'),
        ("net.http_get(E'http://a/\\r\\nX: 1')", "Malformed input to a URL function"),
        ("net.http_get(null)", 'null value in column "url"'),
        ('net.http_post(null, \'{"hello": "world"}\')', 'null value in column "url"'),
        ("net.http_delete(null)", 'null value in column "url"'),
        ("net.http_get('http://a/', timeout_milliseconds := null)", "null value in column"),
        (
            "net.http_post('http://a/', headers := '{\"Content-Type\": \"application/text\"}')",
            'Content-Type header must be "application/json"',
        ),
    ],
)
def test_a_wrong_call_is_refused_in_pg_nets_words(sql: Connection, call: str, message: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        sql.execute(f"select {call}".encode())
    assert message in str(refused.value)


def test_the_functions_for_urls_are_those_of_pg_net(sql: Connection) -> None:
    row = sql.execute(
        "select net._urlencode_string('ä b.c~d-e_f!'), net._urlencode_string(null), "
        "net._encode_url_with_params_array('http://a/', array['x=1', 'y=2']), "
        "net._encode_url_with_params_array(null, null)"
    ).fetchone()
    assert row == ("%C3%A4%20b.c~d-e_f%21", None, "http://a/?x=1&y=2", None)


def test_a_request_of_a_transaction_that_is_rolled_back_does_not_exist(sql: Connection) -> None:
    with sql.transaction(force_rollback=True):
        sql.execute("select net.http_get('http://a/')")
    assert sql.execute("select count(*) from net.http_request_queue").fetchone() == (0,)


def test_an_answer_is_collected(sql: Connection) -> None:
    assert sql.execute("select status, message, response from net.http_collect_response(1)").fetchone() == (
        "ERROR",
        "request matching request_id not found",
        None,
    )
    sql.execute(
        "insert into net._http_response (id, status_code, headers, content) values (1, 200, '{\"a\": \"b\"}', 'x')"
    )
    sql.execute("insert into net._http_response (id, error_msg) values (2, 'Timeout')")
    collect = (
        "select (c).status, (c).message, (c).response.body from net.http_collect_response(%s, false) as c"
    )
    assert sql.execute(collect, [1]).fetchone() == ("SUCCESS", "ok", "x")
    assert sql.execute(collect, [2]).fetchone() == ("ERROR", "Timeout", None)
    assert sql.execute("select net._await_response(1)").fetchone() == (True,)


def test_that_no_worker_is_there_is_said(sql: Connection) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="the pg_net background worker is not up"):
        sql.execute("select net.check_worker_is_up()")
    assert sql.execute("select net.worker_restart()").fetchone() == (True,)
    sql.execute("select net.wake()")


def test_requests_survive_a_crash_of_the_server(sql: Connection) -> None:
    kinds = sql.execute(
        "select relname, relpersistence from pg_class where oid in "
        "('net.http_request_queue'::regclass, 'net._http_response'::regclass)"
    ).fetchall()
    assert {persistence for _, persistence in kinds} == {"p"}


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_each_role_of_the_api_may_call(sql: Connection, net_database: DatabaseAccess, role: str) -> None:
    with psycopg.connect(net_database.conninfo("authenticator"), autocommit=True) as connection:
        connection.execute(f"set role {role}".encode())
        connection.execute(
            "select net.http_get('http://a/'), net.http_post('http://a/'), net.http_delete('http://a/')"
        )
        connection.execute("select net._urlencode_string('ä'), net.wake()")
    assert sql.execute("select count(*) from net.http_request_queue").fetchone() == (3,)


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize(
    "forbidden",
    [
        "select * from net.http_request_queue",
        "select * from net._http_response",
        "delete from net.http_request_queue",
        "insert into net.http_request_queue (method, url, timeout_milliseconds) values ('GET', 'http://a/', 1)",
        "select net._http_collect_response(1)",
        "select net._queue_request('GET', 'http://a/', null, null, null, 1)",
        "select * from basalt.webhook_requests",
        "select * from basalt.dead_webhooks",
        "select basalt.retry_webhook(1)",
        "update basalt.outgoing_state set max_waiting = 1",
    ],
)
def test_outsiders_see_no_requests_and_no_answers(
    sql: Connection, net_database: DatabaseAccess, role: str, forbidden: str
) -> None:
    with psycopg.connect(net_database.conninfo("authenticator"), autocommit=True) as connection:
        connection.execute(f"set role {role}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(forbidden.encode())


def test_the_administrator_has_the_tables_and_may_give_rights_on_them(sql: Connection) -> None:
    sql.execute("grant select on net._http_response to authenticated")
    sql.execute("revoke all on sequence net.http_request_queue_id_seq from public")
    sql.execute(
        "insert into net.http_request_queue (method, url, timeout_milliseconds) values ('get', 'http://a/', 1)"
    )
    with pytest.raises(psycopg.errors.CheckViolation):
        sql.execute(
            "insert into net.http_request_queue (method, url, timeout_milliseconds) values ('PUT', 'u', 1)"
        )
    with pytest.raises(
        psycopg.errors.InsufficientPrivilege
    ):  # it would run with the rights of those who queue
        sql.execute(
            "create trigger t before insert on net.http_request_queue for each row "
            "execute function supabase_functions.http_request('http://a/', 'POST')"
        )


def test_the_functions_of_callers_do_not_run_as_superuser(sql: Connection) -> None:
    rows = sql.execute(
        "select proname, pg_get_userbyid(proowner) from pg_proc "
        "where pronamespace = 'net'::regnamespace and prosecdef"
    ).fetchall()
    assert len(rows) == 6
    assert {owner for _, owner in rows} == {"supabase_functions_admin"}


def test_the_id_of_the_apis_request_goes_along(sql: Connection) -> None:
    with sql.transaction():
        sql.execute("select set_config('request.headers', %s, true)", [json.dumps({"x-request-id": "r-1"})])
        sql.execute("select net.http_post('http://a/')")
        assert queued(sql)[2] == {**JSON_TYPE, "x-request-id": "r-1"}
        sql.execute("select net.http_get('http://a/', headers := '{\"x-request-id\": \"mine\"}')")
        assert queued(sql)[2] == {"x-request-id": "mine"}
        sql.execute(
            "select set_config('request.headers', %s, true)", [json.dumps({"x-request-id": "a\r\nb: c"})]
        )
        sql.execute("select net.http_get('http://a/')")
        assert queued(sql)[2] == {}


def test_a_queue_that_is_full_refuses(sql: Connection) -> None:
    sql.execute("update basalt.outgoing_state set max_waiting = 3")
    sql.execute("select net.http_get('http://a/') from generate_series(1, 3)")
    with pytest.raises(
        psycopg.errors.ConfigurationLimitExceeded, match="too many requests wait to be sent: 3"
    ):
        sql.execute("select net.http_get('http://a/')")
    sql.execute("update basalt.outgoing_state set max_waiting = 0")
    sql.execute("select net.http_get('http://a/')")


def test_nobody_is_notified_while_no_worker_wants_it(sql: Connection, net_database: DatabaseAccess) -> None:
    with psycopg.connect(net_database.conninfo("postgres"), autocommit=True) as listener:
        listener.execute("listen basalt_outgoing")
        sql.execute("select net.http_get('http://a/')")
        sql.execute("update basalt.outgoing_state set wants_wakeup = true")
        sql.execute("select net.http_get('http://a/') from generate_series(1, 100)")
        sql.execute("notify basalt_outgoing, 'end'")
        heard = [notification.payload for notification in listener.notifies(timeout=5, stop_after=2)]
    assert heard == ["", "end"]


def test_the_extension_can_be_dropped_and_created_again(database: DatabaseAccess) -> None:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        for _ in range(2):
            connection.execute("create extension pg_net")
            connection.execute("select net.http_get('http://a/')")
            connection.execute("drop extension pg_net")
