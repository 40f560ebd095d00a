"""Sessions and their refresh tokens.

A session is one sign-in on one device; its refresh tokens form a family in which each names its parent.
Ending a session is deleting its row: tokens and authentication methods go with it.
"""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID, uuid4

from basalt.auth.users import TOUCH_SIGN_IN, Transaction, User
from basalt.config import AuthSettings

Method = Literal[
    "password",
    "otp",
    "anonymous",
    "token_refresh",
    "recovery",
    "invite",
    "magiclink",
    "email/signup",
    "email_change",
    "oauth",
    "sso/saml",
    "web3",
    "passkey",
    "totp",
    "mfa/phone",
    "mfa/webauthn",
    "oauth_provider/authorization_code",
]

AAL2_METHODS: Final = frozenset({"totp", "mfa/phone", "mfa/webauthn"})

INSERT_SESSION: Final = """
insert into auth.sessions (id, user_id, aal, user_agent, ip, created_at, updated_at)
values (%(id)s, %(user_id)s, 'aal1', %(user_agent)s, %(ip)s, now(), now())
"""
INSERT_REFRESH: Final = """
insert into auth.refresh_tokens (instance_id, token, user_id, parent, session_id, revoked, created_at,
    updated_at)
values ('00000000-0000-0000-0000-000000000000', %(token)s, %(user_id)s, %(parent)s, %(session_id)s, false,
    now(), now())
"""
# clock_timestamp: two sign-in methods of one transaction must not be of the same instant, the newest stands
# first.
ADD_METHOD: Final = """
insert into auth.mfa_amr_claims (id, session_id, created_at, updated_at, authentication_method)
values (%(id)s, %(session_id)s, clock_timestamp(), clock_timestamp(), %(method)s)
on conflict on constraint mfa_amr_claims_session_id_authentication_method_pkey
    do update set updated_at = excluded.updated_at
"""
SELECT_SESSION: Final = """
select s.id, s.user_id, s.aal::text as aal, s.created_at, s.not_after,
    s.refreshed_at at time zone 'utc' as refreshed_at,
    (select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('method', c.authentication_method,
            'timestamp', floor(extract(epoch from c.updated_at))::bigint,
            -- which company's provider it was; its users have that one identity
            'provider', case when c.authentication_method = 'sso/saml' then (
                select substr(min(i.provider), 5) from auth.identities as i where i.user_id = s.user_id
                having count(*) = 1 and min(i.provider) like 'sso:%%') end)) order by c.updated_at desc)
        from auth.mfa_amr_claims as c where c.session_id = s.id) as methods
from auth.sessions as s
where s.id = %(id)s
"""
LIMIT_SESSION: Final = "update auth.sessions set not_after = %(not_after)s where id = %(id)s"
DELETE_SESSION: Final = "delete from auth.sessions where id = %(id)s"
DELETE_OTHER_SESSIONS: Final = "delete from auth.sessions where user_id = %(user_id)s and id <> %(id)s"
DELETE_SESSIONS: Final = "delete from auth.sessions where user_id = %(user_id)s"


@dataclass(frozen=True, slots=True)
class Device:
    """What is noted of the client that signs in."""

    user_agent: str | None
    ip: str | None


@dataclass(frozen=True, slots=True)
class Session:
    """`methods` is the `amr` claim, the newest first; `aal` is what they add up to."""

    id: UUID
    user_id: UUID
    stored_aal: str
    created_at: datetime
    not_after: datetime | None
    refreshed_at: datetime | None
    methods: tuple[Mapping[str, Any], ...]

    @property
    def aal(self) -> str:
        return "aal2" if any(entry["method"] in AAL2_METHODS for entry in self.methods) else "aal1"

    def last_refreshed_at(self, token_updated_at: datetime | None = None) -> datetime:
        if self.refreshed_at is not None:
            return self.refreshed_at
        return max(self.created_at, token_updated_at or self.created_at)


async def create_session(tx: Transaction, user: User, method: Method, device: Device) -> tuple[Session, str]:
    """A session with its first refresh token. The user's `last_sign_in_at` is now."""
    session_id = uuid4()
    parameters = {"id": session_id, "user_id": user.id, "user_agent": device.user_agent, "ip": device.ip}
    await tx.execute(INSERT_SESSION, parameters)
    token = await create_refresh_token(tx, user.id, session_id)
    await tx.execute(TOUCH_SIGN_IN, {"id": user.id})
    await tx.execute(ADD_METHOD, {"id": uuid4(), "session_id": session_id, "method": method})
    session = await load_session(tx, session_id)
    assert session is not None
    return session, token


async def create_refresh_token(
    tx: Transaction, user_id: UUID, session_id: UUID, parent: str | None = None
) -> str:
    """The next token of a family. Returns the token, which is stored as it is: GoTrue's table has it so."""
    token = new_refresh_token()
    parameters = {"token": token, "user_id": str(user_id), "parent": parent, "session_id": session_id}
    await tx.execute(INSERT_REFRESH, parameters)
    return token


async def load_session(tx: Transaction, session_id: UUID) -> Session | None:
    row = await (await tx.execute(SELECT_SESSION, {"id": session_id})).fetchone()
    if row is None:
        return None
    return Session(
        id=row["id"],
        user_id=row["user_id"],
        stored_aal=row["aal"] or "aal1",
        created_at=row["created_at"],
        not_after=row["not_after"],
        refreshed_at=row["refreshed_at"],
        methods=tuple(row["methods"] or ()),
    )


async def end_session(tx: Transaction, session_id: UUID) -> None:
    await tx.execute(DELETE_SESSION, {"id": session_id})


async def end_sessions(tx: Transaction, user: User, *, besides: UUID | None = None) -> None:
    """End all sessions of a user, or all but one."""
    if besides is None:
        await tx.execute(DELETE_SESSIONS, {"user_id": user.id})
    else:
        await tx.execute(DELETE_OTHER_SESSIONS, {"user_id": user.id, "id": besides})


def why_ended(
    session: Session, settings: AuthSettings, *, token_updated_at: datetime | None = None
) -> Literal["expired", "inactive"] | None:
    """Whether the session is over by its end, the time-box or inactivity (GoTrue sessions.go
    CheckValidity)."""
    now = datetime.now(UTC)
    timebox_s, idle_s = settings.sessions.timebox_s, settings.sessions.inactivity_timeout_s
    if session.not_after is not None and now > session.not_after:
        return "expired"
    if timebox_s and now > session.created_at + timedelta(seconds=timebox_s):
        return "expired"
    if idle_s and now > session.last_refreshed_at(token_updated_at) + timedelta(seconds=idle_s):
        return "inactive"
    return None


def new_refresh_token() -> str:
    """Twelve characters of base32, 60 bits of chance, as GoTrue's.

    >>> len(new_refresh_token())
    12
    """
    return base64.b32encode(secrets.token_bytes(8)).decode().lower()[:12]
