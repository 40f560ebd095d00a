"""Fifty thousand requests of which no two are alike leave every cache of REST at its bound."""

import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import jwt
import psycopg
import pytest

from basalt.access import BearerAuthoriser
from basalt.config import RestSettings
from basalt.http import Headers, Request
from basalt.postgres import DatabaseAccess, LanePool
from basalt.postgres.lane_costs import REMEMBERED, StatementCosts
from basalt.postgres.lane_statements import LaneStatements
from basalt.rest import RestService
from basalt.rest.media import parse_accept
from basalt.rest.parameters import render_canonical
from basalt.rest.request import parse_request
from basalt.rest.run import prepare
from basalt.rest.service import MAX_KEPT, Ready
from basalt.rest.shape import letter_of, shape_of, values_of
from tests.rest.cinema import SCHEMAS, STRICT, build_cinema
from tests.rest.examine import parse_message

pytestmark = pytest.mark.req("P5")

SHAPES = 50_000
MAX_PARTS = 5000
SECRET = "a secret of at least thirty-two characters"
TOKENS = 3000
STATEMENTS = 50
REQUESTS = 400


def requests() -> Iterator[Request]:
    """Each has a shape of its own. The parts that are parsed and kept by themselves differ as long as it takes to fill
    their caches, which hold fewer."""
    for number in range(SHAPES):
        part = min(number, MAX_PARTS)
        yield parse_message(
            b"GET /films?select=a%d:id&order=title.desc,a%d&b%d=eq.1\nAccept: text/a%d,*/*"
            % (number, part, part, part)
        )[0]


def caches_of_functions() -> dict[str, Any]:
    """By the name of the function."""
    return {
        f"{name}.{function.__name__}": function
        for name, module in sys.modules.items()
        if name.startswith(("basalt.rest", "basalt.access", "basalt.gateway", "basalt.http"))
        for function in vars(module).values()
        if hasattr(function, "cache_info")
    }


@pytest.fixture
def service(database: DatabaseAccess) -> RestService:
    """As the gateway builds it, not opened."""
    settings = RestSettings(db_schemas=("public",), jwt_secret=SECRET)
    with psycopg.connect(database.conninfo("postgres")) as connection:
        connection.execute("create table public.films (id int)")
    conninfo = database.conninfo("authenticator")
    lanes = LanePool(conninfo, size=2, statements=STATEMENTS)
    return RestService(settings, BearerAuthoriser(settings), lanes, conninfo)


@pytest.fixture
async def opened(service: RestService) -> AsyncIterator[RestService]:
    await service.open()
    yield service
    await service.close()


def test_shapes_and_letters_are_kept_up_to_a_bound(service: RestService) -> None:
    api = parse_request(next(requests()), None, schemas=SCHEMAS)
    prepared = prepare(api, build_cinema(), STRICT)
    for request in requests():
        letter = letter_of(request)
        assert letter is not None
        service._remember(letter, shape_of(letter, None), Ready(prepared, values_of(api)))
        parse_accept(request.headers.get("accept"))
        render_canonical(request.query_string)
    assert MAX_KEPT * 3 / 4 <= len(service._shapes) <= MAX_KEPT
    assert MAX_KEPT * 3 / 4 <= len(service._letters) <= MAX_KEPT
    caches = caches_of_functions()
    assert len(caches) >= 6
    for name, function in caches.items():
        info = function.cache_info()
        assert info.maxsize is not None, f"{name} has no bound"
        assert info.currsize <= info.maxsize
    full = [
        name
        for name, function in caches.items()
        if function.cache_info().currsize == function.cache_info().maxsize
    ]
    assert len(full) >= 6, full


def test_a_lane_knows_as_many_statements_as_it_may() -> None:
    statements = LaneStatements(STATEMENTS)
    for number in range(SHAPES):
        statements.add(("anon", f"select {number}"))
        assert len(statements) <= STATEMENTS
        assert len(statements.take_closing()) <= 1
    assert len(statements) == STATEMENTS


def test_slow_statements_are_remembered_up_to_a_bound() -> None:
    costs = StatementCosts()
    for number in range(SHAPES):
        costs.note(f"select {number}", 1.0)
    assert len(costs) == REMEMBERED


def test_verified_tokens_are_kept_up_to_a_bound() -> None:
    settings = RestSettings(jwt_secret=SECRET, jwt_cache_max_entries=TOKENS // 3)
    authoriser = BearerAuthoriser(settings)
    for number in range(TOKENS):
        token = jwt.encode({"role": "authenticated", "sub": str(number)}, SECRET, "HS256")
        authoriser.authorise(Headers([(b"authorization", f"Bearer {token}".encode())]))
    assert 0 < len(authoriser._verifier._cached) <= TOKENS // 3


async def test_lanes_of_a_running_service_keep_to_their_bound(opened: RestService) -> None:
    for number in range(REQUESTS):
        request, _ = parse_message(b"GET /films?select=a%d:id" % number)
        assert (await opened.respond(request)).status == 200
    counts = [lane.statement_count for lane in opened._lanes._choice.lanes]
    assert counts
    assert all(0 < count <= STATEMENTS for count in counts)
