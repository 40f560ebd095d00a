"""API keys and tokens become a `Caller`: a database role and the claims that policies read.

Every way in (HTTP, sockets, resumable uploads, S3, functions, queue wrappers) asks the same `Authoriser`, so
a second path cannot forget the first one's check; a REST server without a project asks a `BearerAuthoriser`. Both
verify tokens in the same way (`tokens`). `ProjectKeys` holds what signs.
"""

from basalt.access.authoriser import AnyAuthoriser, Authoriser
from basalt.access.bearer import BearerAuthoriser
from basalt.access.caller import Caller
from basalt.access.errors import AccessError
from basalt.access.keys import ProjectKeys, load_project_keys, load_signing_jwks, store_signing_jwks
from basalt.access.signing_keys import Algorithm, revoke, rotate, state_of

__all__ = [
    "AccessError",
    "Algorithm",
    "AnyAuthoriser",
    "Authoriser",
    "BearerAuthoriser",
    "Caller",
    "ProjectKeys",
    "load_project_keys",
    "load_signing_jwks",
    "revoke",
    "rotate",
    "state_of",
    "store_signing_jwks",
]
