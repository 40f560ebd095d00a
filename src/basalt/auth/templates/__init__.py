"""The part of Go's template language that message templates use (text/template and html/template of Go).

`lexer` cuts a source into text and actions, `grammar` makes them a tree, `context` finds out where in the HTML each
value stands and puts the `escapers` there, `render` fills in values with the `functions`. A source is parsed when it
is configured; what is not understood is a TemplateError with its line then. Rendering depends on what users wrote
about themselves, so it does not fail where Go does: values that are missing or of another kind than a function wants
are empty, unequal or of length 0. It ends: steps and size are bounded.

Left out, each with its own error: `define`, `template`, `block`, `break`, `continue`, `call`, and values inside
scripts, tag names and attribute names. No library was taken: those on PyPI wrap a Go toolchain, or (gotpl) are a
first, partial release with 800 kB of Sprig, Helm and clock functions that a mail must not have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from basalt.auth.templates.context import place_escapers
from basalt.auth.templates.grammar import Node, parse_nodes
from basalt.auth.templates.lexer import TemplateError
from basalt.auth.templates.render import render_nodes

__all__ = ["Template", "TemplateError", "parse_template"]


@dataclass(frozen=True, slots=True)
class Template:
    nodes: tuple[Node, ...]

    def render(self, values: Mapping[str, Any]) -> str:
        """The text with its values. Raises TemplateError when it would be without end or measure."""
        return render_nodes(self.nodes, values)


def parse_template(source: str, *, as_html: bool = False) -> Template:
    """In HTML, values are escaped by where they stand, as html/template does. Raises TemplateError.

    >>> parse_template("Hello {{ .Data.name }}{{ if .Token }}: {{ .Token }}{{ end }}").render(
    ...     {"Data": {"name": "<Ada>"}, "Token": "123456"})
    'Hello <Ada>: 123456'
    >>> parse_template('<a href="{{ .Data.site }}">{{ .Data.name }}</a>', as_html=True).render(
    ...     {"Data": {"name": "<Ada>", "site": "javascript:alert(1)"}})
    '<a href="#ZgotmplZ">&lt;Ada&gt;</a>'
    """
    nodes = parse_nodes(source)
    return Template(place_escapers(nodes) if as_html else nodes)
