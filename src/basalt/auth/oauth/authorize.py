"""`GET /authorize` and `GET /user/identities/authorize`: a browser is sent to a provider (GoTrue external.go,
identity.go).

Query parameters that are not Auth's own go on to the provider (`prompt`, `access_type`, `login_hint`, …), except those
that decide the flow. Unlike GoTrue's, the application's `redirect_to` and `invite_token` stay here: the provider has no
use for them.
"""

from collections.abc import Mapping
from typing import Final
from uuid import uuid4

from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.oauth.choose import choose_provider
from basalt.auth.oauth.engine import ProviderFailedError, authorization_url, report_failure
from basalt.auth.oauth.state import keep_flow, new_verifier
from basalt.auth.oauth.twitter import request_token
from basalt.auth.one_time import find_owner
from basalt.auth.pkce import check_challenge
from basalt.auth.users import User
from basalt.http import Response, json_response

OURS: Final = frozenset({"provider", "scopes", "redirect_to", "invite_token", "skip_http_redirect", "apikey"})


async def authorize(call: Call) -> Response:
    """A redirect to the provider. Raises AuthError validation_failed, user_not_found for an invitation that is not
    known."""
    return redirect(await _begin(call, None))


async def authorize_link(call: Call) -> Response:
    """The same for a further identity of the signed-in user; the address as JSON where the client asks so. Raises
    AuthError manual_linking_disabled."""
    check_linking_enabled(call)
    url = await _begin(call, call.user)
    if call.query.get("skip_http_redirect") == "true":
        return json_response({"url": url})
    return redirect(url)


def check_linking_enabled(call: Call) -> None:
    if not call.settings.enable_manual_linking:
        raise AuthError("manual_linking_disabled")


def redirect(url: str, status: int = 302) -> Response:
    return Response(status, [(b"location", url.encode()), (b"cache-control", b"no-store")])


async def _begin(call: Call, target: User | None) -> str:
    query = call.query
    provider = await choose_provider(call, query.get("provider", ""))
    await _check_invitation(call, query.get("invite_token", ""))
    challenge, method = query.get("code_challenge", ""), query.get("code_challenge_method", "")
    check_challenge(challenge, method)
    state = uuid4()
    verifier: str | None = None
    try:
        if provider.description.oauth1:
            url, verifier = await request_token(provider, str(state))
        else:
            verifier = new_verifier() if provider.pkce else None
            scopes = query.get("scopes", "")
            url = await authorization_url(provider, str(state), scopes, _passed_on(query), verifier)
    except ProviderFailedError as exc:
        report_failure(provider.name, exc)
        raise AuthError("unexpected_failure", f"Provider {provider.name} cannot be reached") from exc
    async with call.auth.transaction() as tx:
        await keep_flow(
            tx,
            state,
            provider.name,
            call.redirect_to,
            challenge=challenge,
            challenge_method=method,
            invite_token=query.get("invite_token", ""),
            target=target,
            email_optional=provider.email_optional,
            verifier=verifier,
        )
    return url


async def _check_invitation(call: Call, token: str) -> None:
    if not token:
        return
    async with call.auth.transaction() as tx:
        owner = await find_owner(tx, token, ("confirmation_token",))
    if owner is None:
        raise AuthError("user_not_found", "User identified by token not found")


def _passed_on(query: Mapping[str, str]) -> dict[str, str]:
    """`workos_provider` is WorkOS's `provider`, whose name is taken here."""
    return {
        "provider" if name == "workos_provider" else name: value
        for name, value in query.items()
        if name not in OURS
    }
