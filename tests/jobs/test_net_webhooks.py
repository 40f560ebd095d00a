"""Database webhooks: the trigger `supabase_functions.http_request`, its payload, and delivery until received."""

import json
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from basalt.postgres import DatabaseAccess
from tests.conftest import CloneDatabase
from tests.fakes.receiver import Receiver, running_receiver
from tests.jobs.sending import Database, connected, net_settings, reset_database, running_sender, wait_for

pytestmark = pytest.mark.req("P12")

TABLE = "create table public.my_table (id int primary key, name text, at timestamptz)"


@pytest.fixture(scope="module")
def database(template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[DatabaseAccess]:
    with clone_database(template.dbname) as access:
        yield access


@pytest.fixture
async def db(database: DatabaseAccess) -> AsyncIterator[Database]:
    async with reset_database(database) as connection:
        await connection.rows(TABLE)
        yield connection


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


async def hook(db: Database, *arguments: str, events: str = "insert or update or delete") -> None:
    """A trigger as the dashboard of Supabase and its dumps write it."""
    quoted = ", ".join("'" + argument.replace("'", "''") + "'" for argument in arguments)
    await db.rows(
        f'create trigger "my_webhook" after {events} on "public"."my_table" for each row '
        f'execute function "supabase_functions"."http_request"({quoted})'
    )


async def test_the_payload_is_supabases_byte_for_byte(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    await hook(db, f"{receiver.url}/ok", "POST", '{"Content-type":"application/json"}', "{}", "1000")
    async with running_sender(database, net_settings(tmp_path)):
        for statement in (
            "insert into my_table values (1, 'ä\"', '2026-01-02 03:04:05+00')",
            "update my_table set name = null",
            "delete from my_table",
        ):
            await db.rows(statement)
            count = len(receiver.arrived) + 1
            await wait_for(lambda count=count: len(receiver.arrived) >= count)
    first = '{"at": "2026-01-02T03:04:05+00:00", "id": 1, "name": "ä\\""}'
    second = '{"at": "2026-01-02T03:04:05+00:00", "id": 1, "name": null}'
    head = '"table": "my_table"'
    assert [arrived.body.decode() for arrived in receiver.arrived] == [
        f'{{"type": "INSERT", {head}, "record": {first}, "schema": "public", "old_record": null}}',
        f'{{"type": "UPDATE", {head}, "record": {second}, "schema": "public", "old_record": {first}}}',
        f'{{"type": "DELETE", {head}, "record": null, "schema": "public", "old_record": {second}}}',
    ]
    assert {arrived.method for arrived in receiver.arrived} == {"POST"}
    assert {arrived.headers["content-type"] for arrived in receiver.arrived} == {"application/json"}
    hooks = await db.rows(
        "select hook_table_id, hook_name, request_id from supabase_functions.hooks order by id"
    )
    table = await db.one("select 'public.my_table'::regclass::oid::bigint")
    assert [(row["hook_table_id"], row["hook_name"]) for row in hooks] == [(table, "my_webhook")] * 3
    answers = await db.rows("select id, status_code from net._http_response order by id")
    assert answers == [{"id": row["request_id"], "status_code": 200} for row in hooks]


async def test_a_get_sends_its_parameters(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    await hook(db, f"{receiver.url}/ok", "GET", '{"X-Key": "1"}', '{"a": "b c"}', "1000", events="insert")
    async with running_sender(database, net_settings(tmp_path)):
        await db.rows("insert into my_table values (1)")
        await wait_for(lambda: receiver.arrived)
    (arrived,) = receiver.arrived
    assert (arrived.method, arrived.target, arrived.body) == ("GET", "/ok?a=b%20c", b"")
    assert arrived.headers["x-key"] == "1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "url argument is missing"),
        (("null", "POST"), "url argument is missing"),
        (("http://a/",), "method argument is missing"),
        (("http://a/", "null"), "method argument is missing"),
        (("http://a/", "PUT"), "method argument PUT is invalid"),
        (("http://a/", "POST", "[]"), "headers and params arguments must be JSON objects"),
        (("http://a/", "POST", "{oops"), "invalid input syntax for type json"),
        (("http://a/", "POST", "{}", "{}", "soon"), "invalid input syntax for type integer"),
    ],
)
async def test_wrong_arguments_are_errors(db: Database, arguments: tuple[str, ...], message: str) -> None:
    await hook(db, *arguments)
    with pytest.raises(psycopg.Error) as refused:
        await db.rows("insert into my_table values (1)")
    assert message in str(refused.value)


async def test_left_out_arguments_have_defaults(db: Database) -> None:
    await hook(db, "http://a/", "POST", "null", "null", "null")
    await db.rows("insert into my_table values (1)")
    (row,) = await db.rows("select * from basalt.webhook_requests")
    assert (row["headers"], row["timeout_milliseconds"], row["max_attempts"]) == (
        {"Content-Type": "application/json"},
        5000,
        None,
    )


@pytest.mark.long
async def test_a_receiver_that_is_down_gets_it_when_it_is_back_under_one_id(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    receiver.replies = [503, 500, 429, 200]
    await hook(db, f"{receiver.url}/next", "POST", "{}", "{}", "1000")
    async with running_sender(database, net_settings(tmp_path)):
        await db.rows("insert into my_table values (1)")
        await db.until("select where not exists (select from basalt.webhook_requests)")
    assert len(receiver.arrived) == 4
    (webhook_id,) = {arrived.headers["webhook-id"] for arrived in receiver.arrived}
    (body,) = {arrived.body for arrived in receiver.arrived}
    assert json.loads(body)["record"]["id"] == 1
    attempts = await db.rows("select * from basalt.webhook_attempts order by id")
    assert [(row["attempt"], row["status_code"]) for row in attempts] == [
        (1, 503),
        (2, 500),
        (3, 429),
        (4, 200),
    ]
    assert {str(row["webhook_id"]) for row in attempts} == {webhook_id}
    assert {row["hook_name"] for row in attempts} == {"my_webhook"}
    assert await db.rows("select status_code from net._http_response") == [{"status_code": 200}]
    assert await db.rows("select * from basalt.dead_webhooks") == []


@pytest.mark.long
async def test_the_pauses_grow_and_a_receiver_that_says_when_is_heard(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    receiver.replies = [503, 503, 503, 429, 200]
    await hook(db, f"{receiver.url}/next", "POST")
    settings = net_settings(tmp_path, BASALT_WEBHOOKS_FIRST_DELAY="0.1")
    async with running_sender(database, settings):
        await db.rows("insert into my_table values (1)")
        await wait_for(lambda: len(receiver.arrived) == 3)
        receiver.reply_headers = {"Retry-After": "2"}
        await wait_for(lambda: len(receiver.arrived) == 5)
    times = [arrived.at for arrived in receiver.arrived]
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses[0] >= 0.07
    assert pauses[1] >= 0.14
    assert pauses[3] >= 2


@pytest.mark.parametrize("path", ["/status/400", "/status/404", "/status/410"])
async def test_what_the_receiver_refuses_is_given_up_at_once(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path, path: str
) -> None:
    await hook(db, receiver.url + path, "POST")
    async with running_sender(database, net_settings(tmp_path)):
        await db.rows("insert into my_table values (1)")
        (dead,) = await db.until("select * from basalt.dead_webhooks")
    assert dead["reason"] == f"answered {path[-3:]}"
    assert len(receiver.arrived) == 1


async def test_what_is_given_up_is_kept_and_can_be_sent_again(
    db: Database,
    receiver: Receiver,
    database: DatabaseAccess,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    receiver.replies = [500]
    await hook(db, f"{receiver.url}/next", "POST", "{}", "{}", "1000")
    settings = net_settings(tmp_path, BASALT_WEBHOOKS_MAX_ATTEMPTS="3")
    async with running_sender(database, settings):
        await db.rows("insert into my_table values (7)")
        (dead,) = await db.until("select * from basalt.dead_webhooks")
        assert (dead["attempt"], dead["reason"]) == (3, "answered 500, attempt 3 of 3")
        assert json.loads(dead["body"])["record"]["id"] == 7
        assert await db.rows("select status_code from net._http_response") == [{"status_code": 500}]
        receiver.replies = [200]
        assert await db.one("select basalt.retry_webhook(%s)", dead["id"]) is True
        assert await db.one("select basalt.retry_webhook(%s)", dead["id"]) is False
        await db.until("select where not exists (select from basalt.webhook_requests)")
    assert [arrived.headers["webhook-id"] for arrived in receiver.arrived] == [str(dead["webhook_id"])] * 4
    assert await db.rows("select * from basalt.dead_webhooks") == []
    assert "webhook_given_up" in capfd.readouterr().err


async def test_the_sixth_argument_is_the_number_of_retries(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    receiver.replies = [500]
    await hook(db, f"{receiver.url}/next", "POST", "{}", "{}", "1000", "1")
    async with running_sender(database, net_settings(tmp_path)):
        await db.rows("insert into my_table values (7)")
        await db.until("select * from basalt.dead_webhooks")
    assert len(receiver.arrived) == 2


@pytest.mark.parametrize(
    "url",
    ["not a url", "ftp://a/", "http://a\r\nb/", "http://10.0.0.1/", "http://127.0.0.1:9/", "http://u@a/"],
)
async def test_a_url_that_may_not_be_used_costs_the_webhook_not_the_row(
    db: Database, database: DatabaseAccess, tmp_path: Path, url: str
) -> None:
    await hook(db, url, "POST")
    async with running_sender(database, net_settings(tmp_path, BASALT_WEBHOOKS_ALLOW_PRIVATE="false")):
        await db.rows("insert into my_table values (1)")
        (dead,) = await db.until("select * from basalt.dead_webhooks")
    assert dead["attempt"] == 1
    assert await db.one("select count(*) from my_table") == 1


async def test_without_a_worker_rows_pass_and_webhooks_wait(db: Database) -> None:
    await hook(db, "http://nobody.invalid/", "POST")
    await db.rows("insert into my_table select n from generate_series(1, 1000) as n")
    assert await db.one("select count(*) from basalt.webhook_requests") == 1000


async def test_over_the_bound_rows_pass_without_a_webhook_and_are_counted(
    db: Database, database: DatabaseAccess
) -> None:
    await hook(db, "http://nobody.invalid/", "POST")
    await db.rows("update basalt.outgoing_state set max_waiting = 10")
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        said: list[str] = []
        connection.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
        connection.execute("insert into my_table select n from generate_series(1, 12) as n")
    assert await db.one("select count(*) from my_table") == 12
    assert await db.one("select count(*) from basalt.webhook_requests") == 10
    assert said == [
        "webhook my_webhook on public.my_table was left out: 10 wait to be sent",
        "webhook my_webhook on public.my_table was left out: 11 wait to be sent",
    ]
    assert await db.one("select last_value from basalt.webhooks_left_out_seq") == 2


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
async def test_every_role_that_writes_the_table_fires_the_hook_and_learns_nothing(
    db: Database, database: DatabaseAccess, role: str
) -> None:
    await hook(db, "http://a/", "POST", '{"Authorization": "Bearer secret"}')
    async with connected(database, "authenticator") as caller:
        await caller.rows(f"set role {role}")
        await caller.rows("insert into public.my_table values (1)")
    (row,) = await db.rows("select * from basalt.webhook_requests")
    assert row["headers"]["Authorization"] == "Bearer secret"


async def test_webhooks_do_without_the_extension(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    await db.rows("drop extension pg_net")
    async with running_sender(database, net_settings(tmp_path)):
        await hook(db, f"{receiver.url}/ok", "POST")
        await db.rows("insert into my_table values (1)")
        await db.until("select from basalt.webhook_attempts")
        await db.rows("create extension pg_net")
        await db.answer(await db.one("select net.http_get(%s)", receiver.url))
        await db.rows("drop extension pg_net")
        await db.rows("insert into my_table values (2)")
        await db.until("select from basalt.webhook_attempts", count=2)
    assert len(receiver.arrived) == 3


async def test_the_id_of_the_request_that_wrote_the_row_reaches_the_receiver(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    await hook(db, f"{receiver.url}/ok", "POST")
    async with running_sender(database, net_settings(tmp_path)):
        await db.rows("begin")
        await db.rows("select set_config('request.headers', '{\"x-request-id\": \"r-42\"}', true)")
        await db.rows("insert into my_table values (1)")
        await db.rows("commit")
        await wait_for(lambda: receiver.arrived)
    assert receiver.arrived[0].headers["x-request-id"] == "r-42"


async def test_the_names_of_supabases_local_stack_lead_to_the_projects_api(
    db: Database, database: DatabaseAccess, tmp_path: Path
) -> None:
    """`allow_private` is off: the API is allowed nevertheless, and nothing else on this machine is."""
    async with running_receiver() as api:
        settings = net_settings(
            tmp_path, BASALT_WEBHOOKS_ALLOW_PRIVATE="false", SUPABASE_API_PORT=str(api.port)
        )
        urls = [
            "http://host.docker.internal:54321/functions/v1/one",
            "http://kong:8000/functions/v1/two",
            "http://supabase_kong_my-app:8000/functions/v1/three",
            f"http://127.0.0.1:{api.port}/functions/v1/four",
        ]
        async with running_sender(database, settings):
            for number, url in enumerate(urls):
                await db.rows("drop trigger if exists my_webhook on my_table")
                await hook(db, url, "POST")
                await db.rows("insert into my_table values (%s)", number)
            await wait_for(lambda: len(api.arrived) == 4)
    assert {arrived.target.rpartition("/")[2] for arrived in api.arrived} == {"one", "two", "three", "four"}


async def test_after_a_lost_worker_a_webhook_is_sent_again_and_its_loss_is_logged(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    await hook(db, f"{receiver.url}/ok", "POST")
    await db.rows("insert into my_table values (1), (2)")
    lost = "update basalt.webhook_requests set attempt = %s, worker_id = gen_random_uuid() where id = %s"
    await db.rows(lost, 1, 1)
    await db.rows(lost, 8, 2)
    async with running_sender(database, net_settings(tmp_path)):
        (dead,) = await db.until("select * from basalt.dead_webhooks")
        await db.until("select from basalt.webhook_attempts where status_code = 200")
    assert dead["reason"] == "The worker ended before the answer, each time"
    attempts: list[dict[str, Any]] = await db.rows(
        "select attempt, status_code, error_msg from basalt.webhook_attempts where request_id = "
        "(select min(request_id) from basalt.webhook_attempts) order by id"
    )
    assert attempts == [
        {"attempt": 1, "status_code": None, "error_msg": "The worker ended before the answer"},
        {"attempt": 2, "status_code": 200, "error_msg": None},
    ]
    assert len(receiver.arrived) == 1
