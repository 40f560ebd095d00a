"""Actions as a tree of nodes and expressions (text/template/parse/parse.go).

A pipeline is an expression: `.A | f 1` is the call `f 1 .A`.
"""

import ast
from dataclasses import dataclass
from typing import Final, Literal

from basalt.auth.templates.functions import ARITY, check_format
from basalt.auth.templates.lexer import Action, Static, TemplateError, Token, scan

MAX_DEPTH: Final = 60
MAX_NODES: Final = 20_000

CONSTANTS: Final = {"true": True, "false": False, "nil": None}
BLOCKS: Final = ("if", "with", "range")
KEYWORDS: Final = frozenset({*BLOCKS, "else", "end"})
UNSUPPORTED: Final = frozenset({"define", "template", "block", "break", "continue"})

Escaper = Literal["html", "nospace", "url_filter", "url_normalise", "url_escape", "css", "nothing"]


@dataclass(frozen=True, slots=True)
class Constant:
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Path:
    """`root` is `.`, `$` or a variable's name with its dollar sign."""

    root: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    of: "Expression"
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: "tuple[Expression, ...]"


Expression = Constant | Path | Member | Call


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    line: int = 1


@dataclass(frozen=True, slots=True)
class Output:
    """`escapers` are applied in their order."""

    value: Expression
    line: int
    escapers: tuple[Escaper, ...] = ()


@dataclass(frozen=True, slots=True)
class Assignment:
    name: str
    value: Expression
    is_new: bool


@dataclass(frozen=True, slots=True)
class Block:
    """`if`, `with` and `range`. `names` are the variables that it sets, new ones or known ones."""

    kind: str
    subject: Expression
    names: tuple[str, ...]
    is_new: bool
    body: "tuple[Node, ...]"
    otherwise: "tuple[Node, ...]"
    line: int


Node = Text | Output | Assignment | Block


def parse_nodes(source: str) -> tuple[Node, ...]:
    """Raises TemplateError."""
    parser = _Parser(list(scan(source))[::-1])
    nodes, closing = parser.parse_list(["$"], depth=0)
    if closing is not None:
        word = closing.tokens[0].text
        raise TemplateError(f"`{{{{ {word} }}}}` without an `if`, `with` or `range` before it", closing.line)
    return nodes


class _Parser:
    """Over text and actions in reverse order, to be popped. `variables` are those in scope."""

    def __init__(self, pieces: list[Static | Action]) -> None:
        self._pieces = pieces
        if len(pieces) > MAX_NODES:
            raise TemplateError(f"A template has at most {MAX_NODES} actions", 1)

    def parse_list(self, variables: list[str], *, depth: int) -> tuple[tuple[Node, ...], Action | None]:
        """Nodes up to the end, or up to the `else` or `end` that is returned beside them."""
        nodes: list[Node] = []
        scope = list(variables)
        while self._pieces:
            piece = self._pieces.pop()
            if isinstance(piece, Static):
                nodes.append(Text(piece.text, piece.line))
                continue
            word = piece.tokens[0].text if piece.tokens else ""
            if word in ("else", "end"):
                return tuple(nodes), piece
            if word in BLOCKS:
                reader = _Reader(piece, piece.tokens[1:], list(scope))
                nodes.append(self._parse_block(word, reader, depth=depth + 1))
            else:
                nodes.append(_parse_action(piece, scope))
        return tuple(nodes), None

    def _parse_block(self, kind: str, reader: "_Reader", *, depth: int) -> Block:
        line = reader.action.line
        if depth > MAX_DEPTH:
            raise TemplateError(f"Blocks are nested more than {MAX_DEPTH} deep", line)
        names, is_new, subject = reader.read_pipeline(most_names=2 if kind == "range" else 1)
        body, closing = self.parse_list(reader.variables, depth=depth)
        otherwise: tuple[Node, ...] = ()
        if closing is not None and closing.tokens[0].text == "else":
            rest = closing.tokens[1:]
            if rest and rest[0].text in ("if", "with") and kind != "range":
                inner = _Reader(closing, rest[1:], reader.variables)
                chained = self._parse_block(rest[0].text, inner, depth=depth + 1)
                return Block(kind, subject, names, is_new, body, (chained,), line)
            if rest:
                raise TemplateError("`else` is followed by something that is not understood", closing.line)
            otherwise, closing = self.parse_list(reader.variables, depth=depth)
        if closing is None:
            raise TemplateError(f"This `{kind}` has no `end`", line)
        if closing.tokens[0].text == "else":
            raise TemplateError(f"The `{kind}` of line {line} has two `else`", closing.line)
        if len(closing.tokens) > 1:
            raise TemplateError("`end` stands alone", closing.line)
        return Block(kind, subject, names, is_new, body, otherwise, line)


def _parse_action(action: Action, scope: list[str]) -> Node:
    reader = _Reader(action, action.tokens, scope)
    names, is_new, value = reader.read_pipeline(most_names=1)
    return Assignment(names[0], value, is_new) if names else Output(value, action.line)


class _Reader:
    """Reads the tokens of one action. New variables are added to `variables`."""

    def __init__(self, action: Action, tokens: tuple[Token, ...], variables: list[str]) -> None:
        self.action = action
        self.variables = variables
        self._tokens = list(tokens[::-1])
        self._depth = 0

    def read_pipeline(self, *, most_names: int) -> tuple[tuple[str, ...], bool, Expression]:
        """`$a, $b := …`: the names, whether they are new, and the value; the whole action."""
        names, is_new = self._read_names(most_names)
        value = self._read_expression()
        if self._tokens:
            raise self._error(f"`{self._tokens[-1].text}` is not expected here")
        if is_new:
            self.variables.extend(names)
        return names, is_new, value

    def _read_names(self, most: int) -> tuple[tuple[str, ...], bool]:
        texts = [token.text for token in self._tokens[::-1]]
        count = 2 if texts[1:2] == [","] else 1
        mark = texts[2 * count - 1 : 2 * count]
        if mark not in ([":="], ["="]) or not texts[0].startswith("$"):
            return (), False
        names = tuple(texts[: 2 * count : 2])
        if count > most or any(not name.startswith("$") or name == "$" for name in names):
            raise self._error("This is no variable that can be set")
        is_new = mark == [":="]
        for name in names:
            if not is_new and name not in self.variables:
                raise self._error(f"The variable {name} is not defined")
        del self._tokens[-2 * count :]
        return names, is_new

    def _read_expression(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"Parentheses are nested more than {MAX_DEPTH} deep")
        value = self._read_command(())
        while self._takes("|"):
            value = self._read_command((value,))
        self._depth -= 1
        return value

    def _read_command(self, piped: tuple[Expression, ...]) -> Expression:
        first = self._tokens[-1] if self._tokens else None
        if first is not None and first.kind == "name" and first.text not in CONSTANTS:
            self._tokens.pop()
            arguments = []
            while self._tokens and self._tokens[-1].text not in ("|", ")"):
                arguments.append(self._read_operand())
            return self._call(first.text, (*arguments, *piped))
        value = self._read_operand()
        if piped or (self._tokens and self._tokens[-1].text not in ("|", ")")):
            raise self._error("Only a function takes values, and this is none")
        return value

    def _read_operand(self) -> Expression:
        if not self._tokens:
            raise self._error("A value is missing")
        token = self._tokens.pop()
        value: Expression
        match token.kind:
            case "string":
                value = Constant(ast.literal_eval(token.text) if token.text[0] == '"' else token.text[1:-1])
            case "number":
                value = Constant(_number(token.text))
            case "field":
                value = Path(".", (token.text[1:], *self._read_fields()))
            case "dot":
                value = Path(".")
            case "variable":
                if token.text not in self.variables:
                    raise self._error(f"The variable {token.text} is not defined")
                value = Path(token.text, self._read_fields())
            case "name":
                value = (
                    Constant(CONSTANTS[token.text]) if token.text in CONSTANTS else self._call(token.text, ())
                )
            case _:
                value = self._read_parentheses(token)
        return value

    def _read_parentheses(self, token: Token) -> Expression:
        if token.text != "(":
            raise self._error(f"`{token.text}` is not expected here")
        value = self._read_expression()
        if not self._takes(")"):
            raise self._error("A `(` is not closed")
        names = self._read_fields()
        return Member(value, names) if names else value

    def _read_fields(self) -> tuple[str, ...]:
        names = []
        while self._tokens and self._tokens[-1].kind == "field" and self._tokens[-1].is_joined:
            names.append(self._tokens.pop().text[1:])
        return tuple(names)

    def _call(self, function: str, arguments: tuple[Expression, ...]) -> Call:
        if function in UNSUPPORTED or function in KEYWORDS:
            raise self._error(f"`{function}` is not supported here")
        if function not in ARITY:
            raise self._error(f"There is no function `{function}`; values look like `{{{{ .Token }}}}`")
        least, most = ARITY[function]
        if len(arguments) < least or (most is not None and len(arguments) > most):
            raise self._error(f"`{function}` is given {len(arguments)} values, which it does not take")
        if function == "printf":
            self._check_printf(arguments[0])
        return Call(function, arguments)

    def _check_printf(self, pattern: Expression) -> None:
        if not isinstance(pattern, Constant) or not isinstance(pattern.value, str):
            raise self._error("The format of `printf` must be written out")
        try:
            check_format(pattern.value)
        except ValueError as exc:
            raise self._error(str(exc)) from exc

    def _takes(self, mark: str) -> bool:
        if self._tokens and self._tokens[-1].kind == "mark" and self._tokens[-1].text == mark:
            self._tokens.pop()
            return True
        return False

    def _error(self, message: str) -> TemplateError:
        return TemplateError(message, self.action.line)


def _number(text: str) -> int | float:
    try:
        return int(text, 16 if "x" in text.lower() else 10)
    except ValueError:
        return float(text)
