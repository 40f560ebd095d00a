"""`net.http_…` from the call to the recorded answer, with good receivers and bad ones."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from basalt.postgres import DatabaseAccess
from tests.conftest import CloneDatabase
from tests.fakes.certificate import make_certificate, serving
from tests.fakes.receiver import Receiver, running_receiver
from tests.jobs.sending import Database, net_settings, reset_database, running_sender

pytestmark = pytest.mark.req("P12")


@pytest.fixture(scope="module")
def database(template: DatabaseAccess, clone_database: CloneDatabase) -> Iterator[DatabaseAccess]:
    with clone_database(template.dbname) as access:
        yield access


@pytest.fixture
async def db(database: DatabaseAccess) -> AsyncIterator[Database]:
    async with reset_database(database) as connection:
        yield connection


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


async def test_the_examples_of_supabases_guide(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    """https://supabase.com/docs/guides/database/extensions/pg_net and pg_net's README, against a receiver here."""
    url = receiver.url
    async with running_sender(database, net_settings(tmp_path)):
        got = await db.one("select net.http_get(%s) as request_id", f"{url}/echo?foo1=bar1&foo2=bar2")
        answer = await db.answer(got)
        assert (answer["status_code"], answer["content_type"], answer["timed_out"]) == (
            200,
            "application/json",
            False,
        )
        assert answer["error_msg"] is None
        assert answer["headers"]["Content-Type"] == "application/json"
        echo = json.loads(answer["content"])
        assert (echo["method"], echo["target"], echo["body"]) == ("GET", "/echo?foo1=bar1&foo2=bar2", "")
        assert echo["headers"]["accept"] == "*/*"
        assert echo["headers"]["user-agent"].startswith("pg_net/")
        assert "accept-encoding" not in echo["headers"]

        posted = await db.one(
            'select net.http_post(url := %s, body := \'{"key1": "value", "key2": 5}\'::jsonb) as request_id',
            f"{url}/echo",
        )
        echo = json.loads((await db.answer(posted))["content"])
        assert json.loads(echo["body"]) == {"key1": "value", "key2": 5}
        assert echo["headers"]["content-type"] == "application/json"

        called = await db.one(
            'select net.http_post(url := %s, headers := %s::jsonb, body := \'{"name": "pg_net"}\'::jsonb)',
            f"{url}/echo/functions/v1/function-name",
            json.dumps({"Content-Type": "application/json", "apikey": "<SUPABASE_PUBLISHABLE_KEY>"}),
        )
        echo = json.loads((await db.answer(called))["content"])
        assert echo["headers"]["apikey"] == "<SUPABASE_PUBLISHABLE_KEY>"

        await db.rows("create table public.target_table (id int primary key, name text)")
        await db.rows("insert into public.target_table values (1, 'a'), (2, 'b')")
        rows = await db.one(
            "with selected_table_rows as (select jsonb_agg(to_jsonb(target_table.*)) as json_payload "
            "from target_table) "
            "select net.http_post(url := %s::text, body := json_payload) as request_id from selected_table_rows",
            f"{url}/echo",
        )
        echo = json.loads((await db.answer(rows))["content"])
        assert json.loads(echo["body"]) == [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]

        deleted = await db.one(
            "with selected_id as (select id from target_table limit 1) "
            'select net.http_delete(%s::text, format(\'{"id": "%%s"}\', id)::jsonb) from selected_id',
            f"{url}/echo/delete/",
        )
        echo = json.loads((await db.answer(deleted))["content"])
        assert (echo["method"], echo["target"]) == ("DELETE", "/echo/delete/?id=1")

        with_body = await db.one(
            'select net.http_delete(url := %s, body := \'{"key": "val"}\')', f"{url}/echo"
        )
        assert json.loads(json.loads((await db.answer(with_body))["content"])["body"]) == {"key": "val"}

        await db.rows(
            "create function public.tell() returns trigger language plpgsql as $$ begin "
            f"perform net.http_post('{url}/echo/trigger'::text, "
            "jsonb_build_object('old_row', to_jsonb(old.*), 'new_row', to_jsonb(new.*)), "
            'headers := \'{"Content-Type": "application/json"}\'::jsonb) as request_id; return new; end $$'
        )
        await db.rows(
            "create trigger tell after update on public.target_table for each row execute function tell()"
        )
        await db.rows("update public.target_table set name = 'c' where id = 2")
        (told,) = await db.until("select * from net._http_response where content like '%/echo/trigger%'")
        assert json.loads(json.loads(told["content"])["body"]) == {
            "old_row": {"id": 2, "name": "b"},
            "new_row": {"id": 2, "name": "c"},
        }

        missing = await db.one("select net.http_get(%s)", f"{url}/status/404")
        await db.answer(missing)
        failed = await db.rows(
            "select id from net._http_response where status_code >= 400 or error_msg is not null order by created desc"
        )
        assert [row["id"] for row in failed] == [missing]

        await db.rows("select net.check_worker_is_up()")
        await db.rows("select net.wait_until_running()")
    assert await db.rows("select * from net.http_request_queue") == []
    assert await db.rows("select * from basalt.requests_in_flight") == []
    assert receiver.connections < len(receiver.arrived)  # connections are kept


async def test_bad_receivers_are_each_recorded_and_disturb_nobody(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    expected = {
        "/close": "Server returned nothing (no headers, no data)",
        "/garbage": "Weird server reply",
        "/cut-off": "Transferred a partial file",
        "/wrong-length": "Weird server reply",
        "/endless-headers": "Weird server reply",
        "/upgrade": "Weird server reply",
        "/hang": "Timeout of 1000 ms reached. Total time: 1",
        "/hang-in-the-body": "Timeout of 1000 ms reached. Total time: 1",
        "/drip": "Timeout of 1000 ms reached. Total time: 1",
    }
    async with (
        running_receiver(tls=serving(make_certificate(tmp_path, "hooks.example"))) as untrusted,
        running_receiver() as good,
        running_sender(database, net_settings(tmp_path)),
    ):
        ids = {
            path: await db.one("select net.http_get(%s, timeout_milliseconds := 1000)", receiver.url + path)
            for path in (*expected, "/reset")
        }
        ids["tls"] = await db.one("select net.http_post(%s)", untrusted.url)
        ids["closed port"] = await db.one("select net.http_get('http://127.0.0.1:1/')")
        ids["unknown"] = await db.one("select net.http_get('http://no-such-host.invalid/')")
        ids["host"] = await db.one('select net.http_get(%s, headers := \'{"Host": "evil"}\')', good.url)
        fine = await db.rows("select net.http_get(%s) as id from generate_series(1, 200)", f"{good.url}/ok")
        started = asyncio.get_running_loop().time()
        await db.until(
            "select * from net._http_response where id = any (%s) and status_code = 200",
            [row["id"] for row in fine],
            count=200,
        )
        took_s = asyncio.get_running_loop().time() - started
        answers = {name: await db.answer(number) for name, number in ids.items()}
    for path, message in expected.items():
        answer = answers[path]
        assert str(answer["error_msg"]).startswith(message), path
        assert answer["timed_out"] == message.startswith("Timeout"), path
        assert answer["status_code"] is answer["content"] is None
    assert "HTTP Request/Response time: " in answers["/drip"]["error_msg"]
    assert answers["/reset"]["error_msg"] in (
        "Failure when receiving data from the peer",
        "Server returned nothing (no headers, no data)",
    )
    assert answers["tls"]["error_msg"].startswith("SSL peer certificate or SSH remote key was not OK")
    assert answers["closed port"]["error_msg"] == "Could not connect to server"
    assert answers["unknown"]["error_msg"] == "Could not resolve hostname"
    assert answers["host"]["error_msg"] == "The header Host is not given by the caller"
    assert untrusted.arrived == []
    assert took_s < 5


async def test_any_bytes_are_recorded(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    settings = net_settings(tmp_path, BASALT_WEBHOOKS_MAX_RESPONSE="100KiB")
    async with running_sender(database, settings):
        odd, bomb, large = [
            await db.one("select net.http_get(%s, timeout_milliseconds := 20000)", receiver.url + path)
            for path in ("/bytes", "/bomb", "/large")
        ]
        answer = await db.answer(odd)
        assert answer["content"] == "a\ufffdb\ufffd\ufffd😀"
        assert answer["headers"]["X-Odd"] == "caf\ufffd"
        answer = await db.answer(bomb)
        assert (answer["status_code"], answer["error_msg"]) == (200, None)
        assert len(answer["content"]) < 100_000  # as it came
        answer = await db.answer(large)
        assert (answer["status_code"], answer["content"]) == (200, "x" * 102400)
        assert answer["error_msg"] == "The answer is larger than 102400 bytes and was cut"


async def test_a_receiver_that_hangs_gets_a_share_of_the_places_only(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    settings = net_settings(tmp_path, BASALT_WEBHOOKS_CONCURRENCY="16")
    async with running_receiver() as good, running_sender(database, settings, drain_s=0):
        await db.rows(
            "select net.http_get(%s, timeout_milliseconds := 60000) from generate_series(1, 500)",
            f"{receiver.url}/hang",
        )
        await db.rows("select net.http_get(%s) from generate_series(1, 200)", f"{good.url}/ok")
        await db.until("select * from net._http_response where status_code = 200", count=200)
        assert receiver.most_at_once == 4
        assert await db.one("select count(*) from net.http_request_queue") == 496


async def test_requests_are_sent_once_by_any_number_of_workers(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    settings = net_settings(tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(running_sender(database, settings))
        await db.rows(
            "select net.http_post(%s || n) from generate_series(1, 600) as n", f"{receiver.url}/ok/"
        )
        await db.until("select id from net._http_response", count=600, limit_s=20)
    targets = [arrived.target for arrived in receiver.arrived]
    assert len(targets) == len(set(targets)) == 600
    assert await db.one("select count(*) from net._http_response") == 600


async def test_nothing_is_sent_before_the_commit_and_soon_after_it(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    settings = net_settings(tmp_path, BASALT_WORKER_POLL_INTERVAL="60")
    async with running_sender(database, settings):
        await db.until("select from basalt.outgoing_state where wants_wakeup", count=2)
        await db.answer(await db.one("select net.http_get(%s)", f"{receiver.url}/first"))
        await db.rows("begin")
        await db.rows("select net.http_get(%s)", f"{receiver.url}/rolled-back")
        await db.rows("rollback")
        await db.rows("begin")
        last = await db.one("select net.http_get(%s)", f"{receiver.url}/last")
        assert [arrived.target for arrived in receiver.arrived] == ["/first"]
        await db.rows("commit")
        await db.answer(last)  # told, for nobody looks for a minute
    assert [arrived.target for arrived in receiver.arrived] == ["/first", "/last"]


async def test_answers_are_kept_for_a_while(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    await db.rows("insert into net._http_response (id, created) values (-1, now() - interval '1 day')")
    await db.rows("insert into net._http_response (id, created) values (-2, now() - interval '1 minute')")
    settings = net_settings(tmp_path, BASALT_WEBHOOKS_KEEP_RESPONSES="1h")
    async with running_sender(database, settings):
        await db.until("select where not exists (select from net._http_response where id = -1)")
    assert await db.one("select id from net._http_response") == -2


async def test_a_trigger_of_the_project_on_the_answers_may_fail(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    """Such triggers occur. They run as `postgres`; one that raises costs the answer that it raised for."""
    await db.rows("create table public.seen (id bigint, whose text default current_user)")
    await db.rows(
        "create function public.on_answer() returns trigger language plpgsql as $$ begin "
        "if new.status_code = 404 then raise exception 'no'; end if; "
        "insert into public.seen values (new.id); return new; end $$"
    )
    await db.rows(
        "create trigger t after insert on net._http_response for each row execute function public.on_answer()"
    )
    async with running_sender(database, net_settings(tmp_path)):
        await db.rows(
            "select net.http_get(%s || case when n %% 2 = 0 then '/status/404' else '/ok' end) "
            "from generate_series(1, 20) as n",
            receiver.url,
        )
        seen = await db.until("select * from public.seen", count=10)
        await db.until("select where not exists (select from basalt.requests_in_flight)")
        after = await db.one("select net.http_get(%s)", receiver.url)
        await db.answer(after)
    assert {row["whose"] for row in seen} == {"postgres"}


async def test_a_request_whose_worker_was_killed_is_answered_for_and_not_sent_again(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    await db.rows(
        "insert into basalt.requests_in_flight values "
        "(1, gen_random_uuid(), now() - interval '1 second'), (2, gen_random_uuid(), now() + interval '1 hour')"
    )
    async with running_sender(database, net_settings(tmp_path)):
        answer = await db.answer(1)
    assert answer["error_msg"].startswith("The worker ended before the answer")
    assert (answer["status_code"], answer["timed_out"]) == (None, False)
    assert await db.one("select id from basalt.requests_in_flight") == 2


async def test_a_stop_waits_for_what_is_in_hand(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    async with running_sender(database, net_settings(tmp_path)):
        number = await db.one("select net.http_get(%s)", f"{receiver.url}/slow/0.5")
        while not receiver.arrived:
            await asyncio.sleep(0.01)
    assert (await db.rows("select status_code from net._http_response where id = %s", number)) == [
        {"status_code": 200}
    ]


async def test_numbers_that_were_rolled_back_do_not_fill_the_queue(
    db: Database, receiver: Receiver, database: DatabaseAccess, tmp_path: Path
) -> None:
    """The bound counts numbers, which costs a call nothing; where nothing waits the count begins anew."""
    await db.rows("begin")
    await db.rows("select net.http_get('http://a/') from generate_series(1, 3000)")
    await db.rows("rollback")
    settings = net_settings(tmp_path, BASALT_WEBHOOKS_MAX_WAITING="2000")
    async with running_sender(database, settings):
        await db.until("select from basalt.outgoing_state where kind = 'request' and claimed_id = 3000")
        await db.answer(await db.one("select net.http_get(%s)", receiver.url))
    assert await db.one("select max_waiting from basalt.outgoing_state where kind = 'webhook'") == 2000
