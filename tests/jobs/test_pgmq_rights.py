"""Who may do what with queues: `postgres` owns them, `service_role` uses them, clients have what grants and row-level
security allow."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from basalt.postgres import DatabaseAccess

pytestmark = pytest.mark.req("P10", "P3")

Connection = psycopg.Connection[tuple[Any, ...]]
RequestAs = Callable[..., AbstractContextManager[Connection]]

MANAGEMENT = [
    "create('mine')",
    "create_unlogged('mine')",
    "create_partitioned('mine')",
    "drop_queue('work')",
    "create_fifo_index('work')",
]
MESSAGES = [
    "send('work', '1')",
    "send_batch('work', '{1}'::jsonb[])",
    "read('work', 0, 1)",
    "read_with_poll('work', 0, 1, 0)",
    "read_grouped('work', 0, 1)",
    "pop('work')",
    "set_vt('work', 1, 0)",
    "delete('work', 1)",
    "archive('work', 1)",
    "metrics('work')",
    "purge_queue('work')",
    "enable_notify_insert('work')",
]
REFUSED_TO_CLIENTS = [
    *MANAGEMENT,
    *MESSAGES,
    "list_queues()",
    "bind_topic('#', 'work')",
    "acquire_queue_lock('work')",
]


@pytest.fixture(scope="module")
def database(template: DatabaseAccess, clone_database: Any) -> Iterator[DatabaseAccess]:
    with clone_database(template.dbname) as access:
        with psycopg.connect(access.conninfo("postgres")) as connection:
            connection.execute("create extension pgmq")
        yield access


@pytest.fixture
def owner(database: DatabaseAccess) -> Iterator[Connection]:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("select pgmq.create('work')")
        yield connection
        connection.execute("select pgmq.drop_queue(queue_name) from pgmq.list_queues()")


@pytest.fixture
def request_as(database: DatabaseAccess) -> RequestAs:
    """A session as a request has it: logged in as authenticator, then the role and the claims."""

    @contextmanager
    def run(role: str, **claims: str) -> Iterator[Connection]:
        with psycopg.connect(database.conninfo("authenticator"), autocommit=True) as connection:
            connection.execute("select set_config('role', %s, false)", [role])
            connection.execute(
                "select set_config('request.jwt.claims', %s, false)", [json.dumps({"role": role, **claims})]
            )
            yield connection

    return run


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_a_client_has_nothing_that_was_not_granted(
    owner: Connection, request_as: RequestAs, role: str
) -> None:
    owner.execute("select pgmq.send('work', '1')")
    with request_as(role) as client:
        for call in REFUSED_TO_CLIENTS:
            with pytest.raises(InsufficientPrivilege):
                client.execute(f"select pgmq.{call}".encode())
        for table in ("meta", "topic_bindings", "notify_insert_throttle", "q_work", "a_work"):
            with pytest.raises(InsufficientPrivilege):
                client.execute(f"select from pgmq.{table}".encode())


def test_service_role_uses_queues(owner: Connection, request_as: RequestAs) -> None:
    owner.execute("alter table pgmq.q_work enable row level security")
    with request_as("service_role") as service:
        for call in (*MESSAGES, "list_queues()", "metrics_all()", "list_topic_bindings()"):
            service.execute(f"select pgmq.{call}".encode())


def test_service_role_makes_and_drops_none(owner: Connection, request_as: RequestAs) -> None:
    with request_as("service_role") as service:
        for call in MANAGEMENT:
            with pytest.raises(InsufficientPrivilege):
                service.execute(f"select pgmq.{call}".encode())


def test_policies_decide_what_a_client_sends_and_takes(owner: Connection, request_as: RequestAs) -> None:
    owner.execute("alter table pgmq.q_work enable row level security")
    owner.execute("grant select, insert, update, delete on pgmq.q_work to authenticated")
    owner.execute("grant insert on pgmq.a_work to authenticated")
    amina, bilal = str(uuid4()), str(uuid4())
    with (
        request_as("authenticated", sub=amina) as client,
        pytest.raises(InsufficientPrivilege, match="row-level security"),
    ):
        client.execute("select pgmq_public.send('work', '{}')")
    owner.execute(
        "create policy p on pgmq.q_work to authenticated using (message ->> 'user_id' = (select auth.uid())::text)"
    )
    for user in (amina, bilal):
        with request_as("authenticated", sub=user) as client:
            message = json.dumps({"user_id": user})
            for _ in range(4):
                client.execute("select pgmq_public.send('work', %s)", [message])
            with pytest.raises(InsufficientPrivilege, match="row-level security"):
                client.execute("select pgmq_public.send('work', %s)", [json.dumps({"user_id": str(uuid4())})])
    with request_as("authenticated", sub=bilal) as client:
        read = client.execute("select msg_id from pgmq_public.read('work', 0, 10)").fetchall()
        own = [msg_id for (msg_id,) in read]
        assert len(own) == 4
        assert client.execute("select msg_id from pgmq_public.pop('work')").fetchall() == [(own[0],)]
        assert client.execute("select pgmq_public.delete('work', %s)", [own[1]]).fetchall() == [(True,)]
        assert client.execute("select pgmq_public.archive('work', %s)", [own[2]]).fetchall() == [(True,)]
        for call in ("delete", "archive"):
            assert client.execute(f"select pgmq_public.{call}('work', 1)".encode()).fetchall() == [(False,)]
        with pytest.raises(InsufficientPrivilege, match="a_work"):
            client.execute("select * from pgmq.a_work")
    assert owner.execute("select count(*) from pgmq.q_work").fetchall() == [(5,)]


@pytest.mark.parametrize(
    ("granted", "allowed"),
    [
        ("select, insert", ["send('work', '1')", "send_batch('work', '{1}'::jsonb[])"]),
        ("select, update", ["read('work', 0, 1)"]),
        ("select, update, delete", ["read('work', 0, 1)", "pop('work')", "delete('work', 1)"]),
        ("select, delete", ["delete('work', 1)"]),
    ],
)
def test_operations_need_what_the_guide_says(
    owner: Connection, request_as: RequestAs, granted: str, allowed: list[str]
) -> None:
    calls = [
        "send('work', '1')",
        "read('work', 0, 1)",
        "pop('work')",
        "delete('work', 1)",
        "archive('work', 1)",
    ]
    owner.execute(f"grant {granted} on pgmq.q_work to authenticated".encode())
    with request_as("authenticated") as client:
        for call in {*calls, *allowed}:
            if call in allowed:
                client.execute(f"select pgmq_public.{call}".encode())
            else:
                with pytest.raises(InsufficientPrivilege):
                    client.execute(f"select pgmq_public.{call}".encode())


def test_listeners_are_told_of_what_clients_send(
    database: DatabaseAccess, owner: Connection, request_as: RequestAs
) -> None:
    owner.execute("select pgmq.enable_notify_insert('work')")
    owner.execute("grant select, insert on pgmq.q_work to authenticated")
    owner.execute('listen "pgmq.q_work.INSERT"')
    with request_as("authenticated") as client:
        client.execute("select pgmq_public.send('work', '1')")
        with pytest.raises(InsufficientPrivilege):
            client.execute("update pgmq.notify_insert_throttle set throttle_interval_ms = 0")
    owner.execute("select 1")
    assert [notice.channel for notice in owner.notifies(timeout=0)] == ["pgmq.q_work.INSERT"]


def test_nothing_of_it_runs_or_belongs_to_a_superuser(owner: Connection) -> None:
    owned_by = (
        "select distinct proowner::regrole::text from pg_proc "
        "where pronamespace in ('pgmq'::regnamespace, 'pgmq_public'::regnamespace) "
        "union select relowner::regrole::text from pg_class where relnamespace = 'pgmq'::regnamespace "
        "union select typowner::regrole::text from pg_type where typnamespace = 'pgmq'::regnamespace"
    )
    assert owner.execute(owned_by).fetchall() == [("postgres",)]
    definers = (
        "select proname::text, proconfig from pg_proc where prosecdef and pronamespace = 'pgmq'::regnamespace"
    )
    assert owner.execute(definers).fetchall() == [
        ("notify_queue_listeners", ["search_path=pg_catalog, pg_temp"])
    ]


def test_a_role_of_the_projects_own_uses_a_queue(database: DatabaseAccess, owner: Connection) -> None:
    """Grants of the schema and the table are enough, as on Supabase: functions are everybody's."""
    owner.execute("create role worker nologin")
    try:
        owner.execute("grant worker to postgres; grant usage on schema pgmq to worker")
        owner.execute("grant select, insert, update, delete on pgmq.q_work to worker")
        with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
            connection.execute("set role worker")
            assert connection.execute("select * from pgmq.send('work', '1')").fetchall() == [(1,)]
            assert connection.execute("select msg_id from pgmq.read('work', 0, 1)").fetchall() == [(1,)]
            with pytest.raises(InsufficientPrivilege):
                connection.execute("select pgmq.create('mine')")
    finally:
        owner.execute("drop owned by worker; drop role worker")
