"""Inserts, upserts, updates and deletes, with the answer read from the changed rows in the same statement."""

from basalt.rest.plan import Answer, WritePlan
from basalt.rest.plan.write import ALL_COLUMNS, PayloadColumn
from basalt.rest.query import ApiRequest
from basalt.rest.sql.answer import NO_TOTAL, PAGE, RESULT, SETTINGS, build_body
from basalt.rest.sql.fields import build_condition, build_conditions
from basalt.rest.sql.read import build_level
from basalt.rest.sql.text import Statement, literal, qualified, quote

# How many rows an upsert inserted: up for each row offered, down for each that was there already. Counted in a setting
# of the transaction, because `xmax` is unknown to partitioned tables and to views.
INSERTED = "nullif(current_setting('basalt.inserted', true), '')::int"
COUNT_UP = f"set_config('basalt.inserted', (coalesce({INSERTED}, 0) + 1)::text, true) is not null"
COUNT_DOWN = f"set_config('basalt.inserted', (coalesce({INSERTED}, 0) - 1)::text, true) is not null"

FORGET_INSERTED = "select set_config('basalt.inserted', '', true)"  # where several writes share a transaction

PUT_MARK = "basalt row not the one of the URL: "
SINGULAR_MARK = "basalt rows not one: "
AFFECTED_MARK = "basalt too many rows: "
COUNT = f"(select count(*) from {RESULT})"


def build_write(plan: WritePlan, request: ApiRequest, answer: Answer) -> Statement:
    statement = Statement()
    change = _build_change(plan, request, statement)
    rows = f"select * from {RESULT}" if answer.form == "nothing" else build_level(plan.read, statement)
    wants_location = request.preferences.representation == "headers-only" and plan.action == "insert"
    location = _build_location(plan) if wants_location else "null"
    inserted = INSERTED if plan.resolution == "merge" else NO_TOTAL
    statement.text = (
        f"with {RESULT} as ({change}) select {NO_TOTAL}, count({PAGE}), {location}, {build_body(answer)}, {SETTINGS}, "
        f"{inserted}, {_build_guard(plan, request, answer)} from ({rows}) as {PAGE}"
    )
    return statement


def _build_guard(plan: WritePlan, request: ApiRequest, answer: Answer) -> str:
    """A write that must concern one row (or at most so many) and does not is undone: the cast fails and with it the
    whole transaction, in the same flush. `run` knows the error by its text."""
    if plan.action == "upsert_one":
        return f"case when {COUNT} <> 1 then cast('{PUT_MARK}' || {COUNT} as int) end"
    return build_row_guard(request, answer, COUNT)


def build_row_guard(request: ApiRequest, answer: Answer, count: str) -> str:
    if answer.is_singular:
        return f"case when {count} <> 1 then cast('{SINGULAR_MARK}' || {count} as int) end"
    most = request.preferences.max_affected
    counts = request.action in ("update", "delete", "call")
    if counts and most is not None and request.preferences.handling == "strict":
        return f"case when {count} > {int(most)} then cast('{AFFECTED_MARK}' || {count} as int) end"
    return "null"


def _build_location(plan: WritePlan) -> str:
    """The primary key of a single inserted row as a JSON object."""
    if not plan.table.primary_key:
        return "null"
    keys = (name for name in plan.table.columns if name in plan.table.primary_key)
    pairs = ", ".join(f"{literal(name)}, {quote(name)}::text" for name in keys)
    return f"(select case when count(*) = 1 then (array_agg(json_build_object({pairs})))[1]::text end from {RESULT})"


def _build_change(plan: WritePlan, request: ApiRequest, statement: Statement) -> str:
    match plan.action:
        case "delete":
            conditions = build_conditions(plan.where, quote(plan.table.name[1]), statement)
            where = f" where {' and '.join(conditions)}" if conditions else ""
            return f"delete from {qualified(plan.table.name)}{where} returning {_build_returned(plan)}"
        case "update":
            return _build_update(plan, request, statement)
        case _:
            return _build_insert(plan, request, statement)


def _build_returned(plan: WritePlan) -> str:
    """Without columns a constant, so that the rows can be counted."""
    rows = quote(plan.table.name[1])
    if plan.returning == ALL_COLUMNS:
        return f"{rows}.*"
    return ", ".join(f"{rows}.{quote(name)}" for name in plan.returning) or "1"


def _build_update(plan: WritePlan, request: ApiRequest, statement: Statement) -> str:
    table = qualified(plan.table.name)
    rows = quote(plan.table.name[1])
    returned = _build_returned(plan)
    changed = [one for one in plan.columns if one.name not in plan.keys]
    if not changed:
        return f"select {returned} from {table} where false"  # there is no `update … set` of nothing
    body = build_payload(
        plan.columns,
        statement,
        is_array=request.payload_is_array,
        first=not plan.keys,
        applies_defaults=plan.applies_defaults,
    )
    assignments = ", ".join(f"{quote(one.name)} = pgrst_body.{quote(one.name)}" for one in changed)
    conditions = [f"{rows}.{quote(name)} = pgrst_body.{quote(name)}" for name in plan.keys]
    conditions += build_conditions(plan.where, rows, statement)
    where = f" where {' and '.join(conditions)}" if conditions else ""
    return f"update {table} set {assignments} from {body}{where} returning {returned}"


def _build_insert(plan: WritePlan, request: ApiRequest, statement: Statement) -> str:
    table, rows = qualified(plan.table.name), quote(plan.table.name[1])
    names = ", ".join(quote(one.name) for one in plan.columns)
    values = ", ".join(f"pgrst_body.{quote(one.name)}" for one in plan.columns)
    body = build_payload(
        plan.columns,
        statement,
        is_array=request.payload_is_array,
        first=False,
        applies_defaults=plan.applies_defaults,
    )
    conditions = []
    if plan.resolution == "merge":
        conditions.append(COUNT_UP)
    conditions += [build_condition(one, "pgrst_body", statement) for one in plan.where]
    where = f" where {' and '.join(conditions)}" if conditions else ""
    columns = f" ({names})" if names else ""
    return (
        f"insert into {table} as {rows}{columns} select {values} from {body}{where}{_build_conflict(plan)} "
        f"returning {_build_returned(plan)}"
    )


def _build_conflict(plan: WritePlan) -> str:
    if plan.resolution is None or not plan.conflict:
        return ""
    target = ", ".join(map(quote, plan.conflict))
    updates = ", ".join(f"{quote(one.name)} = excluded.{quote(one.name)}" for one in plan.columns)
    if plan.resolution == "ignore" or not updates:
        return f" on conflict ({target}) do nothing"
    return f" on conflict ({target}) do update set {updates} where {COUNT_DOWN}"


def build_payload(
    columns: tuple[PayloadColumn, ...],
    statement: Statement,
    *,
    is_array: bool,
    first: bool,
    applies_defaults: bool = False,
) -> str:
    """The body as rows called `pgrst_body`, read by PostgreSQL: one parameter whatever its size. `first`: of an array
    the first element alone. `applies_defaults` puts the columns' defaults where a key is missing."""
    kind = "jsonb" if applies_defaults else "json"
    source = f"{statement.bind_payload()}::{kind}"
    if not columns:
        elements = f"{kind}_array_elements({source}) as pgrst_body"
        return elements if is_array else f"(select {source}) as pgrst_body"
    reader = f"{kind}_to_recordset" if is_array else f"{kind}_to_record"
    defaults = ""
    if applies_defaults:
        defaults = _build_defaults(columns, source, is_array=is_array) + ", lateral "
        source = "pgrst_defaults.val"
    return defaults + _build_rows(
        columns, f"{reader}({source})", first=first and is_array, is_lateral=bool(defaults)
    )


def _build_rows(columns: tuple[PayloadColumn, ...], rows: str, *, first: bool, is_lateral: bool) -> str:
    definition = ", ".join(f"{quote(one.name)} {one.type}" for one in columns)
    limit = " limit 1" if first else ""
    if any(one.transform for one in columns):
        shown = ", ".join(
            f"{one.transform}({quote(one.name)}) as {quote(one.name)}" if one.transform else quote(one.name)
            for one in columns
        )
        return f"(select {shown} from {rows} as _({definition}){limit}) as pgrst_body"
    if limit or is_lateral:
        return f"(select * from {rows} as _({definition}){limit}) as pgrst_body"
    return f"{rows} as pgrst_body({definition})"


def _build_defaults(columns: tuple[PayloadColumn, ...], source: str, *, is_array: bool) -> str:
    pairs = ", ".join(f"{literal(one.name)}, {one.default}" for one in columns if one.default is not None)
    defaults = f"jsonb_build_object({pairs})"
    if not is_array:
        return f"(select {defaults} || {source} as val) as pgrst_defaults"
    elements = f"jsonb_array_elements({source}) as elem"
    return f"(select jsonb_agg({defaults} || elem) as val from {elements}) as pgrst_defaults"
