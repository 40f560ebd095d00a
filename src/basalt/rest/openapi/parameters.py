"""The parameters that paths refer to: a fixed few, and for every table its body and a filter on each column."""

from collections.abc import Sequence

from basalt.postgres import Table
from basalt.rest.openapi.members import Members, filled


def describe_shared_parameters(tables: Sequence[Table]) -> Members:
    parameters = dict(FIXED_PARAMETERS)
    for table in tables:
        name = table.name[1]
        parameters[f"body.{name}"] = {
            "name": name,
            "description": name,
            "required": False,
            "in": "body",
            "schema": {"$ref": f"#/definitions/{name}"},
        }
        for column in table.columns.values():
            parameters[f"rowFilter.{name}.{column.name}"] = _text(column.name, column.description)
    return parameters


def _text(name: str, description: str | None, *, place: str = "query") -> Members:
    members: Members = {"name": name, "description": description, "required": False}
    return filled({**members, "in": place, "type": "string"})


def _prefer(*choices: str) -> Members:
    return {**_text("Prefer", "Preference", place="header"), **filled({"enum": choices})}


_RETURN = ("return=representation", "return=minimal", "return=none")
_RESOLUTION = ("resolution=ignore-duplicates", "resolution=merge-duplicates")
_PAGING = "Limiting and Pagination"
FIXED_PARAMETERS: Members = {
    "preferParams": _prefer(),
    "preferReturn": _prefer(*_RETURN),
    "preferCount": _prefer("count=none"),
    "preferPost": _prefer(*_RETURN, *_RESOLUTION),
    "select": _text("select", "Filtering Columns"),
    "on_conflict": _text("on_conflict", "On Conflict"),
    "order": _text("order", "Ordering"),
    "range": _text("Range", _PAGING, place="header"),
    "rangeUnit": {**_text("Range-Unit", _PAGING, place="header"), "default": "items"},
    "offset": _text("offset", _PAGING),
    "limit": _text("limit", _PAGING),
}
