"""Requests, responses and route tables: what every service speaks, once.

The gateway turns ASGI into a `Request`, a service answers with a `Response`, the gateway writes it out.
"""

from basalt.http.addresses import AddressGuard, Resolve
from basalt.http.client_address import ClientAddresses, client_network, is_loopback
from basalt.http.conditions import check_conditions, is_range_current
from basalt.http.headers import Headers
from basalt.http.outgoing import OutgoingAnswer, OutgoingClient, OutgoingError, resolve_public
from basalt.http.ranges import RangeError, parse_range
from basalt.http.request import ClientDisconnectedError, KeyedWrite, Request
from basalt.http.response import Response, json_response
from basalt.http.retry_after import parse_retry_after
from basalt.http.routes import Handler, Route, RouteTable
from basalt.http.websocket import BINARY, PING, TEXT, Closed, SocketConnection, build_frame
from basalt.http.wire import (
    Failure,
    Target,
    Timing,
    WireAnswer,
    WireClient,
    WireError,
    WireRequest,
    parse_target,
)

__all__ = [
    "BINARY",
    "PING",
    "TEXT",
    "AddressGuard",
    "ClientAddresses",
    "ClientDisconnectedError",
    "Closed",
    "Failure",
    "Handler",
    "Headers",
    "KeyedWrite",
    "OutgoingAnswer",
    "OutgoingClient",
    "OutgoingError",
    "RangeError",
    "Request",
    "Resolve",
    "Response",
    "Route",
    "RouteTable",
    "SocketConnection",
    "Target",
    "Timing",
    "WireAnswer",
    "WireClient",
    "WireError",
    "WireRequest",
    "build_frame",
    "check_conditions",
    "client_network",
    "is_loopback",
    "is_range_current",
    "json_response",
    "parse_range",
    "parse_retry_after",
    "parse_target",
    "resolve_public",
]
