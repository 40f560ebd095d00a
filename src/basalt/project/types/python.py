"""Python in which each table is three `TypedDict`s (`GigsRow`, `GigsInsert`, `GigsUpdate`), an enum a `Literal`, for
programs that call supabase-py under `mypy --strict`.

Names of columns that no class can have (`user-id`, `class`, `__x`, `list` beside annotations that say `list`) are
written in the other syntax of `TypedDict`, a call with a dictionary.
"""

import json
import keyword
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final, assert_never

from basalt.project.types.shape import (
    ArrayOf,
    ColumnShape,
    CompositeRef,
    EnumRef,
    Returned,
    RoutineShape,
    RowRef,
    Scalar,
    ScalarKind,
    SchemaTypes,
    TypeRef,
)

WIDTH: Final = 110
HEAD: Final = '''\
"""Types of the database, printed by `basalt gen types --lang python`. Print it again instead of editing it."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
'''
BUILTINS: Final = frozenset({"bool", "dict", "float", "int", "list", "str"})
TAKEN: Final = frozenset(
    {"Any", "False", "Json", "Literal", "None", "NotRequired", "True", "TypeAlias", "TypedDict"}
)
SCALARS: Final[dict[ScalarKind, str]] = {
    "boolean": "bool",
    "integer": "int",
    "decimal": "float",
    "text": "str",
    "json": "Json",
    "void": "None",
    "record": "dict[str, Any]",
    "unknown": "Any",
}
KindKey = tuple[str, str, str]
"""What kind of thing, its schema and its name."""


def render_python(schemas: Sequence[SchemaTypes]) -> str:
    """The whole module. What is not of `public` (or of the first schema, where that is not printed) has its schema's
    name before its own."""
    return _Module(schemas).render()


class _Module:
    """The names that are given so far; a name that is taken gets a number."""

    def __init__(self, schemas: Sequence[SchemaTypes]) -> None:
        self._schemas = schemas
        names = [schema.name for schema in schemas]
        self._default = "public" if "public" in names else names[0]
        self._taken = set(TAKEN)
        self._names: dict[KindKey, str] = {}
        for schema in schemas:
            for enum in schema.enums:
                self._name_once("enum", schema.name, enum.name, "")
            for composite in schema.composites:
                self._name_once("composite", schema.name, composite.name, "")
            for relation in (*schema.tables, *schema.views):
                for kind in ("Row", "Insert", "Update"):
                    self._name_once(kind, schema.name, relation.name, kind)

    def render(self) -> str:
        return "".join([HEAD, *(part for schema in self._schemas for part in self._parts(schema))])

    def _parts(self, schema: SchemaTypes) -> Iterable[str]:
        if schema.enums:
            yield "\n\n"
        for enum in schema.enums:
            labels = ", ".join(map(_quote, enum.labels))
            yield _alias(self._names["enum", schema.name, enum.name], f"Literal[{labels}]")
        for composite in schema.composites:
            fields = [(field.name, _or_none(self._type(field.type))) for field in composite.attributes]
            yield self._dict(self._names["composite", schema.name, composite.name], fields)
        for relation in (*schema.tables, *schema.views):
            row, insert, update = (
                self._names[kind, schema.name, relation.name] for kind in ("Row", "Insert", "Update")
            )
            yield self._dict(row, [(column.name, self._column(column)) for column in relation.columns])
            if relation.is_view and not relation.is_updatable:
                continue
            written = [column for column in relation.columns if column.is_writable]
            yield self._dict(
                insert, [(column.name, self._inserted(column, relation.is_view)) for column in written]
            )
            yield self._dict(
                update, [(column.name, self._column(column)) for column in written], is_total=False
            )
        for name, overloads in schema.routines:
            for number, routine in enumerate(overloads):
                if routine.error is None:
                    yield from self._routine(schema.name, f"{name}_{number + 1}" if number else name, routine)

    def _column(self, column: ColumnShape) -> str:
        return _or_none(self._type(column.type)) if column.is_nullable else self._type(column.type)

    def _inserted(self, column: ColumnShape, is_view: bool) -> str:
        kind = self._column(column)
        return f"NotRequired[{kind}]" if is_view or column.is_nullable or column.has_default else kind

    def _routine(self, schema: str, name: str, routine: RoutineShape) -> Iterable[str]:
        if any(not field.name for field in routine.arguments):
            return  # its argument is the whole body
        if routine.arguments:
            fields = [
                (field.name, f"NotRequired[{kind}]" if field.is_optional else kind)
                for field in routine.arguments
                for kind in [self._type(field.type)]
            ]
            yield self._dict(self._name(schema, name, "Args"), fields)
        returned = routine.returned
        if returned.fields:
            row = self._name(schema, name, "Row")
            yield self._dict(row, [(field.name, self._type(field.type)) for field in returned.fields])
        else:
            row = self._returned_row(schema, returned)
        kind = f"list[{row}]" if returned.is_set else row
        yield "\n\n" + _alias(self._name(schema, name, "Returns"), kind)

    def _returned_row(self, schema: str, returned: Returned) -> str:
        if returned.columns is not None and returned.relation is not None:
            return self._names["Row", schema, returned.relation]
        return self._type(returned.type)

    def _type(self, ref: TypeRef) -> str:
        match ref:
            case Scalar(kind):
                return SCALARS[kind]
            case ArrayOf(element):
                return f"list[{self._type(element)}]"
            case EnumRef(schema, name, labels, is_printed):
                literal = f"Literal[{', '.join(map(_quote, labels))}]"
                return self._names["enum", schema, name] if is_printed else literal
            case CompositeRef(schema, name):
                return self._names["composite", schema, name]
            case RowRef(schema, name, _):
                return self._names["Row", schema, name]
            case _:
                assert_never(ref)

    def _name_once(self, kind: str, schema: str, name: str, suffix: str) -> None:
        self._names[kind, schema, name] = self._name(schema, name, suffix)

    def _name(self, schema: str, name: str, suffix: str) -> str:
        plain = _pascal(name if schema == self._default else f"{schema}_{name}")
        wanted = unicodedata.normalize("NFKC", plain + suffix)
        free, number = wanted, 2
        while free in self._taken:
            free, number = f"{wanted}_{number}", number + 1
        self._taken.add(free)
        return free

    def _dict(self, name: str, fields: Sequence[tuple[str, str]], *, is_total: bool = True) -> str:
        total = "" if is_total else ", total=False"
        if all(self._is_plain(field) for field, _ in fields):
            lines = "".join(f"    {field}: {kind}\n" for field, kind in fields) or "    pass\n"
            return f"\n\nclass {name}(TypedDict{total}):\n{lines}"
        items = "".join(f"        {_quote(field)}: {_quote(kind)},\n" for field, kind in fields)
        ending = "    total=False,\n" if not is_total else ""
        return f"\n\n{name} = TypedDict(\n    {_quote(name)},\n    {{\n{items}    }},\n{ending})\n"

    def _is_plain(self, field: str) -> bool:
        return (
            field.isascii()
            and field.isidentifier()
            and not keyword.iskeyword(field)
            and not field.startswith("__")
            and field not in BUILTINS
            and field not in self._taken
        )


def _alias(name: str, kind: str) -> str:
    """Between quotes: what it names may come later.

    >>> _alias("Status", 'Literal["a", "b"]')
    'Status: TypeAlias = Literal["a", "b"]\\n'
    """
    return f"{name}: TypeAlias = {kind if kind.startswith('Literal[') else _quote(kind)}\n"


def _or_none(kind: str) -> str:
    return kind if kind in ("Any", "None") else f"{kind} | None"


def _pascal(name: str) -> str:
    """
    >>> _pascal("gig_applications"), _pascal("user-id"), _pascal("2fa"), _pascal("§")
    ('GigApplications', 'UserId', 'T2fa', 'T')
    """
    spaced = "".join(char if ("a" + char).isidentifier() and char != "_" else " " for char in name)
    joined = "".join(word[0].upper() + word[1:] for word in spaced.split())
    return joined if joined.isidentifier() else f"T{joined}"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
