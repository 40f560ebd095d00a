"""Runs a plan: the only step of a REST request that talks to the database.

Prelude (role, claims, settings), pre-request and statement go out in one flush and are one transaction. A
client that goes away cancels its statement.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from basalt.access import Caller
from basalt.errors import BasaltError
from basalt.http import ClientDisconnectedError, Request
from basalt.postgres import LanePool, PostgresError, Query, Result, SchemaCache
from basalt.rest.errors import RestError, rest_error_from_database
from basalt.rest.plan import CallPlan, Plan, ReadPlan, WritePlan, plan_request
from basalt.rest.query import ApiRequest
from basalt.rest.request import render_settings
from basalt.rest.response import Outcome
from basalt.rest.sql import (
    AFFECTED_MARK,
    PUT_MARK,
    SINGULAR_MARK,
    Statement,
    build_call,
    build_read,
    build_write,
    read_location,
)

PRELUDE = (
    "select set_config('search_path', $1, true), set_config('role', $2, true), "
    "set_config('request.jwt.claims', $3, true), set_config('request.method', $4, true), "
    "set_config('request.path', $5, true), set_config('request.headers', $6, true), "
    "set_config('request.cookies', $7, true), set_config('transaction_read_only', $8, true)"
)
MEDIA_TYPES = (
    "application/json",
    "application/vnd.pgrst.object+json",
    "application/vnd.pgrst.array+json",
    "*/*",
    "text/csv",
)

MARKS = {SINGULAR_MARK: "PGRST116", AFFECTED_MARK: "PGRST124", PUT_MARK: "PGRST115"}
WATCH_AFTER_S = 0.05


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is ready to run as anybody: what was asked, what that means here, and the statement for it."""

    api: ApiRequest
    plan: Plan
    media: str
    statement: Statement


def prepare(api: ApiRequest, cache: SchemaCache, *, max_rows: int | None) -> Prepared:
    """Plan and statement of a request. Raises RestError for what the contract refuses."""
    plan = plan_request(api, cache, max_rows=max_rows)
    media = _choose_media(api)
    return Prepared(api, plan, media, _build(plan, api, media))


async def run_prepared(
    prepared: Prepared,
    caller: Caller,
    request: Request,
    cache: SchemaCache,
    lanes: LanePool,
    *,
    search_path: Sequence[str],
) -> Outcome:
    """Raises RestError for what the contract refuses, and BasaltError with PostgreSQL's own code."""
    api, plan, statement = prepared.api, prepared.plan, prepared.statement
    is_read = isinstance(plan, ReadPlan) or (isinstance(plan, CallPlan) and plan.is_read_only)
    extra = _settings(api, caller, cache)
    queries = [
        _prelude(api.schema, render_settings(request), caller, search_path, read_only=is_read, extra=extra),
        Query(statement.text, tuple(statement.params), scope=caller.role),
    ]
    try:
        results = await _execute(lanes, queries, request, read_only=isinstance(plan, ReadPlan))
    except PostgresError as error:
        raise _translate(error, caller) from error
    return _outcome(results[-1], plan, prepared.media)


def _choose_media(api: ApiRequest) -> str:
    for name in api.media_types:
        base = name.split(";")[0]
        if base in ("*/*", "application/*"):
            return "application/json"
        if base in MEDIA_TYPES:
            return name
    raise RestError("PGRST107", media_types=", ".join(api.media_types))


def _build(plan: Plan, api: ApiRequest, media: str) -> Statement:
    match plan:
        case ReadPlan():
            return build_read(plan, api, media=media)
        case WritePlan():
            return build_write(plan, api, media=media)
        case CallPlan():
            return build_call(plan, api, media=media)


def _settings(api: ApiRequest, caller: Caller, cache: SchemaCache) -> list[tuple[str, str]]:
    role = cache.role_settings.get(caller.role)
    found = list(role.settings) if role else []
    if api.preferences.timezone is not None and api.preferences.timezone in cache.timezones:
        found.append(("timezone", api.preferences.timezone))
    return found


def _prelude(
    schema: str,
    settings: Mapping[str, str],
    caller: Caller,
    search_path: Sequence[str],
    *,
    read_only: bool,
    extra: list[tuple[str, str]],
) -> Query:
    params: list[bytes | None] = [
        ", ".join('"' + name.replace('"', '""') + '"' for name in (schema, *search_path)).encode(),
        caller.role.encode(),
        caller.claims_json.encode(),
        *(
            settings.get(name, "").encode()
            for name in ("request.method", "request.path", "request.headers", "request.cookies")
        ),
        b"on" if read_only else b"off",
    ]
    text = PRELUDE
    for name, value in extra:
        params += [name.encode(), value.encode()]
        text += f", set_config(${len(params) - 1}, ${len(params)}, true)"
    return Query(text, tuple(params))


async def _execute(
    lanes: LanePool, queries: list[Query], request: Request, *, read_only: bool
) -> list[Result]:
    """The answer, or cancellation when the client leaves first. Watching the client costs a task, so it begins only
    when the answer has not come at once."""
    loop = asyncio.get_running_loop()
    caller = asyncio.current_task()
    watch: asyncio.Task[None] | None = None
    has_left = False

    async def cancel_when_client_leaves() -> None:
        nonlocal has_left
        await request.wait_disconnect()
        has_left = True
        assert caller is not None
        caller.cancel()

    def begin_to_watch() -> None:
        nonlocal watch
        watch = loop.create_task(cancel_when_client_leaves())

    timer = loop.call_later(WATCH_AFTER_S, begin_to_watch)
    try:
        return await lanes.execute(queries, read_only=read_only)
    except asyncio.CancelledError:
        if has_left and caller is not None and caller.uncancel() == 0:
            raise ClientDisconnectedError from None
        raise
    finally:
        timer.cancel()
        if watch is not None:
            watch.cancel()


def _translate(error: PostgresError, caller: Caller) -> BasaltError:
    if error.sqlstate == "22P02" and error.message.startswith("invalid input syntax for type integer"):
        for mark, code in MARKS.items():
            if mark in error.message:
                return RestError(code, rows=error.message.rsplit(mark, 1)[1].strip('"'))
    return rest_error_from_database(error, is_anonymous=caller.role == "anon")


def _outcome(result: Result, plan: Plan, media: str) -> Outcome:
    row = result.rows[0]
    return Outcome(
        total_count=int(row[0]) if row[0] is not None else None,
        page_count=int(row[1] or 0),
        body=row[2] or b"",
        media_type=media,
        response_status=row[3],
        response_headers=row[4],
        location=read_location(row[5]) if isinstance(plan, WritePlan) else (),
        inserted_count=int(row[6]) if isinstance(plan, WritePlan) and row[6] is not None else None,
        has_conflict_target=isinstance(plan, WritePlan) and bool(plan.conflict),
        returns_void=isinstance(plan, CallPlan) and plan.routine.is_void,
    )
