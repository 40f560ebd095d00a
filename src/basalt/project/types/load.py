"""Reads what types are printed from: the schema cache for tables, keys and routines that REST can reach, and
`pg_catalog` for what REST need not know, such as identities, attributes of composite types and what routines return.

Which things are told, and how, follows supabase/postgres-meta (`templates/typescript.ts`), which the Supabase CLI
runs. Types are looked up by oid instead of by name, so that domains, arrays of domains and types of the same name in
two schemas come out as what they are.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, LiteralString

import psycopg
from psycopg.rows import namedtuple_row

from basalt.errors import BasaltError
from basalt.postgres import SchemaCache, Table, load_schema_cache
from basalt.project.types.shape import (
    UNKNOWN,
    ArrayOf,
    ColumnShape,
    CompositeRef,
    CompositeShape,
    ComputedField,
    EnumRef,
    EnumShape,
    Field,
    ForeignKeyShape,
    RelationShape,
    Returned,
    RoutineShape,
    RowRef,
    Scalar,
    ScalarKind,
    SchemaTypes,
    TypeRef,
    name_order,
    sort_named,
)

CONNECT_LIMIT_S: Final = 10
LIST_SCHEMAS: Final = "select nspname from pg_catalog.pg_namespace where nspname = any(%(schemas)s)"


def load_types(conninfo: str, schemas: Sequence[str]) -> list[SchemaTypes]:
    """The schemas in alphabetical order. Raises BasaltError where the database does not answer or has no such
    schema."""
    try:
        with psycopg.connect(
            conninfo, autocommit=True, application_name="basalt/types", connect_timeout=CONNECT_LIMIT_S
        ) as connection:
            known = {row[0] for row in connection.execute(LIST_SCHEMAS, {"schemas": list(schemas)})}
            if unknown := set(schemas) - known:
                raise BasaltError("schema_unknown", 400, f"There is no schema {', '.join(sorted(unknown))}.")
            ordered = sorted(known, key=name_order)
            cache = load_schema_cache(connection, ordered)
            loader = _Loader(connection, ordered, cache)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]  # what follows is libpq's advice
        raise BasaltError("database_away", 503, f"The database does not answer: {reason}") from error
    except psycopg.ProgrammingError as error:  # its message has the password
        raise BasaltError("database_url_invalid", 400, "The database URL cannot be read.") from error
    return [loader.build_schema(schema) for schema in ordered]


# Every type, for arguments may be of any. Only a type that is another's array type is an array: int2vector, which has
# elements too, is told as text.
TYPES: LiteralString = """
select
    t.oid::int8 as oid,
    n.nspname as schema,
    t.typname as name,
    case when t.typtype = 'd' then t.typbasetype::int8 end as base,
    (select e.oid::int8 from pg_catalog.pg_type as e where e.typarray = t.oid) as element,
    r.relname as relation,
    r.relkind::text as relkind,
    (select array_agg(e.enumlabel::text order by e.enumsortorder)
     from pg_catalog.pg_enum as e where e.enumtypid = t.oid) as labels,
    case when r.relkind = 'c' then
        (select array_agg(a.attname::text order by a.attnum)
         from pg_catalog.pg_attribute as a where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped)
    end as attribute_names,
    case when r.relkind = 'c' then
        (select array_agg(a.atttypid::int8 order by a.attnum)
         from pg_catalog.pg_attribute as a where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped)
    end as attribute_types
from pg_catalog.pg_type as t
join pg_catalog.pg_namespace as n on n.oid = t.typnamespace
left join pg_catalog.pg_class as r on r.oid = t.typrelid
"""
COLUMNS: LiteralString = """
select
    a.attrelid::int8 as relation,
    a.attname as name,
    a.atttypid::int8 as type,
    a.attidentity <> 'a' and a.attgenerated = ''
        and (r.relkind in ('r', 'p') or r.relkind in ('v', 'f') and pg_column_is_updatable(r.oid, a.attnum, false))
        as is_writable,
    a.attidentity <> '' or a.atthasdef or t.typdefault is not null as has_default
from pg_catalog.pg_attribute as a
join pg_catalog.pg_class as r on r.oid = a.attrelid
join pg_catalog.pg_namespace as n on n.oid = r.relnamespace
join pg_catalog.pg_type as t on t.oid = a.atttypid
where n.nspname = any(%(schemas)s) and r.relkind in ('r', 'v', 'm', 'f', 'p') and a.attnum > 0 and not a.attisdropped
"""
# 20 is insert and delete, what PostgreSQL calls updatable by itself, without triggers.
UPDATABLE_VIEWS: LiteralString = """
select r.oid::int8
from pg_catalog.pg_class as r
join pg_catalog.pg_namespace as n on n.oid = r.relnamespace
where n.nspname = any(%(schemas)s) and r.relkind = 'v' and pg_relation_is_updatable(r.oid, false) & 20 = 20
"""
ROUTINES: LiteralString = """
select
    p.oid::int8 as oid,
    n.nspname as schema,
    p.proname as name,
    coalesce(p.proallargtypes, p.proargtypes::oid[])::int8[] as types,
    p.proargnames as names,
    p.proargmodes::text[] as modes,
    p.pronargs - p.pronargdefaults as required_count,
    p.prorettype::int8 as return_type,
    p.proretset as returns_set,
    p.prorows as row_count,
    pg_get_function_arguments(p.oid) as signature,
    pg_get_function_result(p.oid) as result
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
where n.nspname = any(%(schemas)s) and p.prokind = 'f'
    and p.prorettype not in ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype)
"""

KINDS: Final[Mapping[str, ScalarKind]] = {
    "bool": "boolean",
    **dict.fromkeys(("int2", "int4", "int8"), "integer"),
    **dict.fromkeys(("float4", "float8", "numeric"), "decimal"),
    **dict.fromkeys(
        (
            "bytea", "bpchar", "varchar", "date", "text", "citext", "time", "timetz", "timestamp", "timestamptz",
            "uuid", "vector", "interval",
        ),
        "text",
    ),
    "json": "json",
    "jsonb": "json",
    "void": "void",
    "record": "record",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Argument:
    name: str
    type_oid: int
    is_optional: bool


@dataclass(frozen=True, slots=True)
class _Routine:
    """A routine as it is read, with what overloads are told apart by."""

    shape: RoutineShape
    schema: str
    arguments: tuple[_Argument, ...]
    signature: str
    result: str
    return_name: str


class _Loader:
    """What was read, by oid, and the shapes that are made of it."""

    def __init__(
        self, connection: psycopg.Connection[Any], schemas: Sequence[str], cache: SchemaCache
    ) -> None:
        self._cache = cache
        self._schemas = frozenset(schemas)
        parameters = {"schemas": list(schemas)}
        with connection.transaction(), connection.cursor(row_factory=namedtuple_row) as cursor:
            cursor.execute("set local search_path = ''")
            self._types: dict[int, Any] = {row[0]: row for row in cursor.execute(TYPES)}
            columns: list[Any] = cursor.execute(COLUMNS, parameters).fetchall()
            self._updatable = {row[0] for row in cursor.execute(UPDATABLE_VIEWS, parameters)}
            rows: list[Any] = cursor.execute(ROUTINES, parameters).fetchall()
        self._columns = self._build_columns(columns)
        callable_oids = {routine.oid for overloads in cache.routines.values() for routine in overloads}
        self._routines = [
            routine for row in rows if (routine := self._read_routine(row, row.oid in callable_oids))
        ]

    def build_schema(self, schema: str) -> SchemaTypes:
        routines = self._build_routines(schema)
        computed = defaultdict(list)
        for name, overloads in routines:
            for routine in overloads:
                if routine.row_of is not None and [field.name for field in routine.arguments] == [""]:
                    computed[routine.row_of].append(ComputedField(name, routine))
        relations = [
            self._build_relation(table, computed.get(table.name[1], ()))
            for table in self._cache.tables.values()
            if table.name[0] == schema
        ]
        mine = [row for row in self._types.values() if row.schema == schema]
        return SchemaTypes(
            name=schema,
            tables=sort_named(relation for relation in relations if not relation.is_view),
            views=sort_named(relation for relation in relations if relation.is_view),
            routines=routines,
            enums=sort_named(EnumShape(row.name, tuple(row.labels)) for row in mine if row.labels),
            composites=sort_named(
                CompositeShape(row.name, self._fields(row)) for row in mine if row.attribute_names
            ),
        )

    def _fields(self, row: Any) -> tuple[Field, ...]:
        return tuple(
            Field(name, self._type(type_oid))
            for name, type_oid in zip(row.attribute_names, row.attribute_types, strict=True)
        )

    def _type(self, oid: int) -> TypeRef:
        row = self._types.get(oid)
        if row is None:
            return UNKNOWN
        if row.base is not None:
            return self._type(row.base)
        if row.element is not None:
            return ArrayOf(self._type(row.element))
        is_printed = row.schema in self._schemas
        if row.labels:
            return EnumRef(row.schema, row.name, tuple(row.labels), is_printed)
        if row.attribute_names:
            return CompositeRef(row.schema, row.name) if is_printed else UNKNOWN
        if table := self._cache.tables.get((row.schema, row.relation)):
            return RowRef(*table.name, table.is_view)
        return Scalar(KINDS[row.name]) if row.name in KINDS else UNKNOWN

    def _build_columns(self, rows: Iterable[Any]) -> Mapping[int, tuple[ColumnShape, ...]]:
        tables = {table.oid: table for table in self._cache.tables.values()}
        found: defaultdict[int, list[ColumnShape]] = defaultdict(list)
        for row in rows:
            if table := tables.get(row.relation):
                found[table.oid].append(
                    ColumnShape(
                        name=row.name,
                        type=self._type(row.type),
                        is_nullable=table.columns[row.name].nullable,
                        has_default=row.has_default,
                        is_writable=row.is_writable,
                    )
                )
        return {oid: sort_named(columns) for oid, columns in found.items()}

    def _build_relation(self, table: Table, computed: Iterable[ComputedField]) -> RelationShape:
        schema = table.name[0]
        keys = [
            ForeignKeyShape(
                each.constraint,
                each.columns,
                each.foreign[1],
                each.foreign_columns,
                each.cardinality == "one-to-one",
            )
            for each in self._cache.relationships.get(table.name, ())
            if each.is_to_one and not each.is_inverse and each.routine is None and each.foreign[0] == schema
        ]
        return RelationShape(
            name=table.name[1],
            is_view=table.is_view,
            is_updatable=not table.is_view or table.oid in self._updatable,
            columns=self._columns.get(table.oid, ()),
            computed=tuple(computed),
            relationships=tuple(
                sorted(
                    keys,
                    key=lambda key: (
                        name_order(key.constraint), name_order(key.foreign), key.foreign_columns, key.columns,
                    ),
                )
            ),
        )  # fmt: skip

    def _read_routine(self, row: Any, is_callable: bool) -> _Routine | None:
        names = row.names or [""] * len(row.types)
        modes = row.modes or ["i"] * len(row.types)
        given: list[_Argument] = []
        out: list[Field] = []
        for name, type_oid, mode in zip(names, row.types, modes, strict=True):
            if mode in "ibv":
                given.append(_Argument(name, type_oid, len(given) >= row.required_count))
            if mode in "obt":
                out.append(Field(name, self._type(type_oid)))
        row_of = self._row_of(given[0].type_oid) if len(given) == 1 else None
        if not is_callable and row_of is None:
            return None
        given.sort(key=lambda argument: name_order(argument.name))
        returned = self._read_returned(row, out)
        return _Routine(
            shape=RoutineShape(
                name=row.name,
                arguments=tuple(Field(a.name, self._type(a.type_oid), a.is_optional) for a in given),
                returned=returned,
                row_of=row_of,
                error=None
                if is_callable or returned.relation is not None
                else f"the function {row.schema}.{row.name} with parameter or with a single unnamed json/jsonb "
                "parameter, but no matches were found in the schema cache",
            ),
            schema=row.schema,
            arguments=tuple(given),
            signature=row.signature,
            result=row.result,
            return_name=self._name_of(row.return_type),
        )

    def _read_returned(self, row: Any, out: Sequence[Field]) -> Returned:
        made = self._types.get(row.return_type)
        while made is not None and made.base is not None:
            made = self._types.get(made.base)
        relation: str | None = made.relation if made is not None else None
        is_own = relation is not None and made is not None and made.schema == row.schema
        own = self._cache.tables.get((row.schema, relation or "")) if is_own else None
        # Several `out` arguments make a record; a single one is the return type itself.
        is_record = made is not None and made.name == "record" and bool(out)
        return Returned(
            type=self._type(row.return_type),
            fields=sort_named(out) if is_record else (),
            columns=self._columns.get(own.oid, ()) if own is not None else None,
            relation=relation,
            is_set=row.returns_set,
            is_many=row.returns_set and row.row_count > 1,
        )

    def _row_of(self, type_oid: int) -> str | None:
        row = self._types.get(type_oid)
        table = self._cache.tables.get((row.schema, row.relation)) if row is not None else None
        return table.name[1] if table is not None else None

    def _name_of(self, type_oid: int) -> str:
        row = self._types.get(type_oid)
        return str(row.name) if row is not None else "unknown"

    def _build_routines(self, schema: str) -> tuple[tuple[str, tuple[RoutineShape, ...]], ...]:
        by_name: defaultdict[str, list[_Routine]] = defaultdict(list)
        for routine in self._routines:
            if routine.schema == schema:
                by_name[routine.shape.name].append(routine)
        return tuple(
            (name, tuple(self._told(routine, by_name[name]) for routine in sorted(by_name[name], key=_order)))
            for name in sorted(by_name, key=name_order)
        )

    def _told(self, routine: _Routine, overloads: Sequence[_Routine]) -> RoutineShape:
        """With the error where PostgREST cannot choose between overloads: those that take one argument of the same name
        and another type, and none against one without a name that may be left out."""
        others = [other for other in overloads if other is not routine]
        if not routine.arguments:
            rivals = [o for o in others if len(o.arguments) == 1 and o.arguments[0].name == ""
                      and o.arguments[0].is_optional]  # fmt: skip
            calls = [
                f"{_full_name(routine)}()",
                *(f"{_full_name(o)}( => {o.return_name})" for o in rivals[:1]),
            ]
        elif len(routine.arguments) == 1 and routine.arguments[0].name:
            argument = routine.arguments[0]
            rivals = [o for o in others if len(o.arguments) == 1 and o.arguments[0].name == argument.name
                      and o.arguments[0].type_oid != argument.type_oid]  # fmt: skip
            alike = sorted([routine, *rivals], key=lambda each: each.arguments[0].type_oid)
            calls = [
                f"{_full_name(o)}({argument.name} => {self._name_of(o.arguments[0].type_oid)})" for o in alike
            ]
        else:
            return routine.shape
        if not rivals:
            return routine.shape
        error = (
            f"Could not choose the best candidate function between: {', '.join(calls)}. Try renaming the parameters "
            "or the function itself in the database so function overloading can be resolved"
        )
        return replace(routine.shape, error=error)


def _full_name(routine: _Routine) -> str:
    return f"{routine.schema}.{routine.shape.name}"


def _order(routine: _Routine) -> tuple[str, str]:
    return routine.signature, routine.result
