"""Rows and arguments as JSON objects, and PostgreSQL's types as those of JSON."""

from collections.abc import Mapping, Sequence

import orjson

from basalt.postgres import Column, Name, Parameter, Relationship, Routine, Table
from basalt.rest.openapi.members import Members, filled

TypedParameters = Sequence[tuple[Parameter, str]]
"""Parameters with the names of their types as the document shows them."""

JSON_TYPES: Mapping[str, str | None] = {
    "boolean": "boolean",
    "smallint": "integer",
    "integer": "integer",
    "bigint": "integer",
    "numeric": "number",
    "real": "number",
    "double precision": "number",
    "json": None,  # any of them
    "jsonb": None,
}
FORMATS = {"smallint": "int32", "integer": "int32", "bigint": "int64"}


def describe_table(table: Table, relationships: Mapping[Name, tuple[Relationship, ...]]) -> Members:
    targets = _foreign_key_targets(table, relationships)
    properties = {
        column.name: _describe_column(
            column, is_key=column.name in table.primary_key, target=targets.get(column.name)
        )
        for column in table.columns.values()
    }
    required = [column.name for column in table.columns.values() if not column.nullable]
    return _describe_object(table.description, properties, required)


def describe_arguments(routine: Routine, parameters: TypedParameters) -> Members:
    properties = {parameter.name: describe_type(type_name) for parameter, type_name in parameters}
    required = [parameter.name for parameter, _ in parameters if parameter.required]
    return _describe_object(routine.description, properties, required)


def _describe_object(
    description: str | None, properties: Mapping[str, Members], required: list[str]
) -> Members:
    return filled(
        {"description": description, "required": required, "properties": properties, "type": "object"}
    )


# Columns


def _foreign_key_targets(
    table: Table, relationships: Mapping[Name, tuple[Relationship, ...]]
) -> dict[str, tuple[str, str]]:
    """By column, the table and column in the same schema that it refers to; a view only where no table does."""
    targets: dict[str, tuple[str, str]] = {}
    for relationship in sorted(relationships.get(table.name, ()), key=lambda one: one.is_foreign_view):
        leads_out = relationship.is_to_one and not relationship.is_inverse and relationship.routine is None
        if leads_out and relationship.foreign[0] == table.name[0] and len(relationship.columns) == 1:
            target = (relationship.foreign[1], relationship.foreign_columns[0])
            targets.setdefault(relationship.columns[0], target)
    return targets


def _describe_column(column: Column, *, is_key: bool, target: tuple[str, str] | None) -> Members:
    notes = ["This is a Primary Key.<pk/>"] if is_key else []
    if target is not None:
        table, name = target
        notes.append(f"This is a Foreign Key to `{table}.{name}`.<fk table='{table}' column='{name}'/>")
    parts = [column.description] if column.description is not None else []
    parts += ["\n".join(["Note:", *notes])] if notes else []
    members: Members = {
        "description": "\n\n".join(parts) if parts else None,
        "default": _default_as_json(column),
        "maxLength": column.max_length,
        "enum": column.enum_values,
    }
    return {**filled(members), **describe_type(column.base_type)}


def _default_as_json(column: Column) -> orjson.Fragment | None:
    """The default's SQL where it is JSON as it stands; for a text, where it is JSON between quotation marks, so
    that `now()` becomes the text "now()". A fragment rather than its value: a numeric keeps all its digits."""
    sql = column.default
    if sql is None:
        return None
    if json_type(column.base_type) == "string":
        cast = f"::{column.base_type}"
        literal = sql.removesuffix(cast).strip("'") if sql.endswith(cast) else sql
        sql = f'"{literal}"'
    try:
        orjson.loads(sql)
    except orjson.JSONDecodeError:
        return None
    return orjson.Fragment(sql)


# Types


def describe_type(type_name: str) -> Members:
    """
    >>> describe_type("bigint"), describe_type("jsonb")
    ({'type': 'integer', 'format': 'int64'}, {'format': 'jsonb'})
    >>> describe_type("jsonb[]")
    {'type': 'array', 'format': 'jsonb[]', 'items': {}}
    """
    members = filled({"type": json_type(type_name), "format": json_format(type_name)})
    if json_type(type_name) == "array":  # the specification asks for `items` even where they may be anything
        members["items"] = describe_item(type_name)
    return members


def describe_item(type_name: str) -> Members:
    return filled({"type": json_type(type_name.removesuffix("[]"))})


def json_type(type_name: str) -> str | None:
    """None for what may be of any type. What has no type in JSON is a string."""
    return JSON_TYPES.get(type_name, "array" if type_name.endswith("[]") else "string")


def json_format(type_name: str) -> str:
    return FORMATS.get(type_name, type_name)
