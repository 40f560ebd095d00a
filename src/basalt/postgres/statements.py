"""A file of SQL as a stream of statements, each with its line, its kind and, after `copy … from stdin`,
its data.

The rules are those of psql (`psqlscan.l`), because files are written for it and `pg_dump` writes for
nothing else: strings, escape strings, dollar quotes, quoted names and nested comments hide a semicolon, so
do parentheses and the `begin atomic … end` body of a routine; a backslash at the start of a statement is a
command to psql. PostgreSQL's own parser (`pglast`) is no substitute: it refuses a whole file for one such
line or one wrong statement, and needs all of it in memory at once. The text is read in pieces, so that a
seed of any size costs what its longest statement costs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TextIO

StatementKind = Literal[
    "plain", "extension", "begin", "commit", "rollback", "standalone", "copy", "psql", "comment"
]

PIECE_CHARS = 1 << 18

# No possessive groups: Python before 3.11.5 matches them wrongly (CPython gh-106052), and Debian 12 has 3.11.2.
_GAP = r"(?:\s|--[^\n]*(?:\n|\Z)|/\*(?:[^*]|\*(?!/))*\*/)+"
_GAPS = re.compile(_GAP)
_ROUTINE = re.compile(rf"create{_GAP}(?:or{_GAP}replace{_GAP})?(?:function|procedure)\b", re.IGNORECASE)
_BLANK = re.compile(r"\s+|--[^\n]*(?:\n|\Z)|(/\*)")
_COPY_END = re.compile(r"^\\\.[ \t\r]*(?:\n|\Z)", re.MULTILINE)

# Words are taken whole: the `$` in `a$b$` opens nothing, and an `e` opens an escape string only where a
# word begins. What the end of the text cuts off matches nothing.
_PLAIN = r"""[^\w'"$;()/\-]++|(?![eE]')\w[\w$]*+|-(?!-)|/(?!\*)|\$(?!\w*\$|\w*\Z)"""
_STRING = r"""[eE]'[^'\\]*(?:(?:\\.|'')[^'\\]*)*'(?!')|'[^']*(?:''[^']*)*'(?!')"""
_QUOTED = _STRING + r'|"[^"]*(?:""[^"]*)*"(?!")'
_OTHER = r"""--[^\n]*+(?=\n)|(?P<block>/\*)|(?P<dollar>\$(?:[^\W\d]\w*+)?\$)|(?P<mark>[;()])|\$"""
_TOKEN = re.compile(f"(?:{_PLAIN}|{_QUOTED})+|{_OTHER}", re.DOTALL)
_ROUTINE_TOKEN = re.compile(f"(?P<words>(?:{_PLAIN})+)|{_QUOTED}|{_OTHER}", re.DOTALL)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_BODY_WORD = re.compile(r"[^\W\d][\w$]*")

_KINDS: tuple[tuple[StatementKind, str], ...] = (
    ("extension", r"(create|drop|alter|comment on) extension\b"),
    ("begin", r"(begin|start transaction)\b"),
    ("commit", r"(commit(?! prepared)|end)\b"),
    ("rollback", r"(rollback(?! prepared)(?!( work| transaction)? to\b)|abort)\b"),
    ("copy", r"copy\b[^']*\bfrom stdin\b"),
    ("standalone", r"(create|drop)( unique)? index concurrently\b"),
    ("standalone", r"reindex\b.*\bconcurrently\b|reindex( \([^)]*\))? (database|system|schema)\b"),
    ("standalone", r"vacuum\b|alter system\b|discard all\b|(commit|rollback) prepared\b"),
    ("standalone", r"(create|drop) (database|tablespace)\b|alter database \S+ set tablespace\b"),
    ("standalone", r"(create|drop) subscription\b|alter subscription \S+ refresh publication\b"),
    ("standalone", r"alter table\b.*\bdetach partition \S+ concurrently\b"),
    ("standalone", r"cluster( verbose)?$"),
)


@dataclass(slots=True)
class Statement:
    """`text` is the statement without its semicolon and without what stands before it; `line` is the line
    of its first character, counted from 1. `leading` holds the comments before it. `copy_lines` has the
    data of a `copy` statement in pieces and must be taken before the next statement is asked for; what is
    left of it is passed over."""

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
        """The line of the file on which character `position` of `text` stands, counted from 1 as PostgreSQL
        does."""
        return self.line + self.text.count("\n", 0, max(position - 1, 0))


def split_statements(source: TextIO | str) -> Iterator[Statement]:
    r"""The statements of a file in their order. A file is opened with `newline=""`, so that strings keep
    their line ends.

    >>> [(s.line, s.kind, s.text) for s in split_statements("begin;\n-- one\nselect ';' as a;\n\ncommit")]
    [(1, 'begin', 'begin'), (3, 'plain', "select ';' as a"), (5, 'commit', 'commit')]
    """
    text = _Text(source)
    while True:
        leading = text.take(_end_of_blank(text)).strip()
        line = text.line
        if text.is_empty():
            if leading:
                yield Statement("", line, "comment", leading)
            return
        if text.buffer.startswith("\\", text.start):
            yield Statement(text.take_line().strip(), line, "psql", leading)
            continue
        body = text.take(_end_of_statement(text)).rstrip()
        text.take(text.start + 1)
        if not body:
            continue
        kind = classify(body)
        copy_lines = _copy_lines(text) if kind == "copy" else None
        yield Statement(body, line, kind, leading, copy_lines)
        for _ in copy_lines or ():
            pass


def classify(text: str) -> StatementKind:
    """What the runner of a file must know of a statement before it is sent.

    >>> classify("create index /* slow */  Concurrently a on b (c)"), classify("rollback to a")
    ('standalone', 'plain')
    """
    if text[:6].lower() in ("insert", "select"):  # nearly all of a seed
        return "plain"
    head = _GAPS.sub(" ", text[:2000]).strip().lower()
    for kind, pattern in _KINDS:
        if re.match(pattern, head):
            return kind
    return "plain"


class _Text:
    """A source of which `buffer`, from `start` on, holds the next characters."""

    def __init__(self, source: TextIO | str) -> None:
        self.buffer = source if isinstance(source, str) else ""
        self.start = 0
        self.line = 1
        self._file = None if isinstance(source, str) else source

    def read_more(self) -> bool:
        """Doubles what is held, so that a statement is scanned again only as often as it doubles. False at
        the end."""
        if self._file is None:
            return False
        held = self.buffer[self.start :]
        piece = self._file.read(max(PIECE_CHARS, len(held)))
        self.buffer, self.start = held + piece, 0
        if not piece:
            self._file = None
        return bool(piece)

    def take(self, end: int) -> str:
        """The characters up to `end`, a position in `buffer`."""
        taken = self.buffer[self.start : end]
        self.start = min(end, len(self.buffer))
        self.line += taken.count("\n")
        return taken

    def take_line(self) -> str:
        while (end := self.buffer.find("\n", self.start)) < 0 and self.read_more():
            pass
        return self.take(end + 1 if end >= 0 else len(self.buffer))

    def is_empty(self) -> bool:
        return self.start >= len(self.buffer) and not self.read_more()


def _end_of_blank(text: _Text) -> int:
    """Where the next statement begins, after blanks and comments."""
    while True:
        position: int | None = text.start
        while position is not None and (match := _BLANK.match(text.buffer, position)):
            position = _end_of_block_comment(text.buffer, match.end()) if match.group(1) else match.end()
        # A comment may go on, or begin, where the buffer ends.
        if position is not None and position < len(text.buffer) - 1:
            return position
        if not text.read_more():
            return len(text.buffer) if position is None else position


def _end_of_statement(text: _Text) -> int:
    """Where the semicolon after the next statement stands; the end of the file when there is none."""
    while (end := _find_semicolon(text.buffer, text.start)) is None and text.read_more():
        pass
    return len(text.buffer) if end is None else end


def _find_semicolon(buffer: str, position: int) -> int | None:
    pattern = _ROUTINE_TOKEN if _ROUTINE.match(buffer, position) else _TOKEN
    depth = body_depth = 0
    while token := pattern.match(buffer, position):
        position = token.end()
        match token.lastgroup:
            case "words" if depth == 0:
                body_depth = _body_depth(token.group(), body_depth)
            case "block" | "dollar":
                end = _end_of_opened(buffer, token)
                if end is None:
                    return None
                position = end
            case "mark":
                if token.group() == ";" and depth == 0 and body_depth == 0:
                    return token.start()
                depth = max(depth + {"(": 1, ")": -1, ";": 0}[token.group()], 0)
    return None


def _end_of_opened(buffer: str, opening: re.Match[str]) -> int | None:
    if opening.lastgroup == "block":
        return _end_of_block_comment(buffer, opening.end())
    end = buffer.find(opening.group(), opening.end())
    return None if end < 0 else end + len(opening.group())


def _end_of_block_comment(buffer: str, position: int) -> int | None:
    """Where a comment ends that was opened before `position`; comments nest."""
    depth = 1
    for edge in _BLOCK_EDGE.finditer(buffer, position):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return None


def _body_depth(run: str, depth: int) -> int:
    """psql's rule for `begin atomic … end`: `begin` opens, `case` opens within, `end` closes."""
    for word in _BODY_WORD.findall(run.lower()):
        if word == "begin" or (word == "case" and depth):
            depth += 1
        elif word == "end" and depth:
            depth -= 1
    return depth


def _copy_lines(text: _Text) -> Iterator[str]:
    r"""The lines after a `copy … from stdin;` in pieces, up to `\.` or the end of the file."""
    text.take_line()
    while not text.is_empty():
        match = _COPY_END.search(text.buffer, text.start)
        if match:
            if data := text.take(match.start()):
                yield data
            text.take(match.end())
            return
        last_newline = text.buffer.rfind("\n", text.start)
        if last_newline >= 0:
            yield text.take(last_newline + 1)
        if not text.read_more() and (rest := text.take(len(text.buffer))):
            yield rest
