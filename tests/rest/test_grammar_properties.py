"""The grammar against generated input: what is printed is read back, and nothing makes it stumble."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basalt.rest.errors import RestError
from basalt.rest.grammar import parse_filter, parse_logic, parse_order, parse_select
from basalt.rest.parameters import parse_parameters
from basalt.rest.query import (
    Compare,
    FieldRef,
    Filter,
    FullText,
    InList,
    Is,
    IsDistinct,
    JsonStep,
    Logic,
    LogicTree,
    Operation,
    OrderTerm,
    SelectEmbed,
    SelectField,
    SelectItem,
)

pytestmark = pytest.mark.req("P5")

RESERVED = ("count", "inner", "left")
texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8)
names = texts.filter(lambda name: name != "" and name not in RESERVED)
types = st.sampled_from(["text", "int4", "timestamp with time zone", "_int4", "my$type"])
aggregates = st.sampled_from(["sum", "avg", "count", "max", "min"])


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# Values and how they are written


steps = st.builds(JsonStep, names | st.integers(0, 999), st.booleans())
fields = st.builds(FieldRef, names, st.lists(steps, max_size=3).map(tuple))


def print_field(field: FieldRef, *, inside: bool = False) -> str:
    """`inside` parentheses a number is a key, as in PostgREST; such fields are not generated there."""
    return quoted(field.name) + "".join(
        ("->>" if step.as_text else "->") + (str(step.key) if isinstance(step.key, int) else quoted(step.key))
        for step in field.json_path
    )


def has_index_at_end(field: FieldRef) -> bool:
    return bool(field.json_path) and isinstance(field.json_path[-1].key, int)


select_fields = st.one_of(
    st.builds(SelectField, fields, st.none() | names, st.none() | types),
    st.builds(SelectField, fields, st.none() | names, st.none() | types, aggregates, st.none() | types),
    st.builds(SelectField, st.just(FieldRef("*")), st.none() | names, st.none(), st.just("count"), st.none() | types),
    st.just(SelectField(FieldRef("*"))),
)  # fmt: skip
select_items: st.SearchStrategy[SelectItem] = st.recursive(
    select_fields,
    lambda items: (
        st.builds(
            SelectEmbed,
            names,
            st.lists(items, max_size=3).map(tuple),
            st.none() | names,
            st.none() | names,
            st.sampled_from([None, "inner", "left"]),
        )
        | st.builds(SelectEmbed, names, st.lists(items, max_size=3).map(tuple), spread=st.just(True))
    ),
    max_leaves=8,
)


def print_item(item: SelectItem) -> str:
    if isinstance(item, SelectEmbed):
        items = ",".join(map(print_item, item.items))
        parts = [
            quoted(item.relation),
            *([quoted(item.hint)] if item.hint else []),
            *([item.join] if item.join else []),
        ]
        return ("..." if item.spread else print_alias(item.alias)) + "!".join(parts) + f"({items})"
    if item.field.name == "*" and not item.field.json_path:
        start = "count()" if item.aggregate else "*"
    else:
        start = print_field(item.field) + (f"::{item.cast}" if item.cast else "")
        start += f".{item.aggregate}()" if item.aggregate else ""
    return print_alias(item.alias) + start + (f"::{item.aggregate_cast}" if item.aggregate_cast else "")


def print_alias(alias: str | None) -> str:
    return f"{quoted(alias)}:" if alias else ""


def ends_in_index(item: SelectItem) -> bool:
    """`rel(a->0)` reads `0` as a key, because an index may not stand before a parenthesis."""
    if isinstance(item, SelectEmbed):
        return any(ends_in_index(inner) for inner in item.items)
    return has_index_at_end(item.field) and not (item.cast or item.aggregate)


def is_printable(item: SelectItem) -> bool:
    return not (isinstance(item, SelectField) and item.field.name == "*" and item.field.json_path)


operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Compare, st.sampled_from(["eq", "gt", "like", "imatch"]), texts, st.sampled_from([None, "any", "all"])),
    st.builds(Compare, st.sampled_from(["neq", "cs", "adj", "nxr"]), texts),
    st.builds(InList, st.lists(texts, max_size=4).map(tuple).filter(lambda values: values != ("",))),
    st.builds(Is, st.sampled_from(["null", "not_null", "true", "false", "unknown"])),
    st.builds(IsDistinct, texts),
    st.builds(FullText, st.sampled_from(["fts", "plfts", "phfts", "wfts"]), texts, st.none() | st.just("english")),
)  # fmt: skip


def print_operation(operation: Operation, *, in_logic: bool) -> str:
    def value(text: str) -> str:
        return quoted(text) if in_logic else text

    match operation:
        case Compare(operator, text, quantifier):
            return operator + (f"({quantifier})" if quantifier else "") + "." + value(text)
        case InList(values):
            return f"in.({','.join(map(quoted, values))})"
        case Is(text):
            return f"is.{text}"
        case IsDistinct(text):
            return f"isdistinct.{value(text)}"
        case FullText(operator, text, config):
            return operator + (f"({config})" if config else "") + "." + value(text)


filters = st.builds(Filter, fields, operations, st.booleans())
trees: st.SearchStrategy[LogicTree] = st.recursive(
    filters,
    lambda inner: st.builds(
        Logic,
        st.sampled_from(["and", "or"]),
        st.lists(inner, min_size=1, max_size=3).map(tuple),
        st.booleans(),
    ),
    max_leaves=6,
)


def print_tree(tree: LogicTree) -> str:
    negation = "not." if tree.negated else ""
    if isinstance(tree, Logic):
        return f"{negation}{tree.operator}({','.join(map(print_tree, tree.children))})"
    return f"{print_field(tree.field)}.{negation}{print_operation(tree.operation, in_logic=True)}"


order_terms = st.builds(
    OrderTerm,
    fields,
    st.sampled_from([None, "asc", "desc"]),
    st.sampled_from([None, "first", "last"]),
    st.none() | names,
).filter(lambda term: term.relation is None or not has_index_at_end(term.field))


def print_term(term: OrderTerm) -> str:
    text = print_field(term.field)
    text = f"{quoted(term.relation)}({text})" if term.relation else text
    return (
        text
        + (f".{term.direction}" if term.direction else "")
        + (f".nulls{term.nulls}" if term.nulls else "")
    )


# What is printed is read back


@given(st.lists(select_items.filter(is_printable), min_size=1, max_size=4).map(tuple))
def test_select_round_trip(items: tuple[SelectItem, ...]) -> None:
    if any(isinstance(item, SelectEmbed) and ends_in_index(item) for item in items):
        return
    assert parse_select(",".join(map(print_item, items))) == items


@given(operations, st.booleans())
def test_filter_round_trip(operation: Operation, negated: bool) -> None:
    text = ("not." if negated else "") + print_operation(operation, in_logic=False)
    assert parse_filter(text) == (operation, negated)


@given(trees)
def test_logic_round_trip(tree: LogicTree) -> None:
    assert parse_logic(f"({print_tree(tree)})", "and", negated=False) == Logic("and", (tree,))


@given(st.lists(order_terms, min_size=1, max_size=4).map(tuple))
def test_order_round_trip(terms: tuple[OrderTerm, ...]) -> None:
    assert parse_order(",".join(map(print_term, terms))) == terms


# Nothing makes it stumble

characters = 'abc01 \t\n.,:;()!*-_$"\\{}[]<>@%+&=é名\0'
words = (
    "-> ->> :: ... not. and( or( in.( eq. is.null count() .sum() !inner .asc .nullsfirst select= &order= &or=( &limit= "
    "&a.offset= \ud7ff"
)
alphabet = st.sampled_from([*characters, *words.split()])
garbage = st.lists(alphabet, max_size=24).map("".join)
PARSERS = (parse_select, parse_order, parse_filter, lambda text: parse_logic(text, "or", negated=False))


@settings(max_examples=600)
@given(garbage | st.text(max_size=40))
def test_any_text_is_read_or_refused_with_pgrst100(text: str) -> None:
    for parse in PARSERS:
        assert refusal_of(lambda parse=parse: parse(text)) in (None, "PGRST100")


@settings(max_examples=600)
@given(garbage.map(lambda text: text.encode()) | st.binary(max_size=60), st.booleans())
def test_any_query_string_is_read_or_refused(raw: bytes, takes_arguments: bool) -> None:
    code = refusal_of(lambda: parse_parameters(raw, takes_arguments=takes_arguments))
    assert code in (None, "PGRST100")


def refusal_of(read: Callable[[], object]) -> str | None:
    try:
        read()
    except RestError as error:
        return error.code
    return None
