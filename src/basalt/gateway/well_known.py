"""`/.well-known/NAME/auth/v1`: where RFC 8414 §3.1 looks for the metadata of an issuer that has a path, which it puts
behind the well-known name. Auth serves the document below its own path, as OpenID Connect Discovery has it."""

from typing import Any, Final

from basalt.auth import AuthService
from basalt.errors import BasaltError
from basalt.http import Request, Response

AUTH_PREFIX: Final = "/auth/v1"
NAMES: Final = ("oauth-authorization-server", "openid-configuration")


class WellKnown:
    """Stands at `/.well-known` and asks Auth, which is opened and closed elsewhere."""

    def __init__(self, auth: AuthService) -> None:
        self._auth = auth

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def respond(self, request: Request) -> Response:
        """Raises BasaltError not_found for any other document or issuer."""
        name = request.path.removesuffix(AUTH_PREFIX).removeprefix("/")
        if name not in NAMES or not request.path.endswith(AUTH_PREFIX):
            raise BasaltError("not_found", 404, f"There is no {request.prefix}{request.path}")
        asked = Request(
            method=request.method,
            path=f"/.well-known/{name}",
            prefix=AUTH_PREFIX,
            headers=request.headers,
            client_ip=request.client_ip,
            request_id=request.request_id,
            base_url=request.base_url,
            receive=_no_body,
        )
        return await self._auth.respond(asked)


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b""}
