"""Feature flags of a running project: from the command line to clients and functions."""

import json
import uuid
from typing import Any

import pytest
from click.testing import Result
from postgrest import SyncPostgrestClient
from typer.testing import CliRunner

from basalt.cli.main import app
from basalt.errors import BasaltError
from tests.functions.calling import call, token_of, wait_for
from tests.server import Server

pytestmark = pytest.mark.req("P18")


def run(server: Server, command: str, *arguments: str) -> Result:
    words = ["flags", command, *arguments, "-p", str(server.project_dir)]
    return CliRunner().invoke(app, words, env=dict(server.environ))


def done(server: Server, command: str, *arguments: str) -> str:
    result = run(server, command, *arguments)
    assert result.exit_code == 0, result.exception
    return result.stdout


def seen_by(server: Server, name: str, user: str, **claims: Any) -> Any:
    return call(server, f"context/flags?name={name}", token=token_of(server, user, **claims)).json()


def test_a_switch_reaches_functions_and_clients_within_a_second(server: Server) -> None:
    user = str(uuid.uuid4())
    assert done(server, "set", "reach") == "reach is set.\n"
    first = seen_by(server, "reach", user)
    assert (first["enabled"], first["value"], first["open_feature"], first["missing"]) == (
        False,
        False,
        False,
        True,
    )
    for command, expected in (("on", True), ("off", False), ("on", True)):
        done(server, command, "reach")
        wait_for(lambda: seen_by(server, "reach", user)["enabled"] is expected, 1)  # noqa: B023
    seen = seen_by(server, "reach", user)
    assert (seen["value"], seen["all"]["reach"], seen["open_feature"]) == (True, True, True)
    headers = {"apikey": server.publishable_key, "authorization": f"Bearer {token_of(server, user)}"}
    with SyncPostgrestClient(f"{server.url}/rest/v1", schema="flags", headers=headers) as client:
        mine = client.table("mine").select("name, value").eq("name", "reach").execute()
        assert mine.data == [{"name": "reach", "value": True}]
        assert client.rpc("enabled", {"name": "reach"}).execute().data is True
    with server.client() as http:
        refused = http.get("/rest/v1/flags", headers={"accept-profile": "flags"})
    assert (refused.status_code, refused.json()["code"]) == (401, "42501")


def test_everybody_has_the_same_whoever_is_asked(server: Server) -> None:
    done(server, "set", "half", "--variant", 'a="x"', "--variant", 'b:3="y"', "--off-value", '""')
    done(server, "on", "half")
    assert done(server, "rollout", "half", "50") == "half is for 50 %.\n"
    by_policy = {}
    for user in [str(uuid.uuid4()) for _ in range(12)]:
        with server.client(token=token_of(server, user)) as client:
            answer = client.get(
                "/rest/v1/mine?select=value&name=eq.half", headers={"accept-profile": "flags"}
            )
        by_policy[user] = answer.json()[0]["value"]
    assert len(set(by_policy.values())) > 1
    wait_for(lambda: {user: seen_by(server, "half", user)["value"] for user in by_policy} == by_policy, 1)


def test_cohorts_are_told_by_list_and_by_claims(server: Server) -> None:
    tester, other = str(uuid.uuid4()), str(uuid.uuid4())
    done(server, "set", "aimed", "--description", "For some")
    done(server, "on", "aimed")
    done(server, "rollout", "aimed", "0")
    done(server, "cohort", "testers", "--add", tester, "--claims", '{"app_metadata": {"tier": "pro"}}')
    assert done(server, "target", "aimed", "testers") == "aimed decides about testers.\n"
    wait_for(lambda: seen_by(server, "aimed", tester)["enabled"], 1)
    assert seen_by(server, "aimed", other)["enabled"] is False
    assert seen_by(server, "aimed", other, app_metadata={"tier": "pro"})["enabled"] is True
    listed = [line.split() for line in done(server, "list").splitlines()]
    assert ["aimed", "on", "0", "%", "on=true", "testers", "100", "%"] in listed
    done(server, "target", "aimed", "testers", "--remove")
    wait_for(lambda: not seen_by(server, "aimed", tester)["enabled"], 1)


def test_the_audit_tells_who_did_what(server: Server) -> None:
    done(server, "set", "audited")
    done(server, "on", "audited")
    done(server, "rollout", "audited", "25")
    done(server, "delete", "audited")
    rows = json.loads(done(server, "audit", "audited", "--json"))
    assert [row["action"] for row in rows] == ["delete", "update", "update", "insert"]
    assert all(row["changed_by"].startswith("cli:") for row in rows)
    assert (rows[1]["before"]["rollout"], rows[1]["after"]["rollout"]) == (100, 25)
    assert "enabled: false → true" in done(server, "audit", "audited")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["on", "nowhere"], "There is no flag nowhere"),
        (["rollout", "nowhere", "5"], "There is no flag nowhere"),
        (["delete", "nowhere"], "There is no flag nowhere"),
        (["target", "nowhere", "nobody"], "There is no flag nowhere"),
        (["target", "real", "nobody"], "There is no cohort of that name"),
        (["target", "real", "nobody", "--variant", "blue"], "The flag real has no variant blue"),
        (["set", "a b"], "A name has up to 100 letters, digits, dots, dashes and underscores"),
        (["set", "real", "--off-value", "blue"], "blue is not JSON"),
        (["set", "real", "--off-value", "null"], "null is no value of a flag"),
        (["set", "real", "--off-value", "1"], "Variants have names of their own"),
        (["set", "real", "--variant", "x"], "x is no variant"),
        (["set", "real", "--starts", "2030-01-02", "--ends", "2030-01-01"], "A flag starts before it ends"),
        (["cohort", "c", "--claims", "null"], "null is no value of a flag, and no claim"),
        (["cohort", "c", "--claims", "[]"], "The claims of a cohort are a JSON object"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused_with_its_reason(
    server: Server, arguments: list[str], message: str
) -> None:
    done(server, "set", "real")
    result = run(server, *arguments)
    assert isinstance(result.exception, BasaltError)
    assert result.exception.message.startswith(message)
