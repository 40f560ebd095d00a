"""What every engine of the bus does, each with its real server."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from basalt.bus import MAX_PAYLOAD_BYTES, Bus, BusError, build_bus
from basalt.config import BusSettings
from tests.bus.brokers import Broker, RemoteBroker

WAIT_S = 30.0
HELLO = b"hello"


class Node:
    """An open bus and what it heard."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.heard: list[tuple[str, bytes]] = []
        self.gaps = 0
        self.met: set[str] = set()

    def on_message(self, sender: str, payload: bytes) -> None:
        if payload == HELLO:
            self.met.add(sender)
            return
        self.heard.append((sender, payload))

    def on_gap(self) -> None:
        self.gaps += 1

    def payloads(self, sender: "Node") -> list[bytes]:
        return [payload for name, payload in self.heard if name == sender.bus.node_id]


@asynccontextmanager
async def nodes(
    broker: Broker, count: int, project_id: str = "shop", *, is_up: bool = True
) -> AsyncIterator[list[Node]]:
    opened = [Node(broker.bus(project_id)) for _ in range(count)]
    for node in opened:
        await node.bus.open(node.on_message, node.on_gap)
    try:
        if is_up:
            await introduce(opened)
        yield opened
    finally:
        for node in opened:
            await node.bus.close()


async def introduce(opened: Sequence[Node]) -> None:
    """Until each hears each other: a broker may pass over a subscription of the last millisecond when it knows already
    whom a subject goes to (seen with NATS 2.9)."""
    names = {node.bus.node_id for node in opened}
    async with asyncio.timeout(WAIT_S):
        while not all(node.met | {node.bus.node_id} >= names for node in opened):
            for node in opened:
                node.bus.publish(HELLO)
            await asyncio.sleep(0.02)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.req("P7", "P24")
async def test_a_message_reaches_all_others_and_not_its_sender(broker: Broker) -> None:
    async with nodes(broker, 3) as (first, second, third):
        first.bus.publish(b"hello\x00\xff")
        second.bus.publish(b"")
        await until(lambda: all(len(node.heard) >= n for node, n in ((first, 1), (second, 1), (third, 2))))
        assert first.heard == [(second.bus.node_id, b"")]
        assert second.heard == [(first.bus.node_id, b"hello\x00\xff")]
        assert sorted(third.heard) == sorted(first.heard + second.heard)


@pytest.mark.req("P7", "P24")
async def test_messages_of_one_sender_arrive_once_and_in_order(broker: Broker) -> None:
    async with nodes(broker, 3) as (first, second, third):
        sent = [b"%d" % number * (number % 50) for number in range(2000)]
        for payload in sent:
            first.bus.publish(payload)
            second.bus.publish(payload)
        await until(lambda: [len(node.heard) // len(sent) for node in (first, second, third)] == [1, 1, 2])
        assert third.payloads(first) == third.payloads(second) == sent
        assert second.payloads(first) == first.payloads(second) == sent
        assert third.gaps == 1  # the one at its opening


@pytest.mark.req("P7", "P24")
async def test_a_message_of_five_megabytes_arrives_whole(broker: Broker) -> None:
    async with nodes(broker, 2) as (first, second):
        large = os.urandom(MAX_PAYLOAD_BYTES)
        for payload in (b"before", large, b"after"):
            first.bus.publish(payload)
        await until(lambda: len(second.heard) == 3)
        assert second.payloads(first) == [b"before", large, b"after"]


@pytest.mark.req("P7", "P24")
async def test_projects_on_one_server_do_not_hear_each_other(broker: Broker) -> None:
    async with nodes(broker, 2, "shop") as (first, second), nodes(broker, 1, "bank * >.") as (other,):
        first.bus.publish(b"ours")
        other.bus.publish(b"theirs")
        await until(lambda: bool(second.heard))
        second.bus.publish(b"done")
        await until(lambda: bool(first.heard))
        assert first.payloads(second) == [b"done"]
        assert other.heard == []


@pytest.mark.req("P7", "P24")
async def test_what_was_published_before_closing_is_sent(broker: Broker) -> None:
    async with nodes(broker, 2) as (first, second):
        first.bus.publish(b"farewell")
        await first.bus.close()
        await until(lambda: bool(second.heard))
        assert second.payloads(first) == [b"farewell"]


@pytest.mark.req("P7", "P24")
async def test_a_listener_that_raises_hears_the_next_message(
    broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    async with nodes(broker, 1) as (first,):
        second = Node(broker.bus())

        def fail_once(sender: str, payload: bytes) -> None:
            second.on_message(sender, payload)
            if len(second.heard) == 1:
                raise RuntimeError("a bug")

        await second.bus.open(fail_once, second.on_gap)
        await introduce([first, second])
        first.bus.publish(b"one")
        first.bus.publish(b"two")
        await until(lambda: len(second.heard) == 2)
        await second.bus.close()
        assert "bus_listener_failed" in capsys.readouterr().err


@pytest.mark.req("P7", "P24")
async def test_a_bus_comes_back_after_its_server_and_says_that_something_may_be_missing(
    remote_broker: RemoteBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    async with nodes(remote_broker, 2) as (first, second):
        first.bus.publish(b"before")
        await until(lambda: bool(second.heard))
        await remote_broker.cut()
        log = ""

        def is_lost_on_both() -> bool:
            nonlocal log
            log += capsys.readouterr().err
            return log.count("bus_lost") >= 2

        await until(is_lost_on_both)
        first.bus.publish(b"meanwhile")
        await remote_broker.restore()
        await until(lambda: first.gaps >= 2 and second.gaps >= 2)
        first.bus.publish(b"after")
        await until(lambda: second.payloads(first)[-1:] == [b"after"])
        # What one sends before the other listens again is lost, and nothing comes twice or out of order.
        assert second.payloads(first) in ([b"before", b"after"], [b"before", b"meanwhile", b"after"])
        second.bus.publish(b"back")
        await until(lambda: first.payloads(second) == [b"back"])


@pytest.mark.req("P7", "P24")
async def test_a_bus_opens_without_its_server_and_finds_it_later(remote_broker: RemoteBroker) -> None:
    await remote_broker.cut()
    async with nodes(remote_broker, 2, is_up=False) as (first, second):
        assert (first.gaps, second.gaps) == (0, 0)
        await remote_broker.restore()
        await until(lambda: first.gaps >= 1 and second.gaps >= 1)
        await introduce([first, second])
        first.bus.publish(b"found")
        await until(lambda: bool(second.heard))


@pytest.mark.req("P7", "P24")
async def test_closing_without_a_server_takes_a_moment_only(remote_broker: RemoteBroker) -> None:
    await remote_broker.cut()
    async with nodes(remote_broker, 1) as (node,):
        node.bus.publish(b"to nobody")
        async with asyncio.timeout(10):
            await node.bus.close()
    await remote_broker.restore()


@pytest.mark.req("P7", "P24")
async def test_a_message_over_the_limit_is_dropped_and_reported(
    remote_broker: RemoteBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    async with nodes(remote_broker, 2) as (first, second):
        first.bus.publish(bytes(MAX_PAYLOAD_BYTES + 1))
        first.bus.publish(b"small")
        await until(lambda: bool(second.heard))
        assert second.payloads(first) == [b"small"]
        assert (first.bus.dropped, second.gaps) == (1, 1)
        assert "bus_message_too_large" in capsys.readouterr().err


@pytest.mark.req("P24")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (BusSettings(engine="redis"), "needs the address"),
        (BusSettings(engine="nats"), "needs the address"),
        (BusSettings(engine="redis", url="http://localhost"), "basalt.bus.url cannot be used"),
        (BusSettings(engine="nats", url="redis://localhost"), "basalt.bus.url cannot be used"),
    ],
)
def test_settings_that_lead_to_no_server_are_refused(settings: BusSettings, message: str) -> None:
    with pytest.raises(BusError, match=message):
        build_bus(settings, project_id="shop", conninfo="")


@pytest.mark.req("P24")
async def test_closing_ends_the_bus_at_any_moment_of_its_opening(remote_broker: RemoteBroker) -> None:
    for turns in range(30):
        bus = remote_broker.bus()
        opening = asyncio.create_task(bus.open(lambda sender, payload: None, lambda: None))
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(WAIT_S):
            await bus.close()
        opening.cancel()
