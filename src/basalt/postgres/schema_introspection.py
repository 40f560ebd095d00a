"""Loads the schema cache from `pg_catalog`, as PostgREST 14 does (`SchemaCache.hs`, `Config/Database.hs`).

`information_schema` would show the login role only what it has privileges for, and it needs none. Each statement
reads one kind of thing for all schemas; what belongs together is put together here and in `schema_relationships`.
It runs in a thread beside the event loop: rows are taken one at a time, since fetching them all is one call that
keeps the interpreter to itself, and names are interned, since each of them comes back many times.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from sys import intern
from typing import Any, LiteralString

import psycopg
from psycopg.rows import namedtuple_row, tuple_row

from basalt.postgres.schema_cache import (
    Column,
    MediaHandler,
    Name,
    Parameter,
    Relationship,
    RoleSettings,
    Routine,
    SchemaCache,
    Table,
)
from basalt.postgres.schema_relationships import (
    ForeignKey,
    KeyEnd,
    ShownTable,
    build_relationships,
    find_view_keys,
    group_shown_tables,
)
from basalt.postgres.view_keys import parse_column_origins, trace_view_columns

Cursor = psycopg.Cursor[Any]

HOISTED_SETTINGS = ("statement_timeout", "plan_filter.statement_cost_limit", "default_transaction_isolation")
"""What a routine's `set` clause may say about the transaction around it, unless the project says otherwise."""


# With nothing on the search path PostgreSQL writes every name outside pg_catalog with its schema, and finds functions
# and types in pg_catalog only.
START = "set transaction isolation level repeatable read, read only; set local search_path = ''"


def load_schema_cache(
    connection: psycopg.Connection[Any],
    schemas: Sequence[str],
    extra_search_path: Sequence[str] = (),
    hoisted_settings: Sequence[str] = HOISTED_SETTINGS,
) -> SchemaCache:
    """Everything as of one moment. `schemas` are the exposed ones; views in `extra_search_path` are looked through
    when exposed views select from them. `hoisted_settings` are regular expressions of PostgreSQL's, for
    `name=value`. The connection must be outside a transaction; any role will do."""
    with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(START)
        columns = _load_columns(cursor, schemas)
        unique_keys, primary_keys = _load_unique_keys(cursor)
        shown = _load_shown_tables(cursor, schemas, extra_search_path, columns)
        tables = _load_tables(
            cursor, schemas, columns, primary_keys, find_view_keys(primary_keys.items(), shown)
        )
        return SchemaCache(
            tables=tables,
            relationships=build_relationships(
                _load_foreign_keys(cursor, unique_keys),
                shown,
                tables,
                _load_computed_relationships(cursor, schemas),
                schemas,
            ),
            routines=_load_routines(cursor, schemas, hoisted_settings),
            role_settings=_load_role_settings(cursor),
            representations=_load_representations(cursor),
            media_handlers=_load_media_handlers(cursor, schemas),
            version=connection.info.server_version,
        )


# A domain may lie over a domain: each with the type that is under all of them. (pg_basetype came with PostgreSQL 17.)
DOMAINS: LiteralString = """
with recursive
domain_steps as (
    select oid as domain, typbasetype as base
    from pg_catalog.pg_type
    where typtype = 'd'
    union all
    select s.domain, t.typbasetype
    from domain_steps as s
    join pg_catalog.pg_type as t on t.oid = s.base
    where t.typtype = 'd'
),
domains as (
    select s.domain, t.oid as base, t.typnamespace as namespace
    from domain_steps as s
    join pg_catalog.pg_type as t on t.oid = s.base
    where t.typtype <> 'd'
)"""


# A column without a default of its own has its domain's. An identity column has its sequence's next value unless the
# identity is `always`, which accepts no value; a generated column accepts none either.
COLUMNS: LiteralString = """,
enums as (
    select enumtypid as type, array_agg(enumlabel::text order by enumsortorder) as labels
    from pg_catalog.pg_enum
    group by enumtypid
),
sequences as (
    select refobjid as relation, refobjsubid as number, min(objid::regclass::text) as name
    from pg_catalog.pg_depend
    where classid = 'pg_catalog.pg_class'::regclass
        and refclassid = 'pg_catalog.pg_class'::regclass
        and deptype = 'i'
        and refobjsubid > 0
    group by refobjid, refobjsubid
)
select
    a.attrelid,
    a.attnum,
    a.attname,
    format_type(a.atttypid, a.atttypmod),
    case when coalesce(d.namespace, t.typnamespace) = 'pg_catalog'::regnamespace
        then format_type(coalesce(d.base, t.oid), null)
        else format_type(a.atttypid, a.atttypmod)
    end,
    not (a.attnotnull or t.typtype = 'd' and t.typnotnull),
    case
        when t.typtype = 'd' and f.adbin is null then pg_get_expr(t.typdefaultbin, 0)
        when a.attidentity = 'd' then format('nextval(%%L)', s.name)
        when a.attgenerated = '' then pg_get_expr(f.adbin, f.adrelid)
    end,
    case when t.typtype = 'd' then t.typbasetype else t.oid end::int8,
    case when t.typtype = 'd' then t.typtypmod else a.atttypmod end,
    c.description,
    e.labels
from pg_catalog.pg_class as r
join pg_catalog.pg_namespace as n on n.oid = r.relnamespace
join pg_catalog.pg_attribute as a on a.attrelid = r.oid
join pg_catalog.pg_type as t on t.oid = a.atttypid
left join domains as d on d.domain = t.oid
left join enums as e on e.type = coalesce(d.base, t.oid)
left join sequences as s on s.relation = a.attrelid and s.number = a.attnum
left join pg_catalog.pg_attrdef as f on f.adrelid = a.attrelid and f.adnum = a.attnum
left join pg_catalog.pg_description as c on c.objoid = a.attrelid and c.objsubid = a.attnum
    and c.classoid = 'pg_catalog.pg_class'::regclass
where r.relkind in ('r', 'v', 'm', 'f', 'p')
    and not r.relispartition
    and a.attnum > 0
    and not a.attisdropped
    and n.nspname = any(%(schemas)s)
order by a.attrelid, a.attnum
"""


def _load_columns(cursor: Cursor, schemas: Sequence[str]) -> dict[int, dict[int, Column]]:
    """By the relation's oid and the column's number. Tables have many columns in common, and share them here: that
    spares the garbage collector, which stops the event loop too, most of what it would have to walk through."""
    read_column = cache(_read_column)
    found: defaultdict[int, dict[int, Column]] = defaultdict(dict)
    for relation, number, *facts, labels in cursor.execute(DOMAINS + COLUMNS, {"schemas": list(schemas)}):
        found[relation][number] = read_column(*facts, tuple(labels or ()))
    return found


def _read_column(
    name: str,
    type_name: str,
    base_type: str,
    nullable: bool,
    default: str | None,
    type_oid: int,
    modifier: int,
    description: str | None,
    labels: tuple[str, ...],
) -> Column:
    return Column(
        name=intern(name),
        type=intern(type_name),
        base_type=intern(base_type),
        nullable=nullable,
        default=default and intern(default),
        max_length=_max_length(type_oid, modifier),
        enum_values=tuple(map(intern, labels)),
        description=description,
    )


_CHARACTER_TYPES, _BIT_TYPES = frozenset({1042, 1043}), frozenset({1560, 1562})


def _max_length(type_oid: int, modifier: int) -> int | None:
    """In characters or bits. The modifier of the character types counts a header of four bytes that is long gone."""
    if modifier < 0:
        return None
    if type_oid in _CHARACTER_TYPES:
        return modifier - 4
    return modifier if type_oid in _BIT_TYPES else None


# In every schema: views show tables of schemas that are not exposed. The order is for views that show the primary
# keys of several tables, whose columns PostgREST puts in the descending order of the tables' names.
UNIQUE_KEYS: LiteralString = """
select k.conrelid, k.contype = 'p', k.conkey
from pg_catalog.pg_constraint as k
join pg_catalog.pg_class as r on r.oid = k.conrelid
join pg_catalog.pg_namespace as n on n.oid = r.relnamespace
where k.contype in ('p', 'u') and n.nspname not in ('pg_catalog', 'information_schema')
order by n.nspname desc, r.relname desc
"""


def _load_unique_keys(cursor: Cursor) -> tuple[set[tuple[int, frozenset[int]]], dict[int, tuple[int, ...]]]:
    """Relations with the numbers of columns that are unique in them; and the primary keys among those, in order."""
    unique: set[tuple[int, frozenset[int]]] = set()
    primary: dict[int, tuple[int, ...]] = {}
    for relation, is_primary, numbers in cursor.execute(UNIQUE_KEYS):
        unique.add((relation, frozenset(numbers)))
        if is_primary:
            primary[relation] = tuple(numbers)
    return unique, primary


# Only the rule that makes the view; it may have others, for writing. Views whose text is long come one by one.
VIEW_RULES: LiteralString = """
select r.oid, n.nspname = any(%(schemas)s), n.nspname, r.relname, w.ev_action::text
from pg_catalog.pg_class as r
join pg_catalog.pg_namespace as n on n.oid = r.relnamespace
join pg_catalog.pg_rewrite as w on w.ev_class = r.oid and w.ev_type = '1'
where r.relkind in ('v', 'm') and (n.nspname = any(%(schemas)s) or n.nspname = any(%(extra)s))
"""


def _load_shown_tables(
    cursor: Cursor,
    schemas: Sequence[str],
    extra_search_path: Sequence[str],
    columns: Mapping[int, Mapping[int, Column]],
) -> dict[int, list[ShownTable]]:
    """What the exposed views show of tables, by the tables' oids."""
    views: dict[int, tuple[Name, dict[int, str]]] = {}
    origins = {}
    parameters = {"schemas": list(schemas), "extra": list(extra_search_path)}
    for oid, is_exposed, schema, name, rule in cursor.stream(VIEW_RULES, parameters):
        origins[oid] = parse_column_origins(rule)
        if is_exposed:
            names = {number: column.name for number, column in columns.get(oid, {}).items()}
            views[oid] = (_name(schema, name), names)
    return group_shown_tables(views, trace_view_columns(origins))


# Tables take every write; whether a view or a foreign table takes one, the rewriter or the wrapper knows (bits of
# 1 << CmdType: 4 update, 8 insert, 16 delete), triggers included. Materialized views take none. PostgreSQL raises
# an error when it is asked about a foreign table whose wrapper has no handler.
TABLES: LiteralString = """
select
    r.oid,
    n.nspname,
    r.relname,
    r.relkind in ('v', 'm'),
    case
        when r.relkind in ('r', 'p') then 28
        when r.relkind = 'v' or w.fdwhandler <> 0 then pg_relation_is_updatable(r.oid, true)
        else 0
    end,
    c.description
from pg_catalog.pg_class as r
join pg_catalog.pg_namespace as n on n.oid = r.relnamespace
left join pg_catalog.pg_foreign_table as f on f.ftrelid = r.oid
left join pg_catalog.pg_foreign_server as s on s.oid = f.ftserver
left join pg_catalog.pg_foreign_data_wrapper as w on w.oid = s.srvfdw
left join pg_catalog.pg_description as c on c.objoid = r.oid and c.objsubid = 0
    and c.classoid = 'pg_catalog.pg_class'::regclass
where r.relkind in ('r', 'v', 'm', 'f', 'p')
    and not r.relispartition
    and n.nspname = any(%(schemas)s)
    and n.nspname not in ('pg_catalog', 'information_schema')
order by n.nspname, r.relname
"""


def _load_tables(
    cursor: Cursor,
    schemas: Sequence[str],
    columns: Mapping[int, Mapping[int, Column]],
    primary_keys: Mapping[int, Sequence[int]],
    view_keys: Mapping[Name, tuple[str, ...]],
) -> dict[Name, Table]:
    """A table's primary key is in the order of its columns' names, as PostgREST has it."""
    tables: dict[Name, Table] = {}
    for oid, schema, name, is_view, writes, description in cursor.execute(TABLES, {"schemas": list(schemas)}):
        full_name = _name(schema, name)
        own = columns.get(oid, {})
        key = tuple(sorted(own[number].name for number in primary_keys.get(oid, ())))
        tables[full_name] = Table(
            oid=oid,
            name=full_name,
            columns={column.name: column for column in own.values()},
            primary_key=view_keys.get(full_name, ()) if is_view else key,
            is_view=is_view,
            insertable=bool(writes & 8),
            updatable=bool(writes & 4),
            deletable=bool(writes & 16),
            description=description,
        )
    return tables


# The keys that a partitioned table gives to its partitions, and those it makes towards the partitions of another
# table, have a parent and are left out.
FOREIGN_KEYS: LiteralString = """
select
    k.conname,
    k.conrelid,
    n.nspname,
    r.relname,
    k.conkey,
    array_agg(a.attname::text order by u.place),
    k.confrelid,
    fn.nspname,
    fr.relname,
    k.confkey,
    array_agg(fa.attname::text order by u.place)
from pg_catalog.pg_constraint as k
cross join lateral unnest(k.conkey, k.confkey) with ordinality as u(near, far, place)
join pg_catalog.pg_class as r on r.oid = k.conrelid
join pg_catalog.pg_namespace as n on n.oid = r.relnamespace
join pg_catalog.pg_class as fr on fr.oid = k.confrelid
join pg_catalog.pg_namespace as fn on fn.oid = fr.relnamespace
join pg_catalog.pg_attribute as a on a.attrelid = k.conrelid and a.attnum = u.near
join pg_catalog.pg_attribute as fa on fa.attrelid = k.confrelid and fa.attnum = u.far
where k.contype = 'f' and k.conparentid = 0
group by k.oid, k.conname, k.conrelid, n.nspname, r.relname, k.conkey,
    k.confrelid, fn.nspname, fr.relname, k.confkey
"""


def _load_foreign_keys(cursor: Cursor, unique: set[tuple[int, frozenset[int]]]) -> list[ForeignKey]:
    return [
        ForeignKey(
            constraint=intern(constraint),
            near=_key_end(*near),
            far=_key_end(*far),
            is_unique=(near[0], frozenset(near[3])) in unique,
        )
        for constraint, *ends in cursor.execute(FOREIGN_KEYS)
        for near, far in [(ends[:5], ends[5:])]
    ]


def _key_end(oid: int, schema: str, name: str, numbers: Sequence[int], columns: Sequence[str]) -> KeyEnd:
    return KeyEnd(oid, _name(schema, name), tuple(map(intern, columns)), tuple(numbers))


# A function of one argument, from the rows of one relation to the rows of another. PostgREST looks for it in the schema
# that the request is about, which is the table's too: those for tables of other schemas are never found.
COMPUTED_RELATIONSHIPS: LiteralString = """
select n.nspname, p.proname, ar.relname, rn.nspname, rr.relname, not p.proretset or p.prorows = 1
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
join pg_catalog.pg_class as ar on ar.reltype = p.proargtypes[0] and ar.relnamespace = p.pronamespace
join pg_catalog.pg_class as rr on rr.reltype = p.prorettype
join pg_catalog.pg_namespace as rn on rn.oid = rr.relnamespace
where p.pronargs = 1
    and p.prokind = 'f'
    and n.nspname = any(%(schemas)s)
    and ar.relkind in ('r', 'v', 'm', 'f', 'p')
    and rr.relkind in ('r', 'v', 'm', 'f', 'p')
"""


def _load_computed_relationships(cursor: Cursor, schemas: Sequence[str]) -> list[Relationship]:
    return [
        Relationship(
            table=_name(schema, table),
            foreign=_name(foreign_schema, foreign),
            cardinality="many-to-one" if is_to_one else "one-to-many",
            constraint=intern(name),
            routine=_name(schema, name),
            is_self=(schema, table) == (foreign_schema, foreign),
        )
        for schema, name, table, foreign_schema, foreign, is_to_one in cursor.execute(
            COMPUTED_RELATIONSHIPS, {"schemas": list(schemas)}
        )
    ]


# Arguments of the modes in, inout and variadic are a request's to give. Any of out, inout and table makes the rows
# composite, whatever the return type says. Functions that return a trigger cannot be called.
ROUTINES: LiteralString = """
select
    p.oid,
    n.nspname as schema,
    p.proname as name,
    case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end as volatility,
    p.proretset as returns_set,
    case
        when t.typtype = 'c' or p.proargmodes::text[] && '{o,b,t}' then 'composite'
        when t.oid = 'pg_catalog.void'::regtype and not p.proretset then 'void'
        else 'scalar'
    end as kind,
    tn.nspname as type_schema,
    coalesce(r.relname, t.typname) as type_name,
    p.provariadic <> 0 as has_variadic,
    i.names,
    i.types,
    i.modes,
    p.pronargs - p.pronargdefaults as required_count,
    h.settings,
    (select s.setting
     from unnest(p.proconfig) as s(setting)
     where s.setting like 'default\\_transaction\\_isolation=%%') as isolation,
    c.description
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
left join domains as d on d.domain = p.prorettype
join pg_catalog.pg_type as t on t.oid = coalesce(d.base, p.prorettype)
join pg_catalog.pg_namespace as tn on tn.oid = t.typnamespace
left join pg_catalog.pg_class as r on r.oid = t.typrelid
left join pg_catalog.pg_description as c on c.objoid = p.oid
    and c.classoid = 'pg_catalog.pg_proc'::regclass
left join lateral (
    select
        array_agg(a.name order by a.place) as names,
        array_agg(format_type(a.type, null) order by a.place) as types,
        array_agg(a.mode::text order by a.place) as modes
    from unnest(
        p.proargnames,
        coalesce(p.proallargtypes, p.proargtypes::oid[]),
        p.proargmodes
    ) with ordinality as a(name, type, mode, place)
    where coalesce(a.mode, 'i') in ('i', 'b', 'v')
) as i on p.pronargs > 0
left join lateral (
    select array_agg(s.setting) as settings
    from unnest(p.proconfig) as s(setting)
    where s.setting ~ any(%(hoisted)s)
) as h on p.proconfig is not null
where p.prokind = 'f'
    and t.oid not in ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype)
    and n.nspname = any(%(schemas)s)
"""


def _load_routines(
    cursor: Cursor, schemas: Sequence[str], hoisted: Sequence[str]
) -> dict[Name, tuple[Routine, ...]]:
    found: defaultdict[Name, list[Routine]] = defaultdict(list)
    read_parameter = cache(_read_parameter)
    with cursor.connection.cursor(row_factory=namedtuple_row) as named:
        for row in named.execute(DOMAINS + ROUTINES, {"schemas": list(schemas), "hoisted": list(hoisted)}):
            routine = _read_routine(row, read_parameter)
            if _is_callable(routine.parameters):
                found[routine.name].append(routine)
    return {name: tuple(sorted(overloads, key=_overload_order)) for name, overloads in found.items()}


def _read_routine(row: Any, read_parameter: Callable[[str, str, str | None, bool], Parameter]) -> Routine:
    arguments = zip(row.names or (), row.types or (), row.modes or (), strict=True)
    return Routine(
        oid=row.oid,
        name=_name(row.schema, row.name),
        parameters=tuple(
            read_parameter(name or "", type_name, mode, place < row.required_count)
            for place, (name, type_name, mode) in enumerate(arguments)
        ),
        volatility=row.volatility,
        returns_set=row.returns_set,
        kind=row.kind,
        return_type=_name(row.type_schema, row.type_name),
        has_variadic=row.has_variadic,
        settings=_read_settings(row.settings or ()),
        isolation=row.isolation and _isolation_level(row.isolation.partition("=")[2]),
        description=row.description,
    )


# Types that without a length mean one character or one bit; a request's value must not be cut down to that.
_WIDER_TYPES = {
    "bit": "bit varying",
    "bit[]": "bit varying[]",
    "character": "character varying",
    "character[]": "character varying[]",
}


def _read_parameter(name: str, type_name: str, mode: str | None, required: bool) -> Parameter:
    return Parameter(
        name=intern(name),
        type=intern(type_name),
        cast_type=intern(_WIDER_TYPES.get(type_name, type_name)),
        required=required,
        variadic=mode == "v",
    )


_WHOLE_BODY_TYPES = frozenset({"bytea", "json", "jsonb", "text", "xml"})


def _is_callable(parameters: Sequence[Parameter]) -> bool:
    """A parameter without a name can only be the whole body, and only alone and of a type that a body can have. Beside
    parameters with names it may have a default."""
    if not parameters or any(parameter.name for parameter in parameters):
        return True
    return len(parameters) == 1 and parameters[0].type in _WHOLE_BODY_TYPES


def _overload_order(routine: Routine) -> tuple[object, ...]:
    """Few parameters first; then as PostgREST lists them to a request that fits several."""
    parameters = tuple((p.name, p.type, p.cast_type, p.required, p.variadic) for p in routine.parameters)
    return (len(parameters), routine.description is not None, routine.description or "", parameters)


_ISOLATION = "default_transaction_isolation"


def _read_settings(settings: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """`name=value` each, without the isolation level, which must be known before the transaction begins."""
    pairs = ((intern(name), intern(value)) for name, _, value in (s.partition("=") for s in settings))
    return tuple(pair for pair in pairs if pair[0] != _ISOLATION)


def _isolation_level(value: str) -> str:
    """PostgreSQL treats `read uncommitted` as `read committed`."""
    level = value.lower()
    return level if level in ("repeatable read", "serializable") else "read committed"


# Of the roles that this one may become. `user` settings are anyone's to set, others need the privilege to be granted.
ROLE_SETTINGS: LiteralString = """
select r.rolname, array_agg(s.setting order by s.place)
from pg_catalog.pg_roles as r
cross join lateral unnest(r.rolconfig) with ordinality as s(setting, place)
join pg_catalog.pg_settings as g on g.name = split_part(s.setting, '=', 1)
where exists (
        select
        from pg_catalog.pg_auth_members as m
        join pg_catalog.pg_roles as me on me.oid = m.member
        where m.roleid = r.oid and me.rolname = current_user
    )
    and (g.context = 'user' or has_parameter_privilege(current_user, g.name, 'set'))
group by r.rolname
"""


def _load_role_settings(cursor: Cursor) -> dict[str, RoleSettings]:
    return {role: _read_role_settings(settings) for role, settings in cursor.execute(ROLE_SETTINGS)}


def _read_role_settings(settings: Sequence[str]) -> RoleSettings:
    levels = [value for name, _, value in (s.partition("=") for s in settings) if name == _ISOLATION]
    return RoleSettings(_read_settings(settings), _isolation_level(levels[0]) if levels else None)


# Casts that a domain's owner made implicit, between it and what a request or an answer is made of.
REPRESENTATIONS: LiteralString = """
select
    format_type(c.castsource, null),
    format_type(c.casttarget, null),
    c.castfunc::regproc::text
from pg_catalog.pg_cast as c
join pg_catalog.pg_type as s on s.oid = c.castsource
join pg_catalog.pg_type as t on t.oid = c.casttarget
where c.castcontext = 'i'
    and c.castmethod = 'f'
    and (
        s.typtype = 'd' and t.oid in ('pg_catalog.json'::regtype, 'pg_catalog.text'::regtype)
        or t.typtype = 'd' and s.oid in ('pg_catalog.json'::regtype, 'pg_catalog.text'::regtype)
    )
    and has_function_privilege(c.castfunc, 'execute')
"""


def _load_representations(cursor: Cursor) -> dict[tuple[str, str], str]:
    return {
        (intern(source), intern(target)): function
        for source, target, function in cursor.execute(REPRESENTATIONS)
    }


# A domain named like a media type says what its values are. Aggregates over rows of a table, or of any, that return
# one answer for that table; a function that returns one answers for itself, and its result is cast to the domain,
# which is written like a call of it.
MEDIA_HANDLERS: LiteralString = """,
media_types as (
    select t.oid, t.typnamespace, t.typname, d.base = 'pg_catalog.bytea'::regtype as is_binary
    from domains as d
    join pg_catalog.pg_type as t on t.oid = d.domain
    where t.typname ~ '^([A-Za-z0-9.-]+/[A-Za-z0-9.+-]+|[*]/[*])$'
)
select n.nspname, p.proname, an.nspname, a.typname, a.oid = 'pg_catalog.anyelement'::regtype, m.typname, m.is_binary
from media_types as m
join pg_catalog.pg_proc as p on p.prorettype = m.oid
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
join pg_catalog.pg_type as a on a.oid = p.proargtypes[0]
join pg_catalog.pg_namespace as an on an.oid = a.typnamespace
left join pg_catalog.pg_class as r on r.oid = a.typrelid and r.relkind in ('r', 'v', 'm', 'f', 'p')
where p.prokind = 'a'
    and p.pronargs = 1
    and n.nspname = any(%(schemas)s)
    and (r.oid is not null or a.oid = 'pg_catalog.anyelement'::regtype)
union all
select mn.nspname, m.typname, n.nspname, p.proname, false, m.typname, m.is_binary
from media_types as m
join pg_catalog.pg_namespace as mn on mn.oid = m.typnamespace
join pg_catalog.pg_proc as p on p.prorettype = m.oid
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
where p.prokind = 'f'
    and not p.proretset
    and n.nspname = any(%(schemas)s)
order by 1, 2, 3, 4
"""


def _load_media_handlers(
    cursor: Cursor, schemas: Sequence[str]
) -> dict[tuple[Name | None, str], MediaHandler]:
    handlers: dict[tuple[Name | None, str], MediaHandler] = {}
    rows = cursor.execute(DOMAINS + MEDIA_HANDLERS, {"schemas": list(schemas)})
    for schema, name, target_schema, target_name, is_for_any, media_type, is_binary in rows:
        target = None if is_for_any else _name(target_schema, target_name)
        answer = "application/octet-stream" if media_type == "*/*" else media_type
        handlers[target, media_type.lower()] = MediaHandler(_name(schema, name), target, answer, is_binary)
    return handlers


def _name(schema: str, name: str) -> Name:
    return intern(schema), intern(name)
