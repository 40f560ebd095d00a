"""From the parsed request and the schema cache to a plan: every name resolved, every embed joined. Pure.

Third step of a REST request. The rules are PostgREST's `Plan.hs`; errors name what was asked and what would
do.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from basalt.postgres import Column, Name, Parameter, Relationship, Routine, SchemaCache, Table
from basalt.rest.errors import RestError
from basalt.rest.query import (
    ALL_ROWS,
    ApiRequest,
    EmbedPath,
    FieldRef,
    Filter,
    Is,
    Logic,
    LogicTree,
    OrderTerm,
    RoutineTarget,
    RowRange,
    SelectEmbed,
    SelectField,
    SelectItem,
    TableTarget,
)


@dataclass(frozen=True, slots=True)
class PlannedField:
    """A column (None is all of them) with its place in the answer; `is_json` tells that a JSON path can start
    at it as it is."""

    name: str | None
    source: FieldRef | None = None
    cast: str | None = None
    is_json: bool = False


@dataclass(frozen=True, slots=True)
class PlannedFilter:
    filter: Filter
    is_json: bool
    is_tsvector: bool = False


@dataclass(frozen=True, slots=True)
class EmbedFilter:
    """`actors=is.null`: whether an embed has rows."""

    embed: str
    is_null: bool


@dataclass(frozen=True, slots=True)
class PlannedLogic:
    operator: Literal["and", "or"]
    children: tuple["PlannedCondition", ...]
    negated: bool = False


PlannedCondition = PlannedFilter | EmbedFilter | PlannedLogic


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """`embed` is the lateral alias when the order is by an embedded row's column."""

    term: OrderTerm
    is_json: bool
    embed: str | None = None


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """One level of the answer. `alias` is how SQL calls its rows, `lateral` the join that brings them to the
    level above."""

    table: Name
    alias: str
    fields: tuple[PlannedField, ...]
    where: tuple[PlannedCondition, ...] = ()
    order: tuple[PlannedOrder, ...] = ()
    range: RowRange = ALL_ROWS
    embeds: tuple["EmbedPlan", ...] = ()


@dataclass(frozen=True, slots=True)
class EmbedPlan:
    label: str
    lateral: str
    relationship: Relationship
    junction_alias: str | None
    read: ReadPlan
    is_inner: bool
    is_spread: bool
    is_shown: bool


@dataclass(frozen=True, slots=True)
class WritePlan:
    """`columns` are those of the payload; `returning` what the answer, its embeds and `Location` need."""

    action: Literal["insert", "upsert_one", "update", "delete"]
    table: Table
    columns: tuple[Column, ...]
    conflict: tuple[str, ...]
    resolution: Literal["merge", "ignore"] | None
    applies_defaults: bool
    read: ReadPlan


@dataclass(frozen=True, slots=True)
class CallPlan:
    """`arguments` are the parameters that were given; `single` the type of the one unnamed parameter that
    takes the body."""

    routine: Routine
    arguments: tuple[tuple[Parameter, object], ...]
    takes_body: bool
    read: ReadPlan
    is_read_only: bool


Plan = ReadPlan | WritePlan | CallPlan


def plan_request(request: ApiRequest, cache: SchemaCache, *, max_rows: int | None) -> Plan:
    """Raises RestError PGRST108, 118, 120, 123, 127, 200 … 205."""
    match request.target:
        case TableTarget(name):
            table = find_table(cache, request.schema, name)
            read = _plan_read(request, cache, table.name, max_rows)
            if request.action == "read":
                return read
            return _plan_write(request, table, read)
        case RoutineTarget(name):
            return _plan_call(request, cache, name, max_rows)
        case _:
            raise RestError("PGRST126")


def find_table(cache: SchemaCache, schema: str, name: str) -> Table:
    table = cache.tables.get((schema, name))
    if table is None:
        names = [known for owner, known in cache.tables if owner == schema]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        hint = f"Perhaps you meant the table '{schema}.{near[0]}'" if near else None
        raise RestError("PGRST205", hint=hint, schema=schema, table=name)
    return table


# Reading


@dataclass(slots=True)
class _Planner:
    request: ApiRequest
    cache: SchemaCache
    max_rows: int | None
    used: dict[str, int] = field(default_factory=dict)

    def level(
        self,
        items: Sequence[SelectItem],
        table: Name,
        alias: str,
        path: EmbedPath,
        known: Mapping[str, Column] | None,
    ) -> ReadPlan:
        embeds = [self.embed(item, table, path) for item in items if isinstance(item, SelectEmbed)]
        by_label = {embed.label: embed for embed in embeds}
        fields = tuple(self.field(item, known) for item in items if isinstance(item, SelectField))
        where = tuple(
            self.condition(tree, known, by_label)
            for where_path, tree in self.request.query.where
            if where_path == path
        )
        order = tuple(
            self.order(term, table, known, embeds)
            for order_path, terms in self.request.query.order
            if order_path == path
            for term in terms
        )
        return ReadPlan(table, alias, fields, where, order, self.range(path), tuple(embeds))

    def range(self, path: EmbedPath) -> RowRange:
        found = self.request.top_range if path == () else dict(self.request.query.ranges).get(path, ALL_ROWS)
        if self.max_rows is None or (path == () and self.request.action not in ("read", "call")):
            return found
        limit = self.max_rows if found.limit is None else min(found.limit, self.max_rows)
        return replace(found, limit=limit)

    def field(self, item: SelectField, known: Mapping[str, Column] | None) -> PlannedField:
        if item.aggregate is not None:
            raise RestError("PGRST123")
        if item.field.name == "*" and not item.field.json_path:
            return PlannedField(None)
        name = item.alias or _implied_name(item.field)
        return PlannedField(name, item.field, item.cast, _is_json(known, item.field.name))

    def condition(
        self, tree: LogicTree, known: Mapping[str, Column] | None, embeds: Mapping[str, "EmbedPlan"]
    ) -> PlannedCondition:
        if isinstance(tree, Logic):
            children = tuple(self.condition(child, known, embeds) for child in tree.children)
            return PlannedLogic(tree.operator, children, tree.negated)
        name = tree.field.name
        embed = embeds.get(name)
        if (
            embed is not None
            and not tree.field.json_path
            and (known is None or name not in known or embed.label == name)
        ):
            if not isinstance(tree.operation, Is) or tree.operation.value not in ("null", "not_null"):
                raise RestError("PGRST120", target=name)
            return EmbedFilter(embed.lateral, (tree.operation.value == "null") != tree.negated)
        column = known.get(name) if known is not None else None
        return PlannedFilter(
            tree, _is_json(known, name), column is not None and column.base_type == "tsvector"
        )

    def order(
        self, term: OrderTerm, table: Name, known: Mapping[str, Column] | None, embeds: Iterable["EmbedPlan"]
    ) -> PlannedOrder:
        if term.relation is None:
            return PlannedOrder(term, _is_json(known, term.field.name))
        for embed in embeds:
            if embed.label == term.relation:
                if not embed.relationship.is_to_one:
                    raise RestError("PGRST118", origin=table[1], target=term.relation)
                return PlannedOrder(term, False, embed.lateral)
        raise RestError("PGRST108", resource=term.relation)

    def embed(self, item: SelectEmbed, parent: Name, path: EmbedPath) -> EmbedPlan:
        relationship = find_relationship(self.cache, parent, item, self.request.schema)
        if item.spread and not relationship.is_to_one:
            raise RestError("PGRST127", feature="Spreading a to-many relationship")
        label = item.alias or item.relation
        number = self.number(relationship.foreign[1])
        alias = f"{relationship.foreign[1]}_{number}"
        table = self.cache.tables.get(relationship.foreign)
        child_path = (*path, label)
        read = self.level(
            item.items, relationship.foreign, alias, child_path, table.columns if table else None
        )
        junction_alias = (
            f"{relationship.junction.table[1]}_{self.number(relationship.junction.table[1])}"
            if relationship.junction
            else None
        )
        return EmbedPlan(
            label=label,
            lateral=f"{parent[1]}_{label}_{number}",
            relationship=relationship,
            junction_alias=junction_alias,
            read=read,
            is_inner=item.join == "inner",
            is_spread=item.spread,
            is_shown=bool(item.items),
        )

    def number(self, name: str) -> int:
        self.used[name] = self.used.get(name, 0) + 1
        return self.used[name]


def _plan_read(request: ApiRequest, cache: SchemaCache, table: Name, max_rows: int | None) -> ReadPlan:
    planner = _Planner(request, cache, max_rows)
    known = cache.tables[table].columns if table in cache.tables else None
    plan = planner.level(request.query.select, table, table[1], (), known)
    _check_paths(request, plan)
    return plan


def _check_paths(request: ApiRequest, plan: ReadPlan) -> None:
    """A filter, order or range of an embed that is not in `select` means nothing."""
    paths = {()} | set(_paths(plan, ()))
    query = request.query
    for path, _ in (*query.where, *query.order, *query.ranges):
        for length in range(1, len(path) + 1):
            if path[:length] not in paths:
                raise RestError("PGRST108", resource=path[length - 1])


def _paths(plan: ReadPlan, above: EmbedPath) -> Iterable[EmbedPath]:
    for embed in plan.embeds:
        path = (*above, embed.label)
        yield path
        yield from _paths(embed.read, path)


def _implied_name(source: FieldRef) -> str:
    """`data->a->>b` is called `b`; an index is called as the last key before it."""
    for step in reversed(source.json_path):
        if isinstance(step.key, str):
            return step.key
    return source.name


def _is_json(known: Mapping[str, Column] | None, name: str) -> bool:
    column = known.get(name) if known is not None else None
    return column is not None and column.base_type in ("json", "jsonb")


# Relationships


def find_relationship(cache: SchemaCache, parent: Name, item: SelectEmbed, schema: str) -> Relationship:
    """The one relationship that a name and a hint speak of. Raises RestError PGRST200, PGRST201."""
    candidates = [found for found in cache.relationships.get(parent, ()) if _is_meant(found, item, schema)]
    computed = [found for found in candidates if found.routine is not None]
    if computed:
        return computed[0]
    if len(candidates) > 1 and all(found.is_self for found in candidates):
        # A table that refers to itself: its name alone means the many that refer to the one.
        to_many = [found for found in candidates if found.cardinality == "one-to-many"]
        candidates = to_many if len(to_many) == 1 else candidates
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise _no_relationship(cache, parent, item, schema)
    raise _ambiguous(parent, item, candidates)


def _is_meant(found: Relationship, item: SelectEmbed, schema: str) -> bool:
    target, hint = item.relation, item.hint
    if found.routine is not None:
        return found.routine[1] == target and hint is None
    if found.junction is not None:
        return found.foreign == (schema, target) and (
            hint is None
            or hint
            in (found.junction.table[1], found.junction.near_constraint, found.junction.far_constraint)
        )
    by_table = found.foreign == (schema, target)
    by_key = target == found.constraint or (found.is_to_one and found.columns == (target,))
    if hint is None:
        return by_table or by_key
    names = (found.constraint, *_single(found.columns), *_single(found.foreign_columns))
    return (by_table or by_key) and hint in names


def _single(columns: tuple[str, ...]) -> tuple[str, ...]:
    return columns if len(columns) == 1 else ()


def _no_relationship(cache: SchemaCache, parent: Name, item: SelectEmbed, schema: str) -> RestError:
    names = [found.foreign[1] for found in cache.relationships.get(parent, ())]
    near = difflib.get_close_matches(item.relation, names, n=1, cutoff=0.6)
    using = f" using the hint '{item.hint}'" if item.hint else ""
    details = (
        f"Searched for a foreign key relationship between '{parent[1]}' and '{item.relation}'{using} in the schema "
        f"'{schema}', but no matches were found."
    )
    hint = (
        f"Perhaps you meant '{near[0]}' instead of '{item.relation}'."
        if near and near[0] != item.relation
        else None
    )
    return RestError(
        "PGRST200",
        details=details,
        hint=hint,
        origin=parent[1],
        target=item.relation,
        parent=parent[1],
        child=item.relation,
    )


def _ambiguous(parent: Name, item: SelectEmbed, candidates: Sequence[Relationship]) -> RestError:
    details = [
        {
            "cardinality": found.cardinality,
            "embedding": f"{parent[1]} with {found.foreign[1]}",
            "relationship": _describe(found),
        }
        for found in candidates
    ]
    options = ", ".join(
        f"'{item.relation}!{found.junction.table[1] if found.junction else found.constraint}'"
        for found in candidates
    )
    hint = (
        f"Try changing '{item.relation}' to one of the following: {options}. "
        "Find the desired relationship in the 'details' key."
    )
    return RestError(
        "PGRST201",
        details=details,
        hint=hint,
        origin=parent[1],
        target=item.relation,
        parent=parent[1],
        child=item.relation,
    )


def _describe(found: Relationship) -> str:
    if found.junction is not None:
        junction = found.junction
        return (
            f"{junction.table[1]} using {junction.near_constraint}({', '.join(junction.near_columns)}) "
            f"and {junction.far_constraint}({', '.join(junction.far_columns)})"
        )
    near = f"{found.table[1]}({', '.join(found.columns)})"
    far = f"{found.foreign[1]}({', '.join(found.foreign_columns)})"
    return f"{found.constraint} using {near} and {far}"


# Writing


def _plan_write(request: ApiRequest, table: Table, read: ReadPlan) -> WritePlan:
    action = request.action
    assert action in ("insert", "upsert_one", "update", "delete")
    if action == "upsert_one":
        _check_put(request, table)
    names = () if action == "delete" else _payload_columns(request, table)
    conflict = request.query.on_conflict or table.primary_key
    for name in request.query.on_conflict or ():
        _find_column(table, name)
    resolution: Literal["merge", "ignore"] | None = None
    if action == "upsert_one":
        resolution = "merge"
    elif action == "insert" and request.preferences.resolution is not None and conflict:
        resolution = "merge" if request.preferences.resolution == "merge-duplicates" else "ignore"
    return WritePlan(
        action=action,
        table=table,
        columns=tuple(_find_column(table, name) for name in names),
        conflict=conflict,
        resolution=resolution,
        applies_defaults=request.preferences.missing == "default",
        read=read,
    )


def _payload_columns(request: ApiRequest, table: Table) -> Sequence[str]:
    keys = request.payload_keys or frozenset()
    return sorted(keys, key=lambda name: list(table.columns).index(name) if name in table.columns else -1)


def _find_column(table: Table, name: str) -> Column:
    column = table.columns.get(name)
    if column is None:
        raise RestError("PGRST204", column=name, table=table.name[1])
    return column


def _check_put(request: ApiRequest, table: Table) -> None:
    if request.top_range != ALL_ROWS:
        raise RestError("PGRST114")
    filters = [tree for path, tree in request.query.where if path == ()]
    names = {
        tree.field.name
        for tree in filters
        if isinstance(tree, Filter) and getattr(tree.operation, "operator", None) == "eq" and not tree.negated
    }
    if not table.primary_key or len(filters) != len(names) or names != set(table.primary_key):
        raise RestError("PGRST105")


# Calling


def _plan_call(request: ApiRequest, cache: SchemaCache, name: str, max_rows: int | None) -> CallPlan:
    given = _given_arguments(request)
    routine = _find_routine(cache, request, name, given)
    asked = request.preferences
    if asked.max_affected is not None and asked.handling == "strict" and not routine.returns_set:
        raise RestError("PGRST128")
    takes_body = request.method == "POST" and _takes_body(routine, request)
    source = routine.returns_table or routine.name
    planner = _Planner(request, cache, max_rows)
    table = cache.tables.get(source) if routine.returns_table else None
    alias = routine.name[1]
    plan = planner.level(request.query.select, source, alias, (), table.columns if table else None)
    _check_paths(request, plan)
    return CallPlan(
        routine=routine,
        arguments=() if takes_body else _bind(routine, given),
        takes_body=takes_body,
        read=plan,
        is_read_only=request.method in ("GET", "HEAD"),
    )


def _given_arguments(request: ApiRequest) -> Mapping[str, object]:
    """Names (and for GET the values, all text; repeated ones as a list) that the caller gives."""
    if request.method in ("GET", "HEAD"):
        return _collect(request.query.parameters)
    if request.payload_type == "form":
        return _collect(request.form_pairs)
    return dict.fromkeys(request.payload_keys or ())


def _collect(pairs: Iterable[tuple[str, str]]) -> Mapping[str, object]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


UNNAMED_TYPES = {
    "json": ("json", "jsonb"),
    "form": ("json", "jsonb"),
    "text": ("text",),
    "xml": ("xml",),
    "binary": ("bytea",),
}


def _takes_body(routine: Routine, request: ApiRequest) -> bool:
    if len(routine.parameters) != 1 or routine.parameters[0].name:
        return False
    return routine.parameters[0].type in UNNAMED_TYPES.get(request.payload_type, ())


def _find_routine(cache: SchemaCache, request: ApiRequest, name: str, given: Mapping[str, object]) -> Routine:
    """The overload whose parameters fit the names. Raises RestError PGRST202, PGRST203."""
    overloads = cache.routines.get((request.schema, name), ())
    is_get = request.method in ("GET", "HEAD")
    fitting = [routine for routine in overloads if _fits(routine, given, is_get=is_get)]
    if not fitting and not is_get:
        fitting = [routine for routine in overloads if _takes_body(routine, request)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        signatures = ", ".join(_signature(routine) for routine in fitting)
        raise RestError("PGRST203", routines=signatures)
    raise _no_routine(cache, request, name, given)


def _fits(routine: Routine, given: Mapping[str, object], *, is_get: bool) -> bool:
    names = {parameter.name for parameter in routine.parameters}
    required = {parameter.name for parameter in routine.parameters if parameter.required}
    if "" in names:
        return False
    return required <= given.keys() and (given.keys() <= names)


def _signature(routine: Routine) -> str:
    parameters = ", ".join(f"{parameter.name} => {parameter.type}" for parameter in routine.parameters)
    return f"{routine.name[0]}.{routine.name[1]}({parameters})"


def _no_routine(cache: SchemaCache, request: ApiRequest, name: str, given: Mapping[str, object]) -> RestError:
    schema = request.schema
    arguments = ", ".join(sorted(given))
    shown = f"{schema}.{name}({arguments})" if given else f"{schema}.{name}"
    called = (
        f"{schema}.{name} with parameter{'s' if len(given) > 1 else ''} {arguments}"
        if given
        else f"{schema}.{name}"
    )
    body = "" if request.method in ("GET", "HEAD") else " or with a single unnamed json/jsonb parameter"
    how = f"the function {called}" if given else f"the function {called} without parameters"
    details = f"Searched for {how}{body}, but no matches were found in the schema cache."
    same = cache.routines.get((schema, name), ())
    hint = None
    if same:
        parameters = ", ".join(parameter.name for parameter in same[0].parameters)
        hint = f"Perhaps you meant to call the function {schema}.{name}({parameters})"
    else:
        names = [known for owner, known in cache.routines if owner == schema]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        hint = f"Perhaps you meant to call the function {schema}.{near[0]}" if near else None
    return RestError(
        "PGRST202", details=details, hint=hint, routine=shown if given else f"{shown} without parameters"
    )


def _bind(routine: Routine, given: Mapping[str, object]) -> tuple[tuple[Parameter, object], ...]:
    """The given parameters in the order of the signature. A repeated one that is not variadic takes its last
    value."""
    bound = []
    for parameter in routine.parameters:
        if parameter.name in given:
            value = given[parameter.name]
            if isinstance(value, list) and not parameter.variadic:
                value = value[-1]
            bound.append((parameter, value))
    return tuple(bound)
