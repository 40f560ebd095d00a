"""A table's policies as one condition over two relations: rows of the table, and sets of claims.

`auth.uid()` and its kin become columns of the relation of claims; tables under sub-selects become sub-selects with
their own policies in them. So one statement answers for any number of subscribers. Only what is known to mean the
same there is let through; everything else raises NotRewritable, and PostgreSQL is asked as each subscriber instead."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pglast import ast, enums

from basalt.realtime.changes.policies.arms import (
    NotRewritable,
    build_operation,
    gathers,
    join_conditions,
    parse_condition,
    render_arms,
)
from basalt.realtime.changes.policies.rules import Policy, Rules, TableRules

CLAIMS: Final = "claims of a subscriber"
MAX_DEPTH: Final = 8

# Immutable or stable, and the same whoever asks. Under an empty search_path an unqualified name is pg_catalog's.
FUNCTION_NAMES: Final = """
    abs age array_append array_cat array_length array_position array_prepend array_remove array_to_string
    btrim cardinality ceil ceiling char_length character_length concat concat_ws date date_part
    date_trunc div extract floor initcap isempty json_array_length json_extract_path
    json_extract_path_text json_typeof jsonb_array_length jsonb_build_object jsonb_contains jsonb_exists
    jsonb_exists_all jsonb_exists_any jsonb_extract_path jsonb_extract_path_text jsonb_typeof left length
    lower lower_inc lpad ltrim make_date make_interval md5 mod now octet_length overlay position
    range_contains regexp_replace replace reverse right round rpad rtrim split_part starts_with
    string_to_array strpos substr substring text timezone to_char to_timestamp transaction_timestamp trim
    trunc upper upper_inc
"""
FUNCTIONS: Final = frozenset(FUNCTION_NAMES.split())
AGGREGATES: Final = frozenset({"array_agg", "bool_and", "bool_or", "count", "every", "max", "min", "sum"})
CLOCKS: Final = frozenset(
    {
        enums.SQLValueFunctionOp.SVFOP_CURRENT_DATE,
        enums.SQLValueFunctionOp.SVFOP_CURRENT_TIMESTAMP,
        enums.SQLValueFunctionOp.SVFOP_LOCALTIMESTAMP,
    }
)
SUBLINKS: Final = frozenset(
    {
        enums.SubLinkType.EXISTS_SUBLINK,
        enums.SubLinkType.ANY_SUBLINK,
        enums.SubLinkType.ALL_SUBLINK,
        enums.SubLinkType.EXPR_SUBLINK,
        enums.SubLinkType.ARRAY_SUBLINK,
    }
)
# Nodes that mean what their parts mean.
PLAIN: Final[tuple[type, ...]] = (
    ast.A_ArrayExpr,
    ast.A_Const,
    ast.A_Indices,
    ast.A_Indirection,
    ast.Alias,
    ast.BitString,
    ast.BooleanTest,
    ast.Boolean,
    ast.BoolExpr,
    ast.CaseExpr,
    ast.CaseWhen,
    ast.CoalesceExpr,
    ast.Float,
    ast.Integer,
    ast.JoinExpr,
    ast.MinMaxExpr,
    ast.NullTest,
    ast.RangeSubselect,
    ast.ResTarget,
    ast.RowExpr,
    ast.SortBy,
    ast.String,
    ast.TypeCast,
    ast.TypeName,
)
UNKNOWN_CLAUSES: Final = ("intoClause", "windowClause", "valuesLists", "lockingClause", "withClause")


@dataclass(frozen=True, slots=True)
class Condition:
    """`tree`: columns of the table are qualified by its name, those of the claims by CLAIMS. `arms`: the same as SQL,
    a row is visible where one of them is true. `claims_read`: which of `uid`, `jwt`, `text` it reads."""

    tree: Any
    arms: tuple[str, ...]
    claims_read: frozenset[str]


def rewrite_policies(table: TableRules, rules: Rules, claim_routines: frozenset[str]) -> Condition:
    """`claim_routines`: those of schema `auth` that are known. Raises NotRewritable."""
    rewriter = _Rewriter(rules, claim_routines)
    tree = rewriter.visible(table, table.name)
    return Condition(tree, render_arms(tree), frozenset(rewriter.claims_read))


class _Rewriter:
    def __init__(self, rules: Rules, claim_routines: frozenset[str]) -> None:
        self._rules = rules
        self._claim_routines = claim_routines
        self._inside: list[int] = []
        self._row = ""  # the table whose columns the current expression names without qualification
        self._depth = 0  # of sub-selects around the current node
        self.claims_read: set[str] = set()

    def visible(self, table: TableRules, row: str) -> Any:
        """Where a row of `table`, called `row` in the statement, is visible."""
        if table.oid in self._inside or len(self._inside) >= MAX_DEPTH:
            raise NotRewritable("infinite recursion")  # PostgreSQL says so to each subscriber
        outer, self._row, self._depth = (self._row, self._depth), row, 0
        self._inside.append(table.oid)
        permissive = [self._policy(policy) for policy in table.policies if policy.is_permissive]
        restrictive = [self._policy(policy) for policy in table.policies if not policy.is_permissive]
        self._inside.pop()
        self._row, self._depth = outer
        return join_conditions(
            enums.BoolExprType.AND_EXPR,
            [
                join_conditions(enums.BoolExprType.OR_EXPR, permissive) if permissive else _boolean(False),
                *restrictive,
            ],
        )

    def _policy(self, policy: Policy) -> Any:
        if policy.has_odd_types or CLAIMS in policy.condition:
            raise NotRewritable("a type or a name")
        return self._rewrite(parse_condition(policy.condition))

    def _rewrite(self, node: Any) -> Any:
        if isinstance(node, tuple):
            return tuple(self._rewrite(item) for item in node)
        if not isinstance(node, ast.Node):
            return node
        if (special := SPECIAL.get(type(node))) is not None:
            return special(self, node)
        if not isinstance(node, PLAIN):
            raise NotRewritable(type(node).__name__)
        return self._rewrite_parts(node)

    def _rewrite_parts(self, node: Any) -> Any:
        for name in node:
            value = getattr(node, name)
            if isinstance(value, tuple | ast.Node):
                setattr(node, name, self._rewrite(value))
        return node

    def _column(self, node: Any) -> Any:
        if not all(isinstance(field, ast.String) for field in node.fields):
            raise NotRewritable("a whole row")
        if len(node.fields) == 1 and self._depth == 0:
            return _reference(self._row, node.fields[0].sval)
        if len(node.fields) != 2:
            raise NotRewritable("a name whose row is unclear")
        return node

    def _operator(self, node: Any) -> Any:
        if len(node.name) != 1:
            raise NotRewritable("an operator outside pg_catalog")
        return self._rewrite_parts(node)

    def _call(self, node: Any) -> Any:
        name = tuple(part.sval for part in node.funcname)
        if name[0] == "auth" and len(name) == 2 and not node.args and name[1] in self._claim_routines:
            return self._claim(name[1])
        if name == ("current_setting",) and _text(node.args[0]) == "request.jwt.claims":
            return self._read_claims("text")
        if len(name) == 2 and name[0] == "pg_catalog":  # how `extract(… from …)` and its like are parsed
            name = name[1:]
            node.funcformat = enums.CoercionForm.COERCE_EXPLICIT_CALL
        is_aggregate = self._depth > 0 and name[0] in AGGREGATES
        if len(name) > 1 or node.over or node.agg_within_group or not (is_aggregate or name[0] in FUNCTIONS):
            raise NotRewritable(f"{'.'.join(name)}()")
        return self._rewrite_parts(node)

    def _claim(self, routine: str) -> Any:
        if routine == "uid":
            return self._read_claims("uid")
        jwt = self._read_claims("jwt")
        return (
            jwt
            if routine == "jwt"
            else build_operation("->>", jwt, ast.A_Const(val=ast.String(sval=routine)))
        )

    def _read_claims(self, column: str) -> Any:
        self.claims_read.add(column)
        return _reference(CLAIMS, column)

    def _clock(self, node: Any) -> Any:
        if node.op not in CLOCKS:
            raise NotRewritable("the current user")
        return node

    def _sublink(self, node: Any) -> Any:
        if node.subLinkType not in SUBLINKS or len(node.operName or ()) > 1:
            raise NotRewritable("a sub-select")
        if node.testexpr is not None:
            node.testexpr = self._rewrite(node.testexpr)
        node.subselect = self._rewrite(node.subselect)
        return _unwrap_scalar(node)

    def _select(self, node: Any) -> Any:
        if any(getattr(node, clause) for clause in UNKNOWN_CLAUSES):
            raise NotRewritable("a clause")
        self._depth += 1
        self._rewrite_parts(node)
        self._depth -= 1
        return node

    def _table(self, node: Any) -> Any:
        """`public.members as m` → `(select * from public.members as members where …) as m`."""
        table = self._rules.get((node.schemaname, node.relname)) if node.schemaname else None
        if table is None or not table.is_table or not table.is_selectable:
            raise NotRewritable(f"{node.schemaname}.{node.relname}")
        if not table.is_filtered:
            return node
        alias = node.alias or ast.Alias(aliasname=table.name)
        row = ast.ColumnRef(fields=(ast.String(sval=table.name), ast.A_Star()))
        node.alias = ast.Alias(aliasname=table.name)
        visible_rows = ast.SelectStmt(
            targetList=(ast.ResTarget(val=row),),
            fromClause=(node,),
            whereClause=self.visible(table, table.name),
            limitOption=enums.LimitOption.LIMIT_OPTION_DEFAULT,
            op=enums.SetOperation.SETOP_NONE,
        )
        return ast.RangeSubselect(lateral=False, subquery=visible_rows, alias=alias)


SPECIAL: Final[dict[type, Callable[[_Rewriter, Any], Any]]] = {
    ast.A_Expr: _Rewriter._operator,
    ast.ColumnRef: _Rewriter._column,
    ast.FuncCall: _Rewriter._call,
    ast.RangeVar: _Rewriter._table,
    ast.SelectStmt: _Rewriter._select,
    ast.SQLValueFunction: _Rewriter._clock,
    ast.SubLink: _Rewriter._sublink,
}


def _unwrap_scalar(node: Any) -> Any:
    """`(select auth.uid())` → `auth.uid()`: nothing but a hint to a planner who would call it for each row."""
    match node:
        case ast.SubLink(
            subLinkType=enums.SubLinkType.EXPR_SUBLINK,
            subselect=ast.SelectStmt(
                targetList=(ast.ResTarget(val=value),),
                fromClause=None,
                whereClause=None,
                op=enums.SetOperation.SETOP_NONE,
            ) as select,
        ) if not gathers(select, value):
            return value
    return node


def _reference(relation: str, column: str) -> Any:
    return ast.ColumnRef(fields=(ast.String(sval=relation), ast.String(sval=column)))


def _boolean(value: bool) -> Any:
    return ast.A_Const(val=ast.Boolean(boolval=value))


def _text(node: Any) -> str | None:
    match node:
        case (
            ast.A_Const(val=ast.String(sval=text)) | ast.TypeCast(arg=ast.A_Const(val=ast.String(sval=text)))
        ):
            return str(text)
    return None
