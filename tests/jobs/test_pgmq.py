"""pgmq by SQL, as its own documentation and Supabase's have it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.errors import RaiseException, UndefinedTable
from psycopg.types.json import Jsonb

from basalt.postgres import DatabaseAccess

pytestmark = pytest.mark.req("P10")

Connection = psycopg.Connection[tuple[Any, ...]]
Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def database(template: DatabaseAccess, clone_database: Any) -> Iterator[DatabaseAccess]:
    """One database with the extension for the whole file, where each test makes and drops its queues."""
    with clone_database(template.dbname) as access:
        with psycopg.connect(access.conninfo("postgres")) as connection:
            connection.execute("create extension pgmq")
        yield access


@pytest.fixture
def session(database: DatabaseAccess) -> Iterator[Connection]:
    """Role `postgres` with one queue, each statement committed."""
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("select from pgmq.create('my_queue')")
        yield connection
        connection.execute("select pgmq.drop_queue(queue_name) from pgmq.list_queues()")


def rows(session: Connection, query: str, *params: Any) -> Rows:
    return session.execute(query.encode(), params or None).fetchall()


def one(session: Connection, query: str, *params: Any) -> Any:
    [(value,)] = rows(session, query, *params)
    return value


def ids(session: Connection, query: str, *params: Any) -> list[int]:
    return [row[0] for row in rows(session, query, *params)]


def notices_of(session: Connection, query: str) -> list[str]:
    heard: list[str] = []

    def hear(diagnostic: psycopg.errors.Diagnostic) -> None:
        heard.append(f"{diagnostic.severity}: {diagnostic.message_primary}")

    session.add_notice_handler(hear)
    session.execute(query.encode())
    session.remove_notice_handler(hear)
    return heard


class TestSending:
    def test_ids_are_counted_and_a_batch_keeps_its_order(self, session: Connection) -> None:
        assert rows(session, """select * from pgmq.send('my_queue', '{"hello": "world"}')""") == [(1,)]
        batch = 'array[\'{"hello": "world_0"}\', \'{"hello": "world_1"}\']::jsonb[]'
        assert rows(session, f"select * from pgmq.send_batch('my_queue', {batch})") == [(2,), (3,)]
        many = ids(session, "select * from pgmq.send_batch('my_queue', %s)", [Jsonb(n) for n in range(1000)])
        assert many == list(range(4, 1004))
        assert ids(session, "select message from pgmq.q_my_queue where msg_id > 3 order by msg_id") == list(
            range(1000)
        )

    @pytest.mark.parametrize(
        ("arguments", "is_visible", "headers"),
        [
            ("'{}'", True, None),
            ("'{}', 0", True, None),
            ("'{}', 5", False, None),
            ("'{}', current_timestamp + interval '1 day'", False, None),
            ("'{}', '{\"trace\": 1}'::jsonb", True, {"trace": 1}),
            ("'{}', headers => '{\"trace\": 1}'", True, {"trace": 1}),
            ("'{}', '{\"trace\": 1}', 0", True, {"trace": 1}),
            ("'{}', '{\"trace\": 1}', 5", False, {"trace": 1}),
            ("'{}', '{\"trace\": 1}', current_timestamp + interval '1 day'", False, {"trace": 1}),
            ("msg => '{}', delay => 5", False, None),
        ],
    )
    def test_a_message_may_have_headers_and_a_delay(
        self, session: Connection, arguments: str, is_visible: bool, headers: Any
    ) -> None:
        assert ids(session, f"select * from pgmq.send('my_queue', {arguments})") == [1]
        batch = arguments.replace("'{}'", "array['{}', '{}']::jsonb[]").replace("msg =>", "msgs =>")
        if headers:
            batch = batch.replace("'{\"trace\": 1}'::jsonb", "'{\"trace\": 1}'")
            batch = batch.replace("'{\"trace\": 1}'", "array['{\"trace\": 1}', '{\"trace\": 1}']::jsonb[]")
        assert ids(session, f"select * from pgmq.send_batch('my_queue', {batch})") == [2, 3]
        stored = rows(session, "select message, headers, vt <= clock_timestamp() from pgmq.q_my_queue")
        assert stored == [({}, headers, is_visible)] * 3

    def test_what_is_no_batch_is_refused(self, session: Connection) -> None:
        for nothing in ("null", "'{}'"):
            with pytest.raises(RaiseException, match="msgs cannot be NULL or empty"):
                session.execute(f"select pgmq.send_batch('my_queue', {nothing}::jsonb[])".encode())
        with pytest.raises(
            RaiseException, match=r"headers array length \(1\) must match msgs array length \(2\)"
        ):
            session.execute("select pgmq.send_batch('my_queue', '{1,2}'::jsonb[], '{1}'::jsonb[])")

    def test_what_is_sent_is_undone_with_its_transaction(self, session: Connection) -> None:
        with session.transaction(force_rollback=True):
            session.execute("select pgmq.send('my_queue', '1')")
        assert rows(session, "select * from pgmq.read('my_queue', 0, 1)") == []


class TestReading:
    def test_a_record_has_its_columns(self, session: Connection) -> None:
        session.execute("select pgmq.send('my_queue', '{\"a\": 1}', headers => '{\"b\": 2}')")
        cursor = session.execute("select * from pgmq.read('my_queue', 10, 2)")
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        assert names == ["msg_id", "read_ct", "enqueued_at", "last_read_at", "vt", "message", "headers"]
        [(msg_id, read_ct, enqueued_at, last_read_at, vt, message, headers)] = cursor.fetchall()
        assert (msg_id, read_ct, message, headers) == (1, 1, {"a": 1}, {"b": 2})
        assert enqueued_at <= last_read_at
        assert vt - last_read_at == timedelta(seconds=10)

    def test_messages_come_in_order_and_are_hidden(self, session: Connection) -> None:
        session.execute("select pgmq.send_batch('my_queue', '{1,2,3}'::jsonb[])")
        assert ids(session, "select msg_id from pgmq.read('my_queue', 10, 2)") == [1, 2]
        assert ids(session, "select msg_id from pgmq.read('my_queue', 10, 2)") == [3]
        assert ids(session, "select msg_id from pgmq.read('my_queue', 10, 2)") == []

    def test_a_message_is_visible_again_after_its_timeout(self, session: Connection) -> None:
        session.execute("select pgmq.send('my_queue', '1')")
        assert rows(session, "select msg_id, read_ct from pgmq.read('my_queue', 0, 1)") == [(1, 1)]
        assert rows(session, "select msg_id, read_ct from pgmq.read('my_queue', 0, 1)") == [(1, 2)]
        until = datetime.now(UTC) + timedelta(days=1)
        assert ids(session, "select vt from pgmq.read('my_queue', %s, 1)", until) == [until]
        assert rows(session, "select * from pgmq.read('my_queue', 0, 1)") == []

    def test_a_condition_chooses_messages(self, session: Connection) -> None:
        session.execute(
            'select pgmq.send_batch(\'my_queue\', array[\'{"t": "a"}\', \'{"t": "b"}\']::jsonb[])'
        )
        assert ids(session, "select msg_id from pgmq.read('my_queue', 10, 2, '{\"t\": \"b\"}')") == [2]
        assert ids(session, "select msg_id from pgmq.read('my_queue', 10, 2, '{\"t\": \"c\"}')") == []
        assert ids(session, "select msg_id from pgmq.read('my_queue', 10, 2, conditional => null)") == [1]

    def test_a_poll_waits_for_a_message_and_not_longer(
        self, session: Connection, database: DatabaseAccess
    ) -> None:
        assert rows(session, "select * from pgmq.read_with_poll('my_queue', 1, 1, 0)") == []
        session.execute("select pgmq.send('my_queue', '1', 1)")
        started = datetime.now(UTC)
        [(msg_id, last_read_at, vt)] = rows(
            session, "select msg_id, last_read_at, vt from pgmq.read_with_poll('my_queue', 10, 1, 5, 20)"
        )
        assert msg_id == 1
        assert vt - last_read_at == timedelta(seconds=10), (
            "hidden from when it was read, not from the first poll"
        )
        assert last_read_at - started < timedelta(seconds=4)

    def test_a_message_is_popped_once(self, session: Connection) -> None:
        session.execute("select pgmq.send_batch('my_queue', '{1,2,3,4}'::jsonb[])")
        assert rows(session, "select msg_id, read_ct, message from pgmq.pop('my_queue')") == [(1, 0, 1)]
        assert ids(session, "select msg_id from pgmq.pop('my_queue', 2)") == [2, 3]
        assert ids(session, "select msg_id from pgmq.pop('my_queue', qty => 2)") == [4]
        assert ids(session, "select msg_id from pgmq.pop('my_queue')") == []

    def test_a_message_is_hidden_longer_or_shown(self, session: Connection) -> None:
        session.execute("select pgmq.send_batch('my_queue', '{1,2,3}'::jsonb[])")
        [(msg_id, read_ct, vt)] = rows(
            session, "select msg_id, read_ct, vt from pgmq.set_vt('my_queue', 2, 30)"
        )
        assert (msg_id, read_ct) == (2, 0)
        assert timedelta(seconds=25) < vt - datetime.now(UTC) < timedelta(seconds=31)
        assert ids(session, "select msg_id from pgmq.read('my_queue', 0, 3)") == [1, 3]
        assert ids(session, "select msg_id from pgmq.set_vt('my_queue', array[3, 2, 99], 0)") == [2, 3]
        until = datetime.now(UTC) + timedelta(days=1)
        assert ids(session, "select vt from pgmq.set_vt('my_queue', 1, %s)", until) == [until]
        assert ids(session, "select vt from pgmq.set_vt('my_queue', array[2]::bigint[], %s)", until) == [
            until
        ]
        assert ids(session, "select msg_id from pgmq.read('my_queue', 0, 3)") == [3]
        assert rows(session, "select * from pgmq.set_vt('my_queue', 99, 1)") == []


class TestRemoving:
    def test_messages_are_deleted_once(self, session: Connection) -> None:
        session.execute("select pgmq.send_batch('my_queue', '{1,2,3}'::jsonb[])")
        assert one(session, "select pgmq.delete('my_queue', 1)") is True
        assert one(session, "select pgmq.delete('my_queue', 1)") is False
        assert ids(session, "select * from pgmq.delete('my_queue', array[2, 999])") == [2]

    def test_archived_messages_keep_what_they_were(self, session: Connection) -> None:
        session.execute("select pgmq.send('my_queue', '{\"a\": 1}', headers => '{\"b\": 2}')")
        session.execute("select pgmq.send('my_queue', '2')")
        columns = "msg_id, read_ct, enqueued_at, last_read_at, vt, message, headers"
        [read] = rows(session, f"select {columns} from pgmq.read('my_queue', 30, 1)")
        assert one(session, "select pgmq.archive('my_queue', 1)") is True
        assert one(session, "select pgmq.archive('my_queue', 1)") is False
        assert rows(session, f"select {columns} from pgmq.a_my_queue") == [read]
        assert ids(session, "select * from pgmq.archive('my_queue', array[2, 999])") == [2]
        assert one(session, "select count(*) from pgmq.a_my_queue where archived_at <= now()") == 2
        assert one(session, "select count(*) from pgmq.q_my_queue") == 0

    def test_a_queue_is_purged_and_its_archive_stays(self, session: Connection) -> None:
        session.execute("select pgmq.send_batch('my_queue', '{1,2,3}'::jsonb[])")
        session.execute("select pgmq.archive('my_queue', 1)")
        assert one(session, "select pgmq.purge_queue('my_queue')") == 2
        assert one(session, "select pgmq.purge_queue('my_queue')") == 0
        assert one(session, "select count(*) from pgmq.a_my_queue") == 1
        assert ids(session, "select * from pgmq.send('my_queue', '4')") == [4]


class TestQueues:
    def test_they_are_listed_with_their_kind(self, session: Connection) -> None:
        session.execute("select pgmq.create_unlogged('my_unlogged')")
        session.execute("select pgmq.create_non_partitioned('other')")
        session.execute("select pgmq.create('my_queue')")  # a second time changes nothing
        cursor = session.execute("select * from pgmq.list_queues()")
        assert cursor.description is not None
        assert [column.name for column in cursor.description] == [
            *("queue_name", "is_partitioned", "is_unlogged", "created_at")
        ]
        listed = [row[:3] for row in cursor.fetchall()]
        assert listed == [("my_queue", False, False), ("my_unlogged", False, True), ("other", False, False)]

    def test_an_unlogged_queue_has_a_logged_archive_and_keeps_counting(self, session: Connection) -> None:
        session.execute("select pgmq.create_unlogged('fast')")
        kinds = rows(
            session,
            "select relname::text, relpersistence::text from pg_class where relname ~ 'fast' and relkind in ('r', 'S')",
        )
        assert sorted(kinds) == [("a_fast", "p"), ("q_fast", "u"), ("q_fast_msg_id_seq", "p")]

    def test_a_dropped_queue_is_gone(self, session: Connection) -> None:
        assert one(session, "select pgmq.drop_queue('my_queue')") is True
        assert rows(session, "select * from pgmq.list_queues()") == []
        with pytest.raises(UndefinedTable, match=r'relation "pgmq\.q_my_queue" does not exist'):
            session.execute("select pgmq.send('my_queue', '1')")
        assert notices_of(session, "select pgmq.drop_queue('my_queue')") == [
            "NOTICE: pgmq queue `my_queue` does not exist"
        ]
        assert one(session, "select pgmq.drop_queue('my_queue')") is False

    def test_deprecated_functions_say_so(self, session: Connection) -> None:
        assert (
            "detach_archive(queue_name) is deprecated"
            in notices_of(session, "select pgmq.detach_archive('my_queue')")[0]
        )
        assert (
            "drop_queue(queue_name, partitioned) is deprecated"
            in notices_of(session, "select pgmq.drop_queue('my_queue', false)")[0]
        )
        assert rows(session, "select * from pgmq.list_queues()") == []

    def test_a_partitioned_queue_is_one_table_and_says_so(self, session: Connection) -> None:
        [notice] = notices_of(session, "select pgmq.create_partitioned('parts', '10', '100')")
        assert notice == (
            'NOTICE: queue "parts" is one table: partitions are not made, and retention_interval 100 is not applied'
        )
        assert ids(session, "select * from pgmq.send('parts', '1')") == [1]
        [notice] = notices_of(session, "select pgmq.convert_archive_partitioned('parts')")
        assert notice == 'NOTICE: the archive of queue "parts" stays one table: partitions are not made'
        with pytest.raises(RaiseException, match="premake must be at least 1, got 0"):
            session.execute("select pgmq.create_partitioned('parts', premake => 0)")

    def test_metrics_are_of_what_is_there(self, session: Connection) -> None:
        cursor = session.execute("select * from pgmq.metrics('my_queue')")
        assert cursor.description is not None
        assert [column.name for column in cursor.description] == [
            *("queue_name", "queue_length", "newest_msg_age_sec", "oldest_msg_age_sec", "total_messages"),
            *("scrape_time", "queue_visible_length", "default_partition_length"),
        ]
        assert [row[:5] for row in cursor.fetchall()] == [("my_queue", 0, None, None, 0)]
        session.execute("select pgmq.send_batch('my_queue', '{1,2,3}'::jsonb[])")
        session.execute(
            "update pgmq.q_my_queue set enqueued_at = now() - interval '1 minute' where msg_id = 1"
        )
        session.execute("select pgmq.pop('my_queue'), pgmq.read('my_queue', 60, 1)")
        session.execute("select pgmq.create('empty')")
        measured = "select queue_name, queue_length, newest_msg_age_sec, queue_visible_length, total_messages"
        assert rows(session, f"{measured} from pgmq.metrics('my_queue')") == [("my_queue", 2, 0, 1, 3)]
        assert rows(session, f"{measured} from pgmq.metrics_all()") == [
            ("my_queue", 2, 0, 1, 3),
            ("empty", 0, None, 0, 0),
        ]


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            *(
                "with-hyphen",
                "with space",
                "1",
                "select",
                "a.b",
                '"quoted"',
                "%I %L %s",
                "ünïcödé",
                "очередь",
            ),
            *("back\\slash", "semi:colon", "q(1)", "/*c*/", "new\nline", "x" * 47),
        ],
    )
    def test_any_name_works_that_is_not_refused(self, session: Connection, name: str) -> None:
        session.execute("select pgmq.create(%s)", [name])
        assert one(session, "select pgmq.send(%s, '1')", name) == 1
        assert one(session, "select pgmq.archive(%s, msg_id) from pgmq.read(%s, 1, 1)", name, name) is True
        session.execute("select pgmq.enable_notify_insert(%s)", [name])
        assert one(session, "select queue_name from pgmq.metrics(%s)", name) == name
        assert one(session, "select pgmq.drop_queue(%s)", name) is True
        assert (
            one(
                session,
                "select count(*) from pg_class where relnamespace = 'pgmq'::regnamespace "
                "and relkind = 'r' and relname ~ '^[qa]_'",
            )
            == 2
        )

    @pytest.mark.parametrize(
        "name", ["a;b", "a--b", "a$b", "a'b", "x'; drop table pgmq.meta; --", 'x"; drop table pgmq.meta; --']
    )
    def test_injection_is_refused(self, session: Connection, name: str) -> None:
        for call in (
            "create(%s)",
            "drop_queue(%s)",
            "read(%s, 1, 1)",
            "send(%s, '1')",
            "metrics(%s)",
            "pop(%s)",
        ):
            with pytest.raises(
                RaiseException, match=r"queue name contains invalid characters: \$, ;, --, or \\'"
            ):
                session.execute(f"select pgmq.{call}".encode(), [name])
        assert len(rows(session, "select * from pgmq.meta")) == 1

    @pytest.mark.parametrize("name", ["x" * 48, "ы" * 24])
    def test_a_name_that_does_not_fit_an_identifier_is_refused(self, session: Connection, name: str) -> None:
        with pytest.raises(RaiseException, match="queue name is too long, maximum length is 47 characters"):
            session.execute("select pgmq.create(%s)", [name])

    def test_spellings_that_differ_in_case_are_one_queue(self, session: Connection) -> None:
        session.execute("select pgmq.create('MY_Queue')")
        session.execute("select pgmq.create('Orders')")
        assert ids(session, "select queue_name from pgmq.list_queues()") == ["my_queue", "Orders"]
        assert ids(session, "select pgmq.send('ORDERS', '1')") == [1]
        assert ids(session, "select msg_id from pgmq.read('orders', 0, 1)") == [1]
        assert one(session, "select pgmq.drop_queue('orders')") is True
        assert ids(session, "select queue_name from pgmq.list_queues()") == ["my_queue"]

    def test_a_queue_that_is_not_there_is_an_error_of_postgres(self, session: Connection) -> None:
        for call in (
            "send('no', '1')",
            "read('no', 1, 1)",
            "pop('no')",
            "delete('no', 1)",
            "archive('no', 1)",
        ):
            with pytest.raises(UndefinedTable, match=r'relation "pgmq\.q_no" does not exist'):
                session.execute(f"select pgmq.{call}".encode())


class TestGroups:
    @pytest.fixture(autouse=True)
    def messages(self, session: Connection) -> None:
        """a: 1, 2, 5; b: 3; none: 4."""
        for group in ("a", "a", "b", None, "a"):
            headers = Jsonb({"x-pgmq-group": group}) if group else None
            session.execute("select pgmq.send('my_queue', '1', %s::jsonb)", [headers])

    def test_the_oldest_group_fills_the_batch(self, session: Connection) -> None:
        assert ids(session, "select msg_id from pgmq.read_grouped('my_queue', 10, 4)") == [1, 2, 5, 3]
        assert ids(session, "select msg_id from pgmq.read_grouped('my_queue', 10, 4)") == [4]

    def test_groups_take_turns(self, session: Connection) -> None:
        assert ids(session, "select msg_id from pgmq.read_grouped_rr('my_queue', 0, 9)") == [1, 3, 4, 2, 5]
        assert ids(session, "select msg_id from pgmq.read_grouped_rr('my_queue', 0, 2)") == [1, 3]

    def test_heads_are_one_of_each_group(self, session: Connection) -> None:
        assert ids(session, "select msg_id from pgmq.read_grouped_head('my_queue', 10, 9)") == [1, 3, 4]
        assert ids(session, "select msg_id from pgmq.read_grouped_head('my_queue', 10, 9)") == []
        session.execute("select pgmq.delete('my_queue', 1)")
        assert ids(session, "select msg_id from pgmq.read_grouped_head('my_queue', 10, 9)") == [2]

    def test_a_group_waits_for_its_oldest_message(self, session: Connection) -> None:
        session.execute("select pgmq.read('my_queue', 60, 1)")
        for way in ("read_grouped", "read_grouped_rr"):
            assert ids(session, f"select msg_id from pgmq.{way}('my_queue', 0, 9)") == [3, 4]

    def test_nothing_behind_a_hidden_message_is_taken(self, session: Connection) -> None:
        session.execute("select pgmq.set_vt('my_queue', 2, 60)")
        for way in ("read_grouped", "read_grouped_rr"):
            assert ids(session, f"select msg_id from pgmq.{way}('my_queue', 0, 9)") == [1, 3, 4]

    @pytest.mark.parametrize("way", ["read_grouped", "read_grouped_rr", "read_grouped_head"])
    def test_a_group_belongs_to_one_reader_until_it_commits(
        self, session: Connection, database: DatabaseAccess, way: str
    ) -> None:
        with psycopg.connect(database.conninfo("postgres")) as other:
            other.execute("set idle_in_transaction_session_timeout = 0")
            first = other.execute(f"select msg_id from pgmq.{way}('my_queue', 0, 1)".encode()).fetchall()
            assert first == [(1,)]
            assert ids(session, f"select msg_id from pgmq.{way}('my_queue', 0, 9)") == [3, 4]
            other.commit()
        assert 1 in ids(session, f"select msg_id from pgmq.{way}('my_queue', 0, 9)")

    def test_instants_and_polls_are_taken_too(self, session: Connection) -> None:
        past = datetime(2020, 1, 1, tzinfo=UTC)
        for way in ("read_grouped", "read_grouped_rr", "read_grouped_head"):
            assert ids(session, f"select vt from pgmq.{way}('my_queue', %s, 1)", past) == [past]
            assert ids(session, f"select msg_id from pgmq.{way}_with_poll('my_queue', 0, 1)") == [1]
        session.execute("select pgmq.read('my_queue', 60, 9)")
        for way in ("read_grouped", "read_grouped_rr", "read_grouped_head"):
            assert rows(session, f"select * from pgmq.{way}_with_poll('my_queue', 0, 1, 0)") == []

    def test_a_long_queue_may_have_an_index_for_them(self, session: Connection) -> None:
        session.execute("select pgmq.create_fifo_index('my_queue')")
        session.execute("select pgmq.create_fifo_indexes_all()")
        assert one(session, "select count(*) from pg_indexes where indexname = 'q_my_queue_fifo_idx'") == 1


class TestTopics:
    def test_a_message_goes_to_every_queue_whose_pattern_matches(self, session: Connection) -> None:
        session.execute("select pgmq.create('errors'), pgmq.create('audit')")
        for pattern, queue in [
            ("logs.*", "my_queue"),
            ("*.error", "errors"),
            ("#", "audit"),
            ("logs.#", "audit"),
        ]:
            session.execute("select pgmq.bind_topic(%s, %s)", [pattern, queue])
        assert one(session, "select pgmq.send_topic('logs.error', '1')") == 3
        assert one(session, "select pgmq.send_topic('logs.api.error', '2', 5)") == 1
        assert one(session, "select pgmq.send_topic('other', '3', '{\"h\": 1}', 0)") == 1
        assert rows(session, "select message, headers from pgmq.q_audit order by msg_id") == [
            *((1, None), (2, None), (3, {"h": 1}))
        ]
        sent = rows(session, "select * from pgmq.send_batch_topic('app.error', '{1,2}'::jsonb[])")
        assert sent == [("audit", 4), ("audit", 5), ("errors", 2), ("errors", 3)]
        matching = ids(session, "select pattern from pgmq.test_routing('logs.error')")
        assert set(matching) == {"#", "*.error", "logs.#", "logs.*"}

    def test_a_pattern_is_no_regular_expression(self, session: Connection) -> None:
        session.execute("select pgmq.bind_topic('a.b-c', 'my_queue')")
        assert rows(session, "select * from pgmq.test_routing('axb-c')") == []
        assert ids(session, "select compiled_regex from pgmq.list_topic_bindings('my_queue')") == [
            r"^a\.b-c$"
        ]

    def test_bindings_end_with_their_queue_or_before(self, session: Connection) -> None:
        session.execute("select pgmq.bind_topic('a', 'MY_QUEUE'), pgmq.bind_topic('b', 'my_queue')")
        session.execute("select pgmq.bind_topic('a', 'my_queue')")
        assert one(session, "select pgmq.unbind_topic('a', 'my_queue')") is True
        assert one(session, "select pgmq.unbind_topic('a', 'my_queue')") is False
        assert rows(session, "select pattern, queue_name from pgmq.list_topic_bindings()") == [
            ("b", "my_queue")
        ]
        session.execute("select pgmq.drop_queue('my_queue')")
        assert rows(session, "select * from pgmq.list_topic_bindings()") == []

    @pytest.mark.parametrize(
        ("call", "problem"),
        [
            ("validate_routing_key('')", "routing_key cannot be NULL or empty"),
            ("validate_routing_key('.a')", "routing_key cannot start with a dot. Got: .a"),
            ("validate_routing_key('a.')", "routing_key cannot end with a dot. Got: a."),
            ("validate_routing_key('a..b')", "routing_key cannot contain consecutive dots. Got: a..b"),
            ("validate_routing_key('a b')", "routing_key contains invalid characters"),
            ("validate_routing_key('a.*')", "routing_key contains invalid characters"),
            (
                "validate_routing_key(repeat('a', 256))",
                "routing_key length cannot exceed 255 characters, got 256",
            ),
            ("validate_topic_pattern('a.**')", "pattern cannot contain consecutive stars"),
            ("validate_topic_pattern('##')", "pattern cannot contain consecutive hashes"),
            ("validate_topic_pattern('*#')", "pattern cannot contain adjacent wildcards"),
            ("validate_topic_pattern('a!')", "pattern contains invalid characters"),
            (
                "bind_topic('a', 'no')",
                'Queue "no" does not exist. Create the queue first using pgmq.create()',
            ),
            ("bind_topic('a', '')", "queue_name cannot be NULL or empty"),
            ("unbind_topic('', 'a')", "pattern cannot be NULL or empty"),
            ("send_topic('a', null::jsonb)", "msg cannot be NULL"),
            ("send_topic('a', '1', -1)", "delay cannot be negative, got: -1"),
            ("send_batch_topic('a', '{}'::jsonb[])", "msgs cannot be NULL or empty"),
        ],
    )
    def test_what_is_no_topic_is_refused(self, session: Connection, call: str, problem: str) -> None:
        with pytest.raises(RaiseException) as caught:
            session.execute(f"select pgmq.{call}".encode())
        assert str(caught.value).startswith(problem)


class TestNotifications:
    def heard(self, listener: Connection) -> list[str]:
        listener.execute("select 1")  # what was sent before has arrived with the answer
        return [notice.channel for notice in listener.notifies(timeout=0)]

    def test_listeners_hear_of_new_and_of_deleted_messages(
        self, session: Connection, database: DatabaseAccess
    ) -> None:
        session.execute("select pgmq.create('Mixed')")
        session.execute("select pgmq.enable_notify_insert('mixed', 0), pgmq.enable_notify_delete('Mixed', 0)")
        with psycopg.connect(database.conninfo("postgres"), autocommit=True) as listener:
            listener.execute('listen "pgmq.q_Mixed.INSERT"; listen "pgmq.q_Mixed.DELETE"')
            session.execute("select pgmq.send_batch('mixed', '{1,2,3}'::jsonb[])")
            assert self.heard(listener) == ["pgmq.q_Mixed.INSERT"]
            session.execute("select pgmq.pop('mixed')")
            assert self.heard(listener) == ["pgmq.q_Mixed.DELETE"]
            session.execute("select pgmq.disable_notify_insert('mixed'), pgmq.disable_notify_delete('mixed')")
            session.execute("select pgmq.send('mixed', '1'), pgmq.pop('mixed')")
            assert self.heard(listener) == []

    def test_a_throttle_tells_once_in_its_interval(
        self, session: Connection, database: DatabaseAccess
    ) -> None:
        session.execute("select pgmq.enable_notify_insert('my_queue', 3600000)")
        with psycopg.connect(database.conninfo("postgres"), autocommit=True) as listener:
            listener.execute('listen "pgmq.q_my_queue.INSERT"')
            session.execute("select pgmq.send('my_queue', '1')")
            session.execute("select pgmq.send('my_queue', '2')")
            assert self.heard(listener) == ["pgmq.q_my_queue.INSERT"]
            session.execute("select pgmq.update_notify_insert('my_queue', 3600001)")
            session.execute("select pgmq.send('my_queue', '3')")
            assert self.heard(listener) == ["pgmq.q_my_queue.INSERT"]
        [(queue_name, interval, last)] = rows(session, "select * from pgmq.list_notify_insert_throttles()")
        assert (queue_name, interval) == ("my_queue", 3600001)
        assert last.year > 2020
        assert rows(session, "select * from pgmq.list_notify_delete_throttles()") == []

    def test_senders_do_not_wait_for_each_other(self, session: Connection, database: DatabaseAccess) -> None:
        session.execute("select pgmq.enable_notify_insert('my_queue')")
        session.execute("set statement_timeout = '5s'")
        with psycopg.connect(database.conninfo("postgres")) as slow:
            slow.execute("select pgmq.send('my_queue', '1')")  # and does not commit
            assert ids(session, "select * from pgmq.send('my_queue', '2')") == [2]

    @pytest.mark.parametrize(
        ("call", "problem"),
        [
            ("enable_notify_insert('my_queue', -1)", "throttle_interval_ms must be non-negative"),
            ("enable_notify_insert('no')", 'Queue "no" does not exist. Create it first using pgmq.create()'),
            ("update_notify_insert('my_queue', -1)", "throttle_interval_ms must be non-negative, got: -1"),
            ("update_notify_insert('my_queue', 1)", 'Queue "my_queue" does not have notify_insert enabled'),
            ("update_notify_delete('no', 1)", 'Queue "no" does not exist'),
        ],
    )
    def test_what_cannot_be_told_is_refused(self, session: Connection, call: str, problem: str) -> None:
        with pytest.raises(RaiseException) as caught:
            session.execute(f"select pgmq.{call}".encode())
        assert str(caught.value).startswith(problem)
