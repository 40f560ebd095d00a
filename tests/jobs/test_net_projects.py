"""Requests of a whole project: a function of its own as receiver, its console, a managed database."""

from pathlib import Path

import psycopg
import pytest

from basalt.postgres import access_from_url, apply_bootstrap
from tests.fakes.receiver import running_receiver
from tests.jobs.sending import connected, net_settings, running_sender
from tests.postgres.test_bootstrap import managed_url  # noqa: F401  a fixture
from tests.projects import write_project
from tests.server import running_server

pytestmark = pytest.mark.req("P12")

CONFIG = """
project_id = "shop"
[functions.on-order]
verify_jwt = false
"""

MIGRATION = """
create extension if not exists pg_net with schema extensions;
create table public.orders (id bigint generated always as identity primary key, item text not null);
create trigger on_order after insert or update or delete on public.orders
for each row execute function supabase_functions.http_request(
    'http://host.docker.internal:54321/functions/v1/on-order',
    'POST', '{"Content-Type": "application/json"}', '{}', '5000');
"""

FUNCTION = """
from basalt.functions import Context, Request

async def handler(request: Request, context: Context) -> object:
    return {"seen": request.json()["record"]["item"], "id": request.headers.get("webhook-id")}
"""


async def test_a_function_of_the_project_receives_and_the_console_stays_closed(tmp_path: Path) -> None:
    files = {
        "config.toml": CONFIG,
        "20260101000000_orders.sql": MIGRATION,
        "functions/on-order/index.py": FUNCTION,
    }
    with running_server(write_project(tmp_path / "shop", files), BASALT_WORKER_MODE="process") as server:
        with server.client(server.secret_key) as client:
            answer = client.post("/rest/v1/orders", json={"item": "tea"}, headers={"x-request-id": "r-1"})
            assert answer.status_code == 201
        with psycopg.connect(server.database_url, autocommit=True) as connection:
            connection.execute("select net.wait_until_running()")
            ids = [
                connection.execute("select request_id from supabase_functions.hooks").fetchone(),
                connection.execute("select net.http_get(%s)", [f"{server.url}/studio/inbox.json"]).fetchone(),
            ]
            connection.execute("set statement_timeout = '30s'")
            answers = []
            for row in ids:
                assert row is not None
                connection.execute("select net._await_response(%s)", row)
                answers.append(
                    connection.execute(
                        "select status_code, content, headers ->> 'x-request-id' from net._http_response where id = %s",
                        row,
                    ).fetchone()
                )
    received, console = answers
    assert received is not None
    assert console is not None
    assert (received[0], received[2]) == (200, "r-1")
    assert '"seen":"tea"' in received[1]
    assert console[0] == 403


async def test_a_managed_database_sends_too(managed_url: str, tmp_path: Path) -> None:  # noqa: F811
    access = access_from_url(managed_url, tmp_path)
    apply_bootstrap(access)
    async with (
        running_receiver() as receiver,
        connected(access) as db,
        running_sender(access, net_settings(tmp_path)),
    ):
        await db.rows("create table public.my_table (id int primary key)")
        await db.rows(
            "create trigger my_webhook after insert on public.my_table for each row "
            f"execute function supabase_functions.http_request('{receiver.url}/ok', 'POST')"
        )
        await db.rows("insert into public.my_table values (1)")
        answer = await db.answer(await db.one("select net.http_get(%s)", receiver.url))
        await db.until("select from net._http_response", count=2)
        async with connected(access, "authenticator") as caller:
            await caller.rows("set role authenticated")
            await caller.rows("select net.http_get(%s)", receiver.url)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await caller.rows("select * from net._http_response")
        await db.until("select from net._http_response", count=3)
    assert answer["status_code"] == 200
    assert len(receiver.arrived) == 3
