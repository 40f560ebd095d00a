"""Routine calls: arguments from the query string, a form, or the body, and the routine's rows as any level's."""

from basalt.postgres import Parameter
from basalt.rest.literals import Values
from basalt.rest.plan import Answer, CallPlan
from basalt.rest.plan.write import ALL_COLUMNS, PayloadColumn
from basalt.rest.query import ApiRequest
from basalt.rest.sql.answer import PAGE, RESULT, SETTINGS, build_body
from basalt.rest.sql.read import build_level, build_total
from basalt.rest.sql.text import Statement, array_literal, qualified, quote
from basalt.rest.sql.write import build_payload, build_row_guard


def build_call(plan: CallPlan, request: ApiRequest, answer: Answer, *, max_rows: int | None) -> Statement:
    statement = Statement()
    call = _build_call(plan, request, statement)
    level = build_level(plan.read, statement, max_rows=max_rows)
    page_count = f"count({PAGE})" if plan.routine.returns_set else "1"
    total_source, total = build_total(plan.read, request, statement, page_count, max_rows=max_rows)
    guard = build_row_guard(request, answer, page_count)
    statement.text = (
        f"with {RESULT} as ({call}){total_source} select {total}, {page_count}, {build_body(answer, plan.routine)}, "
        f"{SETTINGS}, {guard} from ({level}) as {PAGE}"
    )
    return statement


def _build_call(plan: CallPlan, request: ApiRequest, statement: Statement) -> str:
    routine = plan.routine
    body = ""
    if plan.source == "json" and plan.arguments:
        columns = tuple(PayloadColumn(one.name, one.cast_type, None, None) for one in plan.arguments)
        body = build_payload(columns, statement, is_array=request.payload_is_array, first=True) + ", lateral "
    call = f"{qualified(routine.name)}({_build_arguments(plan, request, statement)})"
    if routine.kind == "composite":
        return f"select {_build_columns(plan)} from {body}{call} as pgrst_call"
    return f"select pgrst_call.pgrst_scalar from {body}(select {call} as pgrst_scalar) as pgrst_call"


def _build_columns(plan: CallPlan) -> str:
    if not plan.columns:
        return "*"
    if plan.columns == ALL_COLUMNS:
        return "pgrst_call.*"
    return ", ".join(f"pgrst_call.{quote(name)}" for name in plan.columns)


def _build_arguments(plan: CallPlan, request: ApiRequest, statement: Statement) -> str:
    match plan.source:
        case "body":
            return _build_body(plan.arguments[0], request, statement)
        case "json":
            return ", ".join(
                f"{_variadic(one)}{quote(one.name)} := pgrst_body.{quote(one.name)}" for one in plan.arguments
            )
        case _:
            return ", ".join(
                f"{_variadic(one)}{quote(one.name)} := {_bind_argument(one, slots, statement)}::{one.cast_type}"
                for one, slots in zip(plan.arguments, plan.argument_slots, strict=True)
            )


def _variadic(parameter: Parameter) -> str:
    return "variadic " if parameter.variadic else ""


def _build_body(parameter: Parameter, request: ApiRequest, statement: Statement) -> str:
    if request.payload is None:  # a GET has no arguments to put in, and no body
        return f"{statement.bind(b'{}')}::{parameter.type}"
    if parameter.type == "bytea":  # parameters travel as text, which ends at the first NUL
        return f"{statement.bind(_hexadecimal)}::bytea"
    return f"{statement.bind_payload()}::{parameter.type}"


def _hexadecimal(values: Values) -> bytes | None:
    return None if values.payload is None else b"\\x" + values.payload.hex().encode()


def _bind_argument(parameter: Parameter, slots: tuple[int, ...], statement: Statement) -> str:
    if parameter.variadic:
        return statement.bind(
            lambda values: array_literal([str(values.literals[slot]) for slot in slots]).encode()
        )
    return statement.bind_text(slots[0], "")
