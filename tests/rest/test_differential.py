"""Random requests, answered twice: by REST over HTTP, and by PostgreSQL asked in hand-written SQL as the same caller.
The rows, the counts and PostgreSQL's refusals are the same.

`BASALT_DIFFERENTIAL=3000` asks as many times; `BASALT_DIFFERENTIAL_SEED` asks again what a failed run asked.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx2
import jwt
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, event, given, note, seed, settings
from psycopg.sql import Composable

from tests.projects import write_project
from tests.rest.differential_project import FILES, USER
from tests.rest.differential_requests import (
    WRONG,
    WRONG_SEARCHES,
    Aggregate,
    Ask,
    Condition,
    Embed,
    Field,
    Level,
    Shown,
    asks,
    every_condition,
)
from tests.rest.differential_sql import build_count, build_rows
from tests.rest.differential_url import render_url
from tests.server import Server, running_server

pytestmark = pytest.mark.req("P5")

EXAMPLES = int(os.environ.get("BASALT_DIFFERENTIAL", "300"))
SEED = int(
    os.environ.get("BASALT_DIFFERENTIAL_SEED") or 1927
)  # the same for everybody, so that a red run is red again
CLAIMS = {
    "anon": {"role": "anon"},
    "authenticated": {"role": "authenticated", "sub": USER, "aud": "authenticated"},
}


class Asked:
    """Both ways to the same database."""

    def __init__(self, server: Server, connection: "psycopg.Connection[Any]") -> None:
        self._connection = connection
        token = jwt.encode({**CLAIMS["authenticated"], "exp": 4102444800}, server.jwt_secret)
        url = f"{server.url}/rest/v1"
        self._clients = {"anon": server.client(), "authenticated": server.client(token=token)}
        for client in self._clients.values():
            client.base_url = url

    def over_http(self, ask: Ask) -> httpx2.Response:
        headers = {"prefer": "count=exact"} if ask.counts else {}
        return self._clients[ask.role].get(render_url(ask.level), headers=headers)

    def by_hand(self, ask: Ask, query: Composable) -> list[Any]:
        with self._as_caller(ask.role) as connection:
            return [row[0] for row in connection.execute(query).fetchall()]

    @contextmanager
    def _as_caller(self, role: str) -> Iterator["psycopg.Connection[Any]"]:
        with self._connection.transaction(force_rollback=True):
            self._connection.execute("select set_config('search_path', 'public, extensions', true)")
            self._connection.execute(
                "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
                [role, json.dumps(CLAIMS[role])],
            )
            yield self._connection

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    project = write_project(tmp_path_factory.mktemp("differential"), FILES)
    with running_server(project) as server, psycopg.connect(server.database_url) as connection:
        asked = Asked(server, connection)
        yield asked
        asked.close()


def test_every_operator_finds_the_rows_that_it_finds_by_hand(both: Asked) -> None:
    id_alone = (Shown(Field("id")),)
    for condition in every_condition():
        ask = Ask(Level("films", id_alone, where=(condition,)), "authenticated", counts=False)
        response = both.over_http(ask)
        assert response.status_code == 200, (condition, response.text)
        found = {row["id"] for row in response.json()}
        assert found == {row["id"] for row in both.by_hand(ask, build_rows(ask.level))}, condition


@pytest.mark.parametrize("condition", [*WRONG, *WRONG_SEARCHES], ids=str)
def test_what_postgresql_refuses_by_hand_is_refused_with_its_code(both: Asked, condition: Condition) -> None:
    ask = Ask(Level("films", None, where=(condition,)), "authenticated", counts=False)
    with pytest.raises(psycopg.Error) as refused:
        both.by_hand(ask, build_rows(ask.level))
    assert refusal(both.over_http(ask))[1] == refused.value.sqlstate


def test_an_alias_may_be_the_name_of_another_column_that_is_not_grouped_by(both: Asked) -> None:
    level = Level("films", (Shown(Field("title"), "id"),), aggregates=(Aggregate("count", None),))
    ask = Ask(level, "authenticated", counts=False)
    found = both.over_http(ask).json()
    assert sorted_rows(level, found) == sorted_rows(level, both.by_hand(ask, build_rows(level)))
    assert max(row["count"] for row in found) > 1


@seed(SEED)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(asks())
def test_random_requests_are_answered_as_by_hand_written_queries(both: Asked, ask: Ask) -> None:
    query = build_rows(ask.level)
    note(f"BASALT_DIFFERENTIAL_SEED={SEED}")
    note(render_url(ask.level))
    note(query.as_string())
    response = both.over_http(ask)
    limit, offset = ask.level.limit, ask.level.offset or 0
    if limit == 0 and offset:  # a window that ends before it begins
        assert refusal(response) == (416, "PGRST103")
        return
    try:
        rows = both.by_hand(ask, query)
        total = both.by_hand(ask, build_count(ask.level))[0] if ask.counts else None
    except psycopg.Error as error:
        refused_by = error.sqlstate
    else:
        refused_by = None
    event("refused" if refused_by else "rows" if rows else "no rows")
    if refused_by is not None:
        assert refusal(response)[1] == refused_by
        return
    if total is not None and offset > total:
        assert refusal(response) == (416, "PGRST103")
        return
    assert response.status_code == (206 if total is not None and len(rows) < total else 200), response.text
    found = response.json()
    assert sorted_rows(ask.level, found) == sorted_rows(ask.level, rows)
    # the count does not look at windows of embeds, as in PostgREST, so there may be more rows than it says
    shown = f"{offset}-{offset + len(rows) - 1}" if rows and total != 0 else "*"
    assert response.headers["content-range"] == f"{shown}/{'*' if total is None else total}"


def refusal(response: httpx2.Response) -> tuple[int, str]:
    assert response.is_error, "PostgreSQL refuses what REST answers"
    return response.status_code, response.json()["code"]


# Rows in an order that is the same for both, where the request leaves it open


def sorted_rows(level: Level, rows: list[Any]) -> list[Any]:
    found = [sorted_row(level, row) for row in rows]
    return found if level.is_ordered else in_order(found)


def sorted_row(level: Level, row: dict[str, Any]) -> dict[str, Any]:
    row = dict(row)
    for embed in level.embeds:
        if embed.is_spread:
            row |= sorted_spread(embed, row)
        elif not embed.level.is_empty:
            row[embed.label] = sorted_embed(embed, row[embed.label])
    return row


def sorted_embed(embed: Embed, value: Any) -> Any:
    if embed.link.is_to_one:
        return None if value is None else sorted_row(embed.level, value)
    return sorted_rows(embed.level, value)


def sorted_spread(embed: Embed, row: dict[str, Any]) -> dict[str, Any]:
    """The columns of the row that a spread brought; of a to-many one each is an array."""
    level = embed.level
    shown = {label: row[label] for label in level.labels}
    if embed.link.is_to_one:
        has_row = any(value is not None for value in shown.values())
        return sorted_row(level, shown) if has_row else shown
    below = {one.label: one for one in level.embeds if not one.is_spread}
    for label, values in shown.items():
        found = [sorted_embed(below[label], value) for value in values] if label in below else values
        shown[label] = found if level.is_ordered else in_order(found)
    return shown


def in_order(values: list[Any]) -> list[Any]:
    return sorted(values, key=partial(json.dumps, sort_keys=True))
