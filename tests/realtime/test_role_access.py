"""What a role may read of a table at all."""

from collections.abc import AsyncIterator

import pytest

from basalt.postgres import DatabaseAccess
from tests.realtime.row_security import Asking, load_table, open_asking

NOTES = """
create table public.notes (id bigint primary key, title text, secret text);
revoke all on public.notes from anon, authenticated;
alter table public.notes enable row level security;
"""


@pytest.fixture
async def asking(database: DatabaseAccess) -> AsyncIterator[Asking]:
    async with open_asking(database) as asking:
        asking.admin.execute(NOTES)
        yield asking


@pytest.mark.req("P7")
async def test_columns_come_by_a_privilege_on_the_table_or_on_each_column(asking: Asking) -> None:
    asking.admin.execute(
        "grant select (id, title) on public.notes to anon; grant select on public.notes to authenticated"
    )
    table = load_table(asking.admin, "public", "notes")
    anon = await asking.visibility.access(table, "anon")
    authenticated = await asking.visibility.access(table, "authenticated")
    assert (anon.selectable, anon.may_select_key) == ({"id", "title"}, True)
    assert authenticated.selectable == {"id", "title", "secret"}


@pytest.mark.req("P7")
async def test_without_the_key_or_any_privilege_the_key_may_not_be_selected(asking: Asking) -> None:
    asking.admin.execute("grant select (title) on public.notes to anon")
    table = load_table(asking.admin, "public", "notes")
    assert not (await asking.visibility.access(table, "anon")).may_select_key
    assert not (await asking.visibility.access(table, "authenticated")).selectable
    assert not (await asking.visibility.access(table, "nobody of that name")).selectable


@pytest.mark.req("P7")
async def test_a_schema_that_may_not_be_used_hides_every_column(asking: Asking) -> None:
    asking.admin.execute(
        "create schema hidden; create table hidden.notes (id int primary key); grant select on hidden.notes to anon"
    )
    table = load_table(asking.admin, "hidden", "notes")
    assert not (await asking.visibility.access(table, "anon")).selectable
    asking.admin.execute("grant usage on schema hidden to anon")
    asking.visibility.forget()
    assert (await asking.visibility.access(table, "anon")).selectable == {"id"}


@pytest.mark.req("P7")
async def test_who_is_above_row_security_sees_all(asking: Asking) -> None:
    asking.admin.execute(
        "grant select on public.notes to anon; create table public.open_notes (id int primary key);"
        "grant select on public.open_notes to anon"
    )
    notes = load_table(asking.admin, "public", "notes")
    open_notes = load_table(asking.admin, "public", "open_notes")
    assert not (await asking.visibility.access(notes, "anon")).sees_all
    assert (await asking.visibility.access(open_notes, "anon")).sees_all
    assert (await asking.visibility.access(notes, "service_role")).sees_all
    assert (await asking.visibility.access(notes, "postgres")).sees_all


@pytest.mark.req("P7")
async def test_the_owner_sees_all_unless_row_security_is_forced(asking: Asking) -> None:
    asking.admin.execute(
        "create table public.mine (id int primary key); grant create on schema public to anon;"
        "alter table public.mine owner to anon; alter table public.mine enable row level security"
    )
    table = load_table(asking.admin, "public", "mine")
    assert (await asking.visibility.access(table, "anon")).sees_all
    asking.admin.execute("alter table public.mine force row level security")
    asking.visibility.forget()
    assert not (await asking.visibility.access(table, "anon")).sees_all


@pytest.mark.req("P7")
async def test_policies_tell_whether_they_read_what_the_log_leaves_out(asking: Asking) -> None:
    asking.admin.execute(
        "grant select on public.notes to anon; create policy p on public.notes using (secret is null)"
    )
    with_secret = load_table(asking.admin, "public", "notes", missing=("title",))
    without = load_table(asking.admin, "public", "notes", missing=("secret",))
    assert not (await asking.visibility.access(with_secret, "anon")).reads_missing
    assert (await asking.visibility.access(without, "anon")).reads_missing
