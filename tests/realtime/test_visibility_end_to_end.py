"""Row-level security from the commit to the client: everybody gets their own, and nothing of anybody else's (protocol
§9.5, §10)."""

import json
import uuid
from typing import Any

import pytest

from tests.realtime.conftest import Harbour
from tests.realtime.harbour import RAISING_USER
from tests.realtime.phoenix import Phoenix

pytestmark = pytest.mark.req("P7", "S9")

NOBODY = "00000000-0000-0000-0000-000000000000"


def binding(table: str, name: str, **more: Any) -> dict[str, Any]:
    return {"event": "*", "schema": "public", "table": table, "filter": f"room=eq.{name}", **more}


class Reader:
    """Somebody who has subscribed to a table and to the markers that everybody may see."""

    def __init__(self, phx: Phoenix, sub: str) -> None:
        self.phx = phx
        self.sub = sub

    async def until_marked(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            message = await self.phx.next()
            if message.event == "postgres_changes":
                data = message.payload["data"]
                if data["table"] == "markers":
                    return found
                found.append(data)
            else:
                found.append(message.payload)


async def reader(harbour: Harbour, name: str, table: str, sub: str | None = None, **claims: Any) -> Reader:
    sub = sub or str(uuid.uuid4())
    phx = await harbour.socket()
    await phx.subscribe(
        name,
        {"event": "*", "schema": "public", "table": table},
        binding("markers", name),
        token=harbour.token(sub, **claims),
    )
    return Reader(phx, sub)


def mark(harbour: Harbour, name: str) -> None:
    harbour.sql.execute("insert into markers (room) values (%s)", (name,))


def titles(changes: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(data["type"], data["record"]["title"]) for data in changes if data["type"] != "DELETE"]


async def test_an_old_row_is_told_only_to_whom_it_was_visible(harbour: Harbour, name: str) -> None:
    """Even under a full replica identity: what a row was before it became somebody's is not theirs."""
    ann, bob = await reader(harbour, name, "notes"), await reader(harbour, name, "notes")
    service = await reader(harbour, name, "notes", role="service_role")
    insert = "insert into notes (owner, room, title) values (%s, %s, 'private to bob') returning id"
    (key,) = harbour.sql.execute(insert, (bob.sub, name)).fetchone() or (None,)
    change = "update notes set owner = %s, title = %s where id = %s"
    harbour.sql.execute(change, (ann.sub, "handed over", key))
    harbour.sql.execute(change, (ann.sub, "her own words", key))
    mark(harbour, name)
    assert titles(await bob.until_marked()) == [("INSERT", "private to bob")]
    handed, changed = await ann.until_marked()
    assert (handed["record"]["title"], handed["old_record"]) == ("handed over", {"id": key})
    assert changed["old_record"]["title"] == "handed over"
    _, seen, _ = await service.until_marked()
    assert seen["old_record"]["title"] == "private to bob"


async def test_one_channel_with_several_bindings_is_told_no_old_row_either(
    harbour: Harbour, name: str
) -> None:
    sub = str(uuid.uuid4())
    phx = await harbour.socket()
    every = {"event": "*", "schema": "public", "table": "notes"}
    await phx.subscribe(name, every, {**every, "event": "UPDATE"}, token=harbour.token(sub))
    insert = "insert into notes (owner, room, title) values (%s, %s, 'of nobody') returning id"
    (key,) = harbour.sql.execute(insert, (NOBODY, name)).fetchone() or (None,)
    harbour.sql.execute("update notes set owner = %s where id = %s", (sub, key))
    assert (await phx.changes(1))[0]["old_record"] == {"id": key}


async def test_everybody_gets_their_own_rows_and_no_others(harbour: Harbour, name: str) -> None:
    ann, bob = await reader(harbour, name, "notes"), await reader(harbour, name, "notes")
    service = await reader(harbour, name, "notes", role="service_role")
    anonymous = await reader(harbour, name, "notes", role="anon")
    insert = "insert into notes (owner, room, title) values (%s, %s, %s)"
    for owner, title in ((ann.sub, "ann's"), (bob.sub, "bob's"), (NOBODY, "nobody's")):
        harbour.sql.execute(insert, (owner, name, title))
    harbour.sql.execute("update notes set title = 'new: ' || title where room = %s", (name,))
    mark(harbour, name)
    assert titles(await ann.until_marked()) == [("INSERT", "ann's"), ("UPDATE", "new: ann's")]
    assert titles(await bob.until_marked()) == [("INSERT", "bob's"), ("UPDATE", "new: bob's")]
    assert len(await service.until_marked()) == 6
    assert await anonymous.until_marked() == []


async def test_a_delete_under_row_level_security_tells_the_key_alone(harbour: Harbour, name: str) -> None:
    """Whatever the replica identity, and to everybody, because a policy cannot be asked about a row that is gone."""
    ann, bob = await reader(harbour, name, "notes"), await reader(harbour, name, "notes")
    row = harbour.sql.execute(
        "insert into notes (owner, room, title) values (%s, %s, 'secret') returning id", (ann.sub, name)
    ).fetchone()
    assert row is not None
    harbour.sql.execute("delete from notes where id = %s", row)
    mark(harbour, name)
    inserted, deleted = await ann.until_marked()
    assert inserted["type"] == "INSERT"
    assert deleted["old_record"] == {"id": row[0]}
    (told,) = await bob.until_marked()
    assert (told["type"], told["old_record"]) == ("DELETE", {"id": row[0]})
    assert "secret" not in json.dumps(told)


async def test_a_row_that_changes_hands_is_told_to_whom_it_belongs(harbour: Harbour, name: str) -> None:
    ann, bob = await reader(harbour, name, "notes"), await reader(harbour, name, "notes")
    harbour.sql.execute("insert into notes (owner, room, title) values (%s, %s, 'a')", (ann.sub, name))
    harbour.sql.execute("update notes set owner = %s, title = 'b' where room = %s", (bob.sub, name))
    mark(harbour, name)
    assert titles(await ann.until_marked()) == [("INSERT", "a")]
    assert titles(await bob.until_marked()) == [("UPDATE", "b")]


async def test_a_policy_over_another_table_is_asked_for_each_subscriber(harbour: Harbour, name: str) -> None:
    ann, bob = await reader(harbour, name, "shared"), await reader(harbour, name, "shared")
    harbour.sql.execute("insert into members values (%s, %s)", (name, ann.sub))
    harbour.sql.execute("insert into shared (room, title) values (%s, 'for members')", (name,))
    mark(harbour, name)
    assert titles(await ann.until_marked()) == [("INSERT", "for members")]
    assert await bob.until_marked() == []
    harbour.sql.execute("update members set member = %s where room = %s", (bob.sub, name))
    harbour.sql.execute("insert into shared (room, title) values (%s, 'for others')", (name,))
    mark(harbour, name)
    assert await ann.until_marked() == []
    assert titles(await bob.until_marked()) == [("INSERT", "for others")]


async def test_a_policy_that_raises_is_told_to_those_whom_it_concerns(harbour: Harbour, name: str) -> None:
    ann = await reader(harbour, name, "moody")
    unlucky = await reader(harbour, name, "moody", RAISING_USER)
    harbour.sql.execute("insert into moody (room) values (%s)", (name,))
    mark(harbour, name)
    assert [data["type"] for data in await ann.until_marked()] == ["INSERT"]
    (told,) = await unlucky.until_marked()
    assert told.keys() == {"extension", "status", "message", "channel"}
    assert (told["extension"], told["status"], told["channel"]) == ("postgres_changes", "error", name)
    assert "moody" in told["message"]
    assert "nobody knows" in told["message"]


async def test_a_subject_that_is_no_uuid_harms_nobody_else(harbour: Harbour, name: str) -> None:
    ann, odd = await reader(harbour, name, "notes"), await reader(harbour, name, "notes", "no uuid")
    harbour.sql.execute("insert into notes (owner, room, title) values (%s, %s, 'a')", (ann.sub, name))
    mark(harbour, name)
    assert titles(await ann.until_marked()) == [("INSERT", "a")]
    assert all(each.get("extension") == "postgres_changes" for each in await odd.until_marked())


async def test_a_policy_that_changes_counts_for_what_comes_after_it(harbour: Harbour, name: str) -> None:
    harbour.sql.execute(
        f"create table {name} (id int primary key, title text); alter table {name} enable row level security;"
        f"alter publication supabase_realtime add table {name}"
    )
    ann = await reader(harbour, name, name)
    harbour.sql.execute(f"insert into {name} values (1, 'unseen')")
    mark(harbour, name)
    assert await ann.until_marked() == []
    harbour.sql.execute(f'create policy "all read" on {name} for select using (true)')
    harbour.sql.execute(f"insert into {name} values (2, 'seen')")
    mark(harbour, name)
    assert titles(await ann.until_marked()) == [("INSERT", "seen")]
    harbour.sql.execute(f'drop policy "all read" on {name}')
    harbour.sql.execute(f"insert into {name} values (3, 'unseen')")
    mark(harbour, name)
    assert await ann.until_marked() == []
    harbour.sql.execute(f"alter table {name} disable row level security")
    harbour.sql.execute(f"insert into {name} values (4, 'seen')")
    mark(harbour, name)
    assert titles(await ann.until_marked()) == [("INSERT", "seen")]


async def test_a_new_token_decides_from_then_on(harbour: Harbour, name: str) -> None:
    """Its claims and its role, with nothing lost in between; a fresh message says when."""
    bob = str(uuid.uuid4())
    ann = await reader(harbour, name, "notes")
    insert = "insert into notes (owner, room, title) values (%s, %s, %s)"
    await ann.phx.renew(f"realtime:{name}", harbour.token(bob))
    assert (await ann.phx.next()).payload == {
        "extension": "postgres_changes",
        "status": "ok",
        "message": "Subscribed to PostgreSQL",
        "channel": name,
    }
    harbour.sql.execute(insert, (ann.sub, name, "ann's"))
    harbour.sql.execute(insert, (bob, name, "bob's"))
    mark(harbour, name)
    assert titles(await ann.until_marked()) == [("INSERT", "bob's")]
    await ann.phx.renew(f"realtime:{name}", harbour.token(role="service_role"))
    await ann.phx.next()
    harbour.sql.execute(insert, (NOBODY, name, "nobody's"))
    mark(harbour, name)
    assert titles(await ann.until_marked()) == [("INSERT", "nobody's")]


async def test_nothing_is_lost_or_doubled_while_tokens_change(harbour: Harbour, name: str) -> None:
    ann = await reader(harbour, name, "notes")
    insert = "insert into notes (owner, room, title) values (%s, %s, %s)"
    for number in range(30):
        if number % 3 == 0:
            await ann.phx.renew(f"realtime:{name}", harbour.token(ann.sub))
        harbour.sql.execute(insert, (ann.sub, name, str(number)))
    mark(harbour, name)
    found = await ann.until_marked()
    assert [data["record"]["title"] for data in found if "record" in data] == [
        str(number) for number in range(30)
    ]
    messages = {data["message"] for data in found if "message" in data}
    assert messages == {"Subscribed to PostgreSQL"}


async def test_a_token_that_expires_ends_the_subscription(harbour: Harbour, name: str) -> None:
    ann = await reader(harbour, name, "notes", expires_in_s=1.2)
    told, closed = await ann.phx.take(2)
    assert told.payload["message"] == "Token has expired 0 seconds ago"
    assert closed.event == "phx_close"
    harbour.sql.execute("insert into notes (owner, room, title) values (%s, %s, 'late')", (ann.sub, name))
    witness = await reader(harbour, name, "notes", ann.sub)
    mark(harbour, name)
    await witness.until_marked()
    assert await ann.phx.drain() == []
