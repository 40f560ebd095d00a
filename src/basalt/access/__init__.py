"""API keys and tokens become a `Caller`: a database role and the claims that policies read.

Every way in (HTTP, sockets, resumable uploads, S3, functions, queue wrappers) asks the same `Authoriser`, so
a second path cannot forget the first one's check. `ProjectKeys` holds what signs and verifies.
"""

from basalt.access.authoriser import AccessError, Authoriser
from basalt.access.caller import Caller
from basalt.access.keys import ProjectKeys, load_project_keys

__all__ = ["AccessError", "Authoriser", "Caller", "ProjectKeys", "load_project_keys"]
