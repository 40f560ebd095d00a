"""What can be asked: the root, every table and every routine."""

from collections.abc import Iterable, Sequence

from basalt.config import RestSettings
from basalt.postgres import Parameter, Routine, Table
from basalt.rest.media import JSON, SINGULAR, STRIPPED_SINGULAR
from basalt.rest.openapi.definitions import (
    TypedParameters,
    describe_arguments,
    describe_item,
    json_format,
    json_type,
)
from basalt.rest.openapi.members import Members, filled, split_comment

PAGING = ("select", "order", "range", "rangeUnit", "offset", "limit", "preferCount")
ROOT: Members = {
    "get": {
        "tags": ["Introspection"],
        "summary": "OpenAPI description (this document)",
        "produces": ("application/openapi+json", JSON),
        "responses": {"200": {"description": "OK"}},
    }
}


def describe_paths(tables: Sequence[Table], routines: Sequence[Routine], settings: RestSettings) -> Members:
    paths: Members = {"/": ROOT}
    paths |= {f"/{table.name[1]}": _describe_table_path(table) for table in tables}
    # Of routines with one name the last is described: the one that takes the most.
    for routine in sorted(routines, key=_overload_order):
        parameters = _typed_parameters(routine, settings)
        paths[f"/rpc/{routine.name[1]}"] = _describe_routine_path(routine, parameters)
    return paths


# Tables


def _describe_table_path(table: Table) -> Members:
    """Reading, and every way of writing where there is one: which of them work, a request will tell."""
    name, body = table.name[1], f"body.{table.name[1]}"
    filters = [f"rowFilter.{name}.{column}" for column in table.columns]
    about: Members = {"tags": [name], **_split_into_operation(table.description)}
    rows = {"type": "array", "items": {"$ref": f"#/definitions/{name}"}}
    read = {
        **about,
        "parameters": _refer_to([*filters, *PAGING]),
        "responses": {
            "200": {"description": "OK", "schema": rows},
            "206": {"description": "Partial Content"},
        },
    }
    if not (table.insertable or table.updatable or table.deletable):
        return {"get": read}
    inserted, changed = {"201": {"description": "Created"}}, {"204": {"description": "No Content"}}
    return {
        "get": read,
        "post": {
            **about,
            "parameters": _refer_to([body, "select", "preferPost"]),
            "responses": inserted,
        },
        "patch": {
            **about,
            "parameters": _refer_to([*filters, body, "preferReturn"]),
            "responses": changed,
        },
        "delete": {**about, "parameters": _refer_to([*filters, "preferReturn"]), "responses": changed},
    }


def _split_into_operation(comment: str | None) -> Members:
    summary, text = split_comment(comment)
    return filled({"summary": summary, "description": text or None})


def _refer_to(names: Iterable[str]) -> list[Members]:
    return [{"$ref": f"#/parameters/{name}"} for name in names]


# Routines


def _overload_order(routine: Routine) -> tuple[str, int, str, list[tuple[str, str, str, bool, bool]]]:
    """By name, then as PostgREST orders routines of one name (`Routine.hs: Ord`)."""
    parameters = [(p.name, p.type, p.cast_type, p.required, p.variadic) for p in routine.parameters]
    return routine.name[1], len(parameters), routine.description or "", parameters


def _typed_parameters(routine: Routine, settings: RestSettings) -> TypedParameters:
    """Where privileges are followed PostgREST reads the routines under the request's search path, so that types
    in it go without their schema; where they are ignored, from its cache, in which all have theirs."""
    is_followed = settings.openapi_mode == "follow-privileges"
    schemas = (routine.name[0], *(settings.db_extra_search_path or ())) if is_followed else ()
    return [(parameter, _leave_out_schema(parameter.type, schemas)) for parameter in routine.parameters]


def _leave_out_schema(type_name: str, schemas: Iterable[str]) -> str:
    """
    >>> _leave_out_schema("films.genre[]", ["films"]), _leave_out_schema('"My films".genre', ["My films"])
    ('genre[]', 'genre')
    >>> _leave_out_schema("films.genre", ["public"])
    'films.genre'
    """
    for schema in schemas:
        quoted = schema.replace('"', '""')
        for prefix in (f"{schema}.", f'"{quoted}".'):
            if type_name.startswith(prefix):
                return type_name.removeprefix(prefix)
    return type_name


def _describe_routine_path(routine: Routine, parameters: TypedParameters) -> Members:
    about: Members = {
        "tags": [f"(rpc) {routine.name[1]}"],
        **_split_into_operation(routine.description),
        "produces": (JSON, STRIPPED_SINGULAR, SINGULAR),
        "responses": {"200": {"description": "OK"}},
    }
    arguments: Members = {
        "name": "args",
        "required": True,
        "in": "body",
        "schema": describe_arguments(routine, parameters),
    }
    call: Members = {**about, "parameters": [arguments, *_refer_to(["preferParams"])]}
    if routine.volatility == "volatile":
        return {"post": call}
    query = [_describe_query_parameter(parameter, type_name) for parameter, type_name in parameters]
    return {"get": {**about, **filled({"parameters": query})}, "post": call}


def _describe_query_parameter(parameter: Parameter, type_name: str) -> Members:
    members: Members = {"name": parameter.name, "required": parameter.required, "in": "query"}
    kind = json_type(type_name) or "string"
    if parameter.variadic:  # ?tag=silent&tag=horror
        item = type_name.removesuffix("[]")
        items = {**describe_item(type_name), "format": json_format(item)}
        return {**members, "type": kind, "items": items, "collectionFormat": "multi"}
    # Any other array is one text: ?tags={silent,horror}
    return {**members, "type": "string" if kind == "array" else kind, "format": json_format(type_name)}
