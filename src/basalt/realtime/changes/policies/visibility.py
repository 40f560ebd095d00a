"""Who may see a changed row: the table's policies for SELECT, for each subscriber's role and claims.

Asked of the row as the change left it, not as it is now: a version in between that was not for somebody must not
reach them. Three ways, the first that will do: rules in memory (`memory`), one statement for all subscribers
(`joint_check`), a transaction as each of them (`separate_check`)."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final, Literal
from weakref import WeakSet

from basalt.postgres import LanePool, PostgresError, Query
from basalt.realtime.changes.literals import render_row
from basalt.realtime.changes.policies.arms import NotRewritable
from basalt.realtime.changes.policies.claims import Claims
from basalt.realtime.changes.policies.joint_check import JointCheck, build_joint_check, check_jointly
from basalt.realtime.changes.policies.memory import (
    EVERYONE,
    NOBODY,
    Audience,
    Image,
    Rule,
    build_rule,
    decide_in_memory,
)
from basalt.realtime.changes.policies.rewrite import rewrite_policies
from basalt.realtime.changes.policies.role_access import RoleAccess, build_access_query, read_access
from basalt.realtime.changes.policies.rules import (
    Rules,
    TableRules,
    build_rules_queries,
    read_claim_routines,
    read_rules,
)
from basalt.realtime.changes.policies.separate_check import (
    SeparateCheck,
    check_separately,
    load_separate_check,
)
from basalt.realtime.changes.tables.table import Table

Way = Literal["memory", "joint", "separate"]
PREPARE_LOADING: Final = "select pg_catalog.set_config('search_path', '', true)"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An audience for each image. `failures`: for whom the policies raised or took too long, and PostgreSQL's message;
    they see none of the images for which that was so."""

    audiences: tuple[Audience, ...]
    failures: tuple[tuple[Claims, str], ...] = ()


@dataclass(slots=True)
class _Plan:
    """How one table is decided for one role. `order`: where each column of the row type stands in an image.
    `reads_subject`: `auth.uid()` is asked, which raises for a `sub` that is no UUID."""

    access: RoleAccess
    order: tuple[int, ...]
    rule: Rule | None = None
    joint: JointCheck | None = None
    reads_subject: bool = True
    separate: SeparateCheck | None = None


class Visibility:
    """`lanes` log in as `postgres`. `timeout_s` bounds each statement; `budget_s` all that have to be asked one by
    one."""

    def __init__(self, lanes: LanePool, *, timeout_s: float = 1.0, budget_s: float = 4.0) -> None:
        self._lanes = lanes
        self._timeout_s = timeout_s
        self._budget_s = budget_s
        self._plans: dict[tuple[Table, str], _Plan] = {}
        self._raising: dict[tuple[int, str], WeakSet[Claims]] = {}

    def forget(self) -> None:
        """Tables, policies, privileges or `auth` routines may have changed."""
        self._plans = {}
        self._lanes.forget_statements()

    async def access(self, table: Table, role: str) -> RoleAccess:
        """Kept until `forget()`. Raises LanesUnavailable."""
        return (await self._plan(table, role)).access

    async def way(self, table: Table, role: str) -> Way:
        """How rows of the table are decided for the role: for whoever wonders why it is slow."""
        plan = await self._plan(table, role)
        if plan.access.sees_all or plan.rule is not None:
            return "memory"
        return "joint" if plan.joint is not None else "separate"

    async def decide(
        self, table: Table, role: str, images: Sequence[Image], claims: Sequence[Claims]
    ) -> Verdict:
        """`images`: values by position in `table.columns`; where `access().reads_missing`, those of `table.missing`
        follow in their order. A change of a partition that is asked about under its parent's policies comes as a row
        of the parent, with the parent's Table. `claims`: distinct, all of `role`. Raises LanesUnavailable."""
        plan = await self._plan(table, role)
        access = plan.access
        if not access.selectable or not images:
            return Verdict((NOBODY,) * len(images))
        if access.sees_all:
            return Verdict((EVERYONE,) * len(images))
        assert not access.reads_missing or all(
            len(image) == len(table.columns) + len(table.missing) for image in images
        )
        raising = self._raising.setdefault((table.oid, role), WeakSet())
        together, alone = _split_claims(plan, claims, raising)
        if plan.rule is not None:
            audiences = [decide_in_memory(plan.rule, image, together) for image in images]
        elif plan.joint is not None and together:
            rows = _render_rows(plan, images)
            audiences, unanswered = await check_jointly(
                self._lanes, plan.joint, rows, together, timeout_s=self._timeout_s
            )
            alone.extend(unanswered)
        else:
            audiences = [NOBODY] * len(images)
        return await self._add_separate(plan, table, role, images, audiences, together, alone)

    async def _add_separate(
        self,
        plan: _Plan,
        table: Table,
        role: str,
        images: Sequence[Image],
        audiences: list[Audience],
        together: list[Claims],
        alone: list[Claims],
    ) -> Verdict:
        if not alone:
            return Verdict(tuple(audiences))
        try:
            if plan.separate is None:
                plan.separate = await load_separate_check(self._lanes, table, role)
        except PostgresError as exc:
            message = exc.message
            seen: list[set[Claims]] = [set() for _ in images]
            failures = dict.fromkeys(alone, message)
        else:
            answers = await check_separately(
                self._lanes,
                plan.separate,
                role,
                _render_rows(plan, images),
                alone,
                timeout_s=self._timeout_s,
                budget_s=self._budget_s,
            )
            seen, failures = answers.seen, answers.failures
            self._note_raising(table, role, alone, failures)
        joined = (_join(one, them, together, alone) for one, them in zip(audiences, seen, strict=True))
        return Verdict(tuple(joined), tuple(failures.items()))

    def _note_raising(
        self, table: Table, role: str, asked: Sequence[Claims], failures: Mapping[Claims, str]
    ) -> None:
        """For whom the policies raise is asked alone from now on, until they do not: in the statement for all they
        would make it raise for all. What raises for everybody is a row."""
        raising = self._raising[table.oid, role]
        raising.difference_update(asked)
        if len(failures) < len(asked) or len(asked) == 1:
            raising.update(failures)

    async def _plan(self, table: Table, role: str) -> _Plan:
        plans = self._plans  # what is loaded while somebody calls forget() is not kept
        if (plan := plans.get((table, role))) is None:
            plan = plans[table, role] = await self._load_plan(table, role)
        return plan

    async def _load_plan(self, table: Table, role: str) -> _Plan:
        rules_query, routines_query = build_rules_queries(table.oid, role)
        _, access_result, rules_result, routines_result = await self._lanes.execute(
            [Query(PREPARE_LOADING), build_access_query(table, role), rules_query, routines_query]
        )
        rules = read_rules(rules_result.rows)
        own = next((rule for rule in rules.values() if rule.oid == table.oid), None)
        access = read_access(table, access_result.rows, _columns_read(own, table))
        names = [*(column.name for column in table.columns), *table.missing]
        # a column that the log's description does not have yet, or not any more: the next description will
        order = tuple(names.index(name) if name in names else len(names) for name in access.layout)
        plan = _Plan(access, order)
        if own is not None and not access.sees_all:
            _plan_way(plan, table, own, rules, read_claim_routines(routines_result.rows))
        return plan


def _plan_way(
    plan: _Plan, table: Table, own: TableRules, rules: Rules, claim_routines: frozenset[str]
) -> None:
    try:
        condition = rewrite_policies(own, rules, claim_routines)
    except NotRewritable:
        return
    plan.reads_subject = "uid" in condition.claims_read
    plan.rule = build_rule(condition.tree, table)
    plan.joint = build_joint_check(table, condition)


def _columns_read(own: TableRules | None, table: Table) -> frozenset[str]:
    if own is None:
        return frozenset()
    has_whole_row = any(policy.reads_whole_row for policy in own.policies)
    everything = (*table.positions, *table.missing) if has_whole_row else ()
    return own.columns_read.union(everything)


def _split_claims(
    plan: _Plan, claims: Sequence[Claims], raising: Set[Claims]
) -> tuple[list[Claims], list[Claims]]:
    """Those who can be decided together, and those for whom PostgreSQL has to be asked as them."""
    if plan.rule is None and plan.joint is None:
        return [], list(claims)
    if not plan.reads_subject and not raising:
        return list(claims), []
    together: list[Claims] = []
    alone: list[Claims] = []
    for one in claims:
        is_plain = not plan.reads_subject or _has_plain_subject(one)
        (together if is_plain and one not in raising else alone).append(one)
    return together, alone


def _has_plain_subject(claims: Claims) -> bool:
    """`auth.uid()` is `user_id` for sure. Python takes forms of a UUID that PostgreSQL refuses, and an empty `sub`
    makes `auth.uid()` raise."""
    subject = claims.values.get("sub")
    return subject is None or (isinstance(subject, str) and subject.lower() == claims.user_id)


def _render_rows(plan: _Plan, images: Sequence[Image]) -> list[str]:
    return [
        render_row(image[position] if position < len(image) else None for position in plan.order)
        for image in images
    ]


def _join(audience: Audience, seen: set[Claims], together: list[Claims], alone: list[Claims]) -> Audience:
    """With those who were asked alone, whose own answers count even where the audience would include them."""
    if any(audience.includes(one) for one in alone if one not in seen):
        return Audience(claims=frozenset(one for one in together if audience.includes(one)) | seen)
    return Audience(audience.everyone, audience.user_ids, audience.claims | seen)
