"""Broadcast from the database, by whoever inserts a message, and what is replayed to those who come later (protocol
§12, §13)."""

import json
import time
import uuid
from typing import Any

import psycopg
import pytest

from tests.realtime.conftest import Connection, Harbour
from tests.realtime.phoenix import Message, Phoenix

pytestmark = pytest.mark.req("P7")


async def members_of(harbour: Harbour, name: str, *, private: bool = True) -> tuple[Phoenix, Phoenix]:
    """One of each version (1.0.0, 2.0.0), who know that the log is read."""
    token = harbour.token()
    first, second = await harbour.socket("1.0.0", key=token), await harbour.socket("2.0.0", key=token)
    for phx in (first, second):
        await phx.join(name, {"private": private, "broadcast": {"replication_ready": True}})
        assert (await phx.next()).payload["message"] == "Replication connection established"
    return first, second


def send(harbour: Harbour, payload: Any, event: str, topic: str, *, private: bool = True) -> None:
    harbour.sql.execute(
        "select realtime.send(%s::jsonb, %s, %s, %s)", (json.dumps(payload), event, topic, private)
    )


def id_of(harbour: Harbour, topic: str, event: str) -> str:
    row = harbour.sql.execute(
        "select id::text from realtime.messages where topic = %s and event = %s", (topic, event)
    ).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize("private", [True, False])
async def test_what_the_database_sends_reaches_both_versions(
    harbour: Harbour, name: str, private: bool
) -> None:
    room = f"room:{name}"
    first, second = await members_of(harbour, room, private=private)
    others = await members_of(harbour, room, private=not private)
    send(harbour, {"a": 1}, "ev", room, private=private)
    identity = id_of(harbour, room, "ev")
    old = await first.next()
    assert old.payload == {
        "event": "ev",
        "payload": {"a": 1, "id": identity},
        "type": "broadcast",
        "meta": {"id": identity},
    }
    new = await second.next()
    assert (new.kind, new.encoding, new.topic, new.event) == (4, 1, f"realtime:{room}", "ev")
    assert (new.payload, new.metadata) == ({"a": 1, "id": identity}, {"id": identity})
    send(harbour, {}, "marker", room, private=not private)
    assert [(await each.next()).event for each in others] == ["broadcast", "marker"]
    assert await second.drain() == []


async def test_an_id_of_the_payloads_own_is_kept(harbour: Harbour, name: str) -> None:
    _, second = await members_of(harbour, f"room:{name}")
    send(harbour, {"id": 7}, "ev", f"room:{name}")
    assert (await second.next()).payload == {"id": 7}


async def test_bytes_from_the_database_reach_only_those_who_can_hold_them(
    harbour: Harbour, name: str
) -> None:
    room = f"room:{name}"
    first, second = await members_of(harbour, room)
    harbour.sql.execute("select realtime.send_binary(%s, 'raw', %s)", (b"\x00\xff", room))
    send(harbour, {}, "marker", room)
    message = await second.next()
    assert (message.kind, message.encoding, message.event, message.payload) == (4, 0, "raw", b"\x00\xff")
    assert message.metadata == {"id": id_of(harbour, room, "raw")}
    assert (await first.next()).payload["event"] == "marker"


async def test_a_row_that_anybody_inserts_is_sent_and_an_incomplete_one_is_not(
    harbour: Harbour, name: str
) -> None:
    _, second = await members_of(harbour, f"room:{name}")
    insert = "insert into realtime.messages (topic, extension, event, payload, private) values (%s, %s, %s, %s, true)"
    room = f"room:{name}"
    for row in [
        (room, "broadcast", None, "{}"),
        (room, "broadcast", "no payload", None),
        (room, "presence", "another extension", "{}"),
        (room, "broadcast", "complete", '{"a": [1, null]}'),
    ]:
        harbour.sql.execute(insert, row)
    message = await second.next()
    assert (message.event, message.payload) == ("complete", {"a": [1, None]})


async def test_what_is_rolled_back_is_never_sent_and_order_is_that_of_commits(
    harbour: Harbour, name: str
) -> None:
    room = f"room:{name}"
    _, second = await members_of(harbour, room)
    with psycopg.connect(harbour.server.database_url) as other:
        other.execute("select realtime.send('{}', 'rolled back', %s)", (room,))
        other.rollback()
        other.execute("select realtime.send('{}', 'first sent', %s)", (room,))
        send(harbour, {}, "first committed", room)
        other.commit()
    assert [message.event for message in await second.take(2)] == ["first committed", "first sent"]


async def test_a_trigger_of_an_ordinary_users_write_broadcasts_the_change(
    harbour: Harbour, name: str
) -> None:
    """Its policy sees the topic inside `realtime.send`."""
    room = f"room:{name}"
    _, second = await members_of(harbour, room)
    headers = {"prefer": "return=representation"}
    with harbour.server.client(token=harbour.token()) as http:
        created = http.post("/rest/v1/tasks", json={"room": room, "title": "a"}, headers=headers)
        identity = created.json()[0]["id"]
        http.patch(f"/rest/v1/tasks?id=eq.{identity}", json={"title": "b"}).raise_for_status()
        http.delete(f"/rest/v1/tasks?id=eq.{identity}").raise_for_status()
    messages = await second.take(3)
    assert [message.event for message in messages] == ["INSERT", "UPDATE", "DELETE"]
    old = {"id": identity, "room": room, "title": "a"}
    new = {**old, "title": "b"}
    for message, record, old_record in zip(messages, (old, new, None), (None, old, new), strict=True):
        assert message.payload == {
            "id": message.metadata["id"],
            "operation": message.event,
            "schema": "public",
            "table": "tasks",
            "record": record,
            "old_record": old_record,
        }


async def test_a_user_without_a_policy_sends_nothing_and_the_write_goes_on(
    harbour: Harbour, name: str
) -> None:
    _, second = await members_of(harbour, f"room:{name}")
    with harbour.server.client(token=harbour.token(role="anon")) as http:
        created = http.post("/rest/v1/tasks", json={"room": f"room:{name}", "title": "a"})
        assert created.status_code == 201
    send(harbour, {}, "marker", f"room:{name}")
    assert (await second.next()).event == "marker"


def warnings_of(connection: Connection) -> list[str]:
    found: list[str] = []
    connection.add_notice_handler(lambda notice: found.append(f"{notice.severity}: {notice.message_primary}"))
    return found


async def test_an_error_while_sending_is_a_warning(harbour: Harbour) -> None:
    with psycopg.connect(harbour.server.database_url, autocommit=True) as connection:
        warnings = warnings_of(connection)
        connection.execute("select realtime.send('{}', 'ev', null)")
        connection.execute("select realtime.send_binary('a', 'ev', null)")
    assert len(warnings) == 2
    assert all(warning.startswith("WARNING: WarnSendingBroadcastMessage: ") for warning in warnings)


@pytest.mark.parametrize(
    ("operation", "level", "message"),
    [
        ("INSERT", "STATEMENT", "function can only be triggered for each row, not for each statement"),
        ("TRUNCATE", "ROW", "Unexpected operation type: TRUNCATE"),
    ],
)
async def test_broadcast_changes_is_for_rows(
    harbour: Harbour, operation: str, level: str, message: str
) -> None:
    with pytest.raises(psycopg.errors.RaiseException) as caught:
        harbour.sql.execute(
            "select realtime.broadcast_changes('t', 'e', %s, 'tasks', 'public', null, null, %s)",
            (operation, level),
        )
    assert caught.value.diag.message_primary == f"Failed to process the row: {message}"


async def test_the_topic_stays_set_for_the_rest_of_the_transaction(harbour: Harbour, name: str) -> None:
    with psycopg.connect(harbour.server.database_url) as connection:
        connection.execute("select realtime.send('{}', 'ev', %s)", (name,))
        assert connection.execute("select realtime.topic()").fetchone() == (name,)
        connection.rollback()
        assert connection.execute("select realtime.topic()").fetchone() == (None,)


# Replay


async def replayed(
    harbour: Harbour, room: str, replay: dict[str, int], version: str = "2.0.0", token: str | None = None
) -> list[Message]:
    """What a new member gets behind the reply."""
    phx = await harbour.socket(version, key=token or harbour.token())  # type: ignore[arg-type]
    await phx.join(room, {"private": True, "broadcast": {"replay": replay}})
    return await phx.drain()


async def test_the_newest_messages_since_a_time_are_replayed_oldest_first(
    harbour: Harbour, name: str
) -> None:
    room = f"room:{name}"
    _, live = await members_of(harbour, room)
    for number in range(30):
        send(harbour, {"n": number}, f"e{number}", room)
    assert [message.event for message in await live.take(30)] == [f"e{number}" for number in range(30)]
    found = await replayed(harbour, room, {"since": 0, "limit": 3})
    assert [message.short for message in found] == [
        (
            "broadcast",
            {
                "type": "broadcast",
                "event": f"e{number}",
                "payload": {"n": number, "id": (identity := id_of(harbour, room, f"e{number}"))},
                "meta": {"replayed": True, "id": identity},
            },
        )
        for number in (27, 28, 29)
    ]
    for limit in ({}, {"limit": 25}, {"limit": 1000}):
        found = await replayed(harbour, room, {"since": 0, **limit})
        assert [message.payload["event"] for message in found] == [f"e{number}" for number in range(5, 30)]
    since = harbour.sql.execute(
        "select floor(extract(epoch from inserted_at at time zone 'utc') * 1000)::int8 from realtime.messages"
        " where topic = %s and event = 'e28'",
        (room,),
    ).fetchone()
    assert since is not None
    found = await replayed(harbour, room, {"since": since[0]}, "1.0.0")
    assert [message.payload["event"] for message in found][-2:] == ["e28", "e29"]
    assert await replayed(harbour, room, {"since": int(time.time() * 1000) + 60_000}) == []


async def test_only_private_broadcasts_of_this_very_topic_are_replayed(harbour: Harbour, name: str) -> None:
    room = f"room:{name}"
    send(harbour, {}, "public", room, private=False)
    send(harbour, {}, "of another", f"{room} too")
    insert = "insert into realtime.messages (topic, extension, event, payload, private) values (%s, %s, %s, %s, true)"
    harbour.sql.execute(insert, (room, "presence", "probe", "{}"))
    harbour.sql.execute(insert, (room, "broadcast", "empty", None))
    send(harbour, {}, "this one", room)
    assert [message.payload["event"] for message in await replayed(harbour, room, {"since": 0})] == [
        "this one"
    ]


async def test_bytes_are_replayed_to_those_who_can_hold_them(harbour: Harbour, name: str) -> None:
    room = f"room:{name}"
    harbour.sql.execute("select realtime.send_binary(%s, 'raw', %s)", (b"\x00\xff", room))
    (message,) = await replayed(harbour, room, {"since": 0})
    assert (message.kind, message.encoding, message.payload) == (4, 0, b"\x00\xff")
    assert message.metadata == {"replayed": True, "id": id_of(harbour, room, "raw")}
    assert await replayed(harbour, room, {"since": 0}, "1.0.0") == []


async def test_replay_needs_permission_to_read_broadcasts(harbour: Harbour, name: str) -> None:
    send(harbour, {}, "secret", f"met:{name}")
    phx = await harbour.socket(key=harbour.token())
    await phx.join(
        f"met:{name}", {"private": True, "presence": {"enabled": True}, "broadcast": {"replay": {"since": 0}}}
    )
    assert [message.event for message in await phx.drain()] == ["presence_state"]


async def test_what_was_replayed_does_not_come_a_second_time(harbour: Harbour, name: str) -> None:
    """Joins while messages are on their way out of the log: each comes once, replayed or live."""
    room, token = f"room:{name}", harbour.token()
    await members_of(harbour, room)
    for round_number in range(10):
        phx = await harbour.socket(key=token)
        ref = await phx.ask_join(room, {"private": True, "broadcast": {"replay": {"since": 0, "limit": 25}}})
        send(harbour, {}, f"e{round_number}", room)
        assert (await phx.next()).ref == ref
        send(harbour, {}, f"marker{round_number}", room)
        seen: list[str] = []
        while f"marker{round_number}" not in seen:
            message = await phx.next()
            seen.append(message.event if message.kind else message.payload["event"])
        assert seen.count(f"e{round_number}") == 1
        assert len(seen) == len(set(seen))
        await phx.close()


async def test_a_sender_may_have_its_broadcast_kept(harbour: Harbour, name: str) -> None:
    """Basalt's own: `persist` in the metadata of a binary broadcast."""
    room, token = f"room:{name}", harbour.token()
    first, second = await members_of(harbour, room)
    sender = await harbour.socket(key=token)
    await sender.join(room, {"private": True, "broadcast": {"ack": True}})
    ref = await sender.push(f"realtime:{room}", "kept", {"a": 1}, metadata={"persist": True})
    reply = await sender.next()
    assert (reply.ref, reply.payload["status"]) == (ref, "ok")
    message = await second.next()
    assert (message.event, message.payload) == ("kept", {"a": 1})
    assert (await first.next()).payload["event"] == "kept"
    assert uuid.UUID(message.metadata["id"])
    (again,) = await replayed(harbour, room, {"since": 0})
    assert again.payload["meta"] == {"replayed": True, "id": message.metadata["id"]}
    assert await sender.drain() == []


async def test_who_may_not_write_cannot_have_anything_kept(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    await phx.join(f"shown:{name}", {"private": True})
    ref = await phx.push(f"realtime:shown:{name}", "kept", {}, metadata={"persist": True})
    reply = await phx.next()
    assert (reply.ref, reply.payload) == (ref, {"status": "error", "response": {"error": "Unauthorized"}})
