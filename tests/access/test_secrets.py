"""Secrets of functions at rest: what is sealed, with which key, and which names and values there may be."""

import asyncio
import base64
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from basalt.access import (
    Sealer,
    SealingError,
    SecretsError,
    SecretsWatch,
    add_sealing_key,
    list_secrets,
    load_sealer,
    load_secrets,
    remove_secrets,
    reseal_secrets,
    store_secrets,
)
from basalt.config import load_settings
from basalt.errors import BasaltError
from basalt.postgres import DatabaseAccess
from tests.projects import write_project

pytestmark = pytest.mark.req("P20")

PLANTED = "planted-77ab-s3cr3t"


def a_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


@pytest.fixture
def conninfo(database: DatabaseAccess) -> str:
    return database.conninfo("supabase_admin")


@pytest.fixture
def rows(database: DatabaseAccess) -> Iterator[Callable[[], list[Any]]]:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        yield lambda: connection.execute("select * from basalt.secrets order by name").fetchall()


def test_what_is_sealed_opens_under_its_own_name_only() -> None:
    sealer = Sealer([secrets.token_bytes(32)])
    sealed = sealer.seal("A", PLANTED)
    assert sealer.unseal("A", sealed) == PLANTED
    assert PLANTED.encode() not in sealed
    assert sealer.seal("A", PLANTED) != sealed
    for changed in (
        sealed[:-1],
        sealed[:-1] + bytes([sealed[-1] ^ 1]),
        sealed[:20] + b"x" + sealed[21:],
        b"",
        b"\x02abc",
    ):
        with pytest.raises(SealingError):
            sealer.unseal("A", changed)
    with pytest.raises(SealingError, match="was changed in the database"):
        sealer.unseal("B", sealed)


def test_a_wrong_key_is_named_and_nothing_is_guessed() -> None:
    sealed = Sealer([secrets.token_bytes(32)]).seal("A", PLANTED)
    with pytest.raises(
        SealingError, match=f"sealed with key {sealed[1:9].hex()}, which this node does not have"
    ):
        Sealer([secrets.token_bytes(32)]).unseal("A", sealed)


def test_the_key_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    sealed = load_sealer(tmp_path, None).seal("A", "x")
    assert load_sealer(tmp_path, None).unseal("A", sealed) == "x"
    assert (tmp_path / "secrets.key").stat().st_mode & 0o777 == 0o600
    add_sealing_key(tmp_path)
    assert (tmp_path / "secrets.key").stat().st_mode & 0o777 == 0o600
    assert load_sealer(tmp_path, None).unseal("A", sealed) == "x"
    assert not load_sealer(tmp_path, None).is_current(sealed)
    assert [path.name for path in tmp_path.iterdir()] == ["secrets.key"]


def test_a_key_that_is_none_is_refused_without_showing_it(tmp_path: Path) -> None:
    for text in (PLANTED, "", a_key()[:-8], f"{a_key()},{PLANTED}"):
        with pytest.raises(SealingError) as refused:
            load_sealer(tmp_path, text)
        assert PLANTED not in str(refused.value)
    first, second = a_key(), a_key()
    sealed = load_sealer(tmp_path, first).seal("A", "x")
    assert load_sealer(tmp_path, f"{second}, {first}\n").unseal("A", sealed) == "x"


def test_any_text_is_stored_and_found_again(conninfo: str, rows: Callable[[], list[Any]]) -> None:
    sealer = Sealer([secrets.token_bytes(32)])
    values = {
        "EMPTY": "",
        "LINES": "-----BEGIN\nü🔑\r\n-----END\n",
        "LONG": "x" * 48 * 1024,
        "_a1": "='\"$(x)",
    }
    store_secrets(conninfo, sealer, values)
    assert load_secrets(conninfo, sealer) == values
    store_secrets(conninfo, sealer, {"LONG": "y"})
    assert load_secrets(conninfo, sealer) == {**values, "LONG": "y"}
    assert [entry.name for entry in list_secrets(conninfo, sealer)] == ["EMPTY", "LINES", "LONG", "_a1"]
    assert remove_secrets(conninfo, ["EMPTY", "NONE"]) == ["EMPTY"]
    assert len(rows()) == 3


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("SUPABASE_URL", "x", "reserved_secret_name"),
        ("1A", "x", "invalid_secret_name"),
        ("A-B", "x", "invalid_secret_name"),
        ("", "x", "invalid_secret_name"),
        ("A\n", "x", "invalid_secret_name"),
        ("A" * 257, "x", "invalid_secret_name"),
        ("A", PLANTED + "x" * 48 * 1024, "secret_too_large"),
        ("A", PLANTED + "\0", "invalid_secret_value"),
        ("A", PLANTED + "\udc80", "invalid_secret_value"),
    ],
)
def test_names_and_values_that_cannot_be_are_refused(name: str, value: str, code: str) -> None:
    with pytest.raises(SecretsError) as refused:
        store_secrets("host=nowhere.invalid", Sealer([bytes(32)]), {"GOOD": "x", name: value})
    assert refused.value.code == code
    assert PLANTED not in f"{refused.value!r} {refused.value.hint} {refused.value.__cause__!r}"


def test_there_are_at_most_a_hundred(conninfo: str) -> None:
    sealer = Sealer([bytes(32)])
    store_secrets(conninfo, sealer, {f"S{number}": "x" for number in range(100)})
    store_secrets(conninfo, sealer, {"S5": "y"})
    with pytest.raises(SecretsError, match="at most 100"):
        store_secrets(conninfo, sealer, {"ONE_MORE": "x"})
    assert len(load_secrets(conninfo, sealer)) == 100


def test_a_rotation_seals_all_anew(conninfo: str, rows: Callable[[], list[Any]], tmp_path: Path) -> None:
    before = load_sealer(tmp_path, None)
    store_secrets(conninfo, before, {"A": "1", "B": "2"})
    changed_at = [row[3] for row in rows()]
    add_sealing_key(tmp_path)
    after = load_sealer(tmp_path, None)
    assert load_secrets(conninfo, after) == {"A": "1", "B": "2"}
    assert reseal_secrets(conninfo, after) == 2
    assert reseal_secrets(conninfo, after) == 0
    assert load_secrets(conninfo, after) == {"A": "1", "B": "2"}
    assert [row[3] for row in rows()] == changed_at
    with pytest.raises(SealingError):
        load_secrets(conninfo, before)


def test_nodes_with_the_same_key_share_secrets_and_others_are_told(conninfo: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    store_secrets(conninfo, load_sealer(first, None), {"A": "1"})
    with pytest.raises(SealingError, match="Secret A was sealed with key") as refused:
        load_secrets(conninfo, load_sealer(second, None))
    assert "BASALT_SECRETS_KEY" in str(refused.value.hint)
    with pytest.raises(SealingError):  # or the first node could not read what the second one stores
        store_secrets(conninfo, load_sealer(second, None), {"B": "2"})
    shared = (first / "secrets.key").read_text()
    store_secrets(conninfo, load_sealer(second, shared), {"B": "2"})
    assert load_secrets(conninfo, load_sealer(first, None)) == {"A": "1", "B": "2"}


def test_only_the_owner_reads_the_table(database: DatabaseAccess) -> None:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        for role in (
            "anon",
            "authenticated",
            "service_role",
            "authenticator",
            "supabase_auth_admin",
            "dashboard_user",
        ):
            connection.execute(f"set session authorization {role}".encode())
            for statement in (
                b"select * from basalt.secrets",
                b"insert into basalt.secrets values ('A', '')",
                b"delete from basalt.secrets",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
            connection.execute("reset session authorization")
    with psycopg.connect(database.conninfo("postgres"), autocommit=True) as connection:
        for statement in (
            b"insert into basalt.secrets values ('A', '')",
            b"update basalt.secrets set sealed = ''",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


async def test_changes_reach_every_process_that_watches(conninfo: str, tmp_path: Path) -> None:
    seen: list[Mapping[str, str]] = []
    watch = SecretsWatch(conninfo, lambda: load_sealer(tmp_path, None), on_change=seen.append)
    try:
        await watch.ensure_loaded()
        assert seen == [{}]
        await asyncio.to_thread(store_secrets, conninfo, load_sealer(tmp_path, None), {"A": "1"})
        await wait_until(lambda: len(seen) == 2)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'basalt/secrets' and datname = current_database() and query like 'listen%'"
            )
        await asyncio.to_thread(remove_secrets, conninfo, ["A"])
        await wait_until(lambda: len(seen) == 3)  # what was said while nobody listened
        add_sealing_key(tmp_path)
        await asyncio.to_thread(store_secrets, conninfo, load_sealer(tmp_path, None), {"B": "2"})
        await wait_until(lambda: len(seen) == 4)
        assert seen == [{}, {"A": "1"}, {}, {"B": "2"}]
        add_sealing_key(tmp_path)
        await asyncio.to_thread(reseal_secrets, conninfo, load_sealer(tmp_path, None))
        await asyncio.to_thread(store_secrets, conninfo, load_sealer(tmp_path, None), {"C": "3"})
        await wait_until(lambda: len(seen) == 5)  # the rotation changed no value and was none
        assert seen[-1] == {"B": "2", "C": "3"}
    finally:
        await watch.close()


async def test_who_lacks_the_key_is_told_at_each_call_until_it_has_it(conninfo: str, tmp_path: Path) -> None:
    key = a_key()
    store_secrets(conninfo, load_sealer(tmp_path, key), {"A": "1"})
    seen: list[Mapping[str, str]] = []
    held = [a_key()]
    watch = SecretsWatch(conninfo, lambda: load_sealer(tmp_path, held[0]), on_change=seen.append)
    try:
        for _ in range(2):
            with pytest.raises(SealingError, match="which this node does not have"):
                await watch.ensure_loaded()
        held[0] = key
        await watch.ensure_loaded()
        assert seen == [{"A": "1"}]
    finally:
        await watch.close()


async def test_a_database_that_is_away_is_no_reason_to_go_on_without_secrets() -> None:
    watch = SecretsWatch(
        "host=127.0.0.1 port=1 connect_timeout=2", lambda: Sealer([bytes(32)]), on_change=print
    )
    with pytest.raises(BasaltError, match="cannot be read"):
        await watch.ensure_loaded()
    await watch.close()


CONFIG = """
project_id = "secretive"
[db]
url = "env(PLANTED_URL)"
[db.vault]
stripe = "env(PLANTED)"
nobody = "env(NOT_SET_ANYWHERE)"
[auth]
jwt_secret = "env(PLANTED)"
secret_key = "env(PLANTED)"
[auth.email.smtp]
host = "localhost"
user = "me"
pass = "env(PLANTED)"
admin_email = "a@example.com"
[auth.captcha]
enabled = true
provider = "hcaptcha"
secret = "env(PLANTED)"
[auth.external.github]
enabled = true
client_id = "x"
secret = "env(PLANTED)"
[auth.sms.twilio]
auth_token = "env(PLANTED)"
[edge_runtime.secrets]
OWN = "env(PLANTED)"
OTHER = "plain"
[basalt.bus]
url = "env(PLANTED_URL)"
[basalt.cache]
url = "env(PLANTED_URL)"
[basalt.rest]
jwt_secret = "env(PLANTED)"
[basalt.rest.app_settings]
token = "env(PLANTED)"
[basalt.secrets]
key = "env(PLANTED)"
[basalt.storage]
s3_access_key_id = "x"
s3_secret_access_key = "env(PLANTED)"
"""


def test_settings_show_no_secret_of_theirs(tmp_path: Path) -> None:
    planted = PLANTED + "-long-enough-for-a-secret"
    environ = {"PLANTED": planted, "PLANTED_URL": f"postgresql://me:{planted}@127.0.0.1/x"}
    settings = load_settings(write_project(tmp_path, {"config.toml": CONFIG}), environ)
    assert settings.db.vault == {"stripe": planted}
    assert settings.edge_runtime.secrets == {"OWN": planted, "OTHER": "plain"}
    assert settings.basalt.rest.app_settings == {"token": planted}
    assert PLANTED not in repr(settings)
    assert "secretive" in repr(settings)
    assert not settings.unknown_keys
    assert not settings.idle_keys


def test_a_secret_of_the_wrong_kind_is_not_shown_in_the_complaint(tmp_path: Path) -> None:
    config = "[auth]\njwt_secret = 20201984\n[edge_runtime.secrets]\nA = 20201984\n"
    with pytest.raises(BasaltError) as refused:
        load_settings(write_project(tmp_path, {"config.toml": config}), {})
    assert "auth.jwt_secret" in str(refused.value)
    assert "edge_runtime.secrets" in str(refused.value)
    assert "20201984" not in str(refused.value)


def test_the_key_for_several_nodes_is_a_setting(tmp_path: Path) -> None:
    settings = load_settings(write_project(tmp_path, {}), {**os.environ, "BASALT_SECRETS_KEY": a_key()})
    assert settings.basalt.secrets.key is not None
