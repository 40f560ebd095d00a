"""Requests, responses and route tables: what every service speaks, once.

The gateway turns ASGI into a `Request`, a service answers with a `Response`, the gateway writes it out.
"""

from basalt.http.headers import Headers
from basalt.http.request import ClientDisconnectedError, Request
from basalt.http.response import Response, json_response
from basalt.http.routes import Handler, Route, RouteTable

__all__ = [
    "ClientDisconnectedError",
    "Handler",
    "Headers",
    "Request",
    "Response",
    "Route",
    "RouteTable",
    "json_response",
]
