"""TypeScript in the shape of `supabase gen types typescript`, which supabase-js is typed by, laid out as Prettier lays
it out, so that whoever comes from the Supabase CLI sees few lines change."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

import orjson

from basalt.project.types.shape import (
    ArrayOf,
    ColumnShape,
    CompositeRef,
    EnumRef,
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
)

POSTGREST_VERSION: Final = "14.17"
WIDTH: Final = 80
PLAIN_NAME: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
NOTHING: Final = "[_ in never]: never"

SCALARS: Final[dict[ScalarKind, str]] = {
    "boolean": "boolean",
    "integer": "number",
    "decimal": "number",
    "text": "string",
    "json": "Json",
    "void": "undefined",
    "record": "Record<string, unknown>",
    "unknown": "unknown",
}

HEAD: Final = """\
export type Json =
  | string
  | number
  | boolean
  | null
  | { [key: string]: Json | undefined }
  | Json[]

"""
INTERNALS: Final = f"""\
  // What `createClient<Database>(…)` takes its options from.
  __InternalSupabase: {{
    PostgrestVersion: "{POSTGREST_VERSION}"
  }}
"""

# `Tables<"gigs">` of the default schema, `Tables<{ schema: "api" }, "gigs">` of another one: the names and parameters
# that supabase-js users know.
HELPERS: Final = """
type DatabaseWithoutInternals = Omit<Database, "__InternalSupabase">

type DefaultSchema = DatabaseWithoutInternals[DEFAULT]

type InSchema = { schema: keyof DatabaseWithoutInternals }

type Relations<S extends keyof DatabaseWithoutInternals> =
  DatabaseWithoutInternals[S]["Tables"] & DatabaseWithoutInternals[S]["Views"]

export type Tables<
  NameOrSchema extends
    | keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
    | InSchema,
  Name extends NameOrSchema extends InSchema
    ? keyof Relations<NameOrSchema["schema"]>
    : never = never,
> = NameOrSchema extends InSchema
  ? Relations<NameOrSchema["schema"]>[Name] extends { Row: infer R }
    ? R
    : never
  : NameOrSchema extends keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
    ? (DefaultSchema["Tables"] & DefaultSchema["Views"])[NameOrSchema] extends {
        Row: infer R
      }
      ? R
      : never
    : never
"""
WRITTEN: Final = """
export type TablesKIND<
  NameOrSchema extends keyof DefaultSchema["Tables"] | InSchema,
  Name extends NameOrSchema extends InSchema
    ? keyof DatabaseWithoutInternals[NameOrSchema["schema"]]["Tables"]
    : never = never,
> = NameOrSchema extends InSchema
  ? DatabaseWithoutInternals[NameOrSchema["schema"]]["Tables"][Name] extends {
      KIND: infer W
    }
    ? W
    : never
  : NameOrSchema extends keyof DefaultSchema["Tables"]
    ? DefaultSchema["Tables"][NameOrSchema] extends { KIND: infer W }
      ? W
      : never
    : never
"""
NAMED: Final = """
export type KIND<
  NameOrSchema extends keyof DefaultSchema["KIND"] | InSchema,
  Name extends NameOrSchema extends InSchema
    ? keyof DatabaseWithoutInternals[NameOrSchema["schema"]]["KIND"]
    : never = never,
> = NameOrSchema extends InSchema
  ? DatabaseWithoutInternals[NameOrSchema["schema"]]["KIND"][Name]
  : NameOrSchema extends keyof DefaultSchema["KIND"]
    ? DefaultSchema["KIND"][NameOrSchema]
    : never
"""


@dataclass(frozen=True, slots=True)
class Union:
    parts: tuple["Type", ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """An array of something that is not a name."""

    element: "Type"


@dataclass(frozen=True, slots=True)
class Members:
    """An object type; `is_open` has a line for each member, however few there are."""

    members: tuple[tuple[str, "Type"], ...]
    is_open: bool = True


@dataclass(frozen=True, slots=True)
class Tuple:
    items: tuple["Type", ...]


Type = str | Union | Listed | Members | Tuple


def render_typescript(schemas: Sequence[SchemaTypes]) -> str:
    """The whole file. Where `public` is not printed, the first schema is the default of the helper types."""
    names = [schema.name for schema in schemas]
    default = "public" if "public" in names else names[0]
    body = "".join(
        f"  {_key(schema.name)}: {_lay_out(_schema(schema), 2, len(_key(schema.name)) + 4)}\n"
        for schema in schemas
    )
    return "".join(
        [
            HEAD,
            f"export type Database = {{\n{INTERNALS}{body}}}\n",
            HELPERS.replace("DEFAULT", _quote(default)),
            *(WRITTEN.replace("KIND", kind) for kind in ("Insert", "Update")),
            *(NAMED.replace("KIND", kind) for kind in ("Enums", "CompositeTypes")),
            _render_constants(schemas),
        ]
    )


def _schema(schema: SchemaTypes) -> Members:
    return Members(
        (
            ("Tables", _all((_key(table.name), _table(table)) for table in schema.tables)),
            ("Views", _all((_key(view.name), _view(view)) for view in schema.views)),
            ("Functions", _all((_key(name), _overloads(each)) for name, each in schema.routines)),
            ("Enums", _all((_key(enum.name), _labels(enum.labels)) for enum in schema.enums)),
            (
                "CompositeTypes",
                _all(
                    (
                        _key(composite.name),
                        Members(
                            tuple((_key(f.name), _nullable(_type(f.type))) for f in composite.attributes)
                        ),
                    )
                    for composite in schema.composites
                ),
            ),
        )
    )


def _all(members: Iterable[tuple[str, Type]]) -> Members:
    found = tuple(members)
    return Members(found or ((NOTHING, ""),))


def _table(table: RelationShape) -> Members:
    return Members(
        (
            ("Row", _row(table)),
            ("Insert", Members(tuple(map(_inserted, table.columns)))),
            ("Update", Members(tuple(_updated(column, column.is_nullable) for column in table.columns))),
            ("Relationships", _relationships(table.relationships)),
        )
    )


def _view(view: RelationShape) -> Members:
    written = Members(tuple(_updated(column, True) for column in view.columns))
    writes = (("Insert", written), ("Update", written)) if view.is_updatable else ()
    return Members((("Row", _row(view)), *writes, ("Relationships", _relationships(view.relationships))))


def _row(relation: RelationShape) -> Members:
    computed = tuple((_key(f.name), _nullable(_returned_row(f.routine.returned))) for f in relation.computed)
    return Members((*map(_read, relation.columns), *computed))


def _read(column: ColumnShape) -> tuple[str, Type]:
    return _key(column.name), _nullable(_type(column.type), column.is_nullable)


def _inserted(column: ColumnShape) -> tuple[str, Type]:
    if not column.is_writable:
        return f"{_key(column.name)}?", "never"
    mark = "?" if column.is_nullable or column.has_default else ""
    return f"{_key(column.name)}{mark}", _nullable(_type(column.type), column.is_nullable)


def _updated(column: ColumnShape, is_nullable: bool) -> tuple[str, Type]:
    if not column.is_writable:
        return f"{_key(column.name)}?", "never"
    return f"{_key(column.name)}?", _nullable(_type(column.type), is_nullable)


def _relationships(keys: Sequence[ForeignKeyShape]) -> Tuple:
    return Tuple(
        tuple(
            Members(
                (
                    ("foreignKeyName", _quote(key.constraint)),
                    ("columns", _quote_all(key.columns)),
                    ("isOneToOne", "true" if key.is_one_to_one else "false"),
                    ("referencedRelation", _quote(key.foreign)),
                    ("referencedColumns", _quote_all(key.foreign_columns)),
                )
            )
            for key in keys
        )
    )


def _overloads(routines: Sequence[RoutineShape]) -> Type:
    signatures = tuple(map(_signature, routines))
    return signatures[0] if len(signatures) == 1 else Union(signatures)


def _signature(routine: RoutineShape) -> Members:
    arguments: Type = "never"
    if routine.arguments:
        arguments = Members(tuple(map(_argument, routine.arguments)), is_open=False)
    if routine.error is not None:
        returned: Type = f"{{ error: true }} & {_quote(routine.error)}"
    else:
        row = _returned_row(routine.returned)
        # A set of one row at most is told as the row, and SetofOptions say so to supabase-js.
        is_list = routine.returned.is_set and (routine.returned.is_many or routine.returned.relation is None)
        returned = Listed(row) if is_list else row
    options = _set_options(routine)
    return Members(
        (("Args", arguments), ("Returns", returned), *((("SetofOptions", options),) if options else ())),
        is_open=options is not None,
    )


def _argument(field: Field) -> tuple[str, Type]:
    return f"{_key(field.name)}{'?' if field.is_optional else ''}", _type(field.type)


def _set_options(routine: RoutineShape) -> Members | None:
    """From what to what it leads where it returns rows that `select` can look into."""
    returned = routine.returned
    if returned.relation is None:
        return None
    return Members(
        (
            ("from", _quote(routine.row_of or "*")),
            ("to", _quote(returned.relation)),
            ("isOneToOne", "false" if returned.is_many else "true"),
            ("isSetofReturn", "true" if returned.is_set else "false"),
        )
    )


def _returned_row(returned: Returned) -> Type:
    if returned.fields:
        return Members(tuple((_key(field.name), _type(field.type)) for field in returned.fields))
    if returned.columns is not None:
        return Members(tuple(map(_read, returned.columns)))
    return _type(returned.type)


def _type(ref: TypeRef) -> Type:
    match ref:
        case Scalar(kind):
            return SCALARS[kind]
        case ArrayOf(element):
            return Listed(_type(element))
        case EnumRef(schema, name, labels, is_printed):
            return f'Database[{_quote(schema)}]["Enums"][{_quote(name)}]' if is_printed else _labels(labels)
        case CompositeRef(schema, name):
            return f'Database[{_quote(schema)}]["CompositeTypes"][{_quote(name)}]'
        case RowRef(schema, name, is_view):
            return f'Database[{_quote(schema)}]["{"Views" if is_view else "Tables"}"][{_quote(name)}]["Row"]'
        case _:
            assert_never(ref)


def _labels(labels: Sequence[str]) -> Type:
    quoted = tuple(map(_quote, labels))
    return quoted[0] if len(quoted) == 1 else Union(quoted)


def _nullable(kind: Type, is_nullable: bool = True) -> Type:
    """`unknown` is null already."""
    if not is_nullable or kind == "unknown":
        return kind
    return Union((*(kind.parts if isinstance(kind, Union) else (kind,)), "null"))


def _lay_out(kind: Type, indent: int, column: int) -> str:
    """The type as text that begins at `column` of a line that is indented by `indent`; on one line where it fits."""
    flat = _flat(kind)
    if flat is not None and column + len(flat) <= WIDTH:
        return flat
    pad = " " * (indent + 2)
    match kind:
        case str():
            return kind
        case Members(members):
            lines = [
                f"{pad}{name}\n"
                if name == NOTHING
                else f"{pad}{name}:{_after_colon(value, indent + 2, indent + 3 + len(name))}\n"
                for name, value in members
            ]
            return "{\n" + "".join(lines) + " " * indent + "}" if members else "{}"
        case Tuple(items):
            lines = [f"{pad}{_lay_out(item, indent + 2, indent + 2)},\n" for item in items]
            return "[\n" + "".join(lines) + " " * indent + "]"
        case Listed(Union() as union):
            return "(\n" + pad[:-2] + _alternatives(union, indent + 2).lstrip("\n") + f"\n{' ' * indent})[]"
        case Listed(element):
            return _lay_out(element, indent, column) + "[]"
        case Union():
            return _alternatives(kind, indent + 2)
        case _:
            assert_never(kind)


def _after_colon(kind: Type, indent: int, column: int) -> str:
    text = _lay_out(kind, indent, column + 1)
    return text if text.startswith("\n") else f" {text}"


def _alternatives(union: Union, indent: int) -> str:
    # An object beside null alone is closed by `} | null`, as Prettier does.
    match union.parts:
        case (Members() as row, "null"):
            return _lay_out(row, indent - 2, WIDTH) + " | null"
    pad = " " * indent
    return "".join(f"\n{pad}| {_lay_out(part, indent + 2, indent + 2)}" for part in union.parts)


def _flat(kind: Type) -> str | None:
    """On one line, or None for what never stands on one."""
    match kind:
        case str():
            return kind
        case Listed(element):
            flat = _flat(element)
            return flat and (f"({flat})[]" if isinstance(element, Union) else f"{flat}[]")
        case Union(parts):
            flats = [_flat(part) for part in parts]
            return " | ".join(flat for flat in flats if flat) if all(flats) else None
        case Members(members, is_open):
            if not members:
                return "{}"
            flats = [_flat(value) for _, value in members]
            if is_open or not all(flats):
                return None
            told = zip((name for name, _ in members), flats, strict=True)
            return f"{{ {'; '.join(f'{name}: {flat}' for name, flat in told)} }}"
        case Tuple(items):
            return None if items else "[]"
        case _:
            assert_never(kind)


def _render_constants(schemas: Sequence[SchemaTypes]) -> str:
    """The labels of enums as values, for forms and loops."""
    lines = ["\nexport const Constants = {\n"]
    for schema in schemas:
        if not schema.enums:
            lines.append(f"  {_key(schema.name)}: {{\n    Enums: {{}},\n  }},\n")
            continue
        lines.append(f"  {_key(schema.name)}: {{\n    Enums: {{\n")
        for enum in schema.enums:
            flat = f"      {_key(enum.name)}: [{', '.join(map(_quote, enum.labels))}],\n"
            if len(flat) - 1 > WIDTH:
                items = "".join(f"        {_quote(label)},\n" for label in enum.labels)
                flat = f"      {_key(enum.name)}: [\n{items}      ],\n"
            lines.append(flat)
        lines.append("    },\n  },\n")
    return "".join([*lines, "} as const\n"])


def _key(name: str) -> str:
    """
    >>> _key("user_id"), _key("user-id"), _key("")
    ('user_id', '"user-id"', '""')
    """
    return name if PLAIN_NAME.fullmatch(name) else _quote(name)


def _quote(text: str) -> str:
    """JSON's strings are TypeScript's, U+2028 included."""
    return orjson.dumps(text).decode()


def _quote_all(names: Iterable[str]) -> str:
    return f"[{', '.join(map(_quote, names))}]"
