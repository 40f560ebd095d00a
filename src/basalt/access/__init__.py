"""API keys and tokens become a `Caller`: a database role and the claims that policies read.

Every way in (HTTP, sockets, resumable uploads, S3, functions, queue wrappers) asks the same `Authoriser`, so
a second path cannot forget the first one's check; a REST server without a project asks a `BearerAuthoriser`. Both
verify tokens in the same way (`tokens`). `ProjectKeys` holds what signs; `Sealer` seals the secrets of functions in the
database.
"""

from basalt.access.authoriser import AnyAuthoriser, Authoriser
from basalt.access.bearer import BearerAuthoriser, bearer_token
from basalt.access.caller import Caller
from basalt.access.errors import AccessError
from basalt.access.keys import ProjectKeys, load_project_keys, load_signing_jwks, store_signing_jwks
from basalt.access.sealing import Sealer, SealingError, add_sealing_key, load_sealer
from basalt.access.secrets import (
    SecretEntry,
    SecretsError,
    check_name,
    list_secrets,
    load_secrets,
    remove_secrets,
    reseal_secrets,
    store_secrets,
)
from basalt.access.secrets_watch import SecretsWatch
from basalt.access.signing_keys import Algorithm, revoke, rotate, state_of

__all__ = [
    "AccessError",
    "Algorithm",
    "AnyAuthoriser",
    "Authoriser",
    "BearerAuthoriser",
    "Caller",
    "ProjectKeys",
    "Sealer",
    "SealingError",
    "SecretEntry",
    "SecretsError",
    "SecretsWatch",
    "add_sealing_key",
    "bearer_token",
    "check_name",
    "list_secrets",
    "load_project_keys",
    "load_sealer",
    "load_secrets",
    "load_signing_jwks",
    "remove_secrets",
    "reseal_secrets",
    "revoke",
    "rotate",
    "state_of",
    "store_secrets",
    "store_signing_jwks",
]
