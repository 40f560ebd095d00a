"""The schema cache: what Basalt knows of the tables, relationships and routines that REST may speak of.

Frozen values, loaded by one connection from `pg_catalog` only: the login role needs no privilege on any
table, and `information_schema` would show it nothing. The planner takes every identifier from here, never
from a request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

Name = tuple[str, str]
"""Schema and name."""

Cardinality = Literal["many-to-one", "one-to-one", "one-to-many", "many-to-many"]


@dataclass(frozen=True, slots=True)
class Column:
    """`type` is as `format_type` writes it, `base_type` the type under a domain."""

    name: str
    type: str
    base_type: str
    nullable: bool
    has_default: bool
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
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
    junction refers to, and for a computed relationship `routine` is the function that gives the rows."""

    table: Name
    foreign: Name
    cardinality: Cardinality
    constraint: str
    columns: tuple[str, ...] = ()
    foreign_columns: tuple[str, ...] = ()
    junction: Junction | None = None
    routine: Name | None = None

    @property
    def is_to_one(self) -> bool:
        return self.cardinality in ("many-to-one", "one-to-one")

    @property
    def is_self(self) -> bool:
        return self.table == self.foreign


@dataclass(frozen=True, slots=True)
class Parameter:
    """`type` is as `format_type` writes it; `cast_type` the same without a domain's length."""

    name: str
    type: str
    required: bool
    variadic: bool


@dataclass(frozen=True, slots=True)
class Routine:
    """`returns_table` is the table or view whose rows it gives, `is_row` whether it gives rows with columns
    (composite or
    `returns table`)."""

    name: Name
    parameters: tuple[Parameter, ...]
    volatility: Literal["i", "s", "v"]
    returns_set: bool
    is_row: bool
    is_void: bool
    returns_table: Name | None
    settings: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """What `alter role … set` says for a role, as far as a request may apply it."""

    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SchemaCache:
    tables: Mapping[Name, Table]
    relationships: Mapping[Name, tuple[Relationship, ...]]
    routines: Mapping[Name, tuple[Routine, ...]]
    role_settings: Mapping[str, RoleSettings]
    timezones: frozenset[str]


TABLES = """
select n.nspname as schema, c.relname as name, c.relkind in ('v', 'm') as is_view,
    pg_catalog.obj_description(c.oid, 'pg_class') as description,
    pg_catalog.pg_relation_is_updatable(c.oid, true) as updatable,
    (select pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', a.attname,
            'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
            'base_type', case when t.typtype = 'd' then pg_catalog.format_type(t.typbasetype, t.typtypmod)
                              else pg_catalog.format_type(a.atttypid, a.atttypmod) end,
            'nullable', not (a.attnotnull or t.typnotnull),
            'has_default', a.atthasdef or a.attidentity <> '',
            'description', pg_catalog.col_description(c.oid, a.attnum)) order by a.attnum)
        from pg_catalog.pg_attribute as a
        join pg_catalog.pg_type as t on t.oid = a.atttypid
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
    (select pg_catalog.json_agg(a.attname order by k.position)
        from pg_catalog.pg_constraint as p, unnest(p.conkey) with ordinality as k(attnum, position)
        join pg_catalog.pg_attribute as a on a.attnum = k.attnum
        where p.conrelid = c.oid and p.contype = 'p' and a.attrelid = c.oid) as primary_key
from pg_catalog.pg_class as c
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where c.relkind in ('r', 'v', 'm', 'f', 'p') and n.nspname not in ('pg_catalog', 'information_schema')
    and n.nspname not like 'pg\\_toast%' and not c.relispartition
order by n.nspname, c.relname
"""

FOREIGN_KEYS = """
select n.nspname as schema, c.relname as name, fn.nspname as foreign_schema, fc.relname as foreign_name,
k.conname as constraint,
    (select pg_catalog.json_agg(a.attname order by u.position)
        from unnest(k.conkey) with ordinality as u(attnum, position)
        join pg_catalog.pg_attribute as a on a.attrelid = k.conrelid and a.attnum = u.attnum) as columns,
    (select pg_catalog.json_agg(a.attname order by u.position)
        from unnest(k.confkey) with ordinality as u(attnum, position)
        join pg_catalog.pg_attribute as a on a.attrelid = k.confrelid and a.attnum = u.attnum) as
        foreign_columns,
    exists (select from pg_catalog.pg_constraint as u
            where u.conrelid = k.conrelid and u.contype in ('p', 'u')
                and u.conkey <@ k.conkey and k.conkey <@ u.conkey) as is_unique
from pg_catalog.pg_constraint as k
join pg_catalog.pg_class as c on c.oid = k.conrelid
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
join pg_catalog.pg_class as fc on fc.oid = k.confrelid
join pg_catalog.pg_namespace as fn on fn.oid = fc.relnamespace
where k.contype = 'f' and k.conparentid = 0
order by k.conrelid, k.conname
"""

ROUTINES = """
select n.nspname as schema, p.proname as name, p.provolatile as volatility, p.proretset as returns_set,
    p.prorettype = 'pg_catalog.void'::pg_catalog.regtype as is_void,
    t.typtype = 'c' or 't' = any(p.proargmodes) or 'o' = any(p.proargmodes) or 'b' = any(p.proargmodes)
        or t.typname = 'record' as is_row,
    case when tc.relkind in ('r', 'v', 'm', 'f', 'p') then tn.nspname end as table_schema,
    case when tc.relkind in ('r', 'v', 'm', 'f', 'p') then tc.relname end as table_name,
    pg_catalog.obj_description(p.oid, 'pg_proc') as description,
    pg_catalog.to_json(p.proconfig) as settings,
    (select pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', coalesce(p.proargnames[a.position], ''),
            'type', pg_catalog.format_type(a.type, null),
            'mode', coalesce(p.proargmodes[a.position]::text, 'i')) order by a.position)
        from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) with ordinality as a(type, position)) as
        arguments,
    p.pronargdefaults as default_count
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
join pg_catalog.pg_type as t on t.oid = p.prorettype
left join pg_catalog.pg_class as tc on tc.oid = t.typrelid
left join pg_catalog.pg_namespace as tn on tn.oid = tc.relnamespace
where p.prokind = 'f' and n.nspname = any(%(schemas)s)
    and p.prorettype not in ('pg_catalog.trigger'::pg_catalog.regtype,
    'pg_catalog.event_trigger'::pg_catalog.regtype)
order by n.nspname, p.proname, p.oid
"""

COMPUTED_RELATIONSHIPS = """
select n.nspname as schema, p.proname as name, an.nspname as table_schema, ac.relname as table_name,
    rn.nspname as foreign_schema, rc.relname as foreign_name, not p.proretset or p.prorows = 1 as is_to_one
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
join pg_catalog.pg_type as at on at.oid = p.proargtypes[0]
join pg_catalog.pg_class as ac on ac.oid = at.typrelid
join pg_catalog.pg_namespace as an on an.oid = ac.relnamespace
join pg_catalog.pg_type as rt on rt.oid = p.prorettype
join pg_catalog.pg_class as rc on rc.oid = rt.typrelid
join pg_catalog.pg_namespace as rn on rn.oid = rc.relnamespace
where p.pronargs = 1 and p.prokind = 'f' and n.nspname = any(%(schemas)s)
    and ac.relkind in ('r', 'v', 'm', 'f', 'p') and rc.relkind in ('r', 'v', 'm', 'f', 'p')
"""

ROLE_SETTINGS = """
select r.rolname as role, pg_catalog.json_agg(s.setting order by s.setdatabase) as settings
from pg_catalog.pg_roles as r
join (select d.setrole, d.setdatabase, unnest(d.setconfig) as setting from pg_catalog.pg_db_role_setting as d
      where d.setdatabase in (0, (select oid from pg_catalog.pg_database where datname =
      pg_catalog.current_database()))
     ) as s on s.setrole = r.oid
where pg_catalog.pg_has_role(current_user, r.oid, 'member') and r.rolname <> current_user
group by r.rolname
"""

TIMEZONES = "select name from pg_catalog.pg_timezone_names"

SETTABLE = frozenset(
    {"statement_timeout", "default_transaction_isolation", "plan_filter.statement_cost_limit"}
)


def load_schema_cache(connection: psycopg.Connection[Any], schemas: Sequence[str]) -> SchemaCache:
    """Read everything in one transaction. `schemas` are those whose routines may be called."""
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("set local search_path = ''")
        tables = {(row["schema"], row["name"]): _table(row) for row in cursor.execute(TABLES)}
        keys = [_relationship(row) for row in cursor.execute(FOREIGN_KEYS)]
        unique = {
            (row["schema"], row["name"], row["constraint"])
            for row in cursor.execute(FOREIGN_KEYS)
            if row["is_unique"]
        }
        computed = [
            _computed(row) for row in cursor.execute(COMPUTED_RELATIONSHIPS, {"schemas": list(schemas)})
        ]
        routines: dict[Name, list[Routine]] = {}
        for row in cursor.execute(ROUTINES, {"schemas": list(schemas)}):
            routines.setdefault((row["schema"], row["name"]), []).append(_routine(row))
        roles = {row["role"]: _role_settings(row["settings"]) for row in cursor.execute(ROLE_SETTINGS)}
        zones = frozenset(row["name"] for row in cursor.execute(TIMEZONES))
    return SchemaCache(
        tables=tables,
        relationships=_by_table(_both_ways(keys, unique) + _through_junctions(keys, tables) + computed),
        routines={name: tuple(found) for name, found in routines.items()},
        role_settings=roles,
        timezones=zones,
    )


def _table(row: Mapping[str, Any]) -> Table:
    columns = {column["name"]: Column(**column) for column in row["columns"] or ()}
    return Table(
        name=(row["schema"], row["name"]),
        columns=columns,
        primary_key=tuple(row["primary_key"] or ()),
        is_view=row["is_view"],
        insertable=bool(row["updatable"] & 8),
        updatable=bool(row["updatable"] & 4),
        deletable=bool(row["updatable"] & 16),
        description=row["description"],
    )


def _relationship(row: Mapping[str, Any]) -> Relationship:
    return Relationship(
        table=(row["schema"], row["name"]),
        foreign=(row["foreign_schema"], row["foreign_name"]),
        cardinality="one-to-one" if row["is_unique"] else "many-to-one",
        constraint=row["constraint"],
        columns=tuple(row["columns"]),
        foreign_columns=tuple(row["foreign_columns"]),
    )


def _both_ways(keys: list[Relationship], unique: set[tuple[str, str, str]]) -> list[Relationship]:
    """Every foreign key can be followed from either end."""
    back = [
        Relationship(
            table=key.foreign,
            foreign=key.table,
            cardinality="one-to-one" if (*key.table, key.constraint) in unique else "one-to-many",
            constraint=key.constraint,
            columns=key.foreign_columns,
            foreign_columns=key.columns,
        )
        for key in keys
    ]
    return keys + back


def _through_junctions(keys: list[Relationship], tables: Mapping[Name, Table]) -> list[Relationship]:
    """Two foreign keys of one table make a many-to-many when all their columns are part of its primary
    key."""
    by_table: dict[Name, list[Relationship]] = {}
    for key in keys:
        by_table.setdefault(key.table, []).append(key)
    found: list[Relationship] = []
    for junction, own in by_table.items():
        primary = set(tables[junction].primary_key) if junction in tables else set()
        found.extend(
            _many_to_many(junction, near, far)
            for near in own
            for far in own
            if near is not far and primary and set(near.columns) | set(far.columns) <= primary
        )
    return found


def _many_to_many(junction: Name, near: Relationship, far: Relationship) -> Relationship:
    return Relationship(
        table=near.foreign,
        foreign=far.foreign,
        cardinality="many-to-many",
        constraint="",
        columns=near.foreign_columns,
        foreign_columns=far.foreign_columns,
        junction=Junction(junction, near.constraint, far.constraint, near.columns, far.columns),
    )


def _computed(row: Mapping[str, Any]) -> Relationship:
    return Relationship(
        table=(row["table_schema"], row["table_name"]),
        foreign=(row["foreign_schema"], row["foreign_name"]),
        cardinality="many-to-one" if row["is_to_one"] else "one-to-many",
        constraint=row["name"],
        routine=(row["schema"], row["name"]),
    )


def _routine(row: Mapping[str, Any]) -> Routine:
    inputs = [argument for argument in row["arguments"] or () if argument["mode"] in ("i", "b", "v")]
    first_default = len(inputs) - row["default_count"]
    parameters = tuple(
        Parameter(
            argument["name"],
            argument["type"],
            number < first_default and argument["mode"] != "v",
            argument["mode"] == "v",
        )
        for number, argument in enumerate(inputs)
    )
    settings = dict(setting.split("=", 1) for setting in row["settings"] or ())
    return Routine(
        name=(row["schema"], row["name"]),
        parameters=parameters,
        volatility=row["volatility"],
        returns_set=row["returns_set"],
        is_row=bool(row["is_row"]),
        is_void=row["is_void"],
        returns_table=(row["table_schema"], row["table_name"]) if row["table_name"] else None,
        settings=settings,
        description=row["description"],
    )


def _role_settings(settings: Sequence[str]) -> RoleSettings:
    """Those that a request applies; what is set for the database in particular comes later and wins."""
    pairs = dict(setting.split("=", 1) for setting in settings)
    return RoleSettings(tuple((name, value) for name, value in pairs.items() if name in SETTABLE))


def _by_table(relationships: list[Relationship]) -> dict[Name, tuple[Relationship, ...]]:
    grouped: dict[Name, list[Relationship]] = {}
    for relationship in relationships:
        grouped.setdefault(relationship.table, []).append(relationship)
    return {name: tuple(found) for name, found in grouped.items()}
