"""What is remembered between sending a browser away and its return: a row of `auth.flow_state`, whose id is the OAuth
`state`, and one of `auth.oauth_client_states` where the provider wants PKCE too (GoTrue external.go, flow_state.go).

A state is good for one return: taking it deletes it. A PKCE flow is put back when its user is known, for the exchange
of its code; it is no state any more then.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from basalt.auth.errors import AuthError
from basalt.auth.pkce import EXPIRY_S
from basalt.auth.users import Transaction, User

KEEP_FLOW: Final = """
insert into auth.flow_state (id, auth_code, code_challenge_method, code_challenge, provider_type,
    provider_access_token, provider_refresh_token, authentication_method, created_at, updated_at, invite_token,
    referrer, oauth_client_state_id, linking_target_id, email_optional)
values (%(id)s, %(auth_code)s, nullif(%(challenge_method)s, '')::auth.code_challenge_method,
    nullif(%(challenge)s, ''), %(provider)s, '', '', 'oauth', now(), now(), nullif(%(invite_token)s, ''),
    %(referrer)s, %(client_state_id)s, %(target_id)s, %(email_optional)s)
"""
KEEP_CLIENT_STATE: Final = """
insert into auth.oauth_client_states (id, provider_type, code_verifier, created_at)
values (%(id)s, %(provider)s, %(verifier)s, now())
"""
TAKE_FLOW: Final = """
delete from auth.flow_state
where id = %(id)s and authentication_method = 'oauth' and user_id is null
returning id, auth_code, code_challenge, code_challenge_method::text as code_challenge_method, provider_type,
    created_at, invite_token, referrer, oauth_client_state_id, linking_target_id, email_optional
"""
WAS_USED: Final = """
select from auth.flow_state where id = %(id)s and authentication_method = 'oauth' and user_id is not null
"""
TAKE_CLIENT_STATE: Final = """
delete from auth.oauth_client_states where id = %(id)s returning provider_type, code_verifier, created_at
"""
COMPLETE_FLOW: Final = """
insert into auth.flow_state (id, user_id, auth_code, code_challenge_method, code_challenge, provider_type,
    provider_access_token, provider_refresh_token, authentication_method, created_at, updated_at,
    auth_code_issued_at)
values (%(id)s, %(user_id)s, %(auth_code)s, %(challenge_method)s, %(challenge)s, %(provider)s,
    %(access_token)s, %(refresh_token)s, 'oauth', %(created_at)s, now(), now())
"""


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow that has come back. `verifier` is what its provider is to be shown."""

    id: UUID
    provider: str
    redirect_to: str
    auth_code: str | None
    challenge: str | None
    challenge_method: str | None
    created_at: datetime
    invite_token: str
    target_id: UUID | None
    email_optional: bool
    client_state_id: UUID | None
    verifier: str | None = None

    @property
    def is_pkce(self) -> bool:
        return bool(self.challenge)


async def keep_flow(
    tx: Transaction,
    state: UUID,
    provider: str,
    redirect_to: str,
    *,
    challenge: str = "",
    challenge_method: str = "",
    invite_token: str = "",
    target: User | None = None,
    email_optional: bool = False,
    verifier: str | None = None,
) -> None:
    """`verifier` is for the provider, the challenge is the application's."""
    client_state_id = None if verifier is None else uuid4()
    if verifier is not None:
        client_state = {"id": client_state_id, "provider": provider, "verifier": verifier}
        await tx.execute(KEEP_CLIENT_STATE, client_state)
    parameters = {
        "id": state,
        "auth_code": str(uuid4()) if challenge else None,
        "challenge": challenge,
        "challenge_method": challenge_method.lower() if challenge else "",
        "provider": provider,
        "invite_token": invite_token,
        "referrer": redirect_to,
        "client_state_id": client_state_id,
        "target_id": target and target.id,
        "email_optional": email_optional,
    }
    await tx.execute(KEEP_FLOW, parameters)


async def take_flow(tx: Transaction, state: str) -> Flow:
    """The flow, whose state is used up. Raises AuthError bad_oauth_callback, bad_oauth_state,
    flow_state_already_used."""
    if not state:
        raise AuthError("bad_oauth_callback", "OAuth state parameter missing")
    try:
        state_id = UUID(state)
    except ValueError as exc:
        raise AuthError("bad_oauth_state", "OAuth state parameter is invalid") from exc
    row = await (await tx.execute(TAKE_FLOW, {"id": state_id})).fetchone()
    if row is None:
        if await (await tx.execute(WAS_USED, {"id": state_id})).fetchone() is not None:
            raise AuthError("flow_state_already_used", "State has already been used")
        raise AuthError("bad_oauth_state", "OAuth state not found or expired")
    if _is_old(row["created_at"]):
        raise AuthError("bad_oauth_state", "OAuth state has expired")
    return _flow_of_row(row)


async def take_verifier(tx: Transaction, flow: Flow) -> str | None:
    """What was kept to show to the provider. Raises AuthError oauth_client_state_not_found, oauth_invalid_state,
    oauth_client_state_expired."""
    if flow.client_state_id is None:
        return None
    row = await (await tx.execute(TAKE_CLIENT_STATE, {"id": flow.client_state_id})).fetchone()
    if row is None:
        raise AuthError("oauth_client_state_not_found", "OAuth state not found")
    if row["provider_type"] != flow.provider:
        raise AuthError("oauth_invalid_state", "OAuth provider mismatch")
    if _is_old(row["created_at"]):
        raise AuthError("oauth_client_state_expired", "OAuth state expired")
    verifier: str | None = row["code_verifier"]
    return verifier


async def complete_flow(
    tx: Transaction, flow: Flow, user: User, *, access_token: str, refresh_token: str
) -> str:
    """The code for the application, which its verifier turns into a session."""
    assert flow.auth_code is not None
    parameters = {
        "id": flow.id,
        "user_id": user.id,
        "auth_code": flow.auth_code,
        "challenge": flow.challenge,
        "challenge_method": flow.challenge_method,
        "provider": flow.provider,
        "access_token": access_token,
        "refresh_token": refresh_token,
        "created_at": flow.created_at,
    }
    await tx.execute(COMPLETE_FLOW, parameters)
    return flow.auth_code


def new_verifier() -> str:
    return secrets.token_urlsafe(32)  # RFC 7636 §4.1: 43 characters


def _is_old(created_at: datetime | None) -> bool:
    return created_at is None or datetime.now(UTC) > created_at + timedelta(seconds=EXPIRY_S)


def _flow_of_row(row: Mapping[str, Any]) -> Flow:
    return Flow(
        id=row["id"],
        provider=row["provider_type"],
        redirect_to=row["referrer"] or "",
        auth_code=row["auth_code"],
        challenge=row["code_challenge"],
        challenge_method=row["code_challenge_method"],
        created_at=row["created_at"],
        invite_token=row["invite_token"] or "",
        target_id=row["linking_target_id"],
        email_optional=row["email_optional"],
        client_state_id=row["oauth_client_state_id"],
    )
