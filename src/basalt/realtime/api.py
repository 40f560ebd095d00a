"""Broadcast over HTTP (protocol §14): a batch of messages, or one whose body is the payload."""

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from basalt.access import AccessError, Caller
from basalt.errors import BasaltError
from basalt.http import Request, Response, Route, RouteTable, json_response
from basalt.postgres import LanesUnavailable, PostgresError
from basalt.realtime.broadcast import Broadcast, TextBroadcast, UserBroadcast
from basalt.realtime.errors import TokenError
from basalt.realtime.frames import is_json
from basalt.realtime.messages import LONGEST_KEPT_S, store_message
from basalt.realtime.permissions import may_write
from basalt.realtime.rooms import room_key
from basalt.realtime.sending import TOO_LARGE, is_refusal
from basalt.realtime.tokens import check_alive

if TYPE_CHECKING:
    from basalt.realtime.hub import Hub

OVER_RATE = "You have exceeded your rate limit"
BATCH_TOO_LARGE = "Too many messages to broadcast, please reduce the batch size"
WRONG_TYPE = "Unsupported Media Type. Use application/json or application/octet-stream"
MAX_BATCH = 1000
BATCH_PAYLOADS = 3  # the largest payload times this is the largest body of a batch


class ApiError(BasaltError):
    """An answer other than 202; `body` is sent as it is."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__("realtime_api", status, str(body))
        self.body = body


class BroadcastApi:
    """What `/realtime/v1/api` answers."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub

    async def respond(self, request: Request) -> Response:
        """Raises BasaltError where no route has the path."""
        found = ROUTES.find(request)
        if found is None:
            raise BasaltError("not_found", 404, f"Realtime has nothing at {request.path}")
        route, segments = found
        try:
            response: Response = await route.handler(self, request, **segments)
        except ApiError as error:
            response = json_response(error.body, error.status)
        response.headers += self._rate_headers()
        return response

    async def ping(self, request: Request) -> Response:
        return json_response({"message": "Success"})

    async def send_batch(self, request: Request) -> Response:
        caller = self._authorise(request)
        asked = _parse_batch(await self._body(request, BATCH_PAYLOADS))
        problems = [self._find_problem(message) for message in asked]
        if any(problems):
            raise ApiError(422, {"errors": {"messages": problems}})
        self._count(len(asked), OVER_RATE if len(asked) == 1 else BATCH_TOO_LARGE)
        permissions: dict[str, bool] = {}
        for message in asked:
            name, is_private = message["topic"], message.get("private") in (True, "true")
            if is_private and name not in permissions:
                permissions[name] = await self._may_send(caller, name)
            if not is_private or permissions[name]:
                room = room_key(name, is_private=is_private)
                self._hub.broadcast(room, _batch_broadcast(message))
        return Response(202)

    async def send_one(self, request: Request, topic: str, event: str) -> Response:
        caller = self._authorise(request)
        broadcast = await self._read_payload(request, event)
        query = dict(request.query())
        is_private = query.get("private") == "true"
        life_s = _life(query)
        if life_s is not None and not is_private:
            raise ApiError(422, {"errors": {"persist": ["is for private channels only"]}})
        self._count(1, OVER_RATE)
        if life_s is not None:
            await self._store(caller, topic, broadcast, life_s)
        elif is_private and not await self._may_send(caller, topic):
            raise ApiError(403, {"message": "Unauthorized"})
        else:
            self._hub.broadcast(room_key(topic, is_private=is_private), broadcast)
        return Response(202)

    async def _read_payload(self, request: Request, event: str) -> UserBroadcast:
        media_type = (request.headers.get("content-type") or "application/json").partition(";")[0].strip()
        if media_type not in ("application/json", "application/octet-stream"):
            raise ApiError(415, {"error": WRONG_TYPE})
        body = await self._body(request)
        as_json = media_type == "application/json"
        if as_json and not is_json(body):
            raise ApiError(422, {"errors": {"payload": ["is not valid JSON"]}})
        return UserBroadcast(event, body, is_json=as_json)

    async def _body(self, request: Request, payloads: int = 1) -> bytes:
        limit = self._hub.settings.max_payload_bytes * payloads
        try:
            return await request.body(limit)
        except BasaltError as error:
            raise ApiError(422, {"errors": {"payload": [TOO_LARGE]}}) from error

    async def _store(self, caller: Caller, topic: str, broadcast: UserBroadcast, life_s: float) -> None:
        try:
            await store_message(self._hub.lanes, caller, topic, broadcast, life_s=life_s)
        except PostgresError as error:
            if is_refusal(error):
                raise ApiError(403, {"message": "Unauthorized"}) from error
            raise ApiError(500, {"message": "Unable to store the message"}) from error

    async def _may_send(self, caller: Caller, name: str) -> bool:
        with contextlib.suppress(PostgresError):
            return await may_write(self._hub.lanes, caller, name, "broadcast")
        return False

    def _authorise(self, request: Request) -> Caller:
        """The caller behind the bearer token, else behind the `apikey` header."""
        scheme, _, token = (request.headers.get("authorization") or "").partition(" ")
        given = token if scheme.lower() == "bearer" and token.strip() else request.headers.get("apikey")
        if not given:
            raise ApiError(401, {"message": "Unauthorized"})
        try:
            caller = self._hub.gate.open(given)
            check_alive(caller)
        except (TokenError, AccessError, LanesUnavailable) as error:
            raise ApiError(401, {"message": "Unauthorized"}) from error
        return caller

    def _count(self, number: int, message: str) -> None:
        if number > MAX_BATCH:
            raise ApiError(429, {"message": BATCH_TOO_LARGE})
        if not self._hub.limits.messages.count(number):
            raise ApiError(429, {"message": message})

    def _find_problem(self, message: Mapping[str, Any]) -> dict[str, list[str]]:
        """What is wrong with one message of a batch, by field."""
        found = {
            name: ["can't be blank"]
            for name in ("topic", "event", "payload")
            if message.get(name) is None or message[name] == ""
        }
        for name in ("topic", "event"):
            if name not in found and not isinstance(message[name], str):
                found[name] = ["is invalid"]
        if "payload" not in found and not isinstance(message["payload"], dict):
            found["payload"] = ["is invalid"]
        elif len(orjson.dumps(message.get("payload"))) > self._hub.settings.max_payload_bytes:
            found["payload"] = [TOO_LARGE]
        return found

    def _rate_headers(self) -> list[tuple[bytes, bytes]]:
        rate = self._hub.limits.messages
        values = {
            b"x-rate-rolling": f"{rate.average():.2f}",
            b"x-rate-limit": str(int(rate.per_second)),
            b"x-rate-limit-remaining": str(rate.remaining()),
        }
        return [(name, value.encode()) for name, value in values.items()]


def _parse_batch(body: bytes) -> list[dict[str, Any]]:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, {"message": "The body is not valid JSON"}) from error
    messages = asked.get("messages") if isinstance(asked, dict) else None
    if not isinstance(messages, list) or not messages:
        raise ApiError(422, {"errors": {"messages": ["can't be blank"]}})
    return [message if isinstance(message, dict) else {} for message in messages]


def _batch_broadcast(message: Mapping[str, Any]) -> Broadcast:
    payload = {"type": "broadcast", "event": message["event"], "payload": message["payload"]}
    if message.get("id") is not None:
        payload["meta"] = {"id": message["id"]}
    return TextBroadcast(orjson.dumps(payload))


def _life(query: Mapping[str, str]) -> float | None:
    """`persist=true`, or `persist[ttl]` in seconds."""
    ttl = query.get("persist[ttl]")
    if ttl is not None and ttl.isdecimal() and int(ttl) > 0:
        return float(min(int(ttl), LONGEST_KEPT_S))
    return float(LONGEST_KEPT_S) if query.get("persist") == "true" else None


ROUTES = RouteTable(
    [
        Route("POST", "/api/broadcast", "key", BroadcastApi.send_batch),
        Route("POST", "/api/broadcast/{topic}/events/{event}", "key", BroadcastApi.send_one),
        Route("GET", "/api/ping", "public", BroadcastApi.ping),
    ]
)
