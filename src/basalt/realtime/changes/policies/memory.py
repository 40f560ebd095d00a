"""Policies so simple that no database is asked: whose row it is, flags and words in its columns, whether its time is
still to come, the caller's role.

Made from the rewritten condition. Each rule answers true or not true, which is all that a policy is asked: PostgreSQL
treats null as false, and there is no `not` above a rule. Values are compared as the log's text, so only for types
where equal values have equal texts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pglast import ast, enums

from basalt.realtime.changes.filters.comparable import BY_OID
from basalt.realtime.changes.policies.claims import Claims
from basalt.realtime.changes.policies.rewrite import CLAIMS
from basalt.realtime.changes.tables.table import Table

BOOL, TEXT, VARCHAR, UUID, INSTANT = 16, 25, 1043, 2950, 1184
read_instant: Final = BY_OID[INSTANT].key
Image = Sequence[str | None]

# Does `flag is …` hold: the text looked for, and whether it must be another.
BOOLEAN_TESTS: Final[dict[Any, tuple[str | None, bool]]] = {
    enums.BoolTestType.IS_TRUE: ("t", False),
    enums.BoolTestType.IS_NOT_TRUE: ("t", True),
    enums.BoolTestType.IS_FALSE: ("f", False),
    enums.BoolTestType.IS_NOT_FALSE: ("f", True),
    enums.BoolTestType.IS_UNKNOWN: (None, False),
    enums.BoolTestType.IS_NOT_UNKNOWN: (None, True),
}


@dataclass(frozen=True, slots=True)
class Audience:
    """Who of those asked about sees a row: `everyone`, or users by id, or sets of claims."""

    everyone: bool = False
    user_ids: frozenset[str] = frozenset()
    claims: frozenset[Claims] = frozenset()

    def includes(self, claims: Claims) -> bool:
        return self.everyone or claims.user_id in self.user_ids or claims in self.claims


EVERYONE: Final = Audience(everyone=True)
NOBODY: Final = Audience()


@dataclass(frozen=True, slots=True)
class Holds:
    """The column's text is `value` (None: null), or with `is_negated` is not."""

    position: int
    value: str | None
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class Ahead:
    """The column's instant is later than now, by the gateway's clock."""

    position: int


@dataclass(frozen=True, slots=True)
class Owned:
    """`auth.uid()` equals the column."""

    position: int


@dataclass(frozen=True, slots=True)
class OwnedBy:
    """`auth.uid()` is this user: what `Owned` comes to for one row."""

    user_id: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """`auth.uid()` is there, or with `is_negated` is not."""

    is_negated: bool


@dataclass(frozen=True, slots=True)
class RoleIs:
    role: str


@dataclass(frozen=True, slots=True)
class Either:
    rules: tuple["Rule", ...]


@dataclass(frozen=True, slots=True)
class Every:
    rules: tuple["Rule", ...]


Rule = bool | Holds | Ahead | Owned | OwnedBy | SignedIn | RoleIs | Either | Every


def decide_in_memory(rule: Rule, image: Image, claims: Iterable[Claims]) -> Audience:
    """
    >>> decide_in_memory(Either((Holds(0, "t"), Owned(1))), ["t", "4a1c"], []).everyone
    True
    >>> sorted(decide_in_memory(Either((Holds(0, "t"), Owned(1))), ["f", "4a1c"], []).user_ids)
    ['4a1c']
    """
    match _apply(rule, image):
        case bool(answer):
            return EVERYONE if answer else NOBODY
        case OwnedBy(user_id):
            return Audience(user_ids=frozenset((user_id,)))
        case Either(rules) if all(isinstance(part, OwnedBy) for part in rules):
            return Audience(user_ids=frozenset(part.user_id for part in rules if isinstance(part, OwnedBy)))
        case rest:
            return Audience(claims=frozenset(one for one in claims if _admits(rest, one)))


def build_rule(tree: Any, table: Table) -> Rule | None:
    """None where the condition says more than rules can."""
    match tree:
        case ast.BoolExpr(boolop=enums.BoolExprType.OR_EXPR, args=args):
            return None if (rules := _build_all(args, table)) is None else Either(rules)
        case ast.BoolExpr(boolop=enums.BoolExprType.AND_EXPR, args=args):
            return None if (rules := _build_all(args, table)) is None else Every(rules)
        case ast.BoolExpr(boolop=enums.BoolExprType.NOT_EXPR, args=(flag,)):
            return _holds(flag, table, "f")
        case ast.A_Const(val=ast.Boolean(boolval=value)):
            return bool(value)
        case ast.ColumnRef():
            return _holds(tree, table, "t")
        case ast.BooleanTest(arg=flag, booltesttype=test):
            text, is_negated = BOOLEAN_TESTS[test]
            return _holds(flag, table, text, is_negated=is_negated)
        case ast.NullTest(arg=tested, nulltesttype=test):
            return _null_test(tested, table, is_negated=test == enums.NullTestType.IS_NOT_NULL)
        case ast.A_Expr(
            kind=enums.A_Expr_Kind.AEXPR_OP, name=(ast.String(sval="="),), lexpr=left, rexpr=right
        ):
            return _equality(left, right, table) or _equality(right, left, table)
        case ast.A_Expr(
            kind=enums.A_Expr_Kind.AEXPR_OP,
            name=(ast.String(sval=("<" | ">") as operator),),
            lexpr=left,
            rexpr=right,
        ):
            earlier, later = (left, right) if operator == "<" else (right, left)
            position = _position(later, table, INSTANT) if _is_now(earlier) else None
            return None if position is None else Ahead(position)
    return None


def _build_all(trees: tuple[Any, ...] | None, table: Table) -> tuple[Rule, ...] | None:
    rules = [build_rule(tree, table) for tree in trees or ()]
    return None if None in rules else tuple(rule for rule in rules if rule is not None)


def _equality(left: Any, right: Any, table: Table) -> Rule | None:
    """`left = right` as somebody would write it; the caller tries both orders."""
    if _is_user_id(left):
        position = _position(right, table, UUID)
        return None if position is None else Owned(position)
    if _is_text_cast(left) and _is_user_id(left.arg):
        position = _text_position(right, table)
        return None if position is None else Owned(position)
    word = _word(right)
    if word is not None and _is_role(left):
        return RoleIs(word)
    if word is not None and (position := _text_position(left, table)) is not None:
        return Holds(position, word)
    if isinstance(right, ast.A_Const) and isinstance(right.val, ast.Boolean):
        return _holds(left, table, "t" if right.val.boolval else "f")
    return None


def _holds(column: Any, table: Table, value: str | None, *, is_negated: bool = False) -> Holds | None:
    position = _position(column, table, BOOL)
    return None if position is None else Holds(position, value, is_negated)


def _null_test(tested: Any, table: Table, *, is_negated: bool) -> Rule | None:
    if _is_user_id(tested):
        return SignedIn(not is_negated)
    position = _position(tested, table)
    # a composite value is null, too, when all its fields are
    if position is None or table.columns[position].type.kind == "database":
        return None
    return Holds(position, None, is_negated)


def _position(node: Any, table: Table, *type_oids: int) -> int | None:
    match node:
        case ast.ColumnRef(fields=(ast.String(sval=table.name), ast.String(sval=name))):
            position = table.positions.get(str(name))
            if position is not None and (not type_oids or table.columns[position].type.oid in type_oids):
                return position
    return None


def _text_position(node: Any, table: Table) -> int | None:
    """Of a column that is text, or whose text is what a cast to text gives."""
    if _is_text_cast(node):
        return _position(node.arg, table, TEXT, VARCHAR, UUID)
    return _position(node, table, TEXT)


def _is_user_id(node: Any) -> bool:
    match node:
        case ast.ColumnRef(fields=(ast.String(sval=relation), ast.String(sval="uid"))):
            return bool(relation == CLAIMS)
    return False


def _is_now(node: Any) -> bool:
    match node:
        case ast.FuncCall(funcname=(*_, ast.String(sval="now")), args=None):
            return True
    return False


def _is_role(node: Any) -> bool:
    match node:
        case ast.A_Expr(
            name=(ast.String(sval="->>"),),
            lexpr=ast.ColumnRef(fields=(ast.String(sval=relation), ast.String(sval="jwt"))),
            rexpr=key,
        ):
            return relation == CLAIMS and _word(key) == "role"
    return False


def _is_text_cast(node: Any) -> bool:
    match node:
        case ast.TypeCast(typeName=ast.TypeName(names=(ast.String(sval="text"),), arrayBounds=None)):
            return True
    return False


def _word(node: Any) -> str | None:
    """A constant text."""
    match node:
        case ast.A_Const(val=ast.String(sval=text)):
            return str(text)
    return _word(node.arg) if _is_text_cast(node) else None


def _apply(rule: Rule, image: Image) -> Rule:
    """What is left of the rule for this row."""
    match rule:
        case Holds(position, value, is_negated):
            return (image[position] == value) != is_negated
        case Ahead(position):
            instant = image[position]
            return instant is not None and read_instant(instant) > read_instant(_render_now())
        case Owned(position):
            owner = image[position]
            return False if owner is None else OwnedBy(owner)
        case Either(rules):
            return _fold([_apply(part, image) for part in rules], decisive=True)
        case Every(rules):
            return _fold([_apply(part, image) for part in rules], decisive=False)
    return rule


def _render_now() -> str:
    return f"{datetime.now(UTC).replace(tzinfo=None).isoformat(' ')}+00"


def _fold(rules: list[Rule], *, decisive: bool) -> Rule:
    """`true` decides an `or`, `false` an `and`; the other one says nothing."""
    if decisive in rules:
        return decisive
    open_rules = tuple(rule for rule in rules if not isinstance(rule, bool))
    if not open_rules:
        return not decisive
    if len(open_rules) == 1:
        return open_rules[0]
    return Either(open_rules) if decisive else Every(open_rules)


def _admits(rule: Rule, claims: Claims) -> bool:
    match rule:
        case OwnedBy(user_id):
            return claims.user_id == user_id
        case SignedIn(is_negated):
            return (claims.user_id is None) == is_negated
        case RoleIs(role):
            return bool(claims.values.get("role") == role)
        case Either(rules):
            return any(_admits(part, claims) for part in rules)
        case Every(rules):
            return all(_admits(part, claims) for part in rules)
    return rule is True
