"""Realtime as the gateway sees it: the handshake of sockets and the HTTP interface beside it."""

import asyncio

from basalt import observe
from basalt.http import Request, Response, SocketConnection, json_response
from basalt.realtime.api import BroadcastApi
from basalt.realtime.errors import TOO_MANY_USERS, HandshakeError
from basalt.realtime.frames import Version
from basalt.realtime.hub import Hub
from basalt.realtime.socket import Socket
from basalt.realtime.status import RealtimeStatus, describe

# Closed by the client's own will: who goes away like that does not come back for what it misses.
WILLING = (1000, 1001)
HEARTBEAT_TIMEOUT = "heartbeat timeout"  # phoenix.js closes with 1000 and this reason, and comes back


class RealtimeService:
    """One per gateway process."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._api = BroadcastApi(hub)

    def status(self) -> RealtimeStatus:
        """What is going on in this process."""
        return describe(self.hub)

    async def open(self) -> None:
        await self.hub.open()

    async def close(self) -> None:
        await self.hub.close()

    async def respond(self, request: Request) -> Response:
        if request.path in ("/websocket", "/websocket/"):
            return json_response({"error": "This is for WebSockets"}, 426, [("upgrade", "websocket")])
        return await self._api.respond(request)

    async def connect(self, request: Request, connection: SocketConnection) -> None:
        """Open a socket and return when it has ended; a refused handshake waits a little."""
        try:
            socket = self._open_socket(request, connection)
        except HandshakeError as error:
            await asyncio.sleep(self.hub.settings.refusal_delay_s)
            await connection.reject(json_response({"error": error.message}, error.status))
            return
        self.hub.add_socket(socket)
        may_return = True
        try:
            await connection.accept()
            closed = await connection.wait_closed()
            is_willing = closed.by_client and closed.code in WILLING
            may_return = not is_willing or closed.reason == HEARTBEAT_TIMEOUT
            observe.event("socket_closed", level="debug", code=closed.code, reason=closed.reason)
        finally:
            self.hub.remove_socket(socket)
            socket.lost(may_return=may_return)

    def _open_socket(self, request: Request, connection: SocketConnection) -> Socket:
        """Raises HandshakeError."""
        if request.path not in ("/websocket", "/websocket/"):
            raise HandshakeError(404, "Not found")
        caller = self.hub.gate.open_handshake(request)
        version = _version(dict(request.query()).get("vsn"))
        if not self.hub.limits.takes_socket():
            raise HandshakeError(429, TOO_MANY_USERS)
        return Socket(self.hub, connection, version, caller)


def _version(asked: str | None) -> Version:
    match asked:
        case None | "1.0.0":
            return "1.0.0"
        case "2.0.0":
            return "2.0.0"
        case _:
            raise HandshakeError(400, f"The protocol version {asked} is not supported; use 1.0.0 or 2.0.0")
