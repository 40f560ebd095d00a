"""Realtime through unmodified supabase-py: every example of its documentation."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest
import pytest_asyncio
from realtime.exceptions import RealtimeHTTPError
from realtime.types import RealtimePostgresChangesListenEvent as Event
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from realtime import AsyncRealtimeChannel, RealtimeSubscribeStates
from tests.server import Server

pytestmark = [
    pytest.mark.req("P7"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
LIMIT_S = 10
ANN = "8a5c1c8e-63f6-4c5e-9d0a-0d7a5a7c0001"
BEN = "8a5c1c8e-63f6-4c5e-9d0a-0d7a5a7c0002"


class Clients:
    """Clients of the chat, closed at the end."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._open: list[AsyncClient] = []

    async def make(self, user_id: str | None = None, *, key: str | None = None) -> AsyncClient:
        client = await acreate_client(
            self._server.url, key or self._server.anon_key, AsyncClientOptions(auto_refresh_token=False)
        )
        self._open.append(client)
        if user_id is not None:
            await client.realtime.set_auth(self.token(user_id))
        return client

    def token(self, user_id: str, *, life_s: float = 3600) -> str:
        claims = {"sub": user_id, "role": "authenticated", "exp": time.time() + life_s}
        return jwt.encode(claims, self._server.jwt_secret, algorithm="HS256")

    async def close(self) -> None:
        for client in self._open:
            await client.remove_all_channels()
            await client.realtime.close()


@pytest_asyncio.fixture
async def clients(chat: Server) -> AsyncIterator[Clients]:
    opened = Clients(chat)
    yield opened
    await opened.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def subscribe(channel: AsyncRealtimeChannel) -> None:
    """Joined, and where it listens to changes, those flow."""
    states: list[RealtimeSubscribeStates] = []
    live: list[dict[str, Any]] = []
    channel.on_system(lambda message: live.append(message))  # type: ignore[arg-type]
    await channel.subscribe(lambda state, error: states.append(state))
    assert states == [RealtimeSubscribeStates.SUBSCRIBED]
    if channel.postgres_changes_callbacks:
        await until(lambda: live)


def a_channel(client: AsyncClient, topic: str, **config: Any) -> AsyncRealtimeChannel:
    return client.channel(topic, {"config": config})  # type: ignore[typeddict-item]


async def test_broadcasts_reach_the_others_and_oneself_if_wished(clients: Clients) -> None:
    ann, ben = await clients.make(), await clients.make()
    own: list[Any] = []
    others: list[Any] = []
    speaker = a_channel(ann, "py-room", broadcast={"self": True, "ack": True}).on_broadcast(
        "shout", own.append
    )
    await subscribe(speaker)
    await subscribe(a_channel(ben, "py-room").on_broadcast("shout", others.append))
    await speaker.send_broadcast("shout", {"message": "hello"})
    await speaker.send_broadcast("whisper", {"message": "not for this callback"})
    await speaker.http_send("shout", {"message": "over HTTP"})
    await until(lambda: len(own) == 2 and len(others) == 2)
    assert [one["payload"]["message"] for one in others] == ["hello", "over HTTP"]


async def test_presence_tells_who_is_there_who_comes_and_who_goes(clients: Clients) -> None:
    ann, ben = await clients.make(), await clients.make()
    seen: list[tuple[str, str]] = []
    hall = a_channel(ann, "py-hall", presence={"key": "ann"})
    hall.on_presence_join(lambda key, current, new: seen.append(("join", key)))
    hall.on_presence_leave(lambda key, current, gone: seen.append(("leave", key)))
    hall.on_presence_sync(lambda: None)
    await subscribe(hall)
    await hall.track({"name": "Ann"})
    await until(lambda: "ann" in hall.presence_state())
    guest = a_channel(ben, "py-hall", presence={"key": "ben"})
    guest.on_presence_sync(lambda: None)
    await subscribe(guest)
    await guest.track({"name": "Ben", "typing": False})
    await guest.track({"name": "Ben", "typing": True})
    await until(lambda: hall.presence_state().get("ben", [{}])[0].get("typing") is True)
    assert guest.presence_state()["ann"][0]["name"] == "Ann"
    await guest.untrack()
    await until(lambda: "ben" not in hall.presence_state())
    assert ("join", "ben") in seen
    assert seen[-1] == ("leave", "ben")


async def test_changes_of_a_table_arrive_by_event_and_filter(clients: Clients, chat: Server) -> None:
    client = await clients.make()
    service = await clients.make(key=chat.secret_key)
    every: list[Any] = []
    inserted: list[Any] = []
    filtered: list[Any] = []
    channel = a_channel(client, "py-changes")
    channel.on_postgres_changes(Event.All, every.append, table="todos", schema="public")
    channel.on_postgres_changes(Event.Insert, inserted.append, table="todos", schema="public")
    channel.on_postgres_changes(
        Event.All, filtered.append, table="todos", schema="public", filter="title=eq.wanted", select=["title"]
    )
    await subscribe(channel)
    todos = service.table("todos")
    first = (await todos.insert({"title": "unwanted"}).execute()).data[0]["id"]
    second = (await todos.insert({"title": "wanted", "details": "long"}).execute()).data[0]["id"]
    await todos.update({"done": True}).eq("id", second).execute()
    await todos.delete().eq("id", first).execute()
    await until(lambda: len(every) == 4)
    assert [change["data"]["type"].value for change in every] == ["INSERT", "INSERT", "UPDATE", "DELETE"]
    assert [change["data"]["record"]["id"] for change in inserted] == [first, second]
    assert [change["data"]["record"] for change in filtered] == [{"id": second, "title": "wanted"}] * 2
    assert every[-1]["data"]["old_record"] == {"id": first}
    assert every[2]["data"]["record"] == {"id": second, "title": "wanted", "done": True, "details": "long"}


async def test_row_level_security_decides_and_another_token_changes_who_sees_what(
    clients: Clients, chat: Server
) -> None:
    client = await clients.make(ANN)
    service = await clients.make(key=chat.secret_key)
    told: list[Any] = []
    states: list[Any] = []
    channel = a_channel(client, "py-notes")
    channel.on_postgres_changes(Event.Insert, told.append, table="notes", schema="public")
    await subscribe(channel)
    channel.on_system(states.append)
    await (
        service.table("notes")
        .insert([{"owner": BEN, "body": "for Ben"}, {"owner": ANN, "body": "for Ann"}])
        .execute()
    )
    await until(lambda: told)
    await client.realtime.set_auth(clients.token(BEN))
    await until(lambda: states)  # subscribed anew
    await (
        service.table("notes")
        .insert([{"owner": ANN, "body": "for Ann again"}, {"owner": BEN, "body": "for Ben again"}])
        .execute()
    )
    await until(lambda: len(told) == 2)
    assert [change["data"]["record"]["body"] for change in told] == ["for Ann", "for Ben again"]


async def test_private_channels_ask_policies(clients: Clients, chat: Server) -> None:
    visitor, member = await clients.make(), await clients.make(ANN)
    states: list[Any] = []
    closed = a_channel(visitor, "room:py", private=True)
    await closed.subscribe(lambda state, error: states.append((state, str(error))))
    assert states[0][0] == RealtimeSubscribeStates.CHANNEL_ERROR
    assert "You do not have permissions to read from this Channel topic: room:py" in states[0][1]
    with pytest.raises(RealtimeHTTPError):
        await closed.http_send("shout", {"message": "let me in"})
    heard: list[Any] = []
    room = a_channel(member, "room:py", private=True, broadcast={"self": True}).on_broadcast(
        "*", heard.append
    )
    await subscribe(room)
    await room.send_broadcast("shout", {"message": "hello"})
    await until(lambda: heard)
    service = await clients.make(key=chat.secret_key)
    announced = {"content": {"n": 1}, "event": "news", "topic": "room:py", "private": True}
    await service.rpc("announce", announced).execute()
    await until(lambda: len(heard) == 2)
    assert heard[1]["payload"]["n"] == 1
    assert set(heard[1]["meta"]) == {"id"}


async def test_a_subscription_that_cannot_be_is_explained(clients: Clients) -> None:
    client = await clients.make()
    problems: list[tuple[RealtimeSubscribeStates, str]] = []
    channel = a_channel(client, "py-problems")
    channel.on_postgres_changes(Event.All, lambda change: None, table="unpublished", schema="public")
    await channel.subscribe(lambda state, error: problems.append((state, str(error))))
    await until(lambda: len(problems) > 1)
    assert problems[0][0] == RealtimeSubscribeStates.SUBSCRIBED
    assert problems[1][0] == RealtimeSubscribeStates.CHANNEL_ERROR
    assert "Please check Realtime is enabled" in problems[1][1]
