"""Registered passkeys: rows of `auth.webauthn_credentials` (GoTrue models/webauthn_credential.go)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg

from basalt.auth.call import Call
from basalt.auth.errors import AuthError
from basalt.auth.passkeys.ceremony import Assertion, KnownKey, NewKey
from basalt.auth.passkeys.names import passkey_name
from basalt.auth.render import render_time
from basalt.auth.users import Transaction, User, as_jsonb

COLUMNS: Final = """
id, credential_id, public_key, sign_count, transports, backup_eligible, friendly_name, created_at, last_used_at
"""
SELECT_PASSKEYS: Final = f"""
select {COLUMNS} from auth.webauthn_credentials where user_id = %(user_id)s order by created_at, id
"""  # noqa: S608
INSERT_PASSKEY: Final = f"""
insert into auth.webauthn_credentials (id, user_id, credential_id, public_key, attestation_type, aaguid, sign_count,
    transports, backup_eligible, backed_up, friendly_name, created_at, updated_at)
values (%(id)s, %(user_id)s, %(credential_id)s, %(public_key)s, %(attestation)s, %(aaguid)s, %(sign_count)s,
    %(transports)s, %(backup_eligible)s, %(backed_up)s, %(name)s, now(), now())
returning {COLUMNS}
"""  # noqa: S608
# Of two assertions with one counter the second one is a copy.
COUNT_USE: Final = """
update auth.webauthn_credentials set sign_count = %(count)s, backed_up = %(backed_up)s, last_used_at = now(),
    updated_at = now()
where id = %(id)s and (sign_count < %(count)s or (sign_count = 0 and %(count)s = 0))
returning id
"""
RENAME: Final = f"""
update auth.webauthn_credentials set friendly_name = %(name)s, updated_at = now()
where id = %(id)s and user_id = %(user_id)s
returning {COLUMNS}
"""  # noqa: S608
DELETE: Final = (
    "delete from auth.webauthn_credentials where id = %(id)s and user_id = %(user_id)s returning id"
)


@dataclass(frozen=True, slots=True)
class Passkey:
    id: UUID
    key: KnownKey
    name: str
    created_at: datetime
    last_used_at: datetime | None


async def load_passkeys(tx: Transaction, user_id: UUID) -> list[Passkey]:
    """The oldest first."""
    rows = await (await tx.execute(SELECT_PASSKEYS, {"user_id": user_id})).fetchall()
    return [_passkey(row) for row in rows]


async def create_passkey(tx: Transaction, user: User, key: NewKey) -> Passkey:
    """Raises AuthError webauthn_credential_exists, whoever has it."""
    parameters = {
        "id": uuid4(),
        "user_id": user.id,
        "credential_id": key.id,
        "public_key": key.public_key,
        "attestation": key.attestation,
        "aaguid": key.aaguid,
        "sign_count": key.sign_count,
        "transports": as_jsonb(list(key.transports)),
        "backup_eligible": key.backup_eligible,
        "backed_up": key.backed_up,
        "name": passkey_name(key.aaguid),
    }
    try:
        row = await (await tx.execute(INSERT_PASSKEY, parameters)).fetchone()
    except psycopg.errors.UniqueViolation as exc:
        raise AuthError("webauthn_credential_exists", "This credential is already registered") from exc
    assert row is not None
    return _passkey(row)


async def count_use(tx: Transaction, passkey: Passkey, assertion: Assertion) -> bool:
    """Whether the assertion is newer than the last one."""
    parameters = {"id": passkey.id, "count": assertion.sign_count, "backed_up": assertion.backed_up}
    return await (await tx.execute(COUNT_USE, parameters)).fetchone() is not None


async def rename_passkey(tx: Transaction, user_id: UUID, passkey_id: UUID, name: str) -> Passkey:
    """Raises AuthError validation_failed (404), as in GoTrue, for what is not the user's."""
    parameters = {"id": passkey_id, "user_id": user_id, "name": name}
    row = await (await tx.execute(RENAME, parameters)).fetchone()
    if row is None:
        raise not_found()
    return _passkey(row)


async def delete_passkey(tx: Transaction, user_id: UUID, passkey_id: UUID) -> None:
    """Raises AuthError validation_failed (404)."""
    if await (await tx.execute(DELETE, {"id": passkey_id, "user_id": user_id})).fetchone() is None:
        raise not_found()


def parse_passkey_id(text: str) -> UUID:
    """Raises AuthError validation_failed (404)."""
    try:
        return UUID(text)
    except ValueError as exc:
        raise not_found() from exc


def render_passkey(passkey: Passkey) -> dict[str, Any]:
    """GoTrue's PasskeyListItem: what is empty is left out."""
    shown: dict[str, Any] = {"id": str(passkey.id), "created_at": render_time(passkey.created_at)}
    if passkey.name:
        shown["friendly_name"] = passkey.name
    if passkey.last_used_at is not None:
        shown["last_used_at"] = render_time(passkey.last_used_at)
    return shown


def check_may_manage(call: Call) -> None:
    """A second factor guards the passkeys too, where there is one (GoTrue requirePasskeyManagementAAL). Raises
    AuthError insufficient_aal."""
    if call.user.has_verified_factor and (call.session is None or call.session.aal == "aal1"):
        message = "AAL2 session is required to manage passkeys when MFA is enabled"
        raise AuthError("insufficient_aal", message, status=403)


def check_enabled(call: Call) -> None:
    """Raises AuthError passkey_disabled."""
    if not call.settings.passkey.enabled:
        raise AuthError("passkey_disabled")


def not_found() -> AuthError:
    return AuthError("validation_failed", "Passkey not found", status=404)


def _passkey(row: Mapping[str, Any]) -> Passkey:
    key = KnownKey(
        id=bytes(row["credential_id"]),
        public_key=bytes(row["public_key"]),
        sign_count=row["sign_count"],
        transports=tuple(row["transports"] or ()),
        backup_eligible=row["backup_eligible"],
    )
    return Passkey(row["id"], key, row["friendly_name"], row["created_at"], row["last_used_at"])
