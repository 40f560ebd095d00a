"""Rows and arrays in PostgreSQL's text format (documentation: "Composite Type Input and Output", "Arrays"), so that the
log's text goes through the input functions of the columns' own types."""

from collections.abc import Iterable, Sequence


def render_row(values: Iterable[str | None]) -> str:
    r"""
    >>> print(render_row(["1", None, "", 'a "b" \\ c']))
    ("1",,"","a ""b"" \\ c")
    """
    fields = ("" if value is None else f'"{_double(value)}"' for value in values)
    return f"({','.join(fields)})"


def render_array(items: Sequence[str | None]) -> bytes:
    r"""
    >>> print(render_array(["a", None, 'b "c" \\']).decode())
    {"a",NULL,"b \"c\" \\"}
    """
    quoted = ("NULL" if item is None else f'"{_escape(item)}"' for item in items)
    return f"{{{','.join(quoted)}}}".encode("utf-8", "surrogatepass")  # PostgreSQL refuses what is not UTF-8


def quote_name(name: str) -> str:
    """
    >>> print(quote_name('my "table"'))
    "my ""table\"""
    """
    return '"' + name.replace('"', '""') + '"'


def _double(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '""')


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
