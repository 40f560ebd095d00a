"""Rows for people, and for scripts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import typer

CELL_CHARS = 80


def print_json(value: Any) -> None:
    typer.echo(orjson.dumps(value, default=str).decode())


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        typer.echo("Nothing.")
        return
    print_columns(list(rows[0]), [[render_cell(value) for value in row.values()] for row in rows])


def print_columns(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """As wide as they are: what a terminal would cut cannot be copied, nor read by `grep`.

    >>> print_columns(["id", "name"], [["1", "a long name"], ["12", "two\\nlines"]])
    id  name
    1   a long name
    12  two lines
    """
    lines = [titles, *[[" ".join(cell.split("\n")) for cell in row] for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())


def render_cell(value: object) -> str:
    """
    >>> render_cell({"a": 1}), render_cell(None), render_cell(1.5)
    ('{"a":1}', '', '1.5')
    """
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    text = orjson.dumps(value).decode() if isinstance(value, (dict, list, str, bool)) else str(value)
    text = text[1:-1] if isinstance(value, str) else text
    return text if len(text) <= CELL_CHARS else text[: CELL_CHARS - 1] + "…"
