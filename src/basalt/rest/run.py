"""Runs a plan: the only step of a REST request that talks to the database.

Prelude (role, claims, settings), pre-request and statement go out in one flush and are one transaction. A
client that goes away cancels its statement.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import orjson

from basalt.access import Caller
from basalt.config import RestSettings
from basalt.errors import BasaltError
from basalt.http import KeyedWrite, Request
from basalt.postgres import LanePool, PostgresError, Query, Result, RoleSettings, SchemaCache
from basalt.rest.disconnects import Disconnects
from basalt.rest.errors import DatabaseError, RestError, rest_error_from_database
from basalt.rest.literals import Values
from basalt.rest.plan import Answer, CallPlan, Plan, ReadPlan, WritePlan, plan_request
from basalt.rest.query import ApiRequest, Preferences
from basalt.rest.request import render_settings
from basalt.rest.response import Outcome
from basalt.rest.sql import Statement, build_count_plan, build_pre_request, build_statement
from basalt.rest.sql.write import AFFECTED_MARK, PUT_MARK, SINGULAR_MARK

# One small number instead of a row that sends a kilobyte of settings back. `response.…` are emptied because a function
# may have set them for the session.
FIXED_SETTINGS = (
    "num_nulls(set_config('search_path', $1, true), set_config('role', $2, true), "
    "set_config('request.jwt.claims', $3, true), set_config('request.method', $4, true), "
    "set_config('request.path', $5, true), set_config('request.headers', $6, true), "
    "set_config('request.cookies', $7, true), set_config('transaction_read_only', $8, true), "
    "set_config('response.headers', '', true), set_config('response.status', '', true))"
)
FIXED_PARAMS = 8
# PostgreSQL holds some 60 bytes for each character of a prepared statement, on each lane. A short request can ask for a
# megabyte of SQL, and a lane keeps hundreds of statements.
MAX_KEPT_LENGTH = 16 * 1024
# Before the role is set: only our own login may. Raises where another request has taken over the key.
START_KEYED_WRITE = "select basalt.start_keyed_write($1, $2)"
CHECK_CONSTRAINTS = Query("set constraints all immediate", prepare=False)

MARKS = {SINGULAR_MARK: "PGRST116", AFFECTED_MARK: "PGRST124", PUT_MARK: "PGRST115"}
# in a message of any language
BROKEN_PROMISE = re.compile(f"({'|'.join(MARKS)})([0-9]+)")
NO_ROLE_SETTINGS = RoleSettings()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is ready to run as anybody and with any literals: what was asked, what that means here, and the
    statement for it. `hoisted` are settings of the routine and of the request that the transaction takes over."""

    api: ApiRequest
    plan: Plan
    answer: Answer
    statement: Statement
    count_plan: Statement | None
    search_path: bytes
    is_read_only: bool
    rolls_back: bool
    isolation: str | None
    hoisted: tuple[tuple[str, str], ...]

    @property
    def is_kept(self) -> bool:
        """Whether it may be kept for later requests, here and as a prepared statement."""
        return len(self.statement.text) <= MAX_KEPT_LENGTH

    @property
    def legacy_targets(self) -> tuple[tuple[str, str], ...]:
        """Embeds that a filter named by their table although they have an alias: (table, alias)."""
        return (self.plan if isinstance(self.plan, ReadPlan) else self.plan.read).legacy_targets


def prepare(api: ApiRequest, cache: SchemaCache, settings: RestSettings) -> Prepared:
    """Plan and statement of a request. Raises RestError for what the contract refuses."""
    plan, answer = plan_request(api, cache, settings)
    max_rows = settings.db_max_rows
    wants_estimate = isinstance(plan, ReadPlan) and api.preferences.count in ("planned", "estimated")
    hoisted: list[tuple[str, str]] = []
    if api.preferences.timezone is not None:
        hoisted.append(("timezone", api.preferences.timezone))
    if isinstance(plan, CallPlan):
        hoisted.extend(plan.routine.settings)
    hoisted.extend((f"app.settings.{name}", value) for name, value in settings.app_settings.items())
    is_read_only = isinstance(plan, ReadPlan) or (isinstance(plan, CallPlan) and plan.is_read_only)
    return Prepared(
        api=api,
        plan=plan,
        answer=answer,
        statement=build_statement(plan, api, answer, max_rows=max_rows),
        count_plan=build_count_plan(plan) if wants_estimate and isinstance(plan, ReadPlan) else None,
        search_path=render_search_path((api.schema, *(settings.db_extra_search_path or ()))),
        is_read_only=is_read_only,
        rolls_back=not is_read_only and rolls_back(api.preferences, settings),
        isolation=plan.routine.isolation if isinstance(plan, CallPlan) else None,
        hoisted=tuple(hoisted),
    )


def render_search_path(schemas: Sequence[str]) -> bytes:
    """
    >>> render_search_path(["public", "extensions", "public"])
    b'"public", "extensions"'
    """
    return ", ".join('"' + name.replace('"', '""') + '"' for name in dict.fromkeys(schemas)).encode()


def allows_transaction(settings: RestSettings) -> bool:
    """Whether `Prefer: tx=…` has a say in how a transaction ends."""
    return settings.db_tx_end.endswith("-allow-override")


def rolls_back(preferences: Preferences, settings: RestSettings) -> bool:
    match preferences.transaction:
        case "rollback":
            return True
        case "commit":
            return False
        case _:
            return settings.db_tx_end.startswith("rollback")


async def run_prepared(
    prepared: Prepared,
    values: Values,
    caller: Caller,
    request: Request,
    *,
    cache: SchemaCache,
    lanes: LanePool,
    settings: RestSettings,
    disconnects: Disconnects,
) -> Outcome:
    """Raises RestError for what the contract refuses, and BasaltError with PostgreSQL's own code."""
    queries = build_queries(
        prepared,
        values,
        caller,
        request,
        cache=cache,
        settings=settings,
        read_only=prepared.is_read_only,
    )
    if prepared.rolls_back:
        queries.append(CHECK_CONSTRAINTS)
    keyed = [build_keyed_write(request.keyed)] if request.keyed is not None else []
    role_settings = cache.role_settings.get(caller.role, NO_ROLE_SETTINGS)
    try:
        answer = lanes.execute(
            [*keyed, *queries],
            rollback=prepared.rolls_back,
            # a pre-request function may do anything, so it must not be sent a second time
            read_only=isinstance(prepared.plan, ReadPlan) and settings.db_pre_request is None,
            isolation=prepared.isolation or role_settings.isolation,
        )
        results = await disconnects.wait(answer, request)
    except PostgresError as error:
        raise translate(error, caller, settings) from error
    return read_outcome(results[len(keyed) :], prepared, settings)


def build_keyed_write(keyed: KeyedWrite) -> Query:
    """Goes first in the transaction of a request with an idempotency key."""
    return Query(START_KEYED_WRITE, (b"\\x" + keyed.key_hash.hex().encode(), keyed.holder.encode()))


def build_queries(
    prepared: Prepared,
    values: Values,
    caller: Caller,
    request: Request,
    *,
    cache: SchemaCache,
    settings: RestSettings,
    read_only: bool,
) -> list[Query]:
    """Prelude, pre-request function, statement, and the plan of the count where one is asked for."""
    role_settings = cache.role_settings.get(caller.role, NO_ROLE_SETTINGS)
    is_prepared = settings.db_prepared_statements
    queries = [
        build_prelude(
            prepared.search_path,
            caller,
            render_settings(request),
            read_only=read_only,
            role_settings=role_settings.settings,
            hoisted=prepared.hoisted,
            prepare=is_prepared,
        )
    ]
    if settings.db_pre_request is not None:
        queries.append(Query(pre_request_sql(settings), (), is_prepared, caller.role))
    statement = prepared.statement
    is_kept = is_prepared and prepared.is_kept
    queries.append(Query(statement.text, statement.render(values), is_kept, caller.role))
    if prepared.count_plan is not None:
        count = prepared.count_plan
        queries.append(Query(count.text, count.render(values), is_kept, caller.role))
    return queries


def read_outcome(results: Sequence[Result], prepared: Prepared, settings: RestSettings) -> Outcome:
    """What the results of `build_queries` say."""
    main = 1 if settings.db_pre_request is None else 2
    planned = _read_planned(results[main + 1]) if prepared.count_plan is not None else None
    return _outcome(results[main], planned, prepared, settings)


def pre_request_sql(settings: RestSettings) -> str:
    schema, _, name = (settings.db_pre_request or "").rpartition(".")
    return build_pre_request((schema, name))


def build_prelude(
    search_path: bytes,
    caller: Caller,
    settings: Mapping[str, bytes],
    *,
    read_only: bool,
    role_settings: tuple[tuple[str, str], ...] = (),
    hoisted: tuple[tuple[str, str], ...] = (),
    prepare: bool = True,
) -> Query:
    """The settings of one transaction. Claims and headers reach SQL as JSON: setting names with a dash are refused
    since PostgreSQL 14."""
    params: tuple[bytes, ...] = (
        search_path,
        caller.role.encode(),
        caller.claims_json.encode(),
        settings["request.method"],
        settings["request.path"],
        settings["request.headers"],
        settings["request.cookies"],
        b"on" if read_only else b"off",
    )
    text = _settings_sql(len(role_settings), len(hoisted))
    if role_settings or hoisted:
        params += tuple([part.encode() for part in chain.from_iterable((*role_settings, *hoisted))])
    return Query(text, params, prepare)


@lru_cache(maxsize=256)
def _settings_sql(role_count: int, hoisted_count: int) -> str:
    """Settings of the role come before it: whether they may be set is asked of the login role (`grant set on
    parameter`)."""
    first = FIXED_PARAMS + 1
    more = [
        f"set_config(${number}, ${number + 1}, true)"
        for number in range(first, first + 2 * (role_count + hoisted_count), 2)
    ]
    return "select " + ", ".join([*more[:role_count], FIXED_SETTINGS, *more[role_count:]])


def translate(error: DatabaseError, caller: Caller, settings: RestSettings) -> BasaltError:
    """A refused statement in the contract's words."""
    broken = BROKEN_PROMISE.search(error.message) if error.sqlstate == "22P02" else None
    if broken is not None:
        return RestError(MARKS[broken[1]], rows=broken[2])
    return rest_error_from_database(error, is_anonymous=caller.role == settings.db_anon_role)


def _read_planned(result: Result) -> int:
    plan = orjson.loads(result.rows[0][0] or b"[]")
    return int(plan[0]["Plan"]["Plan Rows"])


def _outcome(result: Result, planned: int | None, prepared: Prepared, settings: RestSettings) -> Outcome:
    answer, plan = prepared.answer, prepared.plan
    if answer.plan is not None:
        lines = b"".join((row[0] or b"") + b"\n" for row in result.rows)
        return Outcome(body=lines, media_type=answer.media_type)
    row = result.rows[0]
    is_write = isinstance(plan, WritePlan)
    # a write's row has the keys of an inserted row before the body, and counts behind the settings
    body, status, headers = row[3:6] if is_write else row[2:5]
    if body is not None and answer.handler is not None and answer.handler.is_binary:
        body = bytes.fromhex(body[2:].decode("ascii"))
    return Outcome(
        total_count=_choose_total(int(row[0]) if row[0] is not None else None, planned, prepared, settings),
        page_count=int(row[1] or 0),
        body=body or b"",
        media_type=answer.media_type,
        response_status=status,
        response_headers=headers,
        location=tuple(orjson.loads(row[2]).items()) if is_write and row[2] else (),
        inserted_count=int(row[6]) if is_write and row[6] is not None else None,
        has_conflict_target=isinstance(plan, WritePlan) and bool(plan.conflict),
        returns_void=isinstance(plan, CallPlan) and plan.routine.kind == "void",
    )


def _choose_total(
    counted: int | None, planned: int | None, prepared: Prepared, settings: RestSettings
) -> int | None:
    """An estimate is exact up to the most rows of an answer, and the larger of both beyond."""
    match prepared.api.preferences.count:
        case "planned":
            return planned
        case "estimated" if planned is not None and counted is not None:
            most = settings.db_max_rows
            return max(counted, planned) if most is None or counted > most else counted
        case _:
            return counted
