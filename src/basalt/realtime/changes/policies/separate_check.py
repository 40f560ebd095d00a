"""The policies as they stand, evaluated by PostgreSQL as each subscriber: role and claims set, a transaction each.

Nothing has to be known of the policies: nested row-level security, privileges, functions are PostgreSQL's own affair.
Whoever's policies raise or hang is told so, and nobody else."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from basalt.postgres import LanePool, PostgresError, Query
from basalt.realtime.changes.literals import quote_name, render_array
from basalt.realtime.changes.policies.claims import Claims
from basalt.realtime.changes.tables.table import Table

# Functions in policies may count on the search_path that requests have. An expression must be parsed under the path
# under which it was printed, and as the role: which schemas of the path count depends on the role's USAGE.
SEARCH_PATH: Final = "public, extensions"
PREPARE_LOADING: Final = f"select pg_catalog.set_config('search_path', '{SEARCH_PATH}', true)"
BECOME: Final = "select pg_catalog.set_config('role', $1, true)"
LOAD_CONDITIONS: Final = """
select
    policy.polpermissive,
    pg_catalog.pg_get_expr(policy.polqual, policy.polrelid),
    exists (
        select
        from pg_catalog.pg_depend as depend
        cross join pg_catalog.pg_identify_object(depend.refclassid, depend.refobjid, 0) as named
        where depend.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass and depend.objid = policy.oid
        and named.schema is not null
        and not pg_catalog.has_schema_privilege(role.oid, pg_catalog.to_regnamespace(named.schema), 'usage')
    )
from pg_catalog.pg_policy as policy
join pg_catalog.pg_roles as role on role.rolname = $2
where policy.polrelid = $1::oid
and policy.polcmd in ('r', '*')
and policy.polqual is not null
and exists (
    select
    from pg_catalog.unnest(policy.polroles) as named(oid)
    where case when named.oid = 0 then true else pg_catalog.pg_has_role(role.oid, named.oid, 'usage') end
)
order by policy.polname desc
"""

BECOME_SUBSCRIBER: Final = f"""
select
    pg_catalog.set_config('search_path', '{SEARCH_PATH}', true),
    pg_catalog.set_config('transaction_read_only', 'on', true),
    pg_catalog.set_config('jit', 'off', true),
    pg_catalog.set_config('statement_timeout', $1, true),
    pg_catalog.set_config('request.jwt.claims', $2, true),
    pg_catalog.set_config('role', $3, true)
"""
FORGET_PREPARED: Final = """
do $$
begin
    if exists (select from pg_catalog.pg_prepared_statements where name = 'basalt_policies') then
        deallocate basalt_policies;
    end if;
end
$$
"""
IN_FLIGHT: Final = 64
MOST_RAISING: Final = 8  # rows, one after the other
CANCELLED: Final = "57014"


@dataclass(frozen=True, slots=True)
class SeparateCheck:
    """`sql` takes an array of rows and answers a boolean for each, in order. `is_parsed_first`: by the owner, before
    the role is taken: policies may name what lies in schemas that the role may not USE, since they were parsed when
    they were made."""

    sql: str
    is_parsed_first: bool


@dataclass(slots=True)
class SeparateAnswers:
    """`seen`: for each row, who sees it. `failures`: whose policies raised, with PostgreSQL's message."""

    seen: list[set[Claims]]
    failures: dict[Claims, str] = field(default_factory=dict)


async def load_separate_check(lanes: LanePool, table: Table, role: str) -> SeparateCheck:
    """Raises PostgresError when the role cannot be taken."""
    load = Query(LOAD_CONDITIONS, (str(table.oid).encode(), role.encode()))
    results = await lanes.execute([Query(PREPARE_LOADING), load, Query(BECOME, (role.encode(),)), load])
    is_parsed_first = any(row[2] == b"t" for row in results[1].rows)
    rows = results[1 if is_parsed_first else 3].rows
    condition = _join_conditions([(row[0] == b"t", (row[1] or b"").decode()) for row in rows])
    name = quote_name(table.name)
    row_type = f"{quote_name(table.schema)}.{name}"
    sql = f"select ({condition}) is true from unnest($1::{row_type}[]) as {name}"  # noqa: S608 - the catalog's
    return SeparateCheck(sql, is_parsed_first)


def _join_conditions(policies: list[tuple[bool, str]]) -> str:
    """In PostgreSQL's own order (`rowsecurity.c`), so that what decides first there decides first here: an expression
    after it may raise. `policies` come by name, last first.

    >>> _join_conditions([(True, "d"), (False, "c"), (True, "b"), (False, "a")])
    '(a) and (c) and ((d) or (b))'
    """
    permissive = " or ".join(f"({condition})" for is_permissive, condition in policies if is_permissive)
    restrictive = [f"({condition})" for is_permissive, condition in reversed(policies) if not is_permissive]
    return " and ".join([*restrictive, f"({permissive or 'false'})"])


async def check_separately(
    lanes: LanePool,
    check: SeparateCheck,
    role: str,
    rows: Sequence[str],
    claims: Sequence[Claims],
    *,
    timeout_s: float,
    budget_s: float,
) -> SeparateAnswers:
    """`timeout_s` for each statement; whoever is not answered after `budget_s` counts as a failure. Raises
    LanesUnavailable."""
    answers = SeparateAnswers([set() for _ in rows])
    waiting = set(claims)
    queue = iter(claims)

    async def work() -> None:
        for one in queue:
            await _check_one(lanes, check, role, rows, one, timeout_s, answers)
            waiting.discard(one)

    workers = [asyncio.ensure_future(work()) for _ in range(min(IN_FLIGHT, len(claims)))]
    try:
        async with asyncio.timeout(budget_s):
            await asyncio.gather(*workers)
    except TimeoutError:
        message = f"the policies of the table took longer than {budget_s:g} s for all subscribers"
        answers.failures |= dict.fromkeys(waiting, message)
    finally:
        for worker in workers:
            worker.cancel()
    return answers


async def _check_one(
    lanes: LanePool,
    check: SeparateCheck,
    role: str,
    rows: Sequence[str],
    claims: Claims,
    timeout_s: float,
    answers: SeparateAnswers,
) -> None:
    try:
        visible = await _ask(lanes, check, role, rows, claims, timeout_s)
    except PostgresError as exc:
        answers.failures[claims] = exc.message
        if len(rows) == 1 or exc.sqlstate == CANCELLED:
            return
        visible = await _ask_one_by_one(lanes, check, role, rows, claims, timeout_s)
    for them, is_visible in zip(answers.seen, visible, strict=True):
        if is_visible:
            them.add(claims)


async def _ask_one_by_one(
    lanes: LanePool, check: SeparateCheck, role: str, rows: Sequence[str], claims: Claims, timeout_s: float
) -> list[bool]:
    """One row may make a policy raise that lets the others pass. Where it raises for row after row, it is the
    subscriber, and the rest is not asked."""
    visible: list[bool] = []
    raised = 0
    for row in rows:
        is_visible = False
        if raised < MOST_RAISING:
            try:
                (is_visible,) = await _ask(lanes, check, role, [row], claims, timeout_s)
                raised = 0
            except PostgresError:
                raised += 1
        visible.append(is_visible)
    return visible


async def _ask(
    lanes: LanePool, check: SeparateCheck, role: str, rows: Sequence[str], claims: Claims, timeout_s: float
) -> list[bool]:
    images = render_array(rows)
    timeout, name = f"{round(timeout_s * 1000)}ms".encode(), role.encode()
    if check.is_parsed_first:
        queries = [
            Query(FORGET_PREPARED),
            Query(BECOME_SUBSCRIBER, (timeout, claims.json.encode(), b"none")),
            Query(f"prepare basalt_policies as {check.sql}", prepare=False),
            Query(BECOME, (name,)),
            Query(f"execute basalt_policies({_quote_text(images.decode())})", prepare=False),
        ]
    else:
        queries = [
            Query(BECOME_SUBSCRIBER, (timeout, claims.json.encode(), name)),
            Query(check.sql, (images,), scope=role),
        ]
    results = await lanes.execute(queries, read_only=True)
    return [row[0] == b"t" for row in results[-1].rows]


def _quote_text(text: str) -> str:
    r"""
    >>> print(_quote_text("it's \\ one"))
    E'it''s \\ one'
    """
    doubled = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{doubled}'"
