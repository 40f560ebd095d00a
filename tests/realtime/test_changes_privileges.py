"""What a role without a privilege is not told of a change (protocol §9.3, §9.5)."""

import json

import pytest

from tests.realtime.conftest import Harbour
from tests.realtime.watching import binding, only, watch

pytestmark = pytest.mark.req("P7")

NO_PRIMARY_KEY = "Error 400: Bad Request, no primary key"
UNAUTHORIZED = "Error 401: Unauthorized"


async def test_a_table_without_a_primary_key_is_only_named(harbour: Harbour, name: str) -> None:
    phx = await watch(harbour, name, binding("keyless"))
    harbour.sql.execute("insert into keyless values (%s, 'a')", (name,))
    assert await only(phx) == {
        "schema": "public",
        "table": "keyless",
        "type": "INSERT",
        "commit_timestamp": None,
        "columns": [],
        "record": {},
        "old_record": {},
        "errors": [NO_PRIMARY_KEY],
    }


async def test_a_role_that_may_not_select_the_key_learns_nothing_but_the_operation(
    harbour: Harbour, name: str
) -> None:
    phx = await watch(harbour, name, binding("locked"))
    allowed = await watch(harbour, name, binding("locked"), token=harbour.token(role="service_role"))
    harbour.sql.execute("delete from locked")
    harbour.sql.execute("insert into locked values (1, %s)", (name,))
    assert await only(phx) == {
        "schema": "public",
        "table": "locked",
        "type": "INSERT",
        "commit_timestamp": None,
        "columns": [],
        "record": {},
        "old_record": {},
        "errors": [UNAUTHORIZED],
    }
    assert (await only(allowed))["record"] == {"id": 1, "room": name}


async def test_columns_without_privilege_are_left_out(harbour: Harbour, name: str) -> None:
    harbour.sql.execute("delete from partly")
    harbour.sql.execute("alter table partly replica identity full")
    phx = await watch(harbour, name, binding("partly", name), token=harbour.token())
    selecting = await watch(harbour, name, binding("partly", name, select=["title"]), token=harbour.token())
    harbour.sql.execute("insert into partly values (1, %s, 'a', 'secret')", (name,))
    harbour.sql.execute("update partly set title = 'b', secret = 'another'")
    for data in await phx.changes(2):
        assert [column["name"] for column in data["columns"]] == ["id", "room", "title"]
        assert "secret" not in json.dumps(data)
        assert "another" not in json.dumps(data)
    assert [set(data["record"]) for data in await selecting.changes(2)] == [{"id", "title"}] * 2


async def test_a_privilege_that_is_granted_or_revoked_counts_at_once(harbour: Harbour, name: str) -> None:
    token = harbour.token()
    harbour.sql.execute(f"create table {name} (id int primary key, secret text)")
    harbour.sql.execute(f"alter publication supabase_realtime add table {name}")
    phx = await watch(harbour, name, binding(name), token=token)
    harbour.sql.execute(f"insert into {name} values (1, 'a')")
    assert (await only(phx))["record"] == {"id": 1, "secret": "a"}
    harbour.sql.execute(f"revoke all on {name} from authenticated")
    harbour.sql.execute(f"insert into {name} values (2, 'b')")
    assert (await only(phx))["errors"] == [UNAUTHORIZED]
    harbour.sql.execute(f"grant select (id) on {name} to authenticated")
    harbour.sql.execute(f"insert into {name} values (3, 'c')")
    assert (await only(phx))["record"] == {"id": 3}
