"""OpenAPI documents of hand-made tables and routines."""

from typing import Any

import orjson

from basalt.config import RestSettings, ServerAddress
from basalt.postgres import Column, Name, Parameter, Relationship, Routine, Table
from basalt.rest.openapi import render_openapi

SETTINGS = RestSettings()
SERVER = ServerAddress("127.0.0.1", 3000)


def a_column(name: str, type_name: str, **changes: Any) -> Column:
    return Column(**{"name": name, "type": type_name, "base_type": type_name, "nullable": True, **changes})


def a_table(name: str, *columns: Column, schema: str = "cinema", **changes: Any) -> Table:
    members: dict[str, Any] = {
        "oid": 1,
        "name": (schema, name),
        "columns": {column.name: column for column in columns},
        "primary_key": (),
        "is_view": False,
        "insertable": True,
        "updatable": True,
        "deletable": True,
    }
    return Table(**{**members, **changes})


def a_parameter(name: str, type_name: str, *, required: bool = True, variadic: bool = False) -> Parameter:
    return Parameter(name, type_name, type_name, required, variadic)


def a_routine(name: str, *parameters: Parameter, **changes: Any) -> Routine:
    members: dict[str, Any] = {
        "oid": 2,
        "name": ("cinema", name),
        "parameters": parameters,
        "volatility": "stable",
        "returns_set": False,
        "kind": "scalar",
        "return_type": ("pg_catalog", "int4"),
    }
    return Routine(**{**members, **changes})


def a_reference(table: str, column: str, to_table: str, to_column: str, **changes: Any) -> Relationship:
    members: dict[str, Any] = {
        "table": ("cinema", table),
        "foreign": ("cinema", to_table),
        "cardinality": "many-to-one",
        "constraint": f"{table}_{column}_fkey",
        "columns": (column,),
        "foreign_columns": (to_column,),
    }
    return Relationship(**{**members, **changes})


def document(
    *members: Table | Routine,
    relationships: dict[Name, tuple[Relationship, ...]] | None = None,
    description: str | None = None,
    settings: RestSettings = SETTINGS,
    server: ServerAddress = SERVER,
) -> Any:
    return orjson.loads(
        render_openapi(
            tables=[one for one in members if isinstance(one, Table)],
            routines=[one for one in members if isinstance(one, Routine)],
            relationships=relationships or {},
            description=description,
            settings=settings,
            server=server,
        )
    )


def properties(*columns: Column, relationships: tuple[Relationship, ...] = (), **changes: Any) -> Any:
    """How the columns of a table `films` are described."""
    table = a_table("films", *columns, **changes)
    return document(table, relationships={table.name: relationships})["definitions"]["films"]["properties"]


def references(*names: str) -> list[dict[str, str]]:
    return [{"$ref": f"#/parameters/{name}"} for name in names]
