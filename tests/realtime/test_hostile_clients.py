"""Clients that are in a hurry, go in the middle, or send what no client would: each gets its answer, nobody else
notices."""

import asyncio
import json
from typing import Any

import pytest

from tests.realtime.conftest import Harbour
from tests.realtime.phoenix import Phoenix

pytestmark = pytest.mark.req("P7", "S9")

OK = {"status": "ok", "response": {}}
NUL = "a\0b"


async def test_joins_in_a_row_leave_one_channel(harbour: Harbour, name: str) -> None:
    """Private ones, so that each is still being decided when the next one comes."""
    phx, sender = [await harbour.socket(key=harbour.token()) for _ in range(2)]
    room = f"room:{name}"
    refs = [await phx.ask_join(room, {"private": True}) for _ in range(5)]
    messages = await phx.take(5)
    replies = [message for message in messages if message.event == "phx_reply"]
    assert [message.ref for message in messages if message.event == "phx_close"] == refs[:4]
    assert [message.ref for message in replies] == [refs[4]]
    await sender.join(room, {"private": True})
    await sender.broadcast(f"realtime:{room}", "once", {})
    assert (await phx.next()).payload["event"] == "once"
    assert await phx.drain() == []


async def test_whoever_goes_while_it_is_being_asked_about_leaves_no_ghost(
    harbour: Harbour, name: str
) -> None:
    room, token = f"room:{name}", harbour.token()
    topic = f"realtime:{room}"
    config = {"private": True, "presence": {"enabled": True, "key": "ghost"}}
    watcher = await harbour.socket(key=token)
    await watcher.join(room, config)
    await watcher.next()
    for number in range(10):
        ghost = await harbour.socket(key=token)
        await ghost.ask_join(room, config)
        if number % 2:
            await ghost.take(2)
        await ghost.track(topic, {"number": number})
        await asyncio.sleep(number / 1000)  # at another moment each time
        ghost.abort()
    seen: dict[str, int] = {}
    late: dict[str, Any] = {"still": "there"}
    async with asyncio.timeout(10):
        while late:
            phx = await harbour.socket(key=token)
            await phx.join(room, config)
            late = (await phx.next()).payload
            await phx.close()
    await watcher.track(topic, {"marker": True})  # told behind, or together with, all that was before
    is_marked = False
    while not is_marked:
        payload = (await watcher.until("presence_diff")).payload
        for kind, step in (("joins", 1), ("leaves", -1)):
            for meta in payload[kind].get("ghost", {"metas": []})["metas"]:
                is_marked |= "marker" in meta
                if "marker" not in meta:
                    seen[meta["phx_ref"]] = seen.get(meta["phx_ref"], 0) + step
    assert set(seen.values()) <= {0}


@pytest.mark.parametrize("role", ["nobody_like_this", 'we"ird; --', "", "x" * 100, "ä"])
async def test_a_role_that_does_not_exist_is_let_in_nowhere(harbour: Harbour, name: str, role: str) -> None:
    phx = await harbour.socket()
    reason = await phx.refused_join(
        name, {"postgres_changes": [{"event": "*"}]}, token=harbour.token(role=role)
    )
    assert reason.startswith(("InvalidJWTToken: ", "MalformedJWT: "))
    await phx.join(name)


async def final_error(phx: Phoenix, name: str, binding: dict[str, Any]) -> str:
    await phx.join(name, {"postgres_changes": [binding]})
    told = await phx.next()
    assert (told.event, told.payload["status"]) == ("system", "error"), told
    return str(told.payload["message"])


@pytest.mark.parametrize(
    "binding",
    [
        {"table": "todos", "filter": f"title=eq.{NUL}"},
        {"table": "todos", "filter": f"{NUL}=eq.1"},
        {"table": "todos", "filter": f"title=in.(a,{NUL})"},
        {"table": "todos", "select": [NUL]},
        {"table": NUL},
        {"schema": NUL, "table": "todos"},
        {"table": "todos", "filter": "rank=eq.99999999999999999999"},
        {"table": "todos", "filter": "details=eq.{"},
        {"table": "todos", "filter": "title=match.(a+)+$" + "(" * 50},
    ],
    ids=repr,
)
async def test_what_postgresql_cannot_take_is_a_final_error(
    harbour: Harbour, name: str, binding: dict[str, Any]
) -> None:
    """Trying again would not help."""
    phx = await harbour.socket()
    message = await final_error(phx, name, binding)
    assert "trying again" not in message


async def test_names_with_a_nul_are_names_in_public_and_refused_in_private(
    harbour: Harbour, name: str
) -> None:
    phx = await harbour.socket(key=harbour.token())
    public = f"{name}{NUL}"
    await phx.join(public, {"broadcast": {"self": True}, "presence": {"enabled": True, "key": NUL}})
    await phx.next()
    await phx.broadcast(f"realtime:{public}", NUL, {NUL: NUL})
    assert (await phx.next()).payload == {"type": "broadcast", "event": NUL, "payload": {NUL: NUL}}
    await phx.track(f"realtime:{public}", {NUL: NUL})
    reply, diff = await phx.take(2)
    assert reply.payload == OK
    assert list(diff.payload["joins"]) == [NUL]
    private = f"room:{name}{NUL}"
    assert "Unauthorized" in await phx.refused_join(private, {"private": True})
    with harbour.server.client(token=harbour.token()) as http:
        path = f"/realtime/v1/api/broadcast/room:{name}%00/events/e?private=true"
        assert http.post(path, json={}).status_code == 400
        message = {"topic": f"room:{name}\0", "event": "e", "payload": {}, "private": True}
        assert http.post("/realtime/v1/api/broadcast", json={"messages": [message]}).status_code == 202


async def test_a_payload_that_no_parser_should_follow_is_dropped(harbour: Harbour, name: str) -> None:
    phx, receiver = await harbour.socket(), await harbour.socket()
    await phx.join(name, {"presence": {"enabled": False}})
    await receiver.join(name)
    topic = f"realtime:{name}"
    for payload in ("[" * 3000, "[" * 3000 + "]" * 3000, '{"a":' * 2000 + "1" + "}" * 2000):
        for event in ("broadcast", "presence", "access_token", "phx_join", "unknown"):
            await phx.send_raw(
                f'[null,"9","{topic if event != "phx_join" else topic + event}","{event}",{payload}]'
            )
    deep: Any = {}
    for _ in range(500):
        deep = {"a": deep}
    await phx.track(topic, deep)
    await phx.drain()
    await receiver.drain()
    ref = await phx.send(topic, "phx_leave")
    assert (await phx.until("phx_reply")).ref == ref


async def test_a_flood_on_a_waiting_channel_ends_it_and_not_the_server(harbour: Harbour, name: str) -> None:
    """What waits behind a join that asks the database is bounded."""
    phx = await harbour.socket(key=harbour.token())
    topic = f"realtime:room:{name}"
    join = json.dumps(["1", "1", topic, "phx_join", {"config": {"private": True}}])
    await phx.send_raw(join)
    for _ in range(3000):
        await phx.send_raw(f'["1",null,"{topic}","broadcast",{{"event":"e"}}]')
    messages = await phx.drain()
    assert {message.event for message in messages} <= {"phx_reply", "system", "phx_close"}
    await phx.join(name)
