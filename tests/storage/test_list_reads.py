"""How much of the database a list reads: a folder costs the same however much lies in it and beside it, also under
row-level security. Rows are counted, not milliseconds."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from basalt.postgres import DatabaseAccess
from tests.conftest import CloneDatabase

pytestmark = pytest.mark.req("P8")

ME = "00000000-0000-4000-8000-000000000001"
OTHER = "00000000-0000-4000-8000-000000000002"
PAGE = 50

FILL = f"""
insert into storage.buckets (id, name) values ('b', 'b');
create policy "users keep their own folder" on storage.objects for all to authenticated
    using (bucket_id = 'b' and (storage.foldername(name))[1] = (select auth.uid()::text));
insert into storage.objects (bucket_id, name)
select 'b', '{OTHER}/' || i || '.txt' from generate_series(1, 5000) as i
union all select 'b', '{ME}/file-' || lpad(i::text, 4, '0') || '.txt' from generate_series(1, 1000) as i
union all select 'b', '{ME}/' || folder || '-folder/' || i || '.txt'
    from generate_series(1, 14) as folder, generate_series(1, 1000) as i;
"""  # folders sort before files, and there are 1014 entries in the level

LISTS: dict[str, tuple[str, int]] = {
    "v1 by name": ("storage.search('{me}/', 'b', 50)", 66),
    "v1 by name, backwards": ("storage.search('{me}/', 'b', 50, sortorder => 'desc')", 52),
    "v1 by name, a later page": ("storage.search('{me}/', 'b', 50, offsets => 500)", 580),
    "v1 with a search": ("storage.search('{me}/', 'b', 50, search => 'FILE-0')", 54),
    "v1 with a search that finds folders": ("storage.search('{me}/', 'b', 50, search => '1')", 10),
    "v1 with a search that finds nothing": ("storage.search('{me}/', 'b', 50, search => 'fILEs')", 40),
    "v1 by time": ("storage.search('{me}/', 'b', 50, sortcolumn => 'created_at')", 1032),
    "v2 by name": ("storage.search_v2('{me}/', 'b', 50, 2)", 66),
    "v2 by name, a later page": ("storage.search_v2('{me}/', 'b', 50, 2, '{me}/file-0700.txt')", 54),
    "v2 by name, behind a folder": ("storage.search_v2('{me}/', 'b', 2, 2, '{me}/5-folder')", 5),
    "v2 by time": ("storage.search_v2('{me}/', 'b', 50, 2, sort_column => 'created_at')", 15050),
    "one level": ("storage.list_objects_with_delimiter('b', '{me}/', '/', 50)", 66),
    "one level, backwards": (
        "storage.list_objects_with_delimiter('b', '{me}/', '/', 50, sort_order => 'desc')",
        52,
    ),
    "one level, behind a folder": (
        "storage.list_objects_with_delimiter('b', '{me}/', '/', 3, next_token => '{me}/5-folder/')",
        5,
    ),
    "all levels": ("storage.list_objects_with_delimiter('b', '{me}/', '', 50, '{me}/3-folder/7.txt')", 52),
}


@pytest.fixture(scope="module")
def shelves(template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[DatabaseAccess]:
    """20,000 objects: my folder with 1,000 files and 14 folders of 1,000 files each, and another user's beside it."""
    with clone_database(template.dbname) as access:
        with psycopg.connect(access.conninfo("supabase_admin"), autocommit=True) as admin:
            admin.execute(FILL)
        yield access


@contextmanager
def reading(shelves: DatabaseAccess, role: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(shelves.conninfo("supabase_admin")) as connection:
        connection.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps({"sub": ME})])
        connection.execute(f"set local role {role}")
        yield connection


def rows_read(connection: psycopg.Connection) -> int:
    """Rows of `storage.objects` that this transaction has looked at."""
    connection.execute("set local role supabase_admin")
    found = connection.execute(
        "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relid = 'storage.objects'::regclass"
    ).fetchone()
    assert found is not None
    count: int = found[0]
    return count


@pytest.mark.parametrize("role", ["authenticated", "service_role"])
@pytest.mark.parametrize("name", LISTS)
def test_a_list_reads_little_more_than_it_shows(shelves: DatabaseAccess, name: str, role: str) -> None:
    call, most = LISTS[name]
    with reading(shelves, role) as connection:
        found = connection.execute(f"select name from {call.format(me=ME)}").fetchall()
        assert len(found) <= PAGE
        assert bool(found) == ("nothing" not in name)
        assert rows_read(connection) <= most


def test_what_is_known_of_a_table_does_not_change_how_it_is_read(shelves: DatabaseAccess) -> None:
    """Before and after PostgreSQL has looked at the table."""
    counts = []
    for before in ("select", "analyze storage.objects"):
        with psycopg.connect(shelves.conninfo("supabase_admin"), autocommit=True) as admin:
            admin.execute(before)
        with reading(shelves, "authenticated") as connection:
            for call, _ in LISTS.values():
                connection.execute(f"select from {call.format(me=ME)}")
            counts.append(rows_read(connection))
    assert counts[0] == counts[1]
