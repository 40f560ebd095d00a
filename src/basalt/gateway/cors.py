"""Cross-origin rules, as the gateway of a Supabase project answers them: any origin, any header, no
credentials."""

from basalt.http import Headers, Response

METHODS = b"GET,POST,PATCH,PUT,DELETE,OPTIONS,HEAD"
EXPOSED = (
    b"Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Server, "
    b"Transfer-Encoding, Range-Unit, "
    b"Link, X-Total-Count, X-Request-Id, X-Supabase-Api-Version, X-Sb-Error-Code, X-Relay-Error, Retry-After"
)


def is_preflight(method: str, headers: Headers) -> bool:
    """A question by a browser (Fetch standard §4.8), not an OPTIONS request meant for the service."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def preflight_response(headers: Headers) -> Response:
    asked = (
        headers.get("access-control-request-headers") or "authorization, apikey, content-type, x-client-info"
    )
    return Response(
        200,
        [
            (b"access-control-allow-origin", b"*"),
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", asked.encode("latin-1")),
            (b"access-control-max-age", b"86400"),
            (b"vary", b"Access-Control-Request-Headers"),
        ],
    )


def with_cors(response: Response, headers: Headers) -> Response:
    """The same response, readable by the origin that asked; what a service or function set itself stays."""
    if "origin" in headers and not any(
        name == b"access-control-allow-origin" for name, _ in response.headers
    ):
        response.headers.append((b"access-control-allow-origin", b"*"))
        response.headers.append((b"access-control-expose-headers", EXPOSED))
    return response
