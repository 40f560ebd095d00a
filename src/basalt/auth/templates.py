"""The part of Go's template language that message templates use.

`{{ .Token }}`, `{{ .Data.name }}`, `{{ if .Data.name }}…{{ else }}…{{ end }}`, comments and the trimming
dashes. Unknown names are empty. A template is parsed once, when it is configured; parsing raises
TemplateError with the place.
"""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

TAG: Final = re.compile(r"(\s*)\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)
PATH: Final = re.compile(r"\.[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
AFTER: Final = re.compile(r"\s+")


class TemplateError(ValueError):
    """A template that cannot be parsed."""


@dataclass(frozen=True, slots=True)
class Value:
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    path: tuple[str, ...]
    is_negated: bool
    then: "tuple[Piece, ...]"
    otherwise: "tuple[Piece, ...]"


Piece = str | Value | Choice


@dataclass(frozen=True, slots=True)
class Template:
    pieces: tuple[Piece, ...]

    def render(self, data: Mapping[str, Any], *, as_html: bool) -> str:
        """The text with its values; in HTML they are escaped, also for quoted attributes.

        >>> parse_template("Hello {{ .Data.name }}{{ if .Token }}: {{ .Token }}{{ end }}").render(
        ...     {"Data": {"name": "<Ada>"}, "Token": "123456"}, as_html=True)
        'Hello &lt;Ada&gt;: 123456'
        """
        return _render(self.pieces, data, as_html=as_html)


def parse_template(source: str) -> Template:
    tokens = _tokens(source)
    pieces, closing = _parse(tokens)
    if closing is not None:
        raise TemplateError(f"`{{{{ {closing} }}}}` without an `if` before it")
    return Template(pieces)


def _tokens(source: str) -> list[tuple[str, str]]:
    """Alternating text and tags as ("text", …) and ("tag", …), in reverse order to be popped."""
    tokens, position = [], 0
    while (tag := TAG.search(source, position)) is not None:
        space_before, trims_before, inner, trims_after = tag.groups()
        tokens.append(("text", source[position : tag.start()] + ("" if trims_before else space_before)))
        tokens.append(("tag", inner))
        position = tag.end()
        if trims_after and (space := AFTER.match(source, position)):
            position = space.end()
    rest = source[position:]
    if "{{" in rest:
        raise TemplateError("A `{{` is not closed")
    tokens.append(("text", rest))
    return tokens[::-1]


def _parse(tokens: list[tuple[str, str]], *, inside: bool = False) -> tuple[tuple[Piece, ...], str | None]:
    """Pieces up to the end, or up to the `else` or `end` that is returned beside them."""
    pieces: list[Piece] = []
    while tokens:
        kind, content = tokens.pop()
        if kind == "text":
            pieces.append(content)
        elif content in ("end", "else"):
            return tuple(pieces), content
        elif content.startswith("if "):
            pieces.append(_parse_choice(content[3:].strip(), tokens))
        elif not content.startswith("/*"):
            pieces.append(Value(_path(content)))
    if inside:
        raise TemplateError("An `if` has no `end`")
    return tuple(pieces), None


def _parse_choice(condition: str, tokens: list[tuple[str, str]]) -> Choice:
    is_negated = condition.startswith("not ")
    path = _path(condition.removeprefix("not ").strip())
    then, closing = _parse(tokens, inside=True)
    otherwise: tuple[Piece, ...] = ()
    if closing == "else":
        otherwise, closing = _parse(tokens, inside=True)
    if closing != "end":
        raise TemplateError("An `if` has two `else`")
    return Choice(path, is_negated, then, otherwise)


def _path(source: str) -> tuple[str, ...]:
    if PATH.fullmatch(source) is None:
        raise TemplateError(f"`{{{{ {source} }}}}` is not understood; values look like `{{{{ .Token }}}}`")
    return tuple(source[1:].split("."))


def _render(pieces: tuple[Piece, ...], data: Mapping[str, Any], *, as_html: bool) -> str:
    out = []
    for piece in pieces:
        match piece:
            case str():
                out.append(piece)
            case Value(path):
                text = _text(_look_up(data, path))
                out.append(html.escape(text) if as_html else text)
            case Choice(path, is_negated, then, otherwise):
                chosen = then if bool(_look_up(data, path)) is not is_negated else otherwise
                out.append(_render(chosen, data, as_html=as_html))
    return "".join(out)


def _look_up(data: object, path: tuple[str, ...]) -> object:
    for name in path:
        data = data.get(name) if isinstance(data, Mapping) else None
    return data


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
