"""Inserts, upserts, updates and deletes: PostgREST's `Plan.hs: mutatePlan`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from basalt.config import RestSettings
from basalt.postgres import Column, SchemaCache, Table
from basalt.rest.errors import RestError
from basalt.rest.plan.read import PlannedCondition, ReadPlan, plan_filter
from basalt.rest.query import ApiRequest, Compare, Filter, RowsTarget

ALL_COLUMNS = ("*",)


@dataclass(frozen=True, slots=True)
class PayloadColumn:
    """A column of the body: read as `type`, or as JSON through the function `transform` where the column's domain has
    one. `default` stands in for a missing key under `Prefer: missing=default`."""

    name: str
    type: str
    default: str | None
    transform: str | None


@dataclass(frozen=True, slots=True)
class WritePlan:
    """`where` are the conditions on the rows to change (for PUT: on the row of the body). `returning` are the columns
    that the answer, its embeds and `Location` need; `("*",)` is all of them, empty is none. With `keys` every row of
    the body changes the row that has the same values in them."""

    action: Literal["insert", "upsert_one", "update", "delete"]
    table: Table
    columns: tuple[PayloadColumn, ...]
    where: tuple[PlannedCondition, ...]
    returning: tuple[str, ...]
    conflict: tuple[str, ...]
    resolution: Literal["merge", "ignore"] | None
    applies_defaults: bool
    read: ReadPlan
    keys: tuple[str, ...] = ()


def plan_write(
    request: ApiRequest, cache: SchemaCache, settings: RestSettings, table: Table, read: ReadPlan
) -> WritePlan:
    """Raises RestError PGRST105, PGRST204."""
    action = request.action
    assert action in ("insert", "upsert_one", "update", "delete")
    if action == "upsert_one":
        _check_put(request, table)
    own = [tree for path, tree in request.query.where if not path]
    resolution: Literal["merge", "ignore"] | None = None
    if action == "upsert_one":
        resolution = "merge"
    elif action == "insert" and request.preferences.resolution is not None:
        resolution = "merge" if request.preferences.resolution == "merge-duplicates" else "ignore"
    conflict = request.query.on_conflict
    if conflict is None or action == "upsert_one":
        conflict = table.primary_key
    return WritePlan(
        action=action,
        table=table,
        columns=() if action == "delete" else _payload_columns(request, cache, table),
        where=() if action == "insert" else tuple(plan_filter(cache, settings, table, tree) for tree in own),
        returning=_returning(request, table, read),
        conflict=conflict,
        resolution=resolution,
        applies_defaults=request.preferences.missing == "default" and action in ("insert", "update"),
        read=read,
        keys=_find_keys(request, table) if isinstance(request.target, RowsTarget) else (),
    )


def _find_keys(request: ApiRequest, table: Table) -> tuple[str, ...]:
    if not table.primary_key:
        raise RestError("PGRST127", feature=f"Bulk update of '{table.name[1]}', which has no primary key")
    if not set(table.primary_key) <= (request.payload_keys or frozenset()):
        names = ", ".join(table.primary_key)
        raise RestError("PGRST102", problem=f"Every row must hold the primary key: {names}")
    return table.primary_key


def _payload_columns(request: ApiRequest, cache: SchemaCache, table: Table) -> tuple[PayloadColumn, ...]:
    names = sorted(request.payload_keys or ())
    return tuple(_payload_column(cache, table, _find_column(table, name)) for name in names)


def _find_column(table: Table, name: str) -> Column:
    column = table.columns.get(name)
    if column is None:
        raise RestError("PGRST204", column=name, table=table.name[1])
    return column


def _payload_column(cache: SchemaCache, table: Table, column: Column) -> PayloadColumn:
    transform = cache.representations.get(("json", column.type))
    return PayloadColumn(column.name, "json" if transform else column.type, column.default, transform)


def _check_put(request: ApiRequest, table: Table) -> None:
    own = [tree for path, tree in request.query.where if not path]
    names = {tree.field.name for tree in own if isinstance(tree, Filter) and _is_plain_eq(tree)}
    is_exact = len(own) == len(names) and names == set(table.primary_key)
    if not table.primary_key or not is_exact:
        raise RestError("PGRST105")


def _is_plain_eq(tree: Filter) -> bool:
    operation = tree.operation
    return (
        isinstance(operation, Compare)
        and operation.operator == "eq"
        and operation.quantifier is None
        and not tree.negated
        and not tree.field.json_path
    )


def _returning(request: ApiRequest, table: Table, read: ReadPlan) -> tuple[str, ...]:
    """Nothing more than is needed: whoever may insert but not read must be able to insert, and row security asks for
    the right to read as soon as one column is returned."""
    match request.preferences.representation:
        case "full":
            return needed_columns(read, table.primary_key if request.action == "insert" else ())
        case "headers-only" if request.action == "insert":
            return table.primary_key
        case _:
            return ()


def needed_columns(read: ReadPlan, extra: Sequence[str] = ()) -> tuple[str, ...]:
    """What a level's select, order and embeds take from the rows below it: `("*",)` when it is everything, also
    when a computed relationship wants the whole row."""
    names = [one.field.name for one in read.select]
    if "*" in names or any(embed.relationship.routine is not None for embed in read.embeds):
        return ALL_COLUMNS
    names.extend(term.field.name for term in read.order if term.embed is None)
    for embed in read.embeds:
        names.extend(embed.relationship.columns)
    return tuple(sorted({*names, *extra}))
