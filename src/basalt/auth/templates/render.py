"""Nodes and values → text (text/template/exec.go). Bounded in steps and size, whatever the values hold."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, assert_never

from basalt.auth.templates.escapers import ESCAPERS
from basalt.auth.templates.functions import FUNCTIONS, is_true, to_text
from basalt.auth.templates.grammar import (
    Assignment,
    Block,
    Call,
    Constant,
    Expression,
    Member,
    Node,
    Output,
    Path,
    Text,
)
from basalt.auth.templates.lexer import TemplateError

MAX_STEPS: Final = 10_000  # some tens of milliseconds
MAX_CHARACTERS: Final = 1_000_000


def render_nodes(nodes: tuple[Node, ...], values: Mapping[str, Any]) -> str:
    """Raises TemplateError over a bound."""
    run = _Run(values)
    run.render(nodes, values)
    return "".join(run.pieces)


class _Run:
    """One rendering. `variables` is a stack: the last one of a name is the one in scope."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.pieces: list[str] = []
        self._variables: list[tuple[str, Any]] = [("$", values)]
        self._steps = 0
        self._characters = 0

    def render(self, nodes: tuple[Node, ...], dot: Any) -> None:
        height = len(self._variables)
        for node in nodes:
            match node:
                case Text(text, line):
                    self._write(text, line)
                case Output(value, line, escapers):
                    text = to_text(self._evaluate(value, dot))
                    for escaper in escapers:
                        text = ESCAPERS[escaper](text)
                    self._write(text, line)
                case Assignment(name, value, is_new):
                    self._set(name, self._evaluate(value, dot), is_new=is_new)
                case Block():
                    self._render_block(node, dot)
                case _:
                    assert_never(node)
        del self._variables[height:]

    def _render_block(self, block: Block, dot: Any) -> None:
        height = len(self._variables)
        subject = self._evaluate(block.subject, dot)
        if block.kind == "range":
            self._render_range(block, subject, dot)
        else:
            for name in block.names:
                self._set(name, subject, is_new=block.is_new)
            if is_true(subject):
                self.render(block.body, subject if block.kind == "with" else dot)
            else:
                self.render(block.otherwise, dot)
        del self._variables[height:]

    def _render_range(self, block: Block, subject: Any, dot: Any) -> None:
        is_empty = True
        for key, item in _items(subject):
            is_empty = False
            height = len(self._variables)
            self._step(block.line)
            values = (key, item) if len(block.names) == 2 else (item,)
            for name, value in zip(block.names, values, strict=False):
                self._set(name, value, is_new=block.is_new)
            self.render(block.body, item)
            del self._variables[height:]
        if is_empty:
            self.render(block.otherwise, dot)

    def _evaluate(self, expression: Expression, dot: Any) -> Any:
        self._step(1)
        match expression:
            case Constant(value):
                return value
            case Path(".", names):
                return _look_up(dot, names)
            case Path(root, names):
                found = next(value for name, value in reversed(self._variables) if name == root)
                return _look_up(found, names)
            case Member(of, names):
                return _look_up(self._evaluate(of, dot), names)
            case Call("and" | "or" as function, arguments):
                return self._decide(arguments, dot, stops_at=function == "or")
            case Call(function, arguments):
                made = FUNCTIONS[function](*(self._evaluate(argument, dot) for argument in arguments))
                if isinstance(made, str):  # `{{ $x = print $x $x }}` in a loop doubles it each time
                    self._check_size(len(made), 1)
                return made
            case _:
                assert_never(expression)

    def _decide(self, arguments: tuple[Expression, ...], dot: Any, *, stops_at: bool) -> Any:
        value: Any = None
        for argument in arguments:
            value = self._evaluate(argument, dot)
            if is_true(value) is stops_at:
                break
        return value

    def _set(self, name: str, value: Any, *, is_new: bool) -> None:
        if is_new:
            self._variables.append((name, value))
            return
        place = max(position for position, (known, _) in enumerate(self._variables) if known == name)
        self._variables[place] = (name, value)

    def _write(self, text: str, line: int) -> None:
        self._step(line)
        self._characters += len(text)
        self._check_size(self._characters, line)
        self.pieces.append(text)

    def _check_size(self, characters: int, line: int) -> None:
        if characters > MAX_CHARACTERS:
            raise TemplateError(f"The message is longer than {MAX_CHARACTERS} characters", line)

    def _step(self, line: int) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TemplateError(f"The message takes more than {MAX_STEPS} steps", line)


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    """Lists in their order, maps by their sorted keys, a number as 0, 1, 2 …"""
    if isinstance(value, list):
        yield from enumerate(value)
    elif isinstance(value, Mapping):
        for name in sorted(value):
            yield name, value[name]
    elif isinstance(value, int) and not isinstance(value, bool):
        for number in range(value):
            yield number, number


def _look_up(value: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
