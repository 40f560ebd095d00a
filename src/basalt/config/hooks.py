"""Where a hook leads: `pg-functions://postgres/SCHEMA/FUNCTION`, or an HTTP address with its signing secrets.

The rules are GoTrue's (configuration.go, ValidateExtensibilityPoint) and, for the secrets of HTTP hooks, the
Supabase CLI's, which wants at least one.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from basalt.config.auth_settings import HookSettings, HooksSettings

IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
SECRET: Final = re.compile(r"v1,whsec_([A-Za-z0-9+/=]{32,})")
PLAIN_HTTP_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1", "host.docker.internal"})


@dataclass(frozen=True, slots=True)
class PostgresHook:
    schema: str
    function: str


@dataclass(frozen=True, slots=True)
class HttpHook:
    """`secrets` sign: each a Base64 key with its prefix `whsec_`."""

    url: str
    secrets: tuple[str, ...]


def parse_hook(hook: HookSettings) -> PostgresHook | HttpHook | None:
    """None where the hook is not set. Raises ValueError for an address or secret that will not do.

    >>> parse_hook(HookSettings(uri="pg-functions://postgres/public/may_enter"))
    PostgresHook(schema='public', function='may_enter')
    """
    if not hook.enabled or not hook.uri:
        return None
    try:
        parts = urlsplit(hook.uri)
        host = parts.hostname or ""
    except ValueError:
        raise ValueError("the address is not a valid URI") from None
    match parts.scheme:
        case "pg-functions":
            return _parse_postgres(parts)
        case "https" if host:
            return HttpHook(hook.uri, parse_hook_secrets(hook.secrets))
        case "http" if host in PLAIN_HTTP_HOSTS:
            return HttpHook(hook.uri, parse_hook_secrets(hook.secrets))
        case "http" if host:
            raise ValueError("plain HTTP is for localhost, 127.0.0.1, ::1 and host.docker.internal only")
        case _:
            raise ValueError("the address must begin with pg-functions:// or https://")


def parse_hook_secrets(secrets: str | None) -> tuple[str, ...]:
    """
    >>> parse_hook_secrets("v1,whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")
    ('whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz',)
    """
    given = [secret for secret in (secrets or "").split("|") if secret]
    if not given:
        raise ValueError("an HTTP hook needs `secrets` to sign its requests")
    for secret in given:
        found = SECRET.fullmatch(secret)
        try:
            if found is None or not base64.b64decode(found[1] + "==", validate=False):
                raise ValueError
        except (ValueError, binascii.Error):
            raise ValueError("a secret must be `v1,whsec_` and at least 32 characters of Base64") from None
    return tuple(secret.removeprefix("v1,") for secret in given)


def find_hook_problems(hooks: HooksSettings) -> Iterator[tuple[str, str]]:
    """Name and reason of every hook that cannot be used."""
    for spec in fields(hooks):
        try:
            parse_hook(getattr(hooks, spec.name))
        except ValueError as error:
            yield spec.name, str(error)


def _parse_postgres(parts: SplitResult) -> PostgresHook:
    names = [unquote(name) for name in parts.path.split("/")[1:]]
    if len(names) != 2 or parts.query or parts.fragment:
        raise ValueError("the address of a function is pg-functions://postgres/SCHEMA/FUNCTION")
    for name in names:
        if IDENTIFIER.fullmatch(name) is None:
            raise ValueError(f"{name!r} is not the name of a schema or function (letters, digits and _)")
    return PostgresHook(*names)
