"""The door to HTTP: one ASGI application whose first path segment picks the service.

On a request's way: request id → path → preflight → rate limit → service → common headers → access log. A
service renders its own errors in
its contract's shape; whatever else reaches this room becomes the structured error of `basalt.errors`.
`serve_rest` puts REST alone at the root, in the place of a PostgREST.
"""

from basalt.gateway.app import Gateway, Service
from basalt.gateway.serve import serve_rest

__all__ = ["Gateway", "Service", "serve_rest"]
