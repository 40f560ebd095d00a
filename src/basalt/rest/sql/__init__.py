"""From a plan to one statement. The only place that builds SQL from pieces: identifiers come from the schema cache or
are quoted, every value is a parameter, and requests of one shape give one text, so that PostgreSQL plans it once.

The names of common tables and aliases are PostgREST's: they are visible in PostgreSQL's errors and in plans.
"""

from basalt.postgres import Name
from basalt.rest.plan import Answer, CallPlan, Plan, ReadPlan, WritePlan
from basalt.rest.query import ApiRequest
from basalt.rest.sql.call import build_call
from basalt.rest.sql.read import build_count_plan, build_read
from basalt.rest.sql.text import Statement, qualified
from basalt.rest.sql.write import build_write

__all__ = ["Statement", "build_count_plan", "build_pre_request", "build_statement"]


def build_statement(plan: Plan, request: ApiRequest, answer: Answer, *, max_rows: int | None) -> Statement:
    """One row: total count, rows of the page, body, `response.status`, `response.headers`; for writes also the keys for
    `Location`, the rows that an upsert inserted, and a guard that undoes what may not be."""
    match plan:
        case ReadPlan():
            statement = build_read(plan, request, answer, max_rows=max_rows)
        case WritePlan():
            statement = build_write(plan, request, answer)
        case CallPlan():
            statement = build_call(plan, request, answer, max_rows=max_rows)
    if answer.plan is not None:
        options = [f"format {answer.plan.format}", *answer.plan.options]
        statement.text = f"explain ({', '.join(options)}) {statement.text}"
    return statement


def build_pre_request(routine: Name) -> str:
    return f"select {qualified(routine)}()"
