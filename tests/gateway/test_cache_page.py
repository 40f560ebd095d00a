"""The examples of docs/how-to/cache.md run as they stand there."""

import re
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from basalt.postgres import load_access
from tests.gateway.keyed_project import PAGE
from tests.server import Server


@pytest.mark.req("P14", "G9")
def test_the_leaderboard_is_computed_once_and_cached_for_an_hour(orders: Server) -> None:
    admin = load_access(orders.project_dir / ".basalt").conninfo("supabase_admin")
    with psycopg.connect(admin, autocommit=True) as database, orders.client() as client:
        database.execute("insert into public.orders (item) select 'cake' from generate_series(1, 1000)")
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: client.post("/functions/v1/leaderboard").json(), range(20)))
        assert answers[0][0] == {"item": "cake", "orders": 1000}
        assert answers == [answers[0]] * 20
        database.execute("insert into public.orders (item) values ('cake')")
        assert client.post("/functions/v1/leaderboard").json() == answers[0]
        row = database.execute(
            "select value, expires_at - now() between interval '59 min' and interval '60 min' "
            "from cache.kv_store where key = 'leaderboard:weekly'"
        ).fetchone()
        assert row == (answers[0], True)
        assert client.post("/functions/v1/leaderboard?period=daily").json()[0]["orders"] == 1001
        database.execute("delete from public.orders where item = 'cake'")


@pytest.mark.req("P14")
def test_the_statements_of_the_page_run(orders: Server) -> None:
    (statements,) = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    with psycopg.connect(orders.database_url) as database:
        database.execute("set local role service_role")
        store, fetch = (text for text in statements.split(";\n") if text.strip())
        database.execute(store.encode())
        assert database.execute(fetch.encode()).fetchone() == ([{"name": "Ada"}],)
        database.rollback()
