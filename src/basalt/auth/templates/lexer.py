"""A template's source as text and actions, and actions as tokens (text/template/parse/lex.go)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

MAX_SOURCE: Final = 500_000

SPACES: Final = " \t\r\n"
OPEN: Final = re.compile(r"\{\{(-(?=[ \t\r\n]))?")
COMMENT: Final = re.compile(r"[ \t\r\n]*/\*.*?\*/(?:[ \t\r\n]*|[ \t\r\n]+-)\}\}", re.DOTALL)
TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    | (?P<close>\}\}|(?<=[ \t\r\n])-\}\})
    | (?P<string>"(?:[^"\\\n]|\\(?:[abfnrtv\\"]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[0-7]{3}))*"|`[^`]*`)
    | (?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.]))
    | (?P<variable>\$\w*)
    | (?P<field>\.[^\W\d]\w*)
    | (?P<dot>\.(?!\w))
    | (?P<name>[^\W\d]\w*)
    | (?P<mark>:=|=|\||\(|\)|,)
    """,
    re.VERBOSE,
)

TokenKind = Literal["string", "number", "variable", "field", "dot", "name", "mark"]


class TemplateError(ValueError):
    """A template that cannot be understood, or not be rendered to an end. `line` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Token:
    """`is_joined` is whether it follows the one before without a space: `.A.B` is one value, `.A .B` are two."""

    kind: TokenKind
    text: str
    is_joined: bool


@dataclass(frozen=True, slots=True)
class Static:
    """Text between actions; `line` is where it begins."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Action:
    """What stands between `{{` and `}}`. A comment has no tokens."""

    tokens: tuple[Token, ...]
    line: int


def scan(source: str) -> Iterator[Static | Action]:
    """Text and actions in their order, trimmed by the dashes. Raises TemplateError."""
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"A template has at most {MAX_SOURCE} characters", 1)
    position, line, trims = 0, 1, False
    while (opening := OPEN.search(source, position)) is not None:
        text = source[position : opening.start()]
        yield Static(_trimmed(text, start=trims, end=opening[1] is not None), line)
        line += text.count("\n")
        begin = opening.start()
        comment = COMMENT.match(source, opening.end())
        if comment is not None:
            position = comment.end()
        else:
            tokens, position = _scan_action(source, opening.end(), line)
            yield Action(tokens, line)
        trims = source[position - 3] == "-" and source[position - 4].isspace()
        line += source.count("\n", begin, position)
    yield Static(_trimmed(source[position:], start=trims, end=False), line)


def _trimmed(text: str, *, start: bool, end: bool) -> str:
    text = text.lstrip(SPACES) if start else text
    return text.rstrip(SPACES) if end else text


def _scan_action(source: str, position: int, line: int) -> tuple[tuple[Token, ...], int]:
    """The tokens up to the closing braces, and where the text goes on."""
    tokens: list[Token] = []
    is_joined = False
    while (found := TOKEN.match(source, position)) is not None:
        position = found.end()
        kind = found.lastgroup
        if kind == "close":
            return tuple(tokens), position
        if kind != "space":
            tokens.append(Token(kind, found[0], is_joined))  # type: ignore[arg-type]
        is_joined = kind != "space"
    if position >= len(source):
        raise TemplateError("A `{{` is not closed", line)
    rest = source[position:].split(maxsplit=1)[0][:20]
    raise TemplateError(f"`{rest}` is not understood", line)
