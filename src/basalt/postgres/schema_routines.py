"""Routines of the schema cache, and the functions behind domains: representations and handlers of media types."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from sys import intern
from typing import Any, LiteralString

from psycopg.rows import namedtuple_row

from basalt.postgres.schema_cache import MediaHandler, Name, Parameter, Routine
from basalt.postgres.schema_rows import (
    DOMAINS,
    Cursor,
    intern_name,
    isolation_level,
    read_settings,
)

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


def load_routines(
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
        name=intern_name(row.schema, row.name),
        parameters=tuple(
            read_parameter(name or "", type_name, mode, place < row.required_count)
            for place, (name, type_name, mode) in enumerate(arguments)
        ),
        volatility=row.volatility,
        returns_set=row.returns_set,
        kind=row.kind,
        return_type=intern_name(row.type_schema, row.type_name),
        has_variadic=row.has_variadic,
        settings=read_settings(row.settings or ()),
        isolation=row.isolation and isolation_level(row.isolation.partition("=")[2]),
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


def load_representations(cursor: Cursor) -> dict[tuple[str, str], str]:
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


def load_media_handlers(
    cursor: Cursor, schemas: Sequence[str]
) -> dict[tuple[Name | None, str], MediaHandler]:
    handlers: dict[tuple[Name | None, str], MediaHandler] = {}
    rows = cursor.execute(DOMAINS + MEDIA_HANDLERS, {"schemas": list(schemas)})
    for schema, name, target_schema, target_name, is_for_any, media_type, is_binary in rows:
        target = None if is_for_any else intern_name(target_schema, target_name)
        answer = "application/octet-stream" if media_type == "*/*" else media_type
        handlers[target, media_type.lower()] = MediaHandler(
            intern_name(schema, name), target, answer, is_binary
        )
    return handlers
