"""Sessions and their refresh tokens.

A session is one sign-in on one device; its refresh tokens form a family in which each names its parent.
Ending a session is deleting its row: tokens and authentication methods go with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID, uuid4

from basalt.auth.refresh_tokens import new_refresh_token, stored_form
from basalt.auth.users import Transaction, User, read_time

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

OTHER_IDS: Final = ("factor_id", "oauth_client_id")
RECOVERY_METHODS: Final = frozenset({"otp", "magiclink", "recovery"})
AAL2_METHODS: Final = frozenset({"totp", "mfa/phone", "mfa/webauthn"})

# One round trip of what would be four.
CREATE_SESSION: Final = """
with session as (
    insert into auth.sessions (id, user_id, aal, user_agent, ip, oauth_client_id, scopes, created_at, updated_at)
    values (%(id)s, %(user_id)s, 'aal1', %(user_agent)s, %(ip)s, %(client_id)s, %(scopes)s, now(), now())
), token as (
    insert into auth.refresh_tokens (instance_id, token, user_id, session_id, revoked, created_at, updated_at)
    values ('00000000-0000-0000-0000-000000000000', %(token)s, %(user_id)s::uuid::text, %(id)s, false, now(), now())
), method as (
    insert into auth.mfa_amr_claims (id, session_id, created_at, updated_at, authentication_method)
    values (%(method_id)s, %(id)s, clock_timestamp(), clock_timestamp(), %(method)s)
)
update auth.users set last_sign_in_at = now(), updated_at = now() where id = %(user_id)s
"""
INSERT_REFRESH: Final = """
insert into auth.refresh_tokens (instance_id, token, user_id, parent, session_id, revoked, created_at,
    updated_at)
values ('00000000-0000-0000-0000-000000000000', %(token)s, %(user_id)s, null, %(session_id)s, false,
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
select s.id, s.user_id, s.aal::text as aal, s.created_at, s.not_after, s.factor_id, s.oauth_client_id, s.scopes,
    (select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('method', c.authentication_method,
            'timestamp', floor(extract(epoch from c.updated_at))::bigint,
            -- which company's provider it was; its users have that one identity
            'provider', case when c.authentication_method = 'sso/saml' then (
                select substr(min(i.provider), 5) from auth.identities as i where i.user_id = s.user_id
                having count(*) = 1 and min(i.provider) like 'sso:%%') end)) order by c.updated_at desc)
        from auth.mfa_amr_claims as c where c.session_id = s.id) as methods
from auth.sessions as s
"""
SESSION_BY_ID: Final = SELECT_SESSION + "where s.id = %(id)s"
LIMIT_SESSION: Final = "update auth.sessions set not_after = %(not_after)s where id = %(id)s"
DELETE_SESSION: Final = "delete from auth.sessions where id = %(id)s"
DELETE_OTHER_SESSIONS: Final = "delete from auth.sessions where user_id = %(user_id)s and id <> %(id)s"
DELETE_SESSIONS: Final = "delete from auth.sessions where user_id = %(user_id)s"
DELETE_CLIENT_SESSIONS: Final = """
delete from auth.sessions
where user_id = %(user_id)s and oauth_client_id = %(client_id)s and id is distinct from %(besides)s
"""


@dataclass(frozen=True, slots=True)
class Device:
    """What is noted of the client that signs in."""

    user_agent: str | None
    ip: str | None


@dataclass(frozen=True, slots=True)
class Grant:
    """What makes a session that of an OAuth client: a user let it have these scopes."""

    client_id: UUID
    scopes: str


@dataclass(frozen=True, slots=True)
class Session:
    """`methods` is the `amr` claim, the newest first; `aal` is what they add up to. `grant` is there where the session
    belongs to an OAuth client."""

    id: UUID
    user_id: UUID
    stored_aal: str
    created_at: datetime
    not_after: datetime | None
    factor_id: UUID | None
    methods: tuple[Mapping[str, Any], ...]
    grant: Grant | None = None

    @property
    def aal(self) -> str:
        return "aal2" if any(entry["method"] in AAL2_METHODS for entry in self.methods) else "aal1"

    @property
    def is_recovery(self) -> bool:
        """Whether a mailbox or phone was proven for it, which is as good as knowing the password (GoTrue
        models/sessions.go IsRecovery)."""
        return any(entry["method"] in RECOVERY_METHODS for entry in self.methods)


async def create_session(
    tx: Transaction,
    user: User,
    method: Method,
    device: Device,
    *,
    session_id: UUID | None = None,
    grant: Grant | None = None,
) -> tuple[Session, str]:
    """A session with its first refresh token. The user's `last_sign_in_at` is now."""
    session_id, token = session_id or uuid4(), new_refresh_token()
    parameters = {
        "id": session_id,
        "user_id": user.id,
        "user_agent": device.user_agent,
        "ip": device.ip,
        "client_id": grant and grant.client_id,
        "scopes": grant and grant.scopes,
        "token": stored_form(token),
        "method_id": uuid4(),
        "method": method,
    }
    await tx.execute(CREATE_SESSION, parameters)
    session = await load_session(tx, session_id)
    assert session is not None
    return session, token


async def create_refresh_token(tx: Transaction, user_id: UUID, session_id: UUID) -> str:
    """The first token of a family. Returns the token; only its hash is stored."""
    token = new_refresh_token()
    parameters = {"token": stored_form(token), "user_id": str(user_id), "session_id": session_id}
    await tx.execute(INSERT_REFRESH, parameters)
    return token


async def load_session(tx: Transaction, session_id: UUID) -> Session | None:
    row = await (await tx.execute(SESSION_BY_ID, {"id": session_id})).fetchone()
    return None if row is None else _session_of_row(row)


def session_of_json(row: Mapping[str, Any]) -> Session:
    """A row of `SELECT_SESSION` that came as JSON."""
    ids = {name: None if row[name] is None else UUID(row[name]) for name in ("id", "user_id", *OTHER_IDS)}
    times = {name: read_time(row[name]) for name in ("created_at", "not_after")}
    return _session_of_row({**row, **ids, **times})


def _session_of_row(row: Mapping[str, Any]) -> Session:
    return Session(
        id=row["id"],
        user_id=row["user_id"],
        stored_aal=row["aal"] or "aal1",
        created_at=row["created_at"],
        not_after=row["not_after"],
        factor_id=row["factor_id"],
        methods=tuple(row["methods"] or ()),
        grant=Grant(row["oauth_client_id"], row["scopes"] or "") if row["oauth_client_id"] else None,
    )


async def end_session(tx: Transaction, session_id: UUID) -> None:
    await tx.execute(DELETE_SESSION, {"id": session_id})


async def end_sessions(tx: Transaction, user: User, *, besides: UUID | None = None) -> None:
    """End all sessions of a user, or all but one."""
    if besides is None:
        await tx.execute(DELETE_SESSIONS, {"user_id": user.id})
    else:
        await tx.execute(DELETE_OTHER_SESSIONS, {"user_id": user.id, "id": besides})


async def end_client_sessions(
    tx: Transaction, user_id: UUID, client_id: UUID, *, besides: UUID | None = None
) -> None:
    """End what an OAuth client has of a user, and nothing else."""
    parameters = {"user_id": user_id, "client_id": client_id, "besides": besides}
    await tx.execute(DELETE_CLIENT_SESSIONS, parameters)
