"""Fields, conditions and orders as SQL. A column that the schema cache does not know is left to PostgreSQL: it may be
a function of the row (computed field), or an error that PostgreSQL words best."""

from collections.abc import Sequence

from basalt.rest.errors import RestError
from basalt.rest.plan.read import (
    EmbedFilter,
    PlannedCondition,
    PlannedField,
    PlannedFilter,
    PlannedLogic,
    PlannedOrder,
    PlannedSelect,
)
from basalt.rest.query import Compare, FullText, InList, Is, IsDistinct
from basalt.rest.sql.text import Statement, quote

OPERATORS = {
    "eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike",
    "match": "~", "imatch": "~*", "cs": "@>", "cd": "<@", "ov": "&&", "sl": "<<", "sr": ">>", "nxr": "&<",
    "nxl": "&>", "adj": "-|-",
}  # fmt: skip
FULL_TEXT = {
    "fts": "to_tsquery",
    "plfts": "plainto_tsquery",
    "phfts": "phraseto_tsquery",
    "wfts": "websearch_to_tsquery",
}
IS_VALUES = {"null": "null", "not_null": "not null", "true": "true", "false": "false", "unknown": "unknown"}
CASTABLE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ ")


def build_select(one: PlannedSelect, rows: str, statement: Statement) -> str:
    return build_named(build_value(one, rows, statement), one.alias)


def build_value(one: PlannedSelect, rows: str, statement: Statement) -> str:
    text = build_field(one.field, rows, statement)
    if one.field.transform is not None:
        text = f"{one.field.transform}({text})"
    text = build_cast(one.cast, text)
    if one.aggregate is not None:
        text = build_cast(one.aggregate_cast, f"{one.aggregate}({text})")
    return text


def build_named(value: str, alias: str | None) -> str:
    return f"{value} as {quote(alias)}" if alias is not None else value


def build_field(one: PlannedField, rows: str, statement: Statement) -> str:
    """`rows` is the alias of the level, quoted."""
    if one.is_row:
        return rows
    column = f"{rows}.*" if one.name == "*" else f"{rows}.{quote(one.name)}"
    if not one.json_path:
        return column
    steps = "".join(
        ("->>" if step.as_text else "->")
        + statement.bind(str(step.key).encode())
        + ("::int" if isinstance(step.key, int) else "")
        for step in one.json_path
    )
    return f"(to_jsonb({column}){steps})" if one.to_json else f"({column}{steps})"


def build_cast(cast: str | None, text: str) -> str:
    """A cast cannot be quoted ("double precision" is two words), so it may hold nothing but words."""
    if cast is None:
        return text
    if not set(cast) <= CASTABLE:
        raise RestError("PGRST100", problem=f'unexpected character in the cast "{cast}"')
    return f"cast({text} as {cast})"


def build_conditions(conditions: Sequence[PlannedCondition], rows: str, statement: Statement) -> list[str]:
    return [build_condition(one, rows, statement) for one in conditions]


def build_condition(one: PlannedCondition, rows: str, statement: Statement) -> str:
    match one:
        case EmbedFilter(embed, is_null):
            return f"{quote(embed)} is {'not ' if is_null else ''}distinct from null"
        case PlannedLogic(operator, children, negated):
            inner = f" {operator} ".join(build_condition(child, rows, statement) for child in children)
            return f"{'not ' if negated else ''}({inner})"
        case PlannedFilter():
            return build_filter(one, rows, statement)


def build_filter(one: PlannedFilter, rows: str, statement: Statement) -> str:
    column = build_field(one.field, rows, statement)
    transform = one.field.transform
    negation = "not " if one.negated else ""
    match one.operation:
        case Compare(operator, value, quantifier, slot):
            if operator in ("like", "ilike"):
                right = statement.bind_pattern(slot, value)
            else:
                right = statement.bind_text(slot, value)
                right = f"{transform}({right})" if transform else right
            right = f"{quantifier}({right})" if quantifier else right
            return f"{negation}{column} {OPERATORS[operator]} {right}"
        case InList(values, slot):
            # one array whatever its length, so that the text stays the same
            array = statement.bind_array(slot, values)
            if transform:
                array = f"(select {transform}(unnest({array}::text[])))"
            return f"{negation}{column} = any({array})"
        case Is(value):
            return f"{negation}{column} is {IS_VALUES[value]}"
        case IsDistinct(value, slot):
            return f"{negation}{column} is distinct from {statement.bind_text(slot, value)}"
        case FullText(operator, value, config, slot):
            language = "" if config is None else f"{statement.bind(config.encode())}::regconfig, "
            document = column if one.is_document else f"to_tsvector({language}{column})"
            query = statement.bind_text(slot, value)
            return f"{negation}{document} @@ {FULL_TEXT[operator]}({language}{query})"


def build_order(terms: Sequence[PlannedOrder], rows: str, statement: Statement) -> str:
    """` order by …`, or nothing."""
    if not terms:
        return ""
    return " order by " + ", ".join(_build_term(term, rows, statement) for term in terms)


def _build_term(term: PlannedOrder, rows: str, statement: Statement) -> str:
    text = build_field(term.field, quote(term.embed) if term.embed else rows, statement)
    if term.direction:
        text += f" {term.direction}"
    return text + (f" nulls {term.nulls}" if term.nulls else "")
