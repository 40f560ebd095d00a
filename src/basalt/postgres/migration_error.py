"""What is said when a migration or seed cannot be applied: file, line, the statement around it, PostgreSQL's
words, and what of the file stays.
"""

import re

import psycopg

from basalt.errors import BasaltError
from basalt.postgres.statements import Statement

_DOLLAR_QUOTE = re.compile(r"\$(?:[^\W\d]\w*)?\$")
_BLOCK_LINE = re.compile(r"PL/pgSQL function inline_code_block line (\d+)")
_COPY_LINE = re.compile(r"^COPY .*?, line (\d+)", re.MULTILINE)

SHOWN_CHARS = 160


class MigrationError(BasaltError):
    """A migration or seed that could not be applied. `line` counts from 1 in `file`; `kept_line` is the line
    up to which the file committed its own work, None when nothing of it stays."""

    def __init__(
        self,
        file: str,
        reason: str,
        *,
        line: int | None = None,
        statement: str = "",
        shown: str = "",
        sqlstate: str | None = None,
        detail: str | None = None,
        hint: str | None = None,
        kept_line: int | None = None,
    ) -> None:
        self.file, self.reason, self.line, self.statement = file, reason, line, statement
        self.sqlstate, self.detail, self.kept_line = sqlstate, detail, kept_line
        where = f"{file}, line {line}" if line else file
        parts = [f"{where}: {reason}" + (f" ({sqlstate})" if sqlstate else "")]
        parts += [part for part in (shown, detail and f"Detail: {detail}") if part]
        if kept_line is None:
            parts.append("Nothing of this file was kept.")
        else:
            parts.append(f"What the file committed itself, up to line {kept_line}, stays.")
        super().__init__(
            "migration_failed",
            500,
            "\n".join(parts),
            details={
                "file": file,
                "line": line,
                "statement": statement,
                "sqlstate": sqlstate,
                "detail": detail,
            },
            hint=hint,
        )


def shorten(text: str, limit: int = 200) -> str:
    """A statement on one line of at most `limit` characters.

    >>> shorten("create table\\n  a (b int)"), shorten("select " + "x" * 20, limit=10)
    ('create table a (b int)', 'select xx…')
    """
    line = " ".join(text[: limit * 10].split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def excerpt(statement: Statement, line: int) -> str:
    """The statement's first line and the lines around the wrong one, each with its number."""
    lines = statement.text.split("\n")
    at = min(max(line - statement.line, 0), len(lines) - 1)
    shown = sorted({0, *range(max(at - 1, 0), min(at + 2, len(lines)))})
    out, previous = [], -1
    for index in shown:
        if index > previous + 1:
            out.append("     ⋮")
        text = lines[index].rstrip()
        text = text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"
        out.append(f"{'>' if index == at else ' '}{statement.line + index:5} | {text}")
        previous = index
    if previous < len(lines) - 1:
        out.append("     ⋮")
    return "\n".join(out)


def line_of(statement: Statement, diagnostic: psycopg.errors.Diagnostic) -> int:
    """The line of the file that PostgreSQL means: by its position in the statement, in the body of a `do`
    block, or in the data of a `copy`."""
    if diagnostic.statement_position:
        return statement.line_at(int(diagnostic.statement_position))
    context = diagnostic.context or ""
    if blocks := _BLOCK_LINE.findall(context):
        quote = _DOLLAR_QUOTE.search(statement.text)
        return statement.line_at(quote.end() + 1 if quote else 1) + int(blocks[-1]) - 1
    if statement.kind == "copy" and (copied := _COPY_LINE.search(context)):
        return statement.line + statement.text.count("\n") + int(copied.group(1))
    return statement.line
