"""From the headers of a request to its `Caller`, in a project.

A key says which project role speaks (`apikey` header or query parameter), a bearer token says which user.
"""

from hmac import compare_digest
from urllib.parse import parse_qs

from basalt.access.bearer import BearerAuthoriser, TokenRules, bearer_token, build_verifier, token_rules
from basalt.access.caller import Caller, caller_of_key
from basalt.access.errors import AccessError
from basalt.access.keys import ProjectKeys
from basalt.access.verifying_keys import VerifyingKey, load_verifying_keys, secret_key
from basalt.config import RestSettings
from basalt.http import Headers


class Authoriser:
    """Holds the project's keys and the tokens it has verified; one per process, used by every service. REST has one of
    its own, with `settings`: the role of requests without a token, and, where they are set, the keys and rules for its
    tokens. The project's API keys work in any case."""

    def __init__(
        self, keys: ProjectKeys, *, require_api_key: bool = False, settings: RestSettings | None = None
    ) -> None:
        self._keys = keys
        self._require_api_key = require_api_key
        self._key_callers = [
            (keys.publishable_key.encode(), caller_of_key("anon")),
            (keys.secret_key.encode(), caller_of_key("service_role")),
            (keys.anon_key.encode(), caller_of_key("anon")),
            (keys.service_role_key.encode(), caller_of_key("service_role")),
        ]
        self._rules: TokenRules | None = None
        self.configure(settings or RestSettings())

    def configure(self, settings: RestSettings) -> None:
        """Go by these settings from now on; what was verified by other ones is forgotten. Raises ConfigError, and then
        the ones before stay. To be called where requests are served, not in another thread."""
        rules = token_rules(settings)
        if rules != self._rules:
            own_keys = load_verifying_keys(settings)
            keys = _project_keys(self._keys) if own_keys is None else own_keys
            self._verifier = build_verifier(rules, keys)
            self._rules = rules

    def authorise(self, headers: Headers, query_string: bytes = b"") -> Caller:
        """The caller of a request. A bearer token that is itself an API key counts as that key. Raises
        AccessError."""
        api_key = headers.get("apikey")
        if api_key is None and b"apikey=" in query_string:
            api_key = parse_qs(query_string.decode("latin-1")).get("apikey", [None])[0]
        by_key = self._caller_of_sent_key(api_key)
        bearer = bearer_token(headers.get("authorization"))
        if bearer is None:
            return by_key or self._verifier.anonymous()
        spoken_key = self.caller_of_api_key(bearer)
        if spoken_key is not None:
            return spoken_key
        if bearer.startswith(("sb_publishable_", "sb_secret_")):
            raise AccessError("unknown_key")
        return self.verify(bearer)

    def verify(self, token: str) -> Caller:
        """The caller behind a bearer token. Raises AccessError, also for an ID token: that tells a client of the OAuth
        server who its user is, and is handed around; it must not open the user's data."""
        caller = self._verifier.verify(token)
        claims = caller.claims
        if (
            "session_id" not in claims
            and claims.get("client_id")
            and claims["client_id"] == claims.get("aud")
        ):
            raise AccessError("audience")
        return caller

    def caller_of_api_key(self, api_key: str) -> Caller | None:
        """The role behind one of the project's four keys, compared in constant time; None for any other
        string."""
        given = api_key.encode("utf-8", "surrogateescape")
        found = None
        for key, caller in self._key_callers:
            if compare_digest(key, given):
                found = caller
        return found

    def _caller_of_sent_key(self, api_key: str | None) -> Caller | None:
        if not api_key:
            if self._require_api_key:
                raise AccessError("missing", hint="Send the publishable or secret key in the `apikey` header")
            return None
        known = self.caller_of_api_key(api_key)
        if known is None and api_key.count(".") == 2:
            # A key that the project signed itself, for a role of its own or by an asymmetric key.
            known = self.verify(api_key)
        if known is None:
            raise AccessError("unknown_key", hint="Double check the publishable or secret key of the project")
        return known


AnyAuthoriser = Authoriser | BearerAuthoriser


def _project_keys(keys: ProjectKeys) -> tuple[VerifyingKey, ...]:
    """What the project signs with. GoTrue's tokens name a key even where the secret signed them."""
    signing = [VerifyingKey(key.public, frozenset({key.algorithm}), key.kid) for key in keys.signing_keys]
    return (secret_key(keys.jwt_secret.encode(), ignores_kid=True), *signing)
