"""Flags in the memory of a process, and the OpenFeature SDK over them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable

import psycopg
import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from basalt import observe
from basalt.errors import BasaltError
from basalt.flags import BasaltProvider, FlagBook, FlagCaller
from basalt.flags import book as book_module
from basalt.postgres import DatabaseAccess
from tests.bus.brokers import Postgres

pytestmark = pytest.mark.req("P18")

ANYBODY = FlagCaller()


@pytest.fixture
async def book(flag_database: DatabaseAccess) -> AsyncIterator[FlagBook]:
    opened = FlagBook(flag_database.conninfo("authenticator"))
    await opened.ensure_loaded()
    yield opened
    await opened.close()


def is_on(book: FlagBook, name: str) -> bool | None:
    decision = book.decide(name, ANYBODY)
    return None if decision is None else decision.is_enabled


async def until(condition: Callable[[], bool], limit_s: float) -> float:
    """Seconds until it holds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.005)
    return loop.time() - began


async def test_a_switch_is_seen_within_a_second(admin: psycopg.Connection, book: FlagBook, flag: str) -> None:
    assert is_on(book, flag) is None
    admin.execute("insert into flags.flags (name, enabled) values (%s, true)", [flag])
    await until(lambda: is_on(book, flag) is True, 1)
    for _ in range(3):
        admin.execute("update flags.flags set enabled = not enabled where name = %s", [flag])
    await until(lambda: is_on(book, flag) is False, 1)
    admin.execute("delete from flags.flags where name = %s", [flag])
    await until(lambda: is_on(book, flag) is None, 1)


async def test_while_the_database_is_away_flags_stay_and_changes_are_found_after_it(
    cluster_access: DatabaseAccess, database: DatabaseAccess
) -> None:
    def execute(statement: str) -> None:
        with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
            connection.execute(statement.encode())

    execute("insert into flags.flags (name, enabled) values ('kept', true)")
    book = FlagBook(database.conninfo("authenticator"))
    await book.ensure_loaded()
    broker = Postgres(database, cluster_access)
    await broker.cut()
    assert is_on(book, "kept") is True
    other = FlagBook(database.conninfo("authenticator"))
    with pytest.raises(BasaltError) as error:
        await other.ensure_loaded()
    assert (error.value.code, error.value.status) == ("flags_unavailable", 503)
    await broker.restore()
    execute("update flags.flags set enabled = false")
    await until(lambda: is_on(book, "kept") is False, 10)
    await book.close()
    await other.close()


async def test_a_book_that_cannot_be_read_is_told_of_and_read_again(
    database: DatabaseAccess, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever went wrong: a process that follows no more would never see a switch."""
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("insert into flags.flags (name, enabled) values ('kept', true)")
        book = FlagBook(database.conninfo("authenticator"))
        await book.ensure_loaded()
        row = connection.execute("select pg_get_functiondef('flags.definitions'::regproc)").fetchone()
        assert row is not None
        connection.execute(
            "create or replace function flags.definitions() returns jsonb language sql as $$ select '[]'::jsonb $$"
        )
        connection.execute("update flags.flags set description = 'told'")

        def is_told() -> bool:
            observe.flush()
            return "flags_listener_lost" in capfd.readouterr().err

        await until(is_told, 5)
        assert is_on(book, "kept") is True
        connection.execute(row[0])
        connection.execute("update flags.flags set enabled = false")
        await until(lambda: is_on(book, "kept") is False, 5)
    await book.close()


@pytest.mark.long
async def test_a_connection_that_is_dead_without_a_word_is_replaced(
    database: DatabaseAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a firewall forgets it: nothing is sent back, and nothing ends."""
    monkeypatch.setattr(book_module, "LOOK_AGAIN_S", 0.2)
    monkeypatch.setattr(book_module, "ANSWER_LIMIT_S", 0.3)
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        connection.execute("insert into flags.flags (name, enabled) values ('kept', true)")
        book = FlagBook(database.conninfo("authenticator"))
        await book.ensure_loaded()
        [[pid]] = connection.execute(
            "select pid from pg_stat_activity "
            "where application_name = 'basalt/flags' and datname = current_database()"
        ).fetchall()
        os.kill(pid, signal.SIGSTOP)
        try:
            connection.execute("update flags.flags set enabled = false")
            await until(lambda: is_on(book, "kept") is False, 20)
        finally:
            os.kill(pid, signal.SIGCONT)
    await book.close()


async def test_open_feature_resolves_values_of_every_type(
    admin: psycopg.Connection, book: FlagBook, flag: str
) -> None:
    values = {
        "bool": ("false", "true"),
        "text": ('"a"', '"b"'),
        "int": ("0", "7"),
        "real": ("0.5", "2.5"),
        "whole": ("0", "2"),
        "json": ("{}", '{"a": [1]}'),
    }
    for kind, (off, on) in values.items():
        admin.execute(
            "insert into flags.flags (name, enabled, off_value, variants) values (%s, true, %s, %s)",
            [f"{flag}_{kind}", off, f'[{{"name": "given", "value": {on}, "weight": 1}}]'],
        )
    await until(lambda: is_on(book, f"{flag}_json") is not None, 1)
    api.set_provider(BasaltProvider(book), flag)
    client = api.get_client(domain=flag)
    assert client.get_boolean_value(f"{flag}_bool", False) is True
    assert client.get_string_value(f"{flag}_text", "x") == "b"
    assert client.get_integer_value(f"{flag}_int", 1) == 7
    assert client.get_float_value(f"{flag}_real", 1.0) == 2.5
    assert repr(client.get_float_value(f"{flag}_whole", 1.0)) == "2.0"
    assert client.get_object_value(f"{flag}_json", {}) == {"a": [1]}
    details = client.get_string_details(f"{flag}_text", "x")
    assert (details.variant, details.reason, details.error_code) == ("given", Reason.STATIC, None)
    for name, code in ((f"{flag}_text", ErrorCode.TYPE_MISMATCH), ("nowhere", ErrorCode.FLAG_NOT_FOUND)):
        wrong = client.get_boolean_details(name, True)
        assert (wrong.value, wrong.error_code, wrong.reason) == (True, code, Reason.ERROR)
    assert client.get_integer_details(f"{flag}_bool", 3).error_code is ErrorCode.TYPE_MISMATCH
    unloaded = BasaltProvider(FlagBook(""))
    api.set_provider(unloaded, f"{flag}-unloaded")
    early = api.get_client(domain=f"{flag}-unloaded").get_boolean_details(f"{flag}_bool", False)
    assert early.error_code is ErrorCode.PROVIDER_NOT_READY


async def test_open_feature_targets_by_key_and_attributes(
    admin: psycopg.Connection, book: FlagBook, flag: str
) -> None:
    admin.execute("insert into flags.flags (name, enabled, rollout) values (%s, true, 0)", [flag])
    claims = '{"app_metadata": {"tier": "pro"}}'
    admin.execute("insert into flags.cohorts values (%s, '', array['ada'], %s)", [f"{flag}_c", claims])
    admin.execute("insert into flags.rules values (%s, 1, %s)", [flag, f"{flag}_c"])
    ada = FlagCaller("ada", "ada")

    def ada_has_it() -> bool:
        decision = book.decide(flag, ada)
        return decision is not None and decision.is_enabled

    await until(ada_has_it, 1)
    provider = BasaltProvider(book)
    for context, expected in (
        (EvaluationContext("ada"), True),
        (EvaluationContext("bob"), False),
        (EvaluationContext("bob", {"app_metadata": {"tier": "pro"}}), True),
        (None, False),
    ):
        assert provider.resolve_boolean_details(flag, False, context).value is expected
