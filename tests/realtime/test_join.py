"""What a join asks for (protocol §4): everything is optional, and what makes no sense is as good as missing."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basalt.realtime.changes.filters.bindings import parse_bindings
from basalt.realtime.join import JoinConfig, Replay, old_bindings, parse_join

pytestmark = pytest.mark.req("P7", "S9")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


def parse(payload: Any) -> JoinConfig:
    return parse_join(json.dumps(payload).encode())


def config(**parts: Any) -> JoinConfig:
    return parse({"config": parts})


def test_a_whole_join_is_read() -> None:
    bindings = [{"event": "*", "schema": "public", "table": "todos"}]
    assert parse(
        {
            "config": {
                "broadcast": {
                    "self": True,
                    "ack": True,
                    "replication_ready": True,
                    "replay": {"since": 1767225600000, "limit": 10},
                },
                "presence": {"key": "ann", "enabled": True},
                "postgres_changes": bindings,
                "postgres_changes_options": {"wait": True, "timeout": 2500},
                "private": True,
            },
            "access_token": "a token",
        }
    ) == JoinConfig(
        token="a token",
        is_private=True,
        sends_to_self=True,
        acknowledges=True,
        tells_replication=True,
        replay=Replay(1767225600000, 10),
        has_presence=True,
        presence_key="ann",
        changes=bindings,
        wait_s=2.5,
        is_old=False,
    )


def test_an_empty_config_asks_for_nothing() -> None:
    assert config() == JoinConfig()
    assert parse({"config": None}) == JoinConfig()
    assert parse({}) == JoinConfig(is_old=True)
    for payload in (b"", b"{", b"null", b"[]", b"3", b"\xff"):
        assert parse_join(payload) == JoinConfig()


@pytest.mark.parametrize(
    ("value", "meant"),
    [(True, True), ("true", True), ("TRUE", True), ("True", True), (False, False), ("false", False), (1, False),
     ("1", False), ("yes", False), (" true", False), (None, False), ([True], False)],
)  # fmt: skip
def test_booleans_may_be_texts_and_nothing_else(value: object, meant: bool) -> None:
    assert config(private=value).is_private is meant
    assert config(broadcast={"self": value}).sends_to_self is meant
    assert config(broadcast={"ack": value}).acknowledges is meant
    assert config(broadcast={"replication_ready": value}).tells_replication is meant
    assert config(presence={"enabled": value}).has_presence is meant


@pytest.mark.parametrize(
    ("payload", "token"),
    [
        ({"user_token": "u", "access_token": "a"}, "u"),
        ({"access_token": "a"}, "a"),
        ({"user_token": "", "access_token": "a"}, "a"),
        ({"user_token": None, "access_token": "a"}, "a"),
        ({"user_token": 3, "access_token": "a"}, "a"),
        ({"access_token": "sb_publishable_x"}, None),
        ({"user_token": "sb_secret_x", "access_token": "a"}, None),
        ({"access_token": None}, None),
        ({"access_token": {}}, None),
        ({}, None),
    ],
)
def test_the_first_token_counts_and_a_key_means_the_sockets_own(
    payload: dict[str, Any], token: str | None
) -> None:
    assert parse({"config": {}, **payload}).token == token


@pytest.mark.parametrize(
    ("replay", "meant"),
    [
        (None, None),
        ({"since": 0}, Replay(0, 25)),
        ({"since": 5, "limit": 25}, Replay(5, 25)),
        ({"since": 5, "limit": 26}, Replay(5, 25)),
        ({"since": 5, "limit": 1}, Replay(5, 1)),
        ({"since": 5, "limit": 0}, False),
        ({"since": 5, "limit": -1}, False),
        ({"since": 5, "limit": "3"}, False),
        ({"since": 5, "limit": True}, False),
        ({"since": "5"}, False),
        ({"since": 1.5}, False),
        ({"since": True}, False),
        ({"since": -1}, False),
        ({"since": 2**53}, False),
        ({"since": 2**70}, False),
        ({}, False),
        ([], False),
        (False, False),
        ("x", False),
    ],
    ids=str,
)
def test_a_replay_makes_sense_or_is_told_apart_from_none(replay: object, meant: object) -> None:
    assert config(broadcast={"replay": replay}).replay == meant


@pytest.mark.parametrize(
    ("options", "wait_s"),
    [
        ({}, None),
        ({"wait": False, "timeout": 5}, None),
        ({"wait": True}, 15.0),
        ({"wait": "true", "timeout": 100}, 0.1),
        ({"wait": True, "timeout": 10**9}, 20.0),
        ({"wait": True, "timeout": -5}, 15.0),
        ({"wait": True, "timeout": "x"}, 15.0),
        ({"wait": True, "timeout": True}, 15.0),
        (None, None),
        ([], None),
    ],
    ids=str,
)
def test_waiting_is_bounded(options: object, wait_s: float | None) -> None:
    assert config(postgres_changes_options=options).wait_s == wait_s


@pytest.mark.parametrize(
    ("name", "binding"),
    [
        ("public", {"event": "*", "schema": "public"}),
        ("public:todos", {"event": "*", "schema": "public", "table": "todos"}),
        (
            "public:todos:title=eq.a:b",
            {"event": "*", "schema": "public", "table": "todos", "filter": "title=eq.a:b"},
        ),
        ("*", {"event": "*", "schema": "*"}),
    ],
)
def test_the_old_interface_reads_the_name(name: str, binding: dict[str, str]) -> None:
    assert old_bindings(name) == [binding]


@settings(max_examples=60, deadline=None)
@given(JSON, st.dictionaries(st.sampled_from(["broadcast", "presence", "postgres_changes", "private"]), JSON))
def test_nothing_that_a_client_sends_breaks_a_join(anything: Any, parts: dict[str, Any]) -> None:
    for payload in (anything, {"config": anything}, {"config": parts, "access_token": anything}):
        found = parse(payload)
        assert isinstance(found.presence_key, str)
        assert found.token is None or isinstance(found.token, str)
        parse_bindings(found.changes)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=100))
def test_not_even_bytes_do(payload: bytes) -> None:
    assert isinstance(parse_join(payload), JoinConfig)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_any_name_of_the_old_interface_is_a_binding(name: str) -> None:
    (binding,) = parse_bindings(old_bindings(name))
    assert binding.params["schema"] == name.split(":")[0]
