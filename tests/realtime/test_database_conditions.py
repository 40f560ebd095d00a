"""What PostgreSQL is asked about many changes at once."""

import time
from collections.abc import AsyncIterator

import pytest

from basalt.postgres import DatabaseAccess, LanePool
from basalt.realtime.changes.filters.columns import FilterColumn
from basalt.realtime.changes.filters.database_conditions import (
    BATCH_TIMEOUT_MS,
    DatabaseCondition,
    ask_database,
    build_database_condition,
)
from basalt.realtime.changes.filters.grammar import Condition, Operator

pytestmark = pytest.mark.req("P7")

CATASTROPHE = r"^(a*)(a*)(a*)(a*)(a*)\1\2\3\4\5$"  # of an odd number of letters


@pytest.fixture
async def lanes(database: DatabaseAccess) -> AsyncIterator[LanePool]:
    pool = LanePool(database.conninfo("supabase_admin"), name="test", size=2)
    await pool.open()
    yield pool
    await pool.close()


def condition(
    operator: Operator, literal: str, *, role: str = "anon", cast: str = "text"
) -> DatabaseCondition:
    type_ = f"pg_catalog.{cast}"
    column = FilterColumn("c", cast, "pg_catalog", type_, type_, None, False, False, True, True, None)
    return build_database_condition(column, Condition("c", operator, literal), role=role)


async def test_conditions_of_several_roles_and_operators_are_answered_together(lanes: LanePool) -> None:
    questions = [
        (condition(operator, literal, role=role), value)
        for role in ("anon", "authenticated")
        for operator, literal in (("ilike", "A%"), ("match", "^a"), ("ilike", 'q"\\\\,{}'))
        for value in ("abc", "bcd", 'Q"\\,{}', "", None)
    ]
    answers = await ask_database(lanes, [*questions, *questions])
    assert not answers.failures
    held = sorted(str(value) for (_, value), holds in answers.holds.items() if holds)
    assert held == ['Q"\\,{}'] * 2 + ["abc"] * 4
    assert set(answers.holds) == set(questions)


async def test_nothing_to_ask_asks_nothing(lanes: LanePool) -> None:
    await lanes.close()
    assert (await ask_database(lanes, [])).holds == {}


async def test_a_catastrophic_pattern_ends_and_is_the_only_one_without_an_answer(lanes: LanePool) -> None:
    bad, good = condition("match", CATASTROPHE), condition("match", "^a")
    other = condition("ilike", "A%")
    value = "a" * 301
    started = time.monotonic()
    answers = await ask_database(lanes, [(good, value), (bad, value), (other, value)])
    assert time.monotonic() - started < 2 * BATCH_TIMEOUT_MS / 1000 + 3
    assert answers.holds == {(good, value): True, (bad, value): False, (other, value): True}
    assert [(failed, error.sqlstate) for failed, error in answers.failures.items()] == [(bad, "57014")]


async def test_a_condition_that_raises_is_named_and_counts_as_false(lanes: LanePool) -> None:
    bad, good = condition("eq", "1", cast="int4"), condition("eq", "2", cast="int8")
    answers = await ask_database(lanes, [(bad, "no number"), (bad, "1"), (good, "2")])
    assert answers.holds == {(bad, "no number"): False, (bad, "1"): False, (good, "2"): True}
    assert answers.failures[bad].sqlstate == "22P02"


async def test_a_condition_has_the_rights_of_its_subscriber(lanes: LanePool) -> None:
    answers = await ask_database(lanes, [(condition("eq", "1", role="nobody"), "1")])
    (error,) = answers.failures.values()
    assert 'role "nobody" does not exist' in error.message
