"""From foreign keys to the relationships that a request may embed: PostgREST 14 `SchemaCache.hs`, whose rules and
whose order these are. Pure.

Each foreign key is followed from either end; a view stands in for a table where it shows the key's columns; a table
with two keys within its primary key joins two others; a function from one row type to another is a relationship by
its own name, and replaces those found to the table of that name.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from basalt.postgres.schema_cache import Junction, Name, Relationship, Table
from basalt.postgres.view_keys import ColumnOrigin

RelationshipMap = dict[Name, tuple[Relationship, ...]]


@dataclass(frozen=True, slots=True)
class KeyEnd:
    """One end of a foreign key: the table, its columns' names and their numbers, in the key's order."""

    oid: int
    name: Name
    columns: tuple[str, ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`is_unique` where the columns on the near side are also a primary key or a unique constraint."""

    constraint: str
    near: KeyEnd
    far: KeyEnd
    is_unique: bool


@dataclass(frozen=True, slots=True)
class ShownTable:
    """How a view shows a table: each shown column's number, and the names it has in the view."""

    view: Name
    columns: Mapping[int, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Side:
    """What stands at an end of a relationship: the table itself, or a view in its place."""

    name: Name
    columns: tuple[str, ...]
    is_view: bool


def build_relationships(
    keys: Iterable[ForeignKey],
    shown: Mapping[int, Sequence[ShownTable]],
    tables: Mapping[Name, Table],
    computed: Sequence[Relationship],
    schemas: Collection[str],
) -> RelationshipMap:
    """`shown` holds, by a table's oid, the exposed views that show it. What is not in `schemas` is left out, at
    either end and between them."""
    exposed = frozenset(schemas)
    forward = [found for key in keys for found in _from_foreign_key(key, shown, exposed)]
    detected = [*forward, *map(_invert, forward), *_through_junctions(forward, tables)]
    return _group(_override(detected, computed), exposed)


def group_shown_tables(
    views: Mapping[int, tuple[Name, Mapping[int, str]]],
    traced: Mapping[int, Mapping[ColumnOrigin, tuple[int, ...]]],
) -> dict[int, list[ShownTable]]:
    """`views` are the exposed ones by oid, with their columns' names by number; `traced` as `trace_view_columns`
    answers. By the oid of the table that is shown."""
    grouped: defaultdict[int, list[ShownTable]] = defaultdict(list)
    for oid, (view, names) in views.items():
        by_table: defaultdict[int, dict[int, tuple[str, ...]]] = defaultdict(dict)
        for origin, numbers in traced.get(oid, {}).items():
            by_table[origin.relation][origin.column] = tuple(names[n] for n in numbers if n in names)
        for table, columns in by_table.items():
            grouped[table].append(ShownTable(view, columns))
    return grouped


def find_view_keys(
    primary_keys: Iterable[tuple[int, Sequence[int]]], shown: Mapping[int, Sequence[ShownTable]]
) -> dict[Name, tuple[str, ...]]:
    """The primary key of each view: those of the tables whose keys it shows in full, one after the other in the
    order of `primary_keys`. A column that it shows twice counts by its first name."""
    found: defaultdict[Name, tuple[str, ...]] = defaultdict(tuple)
    for oid, numbers in primary_keys:
        for table in shown.get(oid, ()):
            if all(table.columns.get(number) for number in numbers):
                found[table.view] += tuple(table.columns[number][0] for number in numbers)
    return found


def _from_foreign_key(
    key: ForeignKey, shown: Mapping[int, Sequence[ShownTable]], exposed: frozenset[str]
) -> Iterator[Relationship]:
    """From the referring side, with tables and views on both sides in every combination."""
    for near, far in product(_sides(key.near, shown, exposed), _sides(key.far, shown, exposed)):
        yield Relationship(
            table=near.name,
            foreign=far.name,
            cardinality="one-to-one" if key.is_unique else "many-to-one",
            constraint=key.constraint,
            columns=near.columns,
            foreign_columns=far.columns,
            is_self=near.name == far.name,
            is_view=near.is_view,
            is_foreign_view=far.is_view,
        )


def _sides(end: KeyEnd, shown: Mapping[int, Sequence[ShownTable]], exposed: frozenset[str]) -> list[_Side]:
    """A view that shows a column more than once stands in once for each choice of names."""
    sides = [_Side(end.name, end.columns, is_view=False)] if end.name[0] in exposed else []
    for table in shown.get(end.oid, ()):
        names = [table.columns.get(number, ()) for number in end.numbers]
        sides += [_Side(table.view, columns, is_view=True) for columns in product(*names)]
    return sides


def _invert(found: Relationship) -> Relationship:
    return Relationship(
        table=found.foreign,
        foreign=found.table,
        cardinality="one-to-one" if found.cardinality == "one-to-one" else "one-to-many",
        constraint=found.constraint,
        columns=found.foreign_columns,
        foreign_columns=found.columns,
        is_inverse=found.cardinality == "one-to-one",
        is_self=found.is_self,
        is_view=found.is_foreign_view,
        is_foreign_view=found.is_view,
    )


def _through_junctions(
    forward: Iterable[Relationship], tables: Mapping[Name, Table]
) -> Iterator[Relationship]:
    """A table, or view, makes a many-to-many of any two of its keys, of different constraints, all of whose columns
    are in its primary key."""
    by_table: defaultdict[Name, list[Relationship]] = defaultdict(list)
    for found in forward:
        table = tables.get(found.table)
        if found.cardinality == "many-to-one" and table and set(table.primary_key) >= set(found.columns):
            by_table[found.table].append(found)
    for junction, own in by_table.items():
        for near, far in product(own, own):
            if near.constraint != far.constraint:
                yield _many_to_many(junction, near, far)


def _many_to_many(junction: Name, near: Relationship, far: Relationship) -> Relationship:
    return Relationship(
        table=near.foreign,
        foreign=far.foreign,
        cardinality="many-to-many",
        constraint="",
        columns=near.foreign_columns,
        foreign_columns=far.foreign_columns,
        junction=Junction(junction, near.constraint, far.constraint, near.columns, far.columns),
        is_self=near.foreign == far.foreign,
        is_view=near.is_foreign_view,
        is_foreign_view=far.is_foreign_view,
    )


def _override(detected: Iterable[Relationship], computed: Sequence[Relationship]) -> Iterator[Relationship]:
    """A function `public.clients(public.projects)` replaces what leads from `projects` to the table `clients`."""
    taken = {(found.table, found.routine) for found in computed}
    yield from (found for found in detected if (found.table, found.foreign) not in taken)
    yield from computed


def _group(relationships: Iterable[Relationship], exposed: frozenset[str]) -> RelationshipMap:
    grouped: defaultdict[Name, list[Relationship]] = defaultdict(list)
    for found in relationships:
        if found.table[0] in exposed and found.foreign[0] in exposed:
            grouped[found.table].append(found)
    return {table: tuple(sorted(found, key=_order)) for table, found in grouped.items()}


_RANKS = {"one-to-many": 0, "many-to-one": 1, "one-to-one": 2, "many-to-many": 3}


def _order(found: Relationship) -> tuple[object, ...]:
    """The order in which an ambiguous request has its candidates listed. Computed relationships come last."""
    if found.routine:
        return (1, found.routine, found.foreign, found.is_to_one)
    ends: tuple[object, ...] = (
        found.constraint,
        tuple(zip(found.columns, found.foreign_columns, strict=True)),
    )
    if found.junction:
        between = found.junction
        ends = (
            between.table,
            between.near_constraint,
            between.far_constraint,
            tuple(zip(found.columns, between.near_columns, strict=True)),
            tuple(zip(found.foreign_columns, between.far_columns, strict=True)),
        )
    flags = (found.is_inverse, found.is_view, found.is_foreign_view)
    return (0, found.foreign, found.is_self, _RANKS[found.cardinality], ends, flags)
