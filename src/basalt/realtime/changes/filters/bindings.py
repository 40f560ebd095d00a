"""What a join asks for under `postgres_changes` (protocol §4, §9.2), and the messages to a client whose binding cannot
be served (§9.6). A bad binding does not fail the join: it is echoed in the reply and complained about later."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, cast

from psycopg import errors as postgres_errors

from basalt.realtime.changes.filters.grammar import Condition, FilterError, parse_filter
from basalt.realtime.changes.filters.terms import render_term

Event = Literal["*", "INSERT", "UPDATE", "DELETE"]

EVENTS = frozenset({"INSERT", "UPDATE", "DELETE"})
BAD_SELECT = (
    'Error parsing `select` params: expected a list of column name strings, e.g. select: ["col1", "col2"]'
)
WILDCARD_SELECT = (
    "Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name."
)
NO_PARAMS = (
    "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: {params}"
)
NOT_PUBLISHED = (
    "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given connect "
    "parameters: {binding}"
)
REFUSED = (
    "Unable to subscribe to changes with given parameters. An exception happened so please check your connect "
    "parameters: {binding}. Exception: {exception}"
)


@dataclass(frozen=True, eq=False, slots=True)
class Binding:
    """`params` are echoed as they came, with `id`: the same for the same parameters. `schema` and `table` may be `*`.
    `problem` is the message to send instead of changes; the other parts mean nothing then. `replay` is Basalt's own."""

    params: Mapping[str, Any]
    id: int
    event: Event = "*"
    schema: str = "*"
    table: str = "*"
    conditions: tuple[Condition, ...] = ()
    select: tuple[str, ...] | None = None
    replay: object = None
    problem: str | None = None


class BindingError(Exception):
    """A binding that cannot be served as it is; the text is the message for the client."""


def parse_bindings(asked: object) -> tuple[Binding, ...]:
    """The value of `config.postgres_changes`. Nulls are dropped, and so is whatever is no object: there is nothing to
    echo an `id` in, and a part of the wrong type is ignored everywhere in a join.

    >>> [parse_bindings(asked) for asked in (None, "todos", [None, 1])]
    [(), (), ()]
    >>> binding, = parse_bindings([{"event": "insert", "table": "todos", "filter": "id=eq.1"}])
    >>> describe_binding(binding)
    '[event: INSERT, schema: public, table: todos, filters: [{"id", "eq", "1", false}], select: nil]'
    """
    if not isinstance(asked, list):
        return ()
    return tuple(_parse_binding(params) for params in asked if isinstance(params, dict))


def describe_binding(binding: Binding) -> str:
    """As Supabase names the parameters in its messages: `[event: *, schema: public, table: nope, …]`."""
    filters = [(c.column, c.operator, c.value, c.negated) for c in binding.conditions]
    select = None if binding.select is None else list(binding.select)
    return (
        f"[event: {binding.event}, schema: {binding.schema}, table: {binding.table}, "
        f"filters: {render_term(filters)}, select: {render_term(select)}]"
    )


def not_published(binding: Binding) -> BindingError:
    """No such table in the publication."""
    return BindingError(NOT_PUBLISHED.format(binding=describe_binding(binding)))


def refuse(binding: Binding, reason: str, sqlstate: str = "P0001") -> BindingError:
    """The catalog or a type objects. Supabase's checks are a trigger's exceptions: P0001."""
    exception = f"ERROR {sqlstate}{_condition_name(sqlstate)} {reason}"
    return BindingError(REFUSED.format(binding=describe_binding(binding), exception=exception))


def _parse_binding(params: dict[str, Any]) -> Binding:
    replay = params.get("replay")
    try:
        schema, table, conditions, select = _parse_params(params)
    except BindingError as error:
        return Binding(params, _hash_params(params), replay=replay, problem=str(error))
    return Binding(
        params, _hash_params(params), _parse_event(params), schema, table, conditions, select, replay
    )


def _parse_params(params: dict[str, Any]) -> tuple[str, str, tuple[Condition, ...], tuple[str, ...] | None]:
    select = _parse_select(params.get("select"))
    schema, table, text = (params.get(key) for key in ("schema", "table", "filter"))
    if (
        any(part is not None and not isinstance(part, str) for part in (schema, table, text))
        or (schema is None and table is None)
        or (text is not None and table is None)
    ):
        raise BindingError(NO_PARAMS.format(params=_show_params(params)))
    schema, table = schema if schema is not None else "public", table if table is not None else "*"
    try:
        conditions = parse_filter(text or "")
    except FilterError as error:
        raise BindingError(f"Error parsing `filter` params: {error}") from error
    if select is not None and "*" in (schema, table):
        raise BindingError(WILDCARD_SELECT)
    return schema, table, conditions, select


def _parse_event(params: dict[str, Any]) -> Event:
    event = params.get("event")
    event = event.upper() if isinstance(event, str) else "*"
    return cast(Event, event) if event in EVENTS else "*"


def _parse_select(asked: object) -> tuple[str, ...] | None:
    if isinstance(asked, str):
        raise BindingError(BAD_SELECT)
    names = tuple(name for name in asked if isinstance(name, str)) if isinstance(asked, list) else ()
    return names or None


def _hash_params(params: dict[str, Any]) -> int:
    """Non-zero and below 2**31. Whether the client also asks for a replay does not make it another subscription."""
    text = render_term({key: value for key, value in params.items() if key != "replay"})
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) % (2**31 - 1) + 1


def _show_params(params: dict[str, Any]) -> str:
    return "<redacted>" if {"user_token", "auth_token"} & params.keys() else render_term(params)


def _condition_name(sqlstate: str) -> str:
    """` (invalid_text_representation)` of 22P02: PostgreSQL's documentation, "Error Codes"."""
    try:
        name = postgres_errors.lookup(sqlstate).__name__
    except KeyError:
        return ""
    return (
        f" ({''.join('_' + letter.lower() if letter.isupper() else letter for letter in name).lstrip('_')})"
    )
