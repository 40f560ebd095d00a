"""A rewritten condition as SQL that PostgreSQL plans well: parts of its own where `or` joins them, and `exists`."""

from typing import Any, Final

from pglast import ast, enums, parse_sql
from pglast.parser import ParseError
from pglast.stream import RawStream

PLACES: Final = frozenset({"location", "list_start", "list_end", "rexpr_list_start", "rexpr_list_end"})
GATHERING_CLAUSES: Final = (
    "distinctClause",
    "groupClause",
    "havingClause",
    "sortClause",
    "limitCount",
    "limitOffset",
)


class NotRewritable(Exception):  # noqa: N818  # no error: an answer
    """The policies hold something that is not known to be safe to rewrite."""


def render_arms(tree: Any) -> tuple[str, ...]:
    """A row is visible where one of them is true. Raises NotRewritable."""
    return tuple(_print_faithfully(_widen(arm)) for arm in _split_arms(tree))


def parse_condition(condition: str) -> Any:
    try:
        statement: Any = parse_sql(f"select {condition}")[0].stmt
    except ParseError as exc:
        raise NotRewritable("its syntax") from exc  # PostgreSQL may be newer than the parser
    return statement.targetList[0].val


def _print_faithfully(tree: Any) -> str:
    """Its SQL, which parses into the very same tree: a printer's mistake must not show rows to anybody."""
    text = RawStream()(tree)
    if not _is_same(parse_condition(text), tree):
        raise NotRewritable("its printed form")
    return text


def _is_same(one: Any, other: Any) -> bool:
    """Whatever their places in the text; what was left at its default is None in a node that was made here."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, ast.Node):
        return type(one) is type(other) and all(
            _is_same(getattr(one, name), getattr(other, name)) for name in one if name not in PLACES
        )
    return bool((one or None) == (other or None))


def _split_arms(tree: Any) -> list[Any]:
    """`(a or b) and c` → `a and c`, `b and c`: each becomes a query of its own, because PostgreSQL turns an `exists`
    into a join only where no `or` stands above it."""
    match tree:
        case ast.BoolExpr(boolop=enums.BoolExprType.OR_EXPR, args=args):
            return [arm for part in args or () for arm in _split_arms(part)]
        case ast.BoolExpr(
            boolop=enums.BoolExprType.AND_EXPR,
            args=(ast.BoolExpr(boolop=enums.BoolExprType.OR_EXPR) as either, *others),
        ):
            return [
                join_conditions(enums.BoolExprType.AND_EXPR, [arm, *others]) for arm in _split_arms(either)
            ]
    return [tree]


def _widen(tree: Any) -> Any:
    """`x in (select y from …)` → `exists (select from … where x = y)`, for the same reason, where null counts as false:
    under nothing but `and` and `or`."""
    match tree:
        case ast.BoolExpr(
            boolop=enums.BoolExprType.AND_EXPR | enums.BoolExprType.OR_EXPR as operator, args=args
        ):
            return join_conditions(operator, [_widen(part) for part in args or ()])
        case ast.SubLink(
            subLinkType=enums.SubLinkType.ANY_SUBLINK,
            testexpr=tested,
            operName=None,
            subselect=ast.SelectStmt(targetList=(ast.ResTarget(val=found),)) as select,
        ) if not (isinstance(tested, ast.RowExpr) or gathers(select, found)):
            matches = build_operation("=", tested, found)
            conditions = [select.whereClause, matches] if select.whereClause else [matches]
            exists = ast.SelectStmt(
                targetList=(ast.ResTarget(val=ast.A_Const(val=ast.Integer(ival=1))),),
                fromClause=select.fromClause,
                whereClause=join_conditions(enums.BoolExprType.AND_EXPR, conditions),
                limitOption=enums.LimitOption.LIMIT_OPTION_DEFAULT,
                op=enums.SetOperation.SETOP_NONE,
            )
            return ast.SubLink(subLinkType=enums.SubLinkType.EXISTS_SUBLINK, subselect=exists)
    return tree


def gathers(select: Any, found: Any) -> bool:
    """It has more to say than which rows of its tables."""
    return (
        select.op != enums.SetOperation.SETOP_NONE
        or any(getattr(select, clause) for clause in GATHERING_CLAUSES)
        or isinstance(found, ast.FuncCall)
    )


def join_conditions(operator: enums.BoolExprType, parts: list[Any]) -> Any:
    """Flat, as the parser would build it."""
    flat: list[Any] = []
    for part in parts:
        is_same = isinstance(part, ast.BoolExpr) and part.boolop == operator
        flat.extend(part.args if is_same else (part,))
    return flat[0] if len(flat) == 1 else ast.BoolExpr(boolop=operator, args=tuple(flat))


def build_operation(name: str, left: Any, right: Any) -> Any:
    kind = enums.A_Expr_Kind.AEXPR_OP
    return ast.A_Expr(kind=kind, name=(ast.String(sval=name),), lexpr=left, rexpr=right)
