"""What of Jinja's syntax templates may use, and what is put in so that every step of it is paid for.

Only the kinds of nodes that are listed pass: no macros, includes, blocks or recursive loops, and lists and mappings are
written out of constants, so that every template ends and no value outgrows its text.
"""

from collections.abc import Container, Iterator
from math import isfinite
from typing import cast

from jinja2 import TemplateSyntaxError, nodes
from jinja2.visitor import NodeTransformer

MAX_NUMBER_BITS = 4096

ALLOWED_NODES: tuple[type[nodes.Node], ...] = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.Filter,
    nodes.Test,
    nodes.If,
    nodes.For,
    nodes.Assign,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.BinExpr,
    nodes.Neg,
    nodes.Pos,
    nodes.List,
    nodes.Tuple,
    nodes.Dict,
    nodes.Pair,
    nodes.Concat,
    nodes.Call,
    nodes.Keyword,
)
LITERALS = (nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair)


def restrict(tree: nodes.Template, *, filters: Container[str], tests: Container[str]) -> nodes.Template:
    """Refuse what is not in the language by a TemplateSyntaxError, and put the counters in: filters `counted`,
    `weighed` and `concatenated`."""
    for node in list(_walk(tree)):
        if not isinstance(node, ALLOWED_NODES):
            raise TemplateSyntaxError(f"{_name(node)} is not part of templates here", _find_line(node))
        match node:
            case nodes.For():
                if node.recursive:
                    raise TemplateSyntaxError("loops are not recursive here", node.lineno)
                node.iter = _filtered("counted", cast(nodes.Expr, node.iter))
            case nodes.Filter() if node.name not in filters:
                raise TemplateSyntaxError(f"no filter named {node.name!r}", node.lineno)
            case nodes.Test() if node.name not in tests:
                raise TemplateSyntaxError(f"no test named {node.name!r}", node.lineno)
            case nodes.List() | nodes.Dict() | nodes.Pair() | nodes.Tuple(ctx="load"):
                _check_constants(node)
            case nodes.Const():
                _check_number(node)
            case nodes.Compare():
                node.expr = _filtered("weighed", node.expr)
                for operand in node.ops:
                    operand.expr = _filtered("weighed", operand.expr)
            case nodes.Getitem(arg=nodes.Slice()):  # which Jinja leaves to Python
                node.node = _filtered("weighed", node.node)
            case nodes.Call() if node.dyn_args is not None or node.dyn_kwargs is not None:
                raise TemplateSyntaxError("*args and **kwargs are not part of templates here", node.lineno)
    return cast(nodes.Template, _BoundedConcatenation().visit(tree))


class _BoundedConcatenation(NodeTransformer):
    """`a ~ b` is an expression that Jinja gives nobody a say in; as a filter over its parts it is."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802  Jinja's own name
        node = cast(nodes.Concat, self.generic_visit(node))
        return _filtered("concatenated", nodes.List(node.nodes, lineno=node.lineno))


def _walk(tree: nodes.Node) -> Iterator[nodes.Node]:
    waiting: list[nodes.Node] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.iter_child_nodes())


def _find_line(node: nodes.Node) -> int:
    """Some have none of their own."""
    return next((one.lineno for one in _walk(node) if one.lineno), 1)


def _check_constants(node: nodes.Node) -> None:
    """Of values, two mappings that hold each other's copies twice at each of fifty levels would be compared for
    years."""
    for part in node.iter_child_nodes():
        number = part.node if isinstance(part, nodes.Neg) else part
        if not isinstance(number, LITERALS):
            raise TemplateSyntaxError("lists and mappings are written out of constants here", node.lineno)


def _check_number(constant: nodes.Const) -> None:
    """Jinja writes them into Python's source, which knows no infinity and takes 4300 digits."""
    value = constant.value
    is_short = not isinstance(value, int) or value.bit_length() <= MAX_NUMBER_BITS
    if not is_short or (isinstance(value, float) and not isfinite(value)):
        raise TemplateSyntaxError("a number is too large", constant.lineno)


def _filtered(name: str, value: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=value.lineno)


def _name(node: nodes.Node) -> str:
    return f"`{type(node).__name__.lower()}`"
