"""Speaking OAuth 2 to a provider (RFC 6749, 7636; OpenID Connect Core): the address to send a browser to, a code for
tokens, tokens for a profile.

What a provider answers wrongly is told to the log by its kind (`oauth_failed`), and to the user as GoTrue words it.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qsl, quote_plus, urlencode

from basalt import observe
from basalt.auth.errors import AuthError
from basalt.auth.external_identity import ExternalProfile
from basalt.auth.oauth.claims import ProfileError, at, standard_profile
from basalt.auth.oauth.id_token import (
    IdTokenError,
    check_access_token,
    check_audience,
    issuer_of,
    verify_id_token,
)
from basalt.auth.oauth.issuers import Discovery, IssuerError, Issuers
from basalt.auth.oauth.profiles import Answers
from basalt.auth.oauth.providers import Description
from basalt.http import OutgoingAnswer, OutgoingError

TIMEOUT_S: Final = 10.0
APPLE_ISSUERS: Final = ("https://appleid.apple.com", "https://account.apple.com")
# https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference; v1 tokens come from sts.windows.net.
AZURE_ISSUER: Final = re.compile(
    r"https://(?:login\.microsoftonline\.com/([0-9a-fA-F-]{36})/v2\.0/?|sts\.windows\.net/([0-9a-fA-F-]{36})/)"
)
AZURE_ANY_TENANT: Final = frozenset(
    f"https://login.microsoftonline.com/{name}/v2.0" for name in ("common", "organizations", "consumers")
)
CONTROLLED: Final = frozenset((
    "client_id", "client_secret", "redirect_uri", "response_type", "response_mode", "state", "code_challenge",
    "code_challenge_method", "code_verifier", "request", "request_uri",
))  # fmt: skip


class ProviderFailedError(Exception):
    """The provider could not be asked, or answered what is no use. The message holds no secret."""


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A description with the project's keys. The first client id is the project's; ID tokens may be for the others
    too. `own_issuer` is the issuer of a provider that is not among the known ones."""

    name: str
    description: Description
    client_ids: tuple[str, ...]
    secret: str
    redirect_uri: str
    issuers: Issuers
    url: str | None = None
    own_issuer: str | None = None
    scopes: tuple[str, ...] | None = None  # instead of the description's
    discovery_url: str | None = None
    jwks_uri: str | None = None
    email_optional: bool = False
    checks_nonce: bool = True
    pkce: bool = False
    attribute_mapping: Mapping[str, Any] = field(default_factory=dict)
    claims_allowlist: Sequence[str] = ()

    @property
    def issuer(self) -> str | None:
        address = self.description.issuer
        return self.own_issuer if address is None else address.under(self.url)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The token endpoint's answer."""

    access_token: str
    refresh_token: str
    id_token: str
    answer: Mapping[str, Any]


async def authorization_url(
    provider: Provider, state: str, scopes: str, parameters: Mapping[str, str], verifier: str | None
) -> str:
    """Where the browser goes. `parameters` are the application's; those that decide the flow are not its to set."""
    description = provider.description
    endpoint = (
        description.authorize.under(provider.url)
        if description.authorize is not None
        else (await discover(provider)).authorization_endpoint
    )
    query = {"client_id": provider.client_ids[0], "redirect_uri": provider.redirect_uri}
    query |= {"response_type": "code", "state": state}
    wanted = _scopes(provider, scopes)
    if wanted:
        query["scope"] = wanted
    if description.takes_parameters:
        query |= {name: value for name, value in parameters.items() if name.lower() not in CONTROLLED}
    query |= description.parameters
    if verifier is not None:
        query |= {"code_challenge": s256(verifier), "code_challenge_method": "S256"}
    return with_parameters(endpoint, query)


async def exchange_code(provider: Provider, code: str, verifier: str | None) -> Tokens:
    """Raises ProviderFailedError."""
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": provider.redirect_uri}
    if verifier is not None:
        form["code_verifier"] = verifier
    url, auth = await _token_endpoint(provider)
    answer = await _post_form(provider, url, form, basic=auth != "form")
    if auth == "either" and _refuses_client(answer):
        answer = await _post_form(provider, url, form, basic=False)
    values = _read_tokens(answer)
    access_token = values.get("access_token")
    if not 200 <= answer.status < 300 or not isinstance(access_token, str) or not access_token:
        raise ProviderFailedError(f"the token endpoint answered {answer.status} {_error_of(values)}")
    refresh, id_token = values.get("refresh_token"), values.get("id_token")
    return Tokens(
        access_token,
        refresh if isinstance(refresh, str) else "",
        id_token if isinstance(id_token, str) else "",
        values,
    )


async def fetch_profile(provider: Provider, tokens: Tokens) -> ExternalProfile:
    """Who has signed in there. Raises ProviderFailedError."""
    description = provider.description
    try:
        if description.profile_from.startswith("id_token"):
            if tokens.id_token:
                return await _profile_of_token(provider, tokens)
            if description.profile_from == "id_token":
                raise ProviderFailedError("the answer holds no ID token")
        answers = await _ask(provider, tokens)
        told = answers.user if isinstance(answers.user, dict) else {}
        if provider.attribute_mapping:
            answers = replace(answers, user=map_claims(provider, told))
        return add_allowed(provider, description.read(answers), told)
    except (ProfileError, IdTokenError, IssuerError) as exc:
        raise ProviderFailedError(str(exc)) from exc


async def verified_claims(provider: Provider, token: str) -> Mapping[str, Any]:
    """The claims of an ID token of this very provider; for whom it is, is still to be checked. Raises IdTokenError,
    IssuerError."""
    issuer = issuer_of(token)
    if not accepts_issuer(provider, issuer):
        raise IdTokenError("the token is of another issuer")
    jwks_uri = provider.jwks_uri
    if jwks_uri is None:
        rule = provider.description.issuer_rule
        source = issuer if rule == "azure" else provider.issuer or issuer
        jwks_uri = (await provider.issuers.discover(source, provider.discovery_url)).jwks_uri
    claims = await verify_id_token(provider.issuers, jwks_uri, token, issuer=issuer)
    if provider.description.issuer_rule == "azure" and "tid" in claims and str(claims["tid"]) not in issuer:
        raise IdTokenError("the token's tenant is not its issuer's")
    return claims


def accepts_issuer(provider: Provider, issuer: str) -> bool:
    """Whether ID tokens of the issuer are this provider's: one issuer, but Apple has two names, and Azure as many as
    tenants unless the project names one."""
    expected = provider.issuer
    if expected is None or not issuer:
        return False
    match provider.description.issuer_rule:
        case "apple":
            return issuer in (APPLE_ISSUERS if not provider.url else (expected,))
        case "azure":
            found = AZURE_ISSUER.fullmatch(issuer)
            if expected in AZURE_ANY_TENANT:
                return found is not None
            tenant = AZURE_ISSUER.fullmatch(expected)
            return issuer == expected or bool(
                found and tenant and (found[1] or found[2]).lower() == (tenant[1] or tenant[2]).lower()
            )
        case _:
            return issuer == expected


def read_id_token(provider: Provider, claims: Mapping[str, Any]) -> ExternalProfile:
    """Raises IdTokenError."""
    read = provider.description.read_token or standard_profile
    try:
        return add_allowed(provider, read(map_claims(provider, claims)), claims)
    except ProfileError as exc:
        raise IdTokenError(str(exc)) from exc


def map_claims(provider: Provider, told: Mapping[str, Any]) -> dict[str, Any]:
    """A project's own provider may say things under other names: `{"name": "display_name"}`. What is no name is a fixed
    value."""
    mapped = dict(told)
    for target, source in provider.attribute_mapping.items():
        if not isinstance(source, str):
            mapped[target] = source
        elif source in told:
            mapped[target] = told[source]
    return mapped


def add_allowed(provider: Provider, profile: ExternalProfile, told: Mapping[str, Any]) -> ExternalProfile:
    """Further claims that the project wants to keep, under `custom_claims` (GoTrue custom_oauth.go)."""
    allowed = {name: told[name] for name in provider.claims_allowlist if name in told}
    if not allowed:
        return profile
    custom = {**profile.claims.get("custom_claims", {}), **allowed}
    return replace(profile, claims={**profile.claims, "custom_claims": custom})


async def discover(provider: Provider) -> Discovery:
    """Raises AuthError unexpected_failure: without the document the browser cannot be sent anywhere."""
    assert provider.issuer is not None
    try:
        return await provider.issuers.discover(provider.issuer, provider.discovery_url)
    except IssuerError as exc:
        report_failure(provider.name, exc)
        message = f"The configuration of provider {provider.name} cannot be loaded"
        raise AuthError("unexpected_failure", message) from exc


def report_failure(provider: str, error: Exception) -> None:
    observe.event("oauth_failed", level="warning", provider=provider, reason=str(error))


def s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def with_parameters(url: str, query: Mapping[str, str]) -> str:
    if not query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"


async def send(provider: Provider, method: str, url: str, **options: Any) -> OutgoingAnswer:
    """One request to the provider. Raises ProviderFailedError."""
    try:
        return await provider.issuers.http.send(method, url, timeout_s=TIMEOUT_S, **options)
    except OutgoingError as exc:
        raise ProviderFailedError(str(exc)) from exc


def read_json(answer: OutgoingAnswer, what: str) -> Any:
    """Raises ProviderFailedError."""
    if not 200 <= answer.status < 300:
        raise ProviderFailedError(f"{what} answered {answer.status}")
    try:
        return answer.json()
    except ValueError as exc:
        raise ProviderFailedError(f"{what} answered no JSON") from exc


async def _profile_of_token(provider: Provider, tokens: Tokens) -> ExternalProfile:
    claims = await verified_claims(provider, tokens.id_token)
    check_audience(claims, provider.client_ids)
    check_access_token(tokens.id_token, claims, tokens.access_token)
    return read_id_token(provider, claims)


async def _ask(provider: Provider, tokens: Tokens) -> Answers:
    description = provider.description
    iss = description.iss.under(provider.url) if description.iss is not None else provider.issuer or ""
    if description.profile_from == "token":
        return Answers(iss, tokens.answer)
    user_url = (
        description.user.under(provider.url)
        if description.user is not None
        else (await discover(provider)).userinfo_endpoint
    )
    if not user_url:
        raise ProviderFailedError("the provider has no user info")
    query = dict(description.user_query)
    if description.proves_secret:
        proof = hmac.new(provider.secret.encode(), tokens.access_token.encode(), hashlib.sha256)
        query["appsecret_proof"] = proof.hexdigest()
    user = await _get(provider, tokens, with_parameters(user_url, query))
    more = None
    if description.more is not None:
        more = await _get(provider, tokens, description.more.under(provider.url))
    return Answers(iss, tokens.answer, user, more)


async def _get(provider: Provider, tokens: Tokens, url: str) -> Any:
    headers = {"authorization": f"Bearer {tokens.access_token}", "accept": "application/json"}
    headers |= {
        name: value.replace("{client_id}", provider.client_ids[0])
        for name, value in provider.description.user_headers.items()
    }
    return read_json(await send(provider, "GET", url, headers=headers), "the user endpoint")


async def _token_endpoint(provider: Provider) -> tuple[str, str]:
    description = provider.description
    if description.token is not None:
        return description.token.under(provider.url), description.client_auth
    found = await discover(provider)
    if description.client_auth == "either":
        return found.token_endpoint, "basic" if found.takes_basic else "form"
    return found.token_endpoint, description.client_auth


async def _post_form(provider: Provider, url: str, form: Mapping[str, str], *, basic: bool) -> OutgoingAnswer:
    headers = {"accept": "application/json"}
    client_id, fields = provider.client_ids[0], dict(form)
    if basic:
        pair = f"{quote_plus(client_id)}:{quote_plus(provider.secret)}"  # RFC 6749 §2.3.1
        headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    else:
        fields |= {"client_id": client_id, "client_secret": provider.secret}
    return await send(provider, "POST", url, headers=headers, form=fields)


def _read_tokens(answer: OutgoingAnswer) -> Mapping[str, Any]:
    """JSON; some older endpoints answer a form instead."""
    try:
        values = answer.json()
    except ValueError:
        values = dict(parse_qsl(answer.body.decode("utf-8", "replace")))
    return values if isinstance(values, dict) else {}


def _refuses_client(answer: OutgoingAnswer) -> bool:
    return answer.status == 401 or _error_of(_read_tokens(answer)) == "invalid_client"


def _error_of(values: Mapping[str, Any]) -> str:
    error = at(dict(values), "error")
    return error[:100] if isinstance(error, str) else ""


def _scopes(provider: Provider, asked: str) -> str:
    """Known providers add what the application asks for, separated by commas; a project's own take it instead."""
    if provider.scopes is not None:
        scopes = asked.replace(",", " ").split() or list(provider.scopes)
        if provider.issuer is not None and provider.description.user is None and "openid" not in scopes:
            scopes = ["openid", *scopes]
        return " ".join(scopes)
    wanted = list(provider.description.scopes)
    if asked and provider.description.takes_scopes:
        wanted += asked.split(",")
    return " ".join(wanted)
