"""A random request as SQL, as somebody would write it who only wants the right rows: a subquery for every embed,
`exists` for every question about rows, literals in the text. Nothing of it is taken from `basalt.rest`."""

from itertools import count

from psycopg.sql import SQL, Composable, Identifier, Literal

from tests.rest.differential_project import TABLES
from tests.rest.differential_requests import (
    Aggregate,
    Condition,
    Embed,
    Field,
    Group,
    HasRows,
    Level,
    Order,
    Shown,
)

OPERATORS = {
    "eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike",
    "match": "~", "imatch": "~*", "cs": "@>", "cd": "<@", "ov": "&&", "sl": "<<", "sr": ">>", "nxr": "&<",
    "nxl": "&>", "adj": "-|-",
}  # fmt: skip
SEARCHES = {
    "fts": "to_tsquery", "plfts": "plainto_tsquery", "phfts": "phraseto_tsquery", "wfts": "websearch_to_tsquery",
}  # fmt: skip


def build_rows(level: Level) -> Composable:
    """One JSON object a row."""
    rows = SQL("select row_to_json(found) from ({}) as found")
    return rows.format(Naive().rows(level, "r", windowed=True))


def build_count(level: Level) -> Composable:
    """All rows that the filters let through, whatever the window."""
    return SQL("select count(*) from ({}) as found").format(Naive().rows(level, "r", windowed=False))


class Naive:
    """Numbers the aliases of one statement. `windowed`: whether embeds have their limits and offsets."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def rows(
        self, level: Level, alias: str, *, windowed: bool, join: tuple[Embed, str] | None = None
    ) -> Composable:
        columns = self.columns(level, alias, windowed=windowed)
        if windowed:  # what is only counted or asked for is not grouped
            columns += [aggregate(one, alias) for one in level.aggregates]
        source = SQL("public.{} as {}").format(Identifier(level.table), Identifier(alias))
        conditions = [self.condition(one, level, alias, windowed=windowed) for one in level.where]
        if join is not None:
            embed, parent = join
            source, joined = self.source(embed, source, alias, parent)
            conditions += joined
        conditions += [
            SQL("exists ({})").format(self.embedded(one, alias, windowed=windowed))
            for one in level.embeds
            if one.is_inner
        ]
        text = SQL("select {} from {}").format(SQL(", ").join(columns), source)
        if conditions:
            text += SQL(" where ") + SQL(" and ").join(SQL("({})").format(one) for one in conditions)
        if windowed and level.aggregates and level.shown:
            text += SQL(" group by ") + SQL(", ").join(self.group(one, level, alias) for one in level.shown)
        if windowed:
            text += self.window(level, alias)
        return text

    def source(
        self, embed: Embed, target: Composable, alias: str, parent: str
    ) -> tuple[Composable, list[Composable]]:
        link = embed.link
        here, there = column(parent, link.here), column(alias, link.there)
        if link.via is None:
            return target, [SQL("{} = {}").format(there, here)]
        table, near, far = link.via
        between = f"j{next(self._numbers)}"
        source = SQL("{}, public.{} as {}").format(target, Identifier(table), Identifier(between))
        near_column, far_column = column(between, near), column(between, far)
        return source, [SQL("{} = {}").format(near_column, here), SQL("{} = {}").format(far_column, there)]

    def embedded(self, embed: Embed, parent: str, *, windowed: bool) -> Composable:
        alias = f"r{next(self._numbers)}"
        return self.rows(embed.level, alias, windowed=windowed, join=(embed, parent))

    # What is shown

    def columns(self, level: Level, alias: str, *, windowed: bool) -> list[Composable]:
        if level.shown is None:
            found: list[Composable] = [SQL("{}.*").format(Identifier(alias))]
        else:
            found = [self.shown(one, level.table, alias) for one in level.shown]
        for embed in level.embeds:
            if embed.is_spread:
                found += self.spread(embed, alias, windowed=windowed)
            elif not embed.level.is_empty:
                value = self.embed_value(embed, alias, windowed=windowed)
                found.append(SQL("({}) as {}").format(value, Identifier(embed.label)))
        return found

    def shown(self, one: Shown, table: str, alias: str) -> Composable:
        text = field(one.field, table, alias)
        if one.cast:
            text = SQL("cast({} as {})").format(text, SQL(one.cast))  # type: ignore[arg-type]
        return SQL("{} as {}").format(text, Identifier(one.label))

    def group(self, one: Shown, level: Level, alias: str) -> Composable:
        """As in PostgREST a cast counts where the field has an alias or a path, which names it."""
        text = field(one.field, level.table, alias)
        is_named = one.alias is not None or one.field.path
        return SQL("cast({} as {})").format(text, SQL(one.cast)) if one.cast and is_named else text  # type: ignore[arg-type]

    def embed_value(self, embed: Embed, parent: str, *, windowed: bool) -> Composable:
        rows = self.embedded(embed, parent, windowed=windowed)
        if embed.link.is_to_one:
            return SQL("select row_to_json(one) from ({}) as one").format(rows)
        return SQL("select coalesce(json_agg(row_to_json(each)), '[]') from ({}) as each").format(rows)

    def spread(self, embed: Embed, parent: str, *, windowed: bool) -> list[Composable]:
        found = []
        for label in embed.level.labels:
            rows, name = self.embedded(embed, parent, windowed=windowed), Identifier(label)
            if embed.link.is_to_one:
                value = SQL("select one.{} from ({}) as one").format(name, rows)
            else:
                value = SQL("select coalesce(json_agg(each.{}), '[]') from ({}) as each").format(name, rows)
            found.append(SQL("({}) as {}").format(value, name))
        return found

    # Which rows

    def condition(
        self, one: Condition | Group | HasRows, level: Level, alias: str, *, windowed: bool
    ) -> Composable:
        match one:
            case HasRows():
                embed = next(each for each in level.embeds if each.label == one.label)
                found = SQL("exists ({})").format(self.embedded(embed, alias, windowed=windowed))
                return found if one.has else SQL("not {}").format(found)
            case Group():
                children = [self.condition(each, level, alias, windowed=windowed) for each in one.children]
                word = SQL(" and ") if one.operator == "and" else SQL(" or ")
                text = word.join(SQL("({})").format(each) for each in children)
            case Condition():
                text = comparison(one, level.table, alias)
        return SQL("not ({})").format(text) if one.negated else text

    def window(self, level: Level, alias: str) -> Composable:
        text: Composable = SQL("")
        if level.order:
            text += SQL(" order by ") + SQL(", ").join(self.order(one, level, alias) for one in level.order)
        if level.limit is not None:
            text += SQL(" limit {}").format(Literal(level.limit))
        if level.offset is not None:
            text += SQL(" offset {}").format(Literal(level.offset))
        return text

    def order(self, one: Order, level: Level, alias: str) -> Composable:
        if one.embed is None:
            text = field(one.field, level.table, alias)
        else:
            embed = next(each for each in level.embeds if each.label == one.embed)
            rows = self.embedded(embed, alias, windowed=True)
            text = SQL("(select one.{} from ({}) as one)").format(Identifier(one.field.column), rows)
        if one.direction:
            text += SQL(" desc") if one.direction == "desc" else SQL(" asc")
        if one.nulls:
            text += SQL(" nulls first") if one.nulls == "first" else SQL(" nulls last")
        return text


def aggregate(one: Aggregate, alias: str) -> Composable:
    what = SQL("*") if one.column is None else column(alias, one.column)
    text: Composable = SQL("{}({})").format(SQL(one.function), what)
    if one.cast:
        text = SQL("cast({} as {})").format(text, SQL(one.cast))  # type: ignore[arg-type]
    return SQL("{} as {}").format(text, Identifier(one.label))


def column(alias: str, name: str) -> Composable:
    return SQL("{}.{}").format(Identifier(alias), Identifier(name))


def field(one: Field, table: str, alias: str) -> Composable:
    text = column(alias, one.column)
    if one.path and TABLES[table].get(one.column) not in ("json", "jsonb"):
        text = SQL("to_jsonb({})").format(text)
    for step in one.path:
        text = SQL("{} ->> {}" if step.as_text else "{} -> {}").format(text, Literal(step.key))
    return SQL("({})").format(text) if one.path else text


def comparison(one: Condition, table: str, alias: str) -> Composable:
    left = field(one.field, table, alias)
    match one.value:
        case None:
            words = one.operator.removeprefix("is.").replace("not_null", "not null")
            return SQL("{} is {}").format(left, SQL(words))  # type: ignore[arg-type]
        case ():
            # no constant: PostgreSQL would not even look at what stands behind it
            return SQL("{} = any({})").format(left, Literal("{}"))
        case tuple():
            return SQL("{} in ({})").format(left, SQL(", ").join(map(Literal, one.value)))
    if one.operator in SEARCHES:
        return search(one, table, left)
    if one.operator == "isdistinct":
        return SQL("{} is distinct from {}").format(left, Literal(one.value))
    value = one.value.replace("*", "%") if one.operator in ("like", "ilike") else one.value
    right: Composable = Literal(value)
    if one.quantifier:
        right = SQL("{}({})").format(SQL(one.quantifier), right)
    return SQL("{} {} {}").format(left, SQL(OPERATORS[one.operator]), right)  # type: ignore[arg-type]


def search(one: Condition, table: str, left: Composable) -> Composable:
    config = SQL("{}, ").format(Literal(one.config)) if one.config else SQL("")
    if TABLES[table][one.field.column] != "tsvector":
        left = SQL("to_tsvector({}{})").format(config, left)
    function = SQL(SEARCHES[one.operator])  # type: ignore[arg-type]
    return SQL("{} @@ {}({}{})").format(left, function, config, Literal(one.value))
