"""Messages on the wire, by raw WebSockets (protocol §2 to §6)."""

import pytest

from tests.realtime.conftest import Harbour
from tests.realtime.phoenix import Message, Vsn

pytestmark = pytest.mark.req("P7")

BOTH: list[Vsn] = ["1.0.0", "2.0.0"]
OK = {"status": "ok", "response": {}}


def ok(reply: Message, ref: str | None) -> None:
    assert (reply.event, reply.ref, reply.payload) == ("phx_reply", ref, OK)


@pytest.mark.parametrize("vsn", BOTH)
async def test_a_heartbeat_is_answered_with_its_ref(harbour: Harbour, vsn: Vsn) -> None:
    phx = await harbour.socket(vsn)
    for ref in ("7", None, "ä😀", ""):
        await phx.send("phoenix", "heartbeat", ref=ref, join_ref=None)
        reply = await phx.next()
        ok(reply, ref)
        assert (reply.topic, reply.join_ref) == ("phoenix", None)


async def test_a_ref_that_is_a_number_comes_back_as_text(harbour: Harbour) -> None:
    phx = await harbour.socket()
    await phx.send_raw('[null,7,"phoenix","heartbeat",{}]')
    assert (await phx.next()).raw == '[null,"7","phoenix","phx_reply",{"status":"ok","response":{}}]'


async def test_a_join_is_answered_in_the_words_of_its_version(harbour: Harbour, name: str) -> None:
    second, first = await harbour.socket("2.0.0"), await harbour.socket("1.0.0")
    reply = await second.join(name)
    assert reply.raw == (
        f'["1","1","realtime:{name}","phx_reply",{{"status":"ok","response":{{"postgres_changes":[]}}}}]'
    )
    assert (await first.join(name)).raw == (
        f'{{"topic":"realtime:{name}","event":"phx_reply",'
        '"payload":{"status":"ok","response":{"postgres_changes":[]}},"ref":"1"}'
    )


async def test_the_reply_echoes_each_binding_with_its_keys_in_order(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    bindings = [
        {"table": "todos", "filter": "id=eq.1", "schema": "public", "event": "*", "more": [1, None]},
        {"event": "insert", "schema": "public", "table": "todos"},
        {"event": "insert", "schema": "public", "table": "nope", "select": "wrong"},
    ]
    reply = await phx.join(name, {"postgres_changes": [bindings[0], None, *bindings[1:]]})
    echoed = reply.payload["response"]["postgres_changes"]
    for asked, answered in zip(bindings, echoed, strict=True):
        assert list(answered) == [*asked, "id"]
        assert {**asked, "id": answered["id"]} == answered
        assert isinstance(answered["id"], int)
        assert answered["id"] != 0
    other = await harbour.socket("1.0.0")
    again = await other.join(name, {"postgres_changes": bindings})
    assert again.payload["response"]["postgres_changes"] == echoed


@pytest.mark.parametrize(
    "payload",
    [{}, {"config": {}}, {"config": None}, {"config": []}, {"config": {"broadcast": 1, "presence": "x"}}, [], None, 1,
     {"config": {"postgres_changes": None, "private": None}}, {"config": {"postgres_changes": {"a": 1}}},
     {"config": {"private": "FALSE", "presence": {"enabled": "nope", "key": 3}}, "access_token": 3}],
    ids=str,
)  # fmt: skip
async def test_a_part_of_the_wrong_type_is_ignored(harbour: Harbour, payload: object) -> None:
    phx = await harbour.socket()
    topic = "realtime:public:todos"  # which the old interface can read too
    ref = await phx.send(topic, "phx_join", payload if payload is not None else 0)
    reply = await phx.next()
    assert (reply.event, reply.ref, reply.payload["status"]) == ("phx_reply", ref, "ok")


async def test_booleans_may_be_texts(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    await phx.join(name, {"broadcast": {"self": "TRUE", "ack": "True"}, "private": "false"})
    ref = await phx.broadcast(f"realtime:{name}", "e", {})
    own, ack = await phx.take(2)
    assert own.event == "broadcast"
    ok(ack, ref)


async def test_presence_comes_behind_the_reply_and_before_the_subscription(
    harbour: Harbour, name: str
) -> None:
    phx = await harbour.socket()
    await phx.join(name, {"presence": {"enabled": True}, "postgres_changes": [{"table": "todos"}]})
    state, live = await phx.take(2)
    assert state.short == ("presence_state", {})
    assert live.event == "system"
    assert live.payload == {
        "extension": "postgres_changes",
        "status": "ok",
        "message": "Subscribed to PostgreSQL",
        "channel": name,
    }
    assert await phx.drain() == []


async def test_a_channel_without_bindings_gets_no_system_message(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    await phx.join(name, {"postgres_changes": []})
    other = await harbour.socket()
    await other.subscribe(name, {"table": "todos"})  # which comes later
    assert await phx.drain() == []


async def test_who_wants_to_know_is_told_that_the_log_is_read(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    await phx.join(name, {"broadcast": {"replication_ready": True}})
    assert (await phx.next()).payload == {
        "extension": "system",
        "status": "ok",
        "message": "Replication connection established",
        "channel": name,
    }


# Channels of one socket


async def test_a_second_join_of_a_topic_closes_the_first(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    topic = f"realtime:{name}"
    first = await phx.send(topic, "phx_join", {"config": {}})
    ok_reply = await phx.next()
    assert ok_reply.ref == first
    second = await phx.send(topic, "phx_join", {"config": {}})
    closed, reply = await phx.take(2)
    assert (closed.event, closed.ref, closed.join_ref, closed.payload) == ("phx_close", first, first, {})
    assert (reply.event, reply.ref, reply.join_ref) == ("phx_reply", second, second)
    sender = await harbour.socket()
    await sender.join(name)
    await sender.broadcast(topic, "once", {})
    await sender.drain()
    assert [message.event for message in await phx.drain()] == ["broadcast"]


async def test_a_leave_is_answered_and_the_channel_closed(harbour: Harbour, name: str) -> None:
    for vsn in BOTH:
        phx = await harbour.socket(vsn)
        await phx.join(name)
        ref = await phx.send(f"realtime:{name}", "phx_leave")
        reply, closed = await phx.take(2)
        ok(reply, ref)
        assert (closed.event, closed.ref, closed.payload) == ("phx_close", "1", {})
        again = await phx.send(f"realtime:{name}", "phx_leave")
        ok(await phx.next(), again)
        assert await phx.drain() == []


async def test_who_has_left_receives_nothing_and_may_come_back(harbour: Harbour, name: str) -> None:
    phx, sender = await harbour.socket(), await harbour.socket()
    topic = f"realtime:{name}"
    await phx.join(name)
    await sender.join(name)
    await phx.send(topic, "phx_leave")
    await phx.take(2)
    await sender.broadcast(topic, "missed", {})
    await sender.drain()
    assert await phx.drain() == []
    await phx.join(name)
    await sender.broadcast(topic, "heard", {})
    assert (await phx.next()).payload["event"] == "heard"


async def test_a_topic_that_is_not_joined_is_unmatched(harbour: Harbour, name: str) -> None:
    unmatched = {"status": "error", "response": {"reason": "unmatched topic"}}
    for vsn in BOTH:
        phx = await harbour.socket(vsn)
        await phx.join(name)
        for topic, event in [("realtime:other", "broadcast"), ("realtime:other", "x"), ("other", "phx_join"),
                             ("phoenix", "x"), (f"{name}", "broadcast"), ("", "e")]:  # fmt: skip
            ref = await phx.send(topic, event)
            reply = await phx.next()
            assert (reply.topic, reply.event, reply.ref, reply.payload) == (
                topic,
                "phx_reply",
                ref,
                unmatched,
            )
    second = await harbour.socket()
    ref = await second.push("realtime:other", "e", {})
    reply = await second.next()
    assert (reply.ref, reply.payload) == (ref, unmatched)


async def test_unknown_events_are_ignored(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    await phx.join(name, {"broadcast": {"self": True}})
    for event in ("unknown", "", "phx_reply", "phx_close", "postgres_changes", "system", "heartbeat"):
        await phx.send(f"realtime:{name}", event, {"a": 1})
    assert await phx.drain() == []


async def test_a_stale_or_missing_join_ref_means_the_current_channel(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    topic = f"realtime:{name}"
    await phx.join(name, {"broadcast": {"ack": True}})
    await phx.send(topic, "phx_join", {"config": {"broadcast": {"ack": True}}})
    await phx.take(2)
    for join_ref in ("1", None, "never"):
        ref = await phx.send(topic, "broadcast", {"type": "broadcast", "event": "e"}, join_ref=join_ref)
        ok(await phx.next(), ref)


async def test_a_socket_carries_many_channels(harbour: Harbour, name: str) -> None:
    phx, sender = await harbour.socket(), await harbour.socket()
    names = [f"{name}:{number}" for number in range(20)]
    for each in names:
        await phx.join(each)
        await sender.join(each)
    for each in reversed(names):
        await sender.broadcast(f"realtime:{each}", "e", {"name": each})
    received = await phx.take(len(names))
    assert [message.topic for message in received] == [f"realtime:{each}" for each in reversed(names)]
    assert await phx.drain() == []


@pytest.mark.parametrize(
    "odd",
    ["ä😀", 'quote"back\\slash', "with:colons:and spaces", "x" * 300, "line\nbreak", "realtime:twice", "%20"],
)
async def test_any_text_can_be_a_name(harbour: Harbour, odd: str) -> None:
    for vsn in BOTH:
        phx = await harbour.socket(vsn)
        reply = await phx.join(odd, {"broadcast": {"self": True}})
        assert reply.topic == f"realtime:{odd}"
        await phx.broadcast(f"realtime:{odd}", odd, {odd: odd})
        own = await phx.next()
        assert (own.topic, own.payload) == (
            f"realtime:{odd}",
            {"type": "broadcast", "event": odd, "payload": {odd: odd}},
        )


async def test_the_order_of_a_channels_messages_is_kept_while_the_database_is_asked(
    harbour: Harbour, name: str
) -> None:
    """A private join and a first send wait for PostgreSQL; what came behind them waits too."""
    phx = await harbour.socket(key=harbour.token())
    topic = f"realtime:room:{name}"
    join = await phx.ask_join(f"room:{name}", {"private": True, "broadcast": {"ack": True, "self": True}})
    refs = [await phx.broadcast(topic, f"e{number}", {}) for number in range(10)]
    await phx.send(topic, "phx_leave")
    messages = await phx.take(1 + 20 + 2)
    assert messages[0].ref == join
    assert [each.payload["event"] for each in messages if each.event == "broadcast"] == [
        f"e{n}" for n in range(10)
    ]
    assert [each.ref for each in messages[1:-2] if each.event == "phx_reply"] == refs
    assert [each.event for each in messages[-2:]] == ["phx_reply", "phx_close"]


async def test_the_old_interface_reads_what_it_wants_from_the_name(harbour: Harbour, name: str) -> None:
    """A join without `config`."""
    for vsn in BOTH:
        phx = await harbour.socket(vsn)
        topic = f"realtime:public:todos:room=eq.{name}"
        await phx.send(topic, "phx_join", {})
        reply, live = await phx.take(2)
        assert reply.payload["status"] == "ok"
        assert live.payload["message"] == "Subscribed to PostgreSQL"
        harbour.sql.execute("insert into todos (room, title) values (%s, 'other')", (f"not {name}",))
        harbour.sql.execute("insert into todos (room, title) values (%s, 'a')", (name,))
        harbour.sql.execute("update todos set title = 'b' where room = %s", (name,))
        harbour.sql.execute("delete from todos where room = %s", (name,))
        inserted, updated = await phx.take(2)
        assert (inserted.event, inserted.topic, inserted.ref) == ("INSERT", topic, None)
        assert set(inserted.payload) == {
            "schema", "table", "type", "commit_timestamp", "columns", "record", "errors"
        }  # fmt: skip
        assert inserted.payload["record"]["title"] == "a"
        assert (updated.event, updated.payload["type"], updated.payload["record"]["title"]) == (
            "UPDATE",
            "UPDATE",
            "b",
        )
