"""OAuth 1.0a (RFC 5849), which only Twitter's older API speaks: requests signed by oauthlib, no code, and a request
token with a secret of its own (GoTrue provider/twitter.go).

The request token and its secret are kept where other providers keep their PKCE verifier: the token that comes back must
be the one that was handed out for this state.
"""

from collections.abc import Mapping
from hmac import compare_digest
from typing import Literal
from urllib.parse import parse_qsl

from oauthlib.oauth1 import Client

from basalt.auth.external_identity import ExternalProfile
from basalt.auth.oauth.claims import ProfileError
from basalt.auth.oauth.engine import (
    Provider,
    ProviderFailedError,
    Tokens,
    read_json,
    send,
    with_parameters,
)
from basalt.auth.oauth.profiles import Answers
from basalt.http import OutgoingAnswer


async def request_token(provider: Provider, state: str) -> tuple[str, str]:
    """Where the browser goes, and what is to be remembered. Raises ProviderFailedError."""
    description = provider.description
    assert description.more is not None
    assert description.authorize is not None
    client = Client(
        provider.client_ids[0],
        client_secret=provider.secret,
        callback_uri=with_parameters(provider.redirect_uri, {"state": state}),
    )
    answer = await _signed(provider, client, "POST", description.more.under(provider.url))
    token, secret = _token_of(answer)
    url = with_parameters(description.authorize.under(provider.url), {"oauth_token": token})
    return url, f"{token} {secret}"


async def exchange_token(provider: Provider, values: Mapping[str, str], remembered: str) -> Tokens:
    """The request token that the user has approved for an access token; its secret is in `answer`. Raises
    ProviderFailedError."""
    token, _, secret = remembered.partition(" ")
    if not compare_digest(token.encode(), values.get("oauth_token", "").encode()):
        raise ProviderFailedError("the request token is not the one of this state")
    assert provider.description.token is not None
    client = Client(
        provider.client_ids[0],
        client_secret=provider.secret,
        resource_owner_key=token,
        resource_owner_secret=secret,
        verifier=values.get("oauth_verifier", ""),
    )
    answer = await _signed(provider, client, "POST", provider.description.token.under(provider.url))
    access_token, access_secret = _token_of(answer)
    return Tokens(access_token, "", "", {"oauth_token_secret": access_secret})


async def fetch_twitter_profile(provider: Provider, tokens: Tokens) -> ExternalProfile:
    """Raises ProviderFailedError."""
    description = provider.description
    assert description.user is not None
    assert description.iss is not None
    client = Client(
        provider.client_ids[0],
        client_secret=provider.secret,
        resource_owner_key=tokens.access_token,
        resource_owner_secret=tokens.answer["oauth_token_secret"],
    )
    url = with_parameters(description.user.under(provider.url), description.user_query)
    user = read_json(await _signed(provider, client, "GET", url), "the user endpoint")
    try:
        return description.read(Answers(description.iss.under(provider.url), tokens.answer, user))
    except ProfileError as exc:
        raise ProviderFailedError(str(exc)) from exc


async def _signed(
    provider: Provider, client: Client, method: Literal["GET", "POST"], url: str
) -> OutgoingAnswer:
    signed_url, headers, _ = client.sign(url, http_method=method)
    return await send(provider, method, signed_url, headers=headers)


def _token_of(answer: OutgoingAnswer) -> tuple[str, str]:
    values = dict(parse_qsl(answer.body.decode("utf-8", "replace")))
    token, secret = values.get("oauth_token"), values.get("oauth_token_secret")
    if answer.status != 200 or not token or not secret or " " in token:
        raise ProviderFailedError(f"the token endpoint answered {answer.status}")
    return token, secret
