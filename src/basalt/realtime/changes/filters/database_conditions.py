"""Conditions that only PostgreSQL can decide: asked for a batch of changes in one round trip, as the subscriber's own
role, with a limit on the time that a statement may take."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from basalt.postgres import LanePool, PostgresError, Query, Result
from basalt.realtime.changes.filters.columns import FilterColumn
from basalt.realtime.changes.filters.grammar import Condition
from basalt.realtime.changes.literals import render_array

BATCH_TIMEOUT_MS = 1_000
SUSPECTS_AT_ONCE = 4

SYMBOLS = {
    "eq": "=",
    "neq": "<>",
    "lt": "<",
    "lte": "<=",
    "gt": ">",
    "gte": ">=",
    "like": "like",
    "ilike": "ilike",
    "match": "~",
    "imatch": "~*",
    "isdistinct": "is distinct from",
}


@dataclass(frozen=True, slots=True)
class DatabaseCondition:
    """`asks_null`: null does not simply fail it. `statement` takes the values and the literals as `text[]`; `settings`
    are the role and the schemas in which it looks for operators."""

    column: str
    operator: str
    literal: str
    statement: str
    settings: tuple[str, str]
    asks_null: bool


Question = tuple[DatabaseCondition, str | None]


@dataclass(slots=True)
class Answers:
    """`failures`: what could not be asked, with PostgreSQL's reason; it counts as false."""

    holds: dict[Question, bool] = field(default_factory=dict)
    failures: dict[DatabaseCondition, PostgresError] = field(default_factory=dict)


def build_database_condition(column: FilterColumn, condition: Condition, *, role: str) -> DatabaseCondition:
    path = ", ".join(dict.fromkeys(("pg_catalog", "public", "extensions", column.schema)))
    return DatabaseCondition(
        condition.column,
        condition.operator,
        condition.value,
        build_statement(column, condition),
        (role, path),
        asks_null=condition.operator in ("is", "isdistinct"),
    )


def build_statement(column: FilterColumn, condition: Condition) -> str:
    """`$1` values, `$2` literals, one answer for each pair. The pieces are quoted names from the catalog and operators
    from a closed table. In the base type of a domain: its operators are the same, and neither null nor a pattern need
    be in the domain."""
    cast = column.base_cast
    value = f"asked.value::{cast}" + (f" collate {column.collation}" if column.collation else "")
    if condition.operator == "is" and condition.negated:
        test = f"not {value} is not null"  # of a row, `is not null` is more than the opposite of `is null`
    elif condition.operator == "is":
        test = f"{value} is null"
    elif condition.operator == "in":
        test = f"{value} = any(asked.literal::{cast}[])"
    else:
        test = f"{value} {SYMBOLS[condition.operator]} asked.literal::{cast}"
    return f"""
        select coalesce({"not " if condition.negated else ""}({test}), false)
        from unnest($1::text[], $2::text[]) with ordinality as asked (value, literal, number)
        order by asked.number
    """  # noqa: S608


async def ask_database(lanes: LanePool, questions: Iterable[Question]) -> Answers:
    """All answers in one round trip. When a statement fails or takes longer than `BATCH_TIMEOUT_MS`, each condition is
    asked on its own, so that only the culprit is without an answer. Raises LanesUnavailable, and PostgresError where
    PostgreSQL itself is in trouble."""
    asked = list(dict.fromkeys(questions))
    answers = Answers()
    if not asked:
        return answers
    try:
        answers.holds = await _ask(lanes, asked)
    except PostgresError as error:
        if is_trouble(error):
            raise
        await _ask_each(lanes, asked, answers)
    return answers


def is_trouble(error: PostgresError) -> bool:
    """The state of the server is to blame and not the question: worth another attempt. Not 57014, the time limit."""
    return error.is_fatal or (error.sqlstate[:2] in ("08", "53", "57", "58") and error.sqlstate != "57014")


async def _ask_each(lanes: LanePool, asked: Sequence[Question], answers: Answers) -> None:
    by_condition: dict[DatabaseCondition, list[Question]] = {}
    for question in asked:
        by_condition.setdefault(question[0], []).append(question)
    limit = asyncio.Semaphore(SUSPECTS_AT_ONCE)

    async def ask(condition: DatabaseCondition, questions: list[Question]) -> None:
        try:
            async with limit:
                answers.holds |= await _ask(lanes, questions)
        except PostgresError as error:
            if is_trouble(error):
                raise
            answers.failures[condition] = error
            answers.holds |= dict.fromkeys(questions, False)

    outcomes = await asyncio.gather(*(ask(*item) for item in by_condition.items()), return_exceptions=True)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome


async def _ask(lanes: LanePool, asked: Sequence[Question]) -> dict[Question, bool]:
    groups: dict[tuple[tuple[str, str], str], list[Question]] = {}
    for question in asked:
        groups.setdefault((question[0].settings, question[0].statement), []).append(question)
    queries: list[Query] = []
    for ((role, path), statement), questions in groups.items():
        values = render_array([value for _, value in questions])
        literals = render_array([condition.literal for condition, _ in questions])
        queries += [
            build_settings(role, path, timeout_ms=BATCH_TIMEOUT_MS),
            Query(statement, (values, literals), scope=role),
        ]
    results = await lanes.execute(queries, read_only=True)
    return _read_answers(list(groups.values()), results[1::2])


def _read_answers(groups: list[list[Question]], results: list[Result]) -> dict[Question, bool]:
    return {
        question: row[0] == b"t"
        for questions, result in zip(groups, results, strict=True)
        for question, row in zip(questions, result.rows, strict=True)
    }


APPLY_SETTINGS = """
select
    set_config('role', $1, true),
    set_config('search_path', $2, true),
    set_config('statement_timeout', $3, true),
    set_config('timezone', 'UTC', true),
    set_config('datestyle', 'ISO', true),
    set_config('extra_float_digits', '1', true)
"""


def build_settings(role: str, path: str, *, timeout_ms: int) -> Query:
    """For what follows in the transaction. Values are rendered as the log has them; the order of day and month in a
    date stays the database's."""
    return Query(APPLY_SETTINGS, (role.encode(), path.encode(), b"%d" % timeout_ms))
