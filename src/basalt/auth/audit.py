"""The audit log: one row of `auth.audit_log_entries` for what a user or an administrator did.

Payloads are GoTrue's (models/audit_log_entry.go). They name users by address and never hold a token, code or
password.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal
from uuid import UUID, uuid4

from basalt.auth.users import Transaction, User, as_jsonb
from basalt.observe import Counter

Action = Literal[
    "login",
    "logout",
    "user_signedup",
    "user_invited",
    "user_deleted",
    "user_modified",
    "user_recovery_requested",
    "user_reauthenticate_requested",
    "user_confirmation_requested",
    "user_repeated_signup",
    "user_updated_password",
    "token_revoked",
    "token_refreshed",
    "invite_accepted",
    "identity_linked",
    "identity_unlinked",
    "factor_in_progress",
    "factor_unenrolled",
    "challenge_created",
    "verification_attempted",
    "factor_deleted",
    "factor_updated",
    "passkey_created",
    "passkey_updated",
    "passkey_deleted",
]

LOG_TYPES: Final[Mapping[Action, str]] = {
    "login": "account",
    "logout": "account",
    "user_signedup": "team",
    "user_invited": "team",
    "user_deleted": "team",
    "user_modified": "user",
    "user_recovery_requested": "user",
    "user_reauthenticate_requested": "user",
    "user_confirmation_requested": "user",
    "user_repeated_signup": "user",
    "user_updated_password": "user",
    "token_revoked": "token",
    "token_refreshed": "token",
    "invite_accepted": "account",
    "identity_linked": "user",
    "identity_unlinked": "user",
    "factor_in_progress": "factor",
    "factor_unenrolled": "factor",
    "challenge_created": "factor",
    "verification_attempted": "factor",
    "factor_deleted": "factor",
    "factor_updated": "factor",
    "passkey_created": "user",
    "passkey_updated": "user",
    "passkey_deleted": "user",
}

EVENTS: Final = Counter(
    "basalt_auth_events_total", "What users and administrators did, by the audit log's actions.", ["action"]
)

INSERT_ENTRY: Final = """
insert into auth.audit_log_entries (instance_id, id, payload, created_at, ip_address)
values ('00000000-0000-0000-0000-000000000000', %(id)s, %(payload)s::jsonb::json, now(), '')
"""


async def record(
    tx: Transaction, actor: User | str, action: Action, traits: Mapping[str, Any] | None = None
) -> None:
    """Write an entry. An actor that is no user is the role of an API key, `service_role`."""
    EVENTS.add(1, action)
    payload: dict[str, Any] = {"action": action, "log_type": LOG_TYPES[action]}
    if isinstance(actor, User):
        payload["actor_id"] = str(actor.id)
        payload["actor_via_sso"] = actor.is_sso_user
        payload["actor_username"] = actor.phone or actor.email
        if "full_name" in actor.user_metadata:
            payload["actor_name"] = actor.user_metadata["full_name"]
    else:
        payload |= {"actor_id": str(UUID(int=0)), "actor_via_sso": False, "actor_username": actor}
    if traits is not None:
        payload["traits"] = dict(traits)
    await tx.execute(INSERT_ENTRY, {"id": uuid4(), "payload": as_jsonb(payload)})
