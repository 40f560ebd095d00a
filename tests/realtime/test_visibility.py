"""Who sees a changed row, against real policies: each of the three ways, and what must not disturb the others."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from basalt.postgres import DatabaseAccess
from tests.realtime.row_security import Asking, load_image, load_table, open_asking, some_claims

ANN, BEN, CLEO = (some_claims(f"{digit * 8}-0000-4000-8000-{digit * 12}") for digit in "abc")
STRANGER = some_claims()
EVERYBODY = [ANN, BEN, CLEO, STRANGER]

DOCUMENTS = f"""
create type public.stage as enum ('draft', 'done');
create table public.documents (
    id bigint primary key, user_id uuid, owner_text text, is_public boolean,
    stage public.stage default 'draft', room int, ends_at timestamptz
);
create table public.members (room int, user_id uuid);
create table public.admins (user_id uuid);
alter table public.documents enable row level security;
alter table public.members enable row level security;
insert into public.documents values (1, '{ANN.user_id}', '{ANN.user_id}', false, 'draft', 1);
insert into public.members values (1, '{ANN.user_id}'), (1, '{BEN.user_id}'), (2, '{CLEO.user_id}');
"""


@pytest.fixture
async def asking(database: DatabaseAccess) -> AsyncIterator[Asking]:
    async with open_asking(database) as asking:
        asking.admin.execute(DOCUMENTS)
        yield asking


def policy(asking: Asking, condition: str, *, clauses: str = "", table: str = "public.documents") -> None:
    count = asking.admin.execute("select count(*) from pg_policy where polname ~ '^p[0-9]+$'").fetchone()
    asking.admin.execute(f"create policy p{count and count[0]} on {table} {clauses} using ({condition})")
    asking.visibility.forget()


@pytest.mark.req("P7")
@pytest.mark.parametrize(
    "condition",
    [
        "auth.uid() = user_id",
        "user_id = (select auth.uid())",
        "owner_text = auth.uid()::text",
        "(select auth.uid())::text = user_id::text",
        "is_public or user_id = auth.uid()",
        "is_public = true or (user_id = auth.uid() and auth.role() = 'authenticated' and auth.uid() is not null)",
        "user_id = auth.uid() and stage = 'draft' and not is_public",
    ],
)
async def test_the_owner_sees_the_row(asking: Asking, condition: str) -> None:
    policy(asking, condition)
    assert await asking.who_sees("documents", EVERYBODY) == [ANN]


@pytest.mark.req("P7")
@pytest.mark.parametrize(
    ("condition", "way"),
    [
        ("(select auth.uid()) = user_id", "memory"),
        ("is_public is true or auth.uid()::text = owner_text", "memory"),
        ("is_public is not false and user_id is not null", "memory"),
        ("auth.role() = 'authenticated' and auth.uid() is not null", "memory"),
        ("auth.uid() = user_id and (ends_at is null or ends_at > now())", "memory"),
        ("ends_at <= now()", "joint"),
        (
            "exists (select from public.members as m where m.room = documents.room and m.user_id = auth.uid())",
            "joint",
        ),
        ("room in (select room from public.members where user_id = auth.uid()) or is_public", "joint"),
        ("auth.jwt() -> 'app_metadata' ->> 'stage' = stage::text", "joint"),
        ("stage = 'draft'::public.stage", "joint"),
        ("(current_setting('request.jwt.claims', true)::json ->> 'sub')::uuid = user_id", "joint"),
        ("current_user = 'authenticated'", "separate"),
        ("documents is not null", "separate"),
    ],
)
async def test_the_cheapest_way_that_will_do_is_taken(asking: Asking, condition: str, way: str) -> None:
    policy(asking, condition)
    assert await asking.way("documents") == way


@pytest.mark.req("P7")
@pytest.mark.parametrize(
    ("ends_at", "is_visible"),
    [
        ("now() + interval '1 minute'", True),
        ("now() - interval '1 minute'", False),
        ("'infinity'", True),
        ("'-infinity'", False),
        ("'12026-01-01'", True),
        ("'0044-03-15 BC'", False),
        ("null", False),
    ],
)
async def test_what_has_ended_is_not_seen(asking: Asking, ends_at: str, is_visible: bool) -> None:
    asking.admin.execute(f"update public.documents set ends_at = {ends_at}")
    policy(asking, "now() < ends_at")
    assert await asking.way("documents") == "memory"
    assert await asking.who_sees("documents", [ANN]) == [ANN] * is_visible


@pytest.mark.req("P7")
async def test_who_has_no_policy_sees_nothing(asking: Asking) -> None:
    assert await asking.who_sees("documents", EVERYBODY) == []
    policy(asking, "true", clauses="for update")
    policy(asking, "true", clauses="for select to service_role")
    policy(asking, "true", clauses="as restrictive for select")
    assert await asking.who_sees("documents", EVERYBODY) == []


@pytest.mark.req("P7")
async def test_a_policy_reaches_members_of_its_role(asking: Asking) -> None:
    policy(asking, "true", clauses="for select to authenticated")
    asking.admin.execute(
        "create role test_editor; grant authenticated, test_editor to postgres; grant authenticated to test_editor"
    )
    editor = some_claims(ANN.user_id, role="test_editor")
    assert await asking.who_sees("documents", [editor]) == [editor]
    assert await asking.who_sees("documents", [some_claims(role="anon")]) == []
    asking.admin.execute("drop role test_editor")


@pytest.mark.req("P7")
async def test_the_row_is_judged_as_the_change_left_it(asking: Asking) -> None:
    policy(asking, "is_public")
    policy(asking, "exists (select from public.admins where admins.user_id = documents.user_id)")
    table = load_table(asking.admin, "public", "documents")
    before = load_image(asking.admin, table)
    asking.admin.execute("update public.documents set is_public = true")
    after = load_image(asking.admin, table)
    verdict = await asking.visibility.decide(table, "authenticated", [before, after], EVERYBODY)
    assert [audience.includes(BEN) for audience in verdict.audiences] == [False, True]


@pytest.mark.req("P7")
async def test_tables_under_sub_selects_keep_their_own_policies(asking: Asking) -> None:
    policy(asking, "room in (select m.room from public.members as m where m.user_id = auth.uid())")
    assert await asking.who_sees("documents", EVERYBODY) == []
    policy(asking, f"user_id <> '{ANN.user_id}'", table="public.members")
    assert await asking.way("documents") == "joint"
    assert await asking.who_sees("documents", EVERYBODY) == [BEN]


@pytest.mark.req("P7")
async def test_a_policy_that_reads_what_the_role_may_not_fails_for_the_role(asking: Asking) -> None:
    policy(asking, "exists (select from public.admins where user_id = auth.uid())")
    asking.admin.execute("revoke select on public.admins from authenticated")
    asking.visibility.forget()
    verdict = await asking.verdict("documents", [ANN])
    assert verdict.failures == ((ANN, "permission denied for table admins"),)
    assert not verdict.audiences[0].includes(ANN)


@pytest.mark.req("P7")
async def test_recursion_is_told_as_postgresql_tells_it(asking: Asking) -> None:
    policy(asking, "exists (select from public.documents as d where d.user_id = auth.uid())")
    verdict = await asking.verdict("documents", [ANN])
    assert verdict.failures == ((ANN, 'infinite recursion detected in policy for relation "documents"'),)


@pytest.mark.req("P7")
async def test_a_replaced_auth_uid_is_the_one_that_counts(asking: Asking) -> None:
    policy(asking, "auth.uid() = user_id")
    assert await asking.way("documents") == "memory"
    with asking.admin.transaction():
        asking.admin.execute("set local role supabase_auth_admin")
        asking.admin.execute(
            "create or replace function auth.uid() returns uuid language sql stable"
            f" as $$ select '{ANN.user_id}'::uuid $$"
        )
    asking.visibility.forget()
    assert await asking.way("documents") == "separate"
    assert await asking.who_sees("documents", EVERYBODY) == EVERYBODY


@pytest.mark.req("P7")
@pytest.mark.parametrize(
    "condition", ["auth.uid() = user_id", "auth.uid() = user_id or room > length(auth.uid()::text)"]
)
async def test_a_subject_that_is_no_uuid_fails_alone(asking: Asking, condition: str) -> None:
    policy(asking, condition)
    odd, empty = some_claims("auth0|1234"), some_claims("")
    verdict = await asking.verdict("documents", [ANN, odd, BEN, empty])
    assert dict(verdict.failures) == {
        odd: 'invalid input syntax for type uuid: "auth0|1234"',
        empty: 'invalid input syntax for type uuid: ""',
    }
    assert [verdict.audiences[0].includes(one) for one in (ANN, odd, BEN, empty)] == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.req("P7")
async def test_a_raising_policy_fails_only_for_those_whom_it_raises_for(asking: Asking) -> None:
    policy(asking, "(auth.jwt() ->> 'room')::int = room")
    good, other, bad = some_claims(ANN.user_id, room=1), some_claims(room="2"), some_claims(room="x")
    verdict = await asking.verdict("documents", [good, other, bad])
    assert verdict.failures == ((bad, 'invalid input syntax for type integer: "x"'),)
    assert [verdict.audiences[0].includes(one) for one in (good, other, bad)] == [True, False, False]


@pytest.mark.req("P7")
async def test_a_row_that_makes_a_policy_raise_does_not_hide_the_others(asking: Asking) -> None:
    policy(asking, "10 / room > 1 and room % coalesce((auth.jwt() ->> 'every')::int, 1) = 0")
    table = load_table(asking.admin, "public", "documents")
    good = load_image(asking.admin, table)
    raising = [
        "0" if column.name == "room" else value for column, value in zip(table.columns, good, strict=True)
    ]
    verdict = await asking.visibility.decide(table, "authenticated", [good, raising, good], [ANN, BEN])
    assert [audience.includes(BEN) for audience in verdict.audiences] == [True, False, True]
    assert dict(verdict.failures) == {ANN: "division by zero", BEN: "division by zero"}


@pytest.mark.req("P7")
async def test_a_hanging_policy_fails_only_for_those_whom_it_hangs_for(asking: Asking) -> None:
    asking.admin.execute(
        "create function public.slow() returns boolean language plpgsql as $$ begin"
        f" if auth.uid() = '{BEN.user_id}' then perform pg_sleep(60); end if; return true; end $$"
    )
    policy(asking, "public.slow()")
    others = [some_claims(number=number) for number in range(200)]
    async with asyncio.timeout(10):
        verdict = await asking.verdict("documents", [BEN, ANN, *others])
    assert verdict.failures == ((BEN, "canceling statement due to statement timeout"),)
    assert all(verdict.audiences[0].includes(one) for one in (ANN, *others))
    assert not verdict.audiences[0].includes(BEN)


@pytest.mark.req("P7")
async def test_whoever_is_not_answered_within_the_budget_is_told_so(asking: Asking) -> None:
    asking.admin.execute(
        "create function public.slow() returns boolean language sql as 'select pg_sleep(60) is null'"
    )
    policy(asking, "public.slow()")
    crowd = [some_claims(number=number) for number in range(300)]
    async with asyncio.timeout(10):
        verdict = await asking.verdict("documents", crowd)
    assert len(verdict.failures) == len(crowd)
    assert any("longer than 4 s for all" in message for _, message in verdict.failures)
    assert await asking.who_sees("documents", [some_claims(role="service_role")])


@pytest.mark.req("P7")
async def test_a_function_in_a_schema_that_the_role_may_not_use_still_answers(asking: Asking) -> None:
    asking.admin.execute(
        "create schema private;"
        "create function private.is_member(int) returns boolean language sql stable security definer as $$"
        " select exists (select from public.members where room = $1 and user_id = auth.uid()) $$"
    )
    policy(asking, "private.is_member(room)")
    assert await asking.who_sees("documents", EVERYBODY) == [ANN, BEN]
    assert await asking.who_sees("documents", EVERYBODY) == [ANN, BEN]


@pytest.mark.req("P7")
async def test_policies_do_not_write(asking: Asking) -> None:
    asking.admin.execute(
        "create function public.note() returns boolean language plpgsql as $$ begin"
        " delete from public.members; return true; end $$"
    )
    policy(asking, "public.note()")
    verdict = await asking.verdict("documents", [ANN])
    assert verdict.failures == ((ANN, "cannot execute DELETE in a read-only transaction"),)


@pytest.mark.req("P7")
async def test_names_are_never_sql(asking: Asking) -> None:
    schema, name, column = 'my "sch;ema', 'x"; drop table public.members; --', "a\"b\\ 'c"
    quoted = [f'"{part.replace(chr(34), chr(34) * 2)}"' for part in (schema, name, column)]
    qualified = f"{quoted[0]}.{quoted[1]}"
    asking.admin.execute(
        f"create schema {quoted[0]}; create table {qualified} (id int primary key, {quoted[2]} text, dropped int);"
        f"alter table {qualified} drop dropped; alter table {qualified} add later text default '\"\\,()';"
        f"insert into {qualified} values (1, 'it''s \"\\{{}},()');"
        f"alter table {qualified} enable row level security;"
        f"grant usage on schema {quoted[0]} to authenticated; grant select on {qualified} to authenticated"
    )
    text = "'it''s \"\\{},()'"
    for way, condition in (
        ("memory", f"{quoted[2]} = {text}"),
        ("joint", f"{quoted[2]} like {text.replace(chr(92), chr(92) * 2)} and later = '\"\\,()'"),
        ("separate", f"{quoted[2]} = {text} and current_user = 'authenticated'"),
    ):
        asking.admin.execute(
            f"drop policy if exists p on {qualified}; create policy p on {qualified} using ({condition})"
        )
        asking.visibility.forget()
        table = load_table(asking.admin, schema, name)
        assert await asking.visibility.way(table, "authenticated") == way
        assert await asking.who_sees(name, EVERYBODY, schema=schema) == EVERYBODY


@pytest.mark.req("P7")
async def test_columns_that_the_log_leaves_out_follow_the_image(asking: Asking) -> None:
    asking.admin.execute(
        "alter table public.documents add is_first boolean generated always as (id = 1) stored"
    )
    policy(asking, "is_first and id > 0")
    assert (
        await asking.visibility.access(load_table(asking.admin, "public", "documents"), "anon")
    ).reads_missing
    assert await asking.who_sees("documents", EVERYBODY) == EVERYBODY


@pytest.mark.req("P7")
async def test_forget_takes_up_new_policies_and_types(asking: Asking) -> None:
    policy(asking, "room > 0 and auth.jwt() is not null")
    assert await asking.who_sees("documents", [ANN]) == [ANN]
    asking.admin.execute(
        "drop policy p0 on public.documents; alter table public.documents alter room type text"
    )
    policy(asking, "room || auth.role() = '1authenticated'")
    assert await asking.who_sees("documents", [ANN]) == [ANN]


@pytest.mark.req("P7")
async def test_a_parents_policies_judge_the_row_of_a_partition(asking: Asking) -> None:
    asking.admin.execute(
        "create table public.parts (id int primary key, user_id uuid) partition by range (id);"
        "create table public.part (user_id uuid, id int not null);"
        "alter table public.parts attach partition public.part for values from (0) to (9);"
        "alter table public.parts enable row level security;"
        f"insert into public.parts values (1, '{BEN.user_id}')"
    )
    policy(asking, "user_id = auth.uid() and id between 0 and 9", table="public.parts")
    assert await asking.who_sees("parts", EVERYBODY) == [BEN]
