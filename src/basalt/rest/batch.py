"""Several requests in one transaction: `POST /rpc/basalt_batch`, Basalt's own addition to the contract.

The body is an array of requests, each as the path, headers and body that it would be sent with alone; `refs` puts
values of earlier answers into a later one. All are done as the caller, under the same policies, or none: the first
that fails undoes the rest and is the answer, with its index. As values decide what comes next, a batch holds a
connection of its own while it runs, instead of a place on a lane.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
import orjson
import psycopg
from psycopg import AsyncRawCursor
from psycopg_pool import PoolTimeout, TooManyRequests

from basalt.access import Caller
from basalt.config import RestSettings
from basalt.errors import BasaltError
from basalt.http import Headers, Request, Response
from basalt.postgres import Pool, Query, Result, SchemaCache
from basalt.rest.errors import RestError
from basalt.rest.literals import Values
from basalt.rest.plan import CallPlan, WritePlan
from basalt.rest.preferences import parse_preferences
from basalt.rest.query import ApiRequest, BatchTarget, RootTarget
from basalt.rest.request import parse_request
from basalt.rest.response import render_response
from basalt.rest.run import (
    Prepared,
    allows_transaction,
    build_keyed_write,
    build_queries,
    read_outcome,
    rolls_back,
    translate,
)
from basalt.rest.shape import values_of
from basalt.rest.sql.write import FORGET_INSERTED

MAX_REQUESTS = 100
READING = frozenset({"GET", "HEAD"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
HEADERS = frozenset(
    {"accept", "accept-profile", "content-profile", "content-type", "prefer", "range", "range-unit"}
)


class BatchedRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`body` is JSON, or text for other content types. `refs` maps a place in this request to one in the answers so
    far, both JSON pointers (RFC 6901): `/body/film_id` to `/0/body/id` sets a value of the body, `/query/id`
    to `/0/body/id` adds the filter `id=eq.VALUE`."""

    path: str
    method: str = "GET"
    headers: dict[str, str] = {}
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    refs: dict[str, str] = {}


class BatchError(Exception):
    """A request of a batch was refused; everything was undone."""

    def __init__(self, index: int, error: BasaltError) -> None:
        super().__init__(str(error))
        self.index = index
        self.error = error


def parse_batch(body: bytes) -> list[BatchedRequest]:
    """Raises RestError PGRST102, or BatchError where one request is to blame."""
    try:
        requests = msgspec.json.decode(body, type=list[BatchedRequest])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise RestError("PGRST102", problem=f"The batch cannot be read: {exc}") from exc
    if not 1 <= len(requests) <= MAX_REQUESTS:
        raise RestError(
            "PGRST102", problem=f"A batch holds 1 to {MAX_REQUESTS} requests, not {len(requests)}"
        )
    for index, one in enumerate(requests):
        problem = _find_problem(one)
        if problem is not None:
            raise BatchError(index, RestError("PGRST102", problem=problem))
    return requests


def _find_problem(one: BatchedRequest) -> str | None:
    if one.method not in METHODS:
        return f"The method of a batched request is one of {', '.join(sorted(METHODS))}, not {one.method!r}"
    if not one.path.startswith("/") or not one.path.isascii() or " " in one.path:
        return "The path of a batched request begins with '/' and is percent-encoded"
    for name, value in one.headers.items():
        if name.lower() not in HEADERS:
            return f"A batched request may send {', '.join(sorted(HEADERS))}, not {name!r}"
        if not value.isascii() or not value.isprintable():
            return f"The header {name!r} holds what headers cannot"
    return None


@dataclass(frozen=True, slots=True)
class BatchRunner:
    """What a batch needs of the service. `pool` connects as the lanes do, `prepare` plans a request as the caller's."""

    pool: Pool
    cache: SchemaCache
    settings: RestSettings
    prepare: Callable[[ApiRequest, Caller], Awaitable[Prepared]]

    async def run(self, requests: Sequence[BatchedRequest], caller: Caller, outer: Request) -> list[Any]:
        """The answers in order, each `{status, headers, body}`. Raises BatchError."""
        answers: list[Any] = []
        read_only = all(one.method in READING for one in requests)
        preferences = parse_preferences(
            outer.headers.get_all("prefer"), allow_transaction=allows_transaction(self.settings)
        )
        try:
            async with self._transaction(caller, undone=rolls_back(preferences, self.settings)) as cursor:
                if outer.keyed is not None:
                    await _run(cursor, build_keyed_write(outer.keyed))
                for one in requests:
                    request = _as_request(_filled(one, answers), outer)
                    response = await self._answer(request, caller, cursor, read_only=read_only)
                    answers.append(_as_value(response))
        except (psycopg.Error, BasaltError) as error:
            # what fails at the end is a constraint that was put off: the last request stands for all
            index = min(len(answers), len(requests) - 1)
            raise BatchError(index, self._translate(error, caller)) from error
        return answers

    @asynccontextmanager
    async def _transaction(self, caller: Caller, *, undone: bool) -> AsyncIterator[AsyncRawCursor[Any]]:
        role = self.cache.role_settings.get(caller.role)
        isolation = role.isolation if role is not None else None
        async with (
            self.pool.connection() as connection,
            connection.transaction(force_rollback=undone),
            AsyncRawCursor(connection) as cursor,
        ):
            if isolation is not None:
                await cursor.execute(ISOLATIONS[isolation])
            yield cursor
            await cursor.execute("set constraints all immediate")

    async def _answer(
        self, request: Request, caller: Caller, cursor: AsyncRawCursor[Any], *, read_only: bool
    ) -> Response:
        api = parse_request(request, await request.body(), schemas=self.settings.db_schemas)
        if isinstance(api.target, (BatchTarget, RootTarget)) or api.action == "inspect":
            raise RestError("PGRST125")
        prepared = await self.prepare(api, caller)
        _check_call(prepared, request, read_only=read_only)
        values = values_of(api)
        results = await self._execute(prepared, values, caller, request, cursor, read_only=read_only)
        outcome = read_outcome(results, prepared, self.settings)
        return render_response(
            api,
            outcome,
            offset=values.offset,
            query_string=request.query_string,
            is_singular=prepared.answer.is_singular,
        )

    async def _execute(
        self,
        prepared: Prepared,
        values: Values,
        caller: Caller,
        request: Request,
        cursor: AsyncRawCursor[Any],
        *,
        read_only: bool,
    ) -> list[Result]:
        queries = build_queries(
            prepared,
            values,
            caller,
            request,
            cache=self.cache,
            settings=self.settings,
            read_only=read_only,
        )
        results = [await _run(cursor, query) for query in queries]
        for name, _ in prepared.hoisted:  # those of a routine or a `Prefer` end with their request
            setting = psycopg.sql.SQL(".").join(map(psycopg.sql.Identifier, name.split(".")))
            await cursor.execute(psycopg.sql.SQL("set local {} to default").format(setting))
        if isinstance(prepared.plan, WritePlan) and prepared.plan.resolution == "merge":
            await cursor.execute(FORGET_INSERTED.encode())
        return results

    def _translate(self, error: psycopg.Error | BasaltError, caller: Caller) -> BasaltError:
        if isinstance(error, BasaltError):
            return error
        if isinstance(error, (PoolTimeout, TooManyRequests)):
            return RestError("PGRST003")
        if error.sqlstate is None:
            return RestError("PGRST001")
        return translate(_Diagnosed(error), caller, self.settings)


ISOLATIONS = {
    "read committed": "set transaction isolation level read committed",
    "repeatable read": "set transaction isolation level repeatable read",
    "serializable": "set transaction isolation level serializable",
}


class _Diagnosed:
    """psycopg's error in the words of the lanes' one."""

    def __init__(self, error: psycopg.Error) -> None:
        self.sqlstate = error.sqlstate or ""
        self.message = error.diag.message_primary or ""
        self.detail = error.diag.message_detail
        self.hint = error.diag.message_hint


async def _run(cursor: AsyncRawCursor[Any], query: Query) -> Result:
    """A query as the lanes would run it: parameters and results are text."""
    params = [None if value is None else value.decode() for value in query.params]
    await cursor.execute(query.sql.encode(), params, prepare=query.prepare)
    raw = cursor.pgresult
    assert raw is not None
    rows = [tuple(raw.get_value(row, column) for column in range(raw.nfields)) for row in range(raw.ntuples)]
    return Result(rows, (raw.command_status or b"").decode())


def _check_call(prepared: Prepared, request: Request, *, read_only: bool) -> None:
    """A GET must not change anything, and among writes the transaction cannot see to that."""
    plan = prepared.plan
    is_risk = isinstance(plan, CallPlan) and plan.routine.volatility == "volatile"
    if is_risk and request.method in READING and not read_only:
        raise RestError("PGRST101", details="Use POST in a batch that writes", method=request.method)


# One request


def _as_request(one: BatchedRequest, outer: Request) -> Request:
    path, _, query_string = one.path.partition("?")
    parts = [{"type": "http.request", "body": _render_body(one), "more_body": False}]

    async def receive() -> dict[str, Any]:
        return parts.pop() if parts else {"type": "http.disconnect"}

    own = [(name.lower().encode(), value.encode()) for name, value in one.headers.items()]
    names = {name for name, _ in own} | {name.encode() for name in HEADERS}
    inherited = [pair for pair in outer.headers.raw if pair[0] not in names and pair[0] != b"content-length"]
    return Request(
        method=one.method,
        path=path,
        raw_path=path,
        prefix=outer.prefix,
        query_string=query_string.encode(),
        headers=Headers([*inherited, *own]),
        client_ip=outer.client_ip,
        request_id=outer.request_id,
        base_url=outer.base_url,
        body_limit_bytes=outer.body_limit_bytes,
        receive=receive,
    )


def _render_body(one: BatchedRequest) -> bytes:
    if one.body is msgspec.UNSET:
        return b""
    content_type = next(
        (value for name, value in one.headers.items() if name.lower() == "content-type"), "application/json"
    )
    if content_type.startswith("application/json") or not bytes(one.body).startswith(b'"'):
        return bytes(one.body)
    return msgspec.json.decode(one.body, type=str).encode()


def _as_value(response: Response) -> dict[str, Any]:
    headers = {name.decode(): value.decode("utf-8", "replace") for name, value in response.headers}
    assert isinstance(response.body, bytes)
    body: Any = None
    if response.body:
        is_json = "json" in headers.get("content-type", "")
        body = orjson.loads(response.body) if is_json else response.body.decode("utf-8", "replace")
    return {"status": response.status, "headers": headers, "body": body}


# References


def _filled(one: BatchedRequest, answers: Sequence[Any]) -> BatchedRequest:
    """The request with the values that its `refs` ask for. Raises RestError PGRST102."""
    if not one.refs:
        return one
    path = one.path
    body = {} if one.body is msgspec.UNSET else _load(one.body)
    has_body = one.body is not msgspec.UNSET
    for target, source in one.refs.items():
        value = _find(answers, source)
        match _split_pointer(target):
            case ["query", name]:
                if isinstance(value, (dict, list)):
                    raise RestError("PGRST102", problem=f"The value at {source!r} is no filter's")
                text = value if isinstance(value, str) else orjson.dumps(value).decode()
                condition = "is.null" if value is None else f"eq.{text}"
                path += f"{'&' if '?' in path else '?'}{quote(name, safe='')}={quote(condition, safe='')}"
            case ["body", *steps]:
                body, has_body = _set(body, steps, value, target), True
            case _:
                raise RestError("PGRST102", problem=f"{target!r} is no place in a request")
    raw = msgspec.Raw(msgspec.json.encode(body)) if has_body else msgspec.UNSET
    return BatchedRequest(path, one.method, one.headers, raw)


def _load(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise RestError("PGRST102", problem=f"The body cannot be read: {exc}") from exc


def _split_pointer(pointer: str) -> list[str]:
    """
    >>> _split_pointer("/body/a~1b/0")
    ['body', 'a/b', '0']
    """
    if not pointer.startswith("/"):
        raise RestError("PGRST102", problem=f"{pointer!r} is no JSON pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/")]


def _find(answers: Any, pointer: str) -> Any:
    found = answers
    for step in _split_pointer(pointer):
        if isinstance(found, list) and step.isascii() and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        elif isinstance(found, dict) and step in found:
            found = found[step]
        else:
            raise RestError("PGRST102", problem=f"There is nothing at {pointer!r} in the answers so far")
    return found


def _set(body: Any, steps: Sequence[str], value: Any, pointer: str) -> Any:
    """The body with a value at a place; objects on the way there may be new, elements of arrays may not."""
    if not steps:
        return value
    step, *rest = steps
    if body is None:
        body = {}
    if isinstance(body, Mapping):
        return {**body, step: _set(body.get(step), rest, value, pointer)}
    if isinstance(body, list) and step.isascii() and step.isdigit() and int(step) < len(body):
        place = int(step)
        return [*body[:place], _set(body[place], rest, value, pointer), *body[place + 1 :]]
    raise RestError("PGRST102", problem=f"There is no place {pointer!r} in the body")
