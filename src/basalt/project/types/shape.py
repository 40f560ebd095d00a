"""What the printed types are made of: schemas with tables, routines, enums and composite types, as values.
Everything is in the order in which it is printed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

ScalarKind = Literal["boolean", "integer", "decimal", "text", "json", "void", "record", "unknown"]


@dataclass(frozen=True, slots=True)
class Scalar:
    kind: ScalarKind


@dataclass(frozen=True, slots=True)
class ArrayOf:
    element: "TypeRef"


@dataclass(frozen=True, slots=True)
class EnumRef:
    """`is_printed` where its schema is one of those that are printed; otherwise its labels stand in its place."""

    schema: str
    name: str
    labels: tuple[str, ...]
    is_printed: bool


@dataclass(frozen=True, slots=True)
class CompositeRef:
    """A composite type of a schema that is printed."""

    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class RowRef:
    """A row of a table or view of a schema that is printed."""

    schema: str
    name: str
    is_view: bool


TypeRef = Scalar | ArrayOf | EnumRef | CompositeRef | RowRef

UNKNOWN = Scalar("unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnShape:
    """`is_writable` is false for what PostgreSQL alone writes: generated columns, identities that are `always`, columns
    of a view that no write reaches."""

    name: str
    type: TypeRef
    is_nullable: bool
    has_default: bool
    is_writable: bool


@dataclass(frozen=True, slots=True)
class ComputedField:
    """A routine from a row of the table, which `select` may name like a column."""

    name: str
    routine: "RoutineShape"


@dataclass(frozen=True, slots=True)
class ForeignKeyShape:
    constraint: str
    columns: tuple[str, ...]
    foreign: str
    foreign_columns: tuple[str, ...]
    is_one_to_one: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationShape:
    """A table or a view. A view takes writes only where `is_updatable`."""

    name: str
    is_view: bool
    is_updatable: bool
    columns: tuple[ColumnShape, ...]
    computed: tuple[ComputedField, ...]
    relationships: tuple[ForeignKeyShape, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """An argument of a routine, a column that it returns, or an attribute of a composite type."""

    name: str
    type: TypeRef
    is_optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """What one row of a routine's answer is: `fields` where the routine names its columns, `columns` where it is a row
    of a relation of its own schema; otherwise `type`. `relation` is the table, view or composite type that it is a
    row of, `is_many` whether more than one row is expected."""

    type: TypeRef
    fields: tuple[Field, ...] = ()
    columns: tuple[ColumnShape, ...] | None = None
    relation: str | None = None
    is_set: bool = False
    is_many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutineShape:
    """`row_of` is the relation whose row is the only argument. `error` is what PostgREST answers instead of calling
    it."""

    name: str
    arguments: tuple[Field, ...]
    returned: Returned
    row_of: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class EnumShape:
    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CompositeShape:
    name: str
    attributes: tuple[Field, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaTypes:
    """`routines` by name: several of one name are overloads."""

    name: str
    tables: tuple[RelationShape, ...]
    views: tuple[RelationShape, ...]
    routines: tuple[tuple[str, tuple[RoutineShape, ...]], ...]
    enums: tuple[EnumShape, ...]
    composites: tuple[CompositeShape, ...]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


NamedT = TypeVar("NamedT", bound=_Named)


def name_order(name: str) -> tuple[str, str]:
    """Close to the order of `localeCompare`, which the Supabase CLI sorts by: `_` before letters, case last. The same
    everywhere, whatever the locale.

    >>> sorted(["ab", "a_b", "Aa", "aa", "a1"], key=name_order)
    ['a_b', 'a1', 'Aa', 'aa', 'ab']
    """
    return name.casefold().replace("_", " "), name


def sort_named(items: Iterable[NamedT]) -> tuple[NamedT, ...]:
    return tuple(sorted(items, key=lambda item: name_order(item.name)))
