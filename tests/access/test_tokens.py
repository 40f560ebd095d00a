"""Bearer tokens as PostgREST verifies them: every refusal with its words, roles, audiences, times, the cache."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from basalt.access import AccessError, Authoriser, BearerAuthoriser, load_project_keys
from basalt.access.tokens import TokenVerifier
from basalt.access.verifying_keys import parse_verifying_keys
from basalt.config import ConfigError, RestSettings, load_settings, parse_role_path
from basalt.http import Headers

pytestmark = pytest.mark.req("P4", "P5")

SECRET = "a secret of more than 32 characters"


class In(int):
    """So many seconds from the moment when the token is signed: the tests may have been collected long before."""


def sign(claims: object, secret: str = SECRET, **header: object) -> str:
    """A token over any JSON, which PyJWT would not sign."""
    if isinstance(claims, dict):
        claims = {name: int(time.time()) + v if isinstance(v, In) else v for name, v in claims.items()}
    return sign_raw(json.dumps(claims).encode(), secret, **header)


def sign_raw(payload: bytes, secret: str = SECRET, **header: object) -> str:
    head = json.dumps({"alg": "HS256", "typ": "JWT", **header}).encode()
    signed = f"{encode(head)}.{encode(payload)}"
    algorithm = jwt.get_algorithm_by_name("HS256")
    return f"{signed}.{encode(algorithm.sign(signed.encode(), secret.encode()))}"


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def bearer(token: str | None, scheme: str = "Bearer") -> Headers:
    return Headers([] if token is None else [(b"authorization", f"{scheme} {token}".encode("latin-1"))])


def settings(**more: Any) -> RestSettings:
    return RestSettings(**{"jwt_secret": SECRET, "db_anon_role": "anon", **more})


def refusal(token: str | None, **more: Any) -> AccessError:
    with pytest.raises(AccessError) as caught:
        BearerAuthoriser(settings(**more)).authorise(bearer(token))
    return caught.value


def role_of(claims: object, **more: Any) -> str:
    return BearerAuthoriser(settings(**more)).authorise(bearer(sign(claims))).role


# Decoding

NO_KEY = "No suitable key was found to decode the JWT"
NOT_DECODED = "None of the keys was able to decode the JWT"
UNSECURED = "JWT is unsecured but expected 'alg' was not 'none'"


@pytest.mark.parametrize(
    ("token", "message", "details"),
    [
        ("", "Empty JWT is sent in Authorization header", None),
        ("a", "Expected 3 parts in JWT; got 1", None),
        ("a.b", "Expected 3 parts in JWT; got 2", None),
        ("a.b.c.d.e", "Expected 3 parts in JWT; got 5", None),
        ("a.b.c", "JWT cryptographic operation failed", None),
        ("..", "JWT cryptographic operation failed", None),
        (sign({}) + "=", "JWT cryptographic operation failed", None),
        (sign({}) + "!", "JWT cryptographic operation failed", None),
        (sign({}) + "é", "JWT cryptographic operation failed", None),
        (sign({}, alg="XS256"), "JWT cryptographic operation failed", None),
        (sign({}, alg=None), "JWT cryptographic operation failed", None),
        (sign({}, alg=["HS256"]), "JWT cryptographic operation failed", None),
        (sign({}, kid=7), "JWT cryptographic operation failed", None),
        (sign({}, crit=["exp"]), "JWT cryptographic operation failed", None),
        (encode(b"[]") + ".e30.AAAA", "JWT cryptographic operation failed", None),
        (jwt.encode({}, None, algorithm="none"), "Wrong or unsupported encoding algorithm", UNSECURED),
        (sign({}, alg="HS512"), "No suitable key or wrong key type", NO_KEY),
        (sign({}, alg="RS256"), "No suitable key or wrong key type", NO_KEY),
        (sign({}, kid="other"), "No suitable key or wrong key type", NO_KEY),
        (sign({}, "another secret of over 32 characters"), "No suitable key or wrong key type", NOT_DECODED),
        (sign({})[:-4], "No suitable key or wrong key type", NOT_DECODED),
    ],
)
def test_a_token_that_cannot_be_decoded_is_refused_in_postgrests_words(
    token: str, message: str, details: str | None
) -> None:
    error = refusal(token)
    assert (error.status, error.message, error.details) == (401, message, details)


def test_a_huge_token_is_refused_before_any_work() -> None:
    assert "longer than" in refusal(sign({"a": "x" * 20_000})).message


@given(st.text(alphabet="abcAB012-_.=\xe9 ", max_size=60))
def test_no_text_gets_in_or_breaks_the_decoder(text: str) -> None:
    verifier = TokenVerifier(
        parse_verifying_keys(SECRET.encode()), role_path=parse_role_path("$.role"), anonymous_role="anon"
    )
    with pytest.raises(AccessError):
        verifier.verify(text)


# Claims


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ([], "Parsing claims failed"),
        ("text", "Parsing claims failed"),
        ({"exp": In(-40)}, "JWT expired"),
        ({"exp": 1000.5}, "JWT expired"),
        ({"nbf": In(90)}, "JWT not yet valid"),
        ({"iat": In(90)}, "JWT issued at future"),
        ({"exp": "soon"}, "The JWT 'exp' claim must be a number"),
        ({"nbf": True}, "The JWT 'nbf' claim must be a number"),
        ({"iat": [1]}, "The JWT 'iat' claim must be a number"),
        ({"aud": {"a": 1}}, "The JWT 'aud' claim must be a string or an array of strings"),
        ({"aud": 7}, "The JWT 'aud' claim must be a string or an array of strings"),
        ({"aud": [{"a": 1}, "us"]}, "The JWT 'aud' claim must be a string or an array of strings"),
        ({"aud": "x", "exp": In(-40)}, "JWT expired"),
    ],
)
def test_claims_that_do_not_hold_are_refused_in_postgrests_words(claims: object, message: str) -> None:
    error = refusal(sign(claims))
    assert (error.status, error.message, error.details) == (401, message, None)


def test_a_payload_that_is_no_json_is_refused() -> None:
    assert refusal(sign_raw(b"\xff")).message == "Parsing claims failed"


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"exp": In(-20), "nbf": In(20), "iat": In(20)},
        {"exp": 99999999999.5, "nbf": 0, "iat": 1.5},
        {"exp": None, "nbf": None, "iat": None, "aud": None},
        {"exp": 10**30, "aud": []},
        {"aud": "anybody"},
        {"aud": ["anybody", "us"]},
        {"sub": 7, "jti": {"a": 1}, "iss": None},
    ],
)
def test_clocks_may_differ_by_thirty_seconds_and_absent_claims_are_no_matter(claims: dict[str, Any]) -> None:
    assert role_of({**claims, "role": "author"}) == "author"


@pytest.mark.parametrize(
    ("audience", "is_ours"),
    [
        ("us", True),
        (["us"], True),
        (["them", "us"], True),
        ([], True),
        (None, True),
        ("them", False),
        ("", False),
        (["them", "others"], False),
    ],
)
def test_a_token_for_others_is_refused(audience: object, is_ours: bool) -> None:
    claims = {"aud": audience, "role": "author"}
    if is_ours:
        assert role_of(claims, jwt_aud="us") == "author"
    else:
        assert refusal(sign(claims), jwt_aud="us").message == "JWT not in audience"
    assert role_of({"role": "author"}, jwt_aud="us") == "author"


# Roles


def test_the_role_stands_where_the_settings_say() -> None:
    claims = {"realm": {"roles": ["other", "author"]}, "role": "reader"}
    assert role_of(claims) == "reader"
    assert role_of(claims, jwt_role_claim_key="$.realm.roles[?(@ != 'other')]") == "author"
    assert role_of(claims, jwt_role_claim_key=".realm.roles[1]") == "author"
    assert role_of({"aud": ["author"]}, jwt_aud="author", jwt_role_claim_key="$.aud[0]") == "author"


def test_the_claims_of_a_caller_hold_the_chosen_role() -> None:
    token = sign({"realm": {"role": "author"}, "sub": "7"})
    caller = BearerAuthoriser(settings(jwt_role_claim_key="$.realm.role")).authorise(bearer(token))
    assert json.loads(caller.claims_json) == {"realm": {"role": "author"}, "sub": "7", "role": "author"}
    assert (caller.role, caller.user_id, caller.token, caller.is_key) == ("author", "7", token, False)


def test_a_token_without_a_role_is_anonymous_if_anybody_may_be() -> None:
    assert role_of({"sub": "7"}) == "anon"
    assert refusal(sign({"sub": "7"}), db_anon_role=None).reason == "missing"


@pytest.mark.parametrize("role", [7, None, "", "a\0b", ["author"], {"a": 1}])
def test_a_role_that_is_no_name_is_refused(role: object) -> None:
    assert refusal(sign({"role": role})).status == 401


# The way in


def test_claims_that_are_too_deep_for_the_path_to_the_role_are_refused() -> None:
    claims: Any = "author"
    for _ in range(200):
        claims = [claims]
    with pytest.raises(AccessError, match="claims of the token are nested too deeply"):
        role_of({"deep": claims}, jwt_role_claim_key="$..role")


def test_without_a_bearer_token_the_caller_is_anonymous() -> None:
    authoriser = BearerAuthoriser(settings())
    for headers in (bearer(None), bearer("dTpw", "Basic"), Headers([(b"apikey", b"x")])):
        caller = authoriser.authorise(headers, b"apikey=x")
        assert (caller.role, json.loads(caller.claims_json)) == ("anon", {"role": "anon"})


def test_without_an_anonymous_role_a_token_is_needed() -> None:
    error = refusal(None, db_anon_role=None)
    assert (error.status, error.message) == (401, "Anonymous access is disabled")
    assert role_of({"role": "author"}, db_anon_role=None) == "author"


def test_without_a_secret_tokens_are_the_servers_fault() -> None:
    error = refusal(sign({"role": "author"}), jwt_secret=None)
    assert (error.status, error.message) == (500, "Server lacks JWT secret")
    assert BearerAuthoriser(settings(jwt_secret=None)).authorise(bearer(None)).role == "anon"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_written_in_any_case(scheme: str) -> None:
    caller = BearerAuthoriser(settings()).authorise(bearer(sign({"role": "author"}), scheme))
    assert caller.role == "author"


# The cache


def test_a_verified_token_is_verified_once_and_a_refused_one_each_time() -> None:
    authoriser = BearerAuthoriser(settings())
    token = sign({"role": "author"})
    first = authoriser.authorise(bearer(token))
    assert authoriser.authorise(bearer(token)) is first
    errors = []
    for _ in range(2):
        with pytest.raises(AccessError) as caught:
            authoriser.authorise(bearer(sign({"exp": 1})))
        errors.append(caught.value)
    assert errors[0] is not errors[1]


def test_a_remembered_token_still_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    authoriser, now = BearerAuthoriser(settings()), int(time.time())
    token = sign({"role": "author", "exp": now + 60})
    authoriser.authorise(bearer(token))
    monkeypatch.setattr("basalt.access.tokens.time.time", lambda: now + 85.0)
    assert authoriser.authorise(bearer(token)).role == "author"
    monkeypatch.setattr("basalt.access.tokens.time.time", lambda: now + 95.0)
    with pytest.raises(AccessError, match="JWT expired"):
        authoriser.authorise(bearer(token))


def test_the_cache_has_its_bound_and_can_be_none() -> None:
    verifier = TokenVerifier(
        parse_verifying_keys(SECRET.encode()),
        role_path=parse_role_path("$.role"),
        anonymous_role="anon",
        max_cached=3,
    )
    for number in range(10):
        verifier.verify(sign({"role": "author", "n": number}))
        assert len(verifier._cached) <= 3
    authoriser = BearerAuthoriser(settings(jwt_cache_max_entries=0))
    token = sign({"role": "author"})
    assert authoriser.authorise(bearer(token)) is not authoriser.authorise(bearer(token))


def test_other_rules_forget_what_was_verified_and_the_same_rules_do_not() -> None:
    authoriser = BearerAuthoriser(settings())
    token = sign({"role": "author"})
    first = authoriser.authorise(bearer(token))
    authoriser.configure(settings(db_max_rows=5))
    assert authoriser.authorise(bearer(token)) is first
    authoriser.configure(settings(jwt_secret=SECRET.upper()))
    with pytest.raises(AccessError):
        authoriser.authorise(bearer(token))
    with pytest.raises(ConfigError):
        authoriser.configure(settings(jwt_secret="short"))
    with pytest.raises(ConfigError):
        authoriser.configure(settings(jwt_role_claim_key="role"))
    assert authoriser.authorise(bearer(sign({"role": "author"}, SECRET.upper()))).role == "author"


# A project's REST service


@pytest.fixture
def project_settings(tmp_path: Any) -> Any:
    return load_settings(tmp_path, {})


def test_a_projects_rest_tokens_follow_the_settings_and_its_keys_work_in_any_case(
    project_settings: Any,
) -> None:
    keys = load_project_keys(project_settings.state_dir, project_settings)
    configured = settings(jwt_aud="us", db_anon_role="web_anon", jwt_role_claim_key="$.realm.role")
    rest, shared = Authoriser(keys, settings=configured), Authoriser(keys)
    token = sign({"realm": {"role": "author"}, "aud": "us"})
    assert rest.authorise(bearer(token)).role == "author"
    assert rest.authorise(bearer(None)).role == "web_anon"
    for key, role in ((keys.anon_key, "anon"), (keys.secret_key, "service_role")):
        assert rest.authorise(bearer(key)).role == role
        assert rest.authorise(Headers([(b"apikey", key.encode())])).role == role
    for authoriser, refused in ((shared, token), (rest, keys.sign({"role": "author"}))):
        with pytest.raises(AccessError):
            authoriser.authorise(bearer(refused))


def test_a_projects_rest_tokens_are_its_own_unless_a_secret_is_set(project_settings: Any) -> None:
    keys = load_project_keys(project_settings.state_dir, project_settings)
    rest = Authoriser(keys, settings=settings(jwt_secret=None, jwt_aud="authenticated", db_anon_role=None))
    assert rest.authorise(bearer(keys.sign({"role": "author", "aud": "authenticated"}))).role == "author"
    with pytest.raises(AccessError, match="Anonymous access is disabled"):
        rest.authorise(bearer(None))
    assert rest.authorise(Headers([(b"apikey", keys.publishable_key.encode())])).role == "anon"


def test_a_projects_secret_verifies_tokens_that_name_a_key(project_settings: Any) -> None:
    keys = load_project_keys(project_settings.state_dir, project_settings)
    token = sign({"role": "author"}, keys.jwt_secret, kid="named by GoTrue")
    assert Authoriser(keys).verify(token).role == "author"
