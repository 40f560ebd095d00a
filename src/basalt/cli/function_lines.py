"""A line of a function's log for a terminal."""

from typing import Any

import orjson
import typer


def print_line(line: dict[str, Any], *, as_json: bool) -> None:
    typer.echo(orjson.dumps(line).decode() if as_json else render_line(line))


def render_line(line: dict[str, Any]) -> str:
    """
    >>> render_line({"time": "2026-01-01T12:00:00.123456+00:00", "kind": "line", "request_id": "r1", "line": "hi"})
    '12:00:00.123 r1 hi'
    """
    head = f"{line['time'][11:23]} {line['request_id'] or '-'}"
    match line["kind"]:
        case "call":
            return f"{head} {line['method']} {line['path']} → {line['status']} in {line['ms']} ms as {line['role']}"
        case "line":
            return f"{head} {line['line']}"
        case _:
            return f"{head} {line.get('text', '')}"
