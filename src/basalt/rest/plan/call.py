"""Routine calls: which overload is meant, how its arguments travel, what its rows are read as. PostgREST's
`Plan.hs: callReadPlan`, `findProc`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from basalt.config import RestSettings
from basalt.postgres import Parameter, Routine, SchemaCache
from basalt.rest.errors import RestError, UnknownRoutineError
from basalt.rest.plan.read import EmbedFilter, PlannedCondition, PlannedLogic, ReadPlan, plan_read
from basalt.rest.plan.write import ALL_COLUMNS, needed_columns
from basalt.rest.query import ApiRequest, PayloadType, Preferences

UNNAMED_TYPES: Mapping[PayloadType, tuple[str, ...]] = {
    "json": ("json", "jsonb"),
    "text": ("text",),
    "xml": ("xml",),
    "binary": ("bytea",),
}
ArgumentSource = Literal["query", "form", "json", "body"]


@dataclass(frozen=True, slots=True)
class CallPlan:
    """`arguments` are the parameters that were given, in the order of the signature. They come by name from the query
    string or a form, from the keys of a JSON body, or are the whole body for one unnamed parameter.
    `argument_slots` are the numbers of the literals behind each of them, several for a variadic one.
    `columns` are what is taken from the routine's rows."""

    routine: Routine
    arguments: tuple[Parameter, ...]
    argument_slots: tuple[tuple[int, ...], ...]
    source: ArgumentSource
    columns: tuple[str, ...]
    read: ReadPlan
    is_read_only: bool

    def check_max_affected(self, preferences: Preferences) -> None:
        """Raises RestError PGRST128: what is no set cannot have too many rows."""
        is_strict = preferences.max_affected is not None and preferences.handling == "strict"
        if is_strict and not self.routine.returns_set:
            raise RestError("PGRST128")


def plan_call(request: ApiRequest, cache: SchemaCache, settings: RestSettings, name: str) -> CallPlan:
    """Raises RestError PGRST202, PGRST203 and those of `plan_read`."""
    is_read = request.method != "POST"
    pairs = _named_arguments(request)
    given = frozenset(key for key, _ in pairs) if pairs is not None else (request.payload_keys or frozenset())
    routine = find_routine(cache, request, name, given)
    read = plan_read(
        request,
        cache,
        settings,
        (routine.name[0], routine.return_type[1] if routine.kind == "composite" else routine.name[1]),
        from_result=True,
    )
    takes_body = len(routine.parameters) == 1 and not routine.parameters[0].name
    arguments = (
        routine.parameters if takes_body else tuple(one for one in routine.parameters if one.name in given)
    )
    source: ArgumentSource = "json"
    if takes_body:
        source = "body"
    elif pairs is not None:
        source = "query" if is_read else "form"
    first_slot = request.argument_slot
    return CallPlan(
        routine=routine,
        arguments=arguments,
        argument_slots=_slots(arguments, pairs or (), first_slot) if pairs is not None else (),
        source=source,
        columns=_result_columns(read),
        read=read,
        is_read_only=is_read or routine.volatility != "volatile",
    )


def _named_arguments(request: ApiRequest) -> tuple[tuple[str, str], ...] | None:
    """None when they are the keys of a JSON body."""
    if request.method != "POST":
        return request.query.parameters
    return request.form_pairs if request.payload_type == "form" else None


def _slots(
    arguments: Iterable[Parameter], pairs: tuple[tuple[str, str], ...], first: int
) -> tuple[tuple[int, ...], ...]:
    """A repeated argument is a list for a variadic parameter; for others its last value counts."""
    slots = []
    for parameter in arguments:
        places = [first + place for place, (name, _) in enumerate(pairs) if name == parameter.name]
        slots.append(tuple(places) if parameter.variadic else tuple(places[-1:]))
    return tuple(slots)


def _result_columns(read: ReadPlan) -> tuple[str, ...]:
    """Filters may be on columns that are not selected, computed ones among them, which only exist on the routine's own
    rows."""
    needed = needed_columns(read)
    if needed == ALL_COLUMNS or not needed:
        return needed
    return tuple(sorted({*needed, *_filtered_names(read.where)}))


def _filtered_names(conditions: Iterable[PlannedCondition]) -> Iterable[str]:
    for one in conditions:
        if isinstance(one, PlannedLogic):
            yield from _filtered_names(one.children)
        elif not isinstance(one, EmbedFilter):
            yield one.field.name


def find_routine(cache: SchemaCache, request: ApiRequest, name: str, given: frozenset[str]) -> Routine:
    """The overload whose parameters fit the names; without one, the overload that takes the body as it is."""
    overloads = cache.routines.get((request.schema, name), ())
    is_post = request.method == "POST"
    kind: PayloadType = "json" if request.payload_type in ("csv", "form") else request.payload_type
    is_raw = is_post and kind != "json"
    fitting = [routine for routine in overloads if _fits(routine, given, is_raw=is_raw)]
    if not fitting and is_post:
        fitting = [routine for routine in overloads if _takes_body(routine, request.payload_type)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise RestError("PGRST203", routines=", ".join(map(_signature, fitting)))
    raise UnknownRoutineError(
        (request.schema, name), tuple(sorted(given)), body=request.payload_type if is_post else None
    )


def _takes_body(routine: Routine, kind: PayloadType) -> bool:
    parameters = routine.parameters
    return (
        len(parameters) == 1 and not parameters[0].name and parameters[0].type in UNNAMED_TYPES.get(kind, ())
    )


def _fits(routine: Routine, given: frozenset[str], *, is_raw: bool) -> bool:
    if not routine.parameters:
        return not given and not is_raw
    required = {one.name for one in routine.parameters if one.required}
    names = {one.name for one in routine.parameters}
    return required <= given <= names


def _signature(routine: Routine) -> str:
    parameters = ", ".join(f"{one.name} => {one.type}" for one in routine.parameters)
    return f"{routine.name[0]}.{routine.name[1]}({parameters})"
