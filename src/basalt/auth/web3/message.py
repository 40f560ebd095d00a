"""The text that a wallet signs: EIP-4361 "Sign-In with Ethereum", and the same lines for Solana.

    example.com wants you to sign in with your Ethereum account:
    0x196a28d05bA75C8dC35B0F6e71DD622D1aC82b7E

    Sign in to Example

    URI: https://example.com
    Version: 1
    …

GoTrue utilities/siwe and utilities/siws: fields in any order, blank lines between them. What a wallet would show
and a server would pass over is refused here: a field twice, and fields that the standards do not know.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import SplitResult

import orjson

from basalt.auth.errors import AuthError
from basalt.auth.instants import parse_instant
from basalt.auth.uris import parse_uri

DOMAIN: Final = re.compile(
    r"(localhost|(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z]{2,})(?::[0-9]{1,5})?"
)
FIELDS: Final = frozenset(
    ("URI", "Version", "Chain ID", "Nonce", "Issued At", "Expiration Time", "Not Before", "Request ID")
)
INSTANTS: Final = ("Issued At", "Expiration Time", "Not Before")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the chains: `name` opens every complaint, `account` stands in the first line."""

    name: str
    account: str
    is_address: Callable[[str], bool]
    address_problem: str
    is_chain_id: Callable[[str], bool]

    def problem(self, text: str) -> AuthError:
        return AuthError("validation_failed", f"{self.name}: {text}")


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """`raw` is what was signed. A `statement` is None, `chain_id` empty where the message has none."""

    raw: str
    domain: str
    address: str
    statement: str | None
    uri: SplitResult
    chain_id: str
    nonce: str
    issued_at: datetime
    expires_at: datetime | None
    not_before: datetime | None
    request_id: str | None
    resources: tuple[str, ...]


def parse_message(raw: str, dialect: Dialect) -> SignedMessage:
    """Raises AuthError validation_failed, in GoTrue's words."""
    lines = raw.split("\n")
    if len(lines) < 6:
        raise dialect.problem("message needs at least 6 lines")
    domain, address = _parse_head(lines, dialect)
    has_statement = bool(lines[3]) and not lines[4]
    fields, resources = _parse_fields(lines, 5 if has_statement else 3, dialect)
    _check_fields(fields, dialect)
    times = {name: parse_instant(fields[name]) for name in INSTANTS if name in fields}
    issued_at, expires_at, not_before = (times.get(name) for name in INSTANTS)
    uri = parse_uri(fields["URI"])
    assert issued_at is not None
    assert uri is not None
    if expires_at is not None and issued_at > expires_at:
        raise dialect.problem("Issued At is after Expiration Time")
    if expires_at is not None and not_before is not None and not_before > expires_at:
        raise dialect.problem("Not Before is after Expiration Time")
    return SignedMessage(
        raw=raw,
        domain=domain,
        address=address,
        statement=lines[3] if has_statement else None,
        uri=uri,
        chain_id=fields.get("Chain ID", ""),
        nonce=fields.get("Nonce", ""),
        issued_at=issued_at,
        expires_at=expires_at,
        not_before=not_before,
        request_id=fields.get("Request ID"),
        resources=resources,
    )


def _parse_head(lines: list[str], dialect: Dialect) -> tuple[str, str]:
    """Domain and address: the first three lines are the same in every message."""
    ending = f" wants you to sign in with your {dialect.account} account:"
    if not lines[0].endswith(ending):
        raise dialect.problem(f'message first line does not end in "{ending}"')
    domain = lines[0].removesuffix(ending).strip()
    if DOMAIN.fullmatch(domain) is None:
        raise dialect.problem("domain in first line of message is not valid")
    address = lines[1].strip()
    if not dialect.is_address(address):
        raise dialect.problem(dialect.address_problem)
    if lines[2]:
        raise dialect.problem("third line must be empty")
    return domain, address


def _parse_fields(
    lines: list[str], start: int, dialect: Dialect
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    fields: dict[str, str] = {}
    resources: list[str] = []
    in_resources = seen_resources = False
    for index, given in enumerate(lines[start:], start):
        line = given.strip()
        if in_resources and line.startswith("- "):
            resources.append(line[2:].strip())
            if parse_uri(resources[-1]) is None:
                raise dialect.problem(f"Resource at position {len(resources) - 1} has invalid URI")
            continue
        in_resources = False
        # supabase-js writes the line without its colon, for Solana
        if line in ("Resources:", "Resources") and not seen_resources:
            in_resources = seen_resources = True
        elif line:
            name, colon, value = line.partition(":")
            if not colon or name not in FIELDS or name in fields:
                raise dialect.problem(f"encountered unparsable line at index {index}")
            fields[name] = value.strip()
            _check_field(name, fields[name], dialect)
    return fields, tuple(resources)


def _check_field(name: str, value: str, dialect: Dialect) -> None:
    if name == "URI" and parse_uri(value) is None:
        raise dialect.problem("URI is not valid")
    if name == "Chain ID" and not dialect.is_chain_id(value):
        raise dialect.problem("Chain ID is not valid")
    if name in INSTANTS and parse_instant(value) is None:
        raise dialect.problem(f"{name} is not a valid ISO8601 timestamp")


def _check_fields(fields: Mapping[str, str], dialect: Dialect) -> None:
    version = fields.get("Version", "")
    if version != "1":
        shown = orjson.dumps(version).decode()
        raise dialect.problem(f"Version value is not supported, expected 1 got {shown}")
    for name in ("Issued At", "URI"):
        if name not in fields:
            raise dialect.problem(f"{name} is not specified")
