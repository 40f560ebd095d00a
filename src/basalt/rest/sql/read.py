"""Levels of a read with their embeds as lateral joins, and the statement around the root.

PostgREST's `QueryBuilder.hs` is the model; where it builds `jsonb` for every embed, this does only where rows are
grouped by it (`json` has no equality): `jsonb` costs a parse of what was just written.
"""

from collections.abc import Sequence

from basalt.postgres import Relationship
from basalt.rest.literals import Values
from basalt.rest.plan import Answer
from basalt.rest.plan.read import (
    EmbedFilter,
    EmbedPlan,
    PlannedCondition,
    PlannedLogic,
    ReadPlan,
    SpreadField,
)
from basalt.rest.query import ALL_ROWS, ApiRequest, RowRange
from basalt.rest.sql.answer import NO_TOTAL, PAGE, RESULT, SETTINGS, build_body
from basalt.rest.sql.fields import (
    build_cast,
    build_conditions,
    build_field,
    build_filter,
    build_named,
    build_order,
    build_select,
    build_value,
)
from basalt.rest.sql.text import Param, Statement, qualified, quote


def build_read(plan: ReadPlan, request: ApiRequest, answer: Answer, *, max_rows: int | None) -> Statement:
    statement = Statement()
    level = build_level(plan, statement, max_rows=max_rows)
    total_source, total = build_total(plan, request, statement, f"count({PAGE})", max_rows=max_rows)
    statement.text = (
        f"with {RESULT} as ({level}){total_source} select {total}, count({PAGE}), {build_body(answer)}, {SETTINGS} "
        f"from (select * from {RESULT}) as {PAGE}"
    )
    return statement


def build_total(
    plan: ReadPlan, request: ApiRequest, statement: Statement, page_count: str, *, max_rows: int | None
) -> tuple[str, str]:
    """A common table and the expression that counts it. An estimate counts no further than it must to know that the
    planner's guess is the better answer."""
    if request.preferences.count not in ("exact", "estimated"):
        return "", NO_TOTAL
    if max_rows is None and request.top_range == ALL_ROWS:
        return "", page_count
    query = build_count(plan, statement)
    if request.preferences.count == "estimated" and max_rows is not None:
        query += f" limit {max_rows + 1}"
    return f", pgrst_source_count as ({query})", "(select count(*) from pgrst_source_count)"


def build_count_plan(plan: ReadPlan) -> Statement:
    """How many rows the planner expects without a limit: `Prefer: count=planned`."""
    statement = Statement()
    statement.text = f"explain (format json) {build_count(plan, statement)}"
    return statement


# Levels


def build_level(
    plan: ReadPlan,
    statement: Statement,
    *,
    embed: EmbedPlan | None = None,
    parent: str = "",
    is_grouped_above: bool = False,
    max_rows: int | None = None,
) -> str:
    """`select … from …` of one level; `embed` is what joins it to the rows called `parent`. At the root the limit and
    offset come from each request, with at most `max_rows`. What is spread into a level that groups
    (`is_grouped_above`) must be comparable too."""
    rows = quote(plan.alias)
    values = [build_value(one, rows, statement) for one in plan.select]
    shown = [build_named(value, one.alias) for value, one in zip(values, plan.select, strict=True)]
    if not shown and not plan.embeds:
        shown = [f"{rows}.*"]  # nothing is shown of it; the row must be there all the same
    for source, key in plan.sort_keys:
        shown.append(build_select(key, quote(source) if source else rows, statement))
    is_grouped = plan.is_grouped or is_grouped_above
    for below in plan.embeds:
        shown.extend(_build_shown(below, is_grouped=is_grouped))
    source, joined = _build_source(embed.relationship, plan, parent) if embed else (_root_source(plan), [])
    parts = [f"select {', '.join(shown)} from {source}"]
    parts.extend(_build_join(below, rows, statement, is_grouped=is_grouped) for below in plan.embeds)
    if conditions := joined + build_conditions(plan.where, rows, statement):
        parts.append("where " + " and ".join(conditions))
    text = (
        " ".join(parts)
        + _build_groups(plan, values, rows, statement)
        + build_order(plan.order, rows, statement)
    )
    text += _build_range(plan.range, statement) if embed else _build_window(plan.range, statement, max_rows)
    return statement.select(text)


def _root_source(plan: ReadPlan) -> str:
    return f"{RESULT if plan.from_result else qualified(plan.table)} as {quote(plan.alias)}"


def _build_source(relationship: Relationship, plan: ReadPlan, parent: str) -> tuple[str, list[str]]:
    """Where an embed's rows come from, and what joins them to the parent's."""
    rows = quote(plan.alias)
    if relationship.routine is not None:
        # cast: the rows of a write or a call have no type of their own, and the routine may be overloaded
        return f"{qualified(relationship.routine)}({parent}::{qualified(relationship.table)}) as {rows}", []
    source = f"{qualified(plan.table)} as {rows}"
    if relationship.junction is None:
        pairs = zip(relationship.columns, relationship.foreign_columns, strict=True)
        return source, [f"{rows}.{quote(theirs)} = {parent}.{quote(ours)}" for ours, theirs in pairs]
    junction = relationship.junction
    between = quote(f"{junction.table[1]}_{plan.alias}")
    far = zip(junction.far_columns, relationship.foreign_columns, strict=True)
    near = zip(junction.near_columns, relationship.columns, strict=True)
    return f"{source}, {qualified(junction.table)} as {between}", [
        *(f"{between}.{quote(column)} = {rows}.{quote(key)}" for column, key in far),
        *(f"{between}.{quote(column)} = {parent}.{quote(key)}" for column, key in near),
    ]


def _build_shown(embed: EmbedPlan, *, is_grouped: bool) -> list[str]:
    match embed.mode:
        case "spread_one" | "spread_many":
            lateral = quote(embed.lateral)
            return [_build_spread_field(one, lateral) for one in embed.fields]
        case _ if embed.is_empty:
            return []
        case _:
            return [build_named(_build_embedded(embed, is_grouped=is_grouped), embed.label)]


def _build_embedded(embed: EmbedPlan, *, is_grouped: bool) -> str:
    lateral, comparable = quote(embed.lateral), "::jsonb" if is_grouped else ""
    if embed.mode == "object":
        return f"row_to_json({lateral}.*){comparable}"
    return f"coalesce({lateral}.{lateral}, '[]'){comparable}"


def _build_spread_field(one: SpreadField, lateral: str) -> str:
    text = f"{lateral}.*" if one.name == "*" else f"{lateral}.{quote(one.name)}"
    if one.aggregate is not None:
        text = build_cast(one.aggregate_cast, f"{one.aggregate}({text})")
    return build_named(text, one.alias)


def _build_join(embed: EmbedPlan, parent: str, statement: Statement, *, is_grouped: bool) -> str:
    lateral = quote(embed.lateral)
    level = build_level(
        embed.read,
        statement,
        embed=embed,
        parent=parent,
        is_grouped_above=is_grouped and embed.mode == "spread_one",
    )
    join = "inner" if embed.is_inner else "left"
    if embed.mode in ("object", "spread_one"):
        return f"{join} join lateral ({level}) as {lateral} on true"
    shown = [f"json_agg({lateral}) as {lateral}"]
    if embed.mode == "spread_many":
        order = build_order(embed.order, lateral, statement)
        for one in embed.fields:
            values = statement.piece(f"coalesce(json_agg({lateral}.{quote(one.name)}{order}), '[]')::jsonb")
            shown.append(f"{values} as {quote(one.alias or one.name)}")
    on = f"{lateral} is not null" if embed.is_inner else "true"
    return f"{join} join lateral (select {', '.join(shown)} from ({level}) as {lateral}) as {lateral} on {on}"


def _build_groups(plan: ReadPlan, values: Sequence[str], rows: str, statement: Statement) -> str:
    """Everything that is no aggregate is grouped by: by what it is, not by its alias, because `group by` takes that for
    a column of the same name if there is one."""
    if not plan.is_grouped:
        return ""
    terms = [
        value if one.alias is not None else build_field(one.field, rows, statement)
        for value, one in zip(values, plan.select, strict=True)
        if one.aggregate is None
    ]
    for embed in plan.embeds:
        if embed.mode in ("object", "array"):
            terms.extend([] if embed.is_empty else [_build_embedded(embed, is_grouped=True)])
        else:
            lateral = quote(embed.lateral)
            terms.extend(
                f"{lateral}.{quote(one.alias or one.name)}" for one in embed.fields if one.aggregate is None
            )
    return f" group by {', '.join(terms)}" if terms else ""


def _build_range(one: RowRange, statement: Statement) -> str:
    """An embed's limit and offset, which belong to the shape."""
    return _bind_window(one, statement, str(one.limit).encode(), str(one.offset).encode())


def _build_window(one: RowRange, statement: Statement, max_rows: int | None) -> str:
    """The root's limit and offset, which may be others in the next request of this shape."""

    def limit(values: Values) -> bytes:
        asked = [most for most in (values.limit, max_rows) if most is not None]
        return b"%d" % min(asked)

    return _bind_window(one, statement, limit, lambda values: b"%d" % values.offset)


def _bind_window(one: RowRange, statement: Statement, limit: Param, offset: Param) -> str:
    parts = []
    if one.limit is not None:
        parts.append(f" limit {statement.bind(limit)}")
    if one.offset:
        parts.append(f" offset {statement.bind(offset)}")
    return "".join(parts)


# Counting


def build_count(
    plan: ReadPlan, statement: Statement, *, embed: EmbedPlan | None = None, parent: str = ""
) -> str:
    """The rows of a level without its window, cheaply: inner joins and filters on embeds only ask whether there is a
    row."""
    rows = quote(plan.alias)
    source, conditions = (
        _build_source(embed.relationship, plan, parent) if embed else (_root_source(plan), [])
    )
    conditions += [_build_count_condition(one, plan, rows, statement) for one in plan.where]
    conditions += [_build_exists(below, rows, statement) for below in plan.embeds if below.is_inner]
    where = f" where {' and '.join(conditions)}" if conditions else ""
    return statement.select(f"select 1 from {source}{where}")


def _build_exists(embed: EmbedPlan, parent: str, statement: Statement) -> str:
    return f"exists ({build_count(embed.read, statement, embed=embed, parent=parent)})"


def _build_count_condition(one: PlannedCondition, plan: ReadPlan, rows: str, statement: Statement) -> str:
    match one:
        case EmbedFilter(lateral, is_null):
            embed = next(below for below in plan.embeds if below.lateral == lateral)
            return f"{'not ' if is_null else ''}{_build_exists(embed, rows, statement)}"
        case PlannedLogic(operator, children, negated):
            inner = f" {operator} ".join(
                _build_count_condition(child, plan, rows, statement) for child in children
            )
            return f"{'not ' if negated else ''}({inner})"
        case _:
            return build_filter(one, rows, statement)
