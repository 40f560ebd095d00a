"""Every metric is documented, with its kind and labels, and nothing else is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.req("P17")

SOURCE = Path(__file__).parent.parent.parent / "src" / "basalt"
PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "metrics.md"
ROW = re.compile(r"^\| `(basalt_\w+)` \| (counter|gauge|histogram) \|\s*([^|]*?)\s*\| \S[^|]*\|$", re.M)
KINDS = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram"}

Declared = tuple[str, tuple[str, ...]]


def text_of(node: ast.expr | None) -> str:
    assert isinstance(node, ast.Constant)
    assert isinstance(node.value, str)
    return node.value


def texts_of(node: ast.expr | None) -> tuple[str, ...]:
    return tuple(text_of(item) for item in node.elts) if isinstance(node, ast.List | ast.Tuple) else ()


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def option(call: ast.Call, name: str, position: int) -> ast.expr | None:
    named = next((each.value for each in call.keywords if each.arg == name), None)
    return named if named is not None else (call.args[position] if len(call.args) > position else None)


def declared_in(tree: ast.AST) -> Iterator[tuple[str, Declared]]:
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        if name_of(call) in KINDS and isinstance(call.args[0] if call.args else None, ast.Constant):
            labels = texts_of(option(call, "labels", 2))
            yield text_of(call.args[0]), (KINDS[name_of(call)], labels)
        elif name_of(call) == "Reading" and isinstance(figures := option(call, "figures", 1), ast.Tuple):
            for figure in figures.elts:
                assert isinstance(figure, ast.Call)
                kind = option(figure, "kind", 2)
                yield (
                    text_of(figure.args[0]),
                    ("gauge" if kind is None else text_of(kind), texts_of(option(call, "labels", 2))),
                )
        elif name_of(call) == "Figure" and call.args:
            yield text_of(call.args[0]), ("", ())


def declared() -> dict[str, Declared]:
    """A figure of the database has its labels from the reading that it stands in."""
    found: dict[str, Declared] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for name, known in declared_in(ast.parse(path.read_text("utf-8"))):
            if not name.startswith("basalt_"):
                continue
            if known[0]:
                assert found.get(name, known) in (known, ("", ())), f"{name} is declared in two ways"
                found[name] = known
            else:
                found.setdefault(name, known)
    return {name: ("gauge", ()) if known == ("", ()) else known for name, known in found.items()}


def documented() -> dict[str, Declared]:
    rows = ROW.findall(PAGE.read_text("utf-8"))
    assert len({name for name, *_ in rows}) == len(rows)
    return {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_the_page_has_every_metric_and_no_other() -> None:
    assert documented() == declared()
