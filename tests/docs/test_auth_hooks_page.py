"""The examples of docs/how-to/auth-hooks.md run as they stand there."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
from psycopg.types.json import Jsonb

from basalt.postgres import DatabaseAccess
from tests.functions.calling import wait_for
from tests.ports import free_port
from tests.server import running_server

PAGE = (Path(__file__).parent.parent.parent / "docs" / "how-to" / "auth-hooks.md").read_text("utf-8")
PASSWORD = "correct horse battery"
NAMES = (
    "custom_access_token",
    "password_verification_attempt",
    "mfa_verification_attempt",
    "before_user_created",
    "after_user_created",
)
USER_ID = "0b2e6f0e-6b4e-4b0e-8b0e-0b2e6f0e6b4e"


def blocks(language: str, text: str = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def payloads() -> dict[str, Any]:
    """The documented payload of each hook; identifiers are written short there."""
    found = {}
    for name in (*NAMES, "send_email, send_sms"):
        section = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for hook, text in zip(name.split(", "), blocks("json", section), strict=True):
            found[hook] = json.loads(text.replace("0b2e…", USER_ID))
    return found


@pytest.mark.req("P6")
def test_the_functions_in_sql_take_the_documented_payloads(database: DatabaseAccess) -> None:
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        for statements in blocks("sql"):
            connection.execute(statements)
    answers = {}
    with psycopg.connect(database.conninfo("supabase_auth_admin"), autocommit=True) as connection:
        for name, payload in payloads().items():
            row = connection.execute(f"select hooks.{name}(%s)", [Jsonb(payload)]).fetchone()
            assert row is not None
            answers[name] = row[0]
    assert answers["custom_access_token"]["claims"]["plan"] == "free"
    assert answers["password_verification_attempt"] == {"decision": "continue"}
    assert all(isinstance(answer, dict) and "error" not in answer for answer in answers.values())
    with psycopg.connect(database.conninfo("supabase_admin"), autocommit=True) as connection:
        outbox = connection.execute("select kind, code from hooks.outbox order by kind").fetchall()
        assert outbox == [("recovery", "305805"), ("sms", "305805")]
        connection.execute("set role anon")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select hooks.before_user_created('{}')")


@pytest.mark.req("P6")
def test_the_function_in_python_serves_the_hooks(tmp_path: Path) -> None:
    port = free_port()
    secret = "v1,whsec_" + base64.b64encode(b"0123456789" * 3).decode()
    names = (
        "custom_access_token",
        "password_verification_attempt",
        "before_user_created",
        "after_user_created",
    )
    config = "[functions.hooks]\nverify_jwt = false\n" + "".join(
        f'[auth.hook.{name}]\nuri = "http://127.0.0.1:{port}/functions/v1/hooks"\nsecrets = "{secret}"\n'
        for name in names
    )
    folder = tmp_path / "project" / "supabase"
    (folder / "functions" / "hooks").mkdir(parents=True)
    (folder / "config.toml").write_text(config)
    (folder / "functions" / ".env").write_text(f"HOOK_SECRETS={secret}\n")
    (folder / "functions" / "hooks" / "index.py").write_text(blocks("python")[0])
    with running_server(folder.parent, SUPABASE_API_PORT=str(port)) as server, server.client() as client:
        body = {"email": "ada@example.com", "password": PASSWORD}
        made = client.post("/auth/v1/signup", json=body)
        assert made.status_code == 200, made.text
        claims = jwt.decode(made.json()["access_token"], options={"verify_signature": False})
        assert claims["plan"] == "free"
        refused = client.post("/auth/v1/signup", json={**body, "email": "eve@spam.example"})
        assert (refused.status_code, refused.json()["msg"]) == (403, "Not with this address")
        signed_in = client.post("/auth/v1/token?grant_type=password", json=body)
        assert signed_in.status_code == 200, signed_in.text
        forged = client.post("/functions/v1/hooks", json={"metadata": {"name": "send-sms"}})
        assert forged.status_code == 401
        # What a function writes comes to the log a moment after its answer.
        wait_for(lambda: f"welcome {made.json()['user']['id']}" in server.log.read_text(), 5)
        log = server.log.read_text()
        assert log.count('"event":"hook_ran"') >= 5
        assert secret not in log
