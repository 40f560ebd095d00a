"""The schema cache: what Basalt knows of the tables, relationships and routines that REST may speak of.

Frozen values. `schema_introspection` loads them from `pg_catalog`; the planner takes every identifier from here,
never from a request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Name = tuple[str, str]
"""Schema and name."""

Cardinality = Literal["many-to-one", "one-to-one", "one-to-many", "many-to-many"]
Volatility = Literal["immutable", "stable", "volatile"]
RowKind = Literal["scalar", "composite", "void"]


@dataclass(frozen=True, slots=True)
class Column:
    """`type` is the declared one as `format_type` writes it, with its modifier (`character varying(10)`);
    `base_type` PostgreSQL's own type that it is, or that is under its domain, without a modifier; a user's type
    stays as declared. `default` is an SQL expression (of the column, or of its domain), `enum_values` those of an
    enum type, in order."""

    name: str
    type: str
    base_type: str
    nullable: bool
    default: str | None = None
    max_length: int | None = None
    enum_values: tuple[str, ...] = ()
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table, view, materialized view, foreign table or partitioned table. `columns` are in their order;
    a view's `primary_key` is that of the tables under it when the view shows all of its columns."""

    oid: int
    name: Name
    columns: Mapping[str, Column]
    primary_key: tuple[str, ...]
    is_view: bool
    insertable: bool
    updatable: bool
    deletable: bool
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Junction:
    """The table between two others: its columns on either side, in the order of the columns they refer to."""

    table: Name
    near_constraint: str
    far_constraint: str
    near_columns: tuple[str, ...]
    far_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Relationship:
    """From `table` to `foreign`. `columns` pairs theirs; for many-to-many they are the keys that the
    junction refers to, and for a computed relationship `routine` is the function that gives the rows.
    `is_inverse` marks a one-to-one seen from the table that is referred to."""

    table: Name
    foreign: Name
    cardinality: Cardinality
    constraint: str
    columns: tuple[str, ...] = ()
    foreign_columns: tuple[str, ...] = ()
    junction: Junction | None = None
    routine: Name | None = None
    is_inverse: bool = False
    is_self: bool = False
    is_view: bool = False
    is_foreign_view: bool = False

    @property
    def is_to_one(self) -> bool:
        return self.cardinality in ("many-to-one", "one-to-one")


@dataclass(frozen=True, slots=True)
class Parameter:
    """`type` is as `format_type` writes it; `cast_type` is wider where the type alone would cut a value short
    (`character` → `character varying`, `bit` → `bit varying`)."""

    name: str
    type: str
    cast_type: str
    required: bool
    variadic: bool


@dataclass(frozen=True, slots=True)
class Routine:
    """`return_type` is the type under a domain; for a composite one that is the table, view or type whose
    columns the rows have (`pg_catalog.record` for `returns table`). `settings` are those of the function's
    `set` clause that a request hoists; `isolation` its `default_transaction_isolation`."""

    oid: int
    name: Name
    parameters: tuple[Parameter, ...]
    volatility: Volatility
    returns_set: bool
    kind: RowKind
    return_type: Name
    has_variadic: bool = False
    settings: tuple[tuple[str, str], ...] = ()
    isolation: str | None = None
    description: str | None = None

    @property
    def returns_scalar(self) -> bool:
        return not self.returns_set and self.kind != "composite"

    @property
    def returns_set_of_scalar(self) -> bool:
        return self.returns_set and self.kind != "composite"

    @property
    def returns_single_composite(self) -> bool:
        return not self.returns_set and self.kind == "composite"


@dataclass(frozen=True, slots=True)
class MediaHandler:
    """What turns rows into a media type: an aggregate over a table's rows or over any row (`target` None), or a
    routine's own return type. `routine` is called with the rows (or with the scalar that the routine returned);
    `media_type` is what the answer says it is, `is_binary` whether it is bytes (`bytea`) instead of text."""

    routine: Name
    target: Name | None
    media_type: str
    is_binary: bool = False


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """What `alter role … set` says for a role, as far as a request may apply it."""

    settings: tuple[tuple[str, str], ...] = ()
    isolation: str | None = None


@dataclass(frozen=True, slots=True)
class SchemaCache:
    """`tables`, `relationships` (by their `table`) and `routines` hold only what lies in the exposed schemas, each
    list in PostgREST's order. Relationships may lead from one exposed schema to another.
    `representations` maps (source type, target type) to the function that an implicit cast of a domain uses,
    `media_handlers` maps (target, media type as requested, lower case) to the handler; target None is any row.
    `version` is the server's `server_version_num`."""

    tables: Mapping[Name, Table]
    relationships: Mapping[Name, tuple[Relationship, ...]]
    routines: Mapping[Name, tuple[Routine, ...]]
    role_settings: Mapping[str, RoleSettings] = field(default_factory=dict)
    representations: Mapping[tuple[str, str], str] = field(default_factory=dict)
    media_handlers: Mapping[tuple[Name | None, str], MediaHandler] = field(default_factory=dict)
    version: int = 150000
