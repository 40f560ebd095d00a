"""Providers that a project adds while it runs: rows of `auth.custom_oauth_providers`, named `custom:…` (GoTrue
models/custom_oauth_provider.go).

Their addresses come from whoever holds the secret key, so requests to them go through the guarded client. The client
secret is stored as it is, as GoTrue stores it without a database encryption key.
"""

from collections.abc import Mapping
from typing import Any, Final

from basalt.auth.oauth.engine import APPLE_ISSUERS, AZURE_ISSUER, Provider
from basalt.auth.oauth.issuers import Issuers
from basalt.auth.oauth.providers import KNOWN, Address, Description
from basalt.auth.users import Transaction

PREFIX: Final = "custom:"
FIND: Final = "select * from auth.custom_oauth_providers where identifier = %(identifier)s"
# Tokens of these issuers are read as those of the known provider, whatever the project calls it.
READERS: Final = {
    "https://accounts.google.com": KNOWN["google"].read_token,
    "https://www.linkedin.com/oauth": KNOWN["linkedin_oidc"].read_token,
    "https://kauth.kakao.com": KNOWN["kakao"].read_token,
    "https://www.facebook.com": KNOWN["facebook"].read_token,
    **dict.fromkeys(APPLE_ISSUERS, KNOWN["apple"].read_token),
}


async def find_custom(tx: Transaction, identifier: str) -> dict[str, Any] | None:
    return await (await tx.execute(FIND, {"identifier": identifier})).fetchone()


def custom_provider(row: Mapping[str, Any], issuers: Issuers, redirect_uri: str) -> Provider:
    """A row as something to speak to."""
    return Provider(
        name=row["identifier"],
        description=describe(
            row["issuer"],
            authorize=row["authorization_url"],
            token=row["token_url"],
            user=row["userinfo_url"],
            parameters={
                name: value for name, value in row["authorization_params"].items() if isinstance(value, str)
            },
        ),
        client_ids=(row["client_id"], *row["acceptable_client_ids"]),
        secret=row["client_secret"],
        redirect_uri=redirect_uri,
        issuers=issuers,
        own_issuer=row["issuer"],
        scopes=tuple(row["scopes"]),
        discovery_url=row["discovery_url"] or None,
        jwks_uri=row["jwks_uri"] or None,
        email_optional=row["email_optional"],
        checks_nonce=not row["skip_nonce_check"],
        pkce=row["pkce_enabled"],
        attribute_mapping=row["attribute_mapping"],
        claims_allowlist=row["custom_claims_allowlist"],
    )


def describe(
    issuer: str | None,
    *,
    authorize: str | None = None,
    token: str | None = None,
    user: str | None = None,
    parameters: Mapping[str, str] | None = None,
) -> Description:
    """A provider that nobody knew of: with an issuer what is not given is discovered."""
    reader = READERS.get(issuer or "")
    if reader is None and AZURE_ISSUER.fullmatch(issuer or ""):
        reader = KNOWN["azure"].read_token
    return Description(
        authorize=Address(authorize) if authorize else None,
        token=Address(token) if token else None,
        user=Address(user) if user else None,
        client_auth="either",
        parameters=parameters or {},
        profile_from="id_token or user" if issuer else "user",
        read_token=reader,
        takes_id_tokens=bool(issuer),
    )
