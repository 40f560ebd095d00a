"""The door to HTTP: one ASGI application whose first path segment picks the service.

On a request's way: request id → path → preflight → rate limit → service → common headers → access log. A
service renders its own errors in
its contract's shape; whatever else reaches this room becomes the structured error of `basalt.errors`.
`serve_rest` puts REST alone at the root, in the place of a PostgREST.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from basalt.gateway.app import Gateway, Service
    from basalt.gateway.metrics_page import serve_metrics
    from basalt.gateway.serve import serve_functions, serve_project, serve_rest

__all__ = ["Gateway", "Service", "serve_functions", "serve_metrics", "serve_project", "serve_rest"]

_MODULES = {
    "Gateway": "basalt.gateway.app",
    "Service": "basalt.gateway.app",
    "serve_functions": "basalt.gateway.serve",
    "serve_metrics": "basalt.gateway.metrics_page",
    "serve_project": "basalt.gateway.serve",
    "serve_rest": "basalt.gateway.serve",
}


def __getattr__(name: str) -> object:
    # `basalt rest` serves by it; the other commands do not wait for every service's imports.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
