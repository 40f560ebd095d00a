"""`basalt rest`: a PostgREST's place, taken by variables alone, over a database that Basalt did not make."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import jwt
import psycopg
import pytest

from basalt.postgres import DatabaseAccess
from tests.ports import free_port

pytestmark = pytest.mark.req("P5")

SECRET = "a secret of more than 32 characters"
START_LIMIT_S = 30
COMMAND = [sys.executable, "-c", "from basalt.cli import main; main()", "rest"]
SCHEMA = """
create schema api;
create table api.films (id int primary key, title text not null);
insert into api.films values (1, 'Metropolis'), (2, 'Nosferatu');
create table api.secrets (id int primary key, body text);
insert into api.secrets values (1, 'for members');
grant usage on schema api to anon, authenticated;
grant select on api.films to anon, authenticated;
grant select on api.secrets to authenticated;
create function api.whoami() returns json language sql stable as $$
    select json_build_object('role', current_user, 'claims', current_setting('request.jwt.claims')::json,
        'host', current_setting('app.settings.host', true))
$$;
"""


@pytest.fixture
def films(database: DatabaseAccess) -> DatabaseAccess:
    with psycopg.connect(database.conninfo("postgres")) as connection:
        connection.execute(SCHEMA)
    return database


def environ(access: DatabaseAccess, **variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PGRST_")}
    return {
        **kept,
        "PGRST_DB_URI": access.url("authenticator"),
        "PGRST_DB_SCHEMAS": "api",
        "PGRST_DB_ANON_ROLE": "anon",
        "PGRST_JWT_SECRET": SECRET,
        "PGRST_SERVER_PORT": str(free_port()),
        "NO_COLOR": "1",
        "BASALT_LOG_FORMAT": "json",
        **variables,
    }


@contextmanager
def running(variables: Mapping[str, str], folder: Path) -> Iterator[httpx2.Client]:
    """A client of a server that is ready; it stops as Ctrl-C stops it."""
    log = folder / "rest.log"
    with log.open("wb") as output:
        process = subprocess.Popen(COMMAND, env=dict(variables), cwd=folder, stderr=output)
    try:
        url = f"http://127.0.0.1:{variables['PGRST_SERVER_PORT']}"
        with httpx2.Client(base_url=url, timeout=30) as client:
            deadline = time.monotonic() + START_LIMIT_S
            while not is_up(client):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield client
        process.send_signal(signal.SIGINT)
        assert process.wait(START_LIMIT_S) in (0, -signal.SIGINT, 130), log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def is_up(client: httpx2.Client) -> bool:
    try:
        client.get("/films")
    except httpx2.TransportError:
        return False
    return True


def token(**claims: object) -> dict[str, str]:
    return {"authorization": f"Bearer {jwt.encode(claims, SECRET, algorithm='HS256')}"}


def test_a_table_is_read_as_anonymous_and_with_tokens(films: DatabaseAccess, tmp_path: Path) -> None:
    variables = environ(
        films, PGRST_APP_SETTINGS_HOST="here", PGRST_LOG_QUERY="true", PGRST_SERVER_TRACE_HEADER="X-Own"
    )
    with running(variables, tmp_path) as client:
        answer = client.get("/films?select=title&order=id", headers={"x-own": "7"})
        assert answer.json() == [{"title": "Metropolis"}, {"title": "Nosferatu"}]
        assert answer.headers["x-own"] == "7"

        denied = client.get("/secrets")
        assert (denied.status_code, denied.json()["code"]) == (401, "42501")
        member = token(role="authenticated", sub="7")
        assert client.get("/secrets?select=body", headers=member).json() == [{"body": "for members"}]

        expired = client.get("/films", headers=token(role="authenticated", exp=1))
        assert (expired.status_code, expired.json()["code"]) == (401, "PGRST303")
        assert expired.headers["www-authenticate"] == (
            'Bearer error="invalid_token", error_description="JWT expired"'
        )
        forged = {"authorization": f"Bearer {jwt.encode({'role': 'authenticated'}, 'x' * 40)}"}
        refused = client.get("/films", headers=forged)
        assert (refused.status_code, refused.json()["message"]) == (401, "No suitable key or wrong key type")
        assert refused.json()["details"] == "None of the keys was able to decode the JWT"

        whoami = client.get("/rpc/whoami", headers=member).json()
        assert whoami["role"] == "authenticated"
        assert whoami["claims"] == {"role": "authenticated", "sub": "7"}
        assert whoami["host"] == "here"

        assert client.get("/rest/v1/films").status_code == 404
    log = (tmp_path / "rest.log").read_text()
    assert "without effect in this version: PGRST_LOG_QUERY" in log
    assert list(tmp_path.iterdir()) == [tmp_path / "rest.log"]


def test_without_role_and_secret_nobody_gets_in(films: DatabaseAccess, tmp_path: Path) -> None:
    with running(environ(films, PGRST_DB_ANON_ROLE="", PGRST_JWT_SECRET=""), tmp_path) as client:
        anonymous = client.get("/films")
        assert (anonymous.status_code, anonymous.json()["code"]) == (401, "PGRST302")
        assert anonymous.headers["www-authenticate"] == "Bearer"
        unverifiable = client.get("/films", headers=token(role="authenticated"))
        assert (unverifiable.status_code, unverifiable.json()["code"]) == (500, "PGRST300")
        assert "www-authenticate" not in unverifiable.headers


def run(variables: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        env=dict(variables),
        capture_output=True,
        text=True,
        timeout=START_LIMIT_S,
        check=False,
    )


@pytest.mark.long
def test_a_bad_start_is_one_clear_message(films: DatabaseAccess) -> None:
    variables = environ(films)
    bad = run({**variables, "PGRST_DB_MAX_ROWS": "many", "PGRST_JWT_SECRET": "short"})
    assert bad.returncode == 1
    assert "PGRST_DB_MAX_ROWS: 'many' is not a whole number" in bad.stderr
    assert "PGRST_JWT_SECRET: the secret must be at least 32 characters long" in bad.stderr
    assert run(variables, "--db-url", "no url").stderr.startswith("Error: The database URL cannot be read")
    taken = str(films.port)
    occupied = run(variables, "--port", taken)
    assert (occupied.returncode, "Address already in use" in occupied.stderr) == (1, True)
    away = run({**variables, "PGRST_DB_URI": f"postgresql://nobody@127.0.0.1:{free_port()}/gone"})
    assert (away.returncode, "start_failed" in away.stderr) == (1, True)
