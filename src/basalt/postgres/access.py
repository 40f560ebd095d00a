"""How to reach the database as each of its roles.

The private cluster and an external database both end in a `DatabaseAccess`; whoever opens connections takes
its connection strings from there. `url` is what is shown to people and handed to other programs (TCP);
`conninfo` is what Basalt itself uses, through the private socket where there is one.
"""

import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from basalt.errors import BasaltError
from basalt.observe import mask_secrets

LOGIN_ROLES = (
    "supabase_admin",
    "postgres",
    "authenticator",
    "supabase_auth_admin",
    "supabase_storage_admin",
    "supabase_replication_admin",
    "supabase_read_only_user",
    "supabase_functions_admin",
    "pgbouncer",
)
# On an external server the owner named by the URL does the work of these two.
OWNER_ROLES = frozenset({"supabase_admin", "postgres"})

STATE_FILE = "database.json"


@dataclass(frozen=True)
class DatabaseAccess:
    """`passwords` maps each login role to its password. `owner` is set on an external database only: the role
    of its URL, which stands in for `supabase_admin` and `postgres`. `options` are further libpq keywords,
    `sslmode` for one."""

    host: str
    port: int
    dbname: str
    passwords: Mapping[str, str] = field(repr=False)
    socket_dir: str | None = None
    owner: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_external(self) -> bool:
        return self.owner is not None

    def login(self, role: str) -> str:
        """The role that really logs in when `role` is asked for."""
        return self.owner if self.owner is not None and role in OWNER_ROLES else role

    def url(self, role: str, dbname: str | None = None) -> str:
        """`postgresql://role:password@host:port/dbname`, every part percent-encoded."""
        login = self.login(role)
        password = self.passwords.get(login)
        user = quote(login, safe="") + (f":{quote(password, safe='')}" if password else "")
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        query = f"?{urlencode(self.options, quote_via=quote)}" if self.options else ""
        return f"postgresql://{user}@{host}:{self.port}/{quote(dbname or self.dbname, safe='')}{query}"

    def conninfo(self, role: str, dbname: str | None = None) -> str:
        """libpq keywords; callers add `application_name` with `make_conninfo`."""
        login = self.login(role)
        return make_conninfo(
            "",
            host=self.socket_dir or self.host,
            port=self.port,
            dbname=dbname or self.dbname,
            user=login,
            password=self.passwords.get(login),
            **self.options,
        )

    def with_dbname(self, dbname: str) -> "DatabaseAccess":
        return replace(self, dbname=dbname)


def access_from_url(url: str, state_dir: Path) -> DatabaseAccess:
    """The access to an external database from its owner's URL.

    The passwords of the service roles are derived from the owner's, so that every node with the same URL
    comes to the same ones and nothing has to be stored. Where the owner has none (peer, certificate,
    `.pgpass`) they are random and kept in `database.json`."""
    try:
        parts = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    except ProgrammingError as exc:
        reason = mask_secrets(str(exc).strip())
        raise BasaltError("database_url_invalid", 500, f"The database URL cannot be read: {reason}") from exc
    owner = parts.pop("user", None)
    host = parts.pop("host", None)
    if not owner or not host:
        raise BasaltError("database_url_invalid", 500, "The database URL must name a user and a host.")
    port = parts.pop("port", "5432")
    if not port.isdigit():
        raise BasaltError("database_url_invalid", 500, "The database URL must name one host and one port.")
    password = parts.pop("password", None)
    service_roles = [role for role in LOGIN_ROLES if role != owner and role not in OWNER_ROLES]
    if password:
        passwords = {role: _derive_password(password, role) for role in service_roles} | {owner: password}
    else:
        passwords = load_passwords(state_dir, service_roles)
    return DatabaseAccess(
        host=host,
        port=int(port),
        dbname=parts.pop("dbname", owner),
        passwords=passwords,
        owner=owner,
        options=parts,
    )


def load_access(state_dir: Path) -> DatabaseAccess:
    """The access to the private cluster as its last start left it in `database.json`, for the processes
    beside the supervisor. Raises BasaltError when the cluster has never run."""
    state = read_state(state_dir)
    if "port" not in state:
        raise BasaltError(
            "database_unknown", 500, f"No database was started for {state_dir}; run `basalt start` first."
        )
    return DatabaseAccess(
        state["host"], state["port"], state["dbname"], state["passwords"], socket_dir=state["socket_dir"]
    )


def load_passwords(state_dir: Path, roles: list[str] | tuple[str, ...]) -> dict[str, str]:
    """The kept passwords of `roles`; those that are missing are made up and kept."""
    state = read_state(state_dir)
    passwords: dict[str, str] = dict(state.get("passwords", {}))
    missing = [role for role in roles if role not in passwords]
    if missing:
        passwords |= {role: secrets.token_urlsafe(32) for role in missing}
        write_state(state_dir, {**state, "passwords": passwords})
    return passwords


def read_state(state_dir: Path) -> dict[str, Any]:
    """`database.json`; empty when there is none yet."""
    path = state_dir / STATE_FILE
    try:
        state = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as exc:
        raise BasaltError("database_state_invalid", 500, f"{path} is not valid JSON: {exc}") from exc
    if not isinstance(state, dict):
        raise BasaltError("database_state_invalid", 500, f"{path} does not hold a JSON object.")
    return state


def write_state(state_dir: Path, state: Mapping[str, Any]) -> None:
    """Replaces `database.json` in one step, readable by its owner only."""
    handle, name = tempfile.mkstemp(dir=state_dir, prefix=f".{STATE_FILE}.")  # mkstemp gives 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(state, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(state_dir / STATE_FILE)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _derive_password(secret: str, role: str) -> str:
    return hmac.new(secret.encode(), f"basalt database role {role}".encode(), hashlib.sha256).hexdigest()
