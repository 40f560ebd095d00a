"""From the parsed request and the schema cache to a plan: every name resolved, every embed joined. Pure.

Third step of a REST request. The rules are PostgREST's `Plan.hs`; errors name what was asked and what would do.
`read` plans the levels of an answer, `relationships` finds what an embed means, `write` and `call` plan changes
and routine calls on top, `negotiate` chooses the media type.
"""

from basalt.config import RestSettings
from basalt.postgres import SchemaCache
from basalt.rest.errors import RestError
from basalt.rest.plan.call import CallPlan, plan_call
from basalt.rest.plan.negotiate import Answer, negotiate
from basalt.rest.plan.read import ReadPlan, find_table, plan_read
from basalt.rest.plan.write import WritePlan, plan_write
from basalt.rest.query import ApiRequest, RoutineTarget, RowsTarget, TableTarget

__all__ = ["Answer", "CallPlan", "Plan", "ReadPlan", "WritePlan", "plan_request"]

Plan = ReadPlan | WritePlan | CallPlan


def plan_request(request: ApiRequest, cache: SchemaCache, settings: RestSettings) -> tuple[Plan, Answer]:
    """What to run, and as what to answer. Raises RestError PGRST102, 105, 107, 108, 118, 122, 123, 127, 128 and
    200 to 205."""
    plan: Plan
    match request.target:
        case TableTarget(name) | RowsTarget(name):
            table = find_table(cache, request.schema, name)
            read = plan_read(request, cache, settings, table.name, from_result=request.action != "read")
            plan = read if request.action == "read" else plan_write(request, cache, settings, table, read)
            identifier = table.name
        case RoutineTarget(name):
            plan = plan_call(request, cache, settings, name)
            read = plan.read
            identifier = read.table
        case _:
            raise RestError("PGRST126")
    answer = negotiate(
        request, cache, identifier, selects_all=read.selects_all, allows_plan=settings.db_plan_enabled
    )
    if request.preferences.handling == "strict" and request.preferences.invalid:
        raise RestError("PGRST122", preferences=", ".join(request.preferences.invalid))
    if isinstance(plan, CallPlan):
        plan.check_max_affected(request.preferences)
    return plan, answer
