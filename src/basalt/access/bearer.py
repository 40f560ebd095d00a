"""The way in that knows only `Authorization: Bearer`, for a REST server without a project (PostgREST's `Auth.hs`)."""

from typing import NamedTuple

from basalt.access.caller import Caller
from basalt.access.tokens import TokenVerifier
from basalt.access.verifying_keys import VerifyingKey, load_verifying_keys
from basalt.config import ConfigError, Problem, RestSettings, parse_role_path
from basalt.http import Headers


class TokenRules(NamedTuple):
    """As much of REST's settings as tokens depend on."""

    jwt_secret: str | None
    is_base64: bool
    audience: str | None
    role_claim_key: str
    anonymous_role: str | None
    max_cached: int


class BearerAuthoriser:
    """`authorise` as `Authoriser` has it, by the `jwt_…` settings and `db_anon_role` alone: no API keys."""

    def __init__(self, settings: RestSettings) -> None:
        self._rules: TokenRules | None = None
        self.configure(settings)

    def configure(self, settings: RestSettings) -> None:
        """Go by these settings from now on; what was verified by other ones is forgotten. Raises ConfigError, and then
        the ones before stay."""
        rules = token_rules(settings)
        if rules != self._rules:
            self._verifier = build_verifier(rules, load_verifying_keys(settings))
            self._rules = rules

    def authorise(self, headers: Headers, query_string: bytes = b"") -> Caller:
        """The caller of a request; without a bearer token the anonymous role. Raises AccessError."""
        token = bearer_token(headers.get("authorization"))
        return self._verifier.anonymous() if token is None else self._verifier.verify(token)


def token_rules(settings: RestSettings) -> TokenRules:
    return TokenRules(
        jwt_secret=settings.jwt_secret,
        is_base64=settings.jwt_secret_is_base64,
        audience=settings.jwt_aud,
        role_claim_key=settings.jwt_role_claim_key,
        anonymous_role=settings.db_anon_role,
        max_cached=settings.jwt_cache_max_entries,
    )


def build_verifier(rules: TokenRules, keys: tuple[VerifyingKey, ...] | None) -> TokenVerifier:
    """Raises ConfigError when the path to the role is none."""
    try:
        role_path = parse_role_path(rules.role_claim_key)
    except ValueError as exc:
        raise ConfigError([Problem("settings", "basalt.rest.jwt_role_claim_key", str(exc))]) from exc
    return TokenVerifier(
        keys,
        role_path=role_path,
        anonymous_role=rules.anonymous_role,
        audience=rules.audience,
        max_cached=rules.max_cached,
    )


def bearer_token(authorization: str | None) -> str | None:
    """The credentials of an `Authorization: Bearer` header, perhaps empty; other schemes are not for us.

    >>> bearer_token("bearer abc"), bearer_token("Bearer"), bearer_token("Basic abc"), bearer_token(None)
    ('abc', '', None, None)
    """
    if authorization is None:
        return None
    scheme, _, credentials = authorization.partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else None
