"""What tools ask of the service itself, and the purge of a cache in front of it."""

from importlib.metadata import version as package_version
from typing import Final

from basalt.http import Response, json_response
from basalt.postgres import Query
from basalt.storage.call import Call
from basalt.storage.errors import StorageError

SERVICE_ROLE: Final = "service_role"
VERSION: Final = package_version("basalt")


async def status(call: Call) -> Response:
    return Response(200)


async def version(call: Call) -> Response:
    return Response(200, [(b"content-type", b"text/plain; charset=utf-8")], VERSION.encode())


async def health(call: Call) -> Response:
    """Whether the database answers."""
    _require_service_role(call)
    await call.ctx.db.run_or_refuse(None, Query("select 1"), read_only=True)
    return json_response({"healthy": True})


async def purge(call: Call, bucket: str = "", path: str = "") -> Response:
    """There is no cache of its own in front of Storage, so that there is nothing left to do; finished images follow
    the version of their source anyway."""
    _require_service_role(call)
    return json_response({"message": "success"})


def _require_service_role(call: Call) -> None:
    if call.caller.role != SERVICE_ROLE:
        raise StorageError("AccessDenied", "Access denied: Invalid role", http_status=403)
