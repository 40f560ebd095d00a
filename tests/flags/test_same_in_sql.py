"""What the database decides, what Python decides and what the OpenFeature SDK gives is the same, for any flag and any
caller."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import orjson
import psycopg
import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext

from basalt.flags import BasaltProvider, Flag, FlagBook, FlagCaller, bucket, decide
from basalt.flags.definitions import read_definitions
from tests.flags.conftest import value_of

pytestmark = pytest.mark.req("P18")

FLAGS = 60
CALLERS = 60
TIERS = ["free", "pro", "team"]

INSERT_FLAG = """
insert into flags.flags (name, enabled, rollout, off_value, variants, starts_at, ends_at)
values (%(name)s, %(enabled)s, %(rollout)s, %(off_value)s, %(variants)s, %(starts_at)s, %(ends_at)s)
"""


def test_the_hash_is_the_documented_one(admin: psycopg.Connection) -> None:
    for salt, key in (
        ("new_feed", "8f14e45f-ceea-467f-9a3d-1f0a4c5d6e7f"),
        ("a", ""),
        ("ü", "🦊:x"),
        ("", "\\"),
    ):
        assert value_of(admin, "select flags.bucket(%s, %s)", [salt, key]) == bucket(salt, key)


def test_sql_and_python_decide_alike(admin: psycopg.Connection) -> None:
    random = Random(18)
    users = [f"user-{n}" for n in range(CALLERS)]
    with admin.transaction(force_rollback=True):
        for name, user_ids, claims in cohorts(random, users):
            admin.execute(
                "insert into flags.cohorts (name, user_ids, claims) values (%s, %s, %s)",
                [name, user_ids, claims],
            )
        for number in range(FLAGS):
            admin.execute(INSERT_FLAG, a_flag(random, f"f{number}"))
            for position in range(1, random.randint(1, 4)):
                rule = [
                    f"f{number}",
                    position,
                    f"c{random.randint(0, 11)}",
                    percentage(random),
                    random.choice([None, "v1", "gone"]),
                ]
                admin.execute("insert into flags.rules values (%s, %s, %s, %s, %s)", rule)
        now = value_of(admin, "select now()")
        definitions = read_definitions(value_of(admin, "select flags.definitions()"))
        api.set_provider(BasaltProvider(Loaded(definitions)), "same")
        reasons = set()
        for number in range(CALLERS):
            user, claims = random.choice([*users, None]), some_claims(random)
            caller = FlagCaller(user, user, claims)
            query = "select name, value, variant, reason from flags.evaluate_for(%s, %s)"
            for name, value, variant, reason in admin.execute(
                query, [user, orjson.dumps(claims).decode()]
            ).fetchall():
                own = decide(definitions[name], caller, now=now)
                assert (own.value, own.variant, own.reason) == (value, variant, reason), (
                    name,
                    user,
                    claims,
                    number,
                )
                assert by_open_feature(definitions[name], caller) == (value, variant, reason)
                reasons.add(reason)
    assert reasons == {"DISABLED", "TARGETING_MATCH", "STATIC", "SPLIT"}


def by_open_feature(flag: Flag, caller: FlagCaller) -> tuple[Any, str | None, Any]:
    """What the SDK's client gives for a flag of whatever type it is."""
    client = api.get_client(domain="same")
    ask: Any = {
        bool: client.get_boolean_details,
        str: client.get_string_details,
        int: client.get_float_details,
        dict: client.get_object_details,
    }[type(flag.off_value)]
    details = ask(flag.name, None, EvaluationContext(caller.user_id, dict(caller.claims)))
    return details.value, details.variant, details.reason


class Loaded(FlagBook):
    """Of the transaction of a test, which nobody else sees."""

    def __init__(self, flags: Mapping[str, Flag]) -> None:
        super().__init__("")
        self._flags = flags


def cohorts(random: Random, users: list[str]) -> list[tuple[str, list[str], str | None]]:
    conditions: list[Any] = [
        {"app_metadata": {"tier": "pro"}},
        {"app_metadata": {"teams": ["a"]}},
        {"app_metadata": {"teams": ["a", "b"]}},
        {"app_metadata": {"teams": "a"}},
        {"app_metadata": {"level": 2}},
        {"app_metadata": {"level": True}},
        {"app_metadata": {"roles": [{"name": "owner"}]}},
        {"app_metadata": {"nested": [[1]]}},
        {"app_metadata": {}},
        {},
        None,
        None,
    ]
    return [
        (
            f"c{n}",
            random.sample(users, random.randint(0, 12)),
            None if one is None else orjson.dumps(one).decode(),
        )
        for n, one in enumerate(conditions)
    ]


def a_flag(random: Random, name: str) -> dict[str, Any]:
    count = random.choice([1, 1, 2, 4])
    off, values = random.choice(
        [(False, [True] * 4), ("", list("wxyz")), (0, [1, 2.5, -3, 4]), ({}, [{"n": n} for n in range(4)])]
    )
    variants = [
        {"name": f"v{n}", "value": values[n], "weight": random.choice([0, 1, 3, 70])} for n in range(count)
    ]
    variants[random.randrange(count)]["weight"] = 5
    now = datetime.now(UTC)
    return {
        "name": name,
        "enabled": random.random() < 0.85,
        "rollout": percentage(random),
        "off_value": orjson.dumps(off).decode(),
        "variants": orjson.dumps(variants).decode(),
        "starts_at": random.choice(
            [None, None, None, now - timedelta(days=1), now + timedelta(days=1), "-infinity"]
        ),
        "ends_at": random.choice([None, None, None, now + timedelta(days=2), "infinity", "12026-01-01"]),
    }


def percentage(random: Random) -> float:
    return random.choice([0, 100, 100, 50, 33.333, 0.001, 99.999, round(random.uniform(0, 100), 3)])


def some_claims(random: Random) -> dict[str, Any]:
    metadata: dict[str, Any] = {"tier": random.choice(TIERS), "level": random.choice([1, 2, True, "2", 2.0])}
    metadata["teams"] = random.choice([[], ["a"], ["b", "a"], "a"])
    metadata["roles"] = random.choice([[], [{"name": "owner", "since": 2020}], ["owner"]])
    metadata["nested"] = random.choice([[], [[1, 2]], [1], [[2]]])
    return random.choice([{"app_metadata": metadata}, {"app_metadata": metadata}, {}, {"app_metadata": None}])
