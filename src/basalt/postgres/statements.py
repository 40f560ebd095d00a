"""A file of SQL as a stream of statements, each with its line, its kind and, after `copy … from stdin`, its data.

The rules are those of psql (`psqlscan.l`), because files are written for it and `pg_dump` writes for nothing else: strings,
escape strings, dollar quotes, quoted names and nested comments hide a semicolon, so do parentheses and the `begin atomic …
end` body of a routine; a backslash at the start of a statement is a command to psql. PostgreSQL's own parser (`pglast`) is no
substitute: it refuses a whole file for one such line or one wrong statement, and needs all of it in memory at once. The
text is read in pieces, so that a seed of any size costs what its longest statement costs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TextIO

StatementKind = Literal["plain", "extension", "begin", "commit", "rollback", "standalone", "copy", "psql", "comment"]

PIECE_CHARS = 1 << 18

_GAP = r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*(?:[^*]|\*(?!/))*\*/)"
_ROUTINE = re.compile(rf"create{_GAP}+(?:or{_GAP}+replace{_GAP}+)?(?:function|procedure)\b", re.IGNORECASE)
_COPY_IN = re.compile(r"copy\b.*\bfrom\s+(?:stdin|stdout)\b", re.IGNORECASE | re.DOTALL)
_BLANK = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z))+")

# One match is one token, or a run of what cannot hide a semicolon. Words are taken whole: the `$` in `a$b$` opens nothing,
# and an `e` opens an escape string only where a word begins.
_TOKEN = re.compile(
    r"""
      (?P<run>(?:[^\w'"$;()/\-]+|(?![eE]')\w[\w$]*|-(?!-)|/(?!\*))+)
    | (?P<string>[eE]'(?:[^'\\]|\\.|'')*'(?!')|'(?:[^']|'')*'(?!')|"(?:[^"]|"")*"(?!"))
    | (?P<comment>--[^\n]*(?=\n))
    | (?P<block>/\*)
    | (?P<dollar>\$(?:[^\W\d]\w*)?\$)
    | (?P<mark>[;()])
    | (?P<parameter>\$(?![^\W\d]*\w*\Z|\Z))
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_BODY_WORD = re.compile(r"[^\W\d][\w$]*")

_KINDS: tuple[tuple[StatementKind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("extension", r"(create|drop|alter|comment on) extension\b"),
        ("begin", r"(begin|start transaction)\b"),
        ("commit", r"(commit(?! prepared)|end)\b"),
        ("rollback", r"(rollback(?! prepared)(?!( work| transaction)? to\b)|abort)\b"),
        ("standalone", r"(create|drop)( unique)? index concurrently\b"),
        ("standalone", r"reindex\b.*\bconcurrently\b|reindex( \([^)]*\))? (database|system|schema)\b"),
        ("standalone", r"vacuum\b|alter system\b|discard all\b|(commit|rollback) prepared\b"),
        ("standalone", r"(create|drop) (database|tablespace)\b|alter database \S+ set tablespace\b"),
        ("standalone", r"(create|drop) subscription\b|alter subscription \S+ refresh publication\b"),
        ("standalone", r"alter table\b.*\bdetach partition \S+ concurrently\b"),
        ("standalone", r"cluster( verbose)?$"),
    )
)


@dataclass(slots=True)
class Statement:
    """`text` is the statement without its semicolon and without what stands before it; `line` is the line of its first
    character, counted from 1. `leading` holds the comments before it. `copy_lines` has the data of a `copy` statement in
    pieces and must be taken before the next statement is asked for; what is left of it is passed over."""

    text: str
    line: int
    kind: StatementKind
    leading: str = ""
    copy_lines: Iterator[str] | None = field(default=None, repr=False)

    @property
    def source(self) -> str:
        """With its comments, as the Supabase CLI keeps statements in its history table."""
        return f"{self.leading}\n{self.text}" if self.leading and self.text else self.leading or self.text

    def line_at(self, position: int) -> int:
        """The line of the file on which character `position` of `text` stands, counted from 1 as PostgreSQL does."""
        return self.line + self.text.count("\n", 0, max(position - 1, 0))


def split_statements(source: TextIO | str) -> Iterator[Statement]:
    r"""The statements of a file in their order.

    >>> [(s.line, s.kind, s.text) for s in split_statements("begin;\n-- one\nselect ';' as a;\n\ncommit")]
    [(1, 'begin', 'begin'), (3, 'plain', "select ';' as a"), (5, 'commit', 'commit')]
    """
    text = _Text(source)
    while True:
        start = _skip_blank(text)
        leading = text.take(start).strip()
        if text.is_empty():
            if leading:
                yield Statement("", text.line, "comment", leading)
            return
        line = text.line
        if text.buffer.startswith("\\"):
            yield Statement(text.take_line().strip(), line, "psql", leading)
            continue
        end, is_closed = _find_end(text)
        body = text.take(end).rstrip()
        if is_closed:
            text.take(1)
        if not body:
            continue
        kind = classify(body)
        copy_lines = _copy_data(text) if kind == "copy" else None
        yield Statement(body, line, kind, leading, copy_lines)
        if copy_lines is not None:
            for _ in copy_lines:
                pass


def classify(text: str) -> StatementKind:
    """What the runner of a file must know of a statement before it is sent.

    >>> classify("create unique  index /* slow */ Concurrently a on b (c)"), classify("rollback to savepoint a")
    ('standalone', 'plain')
    """
    head = re.sub(_GAP + "+", " ", text[:2000]).strip().lower()
    if head.startswith("copy") and _COPY_IN.match(text) and not _has_string_source(head):
        return "copy"
    for kind, pattern in _KINDS:
        if pattern.match(head):
            return kind
    return "plain"


def _has_string_source(head: str) -> bool:
    """Whether `from stdin` in a `copy` only occurs inside a string or a query."""
    return "from stdin" not in re.sub(r"'[^']*'", "''", head)


class _Text:
    """The unread rest of a source, of which `buffer` holds the beginning."""

    def __init__(self, source: TextIO | str) -> None:
        self.buffer = source if isinstance(source, str) else ""
        self.line = 1
        self._file = None if isinstance(source, str) else source

    def read_more(self) -> bool:
        """Doubles the buffer, so that a statement of n characters is scanned log n times; False at the end."""
        if self._file is None:
            return False
        piece = self._file.read(max(PIECE_CHARS, len(self.buffer)))
        if not piece:
            self._file = None
            return False
        self.buffer += piece
        return True

    def take(self, count: int) -> str:
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        self.line += taken.count("\n")
        return taken

    def take_line(self) -> str:
        while (end := self.buffer.find("\n")) < 0 and self.read_more():
            pass
        return self.take(end + 1 if end >= 0 else len(self.buffer))

    def is_empty(self) -> bool:
        return not self.buffer and not self.read_more()


def _skip_blank(text: _Text) -> int:
    """Where the first statement begins, after blanks and comments."""
    position = 0
    while True:
        if match := _BLANK.match(text.buffer, position):
            position = match.end()
        if text.buffer.startswith("/*", position):
            end = _end_of_block_comment(text.buffer, position)
            if end is not None:
                position = end
                continue
        elif position < len(text.buffer) - 1:
            return position
        if not text.read_more():
            return len(text.buffer) if text.buffer.startswith("/*", position) else position
        position = 0


def _find_end(text: _Text) -> tuple[int, bool]:
    """Where the statement at the start of the buffer ends, and whether a semicolon ends it."""
    while True:
        end = _scan(text.buffer)
        if end is not None:
            return end, True
        if not text.read_more():
            return len(text.buffer), False


def _scan(buffer: str) -> int | None:
    """The position of the semicolon that ends the first statement; None when the buffer does not reach so far."""
    is_routine = _ROUTINE.match(buffer) is not None
    position = depth = body_depth = 0
    while match := _TOKEN.match(buffer, position):
        position = match.end()
        match match.lastgroup:
            case "run" if is_routine and depth == 0:
                body_depth = _body_depth(match.group(), body_depth)
            case "block":
                end = _end_of_block_comment(buffer, match.start())
                if end is None:
                    return None
                position = end
            case "dollar":
                end = buffer.find(match.group(), position)
                if end < 0:
                    return None
                position = end + len(match.group())
            case "mark":
                if match.group() == "(":
                    depth += 1
                elif match.group() == ")":
                    depth = max(depth - 1, 0)
                elif depth == 0 and body_depth == 0:
                    return match.start()
    return None


def _body_depth(run: str, depth: int) -> int:
    """psql's rule for `begin atomic … end`: `begin` opens, `case` opens within, `end` closes."""
    for word in _BODY_WORD.findall(run.lower()):
        if word == "begin" or (word == "case" and depth):
            depth += 1
        elif word == "end" and depth:
            depth -= 1
    return depth


def _end_of_block_comment(buffer: str, start: int) -> int | None:
    depth = 0
    for edge in _BLOCK_EDGE.finditer(buffer, start):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return None


def _copy_data(text: _Text) -> Iterator[str]:
    """The lines after a `copy … from stdin;` up to `\\.` or the end of the file."""
    text.take_line()
    while not text.is_empty():
        while "\n" not in text.buffer and text.read_more():
            pass
        end = 0 if re.match(r"\\\.\r?(\n|\Z)", text.buffer) else -1
        if end < 0 and (match := re.search(r"\n\\\.\r?(\n|\Z)", text.buffer)):
            end = match.start() + 1
        if end >= 0:
            if end:
                yield text.take(end)
            text.take_line()
            return
        last_newline = text.buffer.rfind("\n")
        yield text.take(last_newline + 1 if last_newline >= 0 else len(text.buffer))
