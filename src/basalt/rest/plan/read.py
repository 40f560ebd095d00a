"""The levels of an answer: what is selected, filtered, ordered and embedded, and how rows of embeds are joined.

Follows PostgREST's `Plan.hs: readPlan`. The query's tree of embeds is built first, with filters, orders and ranges
hung on the places they name; then every level is planned on the way back up, because a spread shows the fields
of the level below it and hands its aggregates to the level above.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

from basalt.config import RestSettings
from basalt.postgres import Column, Name, Relationship, SchemaCache, Table
from basalt.rest.errors import RestError, UnknownTableError
from basalt.rest.plan.relationships import find_relationship
from basalt.rest.query import (
    ALL_ROWS,
    AggregateName,
    ApiRequest,
    Direction,
    EmbedPath,
    FieldRef,
    Filter,
    FullText,
    Is,
    JsonStep,
    Logic,
    LogicOperator,
    LogicTree,
    NullsPlace,
    Operation,
    OrderTerm,
    RowRange,
    SelectEmbed,
    SelectField,
    SelectItem,
)

MAX_FIELDS = 1664  # PostgreSQL returns no more, and a spread hands its fields to the level above
MAX_NAME_BYTES = 63  # PostgreSQL cuts longer identifiers, which could make two of them one


@dataclass(frozen=True, slots=True)
class PlannedField:
    """A column, or something in its JSON: `to_json` when the column is no JSON itself. `transform` is the function
    of a data representation; `is_row` is the whole row instead of a column; `type` is None for what the
    schema cache does not know (computed fields)."""

    name: str
    json_path: tuple[JsonStep, ...] = ()
    to_json: bool = False
    transform: str | None = None
    is_row: bool = False
    type: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedSelect:
    """`alias` None keeps the column's own name."""

    field: PlannedField
    alias: str | None = None
    cast: str | None = None
    aggregate: AggregateName | None = None
    aggregate_cast: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedFilter:
    """`is_document`: the field is searched as it is, without `to_tsvector`."""

    field: PlannedField
    operation: Operation
    negated: bool
    is_document: bool = False


@dataclass(frozen=True, slots=True)
class EmbedFilter:
    """`actors=is.null`: whether an embed has rows. `embed` is its lateral alias."""

    embed: str
    is_null: bool


@dataclass(frozen=True, slots=True)
class PlannedLogic:
    operator: LogicOperator
    children: tuple["PlannedCondition", ...]
    negated: bool = False


PlannedCondition = PlannedFilter | EmbedFilter | PlannedLogic


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """`embed` is the lateral alias when the order is by an embedded row's column."""

    field: PlannedField
    direction: Direction | None = None
    nulls: NullsPlace | None = None
    embed: str | None = None


@dataclass(frozen=True, slots=True)
class SpreadField:
    """A field that a spread brings up a level, under the name it has below."""

    name: str
    aggregate: AggregateName | None = None
    aggregate_cast: str | None = None
    alias: str | None = None


EmbedMode = Literal["object", "array", "spread_one", "spread_many"]


@dataclass(frozen=True, slots=True)
class EmbedPlan:
    """`lateral` names the join that brings the rows up. `is_empty`: nothing of it is shown. For a spread, `fields` are
    what it shows; a to-many one is ordered when it is aggregated, by `sort_keys` selected for that."""

    label: str
    lateral: str
    relationship: Relationship
    mode: EmbedMode
    read: "ReadPlan"
    is_inner: bool
    is_empty: bool = False
    fields: tuple[SpreadField, ...] = ()
    order: tuple[PlannedOrder, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """One level. Its rows come from `table` (or, with `from_result`, from what a write or call gave) and are called
    `alias`; `sort_keys` are selected beside for the order of a to-many spread, each with the lateral alias of
    the embed that it is from. `is_grouped`: aggregates stand in it, or are spread into it."""

    table: Name
    alias: str
    select: tuple[PlannedSelect, ...]
    where: tuple[PlannedCondition, ...] = ()
    order: tuple[PlannedOrder, ...] = ()
    range: RowRange = ALL_ROWS
    embeds: tuple[EmbedPlan, ...] = ()
    from_result: bool = False
    sort_keys: tuple[tuple[str | None, PlannedSelect], ...] = ()
    legacy_targets: tuple[tuple[str, str], ...] = ()

    @property
    def selects_all(self) -> bool:
        """`select=*` and nothing else: the rows are those of the table, as custom media types want them."""
        return len(self.select) == 1 and self.select[0].field.name == "*" and not self.embeds

    @property
    def is_grouped(self) -> bool:
        return any(one.aggregate for one in self.select) or any(
            one.aggregate for embed in self.embeds for one in embed.fields
        )


def find_table(cache: SchemaCache, schema: str, name: str) -> Table:
    table = cache.tables.get((schema, name))
    if table is None:
        raise UnknownTableError(schema, name)
    return table


def plan_read(
    request: ApiRequest, cache: SchemaCache, settings: RestSettings, table: Name, *, from_result: bool
) -> ReadPlan:
    """The plan of everything below (and with) the root. With `from_result` the root's rows are those that a write or
    a routine gives; a write's own filters are not applied to them again. Raises RestError PGRST108, 118, 123,
    127, 200, 201."""
    root = _Node(request.query.select)
    is_write = request.action not in ("read", "call")
    _hang_on(root, request, is_write=is_write, legacy=settings.url_use_legacy_target_names)
    planner = _Planner(cache, settings, is_write=is_write)
    plan, _ = planner.level(root, table, _Place(table[1], 0, from_result=from_result))
    return replace(plan, legacy_targets=tuple(_legacy_targets(root)))


# The tree of the query


@dataclass(slots=True)
class _Node:
    items: Sequence[SelectItem]
    embed: SelectEmbed | None = None
    children: list["_Node"] = field(default_factory=list)
    where: list[LogicTree] = field(default_factory=list)
    order: tuple[OrderTerm, ...] = ()
    range: RowRange = ALL_ROWS
    is_legacy_target: bool = False

    def __post_init__(self) -> None:
        self.children = [_Node(item.items, item) for item in self.items if isinstance(item, SelectEmbed)]

    @property
    def relation(self) -> str:
        assert self.embed is not None
        return self.embed.relation

    @property
    def label(self) -> str:
        assert self.embed is not None
        return self.embed.alias or self.embed.relation


def _hang_on(root: _Node, request: ApiRequest, *, is_write: bool, legacy: bool) -> None:
    query = request.query
    for path, tree in query.where:
        if path or not is_write:
            _find_node(root, path, legacy=legacy).where.append(tree)
    for path, terms in query.order:
        _find_node(root, path, legacy=legacy).order = terms
    for path, found in query.ranges:
        node = _find_node(root, path, legacy=legacy)
        if not is_write:
            node.range = found
    if not is_write:
        root.range = request.top_range


def _find_node(root: _Node, path: EmbedPath, *, legacy: bool) -> _Node:
    node = root
    for name in path:
        node = _find_child(node, name, legacy=legacy)
    return node


def _find_child(node: _Node, name: str, *, legacy: bool) -> _Node:
    """By alias, and before PostgREST 18 also by the name of an embed that has an alias."""
    if legacy:
        for child in node.children:
            if name in (child.relation, child.label):
                child.is_legacy_target |= name != child.label
                return child
    else:
        for child in node.children:
            if child.label == name:
                return child
        for child in node.children:
            if child.relation == name:
                raise RestError(
                    "PGRST108",
                    details="Target names are not allowed in filters if they have an alias",
                    hint=f"Change '{name}' to '{child.label}' in filters, orders or limits.",
                    resource=name,
                )
    raise RestError("PGRST108", resource=name)


def _legacy_targets(node: _Node) -> Iterable[tuple[str, str]]:
    for child in node.children:
        if child.is_legacy_target:
            yield child.relation, child.label
        yield from _legacy_targets(child)


# Levels


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a level stands: what its rows are called, how deep, and what is above it."""

    alias: str
    depth: int
    from_result: bool = False
    spread: Literal["one", "many"] | None = None
    has_aggregate_above: bool = False


@dataclass(frozen=True, slots=True)
class _Hoisted:
    """An aggregate of a to-one spread, which has its meaning in the level above: `name` is the field below."""

    lateral: str
    name: str
    aggregate: AggregateName
    cast: str | None
    alias: str | None


@dataclass(frozen=True, slots=True)
class _Planner:
    cache: SchemaCache
    settings: RestSettings
    is_write: bool

    def level(self, node: _Node, table: Name, place: _Place) -> tuple[ReadPlan, tuple[_Hoisted, ...]]:
        known = self.cache.tables[table].columns if table in self.cache.tables else {}
        fields = [self.select(item, known) for item in node.items if isinstance(item, SelectField)]
        has_aggregate = (
            place.has_aggregate_above
            or place.spread == "many"
            or any(one.aggregate is not None for one in fields)
        )
        expanded = self.expand(fields, known, place, has_aggregate=has_aggregate)
        select = tuple(islice(expanded, MAX_FIELDS + 1))
        select = tuple(_with_alias(one, is_spread=place.spread is not None) for one in select)
        embeds, hoisted = self.embeds(node, table, place, has_aggregate=has_aggregate)
        order = node.order if place.spread == "many" else ()  # the keys of which are selected too
        if len(select) + len(order) + sum(_shown_count(embed) for embed in embeds) > MAX_FIELDS:
            raise RestError("PGRST100", problem=f"More than {MAX_FIELDS} fields of '{table[1]}' are selected")
        by_label = {embed.label: embed for embed in reversed(embeds)}
        plan = ReadPlan(
            table=table,
            alias=place.alias,
            select=select,
            where=tuple(self.condition(tree, known, by_label) for tree in node.where),
            order=tuple(self.order(term, known, by_label, table) for term in node.order),
            range=self.range(node.range),
            embeds=embeds,
            from_result=place.from_result,
        )
        return plan, hoisted

    def embeds(
        self, node: _Node, table: Name, place: _Place, *, has_aggregate: bool
    ) -> tuple[tuple[EmbedPlan, ...], tuple[_Hoisted, ...]]:
        """The embeds of a level, and the aggregates that came up from below and still have to go higher."""
        embeds: list[EmbedPlan] = []
        hoisted: list[_Hoisted] = []
        for child in node.children:
            embed, from_below = self.embed(child, table, place, has_aggregate=has_aggregate)
            embeds.append(embed)
            hoisted.extend(from_below)
        if place.spread == "one":
            return tuple(embeds), tuple(hoisted)
        applied = tuple(replace(embed, fields=_apply(embed, hoisted)) for embed in embeds)
        return applied, ()

    def embed(
        self, node: _Node, parent: Name, place: _Place, *, has_aggregate: bool
    ) -> tuple[EmbedPlan, tuple[_Hoisted, ...]]:
        item = node.embed
        assert item is not None
        relationship = find_relationship(self.cache, parent, item)
        depth = place.depth + 1
        lateral = _short(f"{relationship.table[1]}_{node.label}_{depth}")
        spread: Literal["one", "many"] | None = None
        if item.spread:
            spread = "one" if relationship.is_to_one else "many"
        below = _Place(
            _short(f"{relationship.foreign[1]}_{depth}"),
            depth,
            spread=spread,
            has_aggregate_above=has_aggregate,
        )
        read, from_below = self.level(node, relationship.foreign, below)
        hoisted: tuple[_Hoisted, ...] = ()
        fields = _spread_fields(read) if spread else ()
        order: tuple[PlannedOrder, ...] = ()
        if spread == "one":
            hoisted = (
                *_hoist(read, lateral),
                *(replace(one, lateral=lateral) for one in from_below),
            )
            read = replace(read, select=tuple(_without_aggregate(one) for one in read.select))
        elif spread == "many":
            read, order = _with_sort_keys(read, lateral)
        modes: Mapping[object, EmbedMode] = {"one": "spread_one", "many": "spread_many"}
        return (
            EmbedPlan(
                label=node.label,
                lateral=lateral,
                relationship=relationship,
                mode=modes.get(spread) or ("object" if relationship.is_to_one else "array"),
                read=read,
                is_inner=item.join == "inner",
                is_empty=spread is None and _shows_nothing(read),
                fields=fields,
                order=order,
            ),
            hoisted,
        )

    # Parts of a level

    def select(self, item: SelectField, known: Mapping[str, Column]) -> PlannedSelect:
        if item.aggregate is not None and not self.settings.db_aggregates_enabled:
            raise RestError("PGRST123")
        planned = self.field(item.field, known)
        column = known.get(item.field.name)
        transform = self.representation(column.type, "json") if column else None
        if transform is not None and not item.field.json_path:
            planned = replace(planned, transform=transform)
        return PlannedSelect(planned, item.alias, item.cast, item.aggregate, item.aggregate_cast)

    def expand(
        self,
        fields: Sequence[PlannedSelect],
        known: Mapping[str, Column],
        place: _Place,
        *,
        has_aggregate: bool,
    ) -> Iterable[PlannedSelect]:
        """`*` as columns where it must not be one: beside aggregates (it is grouped by), in to-many spreads (each
        column becomes an array), and where a column has a representation of its own. A spread's `count()` counts
        the rows of its own level, not those of the level above."""
        has_representation = any(self.representation(one.type, "json") for one in known.values())
        for one in fields:
            is_star = one.field.name == "*" and not one.field.json_path
            if not is_star or not (has_aggregate or has_representation):
                yield one
            elif one.aggregate is None:
                for column in known.values():
                    yield self.select(SelectField(FieldRef(column.name)), known)
            elif one.aggregate == "count" and place.spread is not None:
                yield replace(one, field=replace(one.field, is_row=True))
            else:
                yield one

    def field(self, source: FieldRef, known: Mapping[str, Column]) -> PlannedField:
        column = known.get(source.name)
        is_json = column is not None and column.type in ("json", "jsonb")
        return PlannedField(
            source.name, source.json_path, to_json=not is_json, type=column.type if column else None
        )

    def representation(self, source: str, target: str) -> str | None:
        return self.cache.representations.get((source, target)) if self.cache.representations else None

    def condition(
        self, tree: LogicTree, known: Mapping[str, Column], embeds: Mapping[str, EmbedPlan]
    ) -> PlannedCondition:
        if isinstance(tree, Logic):
            children = tuple(self.condition(child, known, embeds) for child in tree.children)
            return PlannedLogic(tree.operator, children, tree.negated)
        embed = embeds.get(tree.field.name)
        if embed is not None and not tree.field.json_path:
            operation = tree.operation
            if isinstance(operation, Is) and operation.value in ("null", "not_null"):
                return EmbedFilter(embed.lateral, (operation.value == "null") != tree.negated)
        return self.filter(tree, known)

    def filter(self, tree: Filter, known: Mapping[str, Column]) -> PlannedFilter:
        planned = self.field(tree.field, known)
        column = known.get(tree.field.name)
        if column is not None:
            planned = replace(planned, transform=self.representation("text", column.type))
        # a computed field is taken to be what it is searched as
        is_document = (
            not isinstance(tree.operation, FullText) or column is None or column.base_type == "tsvector"
        )
        return PlannedFilter(planned, tree.operation, tree.negated, is_document)

    def order(
        self, term: OrderTerm, known: Mapping[str, Column], embeds: Mapping[str, EmbedPlan], table: Name
    ) -> PlannedOrder:
        if term.relation is None:
            return PlannedOrder(self.field(term.field, known), term.direction, term.nulls)
        embed = embeds.get(term.relation)
        if embed is None:
            raise RestError("PGRST108", resource=term.relation)
        if not embed.relationship.is_to_one:
            raise RestError("PGRST118", origin=table[1], target=term.relation)
        columns = self.cache.tables[embed.read.table].columns if embed.read.table in self.cache.tables else {}
        return PlannedOrder(self.field(term.field, columns), term.direction, term.nulls, embed.lateral)

    def range(self, asked: RowRange) -> RowRange:
        most = self.settings.db_max_rows
        if most is None or self.is_write:
            return asked
        return replace(asked, limit=most if asked.limit is None else min(asked.limit, most))


def plan_filter(
    cache: SchemaCache, settings: RestSettings, table: Table, tree: LogicTree
) -> PlannedCondition:
    """A condition on a table's own columns, for writes."""
    return _Planner(cache, settings, is_write=True).condition(tree, table.columns, {})


# Names


def _with_alias(one: PlannedSelect, *, is_spread: bool) -> PlannedSelect:
    """`data->a->>b` is called `b`, an index as the last key before it, a represented column and a spread aggregate as
    themselves: PostgreSQL would find other names."""
    if one.alias is not None:
        return one
    if one.aggregate is not None:
        return replace(one, alias=one.aggregate) if is_spread else one
    if one.field.json_path:
        keys = (step.key for step in reversed(one.field.json_path) if isinstance(step.key, str))
        return replace(one, alias=next(keys, one.field.name))
    return replace(one, alias=one.field.name) if one.field.transform else one


def _short(name: str) -> str:
    raw = name.encode()
    if len(raw) <= MAX_NAME_BYTES:
        return name
    mark = hashlib.sha256(raw).hexdigest()[:8]
    return raw[: MAX_NAME_BYTES - 9].decode("utf-8", "ignore") + "_" + mark


# Spreads


def _spread_fields(read: ReadPlan) -> tuple[SpreadField, ...]:
    own = [SpreadField(one.alias or one.field.name) for one in read.select]
    for embed in read.embeds:
        if embed.mode in ("spread_one", "spread_many"):
            own.extend(SpreadField(one.alias or one.name) for one in embed.fields)
        elif not embed.is_empty:
            own.append(SpreadField(embed.label))
    return tuple(own)


def _shown_count(embed: EmbedPlan) -> int:
    return len(embed.fields) if embed.mode in ("spread_one", "spread_many") else 1


def _hoist(read: ReadPlan, lateral: str) -> Iterable[_Hoisted]:
    for one in read.select:
        if one.aggregate is not None:
            name = one.alias or one.field.name
            yield _Hoisted(lateral, name, one.aggregate, one.aggregate_cast, one.alias)


def _without_aggregate(one: PlannedSelect) -> PlannedSelect:
    return replace(one, aggregate=None, aggregate_cast=None)


def _apply(embed: EmbedPlan, hoisted: Sequence[_Hoisted]) -> tuple[SpreadField, ...]:
    found = {one.name: one for one in hoisted if one.lateral == embed.lateral}
    return tuple(
        replace(
            one,
            aggregate=found[one.name].aggregate,
            aggregate_cast=found[one.name].cast,
            alias=found[one.name].alias,
        )
        if one.name in found
        else one
        for one in embed.fields
    )


def _with_sort_keys(read: ReadPlan, lateral: str) -> tuple[ReadPlan, tuple[PlannedOrder, ...]]:
    """The order of a to-many spread is that of its arrays: the keys are selected below and ordered by above. Below it
    still decides which rows a limit leaves."""
    if read.is_grouped:
        raise RestError(
            "PGRST127",
            feature="Aggregates are not implemented for one-to-many or many-to-many spreads.",
        )
    keys: list[tuple[str | None, PlannedSelect]] = []
    order: list[PlannedOrder] = []
    for number, term in enumerate(read.order, 1):
        name = _short(f"{lateral}_{term.field.name}_{number}")
        keys.append((term.embed, PlannedSelect(term.field, name)))
        order.append(PlannedOrder(PlannedField(name), term.direction, term.nulls))
    order_below = () if read.range == ALL_ROWS else read.order
    return replace(read, order=order_below, sort_keys=tuple(keys)), tuple(order)


def _shows_nothing(read: ReadPlan) -> bool:
    return not read.select and all(_shows_nothing(embed.read) for embed in read.embeds)
