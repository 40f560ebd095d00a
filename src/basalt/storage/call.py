"""A request to Storage and who speaks: what the handlers of a protocol are given."""

from dataclasses import dataclass

from basalt.access import AccessError, Authoriser, Caller
from basalt.http import Request
from basalt.storage.context import StorageContext
from basalt.storage.database import Scope
from basalt.storage.errors import StorageError, error_of_access, invalid_request


@dataclass(frozen=True, slots=True)
class Call:
    """Made per request, after the route's access was checked."""

    ctx: StorageContext
    request: Request
    caller: Caller

    def scope(self, operation: str) -> Scope:
        """The caller doing this (`storage.object.upload`)."""
        return Scope(self.caller, operation, self.request)


def authorise(authoriser: Authoriser, request: Request) -> Caller:
    """The caller of a route that needs a token or a key. Raises StorageError InvalidRequest where there is none at
    all, AccessDenied for one that is not good."""
    headers = request.headers
    if "authorization" not in headers and "apikey" not in headers and b"apikey=" not in request.query_string:
        raise invalid_request("headers must have required property 'authorization'")
    if headers.get("authorization") == "":
        raise StorageError("AccessDenied", "Invalid Compact JWS")
    try:
        return authoriser.authorise(headers, request.query_string)
    except AccessError as error:
        raise error_of_access(error) from error


def anyone(authoriser: Authoriser, request: Request) -> Caller:
    """The caller of an open route: whoever sends nothing that is good is anonymous."""
    try:
        return authoriser.authorise(request.headers, request.query_string)
    except AccessError:
        return NOBODY


NOBODY = Caller("anon", {"role": "anon"}, '{"role":"anon"}', is_key=True)
