"""Where in an HTML document a value stands, and which escapers it needs there (html/template escape.go, transition.go).

The static text is followed like a browser would read it. Both ways through an `if` must end in the same place. Unlike
Go, comments stay, since `<!--[if mso]>` is how mails speak to Outlook; what is inside such a condition is read as
HTML, and values in other comments are left out.
"""

import html
import re
from dataclasses import dataclass, replace
from typing import Final, Literal

from basalt.auth.templates.grammar import Assignment, Block, Call, Escaper, Expression, Node, Output, Text
from basalt.auth.templates.lexer import TemplateError

State = Literal[
    "text", "raw", "comment", "tag_name", "tag", "attribute_name", "after_name", "before_value", "value"
]
Content = Literal["plain", "url", "css", "script"]
UrlPart = Literal["start", "path", "query", "unknown"]

CONDITION: Final = re.compile(r"<!--\[if[^\]]*\]>(?:<!-->|-->)?|<!(?:--)?\[endif\]-->", re.IGNORECASE)
TAG: Final = re.compile(r"</?(?:[A-Za-z][^\s/>]*)?")
SPACE: Final = re.compile(r"[\s/]*")
ATTRIBUTE_NAME: Final = re.compile(r"[^\s=>/]+")
UNQUOTED: Final = re.compile(r"[^\s>]*")
BETWEEN_ATTRIBUTES: Final = frozenset({"tag", "attribute_name", "after_name"})
# Elements whose content is no HTML: what values in it are.
RAW_ELEMENTS: Final[dict[str, Content]] = {
    "title": "plain",
    "textarea": "plain",
    "style": "css",
    "script": "script",
}
URL_ATTRIBUTES: Final = frozenset(
    """action archive background cite classid codebase data formaction href icon longdesc manifest poster profile
    src usemap xmlns""".split()  # noqa: SIM905
)
SCRIPT_ATTRIBUTES: Final = frozenset({"srcdoc", "srcset", "imagesrcset", "ping"})


@dataclass(frozen=True, slots=True)
class Context:
    """`element` is the tag being read, or the raw element that we are in; `quote` ends the value, if it has one."""

    state: State = "text"
    element: str = ""
    quote: str = ""
    content: Content = "plain"
    url_part: UrlPart = "start"


def place_escapers(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """The same nodes, every Output with its escapers. Raises TemplateError."""
    placed, _ = _place_all(nodes, Context())
    return placed


def _place_all(nodes: tuple[Node, ...], context: Context) -> tuple[tuple[Node, ...], Context]:
    placed = []
    for node in nodes:
        match node:
            case Text(text, line):
                try:
                    context = advance(context, text)
                except ValueError as exc:
                    raise TemplateError(str(exc), line) from exc
            case Output(value, line):
                if context.state == "before_value":
                    context = replace(context, state="value", quote="")
                node = _place(value, line, context)
            case Block():
                node, context = _place_block(node, context)
            case Assignment():
                pass
        placed.append(node)
    return tuple(placed), context


def _place_block(block: Block, context: Context) -> tuple[Block, Context]:
    body, after = _place_all(block.body, context)
    if block.kind == "range" and after != context:
        # Once more from where the first round ends: the second round starts there.
        body, again = _place_all(block.body, _join(context, after, block.line))
        after = _join(after, again, block.line)
    otherwise, after_other = _place_all(block.otherwise, context)
    placed = replace(block, body=body, otherwise=otherwise)
    return placed, _join(after, after_other, block.line)


def _join(one: Context, other: Context, line: int) -> Context:
    if one == other:
        return one
    if one.element == other.element and {one.state, other.state} <= BETWEEN_ATTRIBUTES:
        return Context("tag", one.element)  # `<option {{ if .A }}selected{{ end }}>`
    if replace(one, url_part="unknown") == replace(other, url_part="unknown"):
        return replace(one, url_part="unknown")
    raise TemplateError("The two ways through this block end in different places of the HTML", line)


def _place(value: Expression, line: int, context: Context) -> Output:
    escapers = _escapers(context, line)
    if isinstance(value, Call) and value.function == "html" and len(value.arguments) == 1:
        value = value.arguments[0]  # done here anyway, and fit for the place
    elif isinstance(value, Call) and value.function == "urlquery":
        escapers = tuple(escaper for escaper in escapers if not escaper.startswith("url_"))
    return Output(value, line, escapers)


def _escapers(context: Context, line: int) -> tuple[Escaper, ...]:
    if context.state == "comment":
        return ("nothing",)
    if context.content == "script":
        raise TemplateError("A value cannot stand in a script", line)
    if context.state == "raw":
        return ("css",) if context.content == "css" else ("html",)
    if context.state == "text":
        return ("html",)
    if context.state != "value":
        raise TemplateError("A value inside a tag must be the value of an attribute", line)
    return (*_content_escapers(context, line), "html" if context.quote else "nospace")


def _content_escapers(context: Context, line: int) -> tuple[Escaper, ...]:
    match context.content, context.url_part:
        case "css", _:
            return ("css",)
        case "url", "start":
            return ("url_filter", "url_normalise")
        case "url", "path":
            return ("url_normalise",)
        case "url", "query":
            return ("url_escape",)
        case "url", _:
            raise TemplateError("It depends on an `if` before it which part of the URL this value is", line)
    return ()


def advance(context: Context, text: str) -> Context:
    """The context after static text.

    >>> advance(Context(), '<a class=x href="/verify?token=').url_part
    'query'
    >>> advance(Context(), '<p>1 < 2</p><!-- note').state
    'comment'
    """
    position = 0
    while position < len(text):
        context, position = _STEPS[context.state](context, text, position)
    return context


def _read_text(context: Context, text: str, position: int) -> tuple[Context, int]:
    opening = text.find("<", position)
    if opening < 0:
        return context, len(text)
    condition = CONDITION.match(text, opening)
    if condition is not None:
        return context, condition.end()
    if text.startswith("<!--", opening):
        return replace(context, state="comment"), opening + 4
    if text.startswith("<!", opening):
        return context, opening + 2
    return _read_tag_name(replace(context, state="tag_name"), text, opening)


def _read_tag_name(context: Context, text: str, position: int) -> tuple[Context, int]:
    """From the `<`. One that ends the text waits for what comes next."""
    tag = TAG.match(text, position)
    if tag is None:
        if text[position].isalpha() or text[position] == "/":
            raise ValueError("A tag's name begins with a block")
        return Context(), position
    if tag[0] not in ("<", "</"):
        return Context("tag", tag[0].lstrip("<").lower()), tag.end()
    return (context if tag.end() == len(text) else Context()), tag.end()


def _read_tag(context: Context, text: str, position: int) -> tuple[Context, int]:
    space = SPACE.match(text, position)
    position = space.end() if space else position
    if position == len(text):
        return context, position
    if text[position] == ">":
        if context.element in RAW_ELEMENTS:
            return Context("raw", context.element, content=RAW_ELEMENTS[context.element]), position + 1
        return Context(), position + 1
    name = ATTRIBUTE_NAME.match(text, position)
    if name is None:
        return context, position + 1
    state: State = "attribute_name" if name.end() == len(text) else "after_name"
    return replace(context, state=state, content=attribute_content(name[0])), name.end()


def _read_rest_of_name(context: Context, text: str, position: int) -> tuple[Context, int]:
    """A name that ended the text before: nothing may be added to it."""
    if text[position] in " \t\r\n/>=":
        return replace(context, state="after_name"), position
    raise ValueError("An attribute's name is broken by a block")


def _read_after_name(context: Context, text: str, position: int) -> tuple[Context, int]:
    while position < len(text) and text[position].isspace():
        position += 1
    if position == len(text):
        return context, position
    if text[position] == "=":
        return replace(context, state="before_value"), position + 1
    return Context("tag", context.element), position


def _read_before_value(context: Context, text: str, position: int) -> tuple[Context, int]:
    character = text[position]
    if character.isspace():
        return context, position + 1
    if character == ">":
        return Context("tag", context.element), position
    quote = character if character in "\"'" else ""
    return replace(context, state="value", quote=quote), position + len(quote)


def _read_value(context: Context, text: str, position: int) -> tuple[Context, int]:
    if context.quote:
        end = text.find(context.quote, position)
        end = len(text) if end < 0 else end
    else:
        unquoted = UNQUOTED.match(text, position)
        end = unquoted.end() if unquoted else position
    if end == len(text):
        return replace(context, url_part=_next_part(context.url_part, text[position:end])), end
    return Context("tag", context.element), end + len(context.quote)


def _next_part(part: UrlPart, text: str) -> UrlPart:
    plain = html.unescape(text)
    if "?" in plain or "#" in plain:
        return "query"
    return "path" if part == "start" and plain.strip() else part


def _read_raw(context: Context, text: str, position: int) -> tuple[Context, int]:
    closing = re.compile(rf"</{context.element}(?=[\s/>])", re.IGNORECASE).search(text, position)
    if closing is None:
        return context, len(text)
    return Context("tag", f"/{context.element}"), closing.end()


def _read_comment(context: Context, text: str, position: int) -> tuple[Context, int]:
    end = text.find("-->", position)
    return (context, len(text)) if end < 0 else (Context(), end + 3)


def attribute_content(name: str) -> Content:
    """What the values of an attribute are (html/template attr.go)."""
    plain = name.lower().removeprefix("data-")
    prefix, colon, local = plain.partition(":")
    if colon:
        if prefix == "xmlns":
            return "url"
        plain = local
    if plain.startswith("on") or plain in SCRIPT_ATTRIBUTES:
        return "script"
    if plain == "style":
        return "css"
    if plain in URL_ATTRIBUTES or "src" in plain or "uri" in plain or "url" in plain:
        return "url"
    return "plain"


_STEPS: Final = {
    "text": _read_text,
    "raw": _read_raw,
    "comment": _read_comment,
    "tag_name": _read_tag_name,
    "tag": _read_tag,
    "attribute_name": _read_rest_of_name,
    "after_name": _read_after_name,
    "before_value": _read_before_value,
    "value": _read_value,
}
