"""Requests, responses and route tables: what every service speaks, once.

The gateway turns ASGI into a `Request`, a service answers with a `Response`, the gateway writes it out.
"""

from basalt.http.headers import Headers
from basalt.http.outgoing import OutgoingAnswer, OutgoingClient, OutgoingError, resolve_public
from basalt.http.request import ClientDisconnectedError, Request
from basalt.http.response import Response, json_response
from basalt.http.routes import Handler, Route, RouteTable
from basalt.http.websocket import BINARY, PING, TEXT, Closed, SocketConnection, build_frame

__all__ = [
    "BINARY",
    "PING",
    "TEXT",
    "ClientDisconnectedError",
    "Closed",
    "Handler",
    "Headers",
    "OutgoingAnswer",
    "OutgoingClient",
    "OutgoingError",
    "Request",
    "Response",
    "Route",
    "RouteTable",
    "SocketConnection",
    "build_frame",
    "json_response",
    "resolve_public",
]
