"""What the expression of a policy calls and what it compares, by PostgreSQL's own grammar.

Expressions come as `pg_get_expr` prints them under an empty search path: names have their schemas, and columns in
sub-selects their tables. One that the grammar here does not know, of a later PostgreSQL, tells nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from basalt.late import LateModule

# For whoever asks for advice. Untyped, because every field of a node may be missing by its type.
pglast: Any = LateModule("pglast")
ast: Any = LateModule("pglast.ast")
enums: Any = LateModule("pglast.enums")

HEAD: Final = "select "
OF_THE_CALLER: Final = frozenset({"uid", "jwt", "role", "email"})

# Schema and table by alias; None is what is no table.
Tables = Mapping[str, tuple[str, str] | None]


@dataclass(frozen=True, slots=True)
class Filter:
    """A column that a policy compares with the caller, or with the row that it judges. `as_text`: after a cast."""

    schema: str
    table: str
    column: str
    as_text: bool = False


def find_bare_calls(text: str) -> list[str]:
    """Calls that tell of the caller and run for every row. In a select of its own one runs once a statement, unless
    the select depends on the row.

    >>> find_bare_calls("(auth.uid() = owner_id)"), find_bare_calls("(( SELECT auth.uid() AS uid) = owner_id)")
    (['auth.uid()'], [])
    >>> find_bare_calls("( SELECT public.is_member(auth.uid(), team_id) AS is_member)")
    ['auth.uid()']
    """
    return [text[start:end] for start, end in _find_spans(text)]


def wrap_calls(text: str) -> str:
    """
    >>> wrap_calls("((current_setting('app.tenant'::text))::uuid = tenant_id)")
    "(((select current_setting('app.tenant'::text)))::uuid = tenant_id)"
    """
    for start, end in reversed(_find_spans(text)):
        text = f"{text[:start]}(select {text[start:end]}){text[end:]}"
    return text


def find_filters(text: str, schema: str, table: str) -> list[list[Filter]]:
    """Groups of columns; an index that begins with one of a group lets PostgreSQL find the rows of its table without
    reading all. The columns of `schema.table`, which the policy is on, are compared with the caller; those of tables in
    sub-selects with the caller or the policy's row.

    >>> find_filters("(owner_id = ( SELECT auth.uid() AS uid))", "public", "notes")
    [[Filter(schema='public', table='notes', column='owner_id', as_text=False)]]
    >>> find_filters("(is_public OR (owner_id = auth.uid()))", "public", "notes")  # no index serves all of it
    []
    """
    root = _parse(text)
    if root is None:
        return []
    groups = _served(root, {"": (schema, table), table: (schema, table)})
    for node in _descendants(root):
        if isinstance(node, ast.SelectStmt) and node.fromClause:
            groups += _find_in_select(node)
    return groups


def _parse(text: str) -> Any:
    try:
        return pglast.parse_sql(HEAD + text)[0].stmt.targetList[0].val
    except pglast.Error:
        return None


def _find_spans(text: str) -> list[tuple[int, int]]:
    root = _parse(text)
    starts = sorted(call.location - len(HEAD) for call in _bare_calls(root)) if root is not None else []
    return [(start, _end_of_call(text, start)) for start in starts]


def _bare_calls(node: Any) -> Iterator[Any]:
    if isinstance(node, ast.SubLink) and _runs_once(node):
        return
    if _is_of_caller(node) and not any(_free_columns(node)):
        yield node
        return
    for child in _children(node):
        yield from _bare_calls(child)


def _runs_once(link: Any) -> bool:
    """A select without tables and without columns of the row is an initplan."""
    return (
        link.subLinkType == enums.SubLinkType.EXPR_SUBLINK
        and not link.subselect.fromClause
        and not any(_free_columns(link.subselect))
    )


def _is_of_caller(node: Any) -> bool:
    if not isinstance(node, ast.FuncCall):
        return False
    match [part.sval for part in node.funcname]:
        case ["auth", name]:
            return name in OF_THE_CALLER
        case ["current_setting"] | ["pg_catalog", "current_setting"]:
            return True
    return False


def _end_of_call(text: str, start: int) -> int:
    depth, quote = 0, ""
    for place in range(start, len(text)):
        letter = text[place]
        if quote:
            quote = "" if letter == quote else quote  # a doubled one ends it and begins it again
        elif letter in "'\"":
            quote = letter
        elif letter == "(":
            depth += 1
        elif letter == ")":
            depth -= 1
            if not depth:
                return place + 1
    raise ValueError("the call has no end")


def _served(node: Any, tables: Tables) -> list[list[Filter]]:
    """Of `and` one arm with an index is enough, of `or` every arm wants one."""
    if isinstance(node, ast.BoolExpr):
        arms = [_served(arm, tables) for arm in node.args]
        if node.boolop == enums.BoolExprType.OR_EXPR:
            return [group for arm in arms for group in arm] if all(arms) else []
        if node.boolop == enums.BoolExprType.AND_EXPR:
            single = [found for arm in arms if len(arm) == 1 for found in arm[0]]
            return [single] if single else next((arm for arm in arms if arm), [])
        return []
    return [
        [found]
        for _, found, other in _comparisons(node, tables)
        if not any(_free_columns(other)) and any(map(_is_of_caller, _descendants(other)))
    ][:1]


def _find_in_select(select: Any) -> list[list[Filter]]:
    tables = _tables_of(select)
    by_caller: dict[str, list[Filter]] = {}
    by_row: dict[str, list[Filter]] = {}
    for condition in _conditions(select):
        for alias, found, other in _comparisons(condition, tables):
            free = {name for name, _ in _free_columns(other)}
            if not free and any(map(_is_of_caller, _descendants(other))):
                by_caller.setdefault(alias, []).append(found)
            elif free and not free & tables.keys():
                by_row.setdefault(alias, []).append(found)
    return [by_caller.get(alias, []) + by_row.get(alias, []) for alias in {**by_caller, **by_row}]


def _comparisons(node: Any, tables: Tables) -> Iterator[tuple[str, Filter, Any]]:
    """The alias of the column's table, the column, and the other side: of `column = other`, `other = column` and
    `column = any (other)`."""
    kind = enums.A_Expr_Kind
    if not isinstance(node, ast.A_Expr) or [part.sval for part in node.name][-1] != "=":
        return
    sides = [(node.lexpr, node.rexpr)] if node.kind in (kind.AEXPR_OP, kind.AEXPR_OP_ANY) else []
    if node.kind == kind.AEXPR_OP:
        sides.append((node.rexpr, node.lexpr))
    for side, other in sides:
        as_text = isinstance(side, ast.TypeCast) and side.typeName.names[-1].sval == "text"
        column = side.arg if as_text else side
        if not isinstance(column, ast.ColumnRef):
            continue
        alias, name = _name_of(column)
        if known := tables.get(alias):
            yield alias, Filter(*known, name, as_text), other


def _tables_of(select: Any) -> Tables:
    found: dict[str, tuple[str, str] | None] = {}
    waiting = list(select.fromClause or ())
    while waiting:
        match waiting.pop():
            case ast.RangeVar() as table:
                alias = table.alias.aliasname if table.alias else table.relname
                found[alias] = (table.schemaname or "", table.relname)
            case ast.JoinExpr() as join:
                waiting += [join.larg, join.rarg]
            case ast.Node(alias=ast.Alias(aliasname=alias)):
                found[alias] = None
    return found


def _conditions(select: Any) -> Iterator[Any]:
    """Those that must all be true, of `where` and of joins."""
    waiting = [select.whereClause, *select.fromClause]
    while waiting:
        match waiting.pop(0):
            case ast.JoinExpr() as join:
                waiting += [join.quals, join.larg, join.rarg]
            case ast.BoolExpr(boolop=enums.BoolExprType.AND_EXPR) as both:
                waiting += both.args
            case ast.Node() as condition:
                yield condition


def _free_columns(node: Any, bound: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """Alias and name of columns that come from outside of the node: not of a table in one of its sub-selects."""
    if isinstance(node, ast.ColumnRef):
        alias, name = _name_of(node)
        if alias not in bound:
            yield alias, name
        return
    if isinstance(node, ast.SelectStmt):
        bound |= _tables_of(node).keys()
    for child in _children(node):
        yield from _free_columns(child, bound)


def _name_of(column: Any) -> tuple[str, str]:
    *table, name = [getattr(field, "sval", "*") for field in column.fields]
    return (table[-1] if table else "", name)


def _children(node: Any) -> Iterator[Any]:
    for name in node:
        value = getattr(node, name)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, ast.Node):
                yield each


def _descendants(node: Any) -> Iterator[Any]:
    yield node
    for child in _children(node):
        yield from _descendants(child)
