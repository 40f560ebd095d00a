"""From a plan to one statement. The only place that builds SQL from pieces: identifiers come from the schema
cache or are quoted, every value is a parameter, and requests of one shape give one text, so that
PostgreSQL plans it once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import orjson

from basalt.postgres import Column, Name, Parameter
from basalt.rest.errors import RestError
from basalt.rest.plan import (
    CallPlan,
    EmbedFilter,
    EmbedPlan,
    PlannedCondition,
    PlannedField,
    PlannedFilter,
    PlannedLogic,
    PlannedOrder,
    ReadPlan,
    WritePlan,
)
from basalt.rest.query import (
    ApiRequest,
    Compare,
    FieldRef,
    Filter,
    FullText,
    InList,
    Is,
    IsDistinct,
    RowRange,
)

OPERATORS = {
    "eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike",
    "match": "~", "imatch": "~*", "cs": "@>", "cd": "<@", "ov": "&&", "sl": "<<", "sr": ">>", "nxr": "&<",
    "nxl": "&>", "adj": "-|-",
}  # fmt: skip
FULL_TEXT = {
    "fts": "to_tsquery",
    "plfts": "plainto_tsquery",
    "phfts": "phraseto_tsquery",
    "wfts": "websearch_to_tsquery",
}
IS_VALUES = {"null": "null", "not_null": "not null", "true": "true", "false": "false", "unknown": "unknown"}
CASTABLE = frozenset('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ .[]()"')
SETTINGS = "nullif(current_setting('response.status', true), ''), nullif(current_setting('response.headers', true), '')"


def quote(name: str) -> str:
    """
    >>> quote('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""').replace("\0", "") + '"'


def qualified(name: Name) -> str:
    return f"{quote(name[0])}.{quote(name[1])}"


@dataclass(slots=True)
class Statement:
    """SQL text under construction with its parameters."""

    params: list[bytes | None] = field(default_factory=list)
    text: str = ""

    def bind(self, value: bytes | str | None) -> str:
        self.params.append(value.encode() if isinstance(value, str) else value)
        return f"${len(self.params)}"


# Levels of a read


def build_level(
    plan: ReadPlan, statement: Statement, *, source: str, alias: str | None = None, extra: Sequence[str] = ()
) -> str:
    """`select … from source …` of one level with its embeds joined; `extra` are conditions of its own
    join."""
    rows = quote(alias or plan.alias)
    shown = [_build_field(one, rows, statement) for one in plan.fields]
    joins = []
    for embed in plan.embeds:
        joins.append(_build_join(embed, rows, statement))
        if embed.is_shown:
            shown.append(_build_shown(embed))
    conditions = [*extra, *(build_condition(one, rows, statement) for one in plan.where)]
    parts = [
        f"select {', '.join(shown) or '1'}" if shown or not extra else "select 1",
        f"from {source}",
        *joins,
    ]
    if not plan.fields and not any(embed.is_shown for embed in plan.embeds):
        parts[0] = "select"
    if conditions:
        parts.append("where " + " and ".join(conditions))
    if plan.order:
        parts.append("order by " + ", ".join(_build_order(one, rows, statement) for one in plan.order))
    parts.extend(_build_range(plan.range, statement))
    return " ".join(parts)


def _build_field(one: PlannedField, rows: str, statement: Statement) -> str:
    if one.name is None or one.source is None:
        return f"{rows}.*"
    column = _build_reference(one.source, rows, statement, is_json=one.is_json)
    if one.cast is not None:
        return f"cast({column} as {_checked_cast(one.cast)}) as {quote(one.name)}"
    if one.source.name == one.name and not one.source.json_path:
        return column
    return f"{column} as {quote(one.name)}"


def _checked_cast(cast: str) -> str:
    """A type's name: letters, digits, brackets. Every word is quoted unless PostgreSQL's own spelling needs
    it bare."""
    if not set(cast) <= CASTABLE:
        raise RestError("PGRST100", problem=f'unexpected character in the cast "{cast}"')
    base, brackets = (
        (cast[: -2 * cast.count("[]")], "[]" * cast.count("[]")) if cast.endswith("[]") else (cast, "")
    )
    schema, _, name = base.rpartition(".")
    if schema:
        return f"{quote(schema)}.{quote(name)}{brackets}"
    return f"{base if all(char.isalnum() or char in '_ ()' for char in base) else quote(base)}{brackets}"


def _build_reference(source: FieldRef, rows: str, statement: Statement, *, is_json: bool) -> str:
    column = f"{rows}.{quote(source.name)}"
    if not source.json_path:
        return column
    start = column if is_json else f"to_jsonb({column})"
    steps = "".join(
        ("->>" if step.as_text else "->")
        + (
            f"{statement.bind(str(step.key))}::int"
            if isinstance(step.key, int)
            else f"{statement.bind(step.key)}::text"
        )
        for step in source.json_path
    )
    return f"({start}{steps})"


def _build_join(embed: EmbedPlan, parent: str, statement: Statement) -> str:
    relationship, read = embed.relationship, embed.read
    rows = quote(read.alias)
    source = f"{qualified(read.table)} as {rows}"
    if relationship.routine is not None:
        source = f"{qualified(relationship.routine)}({parent}) as {rows}"
        conditions = []
    elif relationship.junction is not None:
        junction = relationship.junction
        assert embed.junction_alias is not None
        between = quote(embed.junction_alias)
        source += f", {qualified(junction.table)} as {between}"
        conditions = [
            f"{between}.{quote(near)} = {parent}.{quote(key)}"
            for near, key in zip(junction.near_columns, relationship.columns, strict=True)
        ] + [
            f"{between}.{quote(far)} = {rows}.{quote(key)}"
            for far, key in zip(junction.far_columns, relationship.foreign_columns, strict=True)
        ]
    else:
        conditions = [
            f"{rows}.{quote(theirs)} = {parent}.{quote(ours)}"
            for ours, theirs in zip(relationship.columns, relationship.foreign_columns, strict=True)
        ]
    inner = build_level(read, statement, source=source, extra=conditions or ["true"])
    lateral = quote(embed.lateral)
    join = "inner" if embed.is_inner else "left"
    if relationship.is_to_one:
        return f"{join} join lateral ({inner}) as {lateral} on true"
    on = f"{lateral}.{lateral} is not null" if embed.is_inner else "true"
    rows_as_json = f"select json_agg({lateral}) as {lateral} from ({inner}) as {lateral}"
    return f"{join} join lateral ({rows_as_json}) as {lateral} on {on}"


def _build_shown(embed: EmbedPlan) -> str:
    lateral, label = quote(embed.lateral), quote(embed.label)
    if embed.is_spread:
        return f"{lateral}.*"
    if embed.relationship.is_to_one:
        return f"row_to_json({lateral}.*) as {label}"
    return f"coalesce({lateral}.{lateral}, '[]') as {label}"


# Conditions


def build_condition(one: PlannedCondition, rows: str, statement: Statement) -> str:
    match one:
        case EmbedFilter(embed, is_null):
            return f"{quote(embed)} is {'not ' if is_null else ''}distinct from null"
        case PlannedLogic(operator, children, negated):
            inner = f" {operator} ".join(build_condition(child, rows, statement) for child in children)
            return f"{'not ' if negated else ''}({inner})"
        case PlannedFilter():
            return _build_filter(one, rows, statement)


def _build_filter(planned: PlannedFilter, rows: str, statement: Statement) -> str:
    one: Filter = planned.filter
    column = _build_reference(one.field, rows, statement, is_json=planned.is_json)
    negation = "not " if one.negated else ""
    match one.operation:
        case Compare(operator, value, quantifier):
            if operator in ("like", "ilike"):
                value = value.replace("*", "%")
            bound = statement.bind(value)
            right = f"{quantifier}({bound})" if quantifier else bound
            return f"{negation}{column} {OPERATORS[operator]} {right}"
        case InList(values):
            return f"{negation}{column} = any({statement.bind(_array_literal(values))})"
        case Is(value):
            return f"{negation}{column} is {IS_VALUES[value]}"
        case IsDistinct(value):
            return f"{negation}{column} is distinct from {statement.bind(value)}"
        case FullText(operator, value, config):
            return negation + _build_full_text(planned, column, operator, value, config, statement)


def _build_full_text(
    planned: PlannedFilter, column: str, operator: str, value: str, config: str | None, statement: Statement
) -> str:
    arguments = f"{statement.bind(config)}::regconfig, " if config else ""
    document = column if planned.is_tsvector else f"to_tsvector({arguments}{column})"
    return f"{document} @@ {FULL_TEXT[operator]}({arguments}{statement.bind(value)})"


def _array_literal(values: Sequence[str]) -> str:
    """
    >>> _array_literal(["a", 'b"c'])
    '{"a","b\\\\"c"}'
    """
    return (
        "{" + ",".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values) + "}"
    )


def _build_order(one: PlannedOrder, rows: str, statement: Statement) -> str:
    source = quote(one.embed) if one.embed else rows
    text = _build_reference(one.term.field, source, statement, is_json=one.is_json)
    if one.term.direction:
        text += f" {one.term.direction}"
    return text + (f" nulls {one.term.nulls}" if one.term.nulls else "")


def _build_range(one: RowRange, statement: Statement) -> list[str]:
    parts = []
    if one.limit is not None:
        parts.append(f"limit {statement.bind(str(one.limit))}")
    if one.offset:
        parts.append(f"offset {statement.bind(str(one.offset))}")
    return parts


# Whole statements. Each gives one row: total count, page count, body, response.status, response.headers, and
# for
# writes what `Location` and the upsert's status need.


def build_read(plan: ReadPlan, request: ApiRequest, *, media: str) -> Statement:
    statement = Statement()
    level = build_level(plan, statement, source=qualified(plan.table))
    total = _build_total(plan, request, statement)
    text = (
        f"with source as ({level}){total.cte} select {total.column}, count(_page), "
        f"{_build_body(request, media)}, {SETTINGS} from (select * from source) as _page"
    )
    statement.text = text
    return statement


@dataclass(frozen=True, slots=True)
class _Total:
    cte: str
    column: str


def _build_total(plan: ReadPlan, request: ApiRequest, statement: Statement) -> _Total:
    if request.preferences.count is None:
        return _Total("", "null::bigint")
    rows = quote(plan.alias)
    inner = [embed for embed in plan.embeds if embed.is_inner or _is_filtered(plan.where, embed)]
    joins = " ".join(_build_join(embed, rows, statement) for embed in inner)
    conditions = " and ".join(build_condition(one, rows, statement) for one in plan.where)
    where = f" where {conditions}" if conditions else ""
    return _Total(
        f", total as (select 1 from {qualified(plan.table)} as {rows} {joins}{where})",
        "(select count(*) from total)",
    )


def _is_filtered(where: Sequence[PlannedCondition], embed: EmbedPlan) -> bool:
    return any(
        (isinstance(one, EmbedFilter) and one.embed == embed.lateral)
        or (isinstance(one, PlannedLogic) and _is_filtered(one.children, embed))
        for one in where
    )


# The line of names, empty when there are no rows, as in PostgREST.
CSV_NAMES = (
    "(select coalesce(string_agg(_name, ','), '') || E'\\n' from (select json_object_keys(row_to_json(_first)) "
    "as _name from (select * from source limit 1) as _first) as _names)"
)


def _build_body(request: ApiRequest, media: str) -> str:
    row = "json_strip_nulls(to_json(_page))" if request.nulls_stripped else "_page"
    if media == "text/csv":
        return f"{CSV_NAMES} || coalesce(string_agg(substring(_page::text, 2, length(_page::text) - 2), E'\\n'), '')"
    if request.singular:
        return f"coalesce((json_agg({row}) -> 0)::text, 'null')"
    return f"coalesce(json_agg({row}), '[]')::text"


def build_write(plan: WritePlan, request: ApiRequest, *, media: str) -> Statement:
    statement = Statement()
    change = _build_change(plan, request, statement)
    wants_rows = request.preferences.representation == "full"
    rows = quote(plan.read.alias)
    level = build_level(
        replace(plan.read, where=_own_conditions(plan)), statement, source=f"changed as {rows}"
    )
    body = _build_body(request, media) if wants_rows else "''"
    location = _build_location(plan) if request.preferences.representation == "headers-only" else "null"
    inserted = INSERTED if plan.resolution == "merge" else "null::bigint"
    guard = _build_guard(plan, request)
    text = (
        f"with changed as ({change}), source as ({level if wants_rows else 'select 1 from changed'}) "
        f"select null::bigint, count(_page), {body}, {SETTINGS}, {location}, {inserted}, {guard} "
        "from (select * from source) as _page"
    )
    statement.text = text
    return statement


def _own_conditions(plan: WritePlan) -> tuple[PlannedCondition, ...]:
    """The filters chose the rows to change; what was changed need not match them any more."""
    return tuple(one for one in plan.read.where if isinstance(one, EmbedFilter))


# How many rows an upsert inserted: up for each row offered, down for each that was there already. Counted in a
# setting of the transaction, because `xmax` is unknown to partitioned tables and to views.
INSERTED = "nullif(current_setting('basalt.inserted', true), '')::int"
COUNT_UP = f"set_config('basalt.inserted', (coalesce({INSERTED}, 0) + 1)::text, true) is not null"
COUNT_DOWN = f"set_config('basalt.inserted', (coalesce({INSERTED}, 0) - 1)::text, true) is not null"


def _build_guard(plan: WritePlan, request: ApiRequest) -> str:
    """A write that must concern one row (or at most so many) and does not is undone: the cast fails and with it the
    whole transaction, in the same flush. `run` knows the error by its text."""
    count = "(select count(*) from changed)"
    if plan.action == "upsert_one":
        return f"case when {count} <> 1 then cast('{PUT_MARK}' || {count} as int) end"
    return _build_row_guard(request, count)


def _build_row_guard(request: ApiRequest, count: str) -> str:
    if request.singular:
        return f"case when {count} <> 1 then cast('{SINGULAR_MARK}' || {count} as int) end"
    most = request.preferences.max_affected
    if most is not None and request.preferences.handling == "strict":
        return f"case when {count} > {int(most)} then cast('{AFFECTED_MARK}' || {count} as int) end"
    return "null"


PUT_MARK = "basalt row not the one of the URL: "
SINGULAR_MARK = "basalt rows not one: "
AFFECTED_MARK = "basalt too many rows: "


def _build_location(plan: WritePlan) -> str:
    if not plan.table.primary_key or plan.action != "insert":
        return "null"
    pairs = ", ".join(f"'{_literal(name)}', {quote(name)}::text" for name in plan.table.primary_key)
    return f"(select case when count(*) = 1 then (array_agg(json_build_object({pairs})))[1]::text end from changed)"


def _literal(name: str) -> str:
    return name.replace("'", "''")


def _build_change(plan: WritePlan, request: ApiRequest, statement: Statement) -> str:
    table = qualified(plan.table.name)
    rows = quote(plan.table.name[1])
    returned = _build_returned(plan, request, rows)
    returning = f"returning {returned}"
    if plan.action == "delete":
        where = _build_where(plan, rows, statement)
        return f"delete from {table}{where} {returning}"
    if plan.action == "update":
        return _build_update(plan, request, table, rows, returned, statement)
    return _build_insert(plan, request, table, rows, returned, statement)


def _build_returned(plan: WritePlan, request: ApiRequest, rows: str) -> str:
    """The columns that the answer needs and no more: whoever may insert but not read must be able to insert, and row
    security asks for the right to read as soon as one column is returned."""
    if request.preferences.representation == "full":
        names = _needed_columns(plan.read)
        if names is None:
            return f"{rows}.*"
    else:
        wants_keys = request.preferences.representation == "headers-only" and plan.action == "insert"
        names = plan.table.primary_key if wants_keys else ()
    return ", ".join(f"{rows}.{quote(name)}" for name in names) or "1 as _one"


def _needed_columns(read: ReadPlan) -> Sequence[str] | None:
    """None is all of them."""
    names: list[str] = []
    for one in read.fields:
        if one.source is None:
            return None
        names.append(one.source.name)
    names.extend(order.term.field.name for order in read.order if order.embed is None)
    for embed in read.embeds:
        if embed.relationship.routine is not None:
            return None
        names.extend(embed.relationship.columns)
    return tuple(dict.fromkeys(names))


def _build_where(plan: WritePlan, rows: str, statement: Statement) -> str:
    conditions = [
        build_condition(one, rows, statement) for one in plan.read.where if not isinstance(one, EmbedFilter)
    ]
    return f" where {' and '.join(conditions)}" if conditions else ""


def _build_update(
    plan: WritePlan, request: ApiRequest, table: str, rows: str, returned: str, statement: Statement
) -> str:
    if not plan.columns:
        return f"select {returned} from {table} where false"
    body = _build_payload(plan.columns, request, statement, single=True)
    assignments = ", ".join(f"{quote(column.name)} = _body.{quote(column.name)}" for column in plan.columns)
    where = _build_where(plan, rows, statement)
    return f"update {table} set {assignments} from {body}{where} returning {returned}"


def _build_insert(
    plan: WritePlan, request: ApiRequest, table: str, rows: str, returned: str, statement: Statement
) -> str:
    conflict = _build_conflict(plan)
    returning = f"returning {returned}"
    if not plan.columns:
        if request.payload_is_array and request.payload == b"[]":
            return f"select {returned} from {table} as {rows} where false"
        return f"insert into {table} as {rows} default values {conflict} {returning}"
    names = ", ".join(quote(column.name) for column in plan.columns)
    values = ", ".join(f"_body.{quote(column.name)}" for column in plan.columns)
    body = _build_payload(plan.columns, request, statement, single=False)
    conditions = []
    if plan.action == "upsert_one":
        conditions = [build_condition(one, "_body", statement) for one in plan.read.where]
    if plan.resolution == "merge":
        conditions.append(COUNT_UP)
    where = f" where {' and '.join(conditions)}" if conditions else ""
    return (
        f"insert into {table} as {rows} ({names}) select {values} from {body}{where} {conflict} {returning}"
    )


def _build_conflict(plan: WritePlan) -> str:
    if plan.resolution is None:
        return ""
    target = ", ".join(map(quote, plan.conflict))
    updates = ", ".join(f"{quote(column.name)} = excluded.{quote(column.name)}" for column in plan.columns)
    if plan.resolution == "ignore" or not updates:
        return f"on conflict ({target}) do nothing"
    return f"on conflict ({target}) do update set {updates} where {COUNT_DOWN}"


def _build_payload(
    columns: Sequence[Column], request: ApiRequest, statement: Statement, *, single: bool
) -> str:
    """The body as rows, read by PostgreSQL: one parameter whatever its size."""
    bound = statement.bind(request.payload or b"null")
    definition = ", ".join(f"{quote(column.name)} {column.type}" for column in columns)
    reader = "json_to_recordset" if request.payload_is_array else "json_to_record"
    limit = " limit 1" if single else ""
    return f"(select * from {reader}({bound}::json) as _rows({definition}){limit}) as _body"


def build_call(plan: CallPlan, request: ApiRequest, *, media: str) -> Statement:
    statement = Statement()
    routine = plan.routine
    arguments = _build_arguments(plan, request, statement)
    call = f"{qualified(routine.name)}({arguments})"
    rows = quote(plan.read.alias)
    guard = _build_row_guard(request, "count(_page)")
    if routine.is_void:
        statement.text = (
            f"with source as (select {call}) select null::bigint, count(_page), '', {SETTINGS} "
            "from (select * from source) as _page"
        )
        return statement
    if not routine.is_row:
        column = f"{rows}._value"
        source = f"{call} as {rows}(_value)"
        value = "json_agg(_page._value)" if routine.returns_set else "(json_agg(_page._value) -> 0)"
        empty = "'[]'" if routine.returns_set else "'null'"
        level = f"select {column} from {source} " + " ".join(_build_range(plan.read.range, statement))
        text = (
            f"with source as ({level}) select null::bigint, count(_page), coalesce({value}::text, {empty}), "
            f"{SETTINGS}, {guard} from (select * from source) as _page"
        )
        statement.text = text
        return statement
    level = build_level(plan.read, statement, source=f"called as {rows}")
    total = "(select count(*) from called)" if request.preferences.count else "null::bigint"
    body = _build_body(request, media)
    if not routine.returns_set and not request.singular and media != "text/csv":
        row = "json_strip_nulls(to_json(_page))" if request.nulls_stripped else "_page"
        body = f"coalesce((json_agg({row}) -> 0)::text, 'null')"
    text = (
        f"with called as (select * from {call}), source as ({level}) select {total}, count(_page), {body}, {SETTINGS}, "
        f"{guard} from (select * from source) as _page"
    )
    statement.text = text
    return statement


def _build_arguments(plan: CallPlan, request: ApiRequest, statement: Statement) -> str:
    if plan.takes_body:
        body = request.payload or b""
        if request.payload_type == "binary":  # parameters travel as text, which ends at the first NUL
            body = b"\\x" + body.hex().encode()
        return f"{statement.bind(body)}::{plan.routine.parameters[0].type}"
    if request.payload is None or request.payload_type == "form":
        return ", ".join(_build_argument(parameter, value, statement) for parameter, value in plan.arguments)
    if not plan.arguments:
        return ""
    bound = statement.bind(request.payload)
    definition = ", ".join(f"{quote(parameter.name)} {parameter.type}" for parameter, _ in plan.arguments)
    picked = f"json_to_record({bound}::json) as _body({definition})"
    return ", ".join(
        f"{'variadic ' if parameter.variadic else ''}{quote(parameter.name)} => "
        f"(select _body.{quote(parameter.name)} from {picked})"
        for parameter, _ in plan.arguments
    )


def _build_argument(parameter: Parameter, value: object, statement: Statement) -> str:
    if parameter.variadic:
        values = value if isinstance(value, list) else [value]
        return f"variadic {quote(parameter.name)} => {statement.bind(_array_literal([str(one) for one in values]))}"
    return f"{quote(parameter.name)} => {statement.bind(str(value))}"


def read_location(raw: bytes | None) -> tuple[tuple[str, str], ...]:
    return tuple(orjson.loads(raw).items()) if raw else ()
