"""The log of a real database: what is committed comes out once, in order; what ends the stream is said."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from basalt.postgres import DatabaseAccess, PrivateCluster
from basalt.realtime.changes.log.change import UNCHANGED, Change, Transaction
from basalt.realtime.changes.log.stream import ReplicationStream, StreamLost, parse_lsn
from tests.ports import free_port
from tests.realtime.conftest import Connection

pytestmark = pytest.mark.req("P7")

LOGIN = "supabase_replication_admin"
TODOS = """
create table public.todos (id int primary key, title text);
alter publication supabase_realtime add table todos
"""


@pytest.fixture
async def stream(database: DatabaseAccess, postgres: Connection) -> AsyncIterator[ReplicationStream]:
    postgres.execute(TODOS)
    stream = ReplicationStream(database.conninfo(LOGIN))
    await stream.open()
    yield stream
    await stream.close()


async def read_until(stream: ReplicationStream, count: int) -> list[Transaction]:
    transactions: list[Transaction] = []
    async with asyncio.timeout(20):
        while len(transactions) < count:
            transactions += await stream.read()
    return transactions


async def wait_until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)


def tell(change: Change) -> tuple[str, object, object]:
    return change.operation, change.new, change.old


async def test_changes_come_in_the_order_of_their_commits(
    stream: ReplicationStream, postgres: Connection
) -> None:
    with psycopg.connect(postgres.info.dsn, password=postgres.info.password) as other:
        other.execute("insert into todos values (1, 'begun first')")
        postgres.execute("insert into todos values (2, 'committed first')")
        other.commit()
    with postgres.transaction():
        postgres.execute("update todos set title = 'b' where id = 1")
        postgres.execute("update todos set id = 3 where id = 1")
    postgres.execute("delete from todos where id = 2")
    transactions = await read_until(stream, 4)
    assert [[tell(change) for change in each.changes] for each in transactions] == [
        [("INSERT", ("2", "committed first"), None)],
        [("INSERT", ("1", "begun first"), None)],
        [("UPDATE", ("1", "b"), None), ("UPDATE", ("3", "b"), ("1", None))],
        [("DELETE", None, ("2", None))],
    ]
    assert [each.lsn for each in transactions] == sorted(each.lsn for each in transactions)
    assert stream.position >= transactions[-1].lsn
    row = postgres.execute(
        "select abs(extract(epoch from now() - %s)) < 60", [transactions[0].committed_at]
    ).fetchone()
    assert row == (True,)


async def test_what_is_rolled_back_never_shows(stream: ReplicationStream, postgres: Connection) -> None:
    with postgres.transaction(force_rollback=True):
        postgres.execute("insert into todos values (1, 'never')")
    with postgres.transaction():
        postgres.execute("insert into todos values (2, 'kept')")
        with pytest.raises(psycopg.errors.UniqueViolation), postgres.transaction():
            postgres.execute("insert into todos values (3, 'savepoint'), (2, 'twice')")
    (transaction,) = await read_until(stream, 1)
    assert [change.new for change in transaction.changes] == [("2", "kept")]


async def test_a_full_identity_tells_the_old_row_and_large_values_are_not_repeated(
    stream: ReplicationStream, postgres: Connection
) -> None:
    postgres.execute("alter table todos alter column title set storage external")
    postgres.execute("insert into todos values (1, repeat('x', 10000))")
    postgres.execute("alter table todos add column done bool")
    postgres.execute("update todos set done = true")
    postgres.execute("alter table todos replica identity full")
    postgres.execute("update todos set done = false")
    changes = [change for each in await read_until(stream, 6) for change in each.changes]
    large = "x" * 10_000
    assert [tell(change) for change in changes] == [
        ("INSERT", ("1", large), None),
        ("UPDATE", ("1", UNCHANGED, "t"), None),
        ("UPDATE", ("1", UNCHANGED, "f"), ("1", large, "t")),
    ]
    assert [change.relation.identity for change in changes] == ["d", "d", "f"]


async def test_tables_that_join_and_change_while_it_runs_are_told_as_they_are(
    stream: ReplicationStream, postgres: Connection
) -> None:
    postgres.execute("create table notes (id int primary key)")
    postgres.execute("insert into notes values (1)")
    postgres.execute("alter publication supabase_realtime add table notes")
    postgres.execute("insert into notes values (2)")
    postgres.execute("alter table notes add column body text default 'b'")
    postgres.execute("insert into notes values (3)")
    postgres.execute("alter publication supabase_realtime drop table notes")
    postgres.execute("insert into notes values (4)")
    postgres.execute("insert into todos values (5)")
    transactions = await read_until(stream, 7)
    changes = [change for each in transactions for change in each.changes]
    assert [(change.relation.name, change.new) for change in changes] == [
        ("notes", ("2",)),
        ("notes", ("3", "b")),
        ("todos", ("5", None)),
    ]
    assert changes[0].relation is not changes[1].relation


async def test_values_are_in_the_forms_of_the_session_whatever_the_database_says(
    stream: ReplicationStream, database: DatabaseAccess, postgres: Connection
) -> None:
    await stream.close()
    postgres.execute(
        f"alter database {database.dbname} set datestyle = 'german'; "
        f"alter database {database.dbname} set timezone = 'Asia/Kolkata'"
    )
    postgres.execute(
        "create table forms (id int primary key, t timestamptz, i interval, b bytea, f float8);"
        "alter publication supabase_realtime add table forms"
    )
    forms = ReplicationStream(database.conninfo(LOGIN))
    await forms.open()
    postgres.execute(
        r"insert into forms values (1, '2026-01-02 03:04:05+00', '1 day 2 hours', '\x00ff', 0.1::float8 + 0.2)"
    )
    (transaction,) = await read_until(forms, 1)
    await forms.close()
    assert transaction.changes[0].new == (
        "1", "2026-01-02 03:04:05+00", "1 day 02:00:00", r"\x00ff", "0.30000000000000004",
    )  # fmt: skip


BEFORE = """
create table others (id int);
create table todos_too (id int);
alter publication supabase_realtime add table todos_too;
create policy q on todos using (false);
create type mood as enum ();
create function is_member() returns bool language sql as 'select true';
"""
STATEMENTS: list[LiteralString] = [
    "create policy p on todos using (true)",
    "alter table todos enable row level security",
    "drop policy if exists q on todos",
    "grant select on todos to anon",
    "revoke select on todos from anon",
    "grant select (id) on todos to anon",
    "alter publication supabase_realtime add table others",
    "alter publication supabase_realtime drop table todos_too",
    "alter table todos drop column title",
    "alter table todos rename to done",
    "create or replace function is_member() returns bool language sql as 'select false'",
    "alter type mood add value 'so-so'",
    "drop table others",
    "drop function is_member",
    "create table more (id int)",
]


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_what_changes_tables_policies_or_privileges_marks_its_transaction(
    stream: ReplicationStream, postgres: Connection, statement: LiteralString
) -> None:
    postgres.execute(BEFORE)
    postgres.execute("insert into todos values (1)")
    postgres.execute(statement)
    postgres.execute("create temporary table scratch (id int); drop table scratch")
    with postgres.transaction():
        postgres.execute("set local role supabase_realtime_admin")
        postgres.execute(
            "create table realtime.messages_2020_01_01 partition of realtime.messages "
            "for values from ('2020-01-01') to ('2020-01-02')"
        )
        postgres.execute("drop table realtime.messages_2020_01_01")
    postgres.execute("comment on table public.todos is 'x'" if "rename" not in statement else "select 1")
    postgres.execute("select realtime.send('{}', 'e', 't')")
    transactions = await read_until(stream, 4)
    marks = [(each.altered, len(each.changes)) for each in transactions]
    assert marks == [(True, 0), (False, 1), (True, 0), (False, 1)]


def test_nobody_can_set_the_mark_by_hand(postgres: Connection) -> None:
    postgres.execute("set role anon")
    with pytest.raises(psycopg.Error, match="trigger"):
        postgres.execute("select realtime.mark_altered()")


async def test_rows_and_the_mark_of_one_transaction_come_together(
    stream: ReplicationStream, postgres: Connection
) -> None:
    with postgres.transaction():
        postgres.execute("insert into todos values (1)")
        postgres.execute("create policy p on todos using (true)")
        postgres.execute("insert into todos values (2)")
    (transaction,) = await read_until(stream, 1)
    assert (transaction.altered, len(transaction.changes)) == (True, 2)


async def test_messages_come_under_the_name_of_their_table_and_only_when_inserted(
    stream: ReplicationStream, postgres: Connection
) -> None:
    postgres.execute("select realtime.send('{}', 'e', 't')")
    postgres.execute("update realtime.messages set event = 'f'")
    postgres.execute("delete from realtime.messages")
    postgres.execute("insert into todos values (1)")
    message, todo = await read_until(stream, 2)
    assert [(change.relation.name, change.operation) for change in message.changes] == [
        ("messages", "INSERT")
    ]
    assert [change.relation.name for change in todo.changes] == ["todos"]


# Confirming


def confirmed_lsn(postgres: Connection) -> int:
    row = postgres.execute(
        "select confirmed_flush_lsn::text from pg_replication_slots where database = current_database()"
    ).fetchone()
    assert row is not None
    return parse_lsn(row[0])


async def test_the_server_keeps_the_log_until_it_is_confirmed(
    stream: ReplicationStream, postgres: Connection
) -> None:
    postgres.execute("insert into todos values (1)")
    (first,) = await read_until(stream, 1)
    postgres.execute("insert into todos values (2)")
    (second,) = await read_until(stream, 1)
    stream.confirm(first.lsn)
    await wait_until(lambda: confirmed_lsn(postgres) == first.lsn)
    stream.confirm(second.lsn)
    await wait_until(lambda: confirmed_lsn(postgres) >= second.lsn)


async def test_a_log_without_published_changes_is_confirmed_by_itself(
    stream: ReplicationStream, postgres: Connection
) -> None:
    postgres.execute("create temporary table unrelated (id int); create table unpublished (id int)")
    postgres.execute("insert into todos values (1)")
    transactions = await read_until(stream, 2)
    stream.confirm(transactions[-1].lsn)
    postgres.execute("insert into unpublished select generate_series(1, 1000)")
    row = postgres.execute("select pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    written = parse_lsn(row[0])

    async def read_on() -> None:
        while stream.position < written:
            assert await stream.read() == []

    await asyncio.wait_for(read_on(), 30)
    stream.confirm(transactions[-1].lsn)
    await wait_until(lambda: confirmed_lsn(postgres) >= written)


async def test_a_cancelled_reader_loses_nothing(stream: ReplicationStream, postgres: Connection) -> None:
    seen: list[object] = []
    for number in range(30):
        postgres.execute("insert into todos values (%s)", [number])
        try:
            async with asyncio.timeout(0.002 * (number % 3)):
                seen += [change.new for each in await stream.read() for change in each.changes]
        except TimeoutError:
            pass
    seen += [change.new for each in await read_until(stream, 30 - len(seen)) for change in each.changes]
    assert seen == [(str(number), None) for number in range(30)]


# The end


async def test_the_slot_is_gone_after_close_and_the_reader_is_told(
    stream: ReplicationStream, postgres: Connection
) -> None:
    reading = asyncio.create_task(read_until(stream, 3))
    slots = "select count(*) from pg_replication_slots where database = current_database()"
    await wait_until(lambda: postgres.execute(slots).fetchone() == (1,))
    await stream.close()
    assert postgres.execute(slots).fetchone() == (0,)
    with pytest.raises(StreamLost, match="closed"):
        await asyncio.wait_for(reading, 5)
    with pytest.raises(StreamLost, match="closed"):
        await stream.read()


async def test_a_slot_that_waits_for_a_transaction_is_not_left_behind(
    database: DatabaseAccess, postgres: Connection
) -> None:
    with psycopg.connect(database.conninfo("postgres")) as other:
        other.execute("create table held (id int)")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ReplicationStream(database.conninfo(LOGIN)).open(), 1)
        slots = "select count(*) from pg_replication_slots where database = current_database()"
        assert postgres.execute(slots).fetchone() == (0,)


async def test_what_was_committed_before_the_connection_ended_is_still_returned(
    stream: ReplicationStream, database: DatabaseAccess, postgres: Connection
) -> None:
    postgres.execute("insert into todos values (1)")
    (pid,) = postgres.execute(
        "select active_pid from pg_replication_slots where database = current_database()"
    ).fetchone() or (0,)
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(%s, 5000)", [pid])
    with pytest.raises(StreamLost, match="administrator command"):  # noqa: PT012
        (transaction,) = await read_until(stream, 1)
        assert transaction.changes[0].new == ("1", None)
        await read_until(stream, 1)


async def test_a_publication_that_is_dropped_ends_the_stream(
    stream: ReplicationStream, postgres: Connection
) -> None:
    postgres.execute("drop publication supabase_realtime")
    postgres.execute("insert into todos values (1)")
    with pytest.raises(StreamLost, match='publication "supabase_realtime" does not exist'):
        await read_until(stream, 2)


async def test_a_database_without_the_publication_says_how_to_make_it(
    database: DatabaseAccess, postgres: Connection
) -> None:
    postgres.execute("drop publication supabase_realtime")
    stream = ReplicationStream(database.conninfo(LOGIN))
    with pytest.raises(StreamLost, match="create publication supabase_realtime"):
        await stream.open()


async def test_a_role_that_may_not_replicate_is_told_so(database: DatabaseAccess) -> None:
    with pytest.raises(StreamLost, match=r"replication role|WAL sender"):
        await ReplicationStream(database.conninfo("authenticator")).open()


async def test_a_server_without_a_logical_log_or_a_free_slot_says_what_to_set(cluster_dir: Path) -> None:
    small = PrivateCluster(cluster_dir / "small", port=free_port(), max_connections=20, fsync=False)
    access = small.ensure()
    try:
        with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as admin:
            admin.execute("create publication supabase_realtime")
            admin.execute("alter system set max_replication_slots = 1")
            admin.execute("alter system set wal_level = replica")
        small.stop()
        small.ensure()
        first, second = (ReplicationStream(access.conninfo("supabase_admin")) for _ in range(2))
        with pytest.raises(StreamLost, match="set wal_level = logical"):
            await first.open()
        with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as admin:
            admin.execute("alter system reset wal_level")
        small.stop()
        small.ensure()
        await first.open()
        with pytest.raises(StreamLost, match="raise max_replication_slots"):
            await second.open()
        await first.close()
    finally:
        small.stop()
