"""Presence ends in the same state on every node, whatever happens to the messages between them."""

import json
from collections.abc import Iterable
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basalt.realtime.presence import HEARTBEAT_S, SILENT_S, Diff, PresenceState

ANN = {"name": "Ann"}


def metas(state: PresenceState, room: str = "r") -> dict[str, list[dict[str, Any]]]:
    """Key → metas in the order of their refs."""
    return {
        key: sorted(presence["metas"], key=lambda meta: str(meta["phx_ref"]))
        for key, presence in state.state_of(room).items()
    }


def tell(sender: PresenceState, *others: PresenceState, now: float = 0.0) -> list[tuple[str, Diff]]:
    """What the first listener's diffs are."""
    diffs = []
    for message in sender.take_outgoing():
        for index, other in enumerate(others):
            found = other.receive(sender.node_id, message, now)
            diffs += found if index == 0 else []
    return diffs


def settle(nodes: Iterable[PresenceState], now: float = 0.0) -> None:
    """Deliver until nobody has anything to say."""
    nodes = list(nodes)
    while any(node.has_outgoing for node in nodes):
        for node in nodes:
            tell(node, *(other for other in nodes if other is not node), now=now)


@pytest.mark.req("P7")
def test_a_track_is_a_join_and_shows_in_the_state() -> None:
    state = PresenceState("a")
    diff = state.track("r", 1, "user-1", ANN)
    assert diff == Diff({"user-1": {"metas": [{"phx_ref": "a.1", "name": "Ann"}]}}, {})
    assert state.state_of("r") == diff.joins
    assert state.state_of("other") == {}


@pytest.mark.req("P7")
def test_a_track_in_place_of_another_leaves_the_old_one_and_names_it() -> None:
    state = PresenceState("a")
    state.track("r", 1, "user-1", ANN)
    diff = state.track("r", 1, "user-1", {"name": "Ann", "typing": True})
    assert diff is not None
    assert diff.joins == {
        "user-1": {"metas": [{"phx_ref": "a.2", "phx_ref_prev": "a.1", "name": "Ann", "typing": True}]}
    }
    assert diff.leaves == {"user-1": {"metas": [{"phx_ref": "a.1", "name": "Ann"}]}}
    assert state.state_of("r") == diff.joins


@pytest.mark.req("P7")
def test_the_same_payload_again_changes_nothing() -> None:
    state = PresenceState("a")
    assert state.track("r", 1, "k", {"a": 1, "b": [2]}) is not None
    assert state.track("r", 1, "k", {"b": [2], "a": 1}) is None
    assert state.track("r", 1, "k", {"a": True, "b": [2]}) is not None


@pytest.mark.req("P7")
def test_a_client_cannot_choose_its_refs() -> None:
    state = PresenceState("a")
    state.track("r", 1, "k", {"phx_ref": "forged", "phx_ref_prev": "forged", "x": 1})
    assert metas(state) == {"k": [{"phx_ref": "a.1", "x": 1}]}


@pytest.mark.req("P7")
def test_two_channels_with_one_key_are_two_metas_and_a_room_with_nobody_is_gone() -> None:
    state = PresenceState("a")
    state.track("r", 1, "k", ANN)
    state.track("r", 2, "k", ANN)
    assert [meta["phx_ref"] for meta in metas(state)["k"]] == ["a.1", "a.2"]
    assert state.untrack("r", 1) == Diff({}, {"k": {"metas": [{"phx_ref": "a.1", "name": "Ann"}]}})
    assert state.untrack("r", 1) is None
    assert state.untrack("r", 2) is not None
    assert (state.state_of("r"), state.room_count) == ({}, 0)


@pytest.mark.req("P7")
@pytest.mark.parametrize("meta", [json.loads("[" * 300 + "]" * 300), "x" * 5_000_000], ids=["deep", "large"])
def test_what_cannot_travel_is_refused_and_changes_nothing(meta: object) -> None:
    state = PresenceState("a")
    with pytest.raises(ValueError, match="a meta is"):
        state.track("r", 1, "k", {"x": meta})
    assert (state.room_count, state.take_outgoing()) == (0, [])


@pytest.mark.req("P7")
def test_other_nodes_see_the_same_diffs_and_state() -> None:
    first, second = PresenceState("a"), PresenceState("b")
    joined = first.track("r", 1, "k", ANN)
    assert tell(first, second) == [("r", joined)]
    replaced = first.track("r", 1, "k", {})
    assert tell(first, second) == [("r", replaced)]
    assert metas(second) == metas(first)
    left = first.untrack("r", 1)
    assert tell(first, second) == [("r", left)]
    assert (second.room_count, second.has_outgoing) == (0, False)


@pytest.mark.req("P7")
def test_what_came_and_went_in_one_batch_is_not_told() -> None:
    first, second = PresenceState("a"), PresenceState("b")
    first.track("r", 1, "k", ANN)
    first.track("r", 1, "k", {})
    first.untrack("r", 1)
    assert tell(first, second) == []


@pytest.mark.req("P7")
def test_a_node_that_starts_gets_to_know_who_is_there() -> None:
    first, second = PresenceState("a"), PresenceState("b")
    first.track("r", 1, "k", ANN)
    first.take_outgoing()  # nobody heard
    second.resync()
    settle([first, second])
    assert metas(second) == metas(first) != {}


@pytest.mark.req("P7")
def test_a_lost_message_is_noticed_by_the_next_one_and_asked_for_once() -> None:
    first, second = PresenceState("a"), PresenceState("b")
    first.track("r", 1, "k", ANN)
    first.take_outgoing()
    for owner in (2, 3):
        first.track("r", owner, "k", ANN)
        assert tell(first, second) == []
    assert len(second.take_outgoing()) == 1
    first.beat()
    tell(first, second, now=HEARTBEAT_S)  # the question was lost as well
    settle([first, second], now=HEARTBEAT_S)
    assert metas(second) == metas(first) != {}


@pytest.mark.req("P7")
def test_an_old_message_that_comes_again_does_not_bring_back_who_left() -> None:
    first, second = PresenceState("a"), PresenceState("b")
    first.track("r", 1, "k", ANN)
    (old,) = first.take_outgoing()
    second.receive("a", old, 0)
    first.resync()
    first.receive("b", b"\x92\xa3ask\xa1a", 0)  # somebody asked for everything
    state = first.take_outgoing()
    first.untrack("r", 1)
    tell(first, second)
    for message in (old, *state):
        assert second.receive("a", message, 0) == []
    assert second.room_count == 0


@pytest.mark.req("P7")
def test_a_silent_node_leaves_and_comes_back_with_all_its_entries() -> None:
    first, second = PresenceState("a"), PresenceState("b")
    for owner in range(3):
        first.track("r", owner, f"k{owner}", ANN)
    tell(first, second)
    assert second.expire(SILENT_S) == []
    ((room, diff),) = second.expire(SILENT_S + 1)
    assert (room, sorted(diff.leaves), second.room_count) == ("r", ["k0", "k1", "k2"], 0)
    first.beat()
    settle([first, second], now=SILENT_S + 2)
    assert metas(second) == metas(first) != {}


@pytest.mark.req("P7")
def test_a_farewell_ends_a_nodes_entries_at_once() -> None:
    first, second = PresenceState("a"), PresenceState("b")
    joined = first.track("r", 1, "k", ANN)
    tell(first, second)
    assert joined is not None
    assert second.receive("a", first.farewell(), 0) == [("r", Diff({}, joined.joins))]


@pytest.mark.req("P7")
def test_a_state_larger_than_a_message_travels_in_parts() -> None:
    first, second = PresenceState("a"), PresenceState("b")
    for owner in range(8):
        first.track("r", owner, "k", {"x": "y" * 700_000})
    assert all(len(message) < 1_100_000 for message in first.take_outgoing())
    second.resync()
    settle([first, second])
    assert metas(second) == metas(first) != {}


@pytest.mark.req("P7")
@given(st.data(), st.binary(max_size=60))
def test_bytes_that_are_no_message_are_ignored(data: st.DataObject, noise: bytes) -> None:
    first, second = PresenceState("a"), PresenceState("b")
    first.track("r", 1, "k", ANN)
    first.resync()
    for message in first.take_outgoing():
        cut = data.draw(st.integers(0, len(message) - 1))
        second.receive("a", message[:cut] + noise, 0)
        second.receive("c", noise, 0)
        second.receive("a", message, 0)
    settle([first, second], now=10.0)
    assert second.receive("a", b"\x93\xa5delta\x01\x91\x92\xc0\x94\xa1r\xa1k\xa1x\xc4\x021]", 0) == []


class Cluster:
    """Three nodes and all the messages that are on their way; what was sent may be lost, repeated and late."""

    def __init__(self) -> None:
        self.names = (f"n{number}" for number in count())
        self.nodes: list[PresenceState] = []
        self.views: dict[str, dict[str, dict[str, Any]]] = {}
        self.flying: list[tuple[str, bytes, str]] = []
        self.now = 0.0
        for _ in range(3):
            self.start()

    def start(self) -> None:
        node = PresenceState(next(self.names))
        node.resync()
        self.nodes.append(node)
        self.views[node.node_id] = {}
        self.send(node)

    def send(self, node: PresenceState) -> None:
        for message in node.take_outgoing():
            self.flying += [
                (node.node_id, message, other.node_id) for other in self.nodes if other is not node
            ]

    def see(self, node: PresenceState, diffs: Iterable[tuple[str, Diff | None]]) -> None:
        """Follow the diffs as a client would: after each step they add up to the state."""
        view = self.views[node.node_id]
        for room, diff in diffs:
            if diff is None:
                continue
            refs = view.setdefault(room, {})
            for presence in diff.joins.values():
                for meta in presence["metas"]:
                    assert meta["phx_ref"] not in refs
                    refs[meta["phx_ref"]] = meta
            for presence in diff.leaves.values():
                for meta in presence["metas"]:
                    assert refs.pop(meta["phx_ref"]) == meta
        for room in "xyz":
            state = node.state_of(room)
            shown = {meta["phx_ref"]: meta for presence in state.values() for meta in presence["metas"]}
            assert shown == view.get(room, {})

    def deliver(self, position: int, *, keep: bool) -> None:
        sender, message, to = self.flying[position] if keep else self.flying.pop(position)
        node = next((node for node in self.nodes if node.node_id == to), None)
        if node is not None:
            self.see(node, node.receive(sender, message, self.now))
            self.send(node)

    def calm_down(self) -> None:
        """Nothing is lost any more, heartbeats go round, what died is forgotten."""
        for _ in range(12):
            self.now += HEARTBEAT_S
            for node in self.nodes:
                node.beat()
                self.send(node)
            while self.flying:
                self.deliver(0, keep=False)
            for node in self.nodes:
                self.see(node, node.expire(self.now))


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("track"), st.integers(0, 2), st.sampled_from("xyz"), st.integers(0, 2), st.integers(0, 2)
        ),
        st.tuples(st.just("untrack"), st.integers(0, 2), st.sampled_from("xyz"), st.integers(0, 2)),
        st.tuples(st.sampled_from(["deliver", "repeat", "lose"]), st.integers(0, 10_000)),
        st.tuples(st.sampled_from(["deliver", "repeat"]), st.integers(0, 3)),
        st.tuples(st.sampled_from(["send", "resync", "beat", "die", "leave"]), st.integers(0, 2)),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 3.0, 11.0])),
    ),
    max_size=80,
)


@pytest.mark.req("P7")
@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_all_nodes_end_in_the_same_state(steps: list[tuple[Any, ...]]) -> None:
    cluster = Cluster()
    for name, *values in steps:
        apply(cluster, name, *values)
    cluster.calm_down()
    truth = {
        (meta["phx_ref"], room, key)
        for node in cluster.nodes
        for room in "xyz"
        for key, presence in node.state_of(room).items()
        for meta in presence["metas"]
        if meta["phx_ref"].startswith(f"{node.node_id}.")
    }
    for node in cluster.nodes:
        seen = {
            (meta["phx_ref"], room, key)
            for room in "xyz"
            for key, presence in node.state_of(room).items()
            for meta in presence["metas"]
        }
        assert seen == truth
        assert node.room_count == len({room for _, room, _ in truth})
        assert not node.has_outgoing


def apply(cluster: Cluster, name: str, *values: Any) -> None:
    match name, values:
        case "track", (index, room, owner, payload):
            node = cluster.nodes[index]
            cluster.see(node, [(room, node.track(room, owner, f"k{owner % 2}", {"v": payload}))])
            if payload:
                cluster.send(node)
        case "untrack", (index, room, owner):
            node = cluster.nodes[index]
            cluster.see(node, [(room, node.untrack(room, owner))])
            cluster.send(node)
        case (("deliver" | "repeat" | "lose"), (position,)) if cluster.flying:
            if name == "lose":
                cluster.flying.pop(position % len(cluster.flying))
            else:
                cluster.deliver(position % len(cluster.flying), keep=name == "repeat")
        case "send", (index,):
            cluster.send(cluster.nodes[index])
        case "resync", (index,):
            cluster.nodes[index].resync()
        case "beat", (index,):
            cluster.nodes[index].beat()
        case (("die" | "leave"), (index,)):
            node = cluster.nodes.pop(index)
            if name == "leave":
                cluster.flying += [(node.node_id, node.farewell(), other.node_id) for other in cluster.nodes]
            cluster.start()
        case "wait", (seconds,):
            cluster.now += seconds
            for node in cluster.nodes:
                cluster.see(node, node.expire(cluster.now))
