"""Many readers of one queue: a message is read once within its timeout, and again when its reader died before it."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from basalt.postgres import DatabaseAccess

pytestmark = pytest.mark.req("P10")

MESSAGES = 5000
READERS = 8

# Reads and deletes until the queue is empty, and tells what it read as `[[msg_id, read_ct], …]`, a line for each batch.
READER = """
import json, sys
import psycopg

with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    while connection.execute("select exists (select from pgmq.q_work)").fetchone()[0]:
        query = "select msg_id, read_ct from pgmq.read_with_poll('work', 120, 20, 1, 20)"
        batch = connection.execute(query).fetchall()
        print(json.dumps(batch), flush=True)
        ids = [msg_id for msg_id, _ in batch]
        assert connection.execute("select * from pgmq.delete('work', %s::bigint[])", [ids]).rowcount == len(ids)
"""

# Reads and never comes to the end of its work; with `open` not even its transaction does.
DOOMED = """
import json, sys
import psycopg

with psycopg.connect(sys.argv[1], autocommit=sys.argv[2] != "open") as connection:
    print(json.dumps(connection.execute("select msg_id, read_ct from pgmq.read('work', 3, 30)").fetchall()), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def session(database: DatabaseAccess) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("create extension pgmq")
        connection.execute("select pgmq.create('work')")
        yield connection


def launch(script: str, database: DatabaseAccess, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, database.conninfo("postgres"), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> list[tuple[int, int]]:
    assert process.stdout is not None
    return [(msg_id, read_ct) for msg_id, read_ct in json.loads(process.stdout.readline())]


def test_every_message_is_read_once_unless_its_reader_is_killed(
    database: DatabaseAccess, session: psycopg.Connection[tuple[Any, ...]]
) -> None:
    session.execute(
        "select count(*) from pgmq.send_batch('work', array(select to_jsonb(n) from generate_series(1, %s) as n))",
        [MESSAGES],
    )
    doomed = [launch(DOOMED, database, "committed"), launch(DOOMED, database, "committed")]
    read_in_vain = Counter(message for process in doomed for message in first_line(process))
    undone = launch(DOOMED, database, "open")
    read_undone = first_line(undone)
    readers = [launch(READER, database) for _ in range(READERS)]
    for process in (*doomed, undone):
        process.kill()

    read: Counter[tuple[int, int]] = Counter()
    busy = 0
    for process in (*readers, *doomed, undone):
        output, _ = process.communicate(timeout=60)
        lines = [json.loads(line) for line in output.splitlines()]
        read.update((msg_id, read_ct) for line in lines for msg_id, read_ct in line)
        busy += process in readers and any(lines)
        assert process in readers or not lines
    assert all(process.returncode == 0 for process in readers)

    assert sorted(read_in_vain.values()) == [1] * 60, "the two read different messages"
    assert len(read_undone) == 30
    assert busy > 1, "several readers had something to do"
    again = Counter((msg_id, 2) for msg_id, _ in read_in_vain)
    once = Counter((msg_id, 1) for msg_id in range(1, MESSAGES + 1)) - read_in_vain
    assert read == once + again
    assert session.execute("select queue_length, total_messages from pgmq.metrics('work')").fetchall() == [
        (0, MESSAGES)
    ]


def test_every_message_is_popped_once(
    database: DatabaseAccess, session: psycopg.Connection[tuple[Any, ...]]
) -> None:
    session.execute(
        "select count(*) from pgmq.send_batch('work', array(select to_jsonb(n) from generate_series(1, 2000) as n))"
    )
    popper = READER.replace("read_with_poll('work', 120, 20, 1, 20)", "pop('work', 7)")
    popper = popper[: popper.index("        ids =")]
    popped: Counter[int] = Counter()
    for process in [launch(popper, database) for _ in range(4)]:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        popped.update(msg_id for line in output.splitlines() for msg_id, _ in json.loads(line))
    assert popped == Counter(range(1, 2001))


def test_the_order_of_a_group_holds_under_many_readers(
    database: DatabaseAccess, session: psycopg.Connection[tuple[Any, ...]]
) -> None:
    """Whoever has read a message writes it down before deleting it: then the list is in the order of each group."""
    session.execute(
        "create table done (position bigint generated always as identity, grp text, msg_id bigint)"
    )
    session.execute(
        "select count(*) from pgmq.send_batch('work', array(select to_jsonb(n) from generate_series(1, 600) as n), "
        "array(select jsonb_build_object('x-pgmq-group', (n % 7)::text) from generate_series(1, 600) as n))"
    )
    worker = """
import sys
import psycopg

with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    while connection.execute("select exists (select from pgmq.q_work)").fetchone()[0]:
        query = f"select msg_id, headers ->> 'x-pgmq-group' from pgmq.{sys.argv[2]}('work', 120, 3)"
        for msg_id, group in connection.execute(query).fetchall():
            connection.execute("insert into done (grp, msg_id) values (%s, %s)", [group, msg_id])
            connection.execute("select pgmq.delete('work', %s::bigint)", [msg_id])
"""
    ways = ("read_grouped", "read_grouped_rr", "read_grouped_head", "read_grouped")
    workers = [launch(worker, database, way) for way in ways]
    for process in workers:
        process.communicate(timeout=60)
        assert process.returncode == 0
    out_of_order = (
        "select count(*), count(*) filter (where msg_id < before) from (select msg_id, "
        "lag(msg_id) over (partition by grp order by position) as before from done) as d"
    )
    assert session.execute(out_of_order).fetchall() == [(600, 0)]
