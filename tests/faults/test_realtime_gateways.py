"""Two gateways over one database: what one client sends reaches the clients of the other, and when one gateway dies its
clients are seen to leave."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from websockets.asyncio.client import ClientConnection

from basalt.postgres import PrivateCluster
from tests.bus.brokers import has_server
from tests.bus.brokers import running_server as running_broker
from tests.faults.realtime_client import is_system, join, open_socket, receive_until, send, subscribe
from tests.faults.realtime_faults import gateway_of
from tests.ports import free_port
from tests.projects import write_project
from tests.server import Server, open_to_postgres, running_server

MIGRATION = """
create table public.news (id bigint generated always as identity primary key, body text not null);
grant select on public.news to anon;
alter publication supabase_realtime add table public.news;
"""
NEWS = [{"event": "INSERT", "schema": "public", "table": "news"}]
SECRET = "a secret that both gateways share, of forty and more"
LEAVE_LIMIT_S = 30.0  # a gateway counts as gone when nothing was heard of it for 20 s


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own: the roles of the contract get passwords there that other tests do not know."""
    folder = open_to_postgres(tmp_path_factory.mktemp("cluster"))
    cluster = PrivateCluster(folder / ".basalt", port=free_port(), fsync=False)
    yield cluster.ensure().url("supabase_admin")
    cluster.stop()


@contextmanager
def two_gateways(folder: Path, database_url: str, **environ: str) -> Iterator[tuple[Server, Server]]:
    files = {"config.toml": 'project_id = "pair"\n', "20260101000000_news.sql": MIGRATION}
    shared = {"DATABASE_URL": database_url, "SUPABASE_AUTH_JWT_SECRET": SECRET, **environ}
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(running_server(write_project(folder / name, files), **shared))
            for name in ("first", "second")
        )
        yield first, second


async def track(socket: ClientConnection, name: str) -> None:
    await send(
        socket,
        "lobby",
        "presence",
        {"type": "presence", "event": "track", "payload": {"name": name}},
        "7",
        "1",
    )
    await receive_until(socket, lambda message: message[1] == "7")


def lobby_of(name: str) -> dict[str, object]:
    return {"presence": {"enabled": True, "key": name}, "broadcast": {"self": False, "ack": True}}


async def meet(first: Server, second: Server) -> None:
    """Broadcasts, presence and changes of tables cross both ways."""
    async with (
        await open_socket(first.url, first.anon_key) as ann,
        await open_socket(second.url, second.anon_key) as bob,
    ):
        for name, socket in (("ann", ann), ("bob", bob)):
            assert (await join(socket, "lobby", lobby_of(name)))[4]["status"] == "ok"
        await track(ann, "ann")
        joined, _ = await receive_until(
            bob, lambda message: message[3] in PRESENCE and "ann" in str(message[4])
        )
        await track(bob, "bob")
        joined, _ = await receive_until(ann, lambda m: m[3] == "presence_diff" and "bob" in m[4]["joins"])
        assert joined[4]["joins"]["bob"]["metas"][0]["name"] == "bob"
        for sender, receiver in ((ann, bob), (bob, ann)):
            greeting = {"type": "broadcast", "event": "hello", "payload": {"n": id(sender)}}
            await send(sender, "lobby", "broadcast", greeting, "8", "1")
            heard, _ = await receive_until(receiver, lambda message: message[3] == "broadcast")
            assert heard[4] == greeting
        async with await open_socket(second.url, second.anon_key) as late:
            await join(late, "lobby", lobby_of("late"))
            state, _ = await receive_until(late, lambda message: message[3] == "presence_state")
            assert {"ann", "bob"} <= set(state[4])
        for socket in (ann, bob):
            await subscribe(socket, "news", NEWS, ref="20")
        with psycopg.connect(first.environ["DATABASE_URL"]) as connection:
            connection.execute("insert into public.news (body) values ('for both')")
        for socket in (ann, bob):
            change, _ = await receive_until(socket, lambda message: message[3] == "postgres_changes")
            assert change[4]["data"]["record"]["body"] == "for both"


async def change_gateways(first: Server, second: Server) -> None:
    """A client whose connection to one gateway breaks gets from the other what it missed; until then nobody who joins
    is told any more that the gateways are young."""
    async with asyncio.timeout(30):
        while True:
            async with await open_socket(second.url, second.anon_key) as other:
                await subscribe(other, "young", NEWS)
                await other.send('[null,"9","phoenix","heartbeat",{}]')
                _, told = await receive_until(other, lambda message: message[1] == "9")
                if not told:
                    break
    moving = await open_socket(first.url, first.anon_key)
    async with await open_socket(second.url, second.anon_key) as witness:
        await subscribe(moving, "moving", NEWS)
        await subscribe(witness, "witness", NEWS)
        moving.transport.abort()
        with psycopg.connect(first.environ["DATABASE_URL"]) as connection:
            connection.execute("insert into public.news (body) values ('meanwhile')")
        await receive_until(witness, lambda message: message[3] == "postgres_changes")
    async with await open_socket(second.url, second.anon_key) as back:
        await subscribe(back, "moving", NEWS)
        change, _ = await receive_until(back, lambda message: message[3] == "postgres_changes")
        assert change[4]["data"]["record"]["body"] == "meanwhile"


PRESENCE = ("presence_state", "presence_diff")


@pytest.mark.req("P7", "P24")
async def test_gateways_over_postgres_share_rooms_and_notice_when_one_dies(
    tmp_path: Path, database_url: str
) -> None:
    environ = {"BASALT_BUS_ENGINE": "postgres", "BASALT_REALTIME_REPLAY_WINDOW": "5"}
    with two_gateways(tmp_path, database_url, **environ) as (first, second):
        async with (
            await open_socket(first.url, first.anon_key) as gone,
            await open_socket(second.url, second.anon_key) as watcher,
        ):
            await join(watcher, "lobby", lobby_of("watcher"))
            await join(gone, "lobby", lobby_of("gone"))
            await track(gone, "gone")
            await receive_until(watcher, lambda message: message[3] in PRESENCE and "gone" in str(message[4]))
            await meet(first, second)
            await change_gateways(first, second)
            os.kill(first.process.pid, signal.SIGSTOP)  # or its supervisor would start another one
            try:
                os.kill(gateway_of(first), signal.SIGKILL)
                await subscribe(watcher, "news", NEWS, ref="30")  # as one that was served by the other would
                left, before = await receive_until(
                    watcher,
                    lambda message: message[3] == "presence_diff" and "gone" in message[4]["leaves"],
                    LEAVE_LIMIT_S,
                )
                assert left[4]["joins"] == {}
                if not any(map(is_system("may have been missed"), before)):  # it may come before or after
                    await receive_until(watcher, is_system("may have been missed"))
            finally:
                os.kill(first.process.pid, signal.SIGCONT)


@pytest.mark.req("P7", "P24")
@pytest.mark.skipif(not has_server("redis"), reason="redis-server is not installed")
async def test_gateways_over_redis_share_rooms(tmp_path: Path, database_url: str) -> None:
    with (
        running_broker("redis", tmp_path) as broker,
        two_gateways(tmp_path, database_url, BASALT_BUS_ENGINE="redis", BASALT_BUS_URL=broker.url) as (
            first,
            second,
        ),
    ):
        await meet(first, second)
