"""A connection that breaks and comes back gets what was committed in between, if it is the same user with the same
topic and bindings; nobody else does, and whoever cannot be served so is told."""

import uuid
from typing import Any

import psycopg
import pytest

from tests.realtime.conftest import Harbour
from tests.realtime.phoenix import Phoenix

pytestmark = pytest.mark.req("P7")

MISSED = "Changes were missed: load the data anew"


def todos(name: str, **more: Any) -> dict[str, Any]:
    return {"event": "INSERT", "schema": "public", "table": "todos", "filter": f"room=eq.{name}", **more}


def insert(harbour: Harbour, name: str, *ranks: int) -> None:
    for rank in ranks:
        harbour.sql.execute("insert into todos (room, rank) values (%s, %s)", (name, rank))


async def subscribed(harbour: Harbour, name: str, token: str, *bindings: dict[str, Any]) -> Phoenix:
    phx = await harbour.socket()
    await phx.subscribe(name, *(bindings or (todos(name),)), token=token)
    return phx


async def settled(harbour: Harbour, name: str, token: str, *bindings: dict[str, Any]) -> Phoenix:
    """Subscribed, and the server knows that what it said has arrived: the answer to a ping comes before the second
    heartbeat. Otherwise who breaks off is told once more that a young server may have missed something."""
    phx = await subscribed(harbour, name, token, *bindings)
    assert await phx.drain() == []
    assert await phx.drain() == []
    return phx


async def ranks(phx: Phoenix, number: int) -> list[int]:
    return [data["record"]["rank"] for data in await phx.changes(number)]


async def after_departure(harbour: Harbour, name: str, witness: Phoenix, rank: int) -> None:
    """Commit a change that somebody else has received."""
    insert(harbour, name, rank)
    assert await ranks(witness, 1) == [rank]


async def test_what_was_committed_while_a_connection_was_broken_comes_after_it(
    harbour: Harbour, name: str
) -> None:
    sub = str(uuid.uuid4())
    phx = await settled(harbour, name, harbour.token(sub))
    witness = await subscribed(harbour, name, harbour.token())
    insert(harbour, name, 1)
    assert await ranks(phx, 1) == await ranks(witness, 1) == [1]
    phx.abort()
    await after_departure(harbour, name, witness, 2)
    await after_departure(harbour, name, witness, 3)
    phx = await subscribed(harbour, name, harbour.token(sub))
    insert(harbour, name, 4)
    found = await ranks(phx, 3)
    while found[-1] != 4:
        found += await ranks(phx, 1)
    # 1 may come again: nobody could know whether it had arrived
    assert found in ([2, 3, 4], [1, 2, 3, 4])
    assert await phx.drain() == []
    assert await ranks(witness, 1) == [4]


async def test_a_user_without_an_account_gets_it_too(harbour: Harbour, name: str) -> None:
    """The anonymous key alone."""
    phx = await settled(harbour, name, harbour.server.anon_key)
    witness = await subscribed(harbour, name, harbour.token())
    phx.abort()
    await after_departure(harbour, name, witness, 1)
    phx = await harbour.socket()
    await phx.subscribe(name, todos(name))
    assert await ranks(phx, 1) == [1]


async def test_a_client_is_back_before_its_old_connection_is_missed(harbour: Harbour, name: str) -> None:
    """A telephone that changes networks: what went into the dead connection is told again."""
    sub = str(uuid.uuid4())
    dead = await settled(harbour, name, harbour.token(sub))
    witness = await subscribed(harbour, name, harbour.token())
    dead.go_silent()
    await after_departure(harbour, name, witness, 1)
    back = await subscribed(harbour, name, harbour.token(sub))
    assert await ranks(back, 1) == [1]
    stranger = await subscribed(harbour, name, harbour.token())
    insert(harbour, name, 2)
    assert await ranks(stranger, 1) == [2]
    dead.abort()


async def test_several_breaks_in_a_row_lose_nothing(harbour: Harbour, name: str) -> None:
    sub = str(uuid.uuid4())
    witness = await subscribed(harbour, name, harbour.token())
    phx = await settled(harbour, name, harbour.token(sub))
    seen: set[int] = set()
    for number in range(8):
        phx.abort()
        await after_departure(harbour, name, witness, number)
        phx = await subscribed(harbour, name, harbour.token(sub))
        while number not in seen:
            seen.update(await ranks(phx, 1))
    assert seen == set(range(8))


@pytest.mark.parametrize("way", ["leave", "close"])
async def test_who_leaves_by_its_own_will_begins_anew(harbour: Harbour, name: str, way: str) -> None:
    sub = str(uuid.uuid4())
    phx = await subscribed(harbour, name, harbour.token(sub))
    witness = await subscribed(harbour, name, harbour.token())
    if way == "leave":
        await phx.send(f"realtime:{name}", "phx_leave")
        await phx.take(2)
    else:
        await phx.close()
    await after_departure(harbour, name, witness, 1)
    phx = await subscribed(harbour, name, harbour.token(sub))
    insert(harbour, name, 2)
    assert await ranks(phx, 1) == [2]


async def test_a_leave_before_the_break_counts(harbour: Harbour, name: str) -> None:
    sub = str(uuid.uuid4())
    phx = await settled(harbour, name, harbour.token(sub))
    witness = await subscribed(harbour, name, harbour.token())
    await phx.send(f"realtime:{name}", "phx_leave")
    await phx.take(2)
    phx.abort()
    await after_departure(harbour, name, witness, 1)
    phx = await subscribed(harbour, name, harbour.token(sub))
    insert(harbour, name, 2)
    assert await ranks(phx, 1) == [2]


async def test_a_heartbeat_that_was_missed_is_no_will(harbour: Harbour, name: str) -> None:
    """phoenix.js closes with 1000 when no answer comes, gives this reason, and comes back."""
    sub = str(uuid.uuid4())
    phx = await settled(harbour, name, harbour.token(sub))
    witness = await subscribed(harbour, name, harbour.token())
    await phx.websocket.close(1000, "heartbeat timeout")
    await after_departure(harbour, name, witness, 1)
    phx = await subscribed(harbour, name, harbour.token(sub))
    assert await ranks(phx, 1) == [1]


async def test_somebody_else_gets_nothing_of_it(harbour: Harbour, name: str) -> None:
    """Neither another user, nor another topic, nor other bindings."""
    sub = str(uuid.uuid4())
    phx = await settled(harbour, name, harbour.token(sub))
    witness = await subscribed(harbour, name, harbour.token())
    phx.abort()
    await after_departure(harbour, name, witness, 1)
    others = [
        await subscribed(harbour, name, harbour.token()),
        await subscribed(harbour, f"{name} too", harbour.token(sub), todos(name)),
        await subscribed(harbour, name, harbour.token(sub), todos(name, event="*")),
        await subscribed(harbour, name, harbour.token(sub, role="service_role")),
    ]
    insert(harbour, name, 2)
    for other in others:
        assert await ranks(other, 1) == [2]
    assert await ranks(await subscribed(harbour, name, harbour.token(sub)), 1) == [1]


async def test_what_the_user_may_not_see_any_more_is_not_made_up_for(harbour: Harbour, name: str) -> None:
    """The policies are asked with the token of today."""
    sub = str(uuid.uuid4())
    notes = {"event": "INSERT", "schema": "public", "table": "notes", "filter": f"room=eq.{name}"}
    phx = await settled(harbour, name, harbour.token(sub), notes)
    witness = await subscribed(harbour, name, harbour.token())
    phx.abort()
    write = "insert into notes (owner, room, title) values (%s, %s, %s)"
    harbour.sql.execute(write, (sub, name, "mine"))
    harbour.sql.execute(write, (str(uuid.uuid4()), name, "another's"))
    await after_departure(harbour, name, witness, 1)
    phx = await subscribed(harbour, name, harbour.token(sub), notes)
    harbour.sql.execute(write, (sub, name, "later"))
    assert [data["record"]["title"] for data in await phx.changes(2)] == ["mine", "later"]


# Exactly, by positions


async def test_a_binding_with_replay_is_told_positions_and_goes_on_from_one(
    harbour: Harbour, name: str
) -> None:
    """Even after it has closed on purpose, and without a change coming twice."""
    token = harbour.token()
    phx = await harbour.socket()
    await phx.join(name, {"postgres_changes": [todos(name, replay=True)]}, token=token)
    live = await phx.next()
    assert set(live.payload) == {"extension", "status", "message", "channel", "position"}
    with psycopg.connect(harbour.server.database_url) as other:
        for rank in (1, 2, 3):
            other.execute("insert into todos (room, rank) values (%s, %s)", (name, rank))
    insert(harbour, name, 4)
    found = await phx.changes(4)
    positions = [live.payload["position"], *(data["position"] for data in found)]
    assert len(set(positions)) == 5
    await phx.close()
    for at, position in enumerate(positions):
        again = await harbour.socket()
        await again.join(name, {"postgres_changes": [todos(name, replay=position)]}, token=token)
        live = await again.next()
        assert (live.payload["message"], live.payload["position"]) == ("Subscribed to PostgreSQL", position)
        insert(harbour, f"{name} marker", 0)
        expected = [1, 2, 3, 4][at:]
        assert await ranks(again, len(expected)) == expected
        insert(harbour, name, 5 + at)
        assert (await again.changes(1))[0]["record"]["rank"] >= 5
        await again.close()
        harbour.sql.execute("delete from todos where room = %s", (name,))
        if at == 0:
            break


@pytest.mark.parametrize("at", [1, 2, 3, 4])
async def test_a_position_in_the_middle_of_a_transaction_is_exact(
    harbour: Harbour, name: str, at: int
) -> None:
    phx = await harbour.socket()
    await phx.subscribe(name, todos(name, replay=True))
    harbour.sql.execute(
        "insert into todos (room, rank) select %s, n from generate_series(1, 4) as n", (name,)
    )
    found = await phx.changes(4)
    await phx.close()
    again = await harbour.socket()
    await again.subscribe(name, todos(name, replay=found[at - 1]["position"]))
    insert(harbour, name, 5)
    assert await ranks(again, 5 - at) == [1, 2, 3, 4, 5][at:]


async def test_a_position_that_the_window_has_left_behind_is_told(harbour: Harbour, name: str) -> None:
    phx = await harbour.socket()
    await phx.join(name, {"postgres_changes": [todos(name, replay="0/1")]})
    live, told = await phx.take(2)
    assert live.payload["message"] == "Subscribed to PostgreSQL"
    assert told.payload == {
        "extension": "postgres_changes",
        "status": "ok",
        "message": MISSED,
        "channel": name,
    }
    insert(harbour, name, 1)
    assert await ranks(phx, 1) == [1]


async def test_a_position_that_makes_no_sense_begins_anew(harbour: Harbour, name: str) -> None:
    insert(harbour, name, 1)
    for nonsense in ("x", "", "16/", "1/1.x", 5, ["0/1"], {"a": 1}, "FFFFFFFFF/1"):
        phx = await harbour.socket()
        await phx.subscribe(name, todos(name, replay=nonsense))
        insert(harbour, name, 2)
        assert await ranks(phx, 1) == [2]
        assert await phx.drain() == []


async def test_a_position_of_the_future_waits_for_nothing(harbour: Harbour, name: str) -> None:
    """A client that came from another database does not go without changes."""
    phx = await harbour.socket()
    await phx.subscribe(name, todos(name, replay="FFFFFFFF/0"))
    insert(harbour, name, 1)
    witness = await subscribed(harbour, name, harbour.token())
    insert(harbour, name, 2)
    assert await ranks(witness, 1) == [2]
    assert 2 in [
        message.payload["data"]["record"]["rank"]
        for message in await phx.drain()
        if message.event != "system"
    ]
