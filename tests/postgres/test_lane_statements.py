"""Prepared statements on lanes: bounded, shared only once confirmed, parsed anew when tables change."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import psycopg
import pytest

from basalt.postgres import LanePool, PostgresError, Query, Result

OpenLanes = Callable[..., AbstractAsyncContextManager[LanePool]]
Observer = psycopg.Connection[tuple[Any, ...]]
PREPARED = Query("select count(*), string_agg(statement, '|') from pg_prepared_statements", prepare=False)


def value(results: list[Result]) -> str:
    return (results[-1].rows[0][0] or b"null").decode()


async def test_a_statement_is_parsed_once_and_shared(open_lanes: OpenLanes) -> None:
    async with open_lanes(size=1, spare=0) as lanes:
        for number in range(10):
            assert value(await lanes.execute([Query("select $1::int", (b"%d" % number,))])) == str(number)
        assert (await lanes.execute([PREPARED]))[0].rows == [(b"1", b"select $1::int")]
        await lanes.execute([Query("select 1", prepare=False)])
        assert value(await lanes.execute([PREPARED])) == "1"
        await lanes.execute([Query("select $1::int", (b"1",), scope="anon")])
        assert value(await lanes.execute([PREPARED])) == "2"


async def test_the_least_recently_used_statement_gives_way(open_lanes: OpenLanes) -> None:
    async with open_lanes(size=1, spare=0, statements=5) as lanes:
        kept = Query("select 'kept'")
        for number in range(50):
            assert value(await lanes.execute([kept])) == "kept"
            assert value(await lanes.execute([Query(f"select {number}")])) == str(number)
        await lanes.execute([kept])
        results = await lanes.execute([PREPARED])
        assert results[0].rows[0][0] == b"5"
        assert b"'kept'" in (results[0].rows[0][1] or b"")
        answers = await asyncio.gather(*(lanes.execute([Query(f"select {n % 20}")]) for n in range(400)))
        assert [value(answer) for answer in answers] == [str(n % 20) for n in range(400)]
        await lanes.execute([Query("select 1")])
        assert value(await lanes.execute([PREPARED])) == "5"


async def test_a_statement_that_was_never_made_harms_nobody_else(open_lanes: OpenLanes) -> None:
    """Its first use fails before the parse is reached, while others with the same SQL are in flight behind
    it."""
    async with open_lanes(size=1, spare=0) as lanes:
        shared = Query("select $1::int + 1", (b"1",))
        asked = [
            lanes.execute([Query("select 1 / 0"), shared]),
            *(lanes.execute([shared]) for _ in range(20)),
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(answers[0], PostgresError)
        assert [value(answer) for answer in answers[1:] if isinstance(answer, list)] == ["2"] * 20


async def test_a_changed_table_is_parsed_anew_and_the_request_runs_once(
    lanes: LanePool, observer: Observer
) -> None:
    observer.execute("create table public.t (id int); create table public.log (id int)")
    read = [Query("insert into public.log values (1)"), Query("select * from public.t")]
    await asyncio.gather(*(lanes.execute(read) for _ in range(40)))
    observer.execute("truncate public.log; insert into public.t values (1)")
    observer.execute("alter table public.t add column name text default 'new'")
    answers = await asyncio.gather(*(lanes.execute(read) for _ in range(40)))
    assert all(answer[1].rows == [(b"1", b"new")] for answer in answers)
    assert observer.execute("select count(*) from public.log").fetchone() == (40,)
    assert (await lanes.execute(read, rollback=True))[1].rows == [(b"1", b"new")]


async def test_deallocate_all_behind_the_back_is_survived(open_lanes: OpenLanes) -> None:
    async with open_lanes(size=1, spare=0) as lanes:
        for _ in range(2):
            await lanes.execute([Query("select 'a'"), Query("select 'b'")])
        asked = [
            lanes.execute([Query("deallocate all", prepare=False)]),
            *(lanes.execute([Query("select 'a'"), Query("select 'b'")]) for _ in range(10)),
        ]
        answers = await asyncio.gather(*asked)
        assert [value(answer) for answer in answers[1:]] == ["b"] * 10


async def test_forgotten_statements_take_the_new_types_of_their_parameters(
    lanes: LanePool, observer: Observer
) -> None:
    observer.execute("create table public.codes (code int)")
    find = Query("select count(*) from public.codes where code = $1", (b"7",))
    await lanes.execute([find])
    observer.execute("alter table public.codes alter column code type text")
    with pytest.raises(PostgresError, match="text = integer"):
        await lanes.execute([find])
    lanes.forget_statements()
    assert value(await lanes.execute([find])) == "0"


@pytest.mark.req("P5")
async def test_a_shared_statement_obeys_each_roles_policies(
    open_lanes: OpenLanes, observer: Observer
) -> None:
    observer.execute(
        """create table public.notes (id int, owner text);
        insert into public.notes select g, 'user-' || g % 10 from generate_series(1, 100) as g;
        alter table public.notes enable row level security;
        grant select on public.notes to authenticated, anon;
        create policy "owners read their own" on public.notes for select to authenticated
            using (owner = current_setting('request.jwt.claims', true)::json ->> 'sub')"""
    )
    become = "select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)"
    count = Query("select count(*), min(owner), max(owner) from public.notes")

    async def ask(number: int) -> None:
        role = b"anon" if number % 3 == 0 else b"authenticated"
        claims = b'{"sub":"user-%d"}' % (number % 10)
        rows = (await lanes.execute([Query(become, (role, claims)), count]))[1].rows
        user = b"user-%d" % (number % 10)
        assert rows == ([(b"0", None, None)] if role == b"anon" else [(b"10", user, user)])

    async with open_lanes(size=2) as lanes:
        await asyncio.gather(*(ask(number) for number in range(300)))
