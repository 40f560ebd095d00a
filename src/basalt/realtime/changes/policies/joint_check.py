"""One statement for all subscribers: which rows of a change are visible to which sets of claims."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from basalt.postgres import LanePool, PostgresError, Query
from basalt.realtime.changes.literals import quote_name, render_array
from basalt.realtime.changes.policies.claims import Claims
from basalt.realtime.changes.policies.memory import EVERYONE, NOBODY, Audience
from basalt.realtime.changes.policies.rewrite import CLAIMS, Condition
from basalt.realtime.changes.tables.table import Table

# With row_security off PostgreSQL raises where it would filter by policies of the asking role, which are not the
# subscriber's. Compiling to machine code costs more than it saves at this size.
PREPARE_TRANSACTION: Final = """
select
    pg_catalog.set_config('search_path', '', true),
    pg_catalog.set_config('row_security', 'off', true),
    pg_catalog.set_config('transaction_read_only', 'on', true),
    pg_catalog.set_config('jit', 'off', true),
    pg_catalog.set_config('statement_timeout', $1, true)
"""
COLUMN_TYPES: Final = {"uid": "uuid", "jwt": "jsonb", "text": "text"}
SET_SIZE: Final = 1000  # claim sets per statement: several lanes work at it, and none for long


@dataclass(frozen=True, slots=True)
class JointCheck:
    sql: str
    claims_read: tuple[str, ...]


# Built of quoted names, of conditions that the parser has read, and of the names above.
CHECK_JOINTLY: Final = """
with "rows of the change" as materialized (
    select image.*, row_number() over () as "number of the row"
    from unnest($1::{row_type}[]) as image
),
{claims} as materialized (
    {claims_relation}
)
select "number of the row", string_agg(number::text, ',')
from ({arms}) as visible
group by "number of the row"
"""
ARM: Final = """
    select {row}."number of the row", {claims}.number
    from "rows of the change" as {row}
    cross join {claims}
    where {condition}
"""


def build_joint_check(table: Table, condition: Condition) -> JointCheck:
    """Its parameters: an array of rows, then an array per column of the claims that the condition reads."""
    read = tuple(name for name in COLUMN_TYPES if name in condition.claims_read)
    row, claims = quote_name(table.name), quote_name(CLAIMS)
    sql = CHECK_JOINTLY.format(
        row_type=f"{quote_name(table.schema)}.{row}",
        claims=claims,
        claims_relation=_claims_relation(read),
        arms="    union all".join(
            ARM.format(row=row, claims=claims, condition=arm) for arm in condition.arms
        ),
    )
    return JointCheck(sql, read)


def _claims_relation(read: tuple[str, ...]) -> str:
    if not read:
        return "select 1 as number"
    arrays = ", ".join(f"${number}::{COLUMN_TYPES[name]}[]" for number, name in enumerate(read, 2))
    return f"select * from unnest({arrays}) with ordinality as claim({', '.join(read)}, number)"  # noqa: S608


async def check_jointly(
    lanes: LanePool, check: JointCheck, rows: Sequence[str], claims: Sequence[Claims], *, timeout_s: float
) -> tuple[list[Audience], list[Claims]]:
    """The audience of each row (`render_row`), and the sets of claims for which PostgreSQL raised or took longer than
    `timeout_s`: they have to be asked one by one. Raises LanesUnavailable."""
    images = render_array(rows)
    size = SET_SIZE if check.claims_read else len(claims)
    sets = [claims[start : start + size] for start in range(0, len(claims), size)]
    answers = await asyncio.gather(
        *(_check_set(lanes, check, images, one, timeout_s) for one in sets), return_exceptions=True
    )
    seen: list[set[Claims]] = [set() for _ in rows]
    unanswered: list[Claims] = []
    for one, answer in zip(sets, answers, strict=True):
        if isinstance(answer, PostgresError):
            unanswered.extend(one)
        elif isinstance(answer, BaseException):
            raise answer
        elif not check.claims_read:
            return [EVERYONE if number in answer else NOBODY for number in range(len(rows))], []
        else:
            for number, positions in answer.items():
                seen[number].update([one[position] for position in positions])
    return [Audience(claims=frozenset(them)) for them in seen], unanswered


async def _check_set(
    lanes: LanePool, check: JointCheck, images: bytes, claims: Sequence[Claims], timeout_s: float
) -> dict[int, list[int]]:
    """Row → who sees it, both by position."""
    columns = [render_array([_claim(one, name) for one in claims]) for name in check.claims_read]
    results = await lanes.execute(
        [
            Query(PREPARE_TRANSACTION, (f"{round(timeout_s * 1000)}ms".encode(),)),
            Query(check.sql, (images, *columns)),
        ],
        read_only=True,
    )
    return {
        int(number or 0) - 1: [int(position) - 1 for position in (positions or b"").split(b",")]
        for number, positions in results[1].rows
    }


def _claim(claims: Claims, name: str) -> str | None:
    return claims.user_id if name == "uid" else claims.json
