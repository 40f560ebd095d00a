"""Secrets of a running project: the commands, what functions find, and every place where a value must not be."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.projects import write_project
from tests.server import Server, running_server

pytestmark = pytest.mark.req("P20")

PLANTED = {
    name: f"planted-{name.lower()}-3e9d"
    for name in ("FROM_SETTINGS", "FROM_FILE", "STORED", "BY_STDIN", "IN_VAULT", "IN_STATEMENT")
}
CONFIG = f"""
project_id = "secrets"
[functions.show]
verify_jwt = false
[functions.crash]
verify_jwt = false
[db.vault]
in_settings = "{PLANTED["IN_VAULT"]}"
[edge_runtime.secrets]
FROM_SETTINGS = "{PLANTED["FROM_SETTINGS"]}"
FROM_FILE = "overridden"
STORED = "overridden"
"""
FILES = {
    "config.toml": CONFIG,
    "20260101000000_uses_vault.sql": """
        create table public.found as select decrypted_secret = '' as is_empty from vault.decrypted_secrets
        where name = 'in_settings';
    """,
    "functions/.env": f"FROM_FILE={PLANTED['FROM_FILE']}\nSTORED=overridden\n",
    # A digest: what a function answers is its author's affair, and the search below must not find it in a log.
    "functions/show/index.py": """
import hashlib

async def handler(request, context):
    return {name: hashlib.sha256(value.encode()).hexdigest() for name, value in context.env.items()}
""",
    "functions/crash/index.py": """
async def handler(request, context):
    secret = context.env["STORED"]
    raise RuntimeError("it broke")
""",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    project = write_project(tmp_path_factory.mktemp("secrets") / "project", FILES)
    with running_server(project) as running:
        yield running


@pytest.fixture
def basalt(server: Server) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    def run(*words: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", "from basalt.cli import main; main()", "secrets", *words]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=dict(server.environ),
            input=given,
            timeout=60,
            check=False,
        )

    return run


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def seen_by_functions(server: Server) -> dict[str, str]:
    with server.client() as client:
        answer = client.post("/functions/v1/show")
        assert answer.status_code == 200, answer.text
        found: dict[str, str] = answer.json()
        return found


def wait_for(condition: Callable[[], object], limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def test_secrets_are_set_seen_listed_and_forgotten(server: Server, basalt: Any, tmp_path: Path) -> None:
    folder = str(server.project_dir)
    before = seen_by_functions(server)
    assert before["FROM_SETTINGS"] == digest(PLANTED["FROM_SETTINGS"])
    assert before["FROM_FILE"] == digest(PLANTED["FROM_FILE"])
    assert before["STORED"] == digest("overridden")

    env_file = tmp_path / "more.env"
    env_file.write_text(f'STORED={PLANTED["STORED"]}\nSUPABASE_URL=elsewhere\nLINES="a\\nb"\n')
    done = basalt("set", "--project", folder, "--env-file", str(env_file))
    assert done.returncode == 0, done.stderr
    assert "Passing over SUPABASE_URL" in done.stderr
    done = basalt("set", "BY_STDIN", "--stdin", "-p", folder, given=PLANTED["BY_STDIN"] + "\n")
    assert done.stdout == "Set: BY_STDIN.\n"

    wait_for(lambda: "BY_STDIN" in seen_by_functions(server))
    after = seen_by_functions(server)
    assert after["STORED"] == digest(PLANTED["STORED"])  # stored secrets count more than files
    assert after["BY_STDIN"] == digest(PLANTED["BY_STDIN"])
    assert after["LINES"] == digest("a\nb")
    assert after["SUPABASE_URL"] == digest(server.url)

    listed = basalt("list", folder)
    assert f"BY_STDIN  {digest(PLANTED['BY_STDIN'])}" in listed.stdout
    rows = json.loads(basalt("list", folder, "--json").stdout)
    assert [row["name"] for row in rows] == ["BY_STDIN", "LINES", "STORED"]
    assert rows[0]["value"] == digest(PLANTED["BY_STDIN"])

    assert basalt("unset", "LINES", "NONE", "-p", folder).stdout == "Unset: LINES.\n"
    assert basalt("unset", "LINES", "-p", folder).returncode == 1
    wait_for(lambda: "LINES" not in seen_by_functions(server))


def test_what_cannot_be_set_is_refused_as_a_whole(server: Server, basalt: Any) -> None:
    folder = str(server.project_dir)
    for words, complaint in (
        (["A=1", "SUPABASE_B=2"], "SUPABASE_B cannot be set"),
        (["A=1", "1B=2"], "cannot be the name"),
        ([], "Nothing to set"),
        (["A", "B", "--stdin"], "--stdin needs one NAME"),
    ):
        done = basalt("set", *words, "-p", folder)
        assert done.returncode == 1
        assert complaint in done.stderr
    assert "A" not in seen_by_functions(server)


def test_a_rotation_disturbs_nobody(server: Server, basalt: Any) -> None:
    before = seen_by_functions(server)
    keys = [server.project_dir / ".basalt" / name for name in ("secrets.key", "postgres/vault.key")]
    texts = [path.read_text() for path in keys]
    done = basalt("rotate", str(server.project_dir))
    assert done.returncode == 0, done.stderr
    assert "1 secrets of Vault sealed anew" in done.stdout
    assert all(path.read_text().endswith(text) for path, text in zip(keys, texts, strict=True))
    assert seen_by_functions(server) == before


def test_vault_has_the_secrets_of_the_settings_before_the_migrations(server: Server) -> None:
    with psycopg.connect(server.database_url, autocommit=True) as connection:
        assert connection.execute("select is_empty from public.found").fetchall() == [(False,)]
        row = connection.execute("select decrypted_secret from vault.decrypted_secrets").fetchone()
        assert row == (PLANTED["IN_VAULT"],)


def test_no_value_is_found_anywhere(server: Server, basalt: Any) -> None:
    """Logs, state folder with the data directory, answers, console, lists, processes and what PostgreSQL tells of
    its sessions. The files that users write themselves are theirs."""
    with psycopg.connect(server.database_url, autocommit=True) as connection:
        with pytest.raises(psycopg.Error):
            connection.execute(
                f"select vault.create_secret('{PLANTED['IN_STATEMENT']}', null, null)".encode()
            )
        connection.execute("select 1")
        told = str(connection.execute("select query from pg_stat_activity").fetchall())
    with server.client() as client:
        crashed = client.post("/functions/v1/crash")
        assert crashed.status_code == 500
        told += crashed.text + str(crashed.headers)
    with server.client(server.secret_key) as client:
        home = client.get("/studio/", follow_redirects=True).text
        pages = set(re.findall(r'href="(/studio[^"#]*)"', home))
        told += home + "".join(client.get(page).text for page in pages)
    listed = basalt("list", str(server.project_dir))
    assert listed.returncode == 0
    told += listed.stdout
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told += process.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue  # it has ended
    for name, value in PLANTED.items():
        assert value not in told, name

    found, looked_at = [], 0
    values = [value.encode() for value in PLANTED.values()]
    for folder, _, names in os.walk(server.project_dir):
        if Path(folder).is_relative_to(server.project_dir / "supabase") or Path(folder).name == "tree":
            continue
        for path in (Path(folder) / name for name in names):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                looked_at += 1
                found += [str(path) for value in values if value in content]
    assert found == []
    assert looked_at > 1000  # the data directory too
