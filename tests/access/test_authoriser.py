"""From keys and tokens to a caller, and every way to be refused."""

import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from basalt.access import AccessError, Authoriser, ProjectKeys, load_project_keys
from basalt.config import load_settings
from basalt.http import Headers


def make_keys(tmp_path: Path, **environ: str) -> ProjectKeys:
    settings = load_settings(tmp_path, environ)
    return load_project_keys(settings.state_dir, settings)


@pytest.fixture
def keys(tmp_path: Path) -> ProjectKeys:
    return make_keys(tmp_path)


@pytest.fixture
def authoriser(keys: ProjectKeys) -> Authoriser:
    return Authoriser(keys)


def headers(apikey: str | None = None, bearer: str | None = None) -> Headers:
    raw = []
    if apikey is not None:
        raw.append((b"apikey", apikey.encode("latin-1")))
    if bearer is not None:
        raw.append((b"authorization", b"Bearer " + bearer.encode("latin-1")))
    return Headers(raw)


def user_claims(**more: Any) -> dict[str, Any]:
    return {"sub": "7", "role": "authenticated", "exp": int(time.time()) + 60, **more}


@pytest.mark.req("P4")
def test_each_kind_of_key_gives_its_role(keys: ProjectKeys, authoriser: Authoriser) -> None:
    for key, role in [
        (keys.publishable_key, "anon"),
        (keys.anon_key, "anon"),
        (keys.secret_key, "service_role"),
        (keys.service_role_key, "service_role"),
    ]:
        by_header = authoriser.authorise(headers(apikey=key))
        assert (by_header.role, by_header.is_key) == (role, True)
        assert authoriser.authorise(headers(bearer=key)).role == role
        assert authoriser.authorise(headers(), f"select=*&apikey={key}".encode()).role == role


@pytest.mark.req("P4")
def test_a_users_token_wins_over_the_key(keys: ProjectKeys, authoriser: Authoriser) -> None:
    caller = authoriser.authorise(headers(keys.secret_key, keys.sign(user_claims())))
    assert (caller.role, caller.user_id, caller.is_key) == ("authenticated", "7", False)


@pytest.mark.req("P4")
def test_without_any_key_the_caller_is_anonymous_unless_keys_are_required(keys: ProjectKeys) -> None:
    assert Authoriser(keys).authorise(headers()).role == "anon"
    with pytest.raises(AccessError) as caught:
        Authoriser(keys, require_api_key=True).authorise(headers())
    assert caught.value.reason == "missing"


@pytest.mark.req("P4")
def test_tokens_by_secret_and_by_asymmetric_key_are_both_accepted(tmp_path: Path) -> None:
    by_secret = make_keys(tmp_path)
    by_key = make_keys(tmp_path, SUPABASE_AUTH_JWT_ALGORITHM="ES256")
    authoriser = Authoriser(by_key)
    for keys in (by_secret, by_key):
        assert authoriser.verify(keys.sign(user_claims())).role == "authenticated"
    assert jwt.get_unverified_header(by_key.sign(user_claims()))["alg"] == "ES256"


@pytest.mark.req("P4")
def test_the_published_key_verifies_a_token_offline(tmp_path: Path) -> None:
    keys = make_keys(tmp_path, SUPABASE_AUTH_JWT_ALGORITHM="ES256")
    published = jwt.PyJWKSet.from_dict(keys.jwks())
    token = keys.sign(user_claims())
    key = published[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, key.key, algorithms=["ES256"])["sub"] == "7"
    assert not any("d" in member for member in keys.jwks()["keys"])


def refused_tokens(keys: ProjectKeys) -> dict[str, str]:
    public = jwt.PyJWK.from_dict(keys.jwks()["keys"][0])
    confused = jwt.encode(user_claims(), "x" * 64, algorithm="HS256", headers={"kid": public.key_id})
    genuine = keys.sign(user_claims())
    return {
        "expired": keys.sign(user_claims(exp=int(time.time()) - 60)),
        "not_yet_valid": keys.sign(user_claims(nbf=int(time.time()) + 60)),
        "signature": jwt.encode(user_claims(), "y" * 40, algorithm="HS256"),
        "signature by a key taken for a secret": confused,
        "signature of other claims": ".".join(
            [*keys.sign(user_claims(sub="8")).split(".")[:2], genuine.split(".")[2]]
        ),
        "unsupported_algorithm none": jwt.encode(user_claims(), None, algorithm="none"),
        "unsupported_algorithm HS512": jwt.encode(
            user_claims(), keys.jwt_secret.ljust(64, "x"), algorithm="HS512"
        ),
        "malformed": "abc",
        "malformed parts": "a.b.c",
        "malformed bytes": "\xff\xfe.\xff.\xff",
        "malformed length": "a" * 20_000,
        "malformed role": keys.sign(user_claims(role=7)),
        "malformed role with NUL": keys.sign(user_claims(role="a\0b")),
        "unknown_key": "sb_secret_guessed",
    }


@pytest.mark.req("P4")
def test_every_bad_token_is_refused_with_its_reason(keys: ProjectKeys, authoriser: Authoriser) -> None:
    for name, token in refused_tokens(keys).items():
        with pytest.raises(AccessError) as caught:
            authoriser.authorise(headers(keys.publishable_key, token))
        assert (name.split()[0], caught.value.status) == (caught.value.reason, 401), name


@pytest.mark.req("P4")
def test_an_unknown_key_is_refused(authoriser: Authoriser) -> None:
    for key in ("nonsense", "sb_publishable_x", "\xff", "a.b.c"):
        with pytest.raises(AccessError):
            authoriser.authorise(headers(apikey=key))


def test_a_cached_token_still_expires(keys: ProjectKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    authoriser = Authoriser(keys)
    token = keys.sign(user_claims())
    assert authoriser.authorise(headers(bearer=token)).role == "authenticated"
    later = time.time() + 120
    monkeypatch.setattr("basalt.access.tokens.time.time", lambda: later)
    with pytest.raises(AccessError) as caught:
        authoriser.authorise(headers(bearer=token))
    assert caught.value.reason == "expired"


@pytest.mark.req("P4")
def test_keys_are_kept_private_and_stay_the_same(tmp_path: Path) -> None:
    first, second = make_keys(tmp_path), make_keys(tmp_path)
    assert first.anon_key == second.anon_key
    assert first.jwks() == second.jwks()
    assert (tmp_path / ".basalt" / "keys.json").stat().st_mode & 0o077 == 0
    for secret in (first.jwt_secret, first.secret_key, first.service_role_key):
        assert secret not in repr(first)


@pytest.mark.req("P4")
def test_a_configured_secret_signs_the_api_keys(tmp_path: Path) -> None:
    keys = make_keys(tmp_path, SUPABASE_AUTH_JWT_SECRET="s" * 40)
    assert jwt.decode(keys.service_role_key, "s" * 40, algorithms=["HS256"])["role"] == "service_role"
    assert Authoriser(keys).authorise(headers(apikey=keys.service_role_key)).role == "service_role"


@pytest.mark.req("P4")
def test_other_schemes_are_not_remembered(keys: ProjectKeys, authoriser: Authoriser) -> None:
    for number in range(20):
        basic = Headers([(b"authorization", b"Basic %d" % number)])
        assert authoriser.authorise(basic).role == "anon"
    assert not authoriser._verifier._cached

    authoriser.authorise(headers(bearer=keys.sign(user_claims())))
    assert len(authoriser._verifier._cached) == 1
