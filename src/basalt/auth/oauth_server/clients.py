"""The clients of the server: rows of `auth.oauth_clients`, and how they are shown (GoTrue models/oauth_client.go).

A secret is shown once. What is stored is its SHA-256, as in GoTrue: it has 256 bits of chance, so that a slow hash
would add nothing.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from typing import Any, Final
from uuid import UUID

from basalt.auth.render import render_time
from basalt.auth.users import Transaction

SELECT_CLIENT: Final = """
select c.id, c.client_secret_hash, c.registration_type::text as registration_type,
    c.client_type::text as client_type, c.token_endpoint_auth_method, c.redirect_uris, c.grant_types,
    c.client_name, c.client_uri, c.logo_uri, c.created_at, c.updated_at
from auth.oauth_clients as c
where c.deleted_at is null
"""
BY_ID: Final = SELECT_CLIENT + "and c.id = %(id)s"


@dataclass(frozen=True, slots=True)
class Client:
    """A registered application; absent texts are empty."""

    id: UUID
    secret_hash: str
    registration_type: str
    client_type: str
    auth_method: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    name: str
    uri: str
    logo_uri: str
    created_at: datetime
    updated_at: datetime

    @property
    def is_confidential(self) -> bool:
        return self.client_type == "confidential"


async def load_client(tx: Transaction, client_id: UUID) -> Client | None:
    row = await (await tx.execute(BY_ID, {"id": client_id})).fetchone()
    return None if row is None else client_of_row(row)


def client_of_row(row: Mapping[str, Any]) -> Client:
    """A row of `SELECT_CLIENT`."""
    return Client(
        id=row["id"],
        secret_hash=row["client_secret_hash"] or "",
        registration_type=row["registration_type"],
        client_type=row["client_type"],
        auth_method=row["token_endpoint_auth_method"],
        redirect_uris=tuple(filter(None, row["redirect_uris"].split(","))),
        grant_types=tuple(part.strip() for part in row["grant_types"].split(",") if part.strip()),
        name=row["client_name"] or "",
        uri=row["client_uri"] or "",
        logo_uri=row["logo_uri"] or "",
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def render_client(client: Client, secret: str = "") -> dict[str, Any]:
    """The client as RFC 7591 §3.2.1 has it, with GoTrue's own fields."""
    shown: dict[str, Any] = {
        "client_id": str(client.id),
        "client_type": client.client_type,
        "redirect_uris": list(client.redirect_uris),
        "token_endpoint_auth_method": client.auth_method,
        "grant_types": list(client.grant_types),
        "response_types": ["code"],
        "registration_type": client.registration_type,
        "created_at": render_time(client.created_at),
        "updated_at": render_time(client.updated_at),
    }
    texts = {
        "client_secret": secret,
        "client_name": client.name,
        "client_uri": client.uri,
        "logo_uri": client.logo_uri,
    }
    return shown | {name: text for name, text in texts.items() if text}


def render_client_briefly(client: Client) -> dict[str, str]:
    """What users are shown of a client that asks or was allowed."""
    texts = {"name": client.name, "uri": client.uri, "logo_uri": client.logo_uri}
    return {"id": str(client.id)} | {name: text for name, text in texts.items() if text}


def new_client_secret() -> str:
    return secrets.token_urlsafe(32)


def hash_client_secret(secret: str) -> str:
    """
    >>> hash_client_secret("abc")
    'ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0'
    """
    digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_client_secret(client: Client, secret: str) -> bool:
    return bool(client.secret_hash) and compare_digest(hash_client_secret(secret), client.secret_hash)


def parse_client_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
