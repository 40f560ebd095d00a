"""Requests, responses and route tables: what every service speaks, once.

The gateway turns ASGI into a `Request`, a service answers with a `Response`, the gateway writes it out.
"""

from basalt.http.conditions import check_conditions, is_range_current
from basalt.http.headers import Headers
from basalt.http.outgoing import OutgoingAnswer, OutgoingClient, OutgoingError, resolve_public
from basalt.http.ranges import RangeError, parse_range
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
    "RangeError",
    "Request",
    "Response",
    "Route",
    "RouteTable",
    "SocketConnection",
    "build_frame",
    "check_conditions",
    "is_range_current",
    "json_response",
    "parse_range",
    "resolve_public",
]
