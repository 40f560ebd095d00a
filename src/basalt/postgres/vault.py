"""Vault's secrets in SQL (`extensions/supabase_vault`), and the keys that seal them.

The keys of the private cluster are lines `ID KEY` of `vault.key`, beside the data directory and not in it, so that
neither a dump nor a copy of the data gives a secret away. PostgreSQL reads the file when it seals; the first line
seals, the others still open what they sealed. On a server that is not ours there is no such place: there they are
rows of `vault.sealing_keys`.
"""

import base64
import os
import secrets
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import LiteralString

import psycopg

from basalt.errors import BasaltError
from basalt.postgres.access import DatabaseAccess
from basalt.postgres.cluster_folders import read_home
from basalt.postgres.os_user import ServerUser, server_user

KEY_FILE = "vault.key"
KEY_BYTES = 32

HAS_OWN_VAULT = "select to_regprocedure('vault.read_keys()') is not null"
HAS_KEY = "select exists (select from vault.read_keys())"
ADD_KEY = "insert into vault.sealing_keys (key) values (%s)"
RESEAL = "select vault.reseal()"

FIND_STORED = "select name, id, decrypted_secret from vault.decrypted_secrets where name = any(%s)"
CREATE = "select vault.create_secret(%s, %s)"
UPDATE = "select vault.update_secret(%s, %s)"


def ensure_key_file(home: Path, user: ServerUser) -> None:
    """The private cluster in `home` has a key."""
    if not (home / KEY_FILE).exists():
        _write_keys(home, user, [_new_line()])


def ensure_vault_key(connection: psycopg.Connection) -> None:
    """A server that is not ours has a key; nothing where its Vault is another one's than Basalt's."""
    if _is_true(connection, HAS_OWN_VAULT) and not _is_true(connection, HAS_KEY):
        connection.execute(ADD_KEY, [_new_key()])


def rotate_vault_key(access: DatabaseAccess, state_dir: Path) -> int:
    """A new key seals from now on, and every secret at once, in one transaction. Returns how many. Older keys stay,
    for backups of the time before. Raises BasaltError where Vault is not Basalt's own."""
    with psycopg.connect(access.conninfo("supabase_admin"), application_name="basalt/vault") as connection:
        if not _is_true(connection, HAS_OWN_VAULT):
            raise BasaltError("vault_not_own", 400, "This server has a Vault of its own, with its own keys")
        if access.is_external:
            connection.execute(ADD_KEY, [_new_key()])
        else:
            home = read_home(state_dir) or state_dir / "postgres"
            kept = (home / KEY_FILE).read_text("ascii").splitlines()
            _write_keys(home, server_user(), [_new_line(), *kept])
        row = connection.execute(RESEAL).fetchone()
    return row[0] if row else 0


def ensure_vault_secrets(access: DatabaseAccess, wanted: Mapping[str, str]) -> list[str]:
    """The secrets of `[db.vault]` exist with their values; others stay as they are. Returns the names of those that
    were made or changed. Raises BasaltError."""
    if not wanted:
        return []
    try:
        with psycopg.connect(access.conninfo("postgres"), application_name="basalt/vault") as connection:
            return _store(connection, wanted)
    except psycopg.Error as exc:
        reason = exc.diag.message_primary or exc
        raise BasaltError("vault_failed", 500, f"[db.vault] cannot be stored: {reason}") from exc


def _store(connection: psycopg.Connection, wanted: Mapping[str, str]) -> list[str]:
    rows = connection.execute(FIND_STORED, [list(wanted)]).fetchall()
    stored = {name: (secret_id, value) for name, secret_id, value in rows}
    changed = [name for name, value in wanted.items() if name not in stored or stored[name][1] != value]
    for name in changed:
        if name in stored:
            connection.execute(UPDATE, [stored[name][0], wanted[name]])
        else:
            connection.execute(CREATE, [wanted[name], name])
    return changed


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")


def _new_line() -> str:
    return f"{uuid.uuid4()} {_new_key()}"


def _write_keys(home: Path, user: ServerUser, lines: list[str]) -> None:
    """As a whole or not at all, and never readable by others in between."""
    handle, name = tempfile.mkstemp(dir=home, prefix=f".{KEY_FILE}.")  # mkstemp gives 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        user.own(Path(name), 0o600)
        Path(name).replace(home / KEY_FILE)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _is_true(connection: psycopg.Connection, question: LiteralString) -> bool:
    return connection.execute(question).fetchone() == (True,)
