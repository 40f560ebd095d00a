"""What a request asks for, as plain data: the output of the parser and the input of the planner.

The shapes follow the grammar that PostgREST documents under "Tables and Views". Names are as the caller
wrote them; nothing here has been checked against the schema cache yet.
"""

from dataclasses import dataclass
from typing import Literal

EmbedPath = tuple[str, ...]
"""The embeds that lead to a place in the query, by alias or name: `()` is the root, `("actors", "films")`
two levels down."""

AggregateName = Literal["sum", "avg", "count", "max", "min"]
JoinType = Literal["inner", "left"]
FilterOperator = Literal[
    "eq", "neq", "gt", "gte", "lt", "lte", "like", "ilike", "match", "imatch",
    "cs", "cd", "ov", "sl", "sr", "nxr", "nxl", "adj",
]  # fmt: skip
FtsOperator = Literal["fts", "plfts", "phfts", "wfts"]
Quantifier = Literal["any", "all"]
IsValue = Literal["null", "not_null", "true", "false", "unknown"]
LogicOperator = Literal["and", "or"]
Direction = Literal["asc", "desc"]
NullsPlace = Literal["first", "last"]


@dataclass(frozen=True, slots=True)
class JsonStep:
    """One step of `data->a->>0`: an object key or an array index; `as_text` for `->>`."""

    key: str | int
    as_text: bool


@dataclass(frozen=True, slots=True)
class FieldRef:
    name: str
    json_path: tuple[JsonStep, ...] = ()


@dataclass(frozen=True, slots=True)
class SelectField:
    """`alias:name->path::cast.aggregate()::aggregate_cast`; `name` is `*` for all columns, and `count()`
    alone has the field name `*` with aggregate `count`. A cast holds letters, digits, `_`, `$` and spaces."""

    field: FieldRef
    alias: str | None = None
    cast: str | None = None
    aggregate: AggregateName | None = None
    aggregate_cast: str | None = None


@dataclass(frozen=True, slots=True)
class SelectEmbed:
    """`alias:relation!hint!inner(items)`; `spread` for `...relation(items)`."""

    relation: str
    items: tuple["SelectItem", ...]
    alias: str | None = None
    hint: str | None = None
    join: JoinType | None = None
    spread: bool = False


SelectItem = SelectField | SelectEmbed


LiteralValue = str | tuple[str, ...]
"""What a caller compares with; a tuple for `in`. In an operation, `slot` numbers it among the literals of its
request (`literals.number_literals`): requests that differ in literals alone share plan and statement."""


@dataclass(frozen=True, slots=True)
class Compare:
    """`eq.value`, `like(any).{a,b}`: with a quantifier `value` is an array literal."""

    operator: FilterOperator
    value: str
    quantifier: Quantifier | None = None
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class InList:
    """`in.(a,"b,c")`; `in.()` holds nothing and matches nothing."""

    values: tuple[str, ...]
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Is:
    value: IsValue


@dataclass(frozen=True, slots=True)
class IsDistinct:
    value: str
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class FullText:
    operator: FtsOperator
    value: str
    config: str | None = None
    slot: int | None = None


Operation = Compare | InList | Is | IsDistinct | FullText


@dataclass(frozen=True, slots=True)
class Filter:
    """`not.` before the operator sets `negated`. On an embed itself (`actors=not.is.null`) `field.name` is
    the embed's name or alias; the planner tells the two apart."""

    field: FieldRef
    operation: Operation
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Logic:
    operator: LogicOperator
    children: tuple["Logic | Filter", ...]
    negated: bool = False


LogicTree = Logic | Filter


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """`field.desc.nullslast`; `relation` is set for an order by a to-one embed's column,
    `order=actors(name)`."""

    field: FieldRef
    direction: Direction | None = None
    nulls: NullsPlace | None = None
    relation: str | None = None


@dataclass(frozen=True, slots=True)
class RowRange:
    """`limit` None is no limit. Below the root a range is as the caller wrote it: a negative one is left for
    PostgreSQL to refuse, as PostgREST does."""

    offset: int = 0
    limit: int | None = None


ALL_ROWS = RowRange()


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """The query string, taken apart. `where` holds plain filters and logic trees alike, each with the embed
    it stands on; `parameters` are the pairs of a GET or HEAD call whose value is no filter and that a routine
    takes as arguments. `ranges` are those below the root: the root's is `ApiRequest.top_range`."""

    select: tuple[SelectItem, ...] = (SelectField(FieldRef("*")),)
    where: tuple[tuple[EmbedPath, LogicTree], ...] = ()
    order: tuple[tuple[EmbedPath, tuple[OrderTerm, ...]], ...] = ()
    ranges: tuple[tuple[EmbedPath, RowRange], ...] = ()
    columns: tuple[str, ...] | None = None
    on_conflict: tuple[str, ...] | None = None
    parameters: tuple[tuple[str, str], ...] = ()
    has_select: bool = False


@dataclass(frozen=True, slots=True)
class Preferences:
    """`Prefer` of RFC 7240 with PostgREST's names; None is "not mentioned". `invalid` are those that it does
    not know, kept for the error under `handling=strict`."""

    resolution: Literal["merge-duplicates", "ignore-duplicates"] | None = None
    representation: Literal["full", "headers-only", "minimal"] | None = None
    count: Literal["exact", "planned", "estimated"] | None = None
    transaction: Literal["commit", "rollback"] | None = None
    missing: Literal["default", "null"] | None = None
    handling: Literal["strict", "lenient"] | None = None
    timezone: str | None = None
    max_affected: int | None = None
    invalid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableTarget:
    name: str


@dataclass(frozen=True, slots=True)
class RowsTarget:
    """Rows of a table, each found by its primary key: `/rpc/basalt_bulk_update/NAME`."""

    name: str


@dataclass(frozen=True, slots=True)
class BatchTarget:
    """Several requests in one: `/rpc/basalt_batch`."""


@dataclass(frozen=True, slots=True)
class RoutineTarget:
    name: str


@dataclass(frozen=True, slots=True)
class RootTarget:
    """The OpenAPI description, `/`."""


Target = TableTarget | RowsTarget | RoutineTarget | BatchTarget | RootTarget
Action = Literal["read", "insert", "upsert_one", "update", "delete", "call", "describe", "inspect"]
"""`upsert_one` is PUT; `inspect` is OPTIONS; `describe` the root."""

PayloadType = Literal["json", "csv", "form", "text", "xml", "binary"]


PlanOption = Literal["analyze", "verbose", "settings", "buffers", "wal"]


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """`application/vnd.pgrst.plan+json; for="text/csv"; options=analyze|verbose`."""

    wanted: str
    format: Literal["json", "text"]
    options: tuple[PlanOption, ...] = ()


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One entry of `Accept` in PostgREST's canonical spelling (`application/json`, `*/*`,
    `application/vnd.pgrst.object+json;nulls=stripped`, or what the caller wrote if it knows no such type)."""

    name: str
    plan: PlanOptions | None = None


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request understood as far as that goes without the schema cache.

    `payload` is what PostgreSQL is to read: JSON for tables whatever the caller sent (CSV and forms are
    converted: `payload_type` is what was sent), JSON for a routine called with JSON or a form (a form's
    repeated keys, for variadic parameters, are in `form_pairs`), and the raw body for text, XML and binary.
    `payload_keys` are the keys that all objects share; with `columns` in the query the body is not looked
    into and `payload_keys` are those columns. `payload_is_array` tells an array from an object.
    `accept` are the media types of `Accept` in canonical spelling, most wanted first. `literals` are those of filters,
    then the arguments of a call, from number `argument_slot` on."""

    method: str
    action: Action
    target: Target
    schema: str
    query: ParsedQuery
    preferences: Preferences
    accept: tuple[MediaRange, ...] = (MediaRange("*/*"),)
    headers_only: bool = False
    top_range: RowRange = ALL_ROWS
    payload: bytes | None = None
    payload_type: PayloadType = "json"
    payload_keys: frozenset[str] | None = None
    payload_is_array: bool = False
    form_pairs: tuple[tuple[str, str], ...] = ()
    literals: tuple[LiteralValue, ...] = ()
    argument_slot: int = 0
    profile_sent: bool = False
    """`Content-Profile` belongs into the answer: a profile was sent, or several schemas are exposed."""
