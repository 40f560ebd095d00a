"""A table as Realtime knows it: what the log says about it together with what the catalog adds."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Kind = Literal["number", "boolean", "json", "text", "date", "timestamp", "bytes", "array", "database"]


@dataclass(frozen=True, slots=True)
class ValueType:
    """How a value becomes JSON as `to_jsonb` would make it. `name` is `pg_type.typname`, of a domain its own; the rest
    speaks of the domain's base type. `array`: of `element`, separated by `delimiter`. `database`: only PostgreSQL can
    tell (composite types, types with a cast to json)."""

    oid: int
    name: str
    kind: Kind
    element: "ValueType | None" = None
    delimiter: str = ","


@dataclass(frozen=True, slots=True)
class Column:
    """`number` is `attnum`."""

    name: str
    number: int
    type: ValueType
    is_primary_key: bool
    is_identity: bool


@dataclass(frozen=True, eq=False)
class Table:
    """`columns` are those of the log's description, in its order, so that a position in a `Change` is a position here.
    `missing` are columns that the log does not tell (generated, or left out by the publication). `ancestors` are the
    partitioned tables above this one, nearest first: oid, schema, name. `has_row_security` is of this very table."""

    oid: int
    schema: str
    name: str
    columns: tuple[Column, ...]
    missing: tuple[str, ...]
    has_row_security: bool
    ancestors: tuple[tuple[int, str, str], ...] = ()

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """Column name → position."""
        return {column.name: position for position, column in enumerate(self.columns)}

    @cached_property
    def primary_key(self) -> tuple[int, ...]:
        """Positions of the primary key's columns; empty without one."""
        return tuple(position for position, column in enumerate(self.columns) if column.is_primary_key)

    @cached_property
    def identity(self) -> tuple[int, ...]:
        """Positions of the replica identity's columns."""
        return tuple(position for position, column in enumerate(self.columns) if column.is_identity)
