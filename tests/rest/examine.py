"""What any request must stand in the pure part of REST, from its bytes to the statement and the head of an answer.

Nothing but a refusal below 500 comes out; a statement holds no text of the caller but quoted names, and is of bounded
size; what is kept for a shape is what the parser would have made of each request of that shape; no header can be
broken in two.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Set
from dataclasses import fields, is_dataclass
from typing import Any
from urllib.parse import quote_from_bytes

from pglast.parser import ParseError, scan

from basalt.config import RestSettings
from basalt.errors import BasaltError
from basalt.http import Headers, Request
from basalt.postgres import SchemaCache
from basalt.rest.batch import BatchError, parse_batch
from basalt.rest.errors import render_error
from basalt.rest.plan.call import find_routine
from basalt.rest.plan.read import find_table
from basalt.rest.query import (
    ApiRequest,
    BatchTarget,
    RoutineTarget,
    RowsTarget,
    SelectEmbed,
    SelectField,
    SelectItem,
    TableTarget,
)
from basalt.rest.request import parse_request, render_settings
from basalt.rest.response import Outcome, render_allowed, render_response, render_warning
from basalt.rest.run import Prepared, prepare
from basalt.rest.shape import Shaped, is_trusted, letter_of, shape_of, values_of
from basalt.rest.sql.text import MAX_LENGTH, MAX_PARAMS, literal
from tests.rest.cinema import LIBERAL, SCHEMAS, STRICT, build_cinema

WRITING_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
MAX_STATEMENT_LENGTH = 1.2 * MAX_LENGTH  # what stands around the levels is no longer than the query string
MAX_READY = 20_000


class FindingError(AssertionError):
    """A request did what no request may do."""


class Examiner:
    """Remembers shapes as a server would, so that later requests are held against earlier ones."""

    def __init__(self) -> None:
        self._ready: dict[Hashable, Prepared] = {}

    def examine(self, raw: bytes) -> str:
        """The code of the refusal, or "accepted". Raises FindingError."""
        request, body = parse_message(raw)
        codes = [self._examine(request, body, settings) for settings in (STRICT, LIBERAL)]
        return codes[-1]

    def _examine(self, request: Request, body: bytes | None, settings: RestSettings) -> str:
        shaped: Shaped | None = None
        try:
            letter = letter_of(request)
            shaped = _guarded(shape_of, letter, body) if letter is not None else None
        except BasaltError as error:
            _check_refusal(error)
        seen = self._ready.get((settings.db_plan_enabled, shaped.key)) if shaped else None
        try:
            api = _guarded(_parse, request, body, settings)
            if api.action in ("inspect", "describe"):
                _guarded(_allow, api)
                return "accepted"
            if isinstance(api.target, BatchTarget):
                _guarded(_read_batch, body)
                return "accepted"
            prepared: Prepared = _guarded(prepare, api, CINEMA, settings)
        except BasaltError as error:
            if seen is not None:
                raise FindingError(
                    f"refused with {error.code}, and of the shape of an accepted request"
                ) from error
            _check_refusal(error)
            return error.code
        self._check_prepared(prepared, settings)
        if seen is not None and shaped is not None:
            _check_alike(seen, prepared, shaped)
        elif shaped is not None and is_trusted(shaped, api):
            if len(self._ready) >= MAX_READY:
                self._ready.clear()
            self._ready[settings.db_plan_enabled, shaped.key] = prepared
        _guarded(_check_answer, request, prepared)
        return "accepted"

    def _check_prepared(self, prepared: Prepared, settings: RestSettings) -> None:
        values = values_of(prepared.api)
        names = CINEMA_NAMES | set(_strings(prepared.plan))
        words = set(CINEMA_WORDS)
        words |= {str(settings.db_max_rows + 1) if settings.db_max_rows else "0"}
        words |= {str(abs(prepared.api.preferences.max_affected or 0))}
        casts = list(_casts(prepared.api.query.select))
        words |= {word for cast in casts for word in cast.split(" ")}
        for statement in filter(None, (prepared.statement, prepared.count_plan)):
            if len(statement.text) > MAX_STATEMENT_LENGTH or len(statement.params) > MAX_PARAMS:
                raise FindingError(
                    f"a statement of {len(statement.text)} characters, {len(statement.params)} parameters"
                )
            for param in _guarded(statement.render, values):
                if param is not None and not isinstance(param, bytes):
                    raise FindingError(f"a parameter of type {type(param)}")
            try:
                check_statement(statement.text, names, words)
            except ParseError as error:
                # names without a character and types called `1a` are left for PostgreSQL to refuse
                if "" not in names and not any(re.search(r"(^| )[0-9]", cast) for cast in casts):
                    raise FindingError(f"not SQL: {error}: {statement.text}") from error


# The message


def parse_message(raw: bytes) -> tuple[Request, bytes | None]:
    """A request as text: a line with method and target, lines with headers, an empty line, the body. Any bytes make
    some request that could come from the gateway."""
    head, _, body = raw.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, target = first.partition(b" ")
    path, _, query = target.partition(b"?")
    raw_path = "/" + quote_from_bytes(path.removeprefix(b"/"), safe="/%()!$&'*+,;=:@~")
    headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name.strip().lower(), value.strip(b" \t")))
    name = method.decode("ascii", "replace")
    request = Request(
        method=name,
        path=raw_path,
        raw_path=raw_path,
        query_string=query,
        headers=Headers(headers),
        receive=_receive_nothing,
    )
    return request, body if name in WRITING_METHODS else None


async def _receive_nothing() -> Any:
    raise FindingError("the pure part read from the wire")


def _parse(request: Request, body: bytes | None, settings: RestSettings) -> ApiRequest:
    return parse_request(
        request, body, schemas=SCHEMAS, allow_transaction=settings.db_tx_end.endswith("-allow-override")
    )


def _allow(api: ApiRequest) -> None:
    match api.target:
        case TableTarget(name) | RowsTarget(name):
            render_allowed(find_table(CINEMA, api.schema, name))
        case RoutineTarget(name):
            render_allowed(find_routine(CINEMA, api, name, frozenset()))


def _read_batch(body: bytes | None) -> None:
    try:
        parse_batch(body or b"")
    except BatchError as error:
        raise error.error from error


def _guarded(step: Callable[..., Any], *args: Any) -> Any:
    try:
        return step(*args)
    except (BasaltError, FindingError):
        raise
    except Exception as error:
        raise FindingError(f"{step.__name__}: {error!r}") from error


# Refusals and answers


def _check_refusal(error: BasaltError) -> None:
    if not 300 <= error.status < 500:
        raise FindingError(f"{error.code} with {error.status}: {error.message}") from error
    if re.fullmatch(r"PGRST[12][0-9][0-9]", error.code) is None:
        raise FindingError(f"a refusal with the code {error.code}") from error
    response = _guarded(render_error, error)
    _check_headers(response.headers)
    if len(response.body) > 300_000:
        raise FindingError(f"a refusal of {len(response.body)} bytes")


def _check_answer(request: Request, prepared: Prepared) -> None:
    render_settings(request)
    for total in (None, 1):
        outcome = Outcome(
            body=b"[]",
            media_type=prepared.answer.media_type,
            page_count=1,
            total_count=total,
            location=(("id", "1\r\n2"),),
            has_conflict_target=True,
        )
        try:
            response = render_response(
                prepared.api,
                outcome,
                offset=prepared.api.top_range.offset,
                query_string=request.query_string,
                is_singular=prepared.answer.is_singular,
            )
        except BasaltError as error:
            _check_refusal(error)
            continue
        _check_headers([*response.headers, render_warning(prepared.legacy_targets)])


def _check_headers(headers: Iterable[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        if not name or any(mark in name + value for mark in (b"\r", b"\n", b"\0")):
            raise FindingError(f"a broken header: {name!r}: {value!r}")


def _check_alike(seen: Prepared, prepared: Prepared, shaped: Shaped) -> None:
    """What a server would answer with, because the shape is known, against what the parser says."""
    own = values_of(prepared.api)
    kept = shaped.values or own
    if (kept.limit, kept.offset) != (own.limit, own.offset):
        raise FindingError(
            f"the shape has the window {kept.limit, kept.offset}, the request {own.limit, own.offset}"
        )
    pairs = [(seen.statement, prepared.statement)]
    if seen.count_plan is not None and prepared.count_plan is not None:
        pairs.append((seen.count_plan, prepared.count_plan))
    for one, other in pairs:
        if one.text != other.text:
            raise FindingError(f"one shape, two statements:\n{one.text}\n{other.text}")
        if _guarded(one.render, kept) != other.render(own):
            raise FindingError(f"one shape, other parameters: {one.render(kept)} and {other.render(own)}")
    for part in ("answer", "search_path", "is_read_only", "rolls_back", "isolation", "hoisted"):
        if getattr(seen, part) != getattr(prepared, part):
            raise FindingError(f"one shape, two values of {part}")


# The statement

_KEYWORDS = """
with as select from where and or not in is null true false unknown distinct any all order by group asc desc nulls
first last limit offset left inner join lateral on cast case when then end exists explain format json text analyze
verbose settings buffers wal insert into update set delete returning conflict do nothing excluded values
variadic like ilike int jsonb bigint regconfig bytea record
coalesce nullif count sum avg max min json_agg jsonb_agg row_to_json to_json to_jsonb json_build_object
jsonb_build_object string_agg json_object_keys substring length array_agg json_strip_nulls set_config
current_setting to_tsquery plainto_tsquery phraseto_tsquery websearch_to_tsquery to_tsvector unnest st_asgeojson
json_to_record json_to_recordset jsonb_to_record jsonb_to_recordset json_array_elements jsonb_array_elements
pgrst_source pgrst_source_count _postgrest_t pgrst_scalar pgrst_call pgrst_body pgrst_defaults val elem _
a k r s hh
"""
_CONSTANTS = (
    "0", "1", "2", "''", "','", "E'\\n'", "'[]'", "'null'", "'FeatureCollection'", "'type'", "'features'",
    "'response.status'", "'response.headers'", "'basalt.inserted'", "'basalt row not the one of the URL: '",
    "'basalt rows not one: '", "'basalt too many rows: '",
)  # fmt: skip
_OPERATORS = "( ) [ ] , . + - * / = < > <> <= >= ~ ~* @> <@ && << >> &< &> -|- -> ->> || @@ :: :="
WORDS = frozenset((*_KEYWORDS.split(), *_CONSTANTS))
PUNCTUATION = frozenset(_OPERATORS.split())
PLACEHOLDER = re.compile(r"\$[1-9][0-9]*")


def check_statement(text: str, names: Set[str], words: Set[str]) -> None:
    """Every token is ours, a placeholder, or a quoted name that the plan or the schema cache holds. Raises
    FindingError, or ParseError for what is no SQL at all."""
    end = 0
    for token in scan(text):
        found = text[token.start : token.end + 1]
        if text[end : token.start].strip(" "):
            raise FindingError(f"between tokens: {text[end : token.start]!r} in {text}")
        end = token.end + 1
        if found in PUNCTUATION or found in words or PLACEHOLDER.fullmatch(found):
            continue
        if found[0] == '"' and token.name == "IDENT" and _is_known(found[1:-1].replace('""', '"'), names):
            continue
        raise FindingError(f"{found!r} in {text}")
    if text[end:].strip(" "):
        raise FindingError(f"at the end: {text[end:]!r}")


def _is_known(name: str, names: Set[str]) -> bool:
    """A junction is called by its name and the alias of what it leads to."""
    return name in names or any(name == f"roles_{alias}" for alias in names if alias and name.endswith(alias))


def _strings(value: object) -> Iterator[str]:
    """Every text in a plan."""
    if isinstance(value, str):
        yield value.replace("\0", "")
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _strings(pair)
    elif isinstance(value, tuple | list | frozenset):
        for one in value:
            yield from _strings(one)
    elif is_dataclass(value):
        for one in fields(value):
            yield from _strings(getattr(value, one.name))


def _tokens(text: str) -> list[str]:
    return [text[token.start : token.end + 1] for token in scan(text)]


def _fragments(schema_cache: SchemaCache) -> Iterator[str]:
    """What the schema cache holds as SQL: types, defaults, functions; and names, which also stand as constants."""
    for table in schema_cache.tables.values():
        for column in table.columns.values():
            yield column.type
            yield column.default or ""
            yield literal(column.name)
    for routines in schema_cache.routines.values():
        for parameter in (one for routine in routines for one in routine.parameters):
            yield parameter.type
            yield parameter.cast_type
    yield from schema_cache.representations.values()


CINEMA = build_cinema()
CINEMA_NAMES = frozenset(_strings((CINEMA.tables, CINEMA.media_handlers)))
CINEMA_WORDS = WORDS | {word for fragment in _fragments(CINEMA) for word in _tokens(fragment)}


def _casts(items: Iterable[SelectItem]) -> Iterator[str]:
    for item in items:
        match item:
            case SelectEmbed():
                yield from _casts(item.items)
            case SelectField():
                yield from filter(None, (item.cast, item.aggregate_cast))
