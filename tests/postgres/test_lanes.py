"""Requests on lanes: results in order, errors that stay with their request, nothing that leaks into the
next."""

import asyncio
import json
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

import pytest

from basalt.postgres import LanePool, LanesUnavailable, PostgresError, Query, Result

OpenLanes = Callable[..., AbstractAsyncContextManager[LanePool]]
ROLES = ("anon", "authenticated", "service_role")


def value(results: list[Result], query: int = -1) -> str | None:
    cell = results[query].rows[0][0]
    return None if cell is None else cell.decode()


def become(role: str, claims: str, **settings: str) -> Query:
    names = {"role": role, "request.jwt.claims": claims, **settings}
    calls = ", ".join(f"set_config('{name}', ${number}, true)" for number, name in enumerate(names, 1))
    return Query(f"select {calls}", tuple(text.encode() for text in names.values()))


async def test_500_concurrent_requests_each_get_their_own_answer(lanes: LanePool) -> None:
    async def ask(number: int) -> None:
        results = await lanes.execute(
            [
                Query("select $1::int", (b"%d" % number,)),
                Query("select g, $1::int * g from generate_series(1, 3) as g", (b"%d" % number,)),
            ]
        )
        assert results[0].rows == [(b"%d" % number,)]
        assert results[1].rows == [(b"%d" % g, b"%d" % (number * g)) for g in (1, 2, 3)]
        assert results[1].command_tag == "SELECT 3"

    await asyncio.gather(*(ask(number) for number in range(500)))


async def test_null_empty_and_rows_without_columns(lanes: LanePool) -> None:
    results = await lanes.execute(
        [
            Query("select $1::text, $2::text", (None, b"")),
            Query("select from generate_series(1, 2)"),
            Query(""),
        ]
    )
    assert [result.rows for result in results] == [[(None, b"")], [(), ()], []]
    assert await lanes.execute([]) == []


async def test_an_error_undoes_its_request_and_no_other(lanes: LanePool) -> None:
    await lanes.execute([Query("create table public.marks (id int primary key)")])

    async def insert(number: int) -> str:
        queries = [Query("insert into public.marks values ($1)", (b"%d" % number,))]
        if number % 3 == 0:
            queries.append(Query("select 1 / $1::int", (b"0",)))
        try:
            return (await lanes.execute(queries))[0].command_tag
        except PostgresError as exc:
            return exc.sqlstate

    answers = await asyncio.gather(*(insert(number) for number in range(120)))
    assert answers == ["22012" if number % 3 == 0 else "INSERT 0 1" for number in range(120)]
    kept = await lanes.execute([Query("select array_agg(id order by id) from public.marks")])
    assert json.loads((value(kept) or "").replace("{", "[").replace("}", "]")) == [
        number for number in range(120) if number % 3
    ]


async def test_an_error_carries_what_postgresql_said(lanes: LanePool) -> None:
    await lanes.execute(
        [
            Query(
                "create table public.people (id int primary key, age int constraint adult check (age >= 18))"
            ),
        ]
    )
    with pytest.raises(PostgresError) as caught:
        await lanes.execute([Query("insert into public.people values (1, 7)")])
    error = caught.value
    assert (error.sqlstate, error.severity) == ("23514", "ERROR")
    assert (error.schema, error.table, error.constraint) == ("public", "people", "adult")
    assert error.detail == "Failing row contains (1, 7)."
    with pytest.raises(PostgresError) as caught:
        await lanes.execute([Query("select agee from public.people")])
    assert (caught.value.sqlstate, caught.value.position) == ("42703", 8)
    assert caught.value.hint == 'Perhaps you meant to reference the column "people.age".'


async def test_a_deferred_constraint_that_fails_at_commit_fails_the_request(lanes: LanePool) -> None:
    await lanes.execute([Query("create table public.d (id int primary key deferrable initially deferred)")])
    twice = [Query("insert into public.d values (1)"), Query("insert into public.d values (1)")]
    answers = await asyncio.gather(
        lanes.execute(twice), lanes.execute([Query("select 42")]), return_exceptions=True
    )
    assert isinstance(answers[0], PostgresError)
    assert answers[0].sqlstate == "23505"
    assert isinstance(answers[1], list)
    assert value(answers[1]) == "42"
    assert value(await lanes.execute([Query("select count(*) from public.d")])) == "0"


async def test_rollback_keeps_nothing_and_leaves_no_transaction(open_lanes: OpenLanes) -> None:
    async with open_lanes("postgres", size=1, spare=0) as lanes:
        await lanes.execute([Query("create table public.r (id int)")])
        insert = Query("insert into public.r values (1) returning id")
        asked = [
            lanes.execute([insert], rollback=True),
            lanes.execute([Query("select count(*) from public.r")]),
            lanes.execute([insert, Query("select 1 / 0")], rollback=True),
            lanes.execute([Query("select count(*) from public.r")]),
            lanes.execute([Query("select no_such_column")], rollback=True),
            lanes.execute([insert]),
            lanes.execute([Query("select count(*) from public.r")]),
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    shown = [
        value(answer) if isinstance(answer, list) else getattr(answer, "sqlstate", answer)
        for answer in answers
    ]
    assert shown == ["1", "0", "22012", "0", "42703", "1", "1"]


@pytest.mark.req("P5")
async def test_role_and_claims_never_leak_into_another_request(open_lanes: OpenLanes) -> None:
    """200 at once, again and again: some fail before, in or after the statement, some are cancelled while
    queued or running, some are rolled back, and in between come requests that set nothing."""
    async with open_lanes(size=3, spare=3) as lanes:
        dice = random.Random(7)
        seen: list[str] = []

        async def ask(number: int, kind: str) -> None:
            role = ROLES[number % 3]
            claims = json.dumps({"sub": f"user-{number}", "role": role})
            who = Query(
                "select current_user, current_setting('request.jwt.claims', true), pg_sleep($1::float)",
                (b"0.03" if kind == "slow" else b"0",),
            )
            me = become(role, claims)
            if kind == "nobody":
                results = await lanes.execute(
                    [Query("select current_user, current_setting('request.jwt.claims', true)")]
                )
                assert results[0].rows[0] in {(b"authenticator", None), (b"authenticator", b"")}
            elif kind == "fails":
                broken = dice.choice(["select 1 / 0", "select nothing_here", "select * from auth.users"])
                with pytest.raises(PostgresError):
                    await lanes.execute([become("anon", claims), who, Query(broken)])
            elif kind == "unknown role":
                with pytest.raises(PostgresError) as caught:
                    await lanes.execute([become("superman", claims), who])
                assert caught.value.sqlstate == "22023"
            elif kind == "cancelled":
                with suppress(TimeoutError):
                    async with asyncio.timeout(dice.choice([0, 0.001, 0.005, 0.06])):
                        await lanes.execute([me, Query("select pg_sleep(0.2)")])
            else:
                results = await lanes.execute([me, who], rollback=kind == "rollback")
                assert results[1].rows[0][:2] == (role.encode(), claims.encode())
            seen.append(kind)

        kinds = (
            ["plain"] * 8 + ["nobody"] * 4 + ["fails"] * 3 + ["unknown role", "cancelled", "slow", "rollback"]
        )
        for _ in range(4):
            drawn = dice.choices(kinds, k=200)
            await asyncio.gather(*(ask(number, kind) for number, kind in enumerate(drawn)))
        assert len(seen) == 800
        assert set(seen) == set(kinds)


async def test_statement_timeout_set_earlier_in_the_request_ends_a_later_statement(lanes: LanePool) -> None:
    limit = Query("select set_config('statement_timeout', $1, true)", (b"100ms",))
    limited = lanes.execute([limit, Query("select pg_sleep(10)")])
    unlimited = lanes.execute([Query("select pg_sleep(0.3), 'done'")])
    async with asyncio.timeout(5):
        answers = await asyncio.gather(limited, unlimited, return_exceptions=True)
    assert isinstance(answers[0], PostgresError)
    assert answers[0].sqlstate == "57014"
    assert isinstance(answers[1], list)
    assert value(await lanes.execute([Query("show statement_timeout")])) == "0"


@pytest.mark.parametrize(
    "query",
    [
        Query("select $1::text", (b"a\0b",)),
        Query("select 'a\0b'"),
        Query("select $1::text", (b"\xff\xfe",)),
        Query("select '\ud800'"),
        Query("select $1::text", (b"x",) * 70_000),
        Query("select 1; select 2"),
        Query("copy pg_class to stdout"),
        Query("selec"),
    ],
)
async def test_what_cannot_be_sent_or_parsed_is_a_clean_error(lanes: LanePool, query: Query) -> None:
    neighbours = [lanes.execute([Query("select $1::int", (b"%d" % n,))]) for n in range(3)]
    answers = await asyncio.gather(lanes.execute([query]), *neighbours, return_exceptions=True)
    assert isinstance(answers[0], PostgresError | LanesUnavailable)
    if "copy" not in query.sql:
        assert isinstance(answers[0], PostgresError)
        assert answers[0].sqlstate in {"22021", "54023", "42601"}
        assert [value(answer) for answer in answers[1:] if isinstance(answer, list)] == ["0", "1", "2"]
    assert value(await lanes.execute([Query("select 'well'")])) == "well"


async def test_large_results_and_large_parameters(lanes: LanePool) -> None:
    large = b"x" * 10_000_000
    small = [lanes.execute([Query("select $1::int", (b"%d" % n,))]) for n in range(50)]
    answers = await asyncio.gather(
        lanes.execute([Query("select length($1::text), md5($1)", (large,))]),
        lanes.execute([Query("select repeat('y', 20000000)")]),
        lanes.execute([Query("select repeat('z', 200) from generate_series(1, 50000)")]),
        *small,
    )
    assert answers[0][0].rows[0][0] == b"10000000"
    assert answers[1][0].rows == [(b"y" * 20_000_000,)]
    assert len(answers[2][0].rows) == 50_000
    assert [value(answer) for answer in answers[3:]] == [str(n) for n in range(50)]


async def test_a_request_that_leaves_a_transaction_open_ends_its_lane(open_lanes: OpenLanes) -> None:
    async with open_lanes(size=1, spare=0) as lanes:
        await lanes.execute([Query("begin"), Query("select set_config('role', 'service_role', true)")])
        assert value(await lanes.execute([Query("select current_user")])) == "authenticator"


async def test_parameters_that_are_not_bytes_are_the_callers_mistake(lanes: LanePool) -> None:
    with pytest.raises(TypeError):
        await lanes.execute([Query("select 1"), Query("select $1", (1,))])  # type: ignore[arg-type]
    assert value(await lanes.execute([Query("select 'well'")])) == "well"
