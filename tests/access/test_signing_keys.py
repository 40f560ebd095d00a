"""Signing keys: which one signs, which verify, and that a rotation logs nobody out."""

from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from basalt.access import AccessError, Authoriser, load_project_keys
from basalt.access.signing_keys import create_signing_key, parse_signing_keys, rotate
from basalt.cli.main import app
from basalt.config import load_settings
from basalt.errors import BasaltError

pytestmark = pytest.mark.req("P4")

CLAIMS = {"sub": "someone", "role": "authenticated"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "supabase").mkdir()
    (tmp_path / "supabase" / "config.toml").write_text('[auth]\njwt_algorithm = "ES256"\n')
    return tmp_path


def run(*arguments: str) -> str:
    answer = CliRunner().invoke(app, list(arguments))
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    assert answer.exit_code == 0, answer.output
    return answer.output


def keys_of(project: Path):
    settings = load_settings(project, {})
    return load_project_keys(settings.state_dir, settings)


def listed(project: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = orjson.loads(run("signing-keys", "list", str(project), "--json"))
    return rows


def test_a_new_project_announces_the_key_that_will_follow(project: Path) -> None:
    keys = keys_of(project)
    assert [row["state"] for row in listed(project)] == ["current", "standby"]
    assert [jwk["kid"] for jwk in keys.jwks()["keys"]] == [row["kid"] for row in listed(project)]
    assert all("d" not in jwk for jwk in keys.jwks()["keys"])


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_a_rotation_keeps_what_was_signed(project: Path, algorithm: str) -> None:
    before = keys_of(project)
    token = before.sign(CLAIMS)
    run("signing-keys", "rotate", str(project), "--algorithm", algorithm)
    after = keys_of(project)
    if algorithm == "ES256":
        assert after.signing_keys[0].kid == before.signing_keys[1].kid
    assert after.signing_keys[0].algorithm == algorithm
    assert [row["state"] for row in listed(project)] == ["current", "standby", "previous"]
    for signed in (token, after.sign(CLAIMS)):
        assert Authoriser(after).verify(signed).user_id == "someone"
    if algorithm == "ES256":  # a gateway that has not started again takes what the new key signs
        assert Authoriser(before).verify(after.sign(CLAIMS)).user_id == "someone"


def test_a_revoked_key_verifies_nothing(project: Path) -> None:
    token = keys_of(project).sign(CLAIMS)
    run("signing-keys", "rotate", str(project))
    [previous] = [row["kid"] for row in listed(project) if row["state"] == "previous"]
    run("signing-keys", "revoke", previous, str(project))
    with pytest.raises(AccessError) as refused:
        Authoriser(keys_of(project)).verify(token)
    assert refused.value.reason == "unsupported_algorithm"


def test_the_key_that_signs_cannot_be_revoked_nor_one_that_is_not_there(project: Path) -> None:
    with pytest.raises(BasaltError, match="signs at present"):
        run("signing-keys", "revoke", listed(project)[0]["kid"], str(project))
    with pytest.raises(BasaltError, match="no signing key"):
        run("signing-keys", "revoke", "unknown", str(project))


def test_tokens_of_the_secret_stay_valid_when_a_key_signs(project: Path) -> None:
    keys = keys_of(project)
    token = replace(keys, signs_with_secret=True).sign(CLAIMS)
    assert Authoriser(keys).verify(token).user_id == "someone"


def test_keys_of_a_file_sign_in_its_order_and_may_be_public_ones(project: Path) -> None:
    first, second = create_signing_key(), create_signing_key("RS256")
    public = {name: value for name, value in second.items() if name not in ("d", "p", "q", "dp", "dq", "qi")}
    path = project / "supabase" / "keys.json"
    path.write_bytes(orjson.dumps([first, public]))
    (project / "supabase" / "config.toml").write_text('[auth]\nsigning_keys_path = "keys.json"\n')
    keys = keys_of(project)
    assert [jwk["kid"] for jwk in keys.jwks()["keys"]] == [first["kid"], second["kid"]]
    assert not keys.signs_with_secret
    with pytest.raises(BasaltError, match=r"keys\.json"):
        run("signing-keys", "rotate", str(project))
    path.write_bytes(orjson.dumps([public, first]))
    with pytest.raises(BasaltError, match="first key must be a private one"):
        keys_of(project)


def test_rotations_add_one_key_each() -> None:
    jwks = [create_signing_key()]
    for rounds in range(1, 4):
        jwks = rotate(jwks)
        assert len(jwks) == rounds + 2
        assert len({key.kid for key in parse_signing_keys(jwks)}) == rounds + 2
